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


@dataclass(frozen=True, slots=True)
class Lessee:
    """Who asks: its client identifier, and what it holds and uses."""

    identity: bytes
    holding: Holding = Holding()


@dataclass(frozen=True, slots=True)
class View:
    """The space as of some seconds ago: what all lessees hold and use, and the free blocks by prefix length."""

    everyone: Holding = Holding()
    free_by_length: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wish:
    """One Subnet-Request: a prefix length of 1 to 30, or 0 where the client leaves it to us (RFC 6656 section 3.1)."""

    prefix_length: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Give a block of `prefix_length`; where none can be had, a smaller one, down to `longest` (a prefix length)."""

    prefix_length: int
    longest: int
    reason: str
    numbers: Numbers | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Give nothing: the server stays silent (RFC 6656 section 9)."""

    reason: str
    numbers: Numbers | None = None


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class RenewalVerdict:
    """A verdict, its reason and the figures it came from."""

    verdict: Verdict
    reason: str
    numbers: Numbers | None = None


class Policy(Protocol):
    """How much for whom. Called once for each Subnet-Request and for each block of a renewal."""

    def grant(self, wish: Wish, lessee: Lessee, view: View) -> Grant | Refusal:
        """Decide on a request for a block (seed [0061], [0115])."""

    def renew(self, reported: Reported, lessee: Lessee, view: View) -> RenewalVerdict:
        """Decide on a renewal (seed [0140])."""
