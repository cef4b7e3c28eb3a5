# SPDX-License-Identifier: MPL-2.0
"""perfdhcp, Kea's own load generator, and what it prints."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ci.labs import network

SLACK = 20.0  # seconds that a run may take beyond its period
EXIT_INCOMPLETE = 3  # some exchanges were not completed
_RATE = re.compile(r"^Rate: ([\d.]+) 4-way exchanges/second", re.MULTILINE)
_COUNTS = re.compile(r"^(sent|received) packets: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one run: exchanges/s offered and completed, and the numbers of the four messages."""

    offered: float
    completed: float
    packets: tuple[int, int, int, int]

    @property
    def drop_ratio(self) -> float:
        """The share of exchanges begun that was not completed."""
        return 1 - self.packets[3] / self.packets[0] if self.packets[0] else 1.0


def run(netns: str, rate: float, seconds: float, *arguments: str) -> Load:
    """Begin `rate` exchanges/s for `seconds`, rounded, from a namespace, open loop, each of a new client.

    Raises RuntimeError with perfdhcp's words where it fails or prints something else.
    """
    whole = max(1, round(seconds))  # perfdhcp takes no fractions
    command: Sequence[str] = [
        *network.inside(netns),
        *("perfdhcp", *arguments, "-l", network.INTERFACE, "-r", str(round(rate)), "-p", str(whole)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=whole + SLACK)
    found, counts = _RATE.search(done.stdout), _COUNTS.findall(done.stdout)
    if done.returncode not in {0, EXIT_INCOMPLETE} or found is None or len(counts) != 4:
        raise RuntimeError(f"{' '.join(command)} failed ({done.returncode}): {(done.stderr or done.stdout).strip()}")
    first_sent, first_received, second_sent, second_received = (int(number) for _, number in counts)
    return Load(rate, float(found[1]), (first_sent, first_received, second_sent, second_received))
