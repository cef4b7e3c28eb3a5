# SPDX-License-Identifier: MPL-2.0
"""B9: how much more memory kea-dhcp4 takes with our hook: idle, after many requests, and after as many packets of ordinary hosts."""

from __future__ import annotations

import json
import math
import re
import statistics
import time
from pathlib import Path
from typing import Final, NamedTuple

from bench import perfdhcp
from bench.alike import HOOK, PLAIN, Alike
from bench.figure import Figure, Plan, Plans, Progress, Row, Run, under
from bench.ordinary import CLIENTS
from bench.rig import run_load

PLANS = Plans(Plan(1, 0, 1), Plan(1, 0, 30, full=True))
REQUESTS: Final = {
    False: 20_000,
    True: 1_000_000,
}  # for subnets, and packets of hosts; by whether the plan is the full one
AIM: Final = 64.0  # MiB
SETTLING: Final = 2.0  # seconds from a start, or a load, until memory is looked at
OUTSTANDING, BLOCKS = (
    64,
    512,
)  # renewals under way, of so many blocks in turn: few enough that nothing grows but what should not
RATE: Final = 1200.0  # exchanges/s of ordinary hosts
CHUNKS: Final = 8  # that the ordinary packets come in
LEAST: Final = 4  # moments under load by which the slope is judged: the second half of them


class Memory(NamedTuple):
    """Of a process, in MiB: what is resident, and what of it is its own and no file's."""

    resident: float
    anonymous: float


def memory(pid: int) -> Memory:
    """Return what a process takes (proc(5): VmRSS and RssAnon). Raises OSError where it is gone."""
    found = dict(re.findall(r"^(VmRSS|RssAnon):\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
    return Memory(int(found["VmRSS"]) / 1024, int(found["RssAnon"]) / 1024)


def slope(points: list[tuple[int, float]]) -> float:
    """Return by how much memory grew from the middle of a load to its end, in KiB for each 100,000 packets.

    `points`: packets so far and MiB; a line is laid through those of the second half, so that one page more or less says nothing.
    """
    half = [point for point in points if point[0] >= points[-1][0] / 2]
    if len(half) < 2:
        return math.nan
    packets, mib = zip(*half, strict=True)
    return 1024 * 100_000 * statistics.linear_regression(packets, mib).slope


def measure(plan: Plan, progress: Progress) -> Figure:
    """Measure B9: each run has both servers started anew."""
    figure = Figure("MiB resident with the hook, minus without, at most", under)
    figure.others = {"grown by requests, KiB per 100,000": [], "grown by ordinary packets, KiB per 100,000": []}
    with Alike((HOOK, PLAIN)) as alike:
        for number in range(1, plan.runs + 1):
            alike.restart(0, number)
            _run(figure, _Watch(alike, progress, f"B9 run {number} of {plan.runs}"), plan)
    figure.ratios = {"aim over worst": figure.pairs(figure.peer)}
    return figure


class _Watch:
    """The two servers of a run, and what they took at its moments."""

    def __init__(self, alike: Alike, progress: Progress, name: str) -> None:
        self.alike, self.rows, self._progress, self._name = alike, [], progress, name

    rows: list[Row]

    def look(self, moment: str) -> float:
        """Note what both take now; return how much more the one with the hook does, in MiB."""
        time.sleep(SETTLING)
        ours, plain = self.hook(), memory(self.alike.pid(PLAIN))
        more = ours.resident - plain.resident
        row = {"moment": moment, "hook": ours.resident, "none": plain.resident, "more": more}
        self.rows.append({**row, "more_anonymous": ours.anonymous - plain.anonymous})
        self._progress(f"{self._name}, {moment}: {ours.resident:.1f} MiB with the hook, {plain.resident:.1f} without")
        return more

    def hook(self) -> Memory:
        """What the server with the hook takes now."""
        return memory(self.alike.pid(HOOK))


def _run(figure: Figure, watch: _Watch, plan: Plan) -> None:
    wanted = REQUESTS[plan.full]
    idle = watch.look("idle")
    requests = _delegate(watch, wanted, plan.window)
    loaded = watch.look(f"after {requests[-1][0]:,} requests for subnets")
    packets = _serve(watch, wanted)
    served = watch.look(f"after {packets[-1][0]:,} packets of hosts, too")
    figure.ours.append({"value": max(idle, loaded, served), "idle": idle, "loaded": loaded, "served": served})
    figure.peer.append({"value": AIM, "aim": "at most"})
    for name, points in zip(figure.others, (requests, packets), strict=True):
        run: Run = {"value": slope(points), "points": points}
        figure.others[name].append(run)
    figure.tables[f"MiB resident, run {len(figure.ours)}"] = watch.rows


def _delegate(watch: _Watch, wanted: int, window: float) -> list[tuple[int, float]]:
    """Have subnets renewed until `wanted` messages with option 220 were received; return how much was taken after how many."""
    alike = watch.alike
    points: list[tuple[int, float]] = []
    place, server = alike.clients[0], alike.at(HOOK)
    held = alike.directory / "held"
    least = ("--outstanding", str(OUTSTANDING), "--warmup", "0", "--window", str(window))
    options: tuple[str, ...] = (*least, "--clients", str(BLOCKS), "--given", str(held))
    while not points or points[-1][0] < wanted or len(points) < LEAST:
        result = json.loads(run_load(place.netns, str(server.address), str(place.address), *options, seconds=window))
        if result["faults"] or result["overlaps"] or result["naks"]:
            raise RuntimeError(f"wrong answers under load: {result}")
        points.append((server.counters()["received"], watch.hook().resident))
        options = (*least, "--renew", str(held))
    return points


def _serve(watch: _Watch, wanted: int) -> list[tuple[int, float]]:
    """Have both servers serve hosts that send `wanted` packets; return how much the one with the hook took after how many."""
    alike, points, sent = watch.alike, [], 0
    seconds = wanted / 2 / RATE / CHUNKS
    for _ in range(CHUNKS):
        for side in (PLAIN, HOOK):
            address = str(alike.at(side).address)
            load = perfdhcp.run(alike.clients[0].netns, RATE, seconds, *CLIENTS, address)
        sent += load.packets[0] + load.packets[2]
        points.append((sent, watch.hook().resident))
    return points
