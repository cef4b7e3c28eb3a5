# SPDX-License-Identifier: MPL-2.0
"""What a policy is asked, what it answers, and by what it decides (seed [0060-65], [0077], [0115], [0140])."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

Numbers = Mapping[str, float | str]
"""The figures of a decision, for the event log."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Addresses held and, of those, in use as last reported. Unreported is 0."""

    held: int = 0
    used: int = 0


# What is made for each message is not frozen, though nobody changes one: making a frozen dataclass takes a call for each field.
@dataclass(slots=True, unsafe_hash=True)
class Lessee:
    """Who asks: its client identifier, and what it holds and uses."""

    identity: bytes
    holding: Holding = Holding()


@dataclass(frozen=True, slots=True)
class View:
    """The space as of some seconds ago.

    `everyone`: what all lessees hold and use, the one who asks included. `free_by_length`: free blocks by prefix length.
    `size`: all addresses of the pools that the request may draw from, 0 while nothing is known of them.
    """

    everyone: Holding = Holding()
    free_by_length: Mapping[int, int] = field(default_factory=dict)
    size: int = 0
    free: int = field(init=False, repr=False, compare=False)
    """The free addresses."""

    def __post_init__(self) -> None:
        free = sum(blocks << 32 - length for length, blocks in self.free_by_length.items())
        object.__setattr__(self, "free", free)

    def without(self, prefix_length: int) -> View:
        """Return the view when a block of this length is leased as well: cut out of the smallest free one that holds it."""
        free = dict(self.free_by_length)
        holding = max(
            (length for length, blocks in free.items() if blocks > 0 and length <= prefix_length), default=None
        )
        if holding is not None:
            free[holding] -= 1
            for length in range(holding + 1, prefix_length + 1):
                free[length] = free.get(length, 0) + 1
        return View(Holding(self.everyone.held + (1 << 32 - prefix_length), self.everyone.used), free, self.size)


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be given, as prefix lengths: by `default`, the `largest` block and the `smallest`; largest <= default <= smallest."""

    default: int
    largest: int
    smallest: int


@dataclass(slots=True, unsafe_hash=True)
class Wish:
    """One Subnet-Request: a prefix length of 1 to 30, or 0 where the client leaves it to us (RFC 6656 section 3.1).

    0 comes from who has no wish, and from who follows our flag `s` (section 4.2; seed [0067]).
    """

    prefix_length: int


@dataclass(slots=True)
class Grant:
    """Give a block of `prefix_length`; where none can be had, a smaller one, down to `longest` (a prefix length).

    `push`: tell the client to ask for more, by the flag `s` of the OFFER (seed [0065], [0120]).
    """

    prefix_length: int
    longest: int
    reason: str
    numbers: Numbers | None = None
    push: bool = False


@dataclass(slots=True)
class Refusal:
    """Give nothing: the server stays silent (RFC 6656 section 9)."""

    reason: str
    numbers: Numbers | None = None


@dataclass(slots=True)
class Reported:
    """The block to be renewed, by prefix length, and its usage in addresses as the renewal says; None: not reported."""

    prefix_length: int
    high_water: int | None = None
    in_use: int | None = None
    unusable: int | None = None


class Verdict(enum.Enum):
    """On a renewal: in full, with the wish to have it back soon (flag d), or not at all (NAK)."""

    FULL = "full"
    DEPRECATE = "deprecate"
    REFUSE = "refuse"


@dataclass(slots=True)
class RenewalVerdict:
    """A verdict, its reason and the figures it came from."""

    verdict: Verdict
    reason: str
    numbers: Numbers | None = None


class Policy(Protocol):
    """How much for whom. `grant` is called for each Subnet-Request, `renew` for each block of a renewal, `push` for each ACK.

    Of several Subnet-Requests in one message, each is decided as if those before it had been leased already.

    One policy serves several pools, so the limits come with the question. A class that itself has `by_holding = True` (what it inherits
    does not count) promises that `grant` and `push` depend on nothing but their arguments, and of the lessee on its holding alone: then
    they are called once for all who come with the same.
    """

    def grant(self, wish: Wish, lessee: Lessee, view: View, limits: Limits) -> Grant | Refusal:
        """Decide on a request for a block (seed [0061], [0115])."""

    def renew(self, reported: Reported, lessee: Lessee, view: View, limits: Limits) -> RenewalVerdict:
        """Decide on a renewal (seed [0140]), also on one that a FORCERENEW provoked ([0085])."""

    def push(self, lessee: Lessee, granted: int, view: View, limits: Limits) -> bool:
        """Return whether the ACK shall tell the client to ask for more, by the flag `s` (seed [0072]).

        Parameters
        ----------
        lessee : Lessee
            What it held and used before this ACK. These figures must be of this moment: by figures of some seconds ago, who
            asks again at once would be told once more that it holds little, and again, until the next figures come.
        granted : int
            Addresses acknowledged just now, not counted in the lessee's holding; 0 for a renewal.
        view : View
            May be some seconds old; whether it counts what was granted does not matter much.
        limits : Limits
            As for `grant`.
        """
