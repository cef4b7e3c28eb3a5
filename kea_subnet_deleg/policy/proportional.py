# SPDX-License-Identifier: MPL-2.0
"""Space follows use: the seed's apportioning ([0010], [0061], [0065], [0077], [0115], [0120], [0140]).

Why a decision was made as it was; the codes are in the event log and do not change:

=============================================  ====================================================================================
as asked                                       nothing speaks against it
largest allowed                                asked for more than the limits give
server's choice                                no size asked: the default
server's choice: half of the largest free      no size asked: the default would take more than half of the largest free block
server's choice: heavy use                     no size asked: as much as the lessee holds already, for it uses that heavily
scarce: newcomer                               holds nothing yet: half of what is free at most
scarce: uses less than others                  smaller by as many halvings as its utilisation is below that of the others ([0115])
scarce: uses half at most                      half the size, as its renewals ask: what it has is twice what it needs ([0140])
nearly gone: smaller                           half the size, whoever asks
nearly gone: uses less than others             refused
nearly gone: others use theirs heavily         refused to who holds nothing yet ([0115])
smaller than is given                          refused: the limits give no block so small
usage not reported                             renewed in full, as whatever is leased counts as used ([0124])
more than half used                            renewed in full: half the block would not do ([0140]: 74 of 128)
not scarce                                     renewed in full, however little is used
smallest, in use                               renewed in full: no smaller block could follow
scarce: half would do                          deprecated, so that a block of half the size can follow ([0010]: 45% of a /24)
scarce: unused                                 deprecated: has been used, or may have been, and is not now
nearly gone: never used                        refused with a NAK
=============================================  ====================================================================================

Why the flag `s` was set is among the numbers, as "push": "newcomer", "heavy use" or "below its share".
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import ClassVar, Final

from kea_subnet_deleg.policy.figures import Figures, addresses, prefix_length
from kea_subnet_deleg.policy.protocol import (
    Grant,
    Lessee,
    Limits,
    Refusal,
    RenewalVerdict,
    Reported,
    Verdict,
    View,
    Wish,
)

AS_ASKED: Final = "as asked"
LARGEST_ALLOWED: Final = "largest allowed"
CHOSEN: Final = "server's choice"
CHOSEN_HALF: Final = "server's choice: half of the largest free"
CHOSEN_HEAVY: Final = "server's choice: heavy use"
SCARCE_NEWCOMER: Final = "scarce: newcomer"
SCARCE_USES_LESS: Final = "scarce: uses less than others"
SCARCE_USES_HALF: Final = "scarce: uses half at most"
GONE_SMALLER: Final = "nearly gone: smaller"
GONE_USES_LESS: Final = "nearly gone: uses less than others"
GONE_NEWCOMER: Final = "nearly gone: others use theirs heavily"
TOO_SMALL: Final = "smaller than is given"
NOT_REPORTED: Final = "usage not reported"
MORE_THAN_HALF: Final = "more than half used"
NOT_SCARCE: Final = "not scarce"
SMALLEST: Final = "smallest, in use"
HALF_WOULD_DO: Final = "scarce: half would do"
UNUSED: Final = "scarce: unused"
NEVER_USED: Final = "nearly gone: never used"

PUSH_NEWCOMER: Final = "newcomer"
PUSH_HEAVY: Final = "heavy use"
PUSH_SHARE: Final = "below its share"

SATURATED: Final = 65534
"""The highest count that a renewal can report (RFC 6656 section 3.2.1.1); of a block beyond /16 it may mean any more."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where the proportional policy changes its mind. All are fractions from 0 to 1 but `most_halvings`.

    Attributes
    ----------
    scarce
        Space is scarce where this fraction of it is free, or less: who uses theirs less than the others gets smaller blocks,
        and little used blocks are deprecated at their renewal.
    critical
        Space is nearly gone where this fraction of it is free, or less: who uses theirs less than the others gets nothing.
    ample
        Lessees are told to ask for more while at least this fraction stays free.
    heavy
        A lessee that uses at least this fraction of what it holds uses it heavily, and is told to ask for more.
    very_high
        Where space is nearly gone and the lessees use at least this fraction of theirs, a newcomer gets nothing.
    most_halvings
        A block is made smaller this many times at most, however little the lessee uses.

    Raises
    ------
    ValueError
        A value is out of its range, or not critical <= scarce <= ample.
    """

    scarce: float = 0.25
    critical: float = 0.05
    ample: float = 0.5
    heavy: float = 0.8
    very_high: float = 0.9
    most_halvings: int = 3

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            low, high = (1, 30) if name == "most_halvings" else (0, 1)
            if not low <= (value := getattr(self, name)) <= high:
                raise ValueError(f"{name}: {value}: must be from {low} to {high}")
        if not self.critical <= self.scarce <= self.ample:
            raise ValueError(
                f"scarce: {self.scarce}: must be from critical, which is {self.critical}, to ample, which is {self.ample}"
            )


class _Scarcity(enum.Enum):
    """How much is left."""

    NONE = enum.auto()
    SCARCE = enum.auto()
    CRITICAL = enum.auto()


# Looking up a member of an enum costs as much as comparing it.
_PLENTY: Final = _Scarcity.NONE
_CRITICAL: Final = _Scarcity.CRITICAL


@dataclass(frozen=True, slots=True)
class Proportional:
    """In plenty everyone gets what it asks; in scarcity who uses little gets little, and what is little used is asked back."""

    thresholds: Thresholds = Thresholds()
    by_holding: ClassVar = True

    def grant(self, wish: Wish, lessee: Lessee, view: View, limits: Limits) -> Grant | Refusal:
        """Decide on a request for a block: never more than asked, never outside the limits (seed [0061], [0115])."""
        figures = Figures(lessee, view)
        asked, reason = wish.prefix_length, AS_ASKED
        if not asked:
            asked, reason = self._choose(figures, view, limits)
        numbers = figures.numbers(wish.prefix_length)
        if asked > limits.smallest:
            return Refusal(TOO_SMALL, numbers)
        if asked < limits.largest:
            asked, reason = limits.largest, LARGEST_ALLOWED
        length, why = self._apportion(asked, figures)
        if length is None:
            return Refusal(why, numbers)
        length = min(length, limits.smallest)
        if length != asked:
            reason = why
        # Who follows our `s` (size zero) is not told `s` again in the OFFER, by figures that don't yet count what it was offered.
        push = self._push(figures, figures.utilisation, addresses(length), limits) if wish.prefix_length else None
        if push is not None:
            numbers["push"] = push
        return Grant(length, limits.smallest, reason, numbers, push is not None)

    def renew(self, reported: Reported, lessee: Lessee, view: View, limits: Limits) -> RenewalVerdict:
        """Decide on a renewal by the block's own use and by what is left of the space (seed [0010], [0140])."""
        figures = Figures(lessee, view)
        verdict, reason = self._renewal(reported, self._scarcity(figures), limits)
        numbers = figures.numbers(reported.prefix_length)
        for name, count in (("high-water", reported.high_water), ("in-use", reported.in_use)):
            if count is not None:
                numbers[name] = count
        return RenewalVerdict(verdict, reason, numbers)

    def push(self, lessee: Lessee, granted: int, view: View, limits: Limits) -> bool:
        """Return whether the ACK shall carry the flag `s` (seed [0072]); see Policy.push for what the arguments must be.

        Other than for the OFFER, use is heavy where it still is with what was just granted, and a renewal makes no newcomer.
        """
        figures = Figures(lessee, view)
        if figures.newcomer and not granted:
            return False
        utilisation = figures.used / (figures.held + granted) if figures.held else 0.0
        return self._push(figures, utilisation, granted, limits) is not None

    def _scarcity(self, figures: Figures) -> _Scarcity:
        if figures.free_fraction > self.thresholds.scarce:
            return _PLENTY
        return _CRITICAL if figures.free_fraction <= self.thresholds.critical else _Scarcity.SCARCE

    def _spare(self, figures: Figures) -> int:
        """Return how many addresses may go before space is scarce."""
        return max(0, figures.free - int(self.thresholds.scarce * figures.size) - 1)

    def _choose(self, figures: Figures, view: View, limits: Limits) -> tuple[int, str]:
        """Return the prefix length for who leaves it to us, and why (seed [0067], Table 3)."""
        length, reason = limits.default, CHOSEN
        if figures.utilisation >= self.thresholds.heavy:
            # Doubling, as far as its share goes. Were space scarce by that, it would be asked back at once, and pushed again.
            doubling = prefix_length(min(figures.held, max(0, figures.fair - figures.held), self._spare(figures)))
            if doubling < length:
                length, reason = doubling, CHOSEN_HEAVY
        half = min((free + 1 for free, blocks in view.free_by_length.items() if blocks), default=0)
        if half > length:
            length, reason = half, CHOSEN_HALF
        return min(length, limits.smallest), reason

    def _apportion(self, asked: int, figures: Figures) -> tuple[int | None, str]:
        """Return what is left of a request by what is left of the space: a prefix length, None for nothing; and why."""
        scarcity = self._scarcity(figures)
        if scarcity is _PLENTY:
            return asked, AS_ASKED
        critical = scarcity is _CRITICAL
        if figures.newcomer:
            if critical and figures.others_utilisation >= self.thresholds.very_high:
                return None, GONE_NEWCOMER
            half_of_free = prefix_length(figures.free // 2)
            return max(asked + 1 if critical else asked, half_of_free), GONE_SMALLER if critical else SCARCE_NEWCOMER
        halvings = figures.halvings(self.thresholds.most_halvings)
        if halvings:
            return (None, GONE_USES_LESS) if critical else (asked + halvings, SCARCE_USES_LESS)
        if critical:
            return asked + 1, GONE_SMALLER
        # What it holds is deprecated at its renewals so that half the size can follow ([0140]), not the same size again.
        return (asked + 1, SCARCE_USES_HALF) if 2 * figures.used <= figures.held else (asked, AS_ASKED)

    @staticmethod
    def _renewal(reported: Reported, scarcity: _Scarcity, limits: Limits) -> tuple[Verdict, str]:
        high_water, in_use = reported.high_water, reported.in_use
        if high_water is None and in_use is None:
            return Verdict.FULL, NOT_REPORTED
        peak = max(high_water or 0, in_use or 0)
        if 2 * peak > addresses(reported.prefix_length) or peak >= SATURATED:
            return Verdict.FULL, MORE_THAN_HALF
        if scarcity is _Scarcity.NONE:
            return Verdict.FULL, NOT_SCARCE
        if peak and reported.prefix_length >= limits.smallest:
            return Verdict.FULL, SMALLEST
        # A NAK stops all use at once (RFC 6656 section 5.2), so both counts must say that there is none.
        if scarcity is _Scarcity.CRITICAL and high_water == 0 and in_use == 0:
            return Verdict.REFUSE, NEVER_USED
        return Verdict.DEPRECATE, HALF_WOULD_DO if in_use or (in_use is None and peak) else UNUSED

    def _push(self, figures: Figures, utilisation: float, granted: int, limits: Limits) -> str | None:
        """Return why the lessee should ask for more once it has what is `granted`, None if it should not (seed [0065], [0120])."""
        # Where nothing is known of the space, `size` is 0 and nothing is ample. What follows a push must not make space scarce.
        if not figures.size or figures.free - granted < self.thresholds.ample * figures.size:
            return None
        if granted + addresses(limits.default) > self._spare(figures):
            return None
        if figures.newcomer:
            return PUSH_NEWCOMER
        if not figures.used:
            return None
        if utilisation >= self.thresholds.heavy:
            return PUSH_HEAVY
        # Use must also fill more than half of what it has: what is less used is the first to be asked back.
        held = figures.held + granted
        if held + addresses(limits.default) <= figures.fair and 2 * figures.used > held:
            return PUSH_SHARE
        return None
