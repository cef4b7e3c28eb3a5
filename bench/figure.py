# SPDX-License-Identifier: MPL-2.0
"""A figure: what was measured of ours and of its peer, run by run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Run = dict[str, Any]
"""One run as it is kept: its `value`, and whatever else tells how it went."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure: `runs` of each side, `warmup` and `window` of each run in seconds, and by which policy of ours it delegates."""

    runs: int
    warmup: float
    window: float
    policy: str = "proportional"

    def adapted(self, runs: int | None, window: float | None, policy: str | None) -> Plan:
        """The plan with other runs, window (seconds) or policy, where given; the warm-up shrinks with the window."""
        chosen = window or self.window
        return Plan(runs or self.runs, min(self.warmup, chosen), chosen, policy or self.policy)


@dataclass(slots=True)
class Figure:
    """The runs of both sides so far."""

    unit: str
    ratio_of: Callable[[float, float], float]  # from a run of ours and the peer's beside it
    ours: list[Run] = field(default_factory=list)
    peer: list[Run] = field(default_factory=list)

    def report(self) -> Mapping[str, object]:
        """The figure as ci/bench prints it: the median of the ratios of runs side by side, the medians and the raw runs.

        Not the ratio of the medians: the machine's speed drifts by more than what is measured, and a run meets the same speed as the
        one beside it.
        """
        ours, peer = (statistics.median(run["value"] for run in side) for side in (self.ours, self.peer))
        pairs = zip(self.ours, self.peer, strict=True)
        return {
            "ratio": round(statistics.median(self.ratio_of(a["value"], b["value"]) for a, b in pairs), 3),
            "ours": round(ours, 3),
            "peer": round(peer, 3),
            "runs": {"unit": self.unit, "ours": self.ours, "peer": self.peer},
        }
