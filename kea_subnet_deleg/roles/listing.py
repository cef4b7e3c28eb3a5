# SPDX-License-Identifier: MPL-2.0
"""Asking a server what it thinks we hold, page by page (RFC 6656 section 6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from kea_subnet_deleg.roles.packets import Outbound
from kea_subnet_deleg.roles.station import MEMORY, SPACE, Station, address
from kea_subnet_deleg.roles.upstream import Retransmission, Route, Speaker
from kea_subnet_deleg.wire import Message, MessageType, SubnetAllocation, SubnetInformation, SubnetRequest

TRIES: Final = 3
"""A server that holds nothing for us keeps silent."""
MOST_PAGES: Final = 4096
"""A server that never comes to an end is not believed for ever."""
CLAIM_SECONDS: Final = 60.0
"""One instance of the domain asks a server; the others need not, for so long."""
MOST_DOUBTS: Final = 7
"""How often a server that may have leased something to us is asked again, after 1, 2, 4, ... minutes, until it was heard."""
_WHAT_DO_I_HOLD: Final = (SubnetRequest(0, information=True),)


class Listing:
    """One server's list, being read."""

    def __init__(self, speaker: Speaker, route: Route, random: Random, now: float) -> None:
        self.route = route
        self._speaker = speaker
        self._random = random
        self._pages = 0
        self._next_page(None, now)

    def _next_page(self, after: SubnetInformation | None, now: float) -> None:
        self._after = after
        self.xid = self._random.getrandbits(32)
        self._retransmission = Retransmission(TRIES, self._random, now)

    @property
    def due(self) -> float:
        """When `turn` has something to do."""
        return self._retransmission.due

    @property
    def is_over(self) -> bool:
        """Whether the last page was asked for as often as it may be; it is over at `due`."""
        return self._retransmission.is_over

    def turn(self, now: float) -> list[Outbound]:
        """Return what is to be sent now."""
        if now < self.due or self.is_over:
            return []
        self._retransmission.sent(now)
        return [self._speaker.discover(self.route.path, self.xid, _WHAT_DO_I_HOLD, after=self._after)]

    def listed(self, allocation: SubnetAllocation, now: float) -> bool:
        """Take note of a page; return whether there is another one, which the next turn asks for."""
        self._pages += 1
        last = allocation.information[-1]
        if not last.server or last == self._after or self._pages >= MOST_PAGES:
            return False
        self._next_page(last, now)
        return True


class _Doubt(NamedTuple):
    """A server that may have leased us what we did not hear of; when it is to be asked, and how often it was."""

    route: Route
    due: float
    times: int


class Listings:
    """The lists of all servers, after a start without memory, or where an ACK may have been lost."""

    def __init__(self, station: Station, obtained: Callable[[], None]) -> None:
        self._station = station
        self._obtained = obtained
        self._running: dict[int, Listing] = {}
        self._to_ask: list[Route] = []
        self._doubts: dict[int, _Doubt] = {}

    @property
    def due(self) -> float:
        """When `turn` has something to do."""
        dues = [one.due for one in self._running.values()] + [one.due for one in self._doubts.values()]
        return -math.inf if self._to_ask else min(dues, default=math.inf)

    def ask_all(self) -> None:
        """Ask each upstream that is known by its address, unless another instance does."""
        self._to_ask += [route for route in self._station.routes() if not route.path.is_broadcast]

    def ask(self, route: Route) -> None:
        """Ask one server that may have leased something to us, until it was heard: it may be away, or be asked by another instance."""
        self._doubts[route.path.destination] = _Doubt(route, -math.inf, 0)

    def _begin(self, route: Route, now: float) -> None:
        station, server = self._station, route.path.destination
        speaker = station.speaker
        ours = station.store.claim(f"listing:{address(server)}", station.who, CLAIM_SECONDS)
        if ours and server not in self._running:
            self._running[server] = Listing(speaker, route, station.random, now)

    def turn(self, now: float) -> None:
        """Do what time asks for."""
        while self._to_ask:
            self._begin(self._to_ask[0], now)
            del self._to_ask[0]
        for server, doubt in list(self._doubts.items()):
            if now >= doubt.due:
                self._begin(doubt.route, now)
                later = now + CLAIM_SECONDS * 2**doubt.times
                self._doubts[server] = _Doubt(doubt.route, later, doubt.times + 1)
                if doubt.times == MOST_DOUBTS:
                    del self._doubts[server]
        for server, listing in list(self._running.items()):
            if listing.is_over and now >= listing.due:
                del self._running[server]
            else:
                self._station.send(listing.turn(now))

    def answer(self, message: Message, allocation: SubnetAllocation, now: float) -> bool:
        """Hear an OFFER; whether it is a page of a list."""
        found = next(((to, one) for to, one in self._running.items() if one.xid == message.xid), None)
        if found is None or message.type is not MessageType.OFFER or message.lease_time is None:
            return False
        if not allocation.information or not all(information.client for information in allocation.information):
            return False
        self._adopt(message.server_identifier or 0, message.lease_time, allocation, now)
        self._doubts.pop(found[0], None)
        if found[1].listed(allocation, now):
            self._station.send(found[1].turn(now))
        else:
            del self._running[found[0]]
        return True

    def _adopt(self, server: int, lease_time: int, allocation: SubnetAllocation, now: float) -> None:
        """Take over what the ledger does not know. What we only relay from (no flag h) is no space of ours."""
        blocks = [
            (block.network, block.deprecate)
            for information in allocation.information
            for block in information.blocks
            if block.hierarchical and not self._station.was_released(block.network, now - MEMORY)
        ]
        if not blocks:
            return
        station = self._station
        kept = station.store.listed(SPACE, server, max(1, lease_time), blocks)
        station.return_overlaps(server, kept)
        added = [one.prefix for one in kept if one.result == "added"]
        for prefix in added:
            text = f"{prefix} from {address(server)}, which has it as leased to us, for {lease_time} s"
            station.journal.info("SUBNET_DELEG_OBTAINED", text)
        if added:
            self._obtained()
