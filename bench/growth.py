# SPDX-License-Identifier: MPL-2.0
"""B6: what grows with the ledger: allocations/s in batches, and the latency of one decision, at 10^3 to 10^6 blocks over those at 10^3.

All ledgers exist at once and are measured in turn. Of the small ones there is a copy for each turn, since it would make them larger;
all are made before, because PostgreSQL makes a checkpoint where a database is dropped, after which each page costs more once.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from kea_subnet_deleg.ledger import Ledger
from kea_subnet_deleg.runtime.views import LedgerViews

from bench.allocate import TIMEOUT, Client
from bench.bars import bars, values
from bench.figure import Figure, Plan, Plans, Progress, Row, Run
from bench.filling import fill, identity_of
from bench.ledgers import CLIENTS, Ledgers

PLANS = Plans(quick=Plan(runs=1, warmup=0.0, window=2.0), full=Plan(runs=7, warmup=0.0, window=4.0, full=True))
SIZES: Final = {"10^3": 63, "10^4": 625, "10^5": 6250, "10^6": 62500}
"""Cells (filling.py) by the number of blocks, nearly."""
COPIED: Final = 10_000  # blocks: up to here there is a ledger for each turn
BATCHES: Final = 8  # of each client in a turn
ALONE: Final = 50  # allocations one after the other in a turn
READS: Final = 3  # of the views in a turn
_SIZE: Final = """
    select coalesce(sum(pg_total_relation_size(c.oid)), 0) from pg_class c
     where c.relnamespace = 'deleg'::regnamespace and c.relkind in ('r', 'm')
"""


@dataclass(slots=True)
class Sized:
    """Ledgers of one size: its name, a database for each turn, what is known of it; turns of allocations in batches, and alone."""

    name: str
    databases: list[str]
    row: Row
    rates: list[Run] = field(default_factory=list)
    turns: list[Run] = field(default_factory=list)


def measure(plan: Plan, progress: Progress) -> Figure:
    """Measure B6: each ledger `plan.runs` times, in turn."""
    figure = Figure("milliseconds for a decision", lambda ours, peer: ours / peer)
    with Ledgers() as ledgers:
        sized = [_filled(ledgers, name, plan.runs, progress) for name in list(SIZES)[: 4 if plan.full else 3]]
        for number in range(1, plan.runs + 1):
            for one in sized if number % 2 else reversed(sized):
                database = one.databases[number - 1]
                one.turns.append(_alone(ledgers, database))
                one.rates.append(ledgers.allocate(database, BATCHES, plan.window))
            told = ", ".join(
                f"{one.name} {one.rates[-1]['value']:.0f}/s {one.turns[-1]['value']:.2f} ms" for one in sized
            )
            progress(f"B6 turn {number} of {plan.runs}: {told}")
        _compare(figure, sized)
        figure.tables["by size"] = [_row(one) for one in sized]
    return figure


def _filled(ledgers: Ledgers, name: str, turns: int, progress: Progress) -> Sized:
    database = f"b6_{SIZES[name]}"
    ledgers.copy(database)
    began = time.monotonic()
    blocks = fill(lambda *statements: ledgers.sql_of(database, *statements), SIZES[name])
    took = time.monotonic() - began
    size = int(ledgers.sql_of(database, _SIZE))
    began = time.monotonic()
    if violations := ledgers.sql_of(database, "select * from deleg.ledger_check()"):
        raise RuntimeError(f"a filled ledger does not keep its invariants: {violations[:1000]}")
    row: Row = {
        "blocks": name,
        "leased": blocks,
        "bytes/block": size / blocks,
        "ledger_check s": time.monotonic() - began,
    }
    progress(f"B6 {name} blocks: filled in {took:.0f} s, {size / blocks:.0f} bytes each")
    databases = [database] * turns
    if blocks <= 1.1 * COPIED:
        databases = [ledgers.copy(f"{database}_{turn}", database) for turn in range(turns)]
    return Sized(name, databases, row)


def _alone(ledgers: Ledgers, database: str) -> Run:
    """One decision after the other: median milliseconds of its parts, and of what is read of all lessees now and then.

    A decision is: what the lessee holds is read (of one that holds several blocks), then it is made an offer, then that is leased.
    """
    ledger = Ledger(ledgers.cluster.dsn(database, "kea_deleg_hook"), TIMEOUT)
    ledger.connect()
    client, views = Client(ledger, 1), LedgerViews()
    client.allocate()
    client.forget()
    for _ in range(ALONE):
        client.allocate()
    reads = [_timed(partial(views.read, ledger)) for _ in range(READS)]
    lessees = [[(0, identity_of(number))] for number in range(1, ALONE + 1)]
    held = [_timed(partial(ledger.holdings, lessee)) for lessee in lessees]
    ledger.close()
    offers, leases = zip(*client.latencies, strict=True)
    parts = {
        name: 1000 * statistics.median(values)
        for name, values in (("holding", held), ("offer", offers), ("lease", leases), ("views", reads))
    }
    return {"value": parts["holding"] + parts["offer"] + parts["lease"], **parts}


def _timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def _compare(figure: Figure, sized: list[Sized]) -> None:
    """Each size over the first, turn by turn: what it costs more. The worst median of rates and latencies decides."""
    first, last = sized[0], sized[-1]
    figure.ours, figure.peer = last.turns, first.turns
    for one in sized[1:]:
        figure.others[one.name] = one.turns
        figure.ratios[f"latency at {one.name}"] = _growth(first.turns, one.turns)
        figure.ratios[f"1/rate at {one.name}"] = _growth(one.rates, first.rates)
    for one in sized:
        figure.others[f"rate at {one.name}"] = one.rates
    figure.decisive = max(figure.ratios, key=lambda name: statistics.median(figure.ratios[name]))
    for one in sized[1:]:
        costs = zip(first.rates, one.rates, strict=True)
        figure.ratios[f"CPU time of PostgreSQL at {one.name}"] = [b["cpu_ms"] / a["cpu_ms"] for a, b in costs]


def _growth(less: list[Run], more: list[Run]) -> list[float]:
    return [b["value"] / a["value"] for a, b in zip(less, more, strict=True)]


def _row(one: Sized) -> Row:
    def median(name: str, runs: list[Run]) -> float:
        return float(statistics.median(run[name] for run in runs))

    return one.row | {
        f"allocations/s ({CLIENTS} clients)": median("value", one.rates),
        "PostgreSQL ms each": median("cpu_ms", one.rates),
        "holding ms": median("holding", one.turns),
        "offer ms": median("offer", one.turns),
        "lease ms": median("lease", one.turns),
        "views ms": median("views", one.turns),
    }


def plots(reports: Mapping[str, Any]) -> Mapping[str, str]:
    """What a decision costs at each size."""
    runs = reports["B6"]["runs"]
    rates = {name: values(runs[name]) for name in runs if name.startswith("rate at ")}
    alone = {"10^3": values(runs["peer"])} | {name: values(runs[name]) for name in runs if name in SIZES}
    milliseconds = {f"{name} blocks": alone[name] for name in alone}
    return {
        "growth-rate.svg": bars("Allocations/s in batches, by blocks in the ledger", rates, ours=list(rates)),
        "growth-latency.svg": bars(
            "Milliseconds for one decision alone, by blocks in the ledger", milliseconds, ours=list(milliseconds)
        ),
    }
