# SPDX-License-Identifier: MPL-2.0
"""The proportional policy, case by case, with the seed's own numbers first."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

from kea_subnet_deleg.policy import (
    Grant,
    Holding,
    Lessee,
    Limits,
    Proportional,
    Refusal,
    Reported,
    Thresholds,
    Verdict,
    View,
    Wish,
    proportional,
)

LIMITS = Limits(default=24, largest=16, smallest=30)
POLICY = Proportional()


def space(size: int, free: dict[int, int], held: int, used: int) -> View:
    return View(Holding(held, used), free, size)


def lessee(held: int = 0, used: int = 0) -> Lessee:
    return Lessee(b"\1\2", Holding(held, used))


# A space of 4096 addresses. SCARCE: 768 free, CRITICAL: 192, GONE: none, PLENTY: 3072. What is held and used comes with the case.
PLENTY, SCARCE, CRITICAL, GONE = {21: 1, 22: 1}, {23: 1, 24: 1}, {25: 1, 26: 1}, dict[int, int]()


class Asks(NamedTuple):
    """A request for /`asked` of who holds and uses so much, while the others hold and use so much."""

    asked: int
    own: tuple[int, int]
    others: tuple[int, int]
    free: dict[int, int]
    given: int | None  # a prefix length, None for a refusal
    reason: str
    push: str | None = None


GRANTS = {
    # seed [0010]: 45% against 90%, when addresses are scarce
    "the 45% user gets half": Asks(24, (256, 115), (256, 230), SCARCE, 25, "scarce: uses less than others"),
    "the 90% user gets all": Asks(24, (256, 230), (256, 115), SCARCE, 24, "as asked"),
    "in plenty the 45% user too": Asks(24, (256, 115), (256, 230), PLENTY, 24, "as asked"),
    # scarce
    "30% against 90%: two halvings": Asks(24, (1000, 300), (1000, 900), SCARCE, 26, "scarce: uses less than others"),
    "22.5% against 90%: two": Asks(24, (1000, 225), (1000, 900), SCARCE, 26, "scarce: uses less than others"),
    "22.4% against 90%: three": Asks(24, (1000, 224), (1000, 900), SCARCE, 27, "scarce: uses less than others"),
    "1% against 90%: no more than three": Asks(
        24, (1000, 10), (1000, 900), SCARCE, 27, "scarce: uses less than others"
    ),
    "unreported counts as unused": Asks(24, (1000, 0), (1000, 900), SCARCE, 27, "scarce: uses less than others"),
    "89% against 90%: one at least": Asks(24, (1000, 890), (1000, 900), SCARCE, 25, "scarce: uses less than others"),
    "89.6% against 90.4%: none": Asks(24, (1000, 896), (1000, 904), SCARCE, 24, "as asked"),
    "44.9% against 90.1%: one": Asks(24, (256, 115), (1000, 901), SCARCE, 25, "scarce: uses less than others"),
    "90% against 90%: none": Asks(24, (1000, 900), (1000, 900), SCARCE, 24, "as asked"),
    "no smaller than the smallest": Asks(29, (1000, 10), (1000, 900), SCARCE, 30, "scarce: uses less than others"),
    "the smallest can't be halved": Asks(30, (1000, 10), (1000, 900), SCARCE, 30, "as asked"),
    "all use half: half": Asks(24, (1000, 500), (1000, 500), SCARCE, 25, "scarce: uses half at most"),
    "all use a little more: as asked": Asks(24, (1000, 501), (1000, 501), SCARCE, 24, "as asked"),
    "nobody reports, scarce: half": Asks(24, (1000, 0), (1000, 0), SCARCE, 25, "scarce: uses half at most"),
    "newcomer: half of 768 is a /24": Asks(22, (0, 0), (3072, 2000), SCARCE, 24, "scarce: newcomer"),
    "newcomer asks for less": Asks(25, (0, 0), (3072, 2000), SCARCE, 25, "as asked"),
    "newcomer, others at 90%, scarce only": Asks(25, (0, 0), (1000, 900), SCARCE, 25, "as asked"),
    # nearly gone; [0115]
    "worse than others: nothing": Asks(
        28, (1000, 890), (1000, 900), CRITICAL, None, "nearly gone: uses less than others"
    ),
    "as good as others: half": Asks(28, (1000, 900), (1000, 900), CRITICAL, 29, "nearly gone: smaller"),
    "newcomer, others below 90%": Asks(28, (0, 0), (1000, 899), CRITICAL, 29, "nearly gone: smaller"),
    "newcomer: half of 192 is a /26": Asks(24, (0, 0), (1000, 899), CRITICAL, 26, "nearly gone: smaller"),
    "newcomer, others at 90%": Asks(28, (0, 0), (1000, 900), CRITICAL, None, "nearly gone: others use theirs heavily"),
    "nothing left: the ledger will find nothing": Asks(24, (0, 0), (1000, 10), GONE, 30, "nearly gone: smaller"),
    # limits
    "larger than is given": Asks(8, (0, 0), (0, 0), PLENTY, 16, "largest allowed"),
    # size zero
    "default": Asks(0, (256, 100), (768, 300), PLENTY, 24, "server's choice"),
    "default, newcomer: no push after size zero": Asks(0, (0, 0), (0, 0), PLENTY, 24, "server's choice"),
    "heavy use doubles": Asks(0, (512, 500), (512, 100), PLENTY, 23, "server's choice: heavy use"),
    "heavy use, small holding: default": Asks(0, (128, 128), (512, 100), PLENTY, 24, "server's choice"),
    "heavy use, share nearly reached: default": Asks(0, (512, 500), (3000, 3000), PLENTY, 24, "server's choice"),
    "heavy use, but no more than leaves space not scarce": Asks(
        0, (1024, 1000), (1024, 0), {21: 1}, 23, "server's choice: heavy use"
    ),
    "says that it uses more than it holds": Asks(0, (512, 9000), (3000, 3000), PLENTY, 24, "server's choice"),
    "heavy use, half of the largest free": Asks(
        0, (1024, 1000), (1024, 0), {23: 6}, 24, "server's choice: half of the largest free"
    ),
    "half of the largest free": Asks(
        0, (256, 100), (300, 90), {25: 9}, 26, "server's choice: half of the largest free"
    ),
    "half of the smallest is not given": Asks(
        0, (256, 200), (0, 0), {30: 600}, 30, "server's choice: half of the largest free"
    ),
    "scarce and worse": Asks(0, (1000, 450), (1000, 900), SCARCE, 25, "scarce: uses less than others"),
    # pushes; [0120]
    "newcomer in plenty": Asks(24, (0, 0), (0, 0), PLENTY, 24, "as asked", "newcomer"),
    "newcomer, 2048 stay free": Asks(22, (0, 0), (0, 0), PLENTY, 22, "as asked", "newcomer"),
    "newcomer, less than half stays free": Asks(21, (0, 0), (0, 0), PLENTY, 21, "as asked"),
    "heavy use": Asks(24, (512, 410), (512, 100), PLENTY, 24, "as asked", "heavy use"),
    "not quite heavy use": Asks(24, (512, 409), (3600, 3600), PLENTY, 24, "as asked"),
    "below its share": Asks(25, (512, 390), (512, 390), PLENTY, 25, "as asked", "below its share"),
    "below its share, but uses half": Asks(25, (512, 320), (512, 320), PLENTY, 25, "as asked"),
    "below its share by less than a default block": Asks(24, (512, 400), (1536, 1536), PLENTY, 24, "as asked"),
    "pushed once, nothing reported yet": Asks(24, (512, 0), (0, 0), PLENTY, 24, "as asked"),
}


@pytest.mark.parametrize("case", GRANTS.values(), ids=GRANTS)
def test_requests(case: Asks) -> None:
    view = space(4096, case.free, case.own[0] + case.others[0], case.own[1] + case.others[1])
    decision = POLICY.grant(Wish(case.asked), lessee(*case.own), view, LIMITS)
    assert decision.reason == case.reason
    assert decision.numbers is not None
    assert decision.numbers["asked"] == case.asked
    if isinstance(decision, Refusal):
        assert case.given is None
    else:
        assert (decision.prefix_length, decision.longest) == (case.given, 30)
        assert (decision.numbers.get("push"), decision.push) == (case.push, case.push is not None)


def test_smaller_than_is_given_is_refused() -> None:
    decision = POLICY.grant(Wish(29), lessee(), space(4096, PLENTY, 0, 0), Limits(24, 16, 28))
    assert decision == Refusal(
        "smaller than is given",
        {"asked": 29, "utilisation": "unknown", "others-utilisation": "unknown", "share": 0.0, "free": 0.75},
    )


def test_the_numbers_of_a_decision() -> None:
    decision = POLICY.grant(Wish(24), lessee(256, 115), space(4096, SCARCE, 3328, 2880), LIMITS)
    assert decision.numbers == {
        "asked": 24,
        "utilisation": 0.4492,
        "others-utilisation": 0.9001,
        "share": 0.0399,
        "free": 0.1875,
    }


def test_while_nothing_is_known_of_the_space_what_is_asked_is_given_and_nobody_is_pushed() -> None:
    decision = POLICY.grant(Wish(20), lessee(), View(), LIMITS)
    assert isinstance(decision, Grant)
    assert (decision.prefix_length, decision.reason, decision.push) == (20, "as asked", False)
    assert decision.numbers is not None
    assert decision.numbers["free"] == "unknown"
    assert POLICY.renew(Reported(24, 0, 0), lessee(256), View(), LIMITS).verdict is Verdict.FULL


class TestWorkedExample:
    """Tables 1 to 3 of the seed: A.B.C.0/24 and Q.R.S.0/23 are free, W.X.Y.Z/25 serves the server's own hosts."""

    SIZE = 256 + 512 + 128

    def test_table_2_the_newcomer_gets_its_25_bits_and_the_wish_for_more(self) -> None:
        before = space(self.SIZE, {24: 1, 23: 1}, 128, 100)
        decision = POLICY.grant(Wish(25), lessee(), before, LIMITS)
        assert isinstance(decision, Grant)
        assert (decision.prefix_length, decision.reason, decision.push) == (25, "as asked", True)

    def test_table_3_half_of_the_23_bits_follow_and_no_more(self) -> None:
        before = space(self.SIZE, {25: 1, 23: 1}, 128, 100)
        decision = POLICY.grant(Wish(0), lessee(), before, LIMITS)
        assert isinstance(decision, Grant)
        assert (decision.prefix_length, decision.push) == (24, False)

    def test_the_acknowledgement_says_so_once(self) -> None:
        after = space(self.SIZE, {25: 1, 23: 1}, 256, 100)
        assert POLICY.push(lessee(), 128, after, LIMITS)
        assert not POLICY.push(lessee(128), 256, space(self.SIZE, {25: 1, 24: 1}, 512, 100), LIMITS)


class Renews(NamedTuple):
    """A renewal of a block of /`length`, of which so much was used at most and is in use."""

    length: int
    high_water: int | None
    in_use: int | None
    free: dict[int, int]
    verdict: Verdict
    reason: str
    smallest: int = 30


FULL, DEPRECATE, REFUSE = Verdict.FULL, Verdict.DEPRECATE, Verdict.REFUSE
RENEWALS = {
    # [0140]: of 128 addresses 51 in use, 74 at most
    "74 of 128": Renews(25, 74, 51, GONE, FULL, "more than half used"),
    # [0010]: 45% and 90% of a /24
    "45% of a /24": Renews(24, 115, 115, SCARCE, DEPRECATE, "scarce: half would do"),
    "90% of a /24": Renews(24, 230, 230, SCARCE, FULL, "more than half used"),
    "45% of a /24 in plenty": Renews(24, 115, 115, PLENTY, FULL, "not scarce"),
    "exactly half": Renews(24, 128, 128, SCARCE, DEPRECATE, "scarce: half would do"),
    "just above half": Renews(24, 129, 0, CRITICAL, FULL, "more than half used"),
    "above half now, no high water": Renews(24, None, 129, CRITICAL, FULL, "more than half used"),
    "high water below what is in use": Renews(24, 0, 129, CRITICAL, FULL, "more than half used"),
    "nothing reported": Renews(24, None, None, GONE, FULL, "usage not reported"),
    "unused, scarce": Renews(24, 0, 0, SCARCE, DEPRECATE, "scarce: unused"),
    "unused, nearly gone": Renews(24, 0, 0, CRITICAL, REFUSE, "nearly gone: never used"),
    "unused, nothing left": Renews(24, 0, 0, GONE, REFUSE, "nearly gone: never used"),
    "unused, in plenty": Renews(24, 0, 0, PLENTY, FULL, "not scarce"),
    "was used": Renews(24, 1, 0, CRITICAL, DEPRECATE, "scarce: unused"),
    "not in use, high water unknown": Renews(24, None, 0, CRITICAL, DEPRECATE, "scarce: unused"),
    "high water zero, in use unknown": Renews(24, 0, None, CRITICAL, DEPRECATE, "scarce: unused"),
    "high water low, in use unknown": Renews(24, 9, None, CRITICAL, DEPRECATE, "scarce: half would do"),
    "one in use": Renews(24, 1, 1, CRITICAL, DEPRECATE, "scarce: half would do"),
    "smallest, one in use": Renews(28, 1, 1, CRITICAL, FULL, "smallest, in use", 28),
    "smallest, used once": Renews(28, 1, 0, CRITICAL, FULL, "smallest, in use", 28),
    "smallest, unused, scarce": Renews(28, 0, 0, SCARCE, DEPRECATE, "scarce: unused", 28),
    "smallest, unused, nearly gone": Renews(28, 0, 0, CRITICAL, REFUSE, "nearly gone: never used", 28),
    "a /16, as much as can be said": Renews(16, 65534, 65534, GONE, FULL, "more than half used"),
    "a /8, as much as can be said": Renews(8, 65534, 65534, GONE, FULL, "more than half used"),
    "a /8, a little less": Renews(8, 65533, 65533, SCARCE, DEPRECATE, "scarce: half would do"),
}


@pytest.mark.parametrize("case", RENEWALS.values(), ids=RENEWALS)
def test_renewals(case: Renews) -> None:
    view = space(4096, case.free, 3000, 2000)
    reported = Reported(case.length, case.high_water, case.in_use, 0)
    verdict = POLICY.renew(reported, lessee(256, 115), view, Limits(24, 16, case.smallest))
    assert (verdict.verdict, verdict.reason) == (case.verdict, case.reason)
    assert verdict.numbers is not None
    assert verdict.numbers["asked"] == case.length
    assert verdict.numbers.get("high-water") == case.high_water
    assert verdict.numbers.get("in-use") == case.in_use


class Acknowledged(NamedTuple):
    own: tuple[int, int]
    granted: int
    others: tuple[int, int]
    free: dict[int, int]
    push: bool


PUSHES = {
    "newcomer": Acknowledged((0, 0), 256, (0, 0), PLENTY, True),
    "newcomer, not ample": Acknowledged((0, 0), 256, (0, 0), {21: 1}, False),
    "nothing granted to who holds nothing": Acknowledged((0, 0), 0, (0, 0), PLENTY, False),
    "pushed once, nothing reported": Acknowledged((256, 0), 256, (0, 0), PLENTY, False),
    "heavy with what it has got now": Acknowledged((1024, 1000), 128, (0, 0), PLENTY, True),
    "heavy, but no more with what it has got now": Acknowledged((256, 256), 256, (512, 512), PLENTY, False),
    "heavy at a renewal": Acknowledged((256, 205), 0, (512, 512), PLENTY, True),
    "below its share at a renewal": Acknowledged((512, 390), 0, (512, 390), PLENTY, True),
    "one host of a /24 is no reason": Acknowledged((256, 1), 0, (0, 0), PLENTY, False),
    "scarce": Acknowledged((256, 256), 0, (512, 512), SCARCE, False),
}


@pytest.mark.parametrize("case", PUSHES.values(), ids=PUSHES)
def test_pushes_in_acknowledgements(case: Acknowledged) -> None:
    view = space(4096, case.free, case.own[0] + case.others[0], case.own[1] + case.others[1])
    assert POLICY.push(lessee(*case.own), case.granted, view, LIMITS) is case.push


@pytest.mark.parametrize(("granted", "push"), [(255, True), (256, False)])
def test_nobody_is_pushed_where_the_block_that_follows_would_make_space_scarce(granted: int, push: bool) -> None:
    # Of 1024 addresses 768 are free; half of them stay, but the default block would leave no more than a quarter.
    view = space(1024, {23: 1, 24: 1}, 256, 256)
    assert POLICY.push(lessee(), granted, view, LIMITS) is push


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scarce": 1.5}, "scarce: 1.5: must be from 0 to 1"),
        ({"heavy": -0.1}, "heavy: -0.1: must be from 0 to 1"),
        ({"most_halvings": 0}, "most_halvings: 0: must be from 1 to 30"),
        ({"very_high": float("nan")}, "very_high: nan: must be from 0 to 1"),
        ({"scarce": 0.01}, "scarce: 0.01: must be from critical, which is 0.05, to ample, which is 0.5"),
        ({"ample": 0.2}, "scarce: 0.25: must be from critical, which is 0.05, to ample, which is 0.2"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Thresholds(**changed)


def test_thresholds_are_heeded() -> None:
    view = space(4096, {21: 1}, 2048, 1500)
    assert POLICY.renew(Reported(24, 10, 10), lessee(256, 10), view, LIMITS).verdict is FULL
    stingy = Proportional(Thresholds(scarce=0.5))
    assert stingy.renew(Reported(24, 10, 10), lessee(256, 10), view, LIMITS).verdict is DEPRECATE


@pytest.mark.parametrize(
    ("free", "verdict"),
    [
        ({22: 1, 24: 1, 32: 1}, FULL),  # 1281 of 5120
        ({22: 1, 24: 1}, DEPRECATE),  # 25%
        ({24: 1, 32: 1}, DEPRECATE),
        ({24: 1}, REFUSE),  # 5%
    ],
)
def test_at_the_threshold_space_is_scarce_or_nearly_gone(free: dict[int, int], verdict: Verdict) -> None:
    assert POLICY.renew(Reported(24, 0, 0), lessee(256), space(5120, free, 3000, 2000), LIMITS).verdict is verdict


def test_no_use_is_not_heavy_use_whatever_the_threshold() -> None:
    assert not Proportional(Thresholds(heavy=0)).push(lessee(256), 256, space(4096, PLENTY, 256, 0), LIMITS)


def test_every_reason_is_explained_and_tested() -> None:
    explained = set(re.findall(r"^([^=\s].*?)  +\S", proportional.__doc__ or "", re.MULTILINE))
    tested = (
        {case.reason for case in GRANTS.values()}
        | {case.reason for case in RENEWALS.values()}
        | {"smaller than is given"}
    )
    assert explained == tested
