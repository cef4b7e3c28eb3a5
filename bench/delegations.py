# SPDX-License-Identifier: MPL-2.0
"""B1 and B2: delegations/s of one server with the ledger, over Kea's own prefix delegation with leases in PostgreSQL, and in memory.

Both figures share the runs of ours. Each peer comes in two configurations, as Kea's defaults have it and with multi-threading; the
ratio is over the better of the two in the round that ours ran in.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench import perfdhcp
from bench.bars import bars, values
from bench.figure import Figure, Plan, Plans, Progress, Run, median
from bench.rig import SERVER, Leases, Rig, run_load
from bench.usage import Spent

PLANS = Plans(quick=Plan(runs=1, warmup=1.0, window=3.0), full=Plan(runs=5, warmup=2.0, window=10.0, full=True))
OUTSTANDING = 256  # exchanges of ours under way at any time
PEER_THREADS = 4  # of kea-dhcp6 with multi-threading; what was fastest on two cores
PREFIX_DELEGATION = ("-6", "-e", "prefix-only", "-R", "4000000")
FIRST_RATE, STEP = 500.0, 2.0  # exchanges/s that the search for a peer's best rate begins with, and by what it grows
AROUND = (0.75, 0.9, 1.1)  # of the best rate known: what is tried in each run
PARTS = ("server", "postgresql", "generator")
UNIT = "completed 4-way exchanges/s"


@dataclass(slots=True)
class Peer:
    """A configuration of kea-dhcp6, the rate that it did best with so far (0: not known), and its runs."""

    name: str
    leases: Leases
    threads: int
    best: float = 0.0
    runs: list[Run] = field(default_factory=list)


def measure(plan: Plan, progress: Progress, wanted: Collection[str]) -> Mapping[str, Figure]:
    """Measure B1, B2 or both: `plan.runs` of each side, in turn."""
    leases = {"B1": Leases.POSTGRESQL, "B2": Leases.MEMORY}
    peers = {
        name: [Peer("default", leases[name], 0), Peer("multi-threading", leases[name], PEER_THREADS)]
        for name in sorted(wanted)
    }
    ours: list[Run] = []
    with Rig() as rig:
        for number in range(1, plan.runs + 1):
            ours.append(run_ours(rig, plan))
            progress(f"{', '.join(peers)} run {number} of {plan.runs}: ours {ours[-1]['value']:.0f}/s")
            for name, sides in peers.items():
                for peer in sides:
                    peer.runs.append(_run_peer(rig, plan, peer))
                    told = f"{peer.leases}, {peer.name}: {peer.runs[-1]['value']:.0f}/s"
                    progress(f"{name} run {number} of {plan.runs}: {told}")
    return {name: _figure(ours, sides) for name, sides in peers.items()}


def _figure(ours: list[Run], peers: list[Peer]) -> Figure:
    figure = Figure(UNIT, ours=ours)
    for sides in zip(*(peer.runs for peer in peers), strict=True):
        figure.peer.append(max(sides, key=lambda run: float(run["value"])))
    figure.others = {f"peer, {peer.name}": peer.runs for peer in peers}
    figure.ratios = {"over-best": figure.pairs(figure.peer), "over-default": figure.pairs(peers[0].runs)}
    cpu_of(figure, {"ours": ours, "peer": figure.peer})
    return figure


def cpu_of(figure: Figure, sides: Mapping[str, list[Run]]) -> None:
    """Add what each exchange took of CPU time on each side, and by server and PostgreSQL together the ratio of the first and the last.

    That ratio is what is left to look at on a busy machine.
    """
    figure.tables["CPU time per exchange, milliseconds"] = [
        {"side": name, **{part: median(run["cpu_ms_per_exchange"][part] for run in runs) for part in PARTS}}
        for name, runs in sides.items()
    ]
    ours, *_, peer = (
        [sum(run["cpu_ms_per_exchange"][part] for part in PARTS[:2]) for run in side] for side in sides.values()
    )
    figure.ratios["by CPU time of server and PostgreSQL"] = [b / a for a, b in zip(ours, peer, strict=True)]


def run_ours(rig: Rig, plan: Plan) -> Run:
    """One run of ours on a fresh ledger: as fast as it goes."""
    with rig.kea4(plan.policy) as kea:
        spent = Spent([kea.pid], rig.postmaster)
        result = load(rig, "--outstanding", str(OUTSTANDING), warmup=plan.warmup, window=plan.window)
        cost = spent.per_exchange(result["completed"])
    value = result.pop("rate")
    return {"value": value, "policy": plan.policy, "outstanding": OUTSTANDING, **result, "cpu_ms_per_exchange": cost}


def load(rig: Rig, *options: str, warmup: float, window: float) -> Run:
    """What load.py prints after it has loaded ours. Raises RuntimeError for a wrong answer."""
    place = rig.clients[0]
    addresses = (str(rig.servers[SERVER].address), str(place.address))
    times = ("--warmup", str(warmup), "--window", str(window))
    printed = run_load(place.netns, *addresses, *options, *times, seconds=warmup + window)
    result: Run = json.loads(printed)
    if result["faults"] or result["overlaps"] or result["naks"]:
        raise RuntimeError(f"wrong answers under load: {printed}")
    return result


def _run_peer(rig: Rig, plan: Plan, peer: Peer) -> Run:
    """One run of the peer: the best of a few rates around the best known, each for a part of the window.

    The first run looks for that rate before. Then comes a rate that it can do, for what is queued up to be done.
    """
    with rig.kea6(peer.leases, peer.threads) as kea:
        peer.best = peer.best or _search(rig)
        perfdhcp.run(rig.client_netns, peer.best * AROUND[0], plan.warmup, *PREFIX_DELEGATION)
        tried = [_try(rig, kea.pid, peer.best * share, plan.window / len(AROUND)) for share in AROUND]
    found = max(tried, key=lambda one: float(one["completed"]))
    peer.best = found["offered"]
    cost = found["cpu_ms_per_exchange"]
    return {"value": found["completed"], "configuration": peer.name, "tried": tried, "cpu_ms_per_exchange": cost}


def _try(rig: Rig, kea: int, rate: float, seconds: float) -> Run:
    spent = Spent([kea], rig.postmaster)
    load = perfdhcp.run(rig.client_netns, rate, seconds, *PREFIX_DELEGATION)
    cost = spent.per_exchange(load.packets[3])
    told = {"offered": load.offered, "completed": load.completed, "drop_ratio": round(load.drop_ratio, 4)}
    return {**told, "cpu_ms_per_exchange": cost}


def _search(rig: Rig) -> float:
    """About where the peer completes most: raise the rate until less than two thirds of it is completed. A second for each rate."""
    best, rate = 0.0, FIRST_RATE
    while True:
        completed = perfdhcp.run(rig.client_netns, rate, 1.0, *PREFIX_DELEGATION).completed
        best = max(best, completed)
        if completed < rate / 1.5:
            return best
        rate *= STEP


def plots(reports: Mapping[str, Any]) -> Mapping[str, str]:
    """A chart of all sides that were measured."""
    sides: dict[str, list[float]] = {}
    for name, report in reports.items():
        runs = report["runs"]
        sides["ours, ledger in PostgreSQL"] = values(runs["ours"])
        leases = {"B1": Leases.POSTGRESQL, "B2": Leases.MEMORY}[name]
        sides |= {
            f"kea-dhcp6, {leases}, {side.removeprefix('peer, ')}": values(runs[side])
            for side in runs
            if side.startswith("peer, ")
        }
    return {"delegations.svg": bars("Delegations/s of one server", sides, ours=["ours, ledger in PostgreSQL"])}
