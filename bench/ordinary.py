# SPDX-License-Identifier: MPL-2.0
"""B3: what our hook costs ordinary DHCP: CPU time of kea-dhcp4 per packet without it, over with it."""

from __future__ import annotations

from collections.abc import Callable

from bench import perfdhcp
from bench.figure import Figure, Plan, Run
from bench.rig import Rig
from bench.usage import cpu_seconds

PLAN = Plan(runs=5, warmup=1.0, window=6.0)
RATE = 300.0  # exchanges/s: a tenth of what kea-dhcp4 can do here
ORDINARY = ("-4", "-R", "20000")


def measure(rig: Rig, plan: Plan, progress: Callable[[str], None]) -> Figure:
    """Measure B3 on a rig that is up: `plan.runs` of each side, in turn."""
    figure = Figure("microseconds of CPU time of kea-dhcp4 per packet", lambda ours, peer: peer / ours)
    for number in range(1, plan.runs + 1):
        figure.peer.append(_run(rig, plan, hook=False))
        progress(f"B3 run {number} of {plan.runs}: without the hook {figure.peer[-1]['value']:.1f} us per packet")
        figure.ours.append(_run(rig, plan, hook=True))
        progress(f"B3 run {number} of {plan.runs}: with the hook {figure.ours[-1]['value']:.1f} us per packet")
    return figure


def _run(rig: Rig, plan: Plan, hook: bool) -> Run:
    address = str(rig.servers["s1"].address)
    with rig.kea4(hook) as kea:
        perfdhcp.run(rig.client_netns, RATE, plan.warmup, *ORDINARY, address)
        before = cpu_seconds(kea.pid)
        load = perfdhcp.run(rig.client_netns, RATE, plan.window, *ORDINARY, address)
        spent = cpu_seconds(kea.pid) - before
    packets = sum(load.packets)
    return {
        "value": 1e6 * spent / packets,
        "packets": packets,
        "cpu_seconds": spent,
        "rate": load.completed,
        "drop_ratio": round(load.drop_ratio, 4),
    }
