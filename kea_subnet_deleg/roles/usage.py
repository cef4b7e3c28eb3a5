# SPDX-License-Identifier: MPL-2.0
"""How much of what we serve is in use: from Kea's statistics to the ledger (seed FIG. 8, [0126-128]).

Kea counts leases as they come and go, so a look costs the same whatever their number. Where servers share a lease database, each
Kea counts only what it did itself; what it is off by is then found by asking the database, less often. An operator may reset its
statistics, too. So before anything is taken away because nobody uses it, the leases themselves are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, Final, NamedTuple, Protocol

from kea_subnet_deleg.ledger.networks import Measured

REPORT_INTERVAL: Final = 5.0
"""Seconds after which also figures that did not change are reported, and leases are counted where statistics may miss some."""
TRUST: Final = 30.0
"""Seconds from the start in which figures that the ledger had then are believed where they are higher than Kea's: a server of a high
availability pair starts with no leases, and gets them from its partner."""
SMOOTHING: Final = 1.0
"""Seconds in which the rate follows a change to about two thirds."""
_STILL: Final = 0.01
"""Addresses per second: a lower rate is none."""


class Asks(Protocol):
    """What the role needs of Kea. Raises what the agent knows: Kea does not answer, or refuses."""

    def ask(self, request: Mapping[str, Any], timeout: float = 5.0) -> dict[str, Any]:
        """Have Kea do something and return what it answers; timeout in seconds."""

    def moved(self) -> int | None:
        """Tell how many addresses came and went since Kea was asked for usage last; None where more than that may have happened."""


class Watched(NamedTuple):
    """A subnet that Kea serves, the network it is of, and its usage as the ledger has it; None where that is nothing."""

    prefix: IPv4Network
    network: str | None
    in_use: int | None = None
    unusable: int | None = None


class Figures(NamedTuple):
    """Usage of a subnet in addresses, and for how many seconds it has been seen without any."""

    in_use: int
    unusable: int
    empty: float


@dataclass(slots=True)
class _Count:
    """What is known of a subnet.

    `counted`: in use by Kea's statistics alone, None before the first reading; `off_by`: leases of the lease database that these
    miss (assigned, declined). `believed`: what the ledger said when the subnet was first seen (in use, unusable), until Kea counts as
    many; None before.
    """

    network: str | None
    counted: int | None = None
    in_use: int = 0
    unusable: int = 0
    peak: int = 0
    empty_since: float | None = None
    told: tuple[int, int, int] | None = None
    off_by: tuple[int, int] = (0, 0)
    believed: tuple[int, int] | None = None


class Usage:
    """Usage of the subnets that a server serves, its changes, and what its networks could not serve.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, kea: Asks, clock: Callable[[], float]) -> None:
        self._kea = kea
        self._clock = clock
        self._counts: dict[IPv4Network, _Count] = {}
        self._rates: dict[str, float] = {}
        self._pressure: dict[str, int] = {}
        self._shared: bool | None = None
        self._parts = 1
        self._started = clock()
        self._read_at = self._started
        self._all_due = self._started
        self._missed_due = self._started
        self._telling_all = False

    def read(self, subnets: Iterable[Watched]) -> None:
        """Ask Kea for the figures of all subnets that it serves."""
        watched = {str(subnet_id(subnet.prefix)): subnet for subnet in subnets}
        now = self._clock()
        if self._shared is None:
            self._shared = self._kea.ask({"op": "addresses"})["lease-database"] != "memfile"
        statistics = self._ask(watched)
        off = any(count.off_by != (0, 0) for count in self._counts.values())
        if (self._shared or off) and now >= self._missed_due:
            for key, off_by in self._missed(watched).items():
                count = self._counts.setdefault(watched[key].prefix, _Count(watched[key].network))
                count.off_by = off_by
            self._missed_due = now + REPORT_INTERVAL
        known = {watched[key].prefix for key in statistics.keys() & watched.keys()}
        taken = dict.fromkeys((subnet.network for subnet in watched.values() if subnet.network is not None), 0)
        for key, subnet in watched.items():
            if key in statistics:
                rise = self._count(subnet, statistics[key], now)
                if subnet.network is not None:
                    taken[subnet.network] += rise
        self._counts = {prefix: count for prefix, count in self._counts.items() if prefix in known}
        self._follow(taken, now)

    def fresh(self, prefix: IPv4Network, network: str) -> None:
        """Note that a network begins to serve a block, so that its first hosts count for the rate."""
        self._counts.setdefault(prefix, _Count(network, counted=0, believed=(0, 0)))

    def of(self, prefix: IPv4Network) -> Figures | None:
        """Return what was last read of a subnet; None where Kea did not know it."""
        count = self._counts.get(prefix)
        if count is None:
            return None
        empty = 0.0 if count.empty_since is None else self._read_at - count.empty_since
        return Figures(count.in_use, count.unusable, empty)

    def confirmed(self, prefixes: Iterable[IPv4Network]) -> bool:
        """Have Kea count the leases of subnets: whether that is what `of` says. If not, it does now."""
        counts = {str(subnet_id(prefix)): self._counts[prefix] for prefix in prefixes if prefix in self._counts}
        if not counts:
            return True
        missed = self._missed(counts)
        right = True
        for key, count in counts.items():
            before, count.off_by = count.off_by, missed[key]
            declined = count.off_by[1] - before[1]
            in_use = count.off_by[0] - before[0] - declined
            if in_use or declined:
                right = False
                count.in_use, count.unusable = max(0, count.in_use + in_use), max(0, count.unusable + declined)
                count.peak = max(count.peak, count.in_use)
            if count.in_use or count.unusable:
                count.empty_since = None
        return right

    def within(self, addresses: int) -> bool:
        """Whether Kea can tell that no more addresses came and went since the last reading, and nothing else happened."""
        moved = self._kea.moved()
        return moved is not None and moved <= addresses

    def rate(self, network: str) -> float:
        """Return how many addresses per second a network's hosts took lately, over those given back."""
        return self._rates.get(network, 0.0)

    def pressure(self, network: str) -> int:
        """Return how many requests a network left unserved since the last call."""
        return self._pressure.pop(network, 0)

    @property
    def parts(self) -> int:
        """In how many parts a subnet's addresses are. A host gets one of its server's part, and none where that is full."""
        return self._parts

    def news(self) -> list[Measured]:
        """Return what the ledger is to be told now: what changed, and from time to time everything."""
        self._telling_all = self._clock() >= self._all_due
        return [
            Measured(prefix, count.in_use, count.peak, count.unusable)
            for prefix, count in self._counts.items()
            if self._telling_all or count.told != _figures(count)
        ]

    def told(self, rows: Iterable[Measured]) -> None:
        """Note that the ledger has these."""
        if self._telling_all:
            self._all_due = self._clock() + REPORT_INTERVAL
        for row in rows:
            count = self._counts[row.prefix]
            count.peak = count.in_use
            count.told = _figures(count)

    def _ask(self, watched: Mapping[str, Watched]) -> dict[str, Any]:
        """Ask Kea, and keep what is counted since the last question. Returns entries by subnet-id as text."""
        ids = [int(key) for key in watched]
        answer = self._kea.ask({"op": "usage", "ids": ids})
        subnets: dict[str, Any] = answer["subnets"]
        self._parts = answer["parts"]
        for network, unserved in answer["unserved"].items():
            self._press(network, unserved)
        for key, entry in subnets.items():
            if key in watched and (name := watched[key].network) is not None:
                self._press(name, entry["failures"])
        return subnets

    def _press(self, network: str, requests: int) -> None:
        if requests:
            self._pressure[network] = self._pressure.get(network, 0) + requests

    def lease_ends(self, prefixes: Sequence[IPv4Network]) -> dict[IPv4Network, int]:
        """Return for how many seconds yet the last lease in each of these subnets lasts; without those that have none."""
        if not prefixes:
            return {}
        answer = self._kea.ask({"op": "ends", "ids": [subnet_id(prefix) for prefix in prefixes]})["subnets"]
        ends = {prefix: answer.get(str(subnet_id(prefix)), 0) for prefix in prefixes}
        return {prefix: seconds for prefix, seconds in ends.items() if seconds > 0}

    def _missed(self, keys: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Have Kea count the leases of subnets: by how much they exceed its statistics (assigned, declined)."""
        answer = self._kea.ask({"op": "missed", "ids": [int(key) for key in keys]})
        return {key: (entry["assigned"], entry["declined"]) for key, entry in answer["subnets"].items()}

    def _count(self, subnet: Watched, entry: Mapping[str, int], now: float) -> int:
        """Take over one subnet's figures; return how many more addresses this Kea has leased than before."""
        count = self._counts.setdefault(subnet.prefix, _Count(subnet.network))
        counted = entry["assigned"] - entry["declined"]
        rise = 0 if count.counted is None else counted - count.counted
        count.counted = counted
        assigned, declined = entry["assigned"] + count.off_by[0], max(0, entry["declined"] + count.off_by[1])
        in_use = max(0, assigned - declined)  # a declined address is an assigned one to Kea
        peak = max(in_use, entry["peak"] + count.off_by[0] - declined)
        leased, bad = count.believed or (subnet.in_use or 0, subnet.unusable or 0)
        trusted = now - self._started < TRUST
        count.believed = (leased if trusted and in_use < leased else 0, bad if trusted and declined < bad else 0)
        in_use, declined = max(in_use, count.believed[0]), max(declined, count.believed[1])
        count.network = subnet.network
        count.in_use, count.unusable = in_use, declined
        count.peak = max(count.peak, peak, in_use)
        if in_use or declined:
            count.empty_since = None
        elif count.empty_since is None:
            count.empty_since = now
        return rise

    def _follow(self, taken: Mapping[str, int], now: float) -> None:
        """Let each network's rate follow what was taken since the last reading."""
        passed = now - self._read_at
        self._read_at = now
        if passed <= 0.0:
            return
        weight = 1.0 - math.exp(-passed / SMOOTHING)
        for network in taken.keys() | self._rates.keys():
            before = self._rates.get(network, 0.0)
            rate = before + weight * (max(0, taken.get(network, 0)) / passed - before)
            self._rates[network] = rate if rate >= _STILL else 0.0


def subnet_id(prefix: IPv4Network) -> int:
    """Return the subnet-id of a block: its network address. It is the same on all servers and never an operator's small number."""
    return int(prefix.network_address)


def _figures(count: _Count) -> tuple[int, int, int]:
    return count.in_use, count.peak, count.unusable
