# SPDX-License-Identifier: MPL-2.0
"""First come, first served, at the size asked."""

from __future__ import annotations

from dataclasses import dataclass

from kea_subnet_deleg.policy.protocol import (
    Grant,
    Lessee,
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

    A larger block than asked is never given (seed [0061]): `largest` is the shortest prefix length anybody gets. Where no block
    of the size asked is left, a smaller one is offered, down to prefix length `smallest` (RFC 6656 section 3.1; the client need
    not take it). `default` is the prefix length for who leaves it to us.
    """

    default: int
    largest: int
    smallest: int

    def grant(self, wish: Wish, lessee: Lessee, view: View) -> Grant | Refusal:
        """Give the size asked, within the limits."""
        asked = wish.prefix_length or self.default
        if asked > self.smallest:
            return Refusal("smaller than is given", {"asked": asked, "smallest": self.smallest})
        length = max(asked, self.largest)
        return Grant(length, self.smallest, "best fit" if length == asked else "largest allowed")

    def renew(self, reported: Reported, lessee: Lessee, view: View) -> RenewalVerdict:
        """Renew in full."""
        return RenewalVerdict(Verdict.FULL, "renewed")
