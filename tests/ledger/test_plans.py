# SPDX-License-Identifier: MPL-2.0
"""With 20,000 blocks, nothing that a client or the clock causes reads a whole table: cost stays flat as the ledger grows."""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg
import pytest
from psycopg.types.json import Jsonb

from kea_subnet_deleg.ledger import Operation
from kea_subnet_deleg.ledger._files import QUERIES
from tests.conftest import Database
from tests.ledger.scene import Client

LARGE = ("blocks", "events", "lessees", "usage")
Plans = Callable[..., list[str]]


@pytest.fixture
def plans(database: Database) -> Plans:
    """A function that runs a query of the project and returns the plan of each statement within it."""
    _fill(database)
    connection = database.connect()
    # Plans made for the values of the first calls may differ from the one that is kept: see both.
    for setting in (
        "load 'auto_explain'",
        "set auto_explain.log_min_duration = 0",
        "set auto_explain.log_nested_statements = on",
        "set auto_explain.log_level = notice",
    ):
        connection.execute(setting)
    notices: list[str] = []
    connection.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary or ""))

    def run(query: str, **parameters: object) -> list[str]:
        notices.clear()
        with connection.transaction(force_rollback=True):
            connection.execute(QUERIES[query], parameters)
        return notices.copy()

    return run


def _fill(database: Database) -> None:
    """20,000 blocks of /24 among 4,000 lessees, a quarter of them free, some due."""
    database.sql("insert into deleg.origins (space, prefix, pool) values (0, '10.0.0.0/8', 'large')")
    database.sql("insert into deleg.lessees (space, identity) select 0, decode(lpad(to_hex(n), 14, '0'), 'hex')"
                 " from generate_series(1, 4000) as n")  # fmt: skip
    database.sql(
        "insert into deleg.blocks (space, prefix, origin, state, hierarchical, lessee, xid, slot, lease_time, expires)"
        " select 0, set_masklen('10.0.0.0'::inet + n * 256::bigint, 24)::cidr, '10.0.0.0/8', state::deleg.block_state,"
        "        held, case when held then lessee end, case when held then n end, case when held then 0 end,"
        "        case when held then 86400 end, case when held then now() + make_interval(secs => n - 40) end"
        "   from (select n, n % 4 > 0 as held, case when n % 4 = 0 then 'free' else 'leased' end as state,"
        "                (select min(lessee) from deleg.lessees) + n % 4000 as lessee from generate_series(0, 19999) as n) as x"
    )
    database.sql("insert into deleg.usage (space, prefix, lessee, in_use)"
                 " select space, prefix, lessee, 7 from deleg.blocks where lessee is not null")  # fmt: skip
    for table in (*LARGE, "origins"):
        database.sql(psycopg.sql.SQL("analyze deleg.{}").format(psycopg.sql.Identifier(table)).as_string(None))


def whole_reads(plans: list[str]) -> list[str]:
    """Return the plans in which a large table is read from its beginning to its end."""
    return [plan for plan in plans if re.search(rf"Seq Scan on (deleg\.)?({'|'.join(LARGE)})\b", plan)]


def batch(*operations: Operation) -> Jsonb:
    return Jsonb([operation.to_json() for operation in operations])


HOLDER = Client((2).to_bytes(7, "big"))  # the second lessee: it holds blocks n = 1, 4001, ...
HELD = ("10.0.1.0/24", "10.15.161.0/24")
MESSAGES: dict[str, tuple[Operation, ...]] = {
    "offer": (Client.number(9).offer(1, 24, 26, 28),),
    "offer of a smaller block": (Client.number(9).offer(1, 16, 20),),
    "offer again": (Client.number(9).offer(1, 24), Client.number(9).offer(1, 24)),
    "accept, leaving one out": (Client.number(9).offer(1, 24, 24), Client.number(9).accept(1, "10.0.0.0/24")),
    "reclaim": (Client.number(9).offer(1, 26), Client.number(9).reclaim(1)),
    "renew": (HOLDER.renew(*HELD, usage=(9, 8, 7)),),
    "refuse": (HOLDER.renew(*HELD, verdict="refuse"),),
    "release": (HOLDER.release(*HELD, named=None),),
    "list": (HOLDER.listing(), HOLDER.listing(after=HELD[0], limit=1)),
}


def test_the_clients_messages(plans: Plans) -> None:
    for name, operations in MESSAGES.items():
        for _ in range(7):  # from the sixth call on, PL/pgSQL may keep a generic plan
            found = plans("apply", batch=batch(*operations))
            assert len(found) > 3, name
            assert whole_reads(found) == [], name


def test_the_sweep(plans: Plans) -> None:
    for _ in range(7):
        found = plans("sweep", limit=100, quarantine=60)
        assert len(found) > 20
        assert whole_reads(found) == []


def test_a_whole_read_would_be_seen(plans: Plans) -> None:
    assert len(whole_reads(plans("totals"))) == 1
