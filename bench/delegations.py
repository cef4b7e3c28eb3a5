# SPDX-License-Identifier: MPL-2.0
"""B1: delegations/s of one server with the ledger, over Kea's own prefix delegation with leases in the same PostgreSQL."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable

from bench import perfdhcp
from bench.figure import Figure, Plan, Run
from bench.rig import SERVER, Rig, run_load
from bench.usage import cpu_seconds, family_cpu_seconds

PLAN = Plan(runs=3, warmup=2.0, window=6.0)
OUTSTANDING = 256  # exchanges of ours under way at any time
PEER_THREADS = 4  # of kea-dhcp6; what was fastest on two cores. Without multi-threading it is slower (README.md).
PREFIX_DELEGATION = ("-6", "-e", "prefix-only", "-R", "4000000")
FIRST_RATE, STEP = 400.0, 1.4  # exchanges/s that the search for the peer's best rate begins with, and by what it grows
AROUND = (0.85, 1.0, 1.2)  # of that best rate: what is tried in each run


def measure(plan: Plan, progress: Callable[[str], None]) -> Figure:
    """Measure B1: `plan.runs` of each side, in turn."""
    with Rig() as rig:
        return _measure(rig, plan, progress)


def _measure(rig: Rig, plan: Plan, progress: Callable[[str], None]) -> Figure:
    figure = Figure("completed 4-way exchanges/s", lambda ours, peer: ours / peer)
    best = _search(rig, plan, progress)
    for number in range(1, plan.runs + 1):
        figure.ours.append(_ours(rig, plan))
        progress(f"B1 run {number} of {plan.runs}: ours {figure.ours[-1]['value']:.0f}/s")
        figure.peer.append(_peer(rig, plan, best))
        progress(f"B1 run {number} of {plan.runs}: peer {figure.peer[-1]['value']:.0f}/s")
    return figure


def _ours(rig: Rig, plan: Plan) -> Run:
    place = rig.clients[0]
    times = ("--warmup", str(plan.warmup), "--window", str(plan.window))
    address = str(rig.servers[SERVER].address)
    with rig.kea4(plan.policy) as kea:
        spent = _Spent(rig, kea.pid)
        printed = run_load(
            place.netns,
            *(address, str(place.address), "--outstanding", str(OUTSTANDING), *times),
            seconds=plan.warmup + plan.window,
        )
        result: Run = json.loads(printed)
        cost = spent.per_exchange(result["completed"])
    if result["faults"] or result["overlaps"] or result["naks"]:
        raise RuntimeError(f"wrong answers under load: {printed}")
    value = result.pop("rate")
    return {"value": value, "policy": plan.policy, "outstanding": OUTSTANDING, **result, "cpu_ms_per_exchange": cost}


def _search(rig: Rig, plan: Plan, progress: Callable[[str], None]) -> float:
    """Find about where the peer completes most: raise the rate until less than two thirds of it is completed."""
    best, rate = 0.0, FIRST_RATE
    with rig.kea6(PEER_THREADS):
        while True:
            load = perfdhcp.run(rig.client_netns, rate, plan.window / 3, *PREFIX_DELEGATION)
            progress(f"B1 search for the peer's best rate: {load.completed:.0f} of {rate:.0f}/s completed")
            best = max(best, load.completed)
            if load.completed < rate / 1.5:
                return best
            rate *= STEP


def _peer(rig: Rig, plan: Plan, best: float) -> Run:
    """One run of the peer: the best of a few rates around what the search found, each for half a window."""
    with rig.kea6(PEER_THREADS) as kea:
        perfdhcp.run(rig.client_netns, best * AROUND[0], plan.warmup, *PREFIX_DELEGATION)
        spent = _Spent(rig, kea.pid)
        seconds = plan.window / 2
        loads = [perfdhcp.run(rig.client_netns, best * share, seconds, *PREFIX_DELEGATION) for share in AROUND]
        cost = spent.per_exchange(sum(load.packets[3] for load in loads))
    tried = [
        {"offered": load.offered, "completed": load.completed, "drop_ratio": round(load.drop_ratio, 4)}
        for load in loads
    ]
    return {"value": max(load.completed for load in loads), "tried": tried, "cpu_ms_per_exchange": cost}


class _Spent:
    """CPU time of server, PostgreSQL and load generator since this was made."""

    def __init__(self, rig: Rig, server: int) -> None:
        self._rig, self._server = rig, server
        self._before = self._now()

    def per_exchange(self, exchanges: int) -> dict[str, float]:
        """In milliseconds per exchange."""
        return {
            name: round(1000 * (now - self._before[name]) / max(1, exchanges), 4) for name, now in self._now().items()
        }

    def _now(self) -> dict[str, float]:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "server": cpu_seconds(self._server),
            "postgresql": family_cpu_seconds(self._rig.postmaster),
            "generator": children.ru_utime + children.ru_stime,
        }
