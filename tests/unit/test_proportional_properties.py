# SPDX-License-Identifier: MPL-2.0
"""What holds of the proportional policy whatever the figures, also where they contradict each other."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

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
)

LENGTHS = st.integers(1, 30)
# Small numbers often, so that the thresholds are met; large ones too.
ADDRESSES = st.one_of(st.integers(0, 64), st.integers(0, 8192), st.integers(0, 2**33))
COUNTS = st.none() | st.integers(0, 70) | st.integers(0, 65534)
HOLDINGS = st.builds(Holding, ADDRESSES, ADDRESSES)
LESSEES = st.builds(Lessee, st.binary(min_size=1, max_size=4), HOLDINGS)
FREE = st.dictionaries(st.integers(0, 32), st.integers(0, 5), max_size=5)
VIEWS = st.builds(View, HOLDINGS, FREE, ADDRESSES)
LIMITS = st.lists(LENGTHS, min_size=3, max_size=3).map(sorted).map(lambda sizes: Limits(sizes[1], sizes[0], sizes[2]))
FRACTIONS = st.floats(0, 1)
THRESHOLDS = st.builds(
    lambda ordered, heavy, very_high, halvings: Thresholds(
        ordered[1], ordered[0], ordered[2], heavy, very_high, halvings
    ),
    st.lists(FRACTIONS, min_size=3, max_size=3).map(sorted),
    FRACTIONS,
    FRACTIONS,
    st.integers(1, 30),
)
POLICIES = st.builds(Proportional, st.just(Thresholds()) | THRESHOLDS)
WISHES = st.builds(Wish, st.integers(0, 30))
REPORTS = st.builds(Reported, LENGTHS, COUNTS, COUNTS, COUNTS)

RANK = {Verdict.REFUSE: 0, Verdict.DEPRECATE: 1, Verdict.FULL: 2}


def addresses(decision: Grant | Refusal) -> int:
    return 1 << 32 - decision.prefix_length if isinstance(decision, Grant) else 0


def using_more(lessee: Lessee, view: View, more: int) -> tuple[Lessee, View]:
    """All else equal, also what the others use."""
    own, everyone = lessee.holding, view.everyone
    return (
        replace(lessee, holding=Holding(own.held, own.used + more)),
        replace(view, everyone=Holding(everyone.held, everyone.used + more)),
    )


@given(POLICIES, WISHES, LESSEES, VIEWS, LIMITS)
def test_never_more_than_asked_and_never_outside_the_limits(
    policy: Proportional, wish: Wish, lessee: Lessee, view: View, limits: Limits
) -> None:
    decision = policy.grant(wish, lessee, view, limits)
    if isinstance(decision, Grant):
        assert wish.prefix_length <= decision.prefix_length
        assert limits.largest <= decision.prefix_length <= decision.longest == limits.smallest


@given(POLICIES, WISHES, LESSEES, VIEWS, LIMITS)
def test_a_request_gets_the_same_answer_again(
    policy: Proportional, wish: Wish, lessee: Lessee, view: View, limits: Limits
) -> None:
    twin = replace(view, free_by_length=dict(reversed(list(view.free_by_length.items()))))
    assert policy.grant(wish, lessee, view, limits) == Proportional(policy.thresholds).grant(wish, lessee, twin, limits)


@given(POLICIES, REPORTS, LESSEES, VIEWS, LIMITS)
def test_a_renewal_gets_the_same_answer_again(
    policy: Proportional, reported: Reported, lessee: Lessee, view: View, limits: Limits
) -> None:
    twin = replace(view, free_by_length=dict(reversed(list(view.free_by_length.items()))))
    assert policy.renew(reported, lessee, view, limits) == Proportional(policy.thresholds).renew(
        reported, lessee, twin, limits
    )


@given(POLICIES, WISHES, LESSEES, VIEWS, LIMITS, ADDRESSES)
def test_who_uses_more_never_gets_less(
    policy: Proportional, wish: Wish, lessee: Lessee, view: View, limits: Limits, more: int
) -> None:
    less = policy.grant(wish, lessee, view, limits)
    busy, seen = using_more(lessee, view, more)
    assert addresses(less) <= addresses(policy.grant(wish, busy, seen, limits))


@given(POLICIES, LESSEES, ADDRESSES, VIEWS, LIMITS, ADDRESSES)
def test_who_uses_more_is_pushed_no_less(
    policy: Proportional, lessee: Lessee, granted: int, view: View, limits: Limits, more: int
) -> None:
    less = policy.push(lessee, granted, view, limits)
    busy, seen = using_more(lessee, view, more)
    assert less <= policy.push(busy, granted, seen, limits)


@given(POLICIES, REPORTS, LESSEES, VIEWS, LIMITS, st.integers(0, 300), st.integers(0, 300))
def test_a_block_that_is_used_more_keeps_no_less(
    policy: Proportional, reported: Reported, lessee: Lessee, view: View, limits: Limits, higher: int, busier: int
) -> None:
    busy = replace(
        reported,
        high_water=None if reported.high_water is None else reported.high_water + higher,
        in_use=None if reported.in_use is None else reported.in_use + busier,
    )
    before = policy.renew(reported, lessee, view, limits).verdict
    assert RANK[before] <= RANK[policy.renew(busy, lessee, view, limits).verdict]


@given(POLICIES, REPORTS, LESSEES, VIEWS, LIMITS)
def test_in_plenty_and_without_a_report_a_renewal_is_in_full(
    policy: Proportional, reported: Reported, lessee: Lessee, view: View, limits: Limits
) -> None:
    verdict = policy.renew(reported, lessee, view, limits).verdict
    if min(view.free, view.size) > policy.thresholds.scarce * view.size or not view.size:
        assert verdict is Verdict.FULL
    if reported.high_water is None and reported.in_use is None:
        assert verdict is Verdict.FULL


@given(POLICIES, WISHES, st.binary(min_size=1), st.integers(1, 2**32), st.integers(0, 2**32), VIEWS, LIMITS)
def test_who_holds_something_and_has_reported_no_use_is_never_pushed(
    policy: Proportional, wish: Wish, identity: bytes, held: int, granted: int, view: View, limits: Limits
) -> None:
    hoarder = Lessee(identity, Holding(held, 0))
    decision = policy.grant(wish, hoarder, view, limits)
    assert isinstance(decision, Refusal) or not decision.push
    assert not policy.push(hoarder, granted, view, limits)


@given(POLICIES, LESSEES, VIEWS, LIMITS)
def test_a_follow_up_is_not_pushed_by_its_offer(
    policy: Proportional, lessee: Lessee, view: View, limits: Limits
) -> None:
    decision = policy.grant(Wish(0), lessee, view, limits)
    assert isinstance(decision, Refusal) or not decision.push


@given(POLICIES, st.integers(1, 30), LESSEES, VIEWS, LIMITS)
def test_who_is_pushed_leaves_ample_space(
    policy: Proportional, asked: int, lessee: Lessee, view: View, limits: Limits
) -> None:
    decision = policy.grant(Wish(asked), lessee, view, limits)
    if isinstance(decision, Grant) and decision.push:
        assert view.free - addresses(decision) >= policy.thresholds.ample * view.size


@given(POLICIES, LESSEES, VIEWS, LIMITS)
def test_the_servers_choice_is_no_more_than_half_of_the_largest_free_block(
    policy: Proportional, lessee: Lessee, view: View, limits: Limits
) -> None:
    decision = policy.grant(Wish(0), lessee, view, limits)
    largest = min((length for length, blocks in view.free_by_length.items() if blocks), default=None)
    if isinstance(decision, Grant) and largest is not None and largest < limits.smallest:
        assert addresses(decision) <= 1 << 31 - largest
