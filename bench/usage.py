# SPDX-License-Identifier: MPL-2.0
"""CPU time of processes other than our own."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and all its threads, ended ones included, have used, in seconds. Raises OSError where it is gone.

    The process's own CPU clock: nanoseconds, where /proc/PID/stat counts in hundredths of a second. The kernel makes a clock id of
    a pid like this (clock_getcpuclockid(3); CPUCLOCK_SCHED is 2 in linux/posix-timers.h).
    """
    return time.clock_gettime(~pid << 3 | 2)


def family_cpu_seconds(pid: int) -> float:
    """As `cpu_seconds`, of a process and its children: a PostgreSQL cluster by its postmaster.

    Of those that have ended the kernel tells hundredths of a second (proc(5): cutime and cstime, the 16th and 17th of stat).
    """
    ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
    total = cpu_seconds(pid) + sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                total += cpu_seconds(int(child))
    return total


class Spent:
    """CPU time of servers, of PostgreSQL and of the load generators since this was made."""

    def __init__(self, servers: Sequence[int], postmaster: int) -> None:
        self._servers, self._postmaster = servers, postmaster
        self._before = self._now()

    def per_exchange(self, exchanges: int) -> dict[str, float]:
        """In milliseconds per exchange."""
        return {
            name: round(1000 * (now - self._before[name]) / max(1, exchanges), 4) for name, now in self._now().items()
        }

    def _now(self) -> dict[str, float]:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "server": sum(map(cpu_seconds, self._servers)),
            "postgresql": family_cpu_seconds(self._postmaster),
            "generator": children.ru_utime + children.ru_stime,
        }
