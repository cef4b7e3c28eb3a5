# SPDX-License-Identifier: MPL-2.0
"""Processes and their children, as proc(5) has them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path


def parent(pid: int) -> int | None:
    """The parent of a process; None where it has ended."""
    with contextlib.suppress(OSError):
        state, number = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return None if state in "ZX" else int(number)
    return None


def family(pid: int) -> list[int]:
    """A process and its children."""
    return [pid, *(child for child in _pids() if parent(child) == pid)]


@contextlib.contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Have processes hang meanwhile: they do nothing, and their kernel answers for them."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def threads(pid: int) -> int:
    """The number of threads of a process."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def resident(pid: int) -> int:
    """KiB of memory of a process that are in RAM."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]
