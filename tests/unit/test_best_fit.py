# SPDX-License-Identifier: MPL-2.0
from __future__ import annotations

import pytest

from kea_subnet_deleg.policy import BestFit, Grant, Lessee, Limits, Refusal, Reported, Verdict, View, Wish

POLICY = BestFit()
LIMITS = Limits(default=24, largest=16, smallest=28)
ANYONE = Lessee(b"\1\2")


@pytest.mark.parametrize("asked", range(31))
def test_never_more_than_asked_nor_than_allowed(asked: int) -> None:
    decision = POLICY.grant(Wish(asked), ANYONE, View(), LIMITS)
    if asked > 28:
        assert decision == Refusal("smaller than is given", {"asked": asked, "smallest": 28})
    elif asked == 0:
        assert decision == Grant(24, 28, "best fit")
    else:
        assert decision == Grant(max(asked, 16), 28, "best fit" if asked >= 16 else "largest allowed")


def test_renewed_in_full() -> None:
    verdict = POLICY.renew(Reported(24, 0, 0, 0), ANYONE, View(), LIMITS)
    assert (verdict.verdict, verdict.reason) == (Verdict.FULL, "renewed")
