# SPDX-License-Identifier: MPL-2.0
"""What B10 compares with: demand, placement by other rules, fixed parts of a space; and its plots."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from ipaddress import IPv4Network, collapse_addresses
from typing import Any

import pytest

from bench.demand import BlockDemand, BlockRequest, HostDemand, Session
from bench.placement import AnyFit, Choice, Space, best_fit, clairvoyant, first_fit
from bench.plots import lines
from bench.sharing import split, static

ORIGIN = IPv4Network("10.0.0.0/24")
RULES = pytest.mark.parametrize("rule", [first_fit, best_fit, AnyFit(1)], ids=["first-fit", "best-fit", "random"])


def taken(space: Space, *lengths: int) -> list[str]:
    return [str(space.take(length)) for length in lengths]


def test_first_fit_takes_the_lowest_address_and_best_fit_the_smallest_hole() -> None:
    for rule, expected in ((first_fit, "10.0.0.0/27"), (best_fit, "10.0.0.160/27")):
        space = Space([ORIGIN], rule)
        low, *_ = blocks = [space.take(length) for length in (26, 26, 27)]
        assert [str(block) for block in blocks] == ["10.0.0.0/26", "10.0.0.64/26", "10.0.0.128/27"]
        assert low is not None
        space.give_back(low)
        assert taken(space, 27) == [expected]


def test_random_placement_reaches_every_place() -> None:
    seen = {taken(Space([ORIGIN], AnyFit(seed)), 26)[0] for seed in range(60)}
    assert seen == {str(block) for block in ORIGIN.subnets(new_prefix=26)}


@RULES
def test_blocks_never_overlap_and_what_is_given_back_is_whole_again(rule: Choice) -> None:
    origins = [ORIGIN, IPv4Network("10.0.8.0/24")]
    space = Space(origins, rule)
    blocks = [block for length in (28, 26, 30, 27, 25, 26, 28) * 4 if (block := space.take(length)) is not None]
    assert sum(block.num_addresses for block in blocks) == sum(
        block.num_addresses for block in collapse_addresses(blocks)
    )
    assert space.take(24) is None
    for block in blocks:
        space.give_back(block)
    assert sorted(taken(space, 24, 24)) == [str(origin) for origin in origins]


def test_nobody_can_serve_more_than_fits_at_one_moment() -> None:
    requests = [
        BlockRequest(0, 2, 0, 25),
        BlockRequest(1, 9, 0, 25),
        BlockRequest(2, 9, 0, 25),
        BlockRequest(3, 9, 0, 28),
    ]
    assert clairvoyant(requests, 256) == 3
    assert clairvoyant(requests[:3], 256) == 3
    assert clairvoyant([*requests[:2], BlockRequest(1, 2, 0, 30)], 256) == 2


def test_demand_for_blocks_outgrows_the_space_skewed_and_given_back() -> None:
    demand = BlockDemand(16384, 50, days=2)
    requests = demand.generate(1)
    assert requests == demand.generate(1) != demand.generate(2)
    assert requests == sorted(requests, key=lambda request: request.begins)
    assert clairvoyant(requests, 16384) < len(requests)
    asked = Counter(request.lessee for request in requests)
    assert sum(asked[lessee] for lessee in range(5)) > len(requests) / 3
    last = requests[-1].begins
    assert sum(request.ends <= last for request in requests) > len(requests) / 2


def test_hosts_follow_the_day() -> None:
    demand = HostDemand(4096, 4, 0.5, start=0, minutes=1440)
    sessions = demand.generate(1)
    present = [sum(s.begins <= minute < s.ends for s in sessions) for minute in range(0, 1440, 60)]
    assert 0.4 * 4096 < max(present) < 0.6 * 4096
    assert min(present) < max(present) / 2
    assert len(demand.peaks(1)) == 4
    assert sum(demand.peaks(1)) > max(present)


def test_a_fixed_part_refuses_who_comes_when_it_is_full() -> None:
    sessions = [Session(0, 9, 0), Session(1, 5, 0), Session(2, 9, 0), Session(3, 9, 1), Session(5, 9, 0)]
    result = static(sessions, [2, 1], first=1)
    assert (result.hosts, result.refused, result.series(6, 2)) == (4, 1, [1, 1, 1])


def test_a_space_is_divided_whole_and_by_weight() -> None:
    assert split(1024, [1, 2, 5], 64) == [128, 256, 640]
    assert split(1024, [1, 1000, 1000], 64) == [64, 512, 448]
    assert sum(split(8192, [3.7, 1.1, 0.2, 9], 64)) == 8192


def test_a_plot_is_well_formed_and_has_each_line() -> None:
    def text(node: Any) -> str:
        return "".join(node.itertext())

    tree = ET.fromstring(lines("A < B", "x", "y", {"one": [(0, 0), (2, 30)], "two": [(0, 5), (1, 5)]}))  # noqa: S314  # ours
    drawn = tree.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(drawn) == 2
    assert "A < B" in text(tree)
    assert drawn[0].get("points", "").startswith("70.0,350.0 ")
