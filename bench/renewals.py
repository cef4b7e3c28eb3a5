# SPDX-License-Identifier: MPL-2.0
"""B4: renewals with statistics/s over delegations/s, by the same server under the same load, in turn.

A renewal is a REQUEST without server identifier for one block, with figures of its use that differ each time (RFC 6656 5.1, 3.2.1.1).
After each run the ledger is asked whether it has what was reported last: a sample of blocks.
"""

from __future__ import annotations

from pathlib import Path

from bench.delegations import OUTSTANDING, cpu_of, load
from bench.figure import Figure, Plan, Plans, Progress, Run
from bench.rig import WIDE_POOL, Rig
from bench.usage import Spent

PLANS = Plans(quick=Plan(runs=1, warmup=0.5, window=3.0), full=Plan(runs=9, warmup=2.0, window=8.0, full=True))
BLOCKS = 2048  # that are renewed in turn: each comes again after 1792 others at the earliest
LEASING = 30.0  # seconds at most until all have their blocks


def measure(plan: Plan, progress: Progress) -> Figure:
    """Measure B4: `plan.runs` of renewals and of delegations beside them, first one and then the other first."""
    figure = Figure("exchanges/s")
    # All delegations are on one ledger: were space scarce by them, renewals would have flag d.
    with Rig(WIDE_POOL) as rig, rig.kea4(plan.policy) as kea:
        held = rig.directory / "held"
        leased = load(rig, "--clients", str(BLOCKS), "--given", str(held), warmup=0.0, window=LEASING)
        if leased["completed"] < BLOCKS:
            raise RuntimeError(f"not every client got its block: {leased}")
        for number in range(1, plan.runs + 1):
            sides = (figure.ours, figure.peer)
            for side in sides if number % 2 else reversed(sides):
                side.append(_run(rig, kea.pid, plan, held if side is figure.ours else None))
            rates = [side[-1]["value"] for side in sides]
            progress(f"B4 run {number} of {plan.runs}: {rates[0]:.0f} renewals/s, {rates[1]:.0f} delegations/s")
    figure.ratios["renewals over delegations"] = figure.pairs(figure.peer)
    cpu_of(figure, {"renewals": figure.ours, "delegations": figure.peer})
    return figure


def _run(rig: Rig, kea: int, plan: Plan, held: Path | None) -> Run:
    options = ["--outstanding", str(OUTSTANDING), *(["--renew", str(held)] if held else [])]
    spent = Spent([kea], rig.postmaster)
    result = load(rig, *options, warmup=plan.warmup, window=plan.window)
    cost = spent.per_exchange(result["completed"])
    sample = result.pop("sample", [])
    stale = _stale(rig, sample)
    if stale > result["retransmissions"]:  # which may come after the next report
        raise RuntimeError(f"of {len(sample)} blocks the ledger has other figures for {stale} than were acknowledged")
    value = result.pop("rate")
    return {"value": value, **result, "cpu_ms_per_exchange": cost, "checked": len(sample), "stale": stale}


_STALE = """
    select count(*)
      from unnest(array[{identities}]::bytea[], array[{blocks}]::cidr[], array[{usages}]::text[]) as told (identity, prefix, use)
     where not exists (
           select from deleg.usage u join deleg.lessees l using (space, lessee)
            where u.prefix = told.prefix and l.identity = told.identity
              and concat_ws('/', u.high_water, u.in_use, u.unusable) = told.use)
"""


def _stale(rig: Rig, sample: list[tuple[str, str, tuple[int, int, int]]]) -> int:
    """How many of these blocks have other figures in the ledger, or another lessee."""
    identities = ", ".join(f"'\\x{identity}'" for identity, _, _ in sample)
    blocks = ", ".join(f"'{block}'" for _, block, _ in sample)
    usages = ", ".join("'{}/{}/{}'".format(*usage) for _, _, usage in sample)
    return int(rig.sql(_STALE.format(identities=identities, blocks=blocks, usages=usages)))
