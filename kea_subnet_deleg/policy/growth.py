# SPDX-License-Identifier: MPL-2.0
"""When a network grows and shrinks by blocks (seed FIG. 6, [0103-107]).

The seed grows when the last address is gone. That is late: the host that met it asks again after four seconds (RFC 2131 section
4.1). So a network grows at a high water mark, by what is coming within the next seconds, and has the seed's rule besides.

What is in use decides, wherever it is: the hosts of a block that drains want an address elsewhere at their next renewal. Between
low water, where a network shrinks, and high water, where it grows, nothing happens; and it shrinks only as far as leaves it below
the middle of the two. So a change is never the reason for the opposite one.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final, NamedTuple

ABOVE_HIGH_WATER: Final = "above high water"
NO_ADDRESS_LEFT: Final = "hosts found no address"
TOO_FEW_BLOCKS: Final = "fewer blocks than min-blocks"
BELOW_LOW_WATER: Final = "below low water"
UNUSED: Final = "nothing in use"
ORIGIN_CLOSES: Final = "its origin is given back"
LEASE_ENDS: Final = "its lease ends and is not renewed"

HORIZON: Final = 1.0
"""Seconds whose new hosts a network has room for after it has grown: several looks ahead. More would make too much of a burst."""
NEARLY_FULL: Final = 0.95
"""Share of the addresses from which on a failed allocation is taken for the want of an address. Below, it has another cause."""
SETTLED: Final = 2.0
"""Seconds for which a drained block must be seen empty until it ends: exchanges under way, and a partner that closes it later."""
FIRST_PATIENCE: Final = 5.0
"""Seconds for which a block without use is kept at least: the host that it was taken for asks again after 4 to 5 (RFC 2131 4.1)."""
ENDING: Final = 0.1
"""What is left of a block's lease when it is taken for not renewed any more. Rebinding begins at 0.125 (RFC 2131 section 4.4.5)."""
_ROUNDING: Final = 1e-9


class Router(enum.StrEnum):
    """Which address of a block is its router's (option 3)."""

    FIRST = "first"
    LAST = "last"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class NetworkTerms:
    """A network and when it grows and shrinks. Shares of its open addresses, times in seconds, sizes as prefix lengths.

    `prefix_length` is that of the blocks it takes, `name` that of a shared network of Kea's. `low_water` 0: it never shrinks.
    """

    name: str
    prefix_length: int = 24
    high_water: float = 0.8
    low_water: float = 0.3
    min_blocks: int = 0
    max_blocks: int | None = None
    hold_time: float = 30.0
    router: Router = Router.FIRST
    valid_lifetime: int | None = None
    pool: str | None = None

    def capacity(self, prefix_length: int) -> int:
        """Return how many hosts a block has addresses for: all but network, broadcast and router."""
        return max(0, (1 << 32 - prefix_length) - 2 - (self.router is not Router.NONE))


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a network, in addresses.

    `draining`: no new addresses, no renewals. `closing`: its origin is to be given back. `ending`: its lease is about to end (see
    `is_ending`). `empty`: seconds for which it has been draining and seen empty; 0 if it is not known to be empty now.
    """

    prefix: IPv4Network
    capacity: int
    in_use: int = 0
    unusable: int = 0
    draining: bool = False
    closing: bool = False
    ending: bool = False
    empty: float = 0.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What a network met lately.

    `pressure`: requests that got no address since the last look. `rate`: addresses taken per second. `quiet`: seconds since it
    last grew. `idle`: seconds since an address of it was in use, or asked for in vain. `parts`: in how many parts a pair of servers
    that balances load has its addresses; each host gets one of a certain part, so that is what is full.
    """

    pressure: int = 0
    rate: float = 0.0
    quiet: float = math.inf
    idle: float = math.inf
    parts: int = 1


class Drain(NamedTuple):
    """A block that is to drain, and why."""

    prefix: IPv4Network
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a network is to do: reopen blocks that drain, take `grow` further ones, let some drain, end those that are empty.

    `barred`: blocks that it needs beyond `grow` and must not take (max-blocks). `reason`: why it grows or reopens, else "".
    """

    grow: int = 0
    barred: int = 0
    reopen: tuple[IPv4Network, ...] = ()
    drain: tuple[Drain, ...] = ()
    end: tuple[IPv4Network, ...] = ()
    reason: str = ""

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.grow or self.reopen or self.drain or self.end)


class Filled(NamedTuple):
    """How full a network is: addresses in use, unusable ones of the blocks that stay open, and the capacity of these."""

    in_use: int
    unusable: int
    capacity: int

    @property
    def used(self) -> int:
        """Return what is not to be had."""
        return self.in_use + self.unusable


def filled(blocks: Iterable[Block]) -> Filled:
    """Return how full a network is."""
    blocks = tuple(blocks)
    staying = [block for block in blocks if _stays(block)]
    return Filled(
        sum(block.in_use for block in blocks),
        sum(block.unusable for block in staying),
        sum(block.capacity for block in staying),
    )


def is_ending(remaining: float | None, term: float | None) -> bool:
    """Whether a block's lease is about to end: `remaining` seconds of `term`, which it had when it was last renewed; None: for ever."""
    return remaining is not None and term is not None and remaining < ENDING * term


def plan(terms: NetworkTerms, blocks: Sequence[Block], demand: Demand) -> Plan:
    """Decide what a network is to do now.

    Blocks that have to go do not count as open, nor against max-blocks: they are replaced while there is time. Those whose origin
    is given back drain at once; those whose lease runs out only when the others suffice, for until then they serve.
    """
    growth = _growth(terms, blocks, demand)
    growing = growth.reason != ""
    drain = [Drain(block.prefix, ORIGIN_CLOSES) for block in blocks if block.closing and not block.draining]
    if not growing:
        drain += _replaced(blocks) + _spared(terms, blocks, demand)
    end = tuple(
        block.prefix
        for block in blocks
        if block.draining
        and block.prefix not in growth.reopen
        and block.in_use == block.unusable == 0
        and block.empty >= SETTLED
    )
    return Plan(growth.grow, growth.barred, growth.reopen, tuple(drain), end, growth.reason)


def _stays(block: Block) -> bool:
    """Whether a block gives addresses, and will go on to."""
    return not (block.draining or block.closing or block.ending)


def _coming(level: Filled, demand: Demand) -> float:
    """Return how many further addresses will be taken within the horizon. A network that everybody left has nothing coming."""
    return demand.rate * HORIZON if level.in_use else 0.0


def _growth(terms: NetworkTerms, blocks: Sequence[Block], demand: Demand) -> Plan:
    """Return the part of the plan that adds blocks: as few as bring the network below high water."""
    staying = sum(map(_stays, blocks))
    level = filled(blocks)
    reason, wanted = _shortage(terms, level, staying, demand)
    if not reason:
        return Plan()
    most = math.inf if terms.max_blocks is None else terms.max_blocks
    reopen: list[IPv4Network] = []
    capacity = float(level.capacity)

    def suffices(further: int) -> bool:
        return (
            len(reopen) + further > 0
            and staying + len(reopen) + further >= terms.min_blocks
            and wanted <= terms.high_water * (capacity + further * size) + _ROUNDING
        )

    size = terms.capacity(terms.prefix_length)
    for block in _reopenable(blocks):
        if suffices(0) or staying + len(reopen) >= most:
            break
        reopen.append(block.prefix)
        capacity += block.capacity - block.unusable / terms.high_water
    if suffices(0):
        return Plan(reopen=tuple(reopen), reason=reason)
    lacking = math.ceil((wanted - terms.high_water * capacity) / (terms.high_water * size) - _ROUNDING) if size else 1
    grow = max(lacking, terms.min_blocks - staying - len(reopen), 0 if reopen else 1)
    allowed = int(min(grow, max(0, most - staying - len(reopen))))
    return Plan(allowed, grow - allowed, tuple(reopen), reason=reason)


def _shortage(terms: NetworkTerms, level: Filled, blocks: int, demand: Demand) -> tuple[str, float]:
    """Return why a network has to grow ("" if it has not) and how many addresses are wanted of it then.

    Hosts that found nothing count as wanted, but no more than double the network: many of them may be one that asks again and again.
    They are the first of those that are coming.
    """
    coming = _coming(level, demand)
    wanted = level.used + coming
    full = level.used >= NEARLY_FULL * (level.capacity // demand.parts)
    if demand.pressure and full:
        waiting = min(demand.pressure, max(level.capacity, terms.capacity(terms.prefix_length)))
        return NO_ADDRESS_LEFT, level.used + max(coming, waiting)
    if wanted > terms.high_water * level.capacity + _ROUNDING:
        return ABOVE_HIGH_WATER, wanted
    return (TOO_FEW_BLOCKS if blocks < terms.min_blocks else ""), wanted


def _reopenable(blocks: Iterable[Block]) -> list[Block]:
    """Return the blocks that may be taken back into use; first those with the most hosts, who need not move then."""
    draining = [block for block in blocks if block.draining and not (block.closing or block.ending)]
    return sorted(draining, key=lambda block: (-block.in_use, block.prefix))


def _replaced(blocks: Sequence[Block]) -> list[Drain]:
    """Return the blocks whose lease runs out, where others are there for their hosts (called where these suffice)."""
    if not any(map(_stays, blocks)):
        return []
    return [
        Drain(block.prefix, LEASE_ENDS) for block in blocks if block.ending and not (block.draining or block.closing)
    ]


def _spared(terms: NetworkTerms, blocks: Sequence[Block], demand: Demand) -> list[Drain]:
    """Return the blocks that a network can do without: the emptiest, of equal ones those with the highest address."""
    if not terms.low_water or demand.quiet < terms.hold_time:
        return []
    level = filled(blocks)
    coming = _coming(level, demand)
    unused = not (level.in_use or demand.pressure) and demand.idle >= max(terms.hold_time, FIRST_PATIENCE)
    if not unused and level.used + coming >= terms.low_water * level.capacity:
        return []
    reason = UNUSED if unused else BELOW_LOW_WATER
    # Without use the last block goes as well, if it may.
    fewest = terms.min_blocks if unused else max(1, terms.min_blocks)
    # The middle is below NEARLY_FULL but for odd settings; above, failures that have another cause would make it grow again.
    share = min((terms.low_water + terms.high_water) / 2, NEARLY_FULL / demand.parts)
    staying = [block for block in blocks if _stays(block)]
    left, capacity, used = len(staying), level.capacity, level.used
    drain: list[Drain] = []
    for block in sorted(staying, key=lambda block: (block.in_use, -int(block.prefix.network_address))):
        if left <= fewest:
            break
        without, unavailable = capacity - block.capacity, used - block.unusable
        if left == 1 or unavailable + coming < share * without:
            drain.append(Drain(block.prefix, reason))
            left, capacity, used = left - 1, without, unavailable
    return drain
