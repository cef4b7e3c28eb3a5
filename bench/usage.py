# SPDX-License-Identifier: MPL-2.0
"""CPU time of processes other than our own."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and all its threads, ended ones included, have used, in seconds. Raises OSError where it is gone.

    The process's own CPU clock: nanoseconds, where /proc/PID/stat counts in hundredths of a second. The kernel makes a clock id of
    a pid like this (clock_getcpuclockid(3); CPUCLOCK_SCHED is 2 in linux/posix-timers.h).
    """
    return time.clock_gettime(~pid << 3 | 2)


def family_cpu_seconds(pid: int) -> float:
    """As `cpu_seconds`, of a process and its children that live: a PostgreSQL cluster by its postmaster."""
    total = cpu_seconds(pid)
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with contextlib.suppress(OSError):
                total += cpu_seconds(int(child))
    return total
