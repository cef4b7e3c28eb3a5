# SPDX-License-Identifier: MPL-2.0
"""What there is in each topology: which servers, on which ledgers, who asks whom for space, and who serves hosts.

Addresses are of the networks for documentation (RFC 5737): each lab is an internet of its own. No server is configured with a subnet,
except where it serves ordinary DHCP: what hosts get addresses of has to come down from the one pool.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from ci.labs import network
from ci.labs.server import kea_version

BACKBONE: Final = IPv4Network("198.51.100.0/24")
"""The link that all servers and the RFC 6656 clients are on."""
CLIENT: Final = BACKBONE[100]
ORDINARY: Final = 32
"""Addresses that each server serves beside delegation in `single` and `shared`."""

HOSTS_LINKS: Final = tuple(IPv4Network("192.0.2.0/24").subnets(new_prefix=27))
HOSTS_CLIENT: Final = 10
"""Of a link with hosts: the number of the address that hosts are relayed from; the servers have those from 1 on."""
NETWORK: Final = "hosts"
"""The shared network that hosts are served in."""
PREFIX_LENGTH: Final = 24
"""Of the blocks that it grows by."""

HA_HOOKS: Final = ("libdhcp_lease_cmds.so", "libdhcp_ha.so")
HA_PORT: Final = 8000
REFUSALS_COUNT: Final = (2, 3, 1)
"""The Kea from which on a pair ends when one of it refuses leases, unless it is told not to."""


class HaMode(enum.StrEnum):
    """Which of a pair answers: the first alone while it lives, or each a half of the hosts."""

    HOT_STANDBY = "hot-standby"
    LOAD_BALANCING = "load-balancing"


@dataclass(frozen=True, slots=True)
class Station:
    """One server of a topology: its ledger, the names of the servers it asks for space, and the link with hosts that it serves.

    `hosts` is the number of that link, from 1 on; 0 where it has none and serves `ordinary` addresses, or nothing beside delegation.
    `partners` are the names of a high availability pair that it is of.
    """

    name: str
    ledger: str
    upstreams: tuple[str, ...] = ()
    hosts: int = 0
    ordinary: bool = False
    partners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """Stations in the order of their addresses; the first one's ledger is where the pools are typed in."""

    stations: tuple[Station, ...]
    pools: tuple[IPv4Network, ...]
    ha: HaMode = HaMode.HOT_STANDBY

    @property
    def ledgers(self) -> list[str]:
        """The names of the ledgers, that with the pools first."""
        return list(dict.fromkeys(station.ledger for station in self.stations))

    def address(self, name: str) -> IPv4Address:
        """A server's address on the backbone."""
        return BACKBONE[1 + [station.name for station in self.stations].index(name)]

    def hosts_address(self, station: Station) -> IPv4Address:
        """A server's address on its link with hosts."""
        there = [other.name for other in self.stations if other.hosts == station.hosts]
        return hosts_link(station)[1 + there.index(station.name)]

    # -- Kea's configuration

    def dhcp4(self, station: Station) -> dict[str, Any]:
        """What is in "Dhcp4" of one station and not in that of every other."""
        if station.hosts:
            return self._serving_hosts(station)
        link: dict[str, Any] = {
            "interfaces-config": {"interfaces": [network.INTERFACE], "dhcp-socket-type": "udp"},
            "subnet4": [],
        }
        if station.ordinary:
            first = BACKBONE[128 + ORDINARY * self.stations.index(station)]
            pool = f"{first} - {first + ORDINARY - 1}"
            link["subnet4"] = [{"id": 1, "subnet": str(BACKBONE), "pools": [{"pool": pool}]}]
        return link

    def parameters(self, station: Station) -> dict[str, Any]:
        """The hook's parameters that make a station take its part."""
        parameters: dict[str, Any] = {}
        if station.upstreams:
            parameters["upstreams"] = [{"address": str(self.address(name))} for name in station.upstreams]
        if station.hosts:
            parameters["networks"] = [{"name": NETWORK, "prefix-length": PREFIX_LENGTH}]
        if station.partners:
            parameters["serve-reserved"] = "all"
        return parameters

    def companions(self, station: Station) -> dict[str, Mapping[str, Any]]:
        """Kea's own hooks that a station loads beside ours, with their parameters."""
        if not station.partners:
            return {}
        commands, availability = HA_HOOKS
        return {commands: {}, availability: {"high-availability": [self._pair(station)]}}

    def _serving_hosts(self, station: Station) -> dict[str, Any]:
        served: dict[str, Any] = {
            # raw: hosts that have no address yet broadcast, which Kea 2.2 hears on raw sockets alone
            "interfaces-config": {
                "interfaces": [network.INTERFACE, network.HOSTS_INTERFACE],
                "dhcp-socket-type": "raw",
            },
            "subnet4": [],
            "shared-networks": [
                {
                    "name": NETWORK,
                    "interface": network.HOSTS_INTERFACE,
                    "relay": {"ip-addresses": [str(relay(station))]},
                    "subnet4": [],
                }
            ],
        }
        if station.partners:  # with its threads kea-dhcp4 listens for its partner itself, without a control agent
            served["multi-threading"] = {"enable-multi-threading": True, "thread-pool-size": 2}
        return served

    def _pair(self, station: Station) -> dict[str, Any]:
        """The high-availability map of one of a pair; times in milliseconds."""
        roles = ("primary", "standby" if self.ha is HaMode.HOT_STANDBY else "secondary")
        peers = [
            {"name": name, "url": f"http://{self.address(name)}:{HA_PORT}/", "role": role, "auto-failover": True}
            for name, role in zip(station.partners, roles, strict=True)
        ]
        refusals = {"max-rejected-lease-updates": 0} if kea_version() >= REFUSALS_COUNT else {}
        return refusals | {
            "this-server-name": station.name,
            "mode": str(self.ha),
            "heartbeat-delay": 500,
            "max-response-delay": 2000,
            "max-ack-delay": 500,
            "max-unacked-clients": 0,  # down is who does not answer for max-response-delay
            "multi-threading": {
                "enable-multi-threading": True,
                "http-dedicated-listener": True,
                "http-listener-threads": 1,
                "http-client-threads": 1,
            },
            "peers": peers,
        }


def hosts_link(station: Station) -> IPv4Network:
    """The addresses on a station's link with hosts."""
    return HOSTS_LINKS[station.hosts - 1]


def relay(station: Station) -> IPv4Address:
    """The address that the hosts of a station are relayed from."""
    return hosts_link(station)[HOSTS_CLIENT]


def _alone(*names: str, ordinary: bool = True) -> Callable[[int, HaMode], Topology]:
    """Servers of one ledger with a client, and no hosts."""
    stations = tuple(Station(name, "main", ordinary=ordinary) for name in names)
    return lambda _edges, _ha: Topology(stations, (IPv4Network("10.64.0.0/10"),))


def _chain(edges: int, _ha: HaMode) -> Topology:
    names = ["edge"] if edges == 1 else [f"edge{number + 1}" for number in range(edges)]
    stations = [Station("root", "root"), Station("region", "region", ("root",))]
    stations += [Station(name, name, ("region",), hosts=link) for link, name in enumerate(names, 1)]
    return Topology(tuple(stations), ONE_POOL)


def _peers(_edges: int, _ha: HaMode) -> Topology:
    names = ("s1", "s2", "s3")
    stations = [
        Station(name, name, tuple(other for other in names if other != name), hosts=link)
        for link, name in enumerate(names, 1)
    ]
    return Topology(tuple(stations), ONE_POOL)


def _ha(_edges: int, ha: HaMode) -> Topology:
    pair = ("edge1", "edge2")
    stations = [Station("root", "root"), *(Station(name, "edge", ("root",), hosts=1, partners=pair) for name in pair)]
    return Topology(tuple(stations), ONE_POOL, ha)


ONE_POOL: Final = (IPv4Network("10.64.0.0/16"),)
MOST_EDGES: Final = len(HOSTS_LINKS)

TOPOLOGIES: Final[Mapping[str, str]] = {
    "single": "one server",
    "shared": "two servers, one ledger",
    "four": "four servers, one ledger, which do nothing but delegate",
    "chain": "root, region and edge, each with a ledger; hosts at the edge",
    "peers": "three servers, each with a ledger and hosts, each asks the others; the pool is the first one's",
    "ha": "root, and two edges that are a high availability pair on one ledger, with hosts",
}
_MAKERS: Final[Mapping[str, Callable[[int, HaMode], Topology]]] = {
    "single": _alone("s1"),
    "shared": _alone("s1", "s2"),
    "four": _alone("s1", "s2", "s3", "s4", ordinary=False),
    "chain": _chain,
    "peers": _peers,
    "ha": _ha,
}


def topology(name: str, edges: int = 1, ha: HaMode = HaMode.HOT_STANDBY) -> Topology:
    """The topology of that name. Raises `ValueError` where there is none, or it can't have so many edges."""
    if name not in _MAKERS:
        raise ValueError(f"no topology {name!r}: there are {', '.join(TOPOLOGIES)}")
    if not 1 <= edges <= MOST_EDGES:
        raise ValueError(f"{edges} edges: 1 to {MOST_EDGES} are possible")
    return _MAKERS[name](edges, ha)
