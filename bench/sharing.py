# SPDX-License-Identifier: MPL-2.0
"""A day of hosts on networks that share one address space: by growing and shrinking, or each with a fixed part of it.

Networks decide by the project's own `policy.growth`, its policy and ledger (desk.py) whom to give what. Time goes in minutes; what
takes seconds (obtaining a block, draining an empty one) is over within one. A host that finds no address goes away: it is refused.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Final, NamedTuple

from kea_subnet_deleg.policy.growth import Block, Demand, NetworkTerms, plan

from bench.demand import Session
from bench.desk import Ask, Desk, Report

RENEWAL: Final = 144  # minutes from one renewal of a block to the next: 60% of a lease of four hours
HOST_RENEWAL: Final = 30  # minutes from one renewal of a host to the next: half of a lease of one hour
RESTS: Final = (
    2  # minutes until a block that was given up can be given again: release-after and quarantine-time, their defaults
)
ROUNDS: Final = 3  # how often within one minute a network asks for what its hosts still lack
AT_ONCE: Final = 16  # blocks that it asks for in one message


@dataclass(slots=True)
class Refusals:
    """Hosts refused, minute by minute, all that came, and those of the refused that had an address and lost it."""

    by_minute: Counter[int] = field(default_factory=Counter)
    hosts: int = 0
    lost: int = 0

    @property
    def refused(self) -> int:
        """All that found no address, or lost theirs."""
        return self.by_minute.total()

    def series(self, minutes: int, step: int) -> list[int]:
        """Return how many were refused until each of the moments `step` minutes apart."""
        total, series = 0, []
        for minute in range(minutes):
            total += self.by_minute[minute]
            if minute % step == step - 1:
                series.append(total)
        return series


def static(sessions: Iterable[Session], capacities: Sequence[int], first: int) -> Refusals:
    """Serve hosts from fixed parts of so many addresses; those that begin before minute `first` lead to it and are not counted."""
    result = Refusals()
    present: list[list[int]] = [[] for _ in capacities]  # heaps of when hosts leave
    for session in sessions:
        hosts = present[session.lessee]
        while hosts and hosts[0] <= session.begins:
            heapq.heappop(hosts)
        counts = session.begins >= first
        result.hosts += counts
        if len(hosts) < capacities[session.lessee]:
            heapq.heappush(hosts, session.ends)
        else:
            result.by_minute[session.begins - first] += counts
    return result


def split(addresses: int, weights: Sequence[float], unit: int) -> list[int]:
    """Divide a space by weight into parts of whole units, one each at least; what is left over goes to who has least of its due."""
    units = addresses // unit
    total = sum(weights)
    parts = [max(1, math.floor(units * weight / total)) for weight in weights]
    while sum(parts) < units:
        parts[max(range(len(parts)), key=lambda n: weights[n] / total * units - parts[n])] += 1
    while sum(parts) > units:
        parts[max(range(len(parts)), key=lambda n: parts[n])] -= 1
    return [part * unit for part in parts]


@dataclass(slots=True)
class Site:
    """One lessee: a network of hosts, its blocks, and how it moved lately."""

    number: int
    terms: NetworkTerms
    blocks: list[_Held] = field(default_factory=list)
    waiting: list[_Waiting] = field(default_factory=list)  # hosts that lack an address
    grown: int = -(1 << 30)
    busy: int = 0

    def settle(self) -> None:
        """Give those that wait addresses where there are some."""
        for block in self.blocks:
            room = 0 if block.draining else block.capacity - len(block.hosts)
            if room > 0 and self.waiting:
                block.hosts += [host.ends for host in self.waiting[:room]]
                del self.waiting[:room]
                block.high_water = max(block.high_water, len(block.hosts))

    def demand(self, arrivals: int, now: int) -> Demand:
        """Return what the policy of growth is told."""
        if self.waiting or any(block.hosts for block in self.blocks):
            self.busy = now
        return Demand(len(self.waiting), arrivals / 60, 60.0 * (now - self.grown), 60.0 * (now - self.busy))

    def for_policy(self, now: int) -> list[Block]:
        """Return its blocks as the policy of growth sees them."""
        return [
            Block(
                block.prefix,
                block.capacity,
                len(block.hosts),
                draining=block.draining,
                closing=block.closing,
                empty=0.0 if block.hosts or block.empty_since is None else 60.0 * (now - block.empty_since),
            )
            for block in self.blocks
        ]


class _Waiting(NamedTuple):
    """A host that lacks an address: when it will leave, and whether it had one."""

    ends: int
    had: bool


@dataclass(slots=True)
class _Held:
    """A block of a site: when each of its hosts will leave, and what became of it so far. Times are minutes."""

    prefix: IPv4Network
    capacity: int
    renewed: int
    hosts: list[int] = field(default_factory=list)
    high_water: int = 0
    draining: bool = False
    closing: bool = False
    empty_since: int | None = None


class Sharing:
    """Sites that obtain blocks at one desk as their hosts come, and give them back as these go."""

    def __init__(self, desk: Desk, sites: int, terms: NetworkTerms) -> None:
        self.result = Refusals()
        self.forcerenews = 0
        self._desk = desk
        self._sites = [Site(number, terms) for number in range(sites)]
        self._resting: list[tuple[int, int, IPv4Network]] = []  # heap of blocks: until when, whose
        self._held: dict[IPv4Network, tuple[Site, _Held]] = {}

    def run(self, sessions: Sequence[Session], minutes: int, first: int) -> Refusals:
        """Go through `minutes`; what happens before minute `first` leads to it and is not counted."""
        at = 0
        for now in range(minutes):
            arrivals = [0] * len(self._sites)
            for site in self._sites:
                self._leave(site, now)
            while at < len(sessions) and sessions[at].begins == now:
                session = sessions[at]
                at += 1
                arrivals[session.lessee] += 1
                self._sites[session.lessee].waiting.append(_Waiting(session.ends, had=False))
                self.result.hosts += now >= first
            self._minute(arrivals, now)
            refused = sum(len(site.waiting) for site in self._sites)
            if now >= first:
                self.result.by_minute[now - first] += refused
                self.result.lost += sum(host.had for site in self._sites for host in site.waiting)
        return self.result

    def _leave(self, site: Site, now: int) -> None:
        """Hosts whose time is over leave; some of those in draining blocks renew, and wait for a place elsewhere."""
        site.waiting = []
        for block in site.blocks:
            block.hosts = [ends for ends in block.hosts if ends > now]
            if block.draining and block.hosts:
                count = math.ceil(len(block.hosts) / HOST_RENEWAL)
                site.waiting += [_Waiting(ends, had=True) for ends in block.hosts[:count]]
                del block.hosts[:count]
            block.empty_since = (now if block.empty_since is None else block.empty_since) if not block.hosts else None

    def _minute(self, arrivals: Sequence[int], now: int) -> None:
        desk = self._desk
        done = []
        while self._resting and self._resting[0][0] <= now:
            _, number, prefix = heapq.heappop(self._resting)
            done.append((number, prefix))
        if done:
            desk.release(done)
        desk.outdate()
        self._renew([held for held in self._held.values() if now - held[1].renewed >= RENEWAL], now)
        for site in self._sites:
            site.settle()
        for turn in range(ROUNDS):
            lacking = self._decide(arrivals, now)
            if not lacking:
                return
            given = desk.ask([ask for _, ask in lacking])
            missing = 0
            for (site, ask), prefixes in zip(lacking, given, strict=True):
                missing += sum(1 << 32 - length for length in ask.lengths) - sum(p.num_addresses for p in prefixes)
                for prefix in prefixes:
                    self._take(site, prefix, now)
                site.settle()
            if missing > 0 and turn == 0:
                self._ask_back(missing, now)
            if not any(given):
                return
            desk.outdate()

    def _decide(self, arrivals: Sequence[int], now: int) -> list[tuple[Site, Ask]]:
        """Do what each network's plan says, and return what they lack."""
        lacking = []
        for site in self._sites:
            decided = plan(site.terms, site.for_policy(now), site.demand(arrivals[site.number], now))
            drain = {one.prefix for one in decided.drain}
            for block in list(site.blocks):
                if block.prefix in decided.end:
                    self._give_up(site, block, now)
                block.draining = (block.draining or block.prefix in drain) and block.prefix not in decided.reopen
            if decided.reopen:
                site.grown = now
                site.settle()
            if decided.grow:
                lengths = (site.terms.prefix_length,) * min(AT_ONCE, decided.grow)
                lacking.append((site, Ask(site.number, lengths)))
        return lacking

    def _take(self, site: Site, prefix: IPv4Network, now: int) -> None:
        block = _Held(prefix, site.terms.capacity(prefix.prefixlen), now, empty_since=now)
        site.blocks.append(block)
        site.grown = now
        self._held[prefix] = (site, block)

    def _give_up(self, site: Site, block: _Held, now: int) -> None:
        site.blocks.remove(block)
        del self._held[block.prefix]
        heapq.heappush(self._resting, (now + RESTS, site.number, block.prefix))

    def _renew(self, held: Sequence[tuple[Site, _Held]], now: int) -> None:
        reports = [Report(site.number, block.prefix, block.high_water, len(block.hosts)) for site, block in held]
        for (site, block), deprecated in zip(held, self._desk.renew(reports), strict=True):
            block.renewed = now
            if deprecated is None:  # a NAK stops all use at once (RFC 6656 section 5.2)
                site.waiting += [_Waiting(ends, had=True) for ends in block.hosts]
                site.blocks.remove(block)
                del self._held[block.prefix]
            elif deprecated:
                block.closing = block.draining = True

    def _ask_back(self, addresses: int, now: int) -> None:
        """FORCERENEW: the holders of what is least used renew at once."""
        orders = self._desk.shortage(
            addresses, {prefix: 60.0 * (now - block.renewed) for prefix, (_, block) in self._held.items()}
        )
        self.forcerenews += len(orders)
        named = [block.prefix for order in orders for block in order.blocks]
        self._renew([self._held[prefix] for prefix in named if prefix in self._held], now)
