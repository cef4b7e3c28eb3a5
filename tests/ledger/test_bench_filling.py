# SPDX-License-Identifier: MPL-2.0
"""What ci/bench measures in is a ledger as the servers would have made it, and what it asks of one is what it says."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Network, summarize_address_range

import pytest

from bench.allocate import Client
from bench.filling import BLOCKS, CELLS, SHARE, fill, identity_of, rest
from tests.conftest import Database

CELLS_HERE = 13


@pytest.fixture
def filled(database: Database) -> Database:
    database.pool("10.0.0.0/8", name="default")
    assert fill(lambda *texts: database.cluster.execute(database.name, *texts), CELLS_HERE) == CELLS_HERE * BLOCKS
    return database


def test_a_filled_ledger_keeps_its_invariants(filled: Database) -> None:
    assert filled.violations() == []
    states = Counter(filled.blocks().values())
    assert states["leased"] == CELLS_HERE * BLOCKS
    assert filled.sql("select count(distinct lessee), max(masklen(prefix)), min(masklen(prefix)) from deleg.blocks where lessee is not null") == [
        (CELLS_HERE * BLOCKS // SHARE, 26, 24)
    ]  # fmt: skip
    lessees = [identity_of(number + 1) for number in range(CELLS_HERE * BLOCKS // SHARE)]
    assert filled.sql(
        "select count(distinct identity) from deleg.lessees join deleg.blocks using (lessee) where identity = any(%s)",
        lessees,
    ) == [(len(lessees),)]
    assert filled.sql("select count(*) from deleg.usage where in_use > 0") > [(CELLS_HERE * BLOCKS * 9 // 10,)]
    assert filled.sql("select count(*) from deleg.events where prefix is not null") >= [(len(filled.blocks()),)]


def test_it_can_be_allocated_from(filled: Database) -> None:
    client = Client(filled.ledger(), 30)
    client.allocate()
    client.forget()
    client.allocate()
    assert (client.batches, len(client.latencies)) == (1, 1)
    assert Counter(filled.blocks().values())["leased"] == CELLS_HERE * BLOCKS + 60
    assert filled.violations() == []


@pytest.mark.parametrize("cells", [1, 13, CELLS // 2, CELLS - 1, CELLS])
def test_behind_the_cells_is_the_rest_of_the_8(cells: int) -> None:
    blocks = [IPv4Network(block) for block in rest(10, cells)]
    whole, begin = IPv4Network("10.0.0.0/8"), cells << 11
    expected = [] if cells == CELLS else list(summarize_address_range(whole[begin], whole[-1]))
    assert blocks == expected
