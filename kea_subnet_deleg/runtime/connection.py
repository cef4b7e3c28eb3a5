# SPDX-License-Identifier: MPL-2.0
"""Staying connected to the ledger: attempts with growing pauses, and one line in the log for each change."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from kea_subnet_deleg.ledger import Ledger, LedgerUnavailable
from kea_subnet_deleg.runtime.journal import KeaJournal

FIRST_DELAY: Final = 0.25
"""Seconds until the second attempt; each pause is twice the one before, up to the longest."""


class Keeper:
    """Keeps one Ledger connected. For one thread.

    Parameters
    ----------
    ledger : Ledger
        The connection to keep.
    longest_delay : float
        Longest pause between two attempts, in seconds.
    clock : callable
        Monotonic seconds.
    changed : callable
        Called when the ledger was found, and when it was lost.
    """

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        longest_delay: float,
        journal: KeaJournal,
        clock: Callable[[], float],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._ledger = ledger
        self._longest = longest_delay
        self._journal = journal
        self._clock = clock
        self._delay = FIRST_DELAY
        self._changed = changed
        self._next = clock()
        self._reported = ""

    def ready(self) -> bool:
        """Whether the ledger is connected; connects if it is time to. May take the DSN's connect_timeout.

        A connection that PostgreSQL has closed since it was used last, as when it was restarted, is made anew at once: nothing was
        asked by it.
        """
        again = ""
        if self._ledger.connected:
            try:
                self._ledger.check()
            except LedgerUnavailable as error:
                again = f", anew: {error}"
            else:
                return True
        if self._clock() < self._next:
            return False
        try:
            self._ledger.connect()
        except LedgerUnavailable as error:
            self.lost(str(error))
            return False
        self._delay = FIRST_DELAY
        self._reported = ""
        self._journal.info("SUBNET_DELEG_LEDGER_CONNECTED", f"for the {self._name}{again}")
        self._changed()
        return True

    def lost(self, why: str) -> None:
        """Note that the ledger did not answer; the same reason is logged once, not at each attempt."""
        # Servers that lost the ledger together must not all come back in the same instant.
        pause = self._delay * random.uniform(0.75, 1.25)
        self._next = self._clock() + pause
        self._delay = min(self._delay * 2, self._longest)
        if why != self._reported:
            self._reported = why
            self._changed()
            self._journal.error(
                "SUBNET_DELEG_LEDGER_DOWN", f"for the {self._name}; next attempt in {pause:.1f} s: {why}"
            )

    def wait(self, usual: float) -> float:
        """Return the seconds to wait for other work, `usual` at most, so that the next attempt is on time."""
        return usual if self._ledger.connected else max(0.05, min(usual, self._next - self._clock()))
