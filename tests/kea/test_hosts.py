# SPDX-License-Identifier: MPL-2.0
"""The hosts that other tests count on: they live as RFC 2131 has it, and notice what no server may do."""

from __future__ import annotations

import time
from ipaddress import IPv4Address
from typing import Any

import pytest

from ci.labs import HostsPlace, Lab
from tests.kea.conftest import MakeLab
from tests.kea.hosts import Addresses, Hosts
from tests.kea.perfdhcp import flood
from tests.kea.waiting import wait_until

LIFETIME = 4  # seconds
FIRST, LAST = IPv4Address("10.1.0.2"), IPv4Address("10.1.0.101")
ROUTER = IPv4Address("10.1.0.1")


def serving(lab: Lab, server: str = "s1") -> list[HostsPlace]:
    """The client's place as one of hosts behind a relay there."""
    place = lab.clients[0]
    return [HostsPlace(place.netns, place.address, server=server, server_address=lab.servers[server].address)]


def network(lab: Lab) -> dict[str, Any]:
    """100 addresses for hosts that are relayed from the client's place."""
    return {
        "id": 7,
        "subnet": "10.1.0.0/24",
        "relay": {"ip-addresses": [str(lab.clients[0].address)]},
        "pools": [{"pool": f"{FIRST} - {LAST}"}],
        "option-data": [{"name": "routers", "data": str(ROUTER)}],
    }


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    bare = make_lab(
        "shared", kea={"valid-lifetime": LIFETIME, "expired-leases-processing": {"reclaim-timer-wait-time": 1}}
    )
    for server in bare.servers.values():
        configuration = server.configuration(bare.hooks)
        configuration["Dhcp4"]["subnet4"] = [network(bare)]
        server.write(configuration)
        server.command("config-reload")
    return bare


def statistic(lab: Lab, name: str) -> int:
    found: int = lab.servers["s1"].command("statistic-get", {"name": f"subnet[7].{name}"})[f"subnet[7].{name}"][0][0]
    return found


def test_they_obtain_keep_decline_and_release(lab: Lab) -> None:
    with Hosts.relayed(serving(lab)) as hosts:
        hosts.arrive(40)
        assert len({lease.address for lease in hosts.leases}) == statistic(lab, "assigned-addresses") == 40
        assert {(lease.router, lease.lifetime, lease.server) for lease in hosts.leases} == {
            (ROUTER, LIFETIME, lab.servers["s1"].address)
        }
        before = {host: host.lease for host in hosts.all}
        time.sleep(1.5 * LIFETIME)  # they renew by themselves
        hosts.renew()  # and when they are told to
        assert all(host.lease and host.acknowledged >= 3 for host in hosts.all)
        assert [host.lease and host.lease.address for host in hosts.all] == [
            lease and lease.address for lease in before.values()
        ]
        hosts.check()
        hosts.decline(hosts.all[:3])
        wait_until(lambda: statistic(lab, "declined-addresses") == 3)
        hosts.leave()
        wait_until(lambda: statistic(lab, "assigned-addresses") == 3)
        assert hosts.leases == []


def test_they_say_who_has_no_address_and_who_has_lost_it(lab: Lab) -> None:
    with Hosts.relayed(serving(lab)) as hosts:
        more = hosts.begin(101)
        with pytest.raises(AssertionError, match=r"without an address after 3\.0 s: 1, "):
            hosts.served(more, 3.0)
        lab.kill("s1")
        wait_until(lambda: len(hosts.lost) == 100, 2 * LIFETIME)
        assert {loss.why for loss in hosts.lost} == {"expired"}
        with pytest.raises(AssertionError, match="100 leases lost"):
            hosts.check()


def test_they_notice_an_address_that_two_have(lab: Lab) -> None:
    addresses = Addresses()
    with (
        Hosts.relayed(serving(lab), addresses) as one,
        pytest.raises(OSError, match="in use"),
    ):
        Hosts.relayed(serving(lab, "s2"), addresses, first=1000)  # there is one relay at a place
    with Hosts.relayed(serving(lab), addresses, keep=False) as one:
        one.arrive(5)
    with Hosts.relayed(serving(lab, "s2"), addresses, first=1000) as other:
        other.arrive(5)
        with pytest.raises(AssertionError, match="5 addresses given twice"):
            other.check()
        with pytest.raises(AssertionError, match="5 addresses given twice"):
            one.check()


def test_a_flood_is_served_or_is_an_error(lab: Lab) -> None:
    (place,) = serving(lab)
    with pytest.raises(AssertionError, match="100 of 101 hosts have an address after 2 s"):
        flood(place, 101, 2)
    wait_until(lambda: statistic(lab, "assigned-addresses") == 0, 3 * LIFETIME)
    leases = flood(place, 100, 20)
    assert set(leases.values()) == {FIRST + number for number in range(100)}
