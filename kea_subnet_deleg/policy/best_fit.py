# SPDX-License-Identifier: MPL-2.0
"""First come, first served, at the size asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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


@dataclass(frozen=True, slots=True)
class BestFit:
    """What is asked is given while there is any, and renewed.

    A larger block than asked is never given (seed [0061]). Where no block of the size asked is left, a smaller one is offered,
    down to the smallest (RFC 6656 section 3.1; the client need not take it). Nobody is told to ask for more.
    """

    by_holding: ClassVar = True

    def grant(self, wish: Wish, lessee: Lessee, view: View, limits: Limits) -> Grant | Refusal:
        """Give the size asked, within the limits."""
        asked = wish.prefix_length or limits.default
        if asked > limits.smallest:
            return Refusal("smaller than is given", {"asked": asked, "smallest": limits.smallest})
        length = max(asked, limits.largest)
        return Grant(length, limits.smallest, "best fit" if length == asked else "largest allowed")

    def renew(self, reported: Reported, lessee: Lessee, view: View, limits: Limits) -> RenewalVerdict:
        """Renew in full."""
        return RenewalVerdict(Verdict.FULL, "renewed")

    def push(self, lessee: Lessee, granted: int, view: View, limits: Limits) -> bool:
        """Never."""
        return False
