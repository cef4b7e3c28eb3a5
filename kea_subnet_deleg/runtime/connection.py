# SPDX-License-Identifier: MPL-2.0
"""Staying connected to the ledger: attempts with growing pauses, and one line in the log for each change."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from kea_subnet_deleg.ledger import Ledger, LedgerUnavailable, LedgerUnusable
from kea_subnet_deleg.runtime.journal import KeaJournal

FIRST_DELAY: Final = 0.25
"""Seconds until the second attempt; each pause is twice the one before, up to the longest."""
GOOD_AFTER: Final = 60.0
"""Seconds after which a connection is as good as any, though nothing was done by it, and the one before was good for nothing."""


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
        self._unusable = False  # the last connection could be made, and was good for nothing
        self._good_at = 0.0

    def ready(self) -> bool:
        """Whether the ledger is connected; connects if it is time to. May take the DSN's connect_timeout.

        A connection that PostgreSQL has closed since it was used last, as when it was restarted, is made anew at once: nothing was
        asked by it. Where PostgreSQL answered and did not do what it was asked, a connection proves nothing until it has done
        something: until then pauses go on to grow, and nothing is said.
        """
        again = ""
        if self._ledger.connected:
            try:
                self._ledger.check()
            except LedgerUnavailable as error:
                again = f", anew: {error}"
            else:
                if self._unusable and (self._ledger.answered or self._clock() >= self._good_at):
                    self._found()
                return True
        if self._clock() < self._next:
            return False
        try:
            self._ledger.connect()
        except LedgerUnavailable as error:
            self.lost(error)
            return False
        if self._unusable:
            self._good_at = self._clock() + GOOD_AFTER
        else:
            self._found(again)
        return True

    @property
    def good(self) -> bool:
        """Whether the ledger is connected, and does what it is asked, as far as is known."""
        return self._ledger.connected and not self._unusable

    def _found(self, again: str = "") -> None:
        self._delay = FIRST_DELAY
        self._reported = ""
        self._unusable = False
        self._journal.info("SUBNET_DELEG_LEDGER_CONNECTED", f"for the {self._name}{again}")
        self._changed()

    def lost(self, error: LedgerUnavailable) -> None:
        """Note that the ledger did not answer; the same reason is logged once, not at each attempt."""
        why = str(error)
        self._unusable = isinstance(error, LedgerUnusable)
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
