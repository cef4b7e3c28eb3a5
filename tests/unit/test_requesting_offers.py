# SPDX-License-Identifier: MPL-2.0
"""Which sizes are asked for and which offer is taken: properties, and the cases that they leave open."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kea_subnet_deleg.roles.offers import Offer, choose, covered, sizes_to_ask
from kea_subnet_deleg.wire import SubnetBlock, SubnetInformation

LENGTHS = st.lists(st.integers(8, 30), max_size=12)


def some(lengths: list[int]) -> list[IPv4Network]:
    """Blocks of these lengths; that they overlap does not matter to whoever only counts."""
    return [IPv4Network((0x0A000000, length)) for length in lengths]


def addresses(lengths: list[int] | tuple[int, ...]) -> int:
    return sum(1 << 32 - length for length in lengths)


@given(LENGTHS, st.none() | st.integers(8, 30))
def test_what_is_asked_for_would_hold_what_is_wanted(wanted: list[int], least: int | None) -> None:
    asked = sizes_to_ask(wanted, least)
    assert len(asked) <= 8
    assert list(asked) == sorted(asked)
    if least is not None:
        assert all(length <= least for length in asked)
    if len(asked) < 8:
        assert sorted(covered(wanted, some(list(asked)))) == sorted(wanted)
        spare = addresses(asked) - addresses(wanted)
        assert spare == 0 if least is None else spare < 1 << 32 - least


@given(LENGTHS, LENGTHS)
def test_covered_places_each_in_addresses_of_its_own(wanted: list[int], held: list[int]) -> None:
    placed = covered(wanted, some(held))
    assert addresses(placed) <= addresses(held)
    left = list(wanted)
    for length in placed:
        left.remove(length)
    # What is left out fits nowhere: it is larger than what any block has left, so than what all have, divided among them.
    if left and held:
        assert 1 << 32 - max(left) > (addresses(held) - addresses(placed)) // (2 * len(held)) or max(left) < min(held)


@given(LENGTHS)
def test_covered_by_itself(wanted: list[int]) -> None:
    assert sorted(covered(wanted, some(wanted))) == sorted(wanted)


def offer(server: int, *lengths: int, lease_time: int = 600, preference: int = 0) -> Offer:
    blocks = tuple(SubnetBlock.of(network, hierarchical=True) for network in some(list(lengths)))
    return Offer(server, lease_time, (SubnetInformation(blocks),), preference)


@pytest.mark.parametrize(
    ("asked", "better", "worse"),
    [
        ((24,), offer(2, 24), offer(1, 25, lease_time=900, preference=9)),
        ((24, 24), offer(2, 24), offer(1, 25, 25)),
        ((24, 24), offer(2, 24, 26), offer(1, 24)),
        ((22,), offer(2, 24), offer(1, 25)),
        ((24,), offer(2, 24), offer(1, 23, lease_time=900, preference=9)),
        ((24,), offer(2, 23), offer(1, 25, lease_time=900, preference=9)),
        ((24,), offer(2, 24, lease_time=601), offer(1, 24, preference=9)),
        ((24,), offer(2, 24, preference=1), offer(1, 24)),
        ((24,), offer(1, 24), offer(2, 24)),
        ((0,), offer(2, 20, lease_time=601), offer(1, 20)),
    ],
)
def test_order(asked: tuple[int, ...], better: Offer, worse: Offer) -> None:
    assert choose([better, worse], asked) == better
    assert choose([worse, better], asked) == better
