# SPDX-License-Identifier: MPL-2.0
"""B5: the ledger alone: allocations/s in batches over `pgbench`'s commits/s of a single row, at the same concurrency; and one alone."""

from __future__ import annotations

import statistics
from typing import Final

from bench.figure import Figure, Plan, Plans, Progress, Row, Run, over
from bench.ledgers import BATCH, CLIENTS, Ledgers
from bench.load import quantile

PLANS = Plans(quick=Plan(runs=1, warmup=0.0, window=2.0), full=Plan(runs=9, warmup=0.0, window=4.0, full=True))
LEDGER: Final = "b5"
NO_END: Final = 1_000_000  # batches
ALONE: Final = 200  # allocations one after the other, in each run, at most
FEWER: Final = (1, 2)  # clients, with `full`: a server has two connections that allocate


def measure(plan: Plan, progress: Progress) -> Figure:
    """Measure B5: `plan.runs` of pgbench, of allocations in batches, and of allocations one by one, in turn."""
    figure = Figure("allocations/s, commits/s")
    alone = figure.others["one alone, milliseconds"] = []
    with Ledgers() as ledgers:
        for number in range(1, plan.runs + 1):
            ledgers.copy(LEDGER)  # empty: it has a quarter of a million /26
            for clients in (*(FEWER if plan.full else ()), CLIENTS):
                commits, run = _turn(ledgers, plan.window, clients)
                figure.ratios.setdefault(_named(clients), []).append(over(run["value"], commits["value"]))
                if clients == CLIENTS:
                    figure.peer.append(commits)
                    figure.ours.append(run)
                values = f"{run['value']:.0f} allocations/s, {commits['value']:.0f} commits/s"
                progress(f"B5 run {number} of {plan.runs}, {_named(clients)}, batches of {BATCH}: {values}")
            alone.append(_alone(ledgers.allocate(LEDGER, ALONE, plan.window, clients=1, batch=1)))
            if violations := ledgers.sql_of(LEDGER, "select * from deleg.ledger_check()"):
                raise RuntimeError(f"the ledger does not keep its invariants: {violations}")
    figure.decisive = _named(CLIENTS)
    figure.tables["latency of one allocation alone, milliseconds"] = _quantiles(alone)
    return figure


def _turn(ledgers: Ledgers, seconds: float, clients: int) -> tuple[Run, Run]:
    """Commits, and allocations beside them, with so many clients."""
    commits = {"value": ledgers.commits(seconds, clients), "clients": clients}
    return commits, {**ledgers.allocate(LEDGER, NO_END, seconds, clients=clients), "clients": clients, "batch": BATCH}


def _named(clients: int) -> str:
    return f"{clients} client{'s' * (clients > 1)}"


def _alone(run: Run) -> Run:
    """The allocations of one client: milliseconds of each, by their halves, and the median of both."""
    offers, leases = ([round(1000 * pair[half], 3) for pair in run["latencies"]] for half in (0, 1))
    both = [offer + lease for offer, lease in zip(offers, leases, strict=True)]
    return {"value": statistics.median(both), "offer": offers, "lease": leases, "both": both}


def _quantiles(runs: list[Run]) -> list[Row]:
    return [
        {"of": name, **{f"p{share}": quantile(sorted(values), share / 100) for share in (50, 99)}}
        for name in ("offer", "lease", "both")
        for values in [[value for run in runs for value in run[name]]]
    ]
