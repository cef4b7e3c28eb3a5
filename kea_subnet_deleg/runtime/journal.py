# SPDX-License-Identifier: MPL-2.0
"""Kea's log and the hook's counters, as the roles' journal."""

from __future__ import annotations

from kea_subnet_deleg.runtime.bridge import Kea, Severity


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
