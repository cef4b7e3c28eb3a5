# SPDX-License-Identifier: MPL-2.0
"""What is done from time to time, on a thread and a connection of its own."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from kea_subnet_deleg.ledger import Ledger, LedgerError, LedgerUnavailable
from kea_subnet_deleg.runtime.connection import Keeper
from kea_subnet_deleg.runtime.journal import KeaJournal


@dataclass(slots=True)
class Task:
    """A piece of work and the seconds between two runs of it. One that needs the ledger rests while that is down.

    `share`: of the time, that it may take at most; where it takes longer, it is done less often.
    """

    name: str
    interval: float
    work: Callable[[Ledger], None]
    needs_ledger: bool = True
    share: float = 1.0
    due: float = field(default=0.0)


class Timers:
    """The thread that runs the tasks, each at its interval."""

    def __init__(
        self,
        tasks: list[Task],
        ledger: Ledger,
        keeper: Keeper,
        journal: KeaJournal,
        clock: Callable[[], float],
    ) -> None:
        self._tasks = tasks
        self._ledger = ledger
        self._keeper = keeper
        self._journal = journal
        self._clock = clock
        self._stop = threading.Event()

    def stop(self) -> None:
        """End `run` after the task at work."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop`. No exception ends it: it is logged and counted."""
        try:
            while not self._stop.is_set():
                ready = self._keeper.ready()
                now = self._clock()
                for task in self._tasks:
                    # Asked before each: where one has lost the ledger, the others would but lose it again, and lengthen the pause.
                    ready = ready and self._ledger.connected
                    if task.due <= now and (ready or not task.needs_ledger) and not self._stop.is_set():
                        self._run(task)
                        task.due = now + max(task.interval, (self._clock() - now) / task.share)
                ready = ready and self._ledger.connected
                waiting = [task.due for task in self._tasks if ready or not task.needs_ledger]
                pause = max(0.0, min(waiting, default=now + 1.0) - self._clock())
                self._stop.wait(self._keeper.wait(pause))
        finally:
            self._ledger.close()

    def _run(self, task: Task) -> None:
        try:
            task.work(self._ledger)
        except LedgerUnavailable as error:
            if not self._stop.is_set():
                self._keeper.lost(str(error))
        except LedgerError as error:
            self._journal.error("SUBNET_DELEG_TIMER_FAILED", f"{task.name}: {error}")
        except Exception:
            self._journal.count("exceptions")
            self._journal.error("SUBNET_DELEG_EXCEPTION", f"{task.name}: {traceback.format_exc()}")
