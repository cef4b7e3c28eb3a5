# SPDX-License-Identifier: MPL-2.0
"""What is done from time to time, on a thread and a connection of its own."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from kea_subnet_deleg.ledger import Ledger, LedgerError, LedgerUnavailable
from kea_subnet_deleg.runtime.connection import Keeper
from kea_subnet_deleg.runtime.journal import Failures, KeaJournal


@dataclass(slots=True)
class Task:
    """A piece of work and the seconds between two runs of it. One that needs the ledger rests while that is down.

    `work` may return the seconds that it can wait for longer than `interval`, unless something comes up (`Timers.hurry`).
    `share`: of the time, that it may take at most; where it takes longer, it is done less often.
    """

    name: str
    interval: float
    work: Callable[[Ledger], float | None]
    needs_ledger: bool = True
    share: float = 1.0
    due: float = field(default=0.0)
    usually_due: float = field(default=0.0)  # had it not said that it can wait

    def ran(self, began: float, ended: float, rest: float | None) -> None:
        """Note a run, and that it can wait for `rest` seconds."""
        self.usually_due = began + max(self.interval, (ended - began) / self.share)
        self.due = max(self.usually_due, ended + (rest or 0.0))


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
        self._failures = Failures(journal, clock)
        self._changed = threading.Event()
        self._stopping = False
        self._hurried = False

    def stop(self) -> None:
        """End `run` after the task at work. From any thread."""
        self._stopping = True
        self._changed.set()

    def hurry(self) -> None:
        """Have what said that it can wait done at its usual interval, once. From any thread."""
        self._hurried = True
        self._changed.set()

    def run(self) -> None:
        """Work until `stop`. No exception ends it: it is logged and counted."""
        try:
            while not self._stopping:
                if self._hurried:
                    self._hurried = False
                    for task in self._tasks:
                        task.due = min(task.due, task.usually_due)
                ready = self._keeper.ready()
                now = self._clock()
                for task in self._tasks:
                    # Asked before each: where one has lost the ledger, the others would but lose it again, and lengthen the pause.
                    ready = ready and self._ledger.connected
                    if task.due <= now and (ready or not task.needs_ledger) and not self._stopping:
                        rest = self._run(task)
                        task.ran(now, self._clock(), rest)
                ready = ready and self._ledger.connected
                waiting = [task.due for task in self._tasks if ready or not task.needs_ledger]
                pause = max(0.0, min(waiting, default=now + 1.0) - self._clock())
                self._changed.wait(self._keeper.wait(pause))
                self._changed.clear()  # before it is looked at what has changed
        finally:
            self._ledger.close()

    def _run(self, task: Task) -> float | None:
        try:
            return task.work(self._ledger)
        except LedgerUnavailable as error:
            if not self._stopping:
                self._keeper.lost(error)
        except LedgerError as error:
            self._failures.tell(task.name, "SUBNET_DELEG_TIMER_FAILED", f"{task.name}: {error}")
        except Exception:
            self._journal.count("exceptions")
            self._failures.tell(task.name, "SUBNET_DELEG_EXCEPTION", f"{task.name}: {traceback.format_exc()}")
        return None
