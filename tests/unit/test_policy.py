# SPDX-License-Identifier: MPL-2.0
"""What all policies share, first come first served, and policies by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kea_subnet_deleg.policy import (
    BUILT_IN,
    BestFit,
    Grant,
    Holding,
    Lessee,
    Limits,
    Policy,
    Proportional,
    Refusal,
    RenewalVerdict,
    Reported,
    UnknownPolicy,
    Verdict,
    View,
    Wish,
    policy_named,
)

LIMITS = Limits(default=24, largest=20, smallest=28)
LESSEE = Lessee(b"\1", Holding(256, 10))


def test_free_counts_addresses_of_all_lengths() -> None:
    assert View(free_by_length={24: 2, 30: 3, 32: 1, 1: 1}).free == 512 + 12 + 1 + 2**31


def test_nothing_is_known_of_a_space_before_the_first_reading() -> None:
    assert (View().size, View().free) == (0, 0)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (26, Grant(26, 28, "best fit")),
        (0, Grant(24, 28, "best fit")),
        (20, Grant(20, 28, "best fit")),
        (8, Grant(20, 28, "largest allowed")),
        (28, Grant(28, 28, "best fit")),
        (29, Refusal("smaller than is given", {"asked": 29, "smallest": 28})),
    ],
)
def test_best_fit_gives_what_is_asked_within_the_limits(asked: int, expected: Grant | Refusal) -> None:
    assert BestFit().grant(Wish(asked), LESSEE, View(), LIMITS) == expected


def test_best_fit_renews_whatever_is_used_and_pushes_nobody() -> None:
    scarce = View(Holding(4096, 4096), {}, 4096)
    unused = Reported(24, 0, 0, 0)
    assert BestFit().renew(unused, LESSEE, scarce, LIMITS) == RenewalVerdict(Verdict.FULL, "renewed")
    assert not BestFit().push(Lessee(b"\2"), 256, View(Holding(), {8: 1}, 2**24), LIMITS)


@pytest.mark.parametrize(("name", "kind"), [("best-fit", BestFit), ("proportional", Proportional)])
def test_ours_are_found_by_name(name: str, kind: type[Policy]) -> None:
    assert type(policy_named(name, {"mine": BestFit})) is kind


def test_an_operators_own_policy_is_found_by_name() -> None:
    mine = BestFit()
    assert policy_named("mine", {"mine": lambda: mine}) is mine


def test_an_unknown_name_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(UnknownPolicy) as raised:
        policy_named("bestfit", {"mine": BestFit})
    assert (
        str(raised.value) == 'policy: "bestfit": no such policy; allowed is one of "best-fit", "mine", "proportional"'
    )


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_an_operators_policy_does_not_hide_ours(name: str) -> None:
    extra: dict[str, Callable[[], Policy]] = {name: BestFit}
    with pytest.raises(UnknownPolicy, match=f'"{name}": built in'):
        policy_named(name, extra)
    other = next(known for known in BUILT_IN if known != name)
    assert type(policy_named(other, extra)) is BUILT_IN[other]
