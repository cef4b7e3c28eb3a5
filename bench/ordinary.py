# SPDX-License-Identifier: MPL-2.0
"""B3: what our hook costs ordinary DHCP: CPU time of kea-dhcp4 per packet without it, over with it."""

from __future__ import annotations

from collections.abc import Callable

from bench import perfdhcp
from bench.figure import Figure, Plan, Plans, Run, under
from bench.rig import PLAIN, SERVER, Pair
from bench.usage import cpu_seconds

PLANS = Plans(quick=Plan(runs=2, warmup=1.0, window=6.0), full=Plan(runs=15, warmup=1.0, window=6.0, full=True))
RATE = 600.0  # exchanges/s: a fifth of what kea-dhcp4 can do here
SLICE = (
    1.0  # seconds that one server is loaded before it is the other's turn: what else happens on the machine meets both
)
ORDINARY = ("-4", "-R", "20000")


def measure(plan: Plan, progress: Callable[[str], None]) -> Figure:
    """Measure B3: `plan.runs` of both servers, started anew for each, in slices that take turns."""
    figure = Figure("microseconds of CPU time of kea-dhcp4 per packet", under)
    with Pair() as pair:
        for number in range(1, plan.runs + 1):
            pair.restart()
            runs = _run(pair, plan)
            figure.ours.append(runs[SERVER])
            figure.peer.append(runs[PLAIN])
            costs = [f"{runs[name]['value']:.1f} us per packet" for name in (PLAIN, SERVER)]
            progress(f"B3 run {number} of {plan.runs}: without the hook {costs[0]}, with it {costs[1]}")
    return figure


def _run(pair: Pair, plan: Plan) -> dict[str, Run]:
    for name in (PLAIN, SERVER):
        _load(pair, name, plan.warmup)
    runs: dict[str, Run] = {
        name: {"value": 0.0, "packets": 0, "cpu_seconds": 0.0, "dropped": 0} for name in (PLAIN, SERVER)
    }
    for turn in range(max(1, round(plan.window / SLICE))):
        for name in (PLAIN, SERVER) if turn % 2 else (SERVER, PLAIN):
            process = pair.process(name).pid
            before = cpu_seconds(process)
            load = _load(pair, name, SLICE)
            run = runs[name]
            run["cpu_seconds"] += cpu_seconds(process) - before
            run["packets"] += sum(load.packets)
            run["dropped"] += load.packets[0] - load.packets[3]
    for run in runs.values():
        run["value"] = 1e6 * run["cpu_seconds"] / max(1, run["packets"])
    return runs


def _load(pair: Pair, name: str, seconds: float) -> perfdhcp.Load:
    return perfdhcp.run(pair.clients[0].netns, RATE, seconds, *ORDINARY, str(pair.servers[name].address))
