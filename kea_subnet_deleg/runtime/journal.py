# SPDX-License-Identifier: MPL-2.0
"""Kea's log and the hook's counters, as the roles' journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kea_subnet_deleg.runtime.bridge import Kea, Severity

AGAIN: Final = 60.0
"""Seconds after which a failure that goes on is logged once more."""


class KeaJournal:
    """Writes to Kea's log under the identifiers of messages.py; implements roles.delegating.Journal."""

    def __init__(self, kea: Kea) -> None:
        self._kea = kea

    def writes_debug(self) -> bool:
        """Whether what `debug` is given is written."""
        return self._kea.log_enabled(Severity.DEBUG)

    def writes_info(self) -> bool:
        """Whether what `info` is given is written."""
        return self._kea.log_enabled(Severity.INFO)

    def debug(self, identifier: str, text: str) -> None:
        """Log for whoever looks closely."""
        if self._kea.log_enabled(Severity.DEBUG):
            self._kea.log(Severity.DEBUG, identifier, text)

    def info(self, identifier: str, text: str) -> None:
        """Log what an operator wants to find later."""
        self._kea.log(Severity.INFO, identifier, text)

    def warn(self, identifier: str, text: str) -> None:
        """Log what an operator wants to know now."""
        self._kea.log(Severity.WARN, identifier, text)

    def error(self, identifier: str, text: str) -> None:
        """Log what an operator should look into."""
        self._kea.log(Severity.ERROR, identifier, text)

    def count(self, counter: str, n: int = 1) -> None:
        """Add to a counter."""
        self._kea.count(counter, n)


class Failures:
    """What fails again and again is logged once a minute, in the same words; at once in others.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, journal: KeaJournal, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._clock = clock
        self._told: dict[str, tuple[str, float]] = {}

    def tell(self, what: str, identifier: str, text: str) -> None:
        """Log that `what` has failed, unless that was said a moment ago."""
        said, at = self._told.get(what, ("", 0.0))
        now = self._clock()
        if text != said or now - at >= AGAIN:
            self._told[what] = (text, now)
            self._journal.error(identifier, text)
