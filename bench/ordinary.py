# SPDX-License-Identifier: MPL-2.0
"""B3: what our hook costs ordinary DHCP, in CPU time for each packet and in exchanges/s; and what a callout in Python would cost."""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ci.labs import ClientPlace

from bench import perfdhcp
from bench.alike import AGAIN, HOOK, PLAIN, PYTHON, SIDES, Alike
from bench.figure import Figure, Plan, Plans, Progress, Run, over, under
from bench.usage import cpu_seconds

PLANS = Plans(Plan(1, 1, 6), Plan(7, 2, 12, full=True))
RATE = 600.0  # exchanges/s: a fifth of what kea-dhcp4 can do here
SLICE = 1.0  # seconds that two servers are loaded before it is others' turn
THREADS = 2  # for packets, at saturation
CLIENTS: Final = ("-4", "-R", "20000")
LOADED: Final = (HOOK, PLAIN, PYTHON)  # at saturation
BESIDE: Final = ((HOOK, PLAIN), (HOOK, AGAIN), (PYTHON, PLAIN), (AGAIN, PLAIN))
"""Who is loaded at the same time, to see what they take: a server, and one without a hook."""
FIRST_RATE, STEP = (
    1500.0,
    1.6,
)  # exchanges/s that the search for the plain server's best rate begins with, and by what it grows
AROUND: Final = (1.0, 1.3)  # of that rate: what is offered at saturation; the better counts


def measure(plan: Plan, progress: Progress) -> Figure:
    """Measure B3: in each run servers started anew, CPU time with multi-threading off (Kea's default), saturation with it on."""
    figure = Figure("microseconds of CPU time of kea-dhcp4 per packet", under)
    with Alike() as alike:
        for number in range(1, plan.runs + 1):
            alike.restart(0, number)
            spent = _spend(alike, plan, number)
            alike.restart(THREADS, number)
            best = _search(alike)
            reached = _saturate(alike, plan, best, number)
            _check(alike)
            _note(figure, spent, reached)
            told = ", ".join(
                f"{side} {spent[side][0]['value']:.1f} us, {spent[side][1]['value']:.1f} without"
                for side in (HOOK, PYTHON)
            )
            most = ", ".join(f"{side} {reached[side]['value']:.0f}/s" for side in LOADED)
            progress(f"B3 run {number} of {plan.runs}: {told}; at saturation: {most}")
    figure.decisive = "cpu"
    return figure


def _check(alike: Alike) -> None:
    """Raise RuntimeError unless the callout in Python was called and did not fail: what it costs to fail is not what is measured."""
    alike.check()
    load = _load(alike, PYTHON, 20.0, SLICE, "-o", "220,0001020118")
    if load.packets[1]:
        raise RuntimeError(f"the callout in Python let {load.packets[1]} packets with option 220 pass")


def _ratio(runs: tuple[Run, Run]) -> float:
    return under(runs[0]["value"], runs[1]["value"])


def _note(figure: Figure, spent: dict[str, tuple[Run, Run]], reached: dict[str, Run]) -> None:
    """Add a run of each side, and its ratios: of the server without a hook and one with, more is better."""
    figure.ours.append(spent[HOOK][0])
    figure.peer.append(spent[HOOK][1])
    for side in (PYTHON, AGAIN):
        for name, run in zip((side, f"none beside {side}"), spent[side], strict=True):
            figure.others.setdefault(name, []).append(run)
    figure.ratios.setdefault("cpu, none over none again", []).append(_ratio(spent[AGAIN]))
    for side in LOADED:
        figure.others.setdefault(f"saturation, {side}", []).append(reached[side])
    for prefix, side in (("", HOOK), ("python-", PYTHON)):
        cpu = _ratio(spent[side])
        saturation = over(reached[side]["value"], reached[PLAIN]["value"])
        busy = under(reached[side]["cpu_us_per_packet"], reached[PLAIN]["cpu_us_per_packet"])
        for name, ratio in (("cpu", cpu), ("saturation", saturation), ("cpu-at-saturation", busy)):
            figure.ratios.setdefault(f"{prefix}{name}", []).append(ratio)


def _spend(alike: Alike, plan: Plan, number: int) -> dict[str, tuple[Run, Run]]:
    """Load servers two by two at the same fixed rate, in slices; return what each packet cost, and what it cost those beside it.

    In one second a packet may cost half as much again as in the next, whoever serves it: so two are compared only within a second,
    in which each is served as many. The value is a geometric mean, so that the ratio of two of them is that of the ratios.
    """
    spent: dict[str, tuple[Run, Run]] = {
        one: ({"packets": 0, "dropped": 0, "slices": []}, {"packets": 0, "dropped": 0, "slices": []})
        for one, _ in BESIDE
    }
    chance = random.Random(number)
    with _apart(alike), ThreadPoolExecutor(2) as pool:
        for side in SIDES:
            _load(alike, side, RATE, plan.warmup)
        for _ in range(max(1, round(plan.window / SLICE))):
            for sides in chance.sample(BESIDE, len(BESIDE)):
                places = chance.sample(alike.clients, 2)
                before = [cpu_seconds(alike.pid(side)) for side in sides]
                loads = list(pool.map(lambda side, place: _load(alike, side, RATE, SLICE, place=place), sides, places))
                for run, side, load, earlier in zip(spent[sides[0]], sides, loads, before, strict=True):
                    packets = sum(load.packets)
                    run["packets"] += packets
                    run["dropped"] += load.packets[0] - load.packets[3]
                    run["slices"].append(round(1e6 * (cpu_seconds(alike.pid(side)) - earlier) / max(1, packets), 2))
    for run in (run for runs in spent.values() for run in runs):
        run["value"] = statistics.geometric_mean(run["slices"])
    return spent


@contextmanager
def _apart(alike: Alike) -> Iterator[None]:
    """The servers on one processor and what loads them on the others, so that it is not the scheduler that is measured."""
    processors = os.sched_getaffinity(0)
    one = min(processors)
    others = processors - {one} or processors
    for side in alike.sides:
        for thread in Path(f"/proc/{alike.pid(side)}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {one})
    os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


def _search(alike: Alike) -> float:
    """About where the server without a hook completes most: raise the rate until less than four fifths of it is completed."""
    best, rate = 0.0, FIRST_RATE
    while True:
        load = _load(alike, PLAIN, rate, SLICE)
        best = max(best, load.completed)
        if load.completed < 0.8 * rate:
            return best
        rate *= STEP


def _saturate(alike: Alike, plan: Plan, best: float, number: int) -> dict[str, Run]:
    """Offer the servers about what the plain one can do, in slices that take turns; each keeps the better of its means."""
    spent, packets = dict.fromkeys(LOADED, 0.0), dict.fromkeys(LOADED, 0)
    tried: dict[str, dict[float, list[float]]] = {side: {share: [] for share in AROUND} for side in LOADED}
    for turn in range(
        number, number + max(1, round(plan.window / SLICE / len(AROUND) / 2))
    ):  # run by run another is first
        for share in AROUND:
            for side in LOADED if turn % 2 else reversed(LOADED):
                before = cpu_seconds(alike.pid(side))
                load = _load(alike, side, share * best, SLICE)
                spent[side] += cpu_seconds(alike.pid(side)) - before
                packets[side] += sum(load.packets)
                tried[side][share].append(load.completed)
    runs: dict[str, Run] = {}
    for side, found in tried.items():
        means = {f"{share * best:.0f}": sum(values) / len(values) for share, values in found.items()}
        cost = 1e6 * spent[side] / max(1, packets[side])
        runs[side] = {"value": max(means.values()), "completed_by_offered": means, "cpu_us_per_packet": cost}
    return runs


def _load(
    alike: Alike, side: str, rate: float, seconds: float, *options: str, place: ClientPlace | None = None
) -> perfdhcp.Load:
    netns = (place or alike.clients[0]).netns
    return perfdhcp.run(netns, rate, seconds, *CLIENTS, *options, str(alike.at(side).address))
