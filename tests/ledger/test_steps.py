# SPDX-License-Identifier: MPL-2.0
"""With very many blocks, what would hold its locks for long is done in steps: counted in rows and transactions, never in seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Final, LiteralString

import pytest

from kea_subnet_deleg.ledger import Ledger, Networks
from tests.conftest import Database
from tests.ledger.scene import Client, do, lease, one, prefixes, say

LEASED: Final = 50_000
"""Blocks of /29 that are leased, each beside a free one: 10^5 in all."""
USED: Final = 3_000
"""Of these are reported."""


@pytest.fixture
def large(database: Database) -> Database:
    """A ledger of 10^5 blocks in one origin, every other one free, and a small origin beside it."""
    connection = database.connect()
    connection.execute(
        "set session_replication_role = replica"
    )  # no triggers: no events, nor tallies; that would take the most time
    connection.execute("insert into deleg.origins (space, prefix, pool) values (0, '10.0.0.0/12', 1)")
    connection.execute("insert into deleg.lessees (space, identity) values (0, '\\x01')")
    connection.execute(
        "insert into deleg.blocks (space, prefix, origin, pool, state, hierarchical, lessee, xid, slot, lease_time, renewed, expires, due)"
        " select 0, set_masklen('10.0.0.0'::inet + n * 8::bigint, 29)::cidr, '10.0.0.0/12', 1, (case when held then 'leased' else 'free' end)::deleg.block_state,"
        "        case when held then true end, case when held then lessee end, case when held then n end, case when held then 0 end,"
        "        case when held then 86400 end, now() - interval '1 hour', case when held then now() + interval '1 day' end,"
        "        case when held then now() + interval '1 day' end"
        "   from (select n, n %% 2 = 0 as held, lessee from generate_series(0, %s) as n, deleg.lessees) as x",
        (2 * LEASED - 1,),
    )
    connection.execute(
        "insert into deleg.usage (space, prefix, lessee, in_use) select space, prefix, lessee, 1 from deleg.blocks where state = 'leased' order by prefix limit %s",
        (USED,),
    )
    connection.execute("analyze deleg.blocks")
    connection.close()
    return database


def changed(database: Database, call: Callable[[], object]) -> int:
    """Return how many blocks a call wrote: each of its transactions has an event of every one of them."""
    ((before,),) = database.sql("select count(*) from deleg.events")
    call()
    ((after,),) = database.sql("select count(*) from deleg.events")
    return int(after - before)


def wrong(database: Database) -> list[str]:
    """Return what ledger_check() says but of I2 and I5, which this ledger was not made to keep, and the tallies."""
    return [row[0] for row in database.violations() if row[0] not in ("I2", "I5", "tally")]


def test_removing_a_pool(large: Database) -> None:
    """Its free blocks are closed a few at a time; while that goes on it is as sound as before and after."""
    ledger = large.ledger()
    with large.admin() as admin:
        steps = [changed(large, lambda: admin.pool_remove(IPv4Network("10.0.0.0/12")))]
    assert wrong(large) == []
    steps += [changed(large, lambda: ledger.sweep(100, 60)) for _ in range(5)]
    assert wrong(large) == []
    assert steps == [250] * 6
    open_free = "select count(*) from deleg.blocks where state = 'free' and not draining"
    assert large.sql(open_free) == [(LEASED - 6 * 250,)]
    while ledger.sweep(100, 60).more:
        pass
    assert large.sql(open_free) == [(0,)]
    assert large.sql("select turned from deleg.origins") == [(None,)]
    assert wrong(large) == []


def test_growth_per_day(large: Database) -> None:
    networks = Networks(large.ledger())
    days = "select count(*) from deleg.usage_days"
    found = [0]
    while networks.keep_days():
        found += [large.sql(days)[0][0]]
    assert found == [0, *range(1000, USED + 1, 1000)]
    large.sql("update deleg.usage set in_use = 2 where prefix = '10.0.0.0/29'")
    ((before,),) = large.sql("select max(xmin::text::bigint) from deleg.usage_days")
    while networks.keep_days():
        pass
    assert large.sql(
        "select prefix::text, in_use_last from deleg.usage_days where xmin::text::bigint > %s", before
    ) == [("10.0.0.0/29", 2)]
    large.sql("update deleg.usage_days set day = day - 500")
    networks.keep_days()
    assert large.sql("select count(*) from deleg.usage_days where day < current_date - 400") == [(USED - 1000,)]


def test_who_is_asked_back(large: Database) -> None:
    """Each time some of what is little used, wherever in the pool it is."""
    ledger: Ledger = large.ledger()
    for _ in range(6):
        assert ledger.takeback_least_used(0, [1], 10**6, 20, 60) == 20
        large.sql(
            "update deleg.blocks b set renewed = now() from deleg.takebacks t where b.space = t.space and b.prefix = t.prefix"
        )
    asked = [n for (n,) in large.sql("select prefix - '10.0.0.0'::inet from deleg.takebacks order by 1")]
    assert len(asked) == 120
    assert asked[-1] - asked[0] > 2 * 5000 * 8  # from more than one place


def test_a_client_is_served_meanwhile(large: Database) -> None:
    """Of an origin that is being closed, nothing is leased once that is through; of another one, always."""
    ledger = large.ledger()
    large.pool("10.64.0.0/24")
    large.sql("select deleg.pool_remove('default', '10.0.0.0/12')")
    while ledger.sweep(100, 60).more:
        pass
    assert lease(ledger, Client.number(1), 1, 29) == ["10.64.0.0/29"]


@pytest.mark.parametrize("step", ["deleg.sweep(25, 60)", "deleg.keep_days()", "deleg.keep_events()"])
def test_no_step_holds_its_locks_until_the_disk_has_it(database: Database, step: LiteralString) -> None:
    """What nobody is told need not be there before the locks are given back, and there it is in order."""
    database.pool("10.64.0.0/24")
    ledger, hook = database.ledger(), database.connect("kea_deleg_hook")
    lease(ledger, Client.number(1), 1, 26)
    with hook.transaction():
        hook.execute("select " + step)
        assert hook.execute("show synchronous_commit").fetchall() == [("off",)]
    assert hook.execute("show synchronous_commit").fetchall() == [("on",)]


@pytest.mark.parametrize("figures", [{}, {f"figure {n}": 0.1234 for n in range(12)}], ids=["few", "many"])
def test_a_lease_touches_no_index(database: Database, figures: dict[str, float | str | bool]) -> None:
    """However long the rows are, each has room in its page for what becomes of it (HOT)."""
    database.pool("10.64.0.0/16")
    ledger, hook = database.ledger(), database.connect()
    clients = [Client.number(n) for n in range(300)]
    offers = [client.offer(1, 26) for client in clients]
    blocks = do(
        ledger,
        *(replace(offer, sizes=(offer.sizes[0]._replace(detail={"push": "yes", **figures}),)) for offer in offers),
    )
    with hook.transaction():
        say(hook, *(client.accept(1, *prefixes(block)) for client, block in zip(clients, blocks, strict=True)))
        counted = hook.execute(
            "select pg_stat_get_xact_tuples_updated(t), pg_stat_get_xact_tuples_hot_updated(t) from (select 'deleg.blocks'::regclass as t) as t"
        ).fetchall()
    assert counted == [(300, 300)]


def test_a_sweep_is_not_repeated_at_once_for_clients_that_are_being_served(database: Database) -> None:
    """Their offers are over, but whoever serves them goes first: nothing was done, and nothing will be in the next moment."""
    database.pool("10.64.0.0/20")
    ledger, busy = database.ledger(), database.connect()
    for number in range(30):
        assert one(ledger, Client.number(number).offer(1, 26, hold=0)).blocks
    with busy.transaction():
        busy.execute(
            "select pg_advisory_xact_lock(hashtextextended(encode(identity, 'hex'), space)) from deleg.lessees"
        )
        swept = ledger.sweep(25, 60)
        assert (swept.offers, swept.more) == (0, False)
    swept = ledger.sweep(25, 60)
    assert swept.offers > 0
    assert swept.more
