# SPDX-License-Identifier: MPL-2.0
"""How upstreams are reached, by the machine's own routes on loopback."""

from __future__ import annotations

from ipaddress import IPv4Address

from kea_subnet_deleg.roles.requesting import Path, Upstream
from kea_subnet_deleg.runtime.paths import Listening, Paths, is_local

LOOPBACK = int(IPv4Address("127.0.0.1"))
UPSTREAM = int(IPv4Address("127.0.0.9"))


def test_by_the_address_that_the_kernel_would_send_from() -> None:
    warnings: list[str] = []
    paths = Paths(warnings.append)
    paths.listening = (Listening(1, "eth7", 7), Listening(LOOPBACK, "lo", 1))
    assert paths.to(Upstream(UPSTREAM)) == Path(LOOPBACK, 1, UPSTREAM)
    assert paths.to(Upstream(interface="eth7")) == Path(1, 7, 0xFFFFFFFF)
    assert warnings == []


def test_what_cant_be_reached_is_told_once() -> None:
    warnings: list[str] = []
    paths = Paths(warnings.append)
    for _ in range(2):
        assert paths.to(Upstream(UPSTREAM)) is None
        assert paths.to(Upstream(interface="eth7")) is None
    assert len(warnings) == 2
    assert "127.0.0.9 can't be asked: from 127.0.0.1, on which Kea does not listen" in warnings[0]
    assert "upstreams on eth7" in warnings[1]


def test_addresses_of_this_machine() -> None:
    assert is_local(LOOPBACK)
    assert not is_local(int(IPv4Address("192.0.2.77")))
