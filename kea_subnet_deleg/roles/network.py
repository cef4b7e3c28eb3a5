# SPDX-License-Identifier: MPL-2.0
"""One network: what its figures ask for is done in the ledger, and told in the log (seed FIG. 6, [0103-107])."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Final, NamedTuple, Protocol

from kea_subnet_deleg.ledger.networks import LocalBlock, Measured, Served
from kea_subnet_deleg.policy.growth import (
    HORIZON,
    NEARLY_FULL,
    Block,
    Demand,
    Filled,
    NetworkTerms,
    Plan,
    filled,
    is_ending,
    plan,
)
from kea_subnet_deleg.roles.serving import SAME_END, Journal, Serving
from kea_subnet_deleg.roles.usage import REPORT_INTERVAL, Usage, subnet_id

PACE: Final = 1.0
"""Seconds between two looks; more often while a network has nothing to give, and while one fills."""
PACE_EMPTY: Final = 0.5
PACE_FILLING: Final = 0.2
LONGEST_STILLNESS: Final = 5.0
"""Seconds without a look at usage at most, while hosts change little: leases end by themselves, and usage is to be reported."""
STILL_LEASE: Final = 60.0
"""Seconds of a block's lease from which on its end is watched closely."""
AFTER_GROWTH: Final = 10.0
"""Seconds in which a network that grew is watched closely."""
RISING: Final = 0.1
"""Addresses per second from which on a network is said to fill."""
AT_ONCE: Final = 64
"""Blocks taken in one turn at most."""
PATIENCE: Final = 65.0
"""Seconds for which hosts that found nothing are remembered: they ask again after 64 at the latest (RFC 2131 section 4.1)."""
FULL_AFTER: Final = 5.0
"""Seconds without a block that is wanted until the log says so: an upstream gives one in less."""
SMALLER_AFTER: Final = 2.0
"""Seconds without a block of its size until a network takes smaller ones. Its hosts ask again after 4 (RFC 2131 section 4.1)."""
MOST_HALVINGS: Final = 3
SMALLEST: Final = 29
"""How much smaller a block may be, and the longest prefix length of one."""
SHORTEST: Final = 5
"""Seconds that the lease of a block must last to be worth taking."""


class NetworkStore(Protocol):
    """What the role needs of the ledger: `ledger.networks.Networks`."""

    def served(self, networks: Sequence[str]) -> Served:
        """Return the blocks of these networks, and all reserved ones."""

    def take(
        self, network: str, pool: str | None, lengths: Sequence[int], open_blocks: int, shortest: int
    ) -> list[IPv4Network] | None:
        """Move free blocks to a network; None if it has not `open_blocks` any more."""

    def drain(self, prefixes: Sequence[IPv4Network], reason: str) -> None:
        """Have blocks give no more addresses."""

    def reopen(self, prefixes: Sequence[IPv4Network]) -> list[IPv4Network]:
        """Take draining blocks back into use; return those for which it was not too late."""

    def end(self, prefixes: Sequence[IPv4Network], quarantine: int, reason: str) -> None:
        """Take empty draining blocks out of a network."""

    def measured(self, rows: Sequence[Measured]) -> None:
        """Record usage."""

    def left(self, rows: Mapping[IPv4Network, int]) -> None:
        """Record for how many seconds yet hosts have addresses of what relays released."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all networks of a server share. `quarantine`: seconds for which a withdrawn block is held back."""

    store: NetworkStore
    usage: Usage
    serving: Serving
    journal: Journal
    clock: Callable[[], float]
    quarantine: int


class _Lease(NamedTuple):
    """When a block's own lease ends, by our clock, and how long it was when it was last renewed; in seconds."""

    end: float
    term: float


class _Grown(NamedTuple):
    """Blocks reopened or taken, and missing ones. `raced`: another server was faster, nothing was taken."""

    blocks: int
    missing: int
    raced: bool


class Outcome(NamedTuple):
    """What a network's turn came to: blocks missing, whether anything changed in the ledger, and seconds until the next look.

    `tolerance`: how many addresses may come and go before another look could lead to anything; None where time alone could.
    """

    missing: int
    changed: bool
    pace: float
    tolerance: int | None


class Network:
    """One network of one server: how it moved lately, and what becomes of it. All that matters is in the ledger and in Kea."""

    def __init__(self, terms: NetworkTerms, surroundings: Surroundings) -> None:
        self._terms = terms
        self._store = surroundings.store
        self._usage = surroundings.usage
        self._serving = surroundings.serving
        self._journal = surroundings.journal
        self._clock = surroundings.clock
        self._quarantine = surroundings.quarantine
        self._busy = self._clock()  # when an address was last in use or asked for
        self._grown_at = -math.inf
        self._unserved, self._unserved_until = 0, 0.0
        self._recount_due = 0.0
        self._full, self._full_since = "", math.inf  # what the log says, and since when it would have something to say
        self._leases: dict[IPv4Network, _Lease] = {}
        self._present: frozenset[IPv4Network] = frozenset()
        self._warned: frozenset[IPv4Network] = frozenset()

    def look_after(self, blocks: Sequence[LocalBlock]) -> Outcome:
        """Do what the network's figures ask for. `blocks` are all of it, as the ledger has them."""
        now = self._clock()
        local = [block for block in blocks if block.state == "local"]
        self._note_withdrawn(local, now)
        self._note_leases(local, now)
        refused = any(self._is_refused(block) for block in local)
        usable = self._blocks(local, now)
        level = filled(usable)
        demand = self._demand(level, local, now)
        decided = plan(self._terms, usable, demand)
        doubtful = bool(decided.drain or decided.end)
        if self._unserved and not (decided.grow or decided.reopen or decided.barred) and now >= self._recount_due:
            doubtful = True  # hosts find none where many should be left
            self._recount_due = now + REPORT_INTERVAL
        if doubtful and not self._usage.confirmed(block.prefix for block in usable):
            usable = self._blocks(local, now)
            level = filled(usable)
            decided = plan(self._terms, usable, replace(demand, idle=self._idle(level, now)))
        self._note_ending(usable, now)
        if refused and decided.grow:
            # What Kea would not take either must not be taken, and taken, and taken.
            decided = Plan(0, 0, decided.reopen, decided.drain, decided.end, decided.reason)
        self._act_on_old(decided, level)
        grown = self._grow(decided, level, local, now)
        if not (grown.missing or grown.raced or refused):
            self._unserved = 0
        self._note_full(decided, level, grown, now)
        changed = bool(grown.blocks or decided.drain or decided.end)
        pace = self._pace(usable, level, now, raced=grown.raced)
        still = not (changed or grown.missing or pace < PACE_EMPTY) and self._is_still(usable, now)
        return Outcome(grown.missing, changed, pace, self._tolerance(level) if still else None)

    def _demand(self, level: Filled, local: Sequence[LocalBlock], now: float) -> Demand:
        """Return what the network met lately; requests that found nothing are remembered until they are served."""
        name = self._terms.name
        if pressure := self._usage.pressure(name):
            self._unserved = max(self._unserved, pressure)
            self._unserved_until = now + PATIENCE
        elif now >= self._unserved_until:
            self._unserved = 0
        youngest = min((block.age for block in local if not block.draining), default=math.inf)
        quiet = min(now - self._grown_at, youngest)
        return Demand(self._unserved, self._usage.rate(name), quiet, self._idle(level, now), self._usage.parts)

    def _idle(self, level: Filled, now: float) -> float:
        """Return for how many seconds no address has been in use or asked for."""
        if level.in_use or self._unserved:
            self._busy = now
        return now - self._busy

    def _act_on_old(self, decided: Plan, level: Filled) -> None:
        """Drain and end blocks that the network has."""
        name = self._terms.name
        for reason, drained in itertools.groupby(decided.drain, lambda drain: drain.reason):
            prefixes = [drain.prefix for drain in drained]
            self._store.drain(prefixes, reason)
            for prefix in prefixes:
                figures = self._usage.of(prefix)
                held = f"{figures.in_use} in use" if figures else "use unknown"
                self._journal.info(
                    "SUBNET_DELEG_NETWORK_DRAINS",
                    f"{name}: {prefix} ({held}): {reason}; {_numbers(self._terms, level)}",
                )
        if decided.end:
            self._store.end(decided.end, self._quarantine, "empty")
            for prefix in decided.end:
                self._tell_withdrawn(prefix, "drained and empty")

    def _grow(self, decided: Plan, level: Filled, local: Sequence[LocalBlock], now: float) -> _Grown:
        """Reopen blocks and take further ones."""
        terms = self._terms
        reopened = self._store.reopen(decided.reopen) if decided.reopen else []
        for prefix in reopened:
            self._tell_grown("SUBNET_DELEG_NETWORK_REOPENED", prefix, decided.reason, level)
        taken: list[IPv4Network] | None = []
        wanted = min(decided.grow, AT_ONCE)
        if wanted:
            drained = {drain.prefix for drain in decided.drain}
            open_blocks = sum(not block.draining and block.prefix not in drained for block in local) + len(reopened)
            taken = self._take(wanted, open_blocks, now)
        for prefix in taken or ():
            self._usage.fresh(prefix, terms.name)
            self._tell_grown("SUBNET_DELEG_NETWORK_GREW", prefix, decided.reason, level)
        if reopened or taken:
            self._grown_at = now
        self._present |= set(taken or ())
        if taken is None:
            return _Grown(len(reopened), 0, raced=True)
        return _Grown(len(reopened) + len(taken), max(0, wanted - len(taken)), raced=False)

    def _take(self, wanted: int, open_blocks: int, now: float) -> list[IPv4Network] | None:
        """Take free blocks; where none of the network's size was to be had for a while, smaller ones, which are better than nothing."""
        terms = self._terms
        shortest = self._shortest(now)
        taken = self._store.take(terms.name, terms.pool, [terms.prefix_length] * wanted, open_blocks, shortest)
        if taken is None or len(taken) == wanted or now - self._full_since < SMALLER_AFTER:
            return taken
        for length in range(terms.prefix_length + 1, min(terms.prefix_length + MOST_HALVINGS, SMALLEST) + 1):
            missing = min(AT_ONCE, wanted << length - terms.prefix_length)
            smaller = self._store.take(terms.name, terms.pool, [length] * missing, open_blocks + len(taken), shortest)
            if smaller is None or smaller:
                return taken + (smaller or [])
        return taken

    def _shortest(self, now: float) -> int:
        """Return for how long a further block's lease must last: longer than those that are to be replaced."""
        left = [lease.end - now for lease in self._leases.values() if is_ending(lease.end - now, lease.term)]
        return max(SHORTEST, math.ceil(max(left, default=0.0) + SAME_END))

    def _pace(self, blocks: Sequence[Block], level: Filled, now: float, *, raced: bool) -> float:
        """Return in how many seconds to look again."""
        rising = self._usage.rate(self._terms.name) > RISING
        half_way = level.used > self._terms.high_water / 2 * level.capacity
        if raced or (half_way and rising) or now - self._grown_at < AFTER_GROWTH:
            return PACE_FILLING
        return PACE if any(not block.draining for block in blocks) else PACE_EMPTY

    def _tolerance(self, level: Filled) -> int | None:
        """Return half the addresses that may be taken until the network grows; None where they will be, before the next look."""
        coming = self._usage.rate(self._terms.name) * (HORIZON + LONGEST_STILLNESS)
        room = self._terms.high_water * level.capacity - level.used - coming
        return None if room < 0 else int(room / 2)

    def _is_still(self, blocks: Iterable[Block], now: float) -> bool:
        """Whether no host is known to wait, no block is on its way out, and the log will have nothing to say."""
        going = any(block.draining or block.ending for block in blocks) or any(
            lease.end - now < min(lease.term, STILL_LEASE) for lease in self._leases.values()
        )
        return not (going or self._unserved or (math.isfinite(self._full_since) and not self._full))

    def _blocks(self, local: Iterable[LocalBlock], now: float) -> list[Block]:
        """Return a network's blocks for the policy, with the freshest figures there are.

        Those that Kea refuses give no address: only draining ones are there for it, to be ended, and never to be reopened.
        """
        blocks = []
        for block in local:
            refused = self._is_refused(block)
            if refused and not block.draining:
                continue
            lease = self._leases.get(block.prefix)
            figures = self._usage.of(block.prefix)
            blocks.append(
                Block(
                    block.prefix,
                    self._terms.capacity(block.prefix.prefixlen),
                    figures.in_use if figures else block.in_use or 0,
                    figures.unusable if figures else block.unusable or 0,
                    block.draining,
                    block.closing or refused,
                    lease is not None and is_ending(lease.end - now, lease.term),
                    self._empty(block, refused=refused),
                )
            )
        return blocks

    def _empty(self, block: LocalBlock, *, refused: bool) -> float:
        """Return for how many seconds a block has been draining and empty. Of one that Kea refused, this Kea leased nothing."""
        figures = self._usage.of(block.prefix)
        if not block.draining or not (figures or refused):
            return 0.0
        return min(figures.empty, block.age) if figures else block.age

    def _is_refused(self, block: LocalBlock) -> bool:
        return subnet_id(block.prefix) in self._serving.refused

    # ------------------------------------------------------------------------------------------------ what it came to

    def _note_leases(self, local: Iterable[LocalBlock], now: float) -> None:
        """Follow when the blocks' own leases end."""
        leases = {}
        for block in local:
            if block.remaining is not None:
                lease = self._leases.get(block.prefix)
                if lease is None or abs(lease.end - now - block.remaining) > SAME_END:
                    lease = _Lease(now + block.remaining, block.remaining)
                leases[block.prefix] = lease
        self._leases = leases

    def _note_ending(self, blocks: Iterable[Block], now: float) -> None:
        """Say in time that hosts will lose their addresses (once a block)."""
        ending = {block.prefix: block for block in blocks if block.ending}
        for prefix in sorted(ending.keys() - self._warned):
            self._journal.warn(
                "SUBNET_DELEG_NETWORK_ENDING",
                f"{self._terms.name}: the lease of {prefix} ends in {self._leases[prefix].end - now:.0f} s and was not renewed; "
                f"{ending[prefix].in_use} of its addresses are in use",
            )
        self._warned = frozenset(ending)

    def _note_withdrawn(self, local: Iterable[LocalBlock], now: float) -> None:
        """Say which blocks are gone that this server did not end."""
        present = frozenset(block.prefix for block in local)
        for prefix in sorted(self._present - present):
            lease = self._leases.get(prefix)
            ended = lease is not None and lease.end - now <= SAME_END
            self._tell_withdrawn(
                prefix, "its lease ended" if ended else "it was taken back, or another server withdrew it"
            )
        self._present = present

    def _tell_withdrawn(self, prefix: IPv4Network, reason: str) -> None:
        self._present -= {prefix}
        self._journal.info("SUBNET_DELEG_NETWORK_WITHDRAWN", f"{self._terms.name}: {prefix}: {reason}")

    def _tell_grown(self, identifier: str, prefix: IPv4Network, reason: str, level: Filled) -> None:
        self._journal.info(
            identifier,
            f"{self._terms.name}: {prefix}: {reason}; {_numbers(self._terms, level)}, "
            f"{self._usage.rate(self._terms.name):.1f}/s",
        )

    def _note_full(self, decided: Plan, level: Filled, grown: _Grown, now: float) -> None:
        """Say that a network can't grow, if that lasts; once until it changes."""
        terms = self._terms
        full = "nothing is free" if grown.missing else f"max-blocks is {terms.max_blocks}" if decided.barred else ""
        if grown.blocks or (not full and level.used < NEARLY_FULL * level.capacity):
            self._full, self._full_since = "", math.inf
        elif full:  # that nobody asks just now is no change
            self._full_since = min(self._full_since, now)
            if full != self._full and now - self._full_since >= FULL_AFTER:
                self._full = full
                self._journal.warn(
                    "SUBNET_DELEG_NETWORK_FULL",
                    f"{terms.name}: {grown.missing or decided.barred} more of /{terms.prefix_length} wanted "
                    f"({decided.reason}), but {full}; {_numbers(terms, level)}",
                )


def _numbers(terms: NetworkTerms, level: Filled) -> str:
    """Return the figures of a decision."""
    unusable = f" and {level.unusable} unusable" if level.unusable else ""
    return (
        f"{level.in_use}{unusable} of {level.capacity} addresses, "
        f"low water {terms.low_water:g}, high water {terms.high_water:g}"
    )
