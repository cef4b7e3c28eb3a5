# SPDX-License-Identifier: MPL-2.0
"""B8: how long hosts of an exhausted network wait for the first address of a new block."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

from ci.labs import Lab, network
from ci.labs.topology import NETWORK

from bench.figure import Figure, Plan, Plans, Progress, Row, Run, under
from bench.load import quantile
from bench.rig import WARN

PLANS = Plans(Plan(2, 0, 0), Plan(50, 0, 0, full=True))
EDGE, ROOT_POOL, EDGE_POOL = "edge", IPv4Network("10.64.0.0/14"), IPv4Network("10.80.0.0/14")
PREFIX_LENGTH = 27
RESERVED = 3  # addresses of a block that no host gets: network, broadcast, router
RESIDENTS = 12  # hosts that are there all the time
EXTRA = 12  # hosts of a burst for whom there is no address
BURST_EVERY = 0.0003  # seconds from one host of a burst to the next: all have come before the network looks again
PACED, PACED_EVERY = (
    40,
    0.05,
)  # hosts that come one by one, and the seconds from one to the next: growth is to be ahead of them
TRIES = 5  # bursts more than twice those wanted, of which growth may be ahead
CALM = 30.0  # seconds until a network that hosts left is as it was
AIMS: Final = {"upstream": 3.0, "local": 1.0}  # seconds, of the 99th percentile
FAILED = "v4-allocation-fail"  # Kea's statistic
# What was obtained goes back soon, so that an episode begins as the one before.
BRISK: Final = {"release-after": 0, "quarantine-time": 0, "sweep-interval": 0.2}
TERMS: Final = {"name": NETWORK, "prefix-length": PREFIX_LENGTH, "hold-time": 0.1}


@dataclass(frozen=True, slots=True)
class Episode:
    """One burst: the moments of the first question in vain and of the first address of a new block, and what each host waited."""

    relief: float
    noticed: list[float]
    hosts: int
    capacity: int

    def run(self) -> Run:
        """The episode as it is kept: its value is the relief in seconds."""
        return {
            "value": self.relief,
            "hosts": self.hosts,
            "noticed": len(self.noticed),
            "longest_wait": max(self.noticed),
            "capacity_before": self.capacity,
        }


class Chain(Lab):
    """A lab of three ledgers in a row, the last one with a network of hosts; the first one has the space."""

    def __init__(self) -> None:
        name, edge = f"bench-{os.getpid()}", {EDGE: {"networks": [TERMS]}}
        super().__init__("chain", name=name, pools=[ROOT_POOL], parameters=BRISK, servers=edge, severities=WARN)
        self._next = 1

    def become_local(self) -> None:
        """Give the ledger of the last one space of its own."""
        self.cli("pool", "add", str(EDGE_POOL), ledger=EDGE)

    @property
    def failures(self) -> int:
        """How often Kea had no address for a host."""
        found = self.servers[EDGE].command("statistic-get", {"name": FAILED})
        return int(found[FAILED][0][0])

    def settle(self) -> None:
        """Wait until the network is as small as can be, and what it does not need is back where it came from."""
        deadline = time.monotonic() + CALM
        while not self._settled():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{CALM:.0f} s after its hosts left, the network still has {self.blocks()}")
            time.sleep(0.1)

    def obtained(self) -> dict[str, int]:
        """How many blocks each of the ledgers below the first one has leased of the one above."""
        query = "select count(*) from deleg.upstream_leased()"
        return {ledger: int(self.sql(query, ledger=ledger)) for ledger in self.ledgers if ledger != "root"}

    def _settled(self) -> bool:
        return len(self.blocks()) == 1 and max(self.obtained().values()) <= 1

    def blocks(self) -> list[IPv4Network]:
        """The subnets of the network of hosts in the running Kea."""
        (shared,) = self.servers[EDGE].command("config-get")["Dhcp4"]["shared-networks"]
        return [IPv4Network(subnet["subnet"]) for subnet in shared["subnet4"]]

    def arrive(self, hosts: int, every: float, *, leave: bool = True) -> list[dict[str, Any]]:
        """Have new hosts come, and go at the end; return what became of each.

        Raises RuntimeError where one has no address, or two the same.
        """
        (place,) = self.hosts
        given = ["--hosts", str(hosts), "--every", str(every), "--first", str(self._next), *["--leave"] * leave]
        self._next += hosts
        command = [*network.inside(place.netns), sys.executable, "-m", "bench.arrivals"]
        command += [str(place.server_address), str(place.address), *given]
        root = str(Path(__file__).parents[1])
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=60 + hosts * every,
            cwd=root,
            env={**os.environ, "PYTHONPATH": root},
        )
        if done.returncode:
            raise RuntimeError(f"bench/arrivals.py failed ({done.returncode}): {done.stderr.strip()}")
        found: list[dict[str, Any]] = json.loads(done.stdout)
        without = [host["number"] for host in found if host["served"] is None]
        if without or len({host["address"] for host in found}) < len(found):
            raise RuntimeError(f"hosts without an address: {without}, or two have the same")
        return found


def measure(plan: Plan, progress: Progress) -> Figure:
    """Measure B8: so many episodes with space from two levels above, and as many with the ledger's own."""
    figure = Figure("seconds from exhaustion to the first host served from a new block", under)
    runs: dict[str, list[Run]] = {}
    with Chain() as lab:
        first, *_ = lab.arrive(RESIDENTS, PACED_EVERY, leave=False)
        waited = first["served"] - first["began"]
        figure.tables["the first host of an empty network"] = [{"space": "upstream", "waited": round(waited, 3)}]
        progress(f"B8 the first host, for whom all had to be obtained, waited {waited:.3f} s")
        for where in AIMS:
            if where == "local":
                lab.become_local()
            if plan.full or where == "local":
                figure.tables.setdefault("hosts one by one", []).append(_paced(lab, where, progress))
            runs[where] = _episodes(lab, where, plan.runs, figure, progress)
    figure.ours, figure.others["upstream"] = runs["local"], runs["upstream"]
    figure.peer = [{"value": AIMS["local"], "aim": "of the 99th percentile"} for _ in figure.ours]
    for where, done in runs.items():
        p99 = _sum_up(figure, where, [run["value"] for run in done])
        figure.ratios[f"{where}, aim over p99"] = [AIMS[where] / p99]
    figure.decisive = "local, aim over p99"
    return figure


def _sum_up(figure: Figure, where: str, values: Iterable[float]) -> float:
    """Add a line to the table; return the 99th percentile."""
    ordered = sorted(values)
    row = {"space": where, "episodes": len(ordered)}
    row |= {f"p{share}": round(quantile(ordered, share / 100), 3) for share in (50, 99)}
    figure.tables.setdefault("relief", []).append(row | {"longest": round(ordered[-1], 3)})
    return quantile(ordered, 0.99)


def _paced(lab: Chain, where: str, progress: Progress) -> Row:
    """Have hosts come one by one; return whether they noticed that the network grew."""
    lab.settle()
    hosts = lab.arrive(PACED, PACED_EVERY)
    noticed = sum(host["unanswered"] is not None for host in hosts)
    progress(f"B8 {where}: of {PACED} hosts that came one by one {noticed} had to ask again")
    return {"space": where, "hosts": PACED, "per_second": 1 / PACED_EVERY, "had_to_ask_again": noticed}


def _episodes(lab: Chain, where: str, count: int, figure: Figure, progress: Progress) -> list[Run]:
    """Have bursts until `count` of them exhausted the network; those that growth was ahead of are counted beside."""
    runs: list[Run] = []
    unnoticed = 0
    while len(runs) < count:
        run = _burst(lab)
        if run is None:
            unnoticed += 1
            if unnoticed > count + TRIES:
                raise RuntimeError(f"B8: of {unnoticed + len(runs)} bursts {len(runs)} exhausted the network")
            continue
        if where == "upstream" and min(run["obtained"].values()) < 2:
            raise RuntimeError(f"B8: nothing came from two levels above: {run['obtained']}")
        runs.append(run)
        told = f"{run['value']:.3f} s; {run['noticed']} of {run['hosts']} hosts noticed"
        progress(f"B8 {where} {len(runs)} of {count}: {told}")
    row = {"space": where, "exhausted": count, "not_exhausted": unnoticed}
    figure.tables.setdefault("bursts", []).append(row)
    return runs


def _burst(lab: Chain) -> Run | None:
    """Have more hosts come at once than there are addresses; None where the network had grown before Kea had none."""
    lab.settle()
    blocks, failures = lab.blocks(), lab.failures
    free = sum(block.num_addresses - RESERVED for block in blocks) - RESIDENTS
    hosts = lab.arrive(free + EXTRA, BURST_EVERY)
    found = episode(hosts, blocks) if lab.failures > failures else None
    return None if found is None else found.run() | {"obtained": lab.obtained()}


def episode(hosts: Sequence[dict[str, Any]], blocks: Iterable[IPv4Network]) -> Episode | None:
    """What a burst came to; None where no host asked in vain. Raises RuntimeError where a new block relieved none of those."""
    before = list(blocks)
    noticed = [host for host in hosts if host["unanswered"] is not None]
    if not noticed:
        return None
    relieved = [
        host["served"] for host in noticed if not any(IPv4Address(host["address"]) in block for block in before)
    ]
    if not relieved:
        raise RuntimeError("no host that asked in vain was served from a new block")
    exhausted = min(host["unanswered"] for host in noticed)
    capacity = sum(block.num_addresses - RESERVED for block in before)
    waits = [host["served"] - host["unanswered"] for host in noticed]
    return Episode(min(relieved) - exhausted, waits, len(hosts), capacity)
