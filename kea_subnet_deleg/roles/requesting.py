# SPDX-License-Identifier: MPL-2.0
"""The requesting server: obtains subnets from other servers, renews them and gives them back (seed FIG. 5 and 9A; RFC 6656).

It never waits: what others say is taken as it comes, what time asks for is done when `turn` is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from kea_subnet_deleg.ledger import LedgerError, LedgerUnavailable
from kea_subnet_deleg.roles.acquiring import Acquiring
from kea_subnet_deleg.roles.holding import Holding
from kea_subnet_deleg.roles.listing import Listings
from kea_subnet_deleg.roles.packets import Inbound, Outbound
from kea_subnet_deleg.roles.station import Journal, RequestingTerms, Station, UpstreamStore, address
from kea_subnet_deleg.roles.upstream import Path, Upstream
from kea_subnet_deleg.wire import (
    BOOTREPLY,
    MalformedMessage,
    MalformedOption,
    Message,
    MessageType,
    Option,
    SubnetAllocation,
)

__all__ = ["Journal", "Path", "Requesting", "RequestingTerms", "Upstream", "UpstreamStore"]

_CLIENT_IDENTIFIER: Final = int(Option.CLIENT_IDENTIFIER)
_MOST_FAULTS: Final = 64


class Requesting:
    """The requesting side of one server, for one thread.

    Whatever raises LedgerUnavailable leaves things as they are, and is done again at the next turn or retransmission; what is to be
    sent meanwhile is kept.

    Parameters
    ----------
    store : UpstreamStore
        The ledger.
    paths : callable
        Returns how an upstream is reached, None where it can't be now.
    clock : callable
        Monotonic seconds.
    random : Random
        Of xids and retransmission times.
    who : str
        The name of this server among those of its domain.
    replay : callable
        Returns the next replay detection value for what is signed, each above the last, also after a restart.
    obtained : callable
        Called when there are new blocks in the ledger.
    """

    def __init__(
        self,
        terms: RequestingTerms,
        store: UpstreamStore,
        journal: Journal,
        paths: Callable[[Upstream], Path | None],
        clock: Callable[[], float],
        random: Random,
        who: str,
        replay: Callable[[], int],
        obtained: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._station = Station(terms, store, journal, paths, clock, random, who, replay)
        self._listings = Listings(self._station, obtained)
        self._holding = Holding(self._station)
        self._acquiring = Acquiring(self._station, obtained, self._listings.ask)
        self.due: float = clock()
        """When `turn` is to be called next, at the latest."""
        self.wanting: bool = False
        """Whether something is wanted that is not there yet: this domain itself is short."""
        self._faults: set[tuple[int, str]] = set()
        self.refused: bool = False
        """Whether upstreams gave nothing of what was wanted when they were asked last."""

    def start(self) -> list[Outbound]:
        """Begin to ask upstreams what they think we hold (RFC 6656 section 6); return what is to be sent."""
        self._listings.ask_all()
        self._listings.turn(self._clock())
        return self._sent()

    def want(self, own: Sequence[int], clients: Sequence[int] = ()) -> None:
        """Say all prefix lengths of which blocks are missing right now, one for each block; none if nothing is.

        `own`: for what this domain does itself; `clients`: for who asked us, and got nothing.
        """
        self._acquiring.want(own, clients, self._clock())
        self._settle()

    def take(self, packet: Inbound) -> list[Outbound]:
        """Hear what a server says to us as its client: OFFER, ACK, NAK, FORCERENEW; return what is to be sent.

        What is nobody's answer to us is met with silence.
        """
        try:
            message = Message.decode(packet.data)
            allocation = _allocation(message)
        except (MalformedMessage, MalformedOption) as error:
            self._journal.count("malformed")
            self._journal.debug("SUBNET_DELEG_MALFORMED", f"from {address(packet.source)}: {error}")
            return self._sent()
        taken = (
            self._is_for_us(packet, message)
            and self._believes(packet, message)
            and self._hear(packet, message, allocation)
        )
        self._journal.count("answers-taken" if taken else "answers-ignored")
        return self._sent()

    def hurry(self) -> None:
        """Look at the next turn for what is to be renewed: something has just become due."""
        self._holding.hurry()
        self._settle()

    def changed(self) -> None:
        """Look soon for what is to be renewed or released: the ledger is not what it was."""
        self._holding.changed()
        self._settle()

    def turn(self) -> list[Outbound]:
        """Do what time asks for; return what is to be sent.

        What fails alone in the ledger does not keep the rest from being done; it stays due, and is raised when nothing is to be sent.
        """
        now = self._clock()
        failure: LedgerError | None = None
        for turn in (self._acquiring.turn, self._holding.turn, self._listings.turn):
            try:
                turn(now)
            except LedgerUnavailable:
                raise
            except LedgerError as error:
                failure = error
        if failure is not None and not self._station.outbox:
            raise failure
        return self._sent()

    def _is_for_us(self, packet: Inbound, message: Message) -> bool:
        """Whether a message may be for us: it says nothing of another client, nor of another relay.

        A FORCERENEW may also name no relay at all: it is no answer, and is unicast to its client (RFC 3203 section 2.2).
        """
        requester = self._station.speaker.requester
        past_relays = message.type is MessageType.FORCERENEW and message.giaddr == 0
        return (
            message.op == BOOTREPLY
            and message.server_identifier is not None
            and message.options.get(_CLIENT_IDENTIFIER, requester.identity) == requester.identity
            and message.chaddr == requester.hardware
            and (past_relays or message.giaddr in (packet.destination, packet.local_address))
        )

    def _believes(self, packet: Inbound, message: Message) -> bool:
        """Whether a message is signed, if it is of a server that has a key (RFC 3118 section 5.5). An operator hears why not, once."""
        fault = self._station.credentials.fault(message, packet.data, packet.source)
        if fault is None:
            return True
        self._journal.count("not-authentic")
        told = (packet.source, fault.split(":")[0])
        if told not in self._faults:
            self._faults = {*self._faults, told} if len(self._faults) < _MOST_FAULTS else {told}
            text = f"{message.type.name} from {address(packet.source)}: {fault}"
            self._journal.warn("SUBNET_DELEG_UPSTREAM_NOT_AUTHENTIC", text)
        return False

    def _hear(self, packet: Inbound, message: Message, allocation: SubnetAllocation) -> bool:
        now = self._clock()
        if message.type is MessageType.FORCERENEW:
            return self._holding.forcerenew(packet, message, allocation, now)
        if message.type not in (MessageType.OFFER, MessageType.ACK, MessageType.NAK):
            return False
        heeded = (
            self._acquiring.answer(packet, message, allocation, now)
            or self._holding.answer(message, allocation, now)
            or self._listings.answer(message, allocation, now)
        )
        if heeded and message.type is MessageType.ACK:
            self._acquiring.trust(message.server_identifier or 0)
        return heeded

    def _sent(self) -> list[Outbound]:
        """Return what is to be sent."""
        messages = self._station.outbox[:]
        self._station.outbox.clear()
        self._settle()
        return messages

    def _settle(self) -> None:
        self.wanting = self._acquiring.wanting
        self.refused = self._acquiring.refused
        self.due = min(self._listings.due, self._holding.due, self._acquiring.due)


def _allocation(message: Message) -> SubnetAllocation:
    """Return option 220 of a message; nothing at all where it has none, as a NAK may."""
    parts = message.subnet_allocation_parts
    return SubnetAllocation.decode(parts) if parts else SubnetAllocation()
