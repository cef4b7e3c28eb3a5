# SPDX-License-Identifier: MPL-2.0
"""The agent: the thread on which a server obtains space for itself and its lessees, and its networks grow and shrink.

It has a connection of its own, and never waits for another server: what those answer, the workers hand over, and a socket wakes it.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from kea_subnet_deleg.ledger import SWEEP, Ledger, LedgerError, LedgerUnavailable
from kea_subnet_deleg.roles.packets import Inbound, Outbound
from kea_subnet_deleg.roles.shortages import OURSELVES, Shortages
from kea_subnet_deleg.runtime.bridge import Kea, KeaRefused, KeaUnavailable, KeaUnloads
from kea_subnet_deleg.runtime.connection import Keeper
from kea_subnet_deleg.runtime.journal import Failures, KeaJournal

LONGEST_REST: Final = 5.0
"""Seconds between two turns at most."""
SILENCE: Final = 1.0
"""Seconds after which a server that was told not to serve looks whether it may."""
PAUSE_AFTER_FAILURE: Final = 1.0
"""Seconds until the next turn after one that failed."""
UPSTREAM_PATIENCE: Final = 1.0
"""Seconds that a lessee's renewal may wait for our own; then it gets what is left."""
LACK_PATIENCE: Final = 1.0
"""Seconds that networks lack space, in which an upstream may give some, until it is asked back from lessees."""
SETTLED: Final = 0.05
"""Seconds after an answer of an upstream in which others may come; then renewals that wait are answered."""
MOST_ANSWERS: Final = 4096
"""Messages from other servers that may wait; a flood of them is no use to anybody."""


class Asking(Protocol):
    """The requesting role."""

    due: float
    wanting: bool
    refused: bool

    def start(self) -> Sequence[Outbound]:
        """Ask other servers what they think we hold."""

    def want(self, own: Sequence[int], clients: Sequence[int]) -> None:
        """Say which sizes are missing here, and to who asked us."""

    def hurry(self) -> None:
        """Look at the next turn for what is to be renewed."""

    def changed(self) -> None:
        """Look soon for what is to be renewed or released."""

    def take(self, packet: Inbound) -> Sequence[Outbound]:
        """Hear what another server says to us as its client."""

    def turn(self) -> Sequence[Outbound]:
        """Do what time asks for."""


class Growing(Protocol):
    """The addressing role."""

    due: float
    still_until: float
    tolerance: int | None

    @property
    def lacking(self) -> frozenset[str | None]:
        """The pools of which nothing was free for networks at the last turn."""

    def turn(self, *, news: bool) -> tuple[int, ...]:
        """Measure, grow and shrink; return the prefix lengths to ask upstreams for. `news`: the ledger may have changed."""


class Answering(Protocol):
    """The delegating role."""

    def handle(self, packets: Sequence[Inbound]) -> Sequence[Outbound]:
        """Answer clients."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What the agent does; None for what this server is not configured for."""

    asking: Asking | None
    growing: Growing | None
    answering: Answering


class Agent:
    """One thread for the roles that act by themselves.

    Parameters
    ----------
    prepare : callable
        Called once the ledger is connected, before anything else is done with it, until it returns without an exception.
    refresh : callable
        Called after space was obtained: reads the directory anew, so that what was obtained can be given away.
    lacks : callable
        Called with the prefix lengths that networks have been lacking for a while, again and again as long as they do.
    hurry : callable
        Called when the ledger tells of anything: there may be something to sweep that nobody could know of.
    """

    def __init__(
        self,
        kea: Kea,
        journal: KeaJournal,
        ledger: Ledger,
        keeper: Keeper,
        roles: Roles,
        shortages: Shortages,
        prepare: Callable[[Ledger], None],
        refresh: Callable[[Ledger], None],
        clock: Callable[[], float],
        lacks: Callable[[tuple[int, ...]], None] = lambda _: None,
        hurry: Callable[[], None] = lambda: None,
    ) -> None:
        self._kea = kea
        self._journal = journal
        self._ledger = ledger
        self._keeper = keeper
        self._roles = roles
        self._shortages = shortages
        self._prepare = prepare
        self._refresh = refresh
        self._clock = clock
        self._failures = Failures(journal, clock)
        self._lacks = lacks
        self._hurry = hurry
        self._missing_since = math.inf
        self._prepared = False
        self._started = False
        self._silent = False
        self._listening = False
        self._missing: tuple[int, ...] = ()
        self._obtained = False
        self._look_again = True
        self._rest_until = 0.0
        self._answer_postponed_at = math.inf
        self._answers: list[Inbound] = []
        self._lock = threading.Lock()
        self._stopping = False
        # Sockets, for they know when they are closed: a number might be another file's by then.
        self._waking, self._wakes = socket.socketpair()
        self._waking.setblocking(False)
        self._wakes.setblocking(False)

    # ------------------------------------------------------------------------------------- from other threads and roles

    def give(self, packets: Sequence[Inbound]) -> None:
        """Hand over messages that other servers sent to us as their client. From any thread."""
        with self._lock:
            self._answers += packets[: MOST_ANSWERS - len(self._answers)]
        self.wake()

    def wake(self) -> None:
        """Have a turn now. From any thread."""
        with self._lock, contextlib.suppress(OSError):  # full: it wakes anyway; closed: it has ended
            self._wakes.send(b"\0")

    def stop(self) -> None:
        """End `run` after the turn at work. From any thread."""
        self._stopping = True
        self.wake()

    def obtained(self) -> None:
        """Note that there is new space: the requesting role says so."""
        self._obtained = True

    # ------------------------------------------------------------------------------------------------------ the thread

    def run(self) -> None:
        """Work until `stop`. No exception ends it: it is logged and counted."""
        try:
            while not self._stopping:
                try:
                    if self._keeper.ready():
                        self._turn()
                except LedgerUnavailable as error:
                    self._listening = False
                    if not self._stopping:
                        self._keeper.lost(error)
                except KeaUnloads:  # nothing failed: `stop` is about to be called
                    self._rest_until = self._clock() + PAUSE_AFTER_FAILURE
                except (LedgerError, KeaRefused, KeaUnavailable) as error:
                    if not self._stopping:
                        self._failed("SUBNET_DELEG_AGENT_FAILED", str(error))
                except Exception:
                    self._journal.count("exceptions")
                    self._failed("SUBNET_DELEG_EXCEPTION", traceback.format_exc())
                self._wait()
        finally:
            self._ledger.close()
            with self._lock:
                self._waking.close()
                self._wakes.close()

    def _failed(self, identifier: str, text: str) -> None:
        self._failures.tell("agent", identifier, text)
        self._rest_until = self._clock() + PAUSE_AFTER_FAILURE

    def _turn(self) -> None:
        # Read in each turn, also where nothing grows and while it rests: what is left unread, or a lost connection, ends each wait.
        self._hear_the_ledger()
        if self._clock() < self._rest_until:
            return
        if not self._prepared:
            self._prepare(self._ledger)
            self._prepared = True
        if not self._listening:
            self._ledger.listen()
            self._listening = True
            self._look_again = True
        self._silent = not self._kea.serving()
        asking = self._roles.asking
        if asking is None or self._silent:  # it would not hear the answers; another server of the domain asks
            self._grow()
        else:
            self._deal(asking)
        # What came in beside the answers to our own queries was taken off the connection with them: it ends no wait.
        self._hear_the_ledger()

    def _hear_the_ledger(self) -> None:
        told = self._ledger.notified()
        if told:
            self._hurry()  # what is another's now may also end sooner
        if told - {SWEEP}:
            self._look_again = True
            if self._roles.asking is not None:
                self._roles.asking.changed()

    def _deal(self, asking: Asking) -> None:
        """Hear and say what is to be said, and grow."""
        if not self._started:
            self._kea.send(asking.start())
            self._started = True
        with self._lock:
            answers, self._answers = self._answers, []
        for packet in answers:
            self._kea.send(asking.take(packet))
        self._grow()
        self._answer_kept()  # before asking: who is served now is missing nothing
        self._see_to_postponed(asking, answered=bool(answers))
        self._ask(asking)

    def _grow(self) -> None:
        growing = self._roles.growing
        if growing is None:
            return
        self._hear_the_ledger()
        news = self._look_again or self._obtained
        if news or growing.due <= self._clock():
            self._look_again = True  # until a turn has taken the news in
            self._missing = growing.turn(news=news)
            self._look_again = False
            self._shortages.own = growing.lacking
            if not self._missing:
                self._shortages.served(OURSELVES)
            self._note_lack()

    def _note_lack(self) -> None:
        """Have little used space asked back where networks lack some, and upstreams do not help at once (seed [0105])."""
        now = self._clock()
        self._missing_since = min(self._missing_since, now) if self._missing else math.inf
        if now - self._missing_since >= LACK_PATIENCE:
            self._lacks(self._missing)

    def _ask(self, asking: Asking) -> None:
        asking.want(self._missing, self._shortages.lacking())
        if asking.due <= self._clock():
            self._kea.send(asking.turn())
        self._shortages.refused = asking.refused

    def _answer_kept(self) -> None:
        """Answer who asked while there was nothing, now that there is something (seed [0113])."""
        if not self._obtained or self._missing:
            return
        self._obtained = False
        packets = self._shortages.kept()
        if packets:
            self._refresh(self._ledger)
            self._kea.send(self._roles.answering.handle(packets))

    def _see_to_postponed(self, asking: Asking, *, answered: bool) -> None:
        """Have our own leases renewed for the renewals that wait, and answer these when upstreams have answered, or do not."""
        now = self._clock()
        if not self._shortages.has_postponed:
            return
        if math.isinf(self._answer_postponed_at):
            self._answer_postponed_at = now + UPSTREAM_PATIENCE
            asking.hurry()
        elif answered:
            self._answer_postponed_at = min(self._answer_postponed_at, now + SETTLED)
        if now >= self._answer_postponed_at:
            self._answer_postponed_at = math.inf
            self._kea.send(self._roles.answering.handle(self._shortages.postponed()))

    def _wait(self) -> None:
        now = self._clock()
        if not self._ledger.connected:  # nothing can be done, whatever is due
            self._rest(self._keeper.wait(LONGEST_REST))
            return
        due = [now + (SILENCE if self._silent else LONGEST_REST)]
        growing = self._roles.growing
        if growing is not None and self._look_again:
            due.append(now)
        elif growing is not None:
            due.append(growing.due if growing.tolerance is None else growing.still_until)
        if self._roles.asking is not None and not self._silent:
            due += [self._roles.asking.due, self._answer_postponed_at]
        self._rest(max(0.0, max(min(due), self._rest_until) - now), None if growing is None else growing.tolerance)

    def _rest(self, seconds: float, tolerance: int | None = None) -> None:
        watched = [self._waking.fileno()]
        if self._ledger.connected and self._listening:
            watched.append(self._ledger.fileno())
        self._kea.rest(watched, seconds, tolerance)
        with contextlib.suppress(BlockingIOError):
            self._waking.recv(4096)
