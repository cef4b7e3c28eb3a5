# SPDX-License-Identifier: MPL-2.0
"""Spaces, pools and servers as the ledger has them: which pools a request is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Self

DEFAULT_SPACE = 0


@dataclass(frozen=True, slots=True)
class PoolTerms:
    """A pool and on which terms it is leased; None: as the server's parameters say. Lengths are prefix lengths.

    `leased`: an upstream gave some of its address space, and may give more. `host_lease_times`: for how many seconds at most hosts'
    leases are to last, by origin, where its upstream says so (RFC 6656 3.4).
    """

    number: int
    space: int
    name: str
    tags: frozenset[str] = frozenset()
    policy: str | None = None
    default_length: int | None = None
    largest_length: int | None = None
    smallest_length: int | None = None
    origins: tuple[IPv4Network, ...] = ()
    leased: bool = False
    host_lease_times: Mapping[IPv4Network, int] = field(default_factory=dict, hash=False)

    @property
    def size(self) -> int:
        """All addresses of its origins."""
        return sum(origin.num_addresses for origin in self.origins)


@dataclass(frozen=True, slots=True)
class Selector:
    """By what a request is known to belong to a space: exactly one of the three."""

    space: int
    vss: str | None = None
    network: IPv4Network | None = None
    identity: bytes | None = None


@dataclass(frozen=True, slots=True)
class Directory:
    """All spaces, pools, and the server identifiers (host-order integers) of the domain; as of some seconds ago.

    `restored`: the ledger is of a backup, and much that is withheld may be free: how little is free says nothing.
    """

    pools: tuple[PoolTerms, ...] = ()
    selectors: tuple[Selector, ...] = ()
    servers: frozenset[int] = frozenset()
    restored: bool = False
    suggests: bool = field(init=False, repr=False, compare=False)
    """Whether any upstream says for how long hosts' leases are to last."""
    behind_relays: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The spaces other than the default one that clients are known to be in by what their relays say."""
    _by_vss: Mapping[str, int] = field(init=False, repr=False, compare=False)
    _by_identity: Mapping[bytes, int] = field(init=False, repr=False, compare=False)
    _by_network: tuple[tuple[IPv4Network, int], ...] = field(init=False, repr=False, compare=False)
    _by_space: Mapping[int, tuple[PoolTerms, ...]] = field(init=False, repr=False, compare=False)
    _untagged: Mapping[int, tuple[PoolTerms, ...]] = field(init=False, repr=False, compare=False)
    # Per space and prefix length, the longest first, the pool of each origin by its network.
    _by_origin: Mapping[int, Mapping[int, Mapping[int, PoolTerms]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        told = {s.space for s in self.selectors if s.identity is None}
        put(self, "suggests", any(pool.host_lease_times for pool in self.pools))
        put(self, "behind_relays", tuple(sorted(told - {DEFAULT_SPACE})))
        put(self, "_by_vss", {s.vss: s.space for s in self.selectors if s.vss is not None})
        put(self, "_by_identity", {s.identity: s.space for s in self.selectors if s.identity is not None})
        networks = [(s.network, s.space) for s in self.selectors if s.network is not None]
        put(self, "_by_network", tuple(sorted(networks, key=lambda pair: -pair[0].prefixlen)))
        spaces = {pool.space for pool in self.pools}
        # Without those that have no address space, as the first one of a new ledger: their terms would decide on what others give.
        put(
            self,
            "_by_space",
            {space: tuple(p for p in self.pools if p.space == space and p.origins) for space in spaces},
        )
        untagged = {space: tuple(pool for pool in pools if not pool.tags) for space, pools in self._by_space.items()}
        put(self, "_untagged", untagged)
        origins = sorted(
            ((origin, pool) for pool in self.pools for origin in pool.origins), key=lambda pair: -pair[0].prefixlen
        )
        by_origin: dict[int, dict[int, dict[int, PoolTerms]]] = {}
        for origin, pool in origins:
            lengths = by_origin.setdefault(pool.space, {})
            lengths.setdefault(origin.prefixlen, {})[int(origin.network_address)] = pool
        put(self, "_by_origin", by_origin)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what deleg.directory() returns."""
        return cls(
            tuple(
                PoolTerms(
                    pool["pool"],
                    pool["space"],
                    pool["name"],
                    frozenset(pool["tags"]),
                    pool["policy"],
                    pool["default_length"],
                    pool["largest_length"],
                    pool["smallest_length"],
                    tuple(IPv4Network(origin) for origin in pool["origins"]),
                    pool["leased"],
                    {IPv4Network(origin): seconds for origin, seconds in pool["host_lease_times"].items()},
                )
                for pool in value["pools"]
            ),
            tuple(
                Selector(
                    s["space"],
                    s["vss"],
                    None if s["network"] is None else IPv4Network(s["network"]),
                    None if s["identity"] is None else bytes.fromhex(s["identity"]),
                )
                for s in value["selectors"]
            ),
            frozenset(int(IPv4Address(address)) for address in value["servers"]),
            value["restored"],
        )

    def space_of(self, identity: bytes, vss: str | None, relay: int) -> int | None:
        """Return the space of a request, None where its VSS is unknown: it must not be served from another VPN (RFC 6607).

        What is said of the client itself goes first, then its VSS, then the longest network that its relay (link address, giaddr; a
        host-order integer) is in.
        """
        if identity in self._by_identity:
            return self._by_identity[identity]
        if vss is not None:
            return self.space_of_vpn(vss)
        if relay and self._by_network:
            address = IPv4Address(relay)
            for network, space in self._by_network:
                if address in network:
                    return space
        return DEFAULT_SPACE

    def space_of_vpn(self, vss: str | None) -> int | None:
        """Return the space that a VPN selects, None where it is unknown; the global VPN, None, is the default space."""
        return DEFAULT_SPACE if vss is None else self._by_vss.get(vss)

    def pools_for(self, space: int, name: str | None) -> tuple[PoolTerms, ...]:
        """Return the pools that serve a request: those tagged with its Subnet-Name (RFC 6656 3.3), else those without tags."""
        if name is not None:
            tagged = tuple(pool for pool in self._by_space.get(space, ()) if name in pool.tags)
            if tagged:
                return tagged
        return self._untagged.get(space, ())

    def pool_of(self, space: int, network: int, prefix_length: int) -> PoolTerms | None:
        """Return the pool that a block is of, by its network (host-order integer); None where no origin holds it."""
        for length, origins in self._by_origin.get(space, {}).items():
            if length <= prefix_length:
                pool = origins.get(network >> 32 - length << 32 - length)
                if pool is not None:
                    return pool
        return None

    def host_lease_time(self, space: int, network: int, prefix_length: int) -> int | None:
        """Return for how many seconds at most the upstream of a block would have its addresses leased; None where it does not say."""
        pool = self.pool_of(space, network, prefix_length)
        if pool is None:
            return None
        for origin, seconds in pool.host_lease_times.items():
            if origin.prefixlen <= prefix_length and network & int(origin.netmask) == int(origin.network_address):
                return seconds
        return None
