# SPDX-License-Identifier: MPL-2.0
"""The service as the hook's C++ half drives it: configure in load(), start once Kea is configured, stop in unload().

Kea loads and unloads a hook any number of times in one process, so everything here belongs to one `_Service` that stop() drops.
"""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
from datetime import UTC, datetime
from typing import Final

from kea_subnet_deleg import __version__
from kea_subnet_deleg.ledger import Directory, Ledger
from kea_subnet_deleg.ledger.directory import DEFAULT_SPACE
from kea_subnet_deleg.ledger.networks import Networks
from kea_subnet_deleg.policy import Limits, Thresholds
from kea_subnet_deleg.roles.admission import RateLimit
from kea_subnet_deleg.roles.authentication import Authenticator, ReplayCounter
from kea_subnet_deleg.roles.deciding import Terms
from kea_subnet_deleg.roles.delegating import Delegating, Surroundings
from kea_subnet_deleg.roles.replies import Replies, Times
from kea_subnet_deleg.roles.shortages import Shortages
from kea_subnet_deleg.roles.takeback import Takeback, TakebackTerms
from kea_subnet_deleg.runtime import compiled
from kea_subnet_deleg.runtime.bridge import Kea
from kea_subnet_deleg.runtime.connection import Keeper
from kea_subnet_deleg.runtime.journal import KeaJournal
from kea_subnet_deleg.runtime.messages import MESSAGES
from kea_subnet_deleg.runtime.obtaining import Domain, make_agent, served_at_once
from kea_subnet_deleg.runtime.paths import Neighbours
from kea_subnet_deleg.runtime.policies import make_policies
from kea_subnet_deleg.runtime.settings import BadSettings, Settings
from kea_subnet_deleg.runtime.timers import Task, Timers
from kea_subnet_deleg.runtime.views import LedgerViews
from kea_subnet_deleg.runtime.watchdog import Watchdog
from kea_subnet_deleg.runtime.worker import Shift, Worker

SWEEP_LIMIT: Final = 25
"""Blocks that one sweep moves on at most, so that it holds its locks for less than 50 ms: each takes up to half a millisecond."""
SWEEPS_AT_ONCE: Final = 80
"""Sweeps in a row while there is something to do; then the other timers have their turn."""
SWEEP_REST: Final = 5
"""Intervals from one sweep to the next at most, where nothing is due before: each costs ordinary DHCP something."""
VIEW_SHARE: Final = 0.05
"""Of the time, that reading the totals may take at most: with many leases they are read less often than view-interval says."""
DAYS_INTERVAL: Final = 600.0
"""Seconds between two samples of usage for its growth per day (seed [0127])."""
DAYS_AT_ONCE: Final = 20
"""Steps of a sample in a row, of a thousand blocks and some milliseconds each,"""
DAYS_PAUSE: Final = 10.0
"""and seconds until it goes on: a million blocks in ten minutes."""
EVENTS_INTERVAL: Final = 60.0
"""Seconds between two looks at the partitions of the events."""
EVENTS_AT_ONCE: Final = 20
"""Steps in a row, of some 15 ms each, while there is something to do: 2 * 10^7 events a day."""
COLLECT_AT: Final = 20000
"""Objects made, less those that ended, between two looks of the garbage collector."""
ANNOUNCE_INTERVAL: Final = 20.0
"""Seconds between two updates of this server's last_seen in the ledger; after a minute without, others speak for it."""


class _Service:
    """One generation: the workers, the timers and the agent, each a thread with its connection, and one that watches these."""

    def __init__(self, kea: Kea, settings: Settings) -> None:
        self._kea = kea
        self._settings = settings
        self._journal = KeaJournal(kea)
        self._name = settings.server_name or socket.gethostname()
        self._own: dict[int, int] = {}
        self._views = LedgerViews(wanted=self._figures_wanted)
        self._worker_ledgers = [Ledger(settings.dsn, settings.statement_timeout) for _ in range(settings.workers)]
        self._timer_ledger = Ledger(settings.dsn, settings.statement_timeout)
        self._authenticator = Authenticator(settings.auth_keys, ReplayCounter())
        self._agent_ledger = Ledger(settings.dsn, settings.statement_timeout)
        self._worker_keepers = [self._keeper("worker", ledger) for ledger in self._worker_ledgers]
        self._timer_keeper = self._keeper("timers", self._timer_ledger)
        self._agent_keeper = self._keeper("agent", self._agent_ledger)
        self._days_due = 0.0
        self._domain = Domain()
        self._shortages = Shortages(
            time.monotonic,
            self._wake_agent,
            Neighbours(settings.upstreams),
            keeps=bool(settings.upstreams),
            noted=self._hurry,
        )
        self._takeback = Takeback(
            TakebackTerms(
                settings.takeback_attempts,
                settings.takeback_delay,
                settings.takeback_grace,
                settings.takeback_on_shortage,
                settings.send_unauthenticated_forcerenew,
            ),
            self._shortages,
            self._authenticator,
            self._journal,
            self._own,
            time.monotonic,
        )
        self._timers = Timers(
            [
                Task("sweep", settings.sweep_interval, self._sweep),
                Task("view", settings.view_interval, self._view, share=VIEW_SHARE),
                Task("announce", ANNOUNCE_INTERVAL, self._announce_again),
                Task("days", DAYS_PAUSE, self._keep_days),
                Task("events", EVENTS_INTERVAL, self._keep_events),
            ],
            self._timer_ledger,
            self._timer_keeper,
            self._journal,
            time.monotonic,
        )
        shift = Shift()
        *roles, agents_role = self._roles([*self._worker_ledgers, self._agent_ledger])
        self._agent = make_agent(
            kea,
            settings,
            self._journal,
            self._agent_ledger,
            self._agent_keeper,
            agents_role,
            self._shortages,
            self._own,
            self._domain,
            self._announce,
            self._views.read,
            self._lacks,
            self._hurry,
            self._name,
        )
        workers = [
            Worker(
                kea,
                self._journal,
                ledger,
                keeper,
                role,
                self._announce,
                self._freshen,
                self._own,
                settings.batch_size,
                shift,
                self._agent.give if settings.upstreams else None,
            )
            for ledger, keeper, role in zip(self._worker_ledgers, self._worker_keepers, roles, strict=True)
        ]
        self._ledgers = [*self._worker_ledgers, self._timer_ledger, self._agent_ledger]
        self._watchdog = Watchdog(self._ledgers)
        # Daemons: if PostgreSQL holds one beyond the time that stop() has, it must not keep Kea from ending.
        self._threads = [
            *(threading.Thread(target=worker.run, name="deleg-worker", daemon=True) for worker in workers),
            threading.Thread(target=self._timers.run, name="deleg-timers", daemon=True),
            threading.Thread(target=self._agent.run, name="deleg-agent", daemon=True),
            threading.Thread(target=self._watchdog.run, name="deleg-watchdog", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        uncompiled = "" if compiled.used() else f", uncompiled: {compiled.refusal()}"
        self._journal.info("SUBNET_DELEG_STARTED", f"version {__version__}, policy {self._settings.policy}{uncompiled}")

    def stop(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        self._timers.stop()
        self._agent.stop()
        self._watchdog.stop()
        # Half of it, for all of them, to end by themselves; then the connection of a thread that waits for PostgreSQL is cut.
        for thread in self._threads:
            thread.join(max(0.0, deadline - timeout / 2 - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            for ledger in self._ledgers:
                ledger.abandon()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads)
        if ended:
            self._journal.info("SUBNET_DELEG_STOPPED", "")
        return ended

    def _lacks(self, lengths: tuple[int, ...]) -> None:
        """Note that our own networks lack blocks of these lengths: a shortage like a lessee's. The agent calls this."""
        self._freshen(self._agent_ledger)
        pools = tuple(pool.number for pool in self._views.directory.pools_for(DEFAULT_SPACE, None))
        if pools:
            self._shortages.note(DEFAULT_SPACE, pools, sum(1 << 32 - length for length in lengths))

    def _wake_agent(self) -> None:
        self._agent.wake()

    def _hurry(self) -> None:
        self._timers.hurry()

    def _freshen(self, ledger: Ledger) -> None:
        if self._views.freshen(ledger):
            self._publish()

    def _keeper(self, name: str, ledger: Ledger) -> Keeper:
        return Keeper(name, ledger, self._settings.max_reconnect_delay, self._journal, time.monotonic, self._publish)

    def _roles(self, ledgers: list[Ledger]) -> list[Delegating]:
        """Return the delegating role for each thread that answers; they share all but the connection."""
        settings = self._settings
        terms = Terms(
            settings.lease_time,
            settings.min_lease_time,
            settings.max_lease_time,
            settings.offer_time,
            settings.quarantine_time,
            Limits(settings.default_prefix_length, settings.min_prefix_length, settings.max_prefix_length),
            settings.policy,
            {"as-asked": None, "always": True, "never": False}[settings.hierarchical],
            settings.max_blocks_per_lessee,
            settings.max_addresses_per_lessee,
        )
        thresholds = Thresholds(
            settings.scarce_below, settings.critical_below, settings.ample_above, settings.heavy_above
        )
        times = Times(settings.t1_percent, settings.t2_percent, settings.suggested_host_lease_time)
        policies = make_policies(thresholds)
        replies = Replies(times, self._authenticator)
        rate = RateLimit(settings.max_requests_per_second, time.monotonic)
        return [
            Delegating(
                terms,
                Surroundings(
                    ledger,
                    policies,
                    self._views,
                    self._journal,
                    replies,
                    self._authenticator,
                    settings.allow,
                    RateLimit(None, time.monotonic) if ledger is self._agent_ledger else rate,
                    self._shortages,
                    self._own,
                    time.monotonic,
                    lambda: self._domain.identity,
                    # What the workers postpone, the agent answers as it is then, and nobody is charged twice for it, or doubted.
                    bool(settings.upstreams) and ledger is not self._agent_ledger,
                    ledger is self._agent_ledger,
                ),
            )
            for ledger in ledgers
        ]

    def _sweep(self, ledger: Ledger) -> float:
        """Sweep while there is something to do; return for how many seconds there will not be. To look costs ordinary DHCP time."""
        due_in = 0.0
        for _ in range(SWEEPS_AT_ONCE):
            swept = ledger.sweep(SWEEP_LIMIT, self._settings.quarantine_time)
            if (swept.takebacks_due or self._shortages) and self._kea.serving():
                self._kea.send(self._takeback.turn(ledger))
            if swept:
                moved = ", ".join(f"{n} {what}" for what, n in swept._asdict().items() if n)
                self._journal.debug("SUBNET_DELEG_SWEPT", moved)
            if not (swept or swept.more):
                due_in = 0.0 if swept.takebacks_due or self._shortages else ledger.due_in()
                break
        settings = self._settings
        # What this server grants or frees meanwhile may be due that soon.
        soonest = min(settings.offer_time, settings.quarantine_time, settings.min_lease_time)
        return min(due_in, SWEEP_REST * settings.sweep_interval, soonest)

    def _figures_wanted(self, directory: Directory) -> bool:
        """Whether some policy in use decides by figures: best-fit does not."""
        return any((pool.policy or self._settings.policy) != "best-fit" for pool in directory.pools)

    def _view(self, ledger: Ledger) -> None:
        if self._views.keep(ledger):
            self._publish()

    def _announce(self, ledger: Ledger, address: int) -> None:
        ledger.server_seen(address, self._name, __version__)
        self._publish()
        self._journal.info("SUBNET_DELEG_SERVER_ADDRESS", socket.inet_ntoa(address.to_bytes(4, "big")))

    def _announce_again(self, ledger: Ledger) -> None:
        for address in tuple(self._own):
            ledger.server_seen(address, self._name, __version__, silent=not self._kea.serving())

    def _keep_days(self, ledger: Ledger) -> None:
        now = time.monotonic()
        if now < self._days_due:
            return
        for _ in range(DAYS_AT_ONCE):
            if not Networks(ledger).keep_days():
                self._days_due = now + DAYS_INTERVAL
                ledger.keep_tallies()
                break

    def _keep_events(self, ledger: Ledger) -> None:
        for _ in range(EVENTS_AT_ONCE):
            done = ledger.keep_events()
            if done is None:
                break
            self._journal.debug("SUBNET_DELEG_EVENTS", done)

    def _publish(self) -> None:
        """Say what `subnet-deleg-status` reports of the service; to be called whenever it changes."""
        self._kea.publish_status(
            json.dumps(
                {
                    "server-name": self._name,
                    "policy": self._settings.policy,
                    "compiled": compiled.used(),
                    "ledger-connected": all(keeper.good for keeper in self._worker_keepers),
                    "timers-connected": self._timer_keeper.good,
                    "agent-connected": self._agent_keeper.good,
                    "figures-as-of": None if self._views.as_of is None else _utc(self._views.as_of),
                    "client-id": None if self._domain.identity is None else self._domain.identity.hex(":"),
                    "server-identifiers": [socket.inet_ntoa(a.to_bytes(4, "big")) for a in sorted(self._own.copy())],
                }
            )
        )


def _utc(seconds: float) -> str:
    """Return seconds since 1970 as ISO 8601; Kea's JSON would round them as a number."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


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


def configured(kea: Kea) -> str | None:
    """Return the subnets to be served from the first packet on, as a `serve` request in JSON; None where there are none.

    Called on Kea's main thread when Kea has been configured. Raises RuntimeError if `configure` was not called before.
    """
    if _settings is None:
        raise RuntimeError("configured before configure")
    return served_at_once(kea, _settings)


def start(kea: Kea) -> None:
    """Start the threads with the parameters of the last `configure`. Raises RuntimeError if there was none."""
    global _service
    if _settings is None:
        raise RuntimeError("start before configure")
    kea.register_messages(MESSAGES)
    _spare_the_collector()
    _service = _Service(kea, _settings)
    _service.start()


def _spare_the_collector() -> None:
    """Have Python's garbage collector look less often, and not at what stays: modules, classes, what was imported.

    A batch makes some thousand objects that all live until it is answered. By Python's own threshold the collector would go through
    them several times for nothing; what has a cycle, an exception's traceback, can wait. Memory is bounded by the threshold.
    """
    gc.unfreeze()  # what an unloaded generation left behind
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AT)


def stop(timeout: float) -> bool:
    """Stop the threads, within `timeout` seconds. Returns whether all have ended; those that have not end later, in silence."""
    global _service
    service, _service = _service, None
    return service is None or service.stop(timeout)
