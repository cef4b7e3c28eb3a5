# SPDX-License-Identifier: MPL-2.0
"""The worker: takes everything that waits, has it answered in one transaction, sends the answers.

Under load a batch grows by itself, since all that comes in during one transaction waits for the next: a group commit.
"""

from __future__ import annotations

import threading
import time
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

IDLE_WAIT: Final = 5.0
"""Seconds to wait for packets at most, so that a lost ledger is reached again also while nobody asks."""


LINGER: Final = 0.002
LONGEST_LINGER: Final = 0.02
"""Seconds to wait for more packets while another worker is at the ledger, at least and at most."""
ENOUGH: Final = 32
"""Messages of a batch from which on waiting for more gains nothing. A transaction costs as much as a dozen messages: where many servers
share a ledger, and so each has few, all are faster if they wait for up to half as long as their last batch took."""


class Shift:
    """The workers of one server: how many are at work on a batch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.busy = 0

    def __enter__(self) -> None:
        with self._lock:
            self.busy += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.busy -= 1


class Worker:
    """A thread that answers. There are two, so that one decodes and encodes while the other waits for its commit.

    Parameters
    ----------
    announce : callable
        Says to the ledger that a further address (host-order integer) is a server identifier of this domain.
    prepare : callable
        Called once the ledger is connected, before the first packets are answered: reads what the role needs of it.
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
        self._prepared = False
        self._linger = LINGER
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

    def _receive(self) -> list[Inbound] | None:
        wait = self._keeper.wait(IDLE_WAIT)
        if self._shift.busy:
            return self._kea.receive(self._batch_size, wait, self._linger)
        return self._kea.receive(self._batch_size, wait)

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
            if not self._prepared:
                self._prepare(self._ledger)
                self._prepared = True
            for address, interface in {packet.local_address: packet.interface for packet in packets}.items():
                if address not in self._own:
                    self._announce(self._ledger, address)
                    self._own[address] = interface
            began = time.monotonic()
            self._role.serve(packets, self._kea.send)
            took = time.monotonic() - began
            self._linger = min(max(LINGER, took / 2 * (1 - len(packets) / ENOUGH)), LONGEST_LINGER)
        except LedgerUnavailable as error:
            self._journal.count("ledger-down", len(packets))
            self._keeper.lost(str(error))
        except LedgerError as error:
            self._journal.count("conflicts", len(packets))
            self._journal.error("SUBNET_DELEG_OPERATION_FAILED", str(error))
