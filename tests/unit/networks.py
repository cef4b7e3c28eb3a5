# SPDX-License-Identifier: MPL-2.0
"""A Kea that leases addresses of the subnets it is told to serve, and a ledger of blocks: both in memory, with a clock of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from kea_subnet_deleg.ledger.networks import LocalBlock, Measured, ReservedBlock, Served
from kea_subnet_deleg.policy.growth import NetworkTerms
from kea_subnet_deleg.roles.addressing import Addressing, ReservedTerms

SERVER = int(IPv4Address("192.0.2.1"))
QUARANTINE = 60


class Down(Exception):
    """What the fakes raise when they are told to fail."""


@dataclass
class Subnet:
    """A subnet in the fake Kea: what it was told, and its leases. `uncounted`: those that its statistics have lost."""

    told: Mapping[str, Any]
    assigned: int = 0
    declined: int = 0
    peak: int = 0
    failures: int = 0
    uncounted: int = 0

    @property
    def size(self) -> int:
        first, last = self.told["pool"].split("-")
        return int(IPv4Address(last)) - int(IPv4Address(first)) + 1

    @property
    def free(self) -> int:
        return self.size - self.assigned - self.uncounted if self.told["open"] else 0

    def lease(self, hosts: int) -> int:
        """Return how many of the hosts got an address."""
        served = min(hosts, self.free)
        self.assigned += served
        self.peak = max(self.peak, self.assigned)
        return served


@dataclass
class Kea:
    """Kea's configuration and leases. `networks`: its shared networks; `static`: subnets of its file; `missed`: see `database`."""

    networks: set[str] = field(default_factory=lambda: {"hosts"})
    static: list[IPv4Network] = field(default_factory=list)
    subnets: dict[int, Subnet] = field(default_factory=dict)
    unserved: Counter[str] = field(default_factory=Counter)
    database: str = "memfile"
    missed: int = 0
    parts: int = 1
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    fail_on: str = ""
    told: dict[int, tuple[int, int]] | None = None

    def moved(self) -> int | None:
        figures = self._figures()
        if self.told is None or self.unserved or any(subnet.failures for subnet in self.subnets.values()):
            return None
        changes = [(figures[key], before) for key, before in self.told.items() if key in figures]
        return sum(abs(now[0] - before[0]) + abs(now[1] - before[1]) for now, before in changes)

    def _figures(self) -> dict[int, tuple[int, int]]:
        return {key: (one.assigned, one.declined) for key, one in self.subnets.items()}

    def ask(self, request: Mapping[str, Any], timeout: float = 5.0) -> dict[str, Any]:  # noqa: ARG002  # as Kea has it
        self.asked.append(request)
        if request["op"] == self.fail_on:
            raise Down(f"Kea: {self.fail_on}")
        match request["op"]:
            case "addresses":
                return {"addresses": [], "lease-database": self.database}
            case "serve":
                return self._serve(request)
            case "ends":
                return {"subnets": {str(key): self.ends.get(key, 0) for key in request["ids"]}}
            case "missed":
                return {"subnets": {str(key): {"assigned": self._missed(key), "declined": 0} for key in request["ids"]}}
            case _:
                return self._usage(request["ids"])

    def _serve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        failed = {}
        wanted = {}
        for told in request["subnets"]:
            if told.get("network", "hosts") not in self.networks:
                failed[str(told["id"])] = "no such shared network"
            elif any(IPv4Network(told["subnet"]).overlaps(static) for static in self.static):
                failed[str(told["id"])] = "overlaps"
            else:
                wanted[told["id"]] = told
        added = [key for key in wanted if key not in self.subnets]
        withdrawn = [key for key in self.subnets if key not in wanted]
        for key in withdrawn:
            del self.subnets[key]
        for key, told in wanted.items():
            self.subnets.setdefault(key, Subnet(told)).told = told
        unknown = [name for name in request["networks"] if name not in self.networks]
        return {
            "added": added,
            "opened": [],
            "closed": [],
            "withdrawn": withdrawn,
            "failed": failed,
            "unknown-networks": unknown,
        }

    def _usage(self, ids: Sequence[int]) -> dict[str, Any]:
        answer = {}
        for key in ids:
            subnet = self.subnets[key]
            answer[str(key)] = {
                "assigned": subnet.assigned,
                "declined": subnet.declined,
                "peak": max(subnet.peak, subnet.assigned),
                "failures": subnet.failures,
            }
            subnet.peak, subnet.failures = subnet.assigned, 0
        unserved, self.unserved = self.unserved, Counter()
        self.told = self._figures()
        return {"subnets": answer, "unserved": dict(unserved), "parts": self.parts}

    def _missed(self, key: int) -> int:
        return self.missed + self.subnets[key].uncounted

    def reset(self) -> None:
        """Have an operator reset all statistics."""
        for subnet in self.subnets.values():
            subnet.uncounted += subnet.assigned
            subnet.assigned = 0

    def of(self, network: str) -> list[Subnet]:
        return [subnet for _, subnet in sorted(self.subnets.items()) if subnet.told.get("network") == network]

    def arrive(self, hosts: int, network: str = "hosts") -> int:
        """Have hosts ask once; return how many got an address."""
        served = 0
        for subnet in self.of(network):
            served += subnet.lease(hosts - served)
        if (left := hosts - served) > 0:
            shut = [subnet for subnet in self.of(network) if subnet.told["open"]]
            if shut:
                shut[0].failures += left
            else:
                self.unserved[network] += left
        return served

    def leave(self, hosts: int, network: str = "hosts") -> None:
        """Have hosts' leases end, those of the last subnets first."""
        for subnet in reversed(self.of(network)):
            gone = min(hosts, subnet.assigned)
            subnet.assigned -= gone
            hosts -= gone

    def move(self, network: str = "hosts") -> None:
        """Have the hosts of closed subnets renew: they get an address elsewhere, where there is any, and leave the old one."""
        for subnet in self.of(network):
            if not subnet.told["open"]:
                leaving, subnet.assigned = subnet.assigned, 0
                self.arrive(leaving, network)

    def in_use(self, network: str = "hosts") -> int:
        return sum(subnet.assigned for subnet in self.of(network))

    def served(self, network: str = "hosts") -> dict[str, bool]:
        """Return the network's subnets, and whether they are open."""
        return {subnet.told["subnet"]: subnet.told["open"] for subnet in self.of(network)}

    def requests(self, op: str) -> list[Mapping[str, Any]]:
        return [request for request in self.asked if request["op"] == op]


@dataclass
class Held:
    """A block of a network in the fake ledger; times by the clock."""

    network: str
    since: float
    state: str = "local"
    draining: bool = False
    closing: bool = False
    ends: float | None = None
    in_use: int | None = None
    high_water: int | None = None
    unusable: int | None = None


@dataclass
class Store:
    """The ledger's blocks: free ones (with the end of their lease) and those that networks hold."""

    clock: Callable[[], float]
    free: dict[IPv4Network, float | None] = field(default_factory=dict)
    held: dict[IPv4Network, Held] = field(default_factory=dict)
    reserved: list[ReservedBlock] = field(default_factory=list)
    reports: list[list[Measured]] = field(default_factory=list)
    hosts_left: dict[IPv4Network, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    fail_on: str = ""
    faster: int = 0

    def add(self, blocks: int, length: int = 24, first: int = 1, ends: float | None = None) -> None:
        """Add free blocks 10.0.FIRST.0 and on."""
        for n in range(first, first + blocks):
            self.free[IPv4Network((f"10.0.{n}.0", length))] = ends

    def _begin(self, call: str) -> None:
        self.calls.append(call)
        if call == self.fail_on:
            raise Down(f"ledger: {call}")

    def served(self, networks: Sequence[str]) -> Served:
        self._begin("served")
        now = self.clock()
        local = [
            LocalBlock(
                prefix,
                held.network,
                held.state,
                held.draining,
                held.closing,
                now - held.since,
                None if held.ends is None else round(held.ends - now),
                held.in_use,
                held.high_water,
                held.unusable,
            )
            for prefix, held in sorted(self.held.items())
            if held.network in networks
        ]
        return Served(local, list(self.reserved))

    def take(
        self, network: str, pool: str | None, lengths: Sequence[int], open_blocks: int, shortest: int
    ) -> list[IPv4Network] | None:
        self._begin("take")
        if pool is not None:  # there is but the one without a tag
            return []
        if self.faster:
            self.faster -= 1
            self._give(network, lengths[:1], shortest)
            return None
        is_open = [held for held in self.held.values() if held.network == network and held.state == "local"]
        assert sum(not held.draining for held in is_open) == open_blocks
        return self._give(network, lengths, shortest)

    def _give(self, network: str, lengths: Sequence[int], shortest: int) -> list[IPv4Network]:
        taken = []
        for length in lengths:
            for prefix, ends in sorted(self.free.items()):
                if prefix.prefixlen == length and (ends is None or ends - self.clock() >= shortest):
                    del self.free[prefix]
                    self.held[prefix] = Held(network, self.clock(), ends=ends)
                    taken.append(prefix)
                    break
        return taken

    def drain(self, prefixes: Sequence[IPv4Network], reason: str) -> None:
        self._begin("drain")
        assert reason
        for prefix in prefixes:
            assert self.held[prefix].state == "local"
            self.held[prefix].draining, self.held[prefix].since = True, self.clock()

    def reopen(self, prefixes: Sequence[IPv4Network]) -> list[IPv4Network]:
        self._begin("reopen")
        for prefix in prefixes:
            assert self.held[prefix].draining
            self.held[prefix].draining, self.held[prefix].since = False, self.clock()
        return list(prefixes)

    def end(self, prefixes: Sequence[IPv4Network], quarantine: int, reason: str) -> None:
        self._begin("end")
        assert reason
        assert quarantine == QUARANTINE
        for prefix in prefixes:
            assert self.held[prefix].draining
            self.held[prefix].state, self.held[prefix].since = "quarantined", self.clock()

    def notified(self) -> object:
        """Return a value that is another one when PostgreSQL would have told of a change (NOTIFY)."""
        held = [(prefix, one.state, one.draining, one.closing, one.ends) for prefix, one in sorted(self.held.items())]
        return held, list(self.reserved)

    def sweep(self) -> None:
        """Free what has been in quarantine for long enough."""
        for prefix, held in list(self.held.items()):
            if held.state == "quarantined" and self.clock() - held.since >= QUARANTINE:
                del self.held[prefix]
                self.free[prefix] = held.ends

    def left(self, rows: Mapping[IPv4Network, int]) -> None:
        self._begin("left")
        self.hosts_left.update(rows)
        self.reserved = [block._replace(pending=block.pending and block.prefix not in rows) for block in self.reserved]

    def measured(self, rows: Sequence[Measured]) -> None:
        self._begin("measured")
        self.reports.append(list(rows))
        for row in rows:
            if (held := self.held.get(row.prefix)) is None:
                continue  # reserved
            held.in_use, held.unusable = row.in_use, row.unusable
            held.high_water = max(held.high_water or 0, row.peak)


@dataclass
class Journal:
    """Keeps what is logged."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)

    def info(self, identifier: str, text: str) -> None:
        self.lines.append(("info", identifier, text))

    def warn(self, identifier: str, text: str) -> None:
        self.lines.append(("warn", identifier, text))

    def error(self, identifier: str, text: str) -> None:
        self.lines.append(("error", identifier, text))

    def logged(self, identifier: str) -> list[str]:
        return [text for _, name, text in self.lines if name == identifier]


class Site:
    """A server with one Kea, one ledger, and time that passes when it is told to."""

    def __init__(
        self, *terms: NetworkTerms, reserved: ReservedTerms | None = None, own: Mapping[int, int] | None = None
    ) -> None:
        self.now = 1000.0
        self.kea = Kea()
        self.store = Store(lambda: self.now)
        self.journal = Journal()
        self.own = {SERVER: 1} if own is None else own
        self.terms = terms or (NetworkTerms("hosts"),)
        self.reserved = reserved or ReservedTerms()
        self.missing: tuple[int, ...] = ()
        self._notified: object = None  # also after a turn that failed
        self.addressing = self.server(self.kea)

    def server(self, kea: Kea) -> Addressing:
        """Return the role of a server of this ledger, started just now."""
        return Addressing(
            self.terms, self.reserved, self.store, kea, self.journal, self.own, lambda: self.now, QUARANTINE
        )

    def turn(self) -> tuple[int, ...]:
        """Have the role's turn, as the agent does: it says whether the ledger has told of a change since the last."""
        notified = self.store.notified()
        news, self._notified = notified != self._notified, None
        self.missing = self.addressing.turn(news=news)
        self._notified = notified
        return self.missing

    def run(self, seconds: float, each: Callable[[], None] | None = None) -> None:
        """Let time pass, and the role have its turns when they are due; `each` is called at each of them before it."""
        end = self.now + seconds
        while True:
            self.now = min(end, max(self.now, self.addressing.due))
            self.store.sweep()
            if each is not None:
                each()
            self.turn()
            if self.now >= end:
                return

    def settle(self) -> None:
        """Let the time pass in which figures of the ledger count more than Kea's."""
        self.run(35.0)

    def logged(self, identifier: str) -> list[str]:
        return self.journal.logged(f"SUBNET_DELEG_{identifier}")

    def open(self, network: str = "hosts") -> list[str]:
        return [subnet for subnet, is_open in self.kea.served(network).items() if is_open]
