# SPDX-License-Identifier: MPL-2.0
"""B10's place at the ledger: it serves as a server would, so what it finds is the project's and not the bench's."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from bench.demand import BlockDemand, HostDemand
from bench.desk import Ask, Desk, Report
from bench.placement import Space, best_fit
from bench.sharing import Sharing
from kea_subnet_deleg.policy import Limits
from kea_subnet_deleg.policy.growth import NetworkTerms
from tests.conftest import Database

SPACE = IPv4Network("10.0.0.0/20")
LIMITS = Limits(default=25, largest=20, smallest=28)


@pytest.fixture
def database_with_space(database: Database) -> Database:
    database.pool(str(SPACE))
    return database


def opened(database: Database, policy: str) -> Desk:
    return Desk(database.dsn("kea_deleg_hook"), database.dsn(), policy, LIMITS)


@pytest.fixture
def desk(database_with_space: Database) -> Iterator[Desk]:
    with opened(database_with_space, "best-fit") as desk:
        yield desk


def test_the_ledger_places_as_best_fit_does(desk: Desk, database_with_space: Database) -> None:
    model = Space([SPACE], best_fit)
    held: deque[tuple[int, IPv4Network]] = deque()
    outcomes = []
    for request in BlockDemand(SPACE.num_addresses, 10, days=1).generate(3)[:120]:
        if len(held) > 40:
            lessee, block = held[len(held) // 2]
            del held[len(held) // 2]
            desk.release([(lessee, block)])
            model.give_back(block)
        expected = model.take(request.prefix_length)
        (given,) = desk.ask([Ask(request.lessee, (request.prefix_length,))], smaller=False)
        assert given == ([] if expected is None else [expected])
        outcomes.append(expected)
        if expected is not None:
            held.append((request.lessee, expected))
    assert None in outcomes  # it was full at times
    assert not database_with_space.violations()


def test_who_uses_a_block_little_is_asked_back_when_space_is_short(database_with_space: Database) -> None:
    with opened(database_with_space, "proportional") as desk:
        little, much = (desk.ask([Ask(lessee, (21,))])[0][0] for lessee in (1, 2))
        desk.outdate()
        assert desk.renew([Report(1, little, 100, 100), Report(2, much, 2000, 2000)]) == [True, False]
        desk.outdate()
        assert desk.ask([Ask(3, (24,))]) == [[]]
        assert not desk.shortage(256, {little: 30.0, much: 30.0})  # both have renewed within a minute
        orders = desk.shortage(256, {little: 90.0, much: 90.0})
    assert orders == []  # asked back already, and used by more than half


def test_a_lease_that_is_little_used_and_not_asked_back_yet_is_renewed_on_shortage(desk: Desk) -> None:
    little, much = (desk.ask([Ask(lessee, (21,))])[0][0] for lessee in (1, 2))
    assert desk.renew([Report(1, little, 100, 100), Report(2, much, 2000, 2000)]) == [False, False]
    assert not desk.shortage(256, {little: 30.0, much: 30.0})
    (order,) = desk.shortage(256, {little: 90.0, much: 90.0})
    assert [block.prefix for block in order.blocks] == [little]


@pytest.mark.parametrize("policy", ["best-fit", "proportional"])
def test_in_plenty_no_host_is_refused(database_with_space: Database, policy: str) -> None:
    demand = HostDemand(SPACE.num_addresses, 4, 0.3, start=16 * 60, minutes=240)
    sessions = demand.generate(1)
    with opened(database_with_space, policy) as desk:
        result = Sharing(desk, 4, NetworkTerms("hosts", 25)).run(sessions, 240, 30)
        assert (result.refused, result.lost) == (0, 0)
        assert result.hosts > 500
    assert not database_with_space.violations()


def test_hosts_are_refused_where_there_is_no_space(database_with_space: Database) -> None:
    demand = HostDemand(3 * SPACE.num_addresses, 4, 0.75, start=16 * 60, minutes=60)
    with opened(database_with_space, "best-fit") as desk:
        result = Sharing(desk, 4, NetworkTerms("hosts", 25)).run(demand.generate(1), 60, 0)
    assert result.refused > result.hosts / 3
