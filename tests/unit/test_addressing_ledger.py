# SPDX-License-Identifier: MPL-2.0
"""Addressing over a real ledger: one server, and two that serve the same network. Kea is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from itertools import count

import pytest

from kea_subnet_deleg.ledger import Wanted
from kea_subnet_deleg.ledger.networks import Networks
from kea_subnet_deleg.policy.growth import NetworkTerms
from kea_subnet_deleg.roles.addressing import Addressing, ReservedTerms
from tests.conftest import Database
from tests.ledger.scene import SERVER, Client, do
from tests.unit.networks import Journal, Kea

TERMS = NetworkTerms("hosts", 24, hold_time=0.0)


class Server:
    """One server of the ledger, with a Kea of its own and a clock that is moved by hand."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = 1000.0
        self.kea, self.journal = Kea(), Journal()
        ledger = database.ledger()
        self.addressing = Addressing(
            [TERMS], ReservedTerms(), Networks(ledger), self.kea, self.journal, {SERVER: 1}, lambda: self.now, 60
        )

    def turn(self, seconds: float = 1.0) -> tuple[int, ...]:
        """Have a turn when so many seconds have passed, here and in the ledger."""
        self.now += seconds
        self.database.sql("update deleg.blocks set since = since - make_interval(secs => %s)", seconds)
        missing = self.addressing.turn()
        assert self.database.violations() == []
        return missing

    def until(self, reached: Callable[[], bool]) -> None:
        """Have turns until something is so."""
        for n in count():
            if reached():
                return
            assert n < 100
            self.turn()


@pytest.fixture
def server(database: Database) -> Server:
    database.pool("10.64.0.0/22")
    return Server(database)


@pytest.fixture(autouse=True)
def _sound(database: Database) -> Iterator[None]:
    yield
    assert database.deadlocks() == 0


def test_it_grows_and_gives_everything_back(server: Server) -> None:
    server.kea.arrive(1)
    assert server.turn() == ()
    assert server.kea.served() == {"10.64.0.0/24": True}
    server.kea.arrive(230)
    server.turn()
    assert server.kea.served()["10.64.1.0/24"]
    assert server.database.blocks()["10.64.0.0/24"] == "local"
    server.turn(40.0)
    server.kea.leave(300)
    server.until(lambda: set(server.database.blocks().values()) == {"quarantined", "free"})
    assert not any(server.kea.served().values())
    server.database.sql("update deleg.blocks set expires = now() where state = 'quarantined'")
    server.database.ledger().sweep(100, 60)
    server.turn()
    assert server.kea.subnets == {}
    assert server.database.blocks() == {"10.64.0.0/22": "free"}


def test_usage_arrives(server: Server) -> None:
    server.kea.arrive(1)
    server.turn()
    server.kea.arrive(74)
    (subnet,) = server.kea.subnets.values()
    subnet.assigned, subnet.declined = 53, 2
    server.turn()
    assert server.database.sql("select in_use, high_water, unusable from deleg.usage") == [(51, 74 - 2, 2)]


def test_nothing_is_free(server: Server) -> None:
    server.database.sql("select deleg.pool_remove('default', '10.64.0.0/22'::cidr)")
    server.kea.arrive(1)
    assert server.turn() == (24,)
    assert server.turn() == (24,)
    server.database.pool("10.65.0.0/24")
    assert server.turn() == ()
    assert list(server.kea.served()) == ["10.65.0.0/24"]


def test_it_reopens(server: Server) -> None:
    server.kea.arrive(1)
    server.turn()
    server.kea.arrive(230)
    server.turn()
    server.turn(40.0)
    server.kea.leave(200)
    server.until(lambda: any(not is_open for is_open in server.kea.served().values()))
    server.kea.arrive(220)
    server.turn()
    assert server.journal.logged("SUBNET_DELEG_NETWORK_REOPENED")


def test_a_pair_serves_the_same(server: Server) -> None:
    partner = Server(server.database)
    for one in (server, partner):
        one.kea.arrive(1)
    server.turn()
    partner.turn()
    assert server.kea.served() == partner.kea.served() == {"10.64.0.0/24": True}
    assert len(server.journal.logged("SUBNET_DELEG_NETWORK_GREW")) == 1
    assert partner.journal.logged("SUBNET_DELEG_NETWORK_GREW") == []
    for one in (server, partner):  # the partner has the leases as well
        one.kea.arrive(230)
    partner.turn()
    server.turn()
    assert server.kea.served() == partner.kea.served()
    assert len(server.kea.served()) == 2


def test_a_restarted_kea_gets_its_subnets_before_the_first_packet(server: Server) -> None:
    server.kea.arrive(1)
    server.turn()
    again = Server(server.database)
    request = again.addressing.configured()
    assert request["subnets"] == server.kea.requests("serve")[-1]["subnets"]


def test_a_reserved_subnet_is_served_and_withdrawn(server: Server) -> None:
    client, ledger = Client(b"\0router"), server.database.ledger()
    offer = client.offer(1, 26)
    sizes = tuple(size._replace(hierarchical=False) for size in offer.sizes)
    do(ledger, replace(offer, sizes=sizes))
    prefix = "10.64.0.0/26"
    do(ledger, replace(client.accept(1), blocks=(Wanted.of(IPv4Network(prefix), False, False),)))
    server.turn()
    (subnet,) = server.kea.subnets.values()
    assert subnet.told["subnet"] == prefix
    assert subnet.told["open"]
    subnet.lease(3)
    server.turn()
    assert server.database.sql("select in_use from deleg.usage where prefix = %s::cidr", prefix) == [(3,)]
    do(ledger, client.release(prefix))
    server.turn()
    assert [subnet.told["open"] for subnet in server.kea.subnets.values()] == [False]
    assert server.turn() == ()
