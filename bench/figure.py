# SPDX-License-Identifier: MPL-2.0
"""A figure: what was measured of ours and of its peer, run by run; and how it is to be measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

Run = dict[str, Any]
"""One run as it is kept: its `value`, and whatever else tells how it went."""

Row = dict[str, Any]
"""One line of a table beside the runs: values by the names of its columns."""

Progress = Callable[[str], None]
"""Told what has just been measured, in words."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure: `runs` of each side, `warmup` and `window` of each run in seconds, and by which policy of ours it delegates.

    `full`: what takes long is measured too (large ledgers, many requests).
    """

    runs: int
    warmup: float
    window: float
    policy: str = "proportional"
    full: bool = False

    def adapted(self, runs: int | None, window: float | None, policy: str | None) -> Plan:
        """The plan with other runs, window (seconds) or policy, where given; the warm-up shrinks with the window."""
        chosen = window or self.window
        return Plan(runs or self.runs, min(self.warmup, chosen), chosen, policy or self.policy, self.full)


class Plans(NamedTuple):
    """A module's plan for minutes and its plan for hours."""

    quick: Plan
    full: Plan


def over(ours: float, peer: float) -> float:
    """The ratio where more is better: rates."""
    return ours / peer if peer else 0.0


def under(ours: float, peer: float) -> float:
    """The ratio where less is better: costs, times."""
    return peer / ours if ours else 0.0


@dataclass(slots=True)
class Figure:
    """The runs of both sides so far, run `n` of ours beside run `n` of the peer.

    `others`: runs of further sides, by name. `ratios`: further ratios by name, each a value for every run it was seen in; `decisive`
    names the one of them that has the aim, where it is not that of ours and the peer. `tables`: what else was found, by name. A figure
    without a natural peer has the aim's own number, or the plain server, as its peer: `peer` then says so in words.
    """

    unit: str
    ratio_of: Callable[[float, float], float] = over  # from a run of ours and the peer's beside it
    ours: list[Run] = field(default_factory=list)
    peer: list[Run] = field(default_factory=list)
    others: dict[str, list[Run]] = field(default_factory=dict)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    decisive: str = ""
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def pairs(self, side: Sequence[Run]) -> list[float]:
        """The ratios of ours and the runs of another side, side by side."""
        return [self.ratio_of(a["value"], b["value"]) for a, b in zip(self.ours, side, strict=True)]

    def report(self) -> Mapping[str, object]:
        """The figure as ci/bench prints it: the median of the ratios of runs side by side, the medians and the raw runs.

        Not the ratio of the medians: the machine's speed drifts by more than what is measured, and a run meets the same speed as the
        one beside it.
        """
        ours, peer = (median(run["value"] for run in side) for side in (self.ours, self.peer))
        main = self.ratios[self.decisive] if self.decisive else self.pairs(self.peer)
        report: dict[str, object] = {
            "ratio": median(main),
            "ours": ours,
            "peer": peer,
            "runs": {"unit": self.unit, "ours": self.ours, "peer": self.peer, **self.others},
            "spread": [rounded(min(main)), rounded(max(main))],
        }
        if self.ratios:
            report["ratios"] = {name: median(values) for name, values in self.ratios.items()}
        if self.tables:
            report["tables"] = self.tables
        return report


_DIGITS: Final = 4  # significant: more than any run can tell


def rounded(value: float) -> float:
    """A value as it is reported, to four significant digits."""
    return float(f"{value:.{_DIGITS}g}")


def median(values: Any) -> float:
    """The median of some numbers, as it is reported."""
    return rounded(statistics.median(values))
