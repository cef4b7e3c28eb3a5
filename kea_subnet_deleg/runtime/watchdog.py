# SPDX-License-Identifier: MPL-2.0
"""A PostgreSQL that hangs must not keep the other threads waiting: their connections are cut, and they look for another."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from kea_subnet_deleg.ledger import Ledger

INTERVAL: Final = 5.0
"""Seconds between two looks: each wakes a thread, which ordinary DHCP pays for."""


class Watchdog:
    """The thread that cuts connections on which an answer is overdue. It never waits for PostgreSQL itself.

    One for all connections: a timer for each call would cost each of them a thread.
    """

    def __init__(self, ledgers: Sequence[Ledger]) -> None:
        self._ledgers = ledgers
        self._stop = threading.Event()

    def stop(self) -> None:
        """End `run`. From any thread."""
        self._stop.set()

    def run(self) -> None:
        """Work until `stop`."""
        while not self._stop.wait(INTERVAL):
            for ledger in self._ledgers:
                ledger.abandon_overdue()
