# SPDX-License-Identifier: MPL-2.0
"""The service as the hook's C++ half drives it: configure in load(), start once Kea is configured, stop in unload().

Kea loads and unloads a hook any number of times in one process, so everything here belongs to one `_Service` that stop() drops.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Final

from kea_subnet_deleg import __version__
from kea_subnet_deleg.ledger import Ledger
from kea_subnet_deleg.policy import BestFit, Policy
from kea_subnet_deleg.roles.delegating import Delegating, Terms
from kea_subnet_deleg.runtime.bridge import Kea
from kea_subnet_deleg.runtime.connection import Keeper
from kea_subnet_deleg.runtime.journal import KeaJournal
from kea_subnet_deleg.runtime.messages import MESSAGES
from kea_subnet_deleg.runtime.settings import BadSettings, Settings
from kea_subnet_deleg.runtime.timers import Task, Timers
from kea_subnet_deleg.runtime.views import LedgerViews
from kea_subnet_deleg.runtime.worker import Worker

SWEEP_LIMIT: Final = 100
"""Blocks that one sweep moves on at most, so that it holds its locks for milliseconds."""
SWEEPS_AT_ONCE: Final = 20
"""Sweeps in a row while there is something to do; then the other timers have their turn."""
STATUS_INTERVAL: Final = 0.25
"""Seconds between two updates of what `subnet-deleg-status` says of the service."""
ANNOUNCE_INTERVAL: Final = 60.0
"""Seconds between two updates of this server's last_seen in the ledger."""


def make_policy(settings: Settings) -> Policy:
    """Return the policy that the parameters name."""
    return BestFit(settings.default_prefix_length, settings.min_prefix_length, settings.max_prefix_length)


class _Service:
    """One generation: two threads, each with its connection."""

    def __init__(self, kea: Kea, settings: Settings) -> None:
        self._kea = kea
        self._settings = settings
        self._journal = KeaJournal(kea)
        self._name = settings.server_name or socket.gethostname()
        self._own: set[int] = set()
        self._views = LedgerViews()
        self._worker_ledger = Ledger(settings.dsn, settings.statement_timeout)
        self._timer_ledger = Ledger(settings.dsn, settings.statement_timeout)
        self._timers = Timers(
            [
                Task("sweep", settings.sweep_interval, self._sweep),
                Task("view", settings.view_interval, self._views.read),
                Task("announce", ANNOUNCE_INTERVAL, self._announce_again),
                Task("status", STATUS_INTERVAL, self._publish, needs_ledger=False),
            ],
            self._timer_ledger,
            self._keeper("timers", self._timer_ledger),
            self._journal,
            time.monotonic,
        )
        worker = Worker(
            kea,
            self._journal,
            self._worker_ledger,
            self._keeper("worker", self._worker_ledger),
            self._role(),
            self._announce,
            self._own,
            settings.batch_size,
        )
        # Daemons: if PostgreSQL holds one beyond the time that stop() has, it must not keep Kea from ending.
        self._threads = [
            threading.Thread(target=worker.run, name="deleg-worker", daemon=True),
            threading.Thread(target=self._timers.run, name="deleg-timers", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self._journal.info("SUBNET_DELEG_STARTED", f"version {__version__}, policy {self._settings.policy}")

    def stop(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        self._timers.stop()
        # First the time to end by themselves; then the connection of a thread that waits for PostgreSQL is cut.
        for thread in self._threads:
            thread.join(max(0.0, min(timeout / 2, deadline - time.monotonic())))
        if any(thread.is_alive() for thread in self._threads):
            self._worker_ledger.abandon()
            self._timer_ledger.abandon()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads)
        if ended:
            self._journal.info("SUBNET_DELEG_STOPPED", "")
        return ended

    def _keeper(self, name: str, ledger: Ledger) -> Keeper:
        return Keeper(name, ledger, self._settings.max_reconnect_delay, self._journal, time.monotonic)

    def _role(self) -> Delegating:
        settings = self._settings
        terms = Terms(
            settings.lease_time,
            settings.min_lease_time,
            settings.max_lease_time,
            settings.offer_time,
            settings.quarantine_time,
        )
        return Delegating(self._worker_ledger, make_policy(settings), self._views, self._journal, terms, self._own)

    def _sweep(self, ledger: Ledger) -> None:
        for _ in range(SWEEPS_AT_ONCE):
            swept = ledger.sweep(SWEEP_LIMIT, self._settings.quarantine_time)
            if not any(swept):
                break
            self._journal.debug(
                "SUBNET_DELEG_SWEPT", ", ".join(f"{n} {what}" for what, n in swept._asdict().items() if n)
            )

    def _announce(self, ledger: Ledger, address: int) -> None:
        ledger.server_seen(address, self._name, __version__)
        self._journal.info("SUBNET_DELEG_SERVER_ADDRESS", socket.inet_ntoa(address.to_bytes(4, "big")))

    def _announce_again(self, ledger: Ledger) -> None:
        for address in tuple(self._own):
            ledger.server_seen(address, self._name, __version__)

    def _publish(self, _: Ledger) -> None:
        self._kea.publish_status(
            json.dumps(
                {
                    "server-name": self._name,
                    "policy": self._settings.policy,
                    "ledger-connected": self._worker_ledger.connected,
                    "timers-connected": self._timer_ledger.connected,
                    "server-identifiers": [socket.inet_ntoa(a.to_bytes(4, "big")) for a in sorted(self._own.copy())],
                }
            )
        )


_settings: Settings | None = None
_service: _Service | None = None


def configure(parameters_json: str) -> str | None:
    """Check the hook's parameters and keep them for `start`. Starts nothing.

    Returns
    -------
    str or None
        Why they are refused, naming key, value and what is allowed; None if they are good.
    """
    global _settings
    try:
        _settings = Settings.from_json(parameters_json)
    except BadSettings as error:
        return str(error)
    return None


def start(kea: Kea) -> None:
    """Start the threads with the parameters of the last `configure`. Raises RuntimeError if there was none."""
    global _service
    if _settings is None:
        raise RuntimeError("start before configure")
    kea.register_messages(MESSAGES)
    _service = _Service(kea, _settings)
    _service.start()


def stop(timeout: float) -> bool:
    """Stop the threads, within `timeout` seconds. Returns whether all have ended; those that have not end later, in silence."""
    global _service
    service, _service = _service, None
    return service is None or service.stop(timeout)
