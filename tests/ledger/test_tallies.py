# SPDX-License-Identifier: MPL-2.0
"""The ledger counts as it changes: whoever counts anew comes to the same, whatever connections did and whether they are still there."""

from __future__ import annotations

import time

import psycopg
import pytest

from tests.conftest import Database
from tests.ledger.scene import Client, do, prefixes


def lease(database: Database, *numbers: int) -> list[str]:
    """Lease a /26 to each client by one batch each of DISCOVERs and REQUESTs, on a connection that ends then."""
    clients = [Client.number(n) for n in numbers]
    ledger = database.ledger()
    blocks = [prefixes(outcome)[0] for outcome in do(ledger, *(client.offer(1, 26) for client in clients))]
    do(ledger, *(client.accept(1, block) for client, block in zip(clients, blocks, strict=True)))
    do(ledger, *(client.renew(block, usage=(9, 8, 1)) for client, block in zip(clients, blocks, strict=True)))
    ledger.close()
    return blocks


def test_connections_come_and_go(database: Database) -> None:
    database.pool("10.64.0.0/16")
    for n in range(4):
        lease(database, *range(10 * n, 10 * n + 10))
    ledger = database.ledger()
    assert ledger.totals() == [(0, 40 * 64, 40 * 8)]
    deadline = time.monotonic() + 10  # PostgreSQL's processes end in their own time
    while database.sql("select count(distinct process) from deleg.tallies where process <> 0") != [(1,)]:
        ledger.keep_tallies()
        assert time.monotonic() < deadline
        do(ledger, Client.number(0).renew("10.64.0.0/26", usage=(9, 8, 1)))
    assert ledger.totals() == [(0, 40 * 64, 40 * 8)]
    free = sum(blocks << 32 - length for _, _, length, blocks in ledger.free_by_length())
    assert free == (1 << 16) - 40 * 64
    assert database.violations() == []


@pytest.mark.parametrize("table", ["blocks", "usage"])
def test_what_is_emptied_is_counted_no_more(database: Database, table: str) -> None:
    database.pool("10.64.0.0/24")
    lease(database, 1)
    database.sql(f"truncate deleg.{table}, deleg.events, deleg.holds")
    ledger = database.ledger()
    assert ledger.totals() == ([(0, 64, 0)] if table == "usage" else [(0, 0, 8)])
    assert (ledger.free_by_length() == []) is (table == "blocks")


@pytest.mark.parametrize(
    "statement",
    [
        "update deleg.tallies set amount = amount + 1 where what = 'held'",
        "delete from deleg.tallies where what = 'open'",
        "insert into deleg.tallies values (7, 9, 'held', 24, 0, 1)",
    ],
)
def test_a_wrong_tally_is_reported(database: Database, statement: str) -> None:
    database.pool("10.64.0.0/24")
    lease(database, 1)
    assert database.violations() == []
    database.sql(statement)
    assert {violation[0] for violation in database.violations()} == {"tally"}


def test_an_origin_with_blocks_can_not_go(database: Database) -> None:
    """In place of a foreign key, which would lock the origin's row for each block."""
    database.pool("10.64.0.0/24")
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="has blocks still"):
        database.sql("delete from deleg.origins")
    with pytest.raises(psycopg.errors.CheckViolation, match="not a valid free block"):
        database.sql(
            "insert into deleg.blocks (space, prefix, origin, pool, state) values (0, '10.9.0.0/24', '10.9.0.0/24', 2, 'free')"
        )
    with pytest.raises(psycopg.errors.CheckViolation, match="not a valid offered block"):
        database.sql(
            "update deleg.blocks set state = 'offered', lessee = 77, xid = 1, slot = 0, lease_time = 1, expires = now(), hierarchical = true"
        )


def test_an_origin_that_is_leased_of_can_not_go(database: Database) -> None:
    database.pool("10.64.0.0/24")
    lease(database, 1)
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="has blocks still"):
        database.sql("select deleg._remove_origin(0, '10.64.0.0/24')")
    assert "leased" in database.blocks().values()
