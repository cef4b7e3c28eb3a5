# SPDX-License-Identifier: MPL-2.0
"""How upstreams are reached, by the machine's own routes on loopback."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address

from kea_subnet_deleg.roles.packets import Inbound
from kea_subnet_deleg.roles.requesting import Path, Upstream
from kea_subnet_deleg.runtime.paths import LOOK_INTERVAL, Listening, Neighbours, Paths, is_local
from kea_subnet_deleg.wire import BROADCAST_ADDRESS

LOOPBACK = int(IPv4Address("127.0.0.1"))
UPSTREAM = int(IPv4Address("127.0.0.9"))


class Clock:
    """Seconds, by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_by_the_address_that_the_kernel_would_send_from() -> None:
    warnings: list[str] = []
    places = (Listening(1, "eth7", 7), Listening(LOOPBACK, "lo", 1))
    paths = Paths(warnings.append, lambda: places, Clock())
    assert paths.to(Upstream(UPSTREAM)) == Path(LOOPBACK, 1, UPSTREAM)
    assert paths.to(Upstream(interface="eth7")) == Path(1, 7, 0xFFFFFFFF)
    assert warnings == []


def test_what_cant_be_reached_is_told_once() -> None:
    warnings: list[str] = []
    paths = Paths(warnings.append, lambda: (), Clock())
    for _ in range(2):
        assert paths.to(Upstream(UPSTREAM)) is None
        assert paths.to(Upstream(interface="eth7")) is None
    assert len(warnings) == 2
    assert "127.0.0.9 can't be asked: from 127.0.0.1, on which Kea does not listen" in warnings[0]
    assert "upstreams on eth7" in warnings[1]


def test_kea_listens_on_more_later() -> None:
    warnings: list[str] = []
    places: list[Listening] = []
    looks: list[float] = []
    clock = Clock()

    def listening() -> list[Listening]:
        looks.append(clock.now)
        return places[:]

    paths = Paths(warnings.append, listening, clock)
    paths.look()
    assert paths.to(Upstream(UPSTREAM)) is None
    places.append(Listening(LOOPBACK, "lo", 1))
    assert paths.to(Upstream(UPSTREAM)) is None  # it was looked this moment
    clock.now += LOOK_INTERVAL
    assert paths.to(Upstream(UPSTREAM)) == Path(LOOPBACK, 1, UPSTREAM)
    clock.now += LOOK_INTERVAL
    assert paths.to(Upstream(UPSTREAM)) == Path(LOOPBACK, 1, UPSTREAM)
    assert looks == [100.0, 100.0 + LOOK_INTERVAL]  # not while it can be reached
    assert len(warnings) == 1


def test_whose_requests_are_heard_by_those_that_we_ask() -> None:
    (index, name), *_ = socket.if_nameindex()
    neighbours = Neighbours([Upstream(UPSTREAM), Upstream(interface=name), Upstream(interface="nowhere")])

    def of(source: int, destination: int, interface: int = index) -> Inbound:
        return Inbound(b"", interface, source, 67, destination, 67, LOOPBACK, 0.0)

    assert neighbours(of(UPSTREAM, LOOPBACK))
    assert not neighbours(of(LOOPBACK, LOOPBACK))
    assert neighbours(of(LOOPBACK, BROADCAST_ADDRESS))
    assert not neighbours(of(LOOPBACK, BROADCAST_ADDRESS, index + 1000))


def test_addresses_of_this_machine() -> None:
    assert is_local(LOOPBACK)
    assert not is_local(int(IPv4Address("192.0.2.77")))
