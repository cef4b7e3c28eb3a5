# SPDX-License-Identifier: MPL-2.0
"""The worker: takes everything that waits, has it answered in one transaction, sends the answers.

Under load a batch grows by itself, since all that comes in during one transaction waits for the next: a group commit.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Final

from kea_subnet_deleg.ledger import Ledger, LedgerError, LedgerUnavailable
from kea_subnet_deleg.roles.delegating import Delegating
from kea_subnet_deleg.roles.packets import Inbound
from kea_subnet_deleg.runtime.bridge import Kea
from kea_subnet_deleg.runtime.connection import Keeper
from kea_subnet_deleg.runtime.journal import KeaJournal
from kea_subnet_deleg.wire import BOOTREPLY

IDLE_WAIT: Final = 60.0
"""Seconds to wait for packets at most. (Where the ledger is lost, the next attempt to reach it ends the wait.)"""

ENOUGH: Final = 48
"""Messages for which it pays to begin a transaction while another worker is in one. With fewer the worker waits until that one is
through, and takes all that has come until then. A transaction costs as much as a dozen messages; above all where many servers share a
ledger, and each has few messages, the number of transactions is what counts."""
LONGEST_WAIT: Final = 0.05
STEP: Final = 0.002
"""Seconds for which it waits at most, and after which it looks how many there are."""


class Shift:
    """The workers of one server: how many are at work on a batch, whose turn it is to gather the next one, and who has the ledger.

    Attributes
    ----------
    left : list
        Packets that one without the ledger took before another had it, and leaves to that. For who has `gathering`.
    """

    def __init__(self) -> None:
        self.gathering = threading.Lock()
        self._changed = threading.Condition()
        self.busy = 0
        self.left: list[Inbound] = []
        self._lost = threading.Condition()
        self._connected: set[object] = set()

    def __enter__(self) -> None:
        with self._changed:
            self.busy += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self.busy -= 1
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until one who is at work is through, for so long at most; return whether anybody is at work still."""
        with self._changed:
            if self.busy:
                self._changed.wait(seconds)
            return self.busy > 0

    @property
    def connected(self) -> bool:
        """Whether anybody has the ledger."""
        return bool(self._connected)

    def note(self, who: object, *, connected: bool) -> None:
        """Say whether somebody has the ledger."""
        if connected == (who in self._connected):  # nearly always; nobody else changes it
            return
        with self._lost:
            if connected:
                self._connected.add(who)
            else:
                self._connected.discard(who)
                self._lost.notify_all()

    def rest(self, seconds: float) -> bool:
        """Wait as long as anybody has the ledger, for so long at most; return whether anybody has it still."""
        with self._lost:
            return not self._lost.wait_for(lambda: not self._connected, seconds)


class Worker:
    """A thread that answers. There are two, so that one decodes and encodes while the other waits for its commit.

    Parameters
    ----------
    announce : callable
        Says to the ledger that a further address (host-order integer) is a server identifier of this domain.
    prepare : callable
        Called before packets are answered: sees to it that what the role knows of the ledger is not old.
    shift : Shift
        Shared by the workers of one server.
    answers : callable, optional
        Takes what other servers say to us as their client: answers and FORCERENEWs. Without it they go unheard.
    own : dict
        The server identifiers announced so far, each with the interface it is heard on; shared with the roles.
    """

    def __init__(
        self,
        kea: Kea,
        journal: KeaJournal,
        ledger: Ledger,
        keeper: Keeper,
        role: Delegating,
        announce: Callable[[Ledger, int], None],
        prepare: Callable[[Ledger], None],
        own: dict[int, int],
        batch_size: int,
        shift: Shift | None = None,
        answers: Callable[[list[Inbound]], None] | None = None,
    ) -> None:
        self._kea = kea
        self._journal = journal
        self._ledger = ledger
        self._keeper = keeper
        self._role = role
        self._announce = announce
        self._prepare = prepare
        self._own = own
        self._batch_size = batch_size
        self._shift = shift or Shift()
        self._answers = answers

    def run(self) -> None:
        """Work until Kea says stop. No exception ends it: it is logged, counted, and the packets are dropped."""
        try:
            while (packets := self._receive()) is not None:
                try:
                    with self._shift:
                        self._turn(packets)
                except Exception:
                    self._journal.count("exceptions")
                    self._journal.error("SUBNET_DELEG_EXCEPTION", traceback.format_exc())
        finally:
            self._ledger.close()
            self._shift.note(self, connected=False)

    def _receive(self) -> list[Inbound] | None:
        """Take packets; none where it is only time to connect, and None at the end.

        Without the ledger they could but be dropped: they are left alone as long as another worker has it.
        """
        connected = self._ledger.connected
        self._shift.note(self, connected=connected)
        if not connected and self._shift.rest(self._keeper.wait(IDLE_WAIT)):
            return []
        # Who gets the ledger meanwhile waits there for packets, for long: then it is time to connect, too.
        if not self._shift.gathering.acquire(timeout=-1 if connected else self._keeper.wait(IDLE_WAIT)):
            return []
        try:
            return self._gather(connected=connected)
        finally:
            self._shift.gathering.release()

    def _gather(self, *, connected: bool) -> list[Inbound] | None:
        """Take packets, and wait for more while another works on many. For who has `gathering`."""
        packets: list[Inbound] | None = self._shift.left
        self._shift.left = []
        if not packets:
            packets = self._kea.receive(self._batch_size, self._keeper.wait(IDLE_WAIT))
        # Another has got it meanwhile, and waits for its turn here.
        if packets and not connected and self._shift.connected:
            self._shift.left = packets
            return []
        patience = LONGEST_WAIT
        busy = self._shift.busy > 0
        while packets and busy and len(packets) < min(ENOUGH, self._batch_size) and patience > 0:
            busy = self._shift.wait(STEP)
            patience -= STEP
            packets += self._kea.receive(self._batch_size - len(packets), 0.0) or []
        return packets

    def _turn(self, packets: list[Inbound]) -> None:
        if self._answers is not None and (heard := [packet for packet in packets if packet.data[0] == BOOTREPLY]):
            self._answers(heard)
            packets = [packet for packet in packets if packet.data[0] != BOOTREPLY]
        if not self._keeper.ready():
            if packets:
                self._journal.count("ledger-down", len(packets))
            return
        if not packets:
            return
        try:
            self._prepare(self._ledger)
            for address, interface in {packet.local_address: packet.interface for packet in packets}.items():
                if address not in self._own:
                    self._announce(self._ledger, address)
                    self._own[address] = interface
            self._role.serve(packets, self._kea.send)
        except LedgerUnavailable as error:
            self._journal.count("ledger-down", len(packets))
            self._keeper.lost(error)
        except LedgerError as error:
            self._journal.count("conflicts", len(packets))
            self._journal.error("SUBNET_DELEG_OPERATION_FAILED", str(error))
