# SPDX-License-Identifier: MPL-2.0
"""What holds of growth whatever the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network

from hypothesis import assume, given
from hypothesis import strategies as st

from kea_subnet_deleg.policy.growth import HORIZON, Block, Demand, NetworkTerms, Plan, Router, filled, plan

LENGTHS = st.integers(24, 29)


@st.composite
def networks(draw: st.DrawFn) -> NetworkTerms:
    """Also such as the settings would not let through, with low and high water next to each other."""
    low, high = sorted(draw(st.lists(st.floats(0, 1), min_size=2, max_size=2)))
    assume(high >= 0.01 and low < high)
    fewest = draw(st.integers(0, 4))
    most = draw(st.none() | st.integers(max(1, fewest), 12))
    return NetworkTerms(
        "hosts", draw(LENGTHS), high, low, fewest, most, draw(st.floats(0, 60)), draw(st.sampled_from(Router))
    )


@st.composite
def block_lists(draw: st.DrawFn, terms: NetworkTerms) -> list[Block]:
    """Blocks of one size, mostly of the network's, with any use."""
    length = draw(st.just(terms.prefix_length) | LENGTHS)
    capacity = terms.capacity(length)
    blocks = []
    for n in range(draw(st.integers(0, 8))):
        in_use = draw(st.integers(0, capacity))
        unusable = draw(st.just(0) | st.integers(0, capacity - in_use))
        flags = draw(st.sampled_from([(False, False), (True, False), (True, True), (False, True)]))
        blocks.append(
            Block(
                IPv4Network((0x0A000000 + n * 256, length)),
                capacity,
                in_use,
                unusable,
                *flags,
                draw(st.booleans()),
                draw(st.floats(0, 10)),
            )
        )
    return blocks


DEMANDS = st.builds(
    Demand, st.just(0) | st.integers(0, 500), st.just(0.0) | st.floats(0, 300), st.floats(0, 120), st.floats(0, 120)
)
SCENES = networks().flatmap(lambda terms: st.tuples(st.just(terms), block_lists(terms), DEMANDS))
Scene = tuple[NetworkTerms, list[Block], Demand]


def staying(blocks: Sequence[Block]) -> list[Block]:
    return [block for block in blocks if not (block.draining or block.closing or block.ending)]


def carried_out(terms: NetworkTerms, blocks: Sequence[Block], decided: Plan) -> list[Block]:
    """Return the blocks when a plan was carried out and no host has moved."""
    drained = {drain.prefix for drain in decided.drain}
    after = [
        replace(block, draining=block.prefix in drained or (block.draining and block.prefix not in decided.reopen))
        for block in blocks
        if block.prefix not in decided.end
    ]
    first = 1 + max((int(block.prefix.network_address) for block in blocks), default=0x0A000000) // 256
    capacity = terms.capacity(terms.prefix_length)
    after += [Block(IPv4Network(((first + n) * 256, terms.prefix_length)), capacity) for n in range(decided.grow)]
    return after


def moved(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks when the hosts of draining ones have moved to open ones, as far as there is room."""
    leaving = sum(block.in_use for block in blocks if block.draining)
    after = []
    for block in blocks:
        if block.draining:
            after.append(block)
            continue
        came = min(leaving, max(0, block.capacity - block.in_use - block.unusable))
        leaving -= came
        after.append(replace(block, in_use=block.in_use + came))
    emptied = []
    for block in after:
        left = min(leaving, block.in_use) if block.draining else block.in_use
        if block.draining:
            leaving -= left
        emptied.append(replace(block, in_use=left, empty=60.0 if block.draining and not left else 0.0))
    return emptied


@given(SCENES)
def test_growth_suffices_or_is_barred(scene: Scene) -> None:
    terms, blocks, demand = scene
    decided = plan(terms, blocks, demand)
    if not decided.barred:
        after = filled(carried_out(terms, blocks, decided))
        assert after.used <= terms.high_water * after.capacity + 1e-6
        assert after.in_use <= after.capacity


@given(SCENES)
def test_growth_is_no_more_than_needed(scene: Scene) -> None:
    """Without the last block it would not do."""
    terms, blocks, demand = scene
    decided = plan(terms, blocks, replace(demand, pressure=0))
    if decided.grow:
        fewer = filled(carried_out(terms, blocks, replace(decided, grow=decided.grow - 1)))
        coming = HORIZON * demand.rate if fewer.in_use else 0.0
        count = len(staying(carried_out(terms, blocks, replace(decided, grow=decided.grow - 1))))
        assert fewer.used + coming > terms.high_water * fewer.capacity - 1e-6 or count < terms.min_blocks


@given(SCENES)
def test_never_more_than_max_blocks_never_fewer_than_min_blocks(scene: Scene) -> None:
    terms, blocks, demand = scene
    decided = plan(terms, blocks, demand)
    before, after = len(staying(blocks)), len(staying(carried_out(terms, blocks, decided)))
    if terms.max_blocks is not None:
        assert after <= max(before, terms.max_blocks)
    assert after >= terms.min_blocks


@given(SCENES)
def test_a_block_with_use_never_ends(scene: Scene) -> None:
    terms, blocks, demand = scene
    by_prefix = {block.prefix: block for block in blocks}
    for ended in plan(terms, blocks, demand).end:
        block = by_prefix[ended]
        assert block.draining
        assert (block.in_use, block.unusable) == (0, 0)


@given(SCENES)
def test_what_drained_need_not_be_grown_again(scene: Scene) -> None:
    """Neither at once nor when the hosts have moved."""
    terms, blocks, demand = scene
    decided = plan(terms, blocks, demand)
    if not decided.reason:
        after = carried_out(terms, blocks, decided)
        demand = replace(demand, pressure=0) if any(block.ending or block.closing for block in blocks) else demand
        assert plan(terms, after, demand).reason == ""
        assert plan(terms, moved(after), demand).reason == ""


@given(SCENES)
def test_failures_beside_free_addresses_change_nothing(scene: Scene) -> None:
    terms, blocks, demand = scene
    level = filled(blocks)
    blocks.append(Block(IPv4Network("10.255.0.0/16"), 2 * level.used + 1))
    calm, pressed = (plan(terms, blocks, replace(demand, pressure=pressure)) for pressure in (0, 50))
    assert (pressed.grow, pressed.reopen, pressed.reason) == (calm.grow, calm.reopen, calm.reason)


@given(SCENES)
def test_it_only_grows_or_shrinks(scene: Scene) -> None:
    terms, blocks, demand = scene
    decided = plan(terms, blocks, demand)
    going = {block.prefix for block in blocks if block.closing}
    if decided.reason:
        assert {drain.prefix for drain in decided.drain} <= going
    assert not set(decided.reopen) & {block.prefix for block in blocks if block.closing or block.ending}
    assert not set(decided.reopen) & set(decided.end)


@given(SCENES, st.booleans())
def test_with_steady_use_it_comes_to_rest(scene: Scene, hosts_move: bool) -> None:
    """Whatever the beginning, after a few turns nothing is done any more, however long it goes on."""
    terms, blocks, _ = scene
    clock = 0.0
    grown = -math.inf
    history = []
    for _ in range(30):
        demand = Demand(quiet=clock - grown, idle=clock if not filled(blocks).in_use else 0.0)
        decided = plan(terms, blocks, demand)
        history.append(bool(decided))
        if decided.grow or decided.reopen:
            grown = clock
        blocks = carried_out(terms, blocks, decided)
        if hosts_move:
            blocks = moved(blocks)
        clock += 61.0
    assert not any(history[6:])
    assert history.count(True) <= 6
