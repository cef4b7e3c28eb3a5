# SPDX-License-Identifier: MPL-2.0
"""When a network grows and shrinks, by figures that a reader can check in the head."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from kea_subnet_deleg.policy.growth import (
    ABOVE_HIGH_WATER,
    BELOW_LOW_WATER,
    LEASE_ENDS,
    NO_ADDRESS_LEFT,
    ORIGIN_CLOSES,
    TOO_FEW_BLOCKS,
    UNUSED,
    Block,
    Demand,
    Drain,
    NetworkTerms,
    Plan,
    Router,
    is_ending,
    plan,
)

TERMS = NetworkTerms("hosts", 25, high_water=0.8, low_water=0.3, hold_time=30.0, router=Router.NONE)
SIZE = TERMS.capacity(25)  # 126, of a block that is taken; those that are there have 100, so that counts are per cent
LATELY = Demand(quiet=0.0, idle=0.0)
LONG_AGO = Demand(quiet=1000.0, idle=1000.0)


def prefix(n: int) -> IPv4Network:
    return IPv4Network((f"10.0.{n}.0", 25))


def block(
    n: int,
    in_use: int = 0,
    unusable: int = 0,
    *,
    draining: bool = False,
    closing: bool = False,
    ending: bool = False,
    empty: float = 0.0,
) -> Block:
    return Block(prefix(n), 100, in_use, unusable, draining, closing, ending, empty)


@pytest.mark.parametrize(("parts", "in_use", "grows"), [(1, 94, False), (1, 95, True), (2, 47, False), (2, 48, True)])
def test_a_part_of_the_network_is_full(parts: int, in_use: int, grows: bool) -> None:
    """A host gets an address of its server's part: that the other part has some is no help."""
    terms = replace(TERMS, high_water=1.0)
    found = plan(terms, [block(1, in_use)], Demand(pressure=1, quiet=0.0, idle=0.0, parts=parts))
    assert (found.grow, found.reason) == ((1, NO_ADDRESS_LEFT) if grows else (0, ""))


def test_what_grew_for_a_part_stays() -> None:
    """By its share of the whole it could be spared; the part would be full again."""
    blocks = [block(1, 50), block(2, 0)]
    assert plan(TERMS, blocks, replace(LONG_AGO, parts=1)).drain == (Drain(prefix(2), BELOW_LOW_WATER),)
    assert plan(TERMS, blocks, replace(LONG_AGO, parts=2)).drain == ()


@pytest.mark.parametrize(
    ("length", "router", "capacity"),
    [
        (24, Router.FIRST, 253),
        (24, Router.LAST, 253),
        (24, Router.NONE, 254),
        (29, Router.FIRST, 5),
        (30, Router.FIRST, 1),
        (30, Router.NONE, 2),
        (31, Router.FIRST, 0),
        (32, Router.NONE, 0),
        (8, Router.FIRST, 2**24 - 3),
    ],
)
def test_capacity(length: int, router: Router, capacity: int) -> None:
    assert NetworkTerms("hosts", router=router).capacity(length) == capacity


class TestGrowth:
    def test_nothing_is_taken_before_somebody_asks(self) -> None:
        assert plan(TERMS, [], LONG_AGO) == Plan()

    def test_the_first_host_gets_the_first_block(self) -> None:
        assert plan(TERMS, [], Demand(pressure=1)) == Plan(1, reason=NO_ADDRESS_LEFT)

    def test_many_hosts_at_once_get_two_at_most(self) -> None:
        """They may be one that asks again and again."""
        assert plan(TERMS, [], Demand(pressure=5000)).grow == 2

    def test_at_high_water_nothing_happens_above_it_a_block_is_added(self) -> None:
        assert plan(TERMS, [block(0, 80)], LATELY) == Plan()
        assert plan(TERMS, [block(0, 81)], LATELY) == Plan(1, reason=ABOVE_HIGH_WATER)

    def test_addresses_that_hosts_declined_are_not_to_be_had(self) -> None:
        assert plan(TERMS, [block(0, 50, 30)], LATELY) == Plan()
        assert plan(TERMS, [block(0, 50, 31)], LATELY).grow == 1

    def test_the_fuller_the_network_the_more_blocks_at_once(self) -> None:
        full = [block(n, 100) for n in range(20)]
        # 2000 of 2000 in use: 2500 are needed to be at 80%, four blocks of 126.
        assert plan(TERMS, full, LATELY).grow == 4

    def test_what_comes_within_the_next_seconds_counts(self) -> None:
        assert plan(TERMS, [block(0, 60)], Demand(rate=20.0)) == Plan()
        assert plan(TERMS, [block(0, 60)], Demand(rate=21.0)).grow == 1
        # 1060 in use soon: 1325 addresses are needed, 1225 more.
        assert plan(TERMS, [block(0, 60)], Demand(rate=1000.0)).grow == math.ceil(1225 / SIZE)

    @pytest.mark.parametrize(("in_use", "grow"), [(20, 0), (79, 0), (94, 1)])
    def test_failures_count_only_where_nothing_is_free(self, in_use: int, grow: int) -> None:
        terms = NetworkTerms("hosts", 25, high_water=1.0, router=Router.NONE)
        assert plan(terms, [block(0, in_use)], Demand(pressure=500, quiet=0)).grow == 0
        assert plan(terms, [block(0, min(100, in_use + 1))], Demand(pressure=500, quiet=0)).grow == grow

    def test_never_more_than_max_blocks(self) -> None:
        terms = NetworkTerms("hosts", 25, max_blocks=2, router=Router.NONE)
        decided = plan(terms, [block(0, 100)], Demand(rate=1000.0))
        assert (decided.grow, decided.barred) == (1, 10)
        decided = plan(terms, [block(0, 100), block(1, 100)], Demand(pressure=1))
        assert (decided.grow, decided.barred) == (0, 1)

    def test_always_min_blocks(self) -> None:
        terms = NetworkTerms("hosts", 25, min_blocks=3)
        assert plan(terms, [], LONG_AGO) == Plan(3, reason=TOO_FEW_BLOCKS)
        assert plan(terms, [block(n) for n in range(3)], LONG_AGO) == Plan()

    def test_blocks_that_drain_are_reopened_first_those_with_most_hosts_before(self) -> None:
        blocks = [block(0, 99), block(1, 0, draining=True), block(2, 3, draining=True), block(3, 3, draining=True)]
        assert plan(TERMS, blocks, LATELY) == Plan(reopen=(prefix(2),), reason=ABOVE_HIGH_WATER)
        decided = plan(TERMS, blocks, Demand(rate=200.0))
        assert decided.reopen == (prefix(2), prefix(3), prefix(1))
        assert decided.grow == 0
        assert plan(TERMS, blocks, Demand(rate=300.0)).grow == 1

    def test_hosts_of_a_draining_block_will_want_an_address_elsewhere(self) -> None:
        assert plan(TERMS, [block(0, 50), block(1, 30, draining=True)], LATELY) == Plan()
        assert plan(TERMS, [block(0, 50), block(1, 31, draining=True)], LATELY).reopen == (prefix(1),)

    def test_an_empty_network_has_nothing_coming(self) -> None:
        assert plan(TERMS, [], Demand(rate=5.0)) == Plan()


class TestShrinking:
    def test_at_low_water_nothing_happens_below_it_the_emptiest_block_drains(self) -> None:
        assert plan(TERMS, [block(0, 50), block(1, 10)], LONG_AGO) == Plan()
        assert plan(TERMS, [block(0, 50), block(1, 9)], LONG_AGO).drain == ()  # 59 of 100 would be above the middle
        assert plan(TERMS, [block(0, 46), block(1, 8)], LONG_AGO).drain == (Drain(prefix(1), BELOW_LOW_WATER),)

    def test_as_many_as_can_be_spared_at_once(self) -> None:
        blocks = [block(n, 10) for n in range(10)]
        # 100 in use: two blocks would be half full, below the middle of 30% and 80%.
        assert [drain.prefix for drain in plan(TERMS, blocks, LONG_AGO).drain] == [prefix(n) for n in range(9, 1, -1)]

    def test_of_equals_the_highest_address_goes(self) -> None:
        blocks = [block(0, 5), block(1, 1), block(2, 1)]
        assert [drain.prefix for drain in plan(TERMS, blocks, LONG_AGO).drain] == [prefix(2), prefix(1)]

    def test_not_while_the_network_grew_lately(self) -> None:
        blocks = [block(0, 5), block(1)]
        assert plan(TERMS, blocks, Demand(quiet=29.9)).drain == ()
        assert len(plan(TERMS, blocks, Demand(quiet=30.0)).drain) == 1

    def test_never_below_min_blocks(self) -> None:
        terms = NetworkTerms("hosts", 25, min_blocks=2)
        assert len(plan(terms, [block(n) for n in range(5)], LONG_AGO).drain) == 3

    def test_the_last_block_goes_when_nobody_is_there_for_long(self) -> None:
        assert plan(TERMS, [block(0)], LONG_AGO).drain == (Drain(prefix(0), UNUSED),)
        assert plan(TERMS, [block(0)], Demand(idle=29.0)).drain == ()
        assert plan(TERMS, [block(0, 1)], LONG_AGO).drain == ()
        assert plan(TERMS, [block(0)], Demand(pressure=1)).drain == ()
        assert plan(TERMS, [block(0), block(1, 1, draining=True)], LONG_AGO).drain == ()

    def test_an_unused_network_gives_all_back_at_once(self) -> None:
        assert len(plan(TERMS, [block(n) for n in range(5)], LONG_AGO).drain) == 5

    def test_declined_addresses_hold_no_unused_network(self) -> None:
        assert len(plan(TERMS, [block(0, 0, 50)], LONG_AGO).drain) == 1

    def test_low_water_zero_never_shrinks(self) -> None:
        terms = NetworkTerms("hosts", 25, low_water=0.0)
        assert plan(terms, [block(0), block(1)], LONG_AGO) == Plan()

    def test_not_while_more_are_coming(self) -> None:
        assert plan(TERMS, [block(0, 20), block(1)], Demand(rate=50.0)).drain == ()


class TestEnding:
    def test_an_empty_block_ends_when_it_has_been_so_for_some_time(self) -> None:
        blocks = [block(0, 50), block(1, draining=True, empty=1.9), block(2, draining=True, empty=2.0)]
        assert plan(TERMS, blocks, LATELY).end == (prefix(2),)

    def test_a_block_with_use_never_does(self) -> None:
        blocks = [block(0, 50), block(1, 1, draining=True, empty=9.0), block(2, 0, 1, draining=True, empty=9.0)]
        assert plan(TERMS, blocks, LATELY).end == ()

    def test_a_block_that_is_open_does_not(self) -> None:
        assert plan(TERMS, [block(0, 50), block(1, empty=9.0)], LATELY).end == ()

    def test_a_block_that_is_needed_is_reopened_instead(self) -> None:
        blocks = [block(0, 81), block(1, draining=True, empty=9.0), block(2, draining=True, empty=9.0)]
        assert plan(TERMS, blocks, LATELY) == Plan(reopen=(prefix(1),), end=(prefix(2),), reason=ABOVE_HIGH_WATER)


class TestGoing:
    def test_a_closing_block_drains_at_once_and_is_replaced(self) -> None:
        decided = plan(TERMS, [block(0, 60, closing=True), block(1, 30)], LATELY)
        assert decided == Plan(1, drain=(Drain(prefix(0), ORIGIN_CLOSES),), reason=ABOVE_HIGH_WATER)

    def test_it_is_not_replaced_where_the_others_suffice(self) -> None:
        decided = plan(TERMS, [block(0, 20, closing=True), block(1, 30)], LATELY)
        assert decided == Plan(drain=(Drain(prefix(0), ORIGIN_CLOSES),))

    def test_it_is_never_reopened(self) -> None:
        decided = plan(TERMS, [block(0, 10, draining=True, closing=True), block(1, 81)], LATELY)
        assert (decided.grow, decided.reopen) == (1, ())

    def test_it_does_not_count_against_max_blocks(self) -> None:
        terms = NetworkTerms("hosts", 25, max_blocks=1)
        assert plan(terms, [block(0, 60, closing=True)], LATELY).grow == 1

    def test_a_block_whose_lease_runs_out_serves_until_it_is_replaced(self) -> None:
        assert plan(TERMS, [block(0, 60, ending=True)], LATELY) == Plan(1, reason=ABOVE_HIGH_WATER)
        decided = plan(TERMS, [block(0, 60, ending=True), block(1)], LATELY)
        assert decided == Plan(drain=(Drain(prefix(0), LEASE_ENDS),))

    def test_it_serves_on_where_nobody_is_there(self) -> None:
        assert plan(TERMS, [block(0, ending=True)], LATELY) == Plan()

    @pytest.mark.parametrize(
        ("remaining", "term", "ending"),
        [(None, None, False), (99.0, 1000.0, True), (100.0, 1000.0, False), (5.0, 5.0, False)],
    )
    def test_when_it_is_about_to_run_out(self, remaining: float | None, term: float | None, ending: bool) -> None:
        assert is_ending(remaining, term) is ending
