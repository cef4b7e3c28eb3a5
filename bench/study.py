# SPDX-License-Identifier: MPL-2.0
"""Which figures there are, what each aims at, and who measures them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench import allocations, delegations, growth, instances, memory, ordinary, packing, relief, renewals
from bench.figure import Figure, Plan, Plans, Progress

Measure = Callable[[Plan, Progress, Collection[str]], Mapping[str, Figure]]
"""From a plan and the names wanted: the figures of those names."""


@dataclass(frozen=True, slots=True)
class Title:
    """What a figure is, and what it aims at. The aim is printed, never asserted: figures are the machine's as well."""

    text: str
    aim: str


@dataclass(frozen=True, slots=True)
class Study:
    """Figures that are measured together, because they share runs; mostly one.

    `plots` makes SVG texts by file name from the reports of its figures.
    """

    titles: Mapping[str, Title]
    plans: Plans
    measure: Measure
    plots: Callable[[Mapping[str, Any]], Mapping[str, str]] | None = None


def single(name: str, title: Title, module: Any, plots: Any = None) -> Study:
    """A study of one figure, by a module with `PLANS` and `measure(plan, progress)`."""

    def measure(plan: Plan, progress: Progress, _wanted: Collection[str]) -> Mapping[str, Figure]:
        return {name: module.measure(plan, progress)}

    return Study({name: title}, module.PLANS, measure, plots)


STUDIES: Final[Sequence[Study]] = (
    Study(
        {
            "B1": Title("delegations/s over Kea's prefix delegation with leases in PostgreSQL", "at least 3"),
            "B2": Title("delegations/s over Kea's prefix delegation with leases in memory", "at least 1"),
        },
        delegations.PLANS,
        delegations.measure,
        delegations.plots,
    ),
    single("B3", Title("CPU per ordinary packet, without the hook over with it", "at least 0.99"), ordinary),
    single("B4", Title("renewals with statistics/s over delegations/s", "at least 1.5"), renewals),
    single("B5", Title("allocations/s in batches over single-row commits/s of pgbench", "at least 2"), allocations),
    single(
        "B6",
        Title("cost of an allocation at most blocks over that at 10^3, the worst", "at most 1.3"),
        growth,
        growth.plots,
    ),
    single(
        "B7",
        Title("delegations/s of 2 and 4 servers on one ledger over one server, the least", "at least 0.95"),
        instances,
        instances.plots,
    ),
    single("B8", Title("1 s over the 99th percentile of relief from the ledger's own space", "at least 1"), relief),
    single("B9", Title("64 MiB over what kea-dhcp4 takes more with the hook", "at least 1"), memory),
    single(
        "B10",
        Title("requests served before the first refusal, over the clairvoyant bound", "none"),
        packing,
        packing.plots,
    ),
)
"""All of them, in the order in which they are measured."""

TITLES: Final[Mapping[str, Title]] = {name: title for study in STUDIES for name, title in study.titles.items()}
