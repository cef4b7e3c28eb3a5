# SPDX-License-Identifier: MPL-2.0
"""B7: delegations/s of 2 and 4 servers on one ledger over those of one, all on the same machine under the same load.

The load is so many exchanges under way that each of four servers has as many as one has in B1. With a quarter of that (`full`), four
servers have a quarter of the messages for each transaction, which is another question.

Each new client asks the next server. After each run every block that was acknowledged has to be in the ledger, of who got it, and the
ledger has to keep its invariants. What PostgreSQL had to end because two transactions were in each other's way is counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.bars import bars, values
from bench.delegations import OUTSTANDING, UNIT, cpu_of
from bench.figure import Figure, Plan, Plans, Progress, Run, over
from bench.rig import Instances, run_load
from bench.usage import Spent

PLANS = Plans(quick=Plan(runs=1, warmup=1.0, window=3.0), full=Plan(runs=5, warmup=1.0, window=6.0, full=True))
NUMBERS: Final = (1, 2, 4)
LOAD: Final = NUMBERS[-1] * OUTSTANDING  # exchanges under way in all
_LOST: Final = (
    "create temporary table told (identity text, prefix cidr, seconds bigint)",
    "copy told from '{path}' (delimiter ' ')",
    # Each looked up by itself, whatever the planner knows of tables that were empty a moment ago.
    """select count(*) from told where not exists (
           select from (select lessee from deleg.blocks where space = 0 and prefix = told.prefix and state = 'leased' offset 0) as b
            cross join lateral (select identity from deleg.lessees where lessee = b.lessee offset 0) as l
            where l.identity = decode(told.identity, 'hex'))""",
)
_LOGGED: Final = {
    "deadlocks": "deadlock detected",
    "serialization failures": "could not serialize access",
    "errors": " ERROR: ",
}
"""What is counted in PostgreSQL's log, where it is at once; pg_stat_database lags behind."""
IN_THE_WAY: Final = "what was in each other's way"
_COMMITS: Final = "select xact_commit from pg_stat_database where datname = current_database()"
_COUNTED: Final = ("commits", "lost", *_LOGGED, "conflicts", "retransmissions")


def measure(plan: Plan, progress: Progress) -> Figure:
    """Measure B7: `plan.runs` of each number of servers, rising and falling in turn. Raises RuntimeError where anything was lost."""
    loads = (LOAD, OUTSTANDING) if plan.full else (LOAD,)
    runs: dict[int, dict[int, list[Run]]] = {load: {number: [] for number in NUMBERS} for load in loads}
    with Instances(plan.policy) as lab:
        for turn in range(1, plan.runs + 1):
            for load, sides in runs.items():
                for number in NUMBERS if turn % 2 else reversed(NUMBERS):
                    sides[number].append(_run(lab, number, load, plan))
                told = ", ".join(f"{number}: {sides[number][-1]['value']:.0f}/s" for number in NUMBERS)
                progress(f"B7 turn {turn} of {plan.runs}, {load} exchanges under way, servers: {told}")
        if violations := lab.violations():
            raise RuntimeError(f"the ledger does not keep its invariants: {violations[:5]}")
    figure = _figure(runs[LOAD])
    for load in loads[1:]:
        for number in NUMBERS:
            figure.others[_less(number, load)] = runs[load][number]
        for number in NUMBERS[1:]:
            figure.ratios[_less(number, load)] = _over_one(runs[load], number)
    return figure


def _less(number: int, load: int) -> str:
    return f"{number} server{'s' * (number > 1)}, {load} under way"


def _over_one(runs: dict[int, list[Run]], number: int) -> list[float]:
    return [over(a["value"], b["value"]) for a, b in zip(runs[number], runs[NUMBERS[0]], strict=True)]


def _figure(runs: dict[int, list[Run]]) -> Figure:
    one, *more = NUMBERS
    figure = Figure(UNIT, ours=runs[more[-1]], peer=runs[one])
    figure.others = {f"{number} servers": runs[number] for number in more}
    for number in more:
        figure.ratios[f"{number} servers"] = _over_one(runs, number)
    pairs_of_all = zip(*figure.ratios.values(), strict=True)
    figure.ratios["the least"] = [min(ratios) for ratios in pairs_of_all]
    figure.decisive = "the least"
    cpu_of(figure, {str(number): runs[number] for number in reversed(NUMBERS)})
    figure.tables[IN_THE_WAY] = [
        {"servers": number, **{name: sum(run[name] for run in runs[number]) for name in ("completed", *_COUNTED)}}
        for number in NUMBERS
    ]
    return figure


def _run(lab: Instances, number: int, under_way: int, plan: Plan) -> Run:
    names = lab.only(number)
    place, given = lab.clients[0], lab.directory / "given"
    before = _in_the_way(lab, names)
    spent = Spent([lab.process(name).pid for name in names], lab.process("main").pid)
    printed = run_load(
        place.netns,
        *(",".join(str(lab.servers[name].address) for name in names), str(place.address)),
        *("--outstanding", str(under_way), "--warmup", str(plan.warmup), "--window", str(plan.window)),
        *("--given", str(given)),
        seconds=plan.warmup + plan.window,
    )
    result: Run = json.loads(printed)
    cost = spent.per_exchange(result["completed"])
    lost = _lost(lab, given)
    if result["faults"] or result["overlaps"] or result["naks"] or lost or not result["completed"]:
        raise RuntimeError(f"wrong answers, none, or {lost} blocks that are not in the ledger: {printed}")
    after = _in_the_way(lab, names)
    counted = {name: after[name] - before[name] for name in after}
    return {
        "value": result.pop("rate"),
        "servers": number,
        "outstanding": under_way,
        "lost": lost,
        **result,
        **counted,
        "cpu_ms_per_exchange": cost,
    }


def _lost(lab: Instances, given: Path) -> int:
    """How many blocks that were acknowledged are not leased to who got them."""
    return int(lab.sql(*(statement.format(path=given) for statement in _LOST)))


def _in_the_way(lab: Instances, names: list[str]) -> dict[str, int]:
    log = lab.cluster.log.read_text()
    conflicts = sum(lab.servers[name].counters()["conflicts"] for name in names)
    commits = int(lab.sql(_COMMITS))
    return {name: log.count(text) for name, text in _LOGGED.items()} | {"conflicts": conflicts, "commits": commits}


def plots(reports: Mapping[str, Any]) -> Mapping[str, str]:
    """The rate of each number of servers."""
    runs = reports["B7"]["runs"]
    sides = {"1 server": values(runs["peer"])} | {f"{n} servers": values(runs[f"{n} servers"]) for n in NUMBERS[1:]}
    return {"instances.svg": bars("Delegations/s of all servers on one ledger", sides, ours=list(sides))}
