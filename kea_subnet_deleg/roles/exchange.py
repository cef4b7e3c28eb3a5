# SPDX-License-Identifier: MPL-2.0
"""One exchange from DISCOVER to ACK, as its client sees it (RFC 2131 section 3.1; RFC 6656 section 4; seed [0058-73])."""

from __future__ import annotations

import enum
import math
from collections.abc import Container, Sequence
from random import Random
from typing import Final

from kea_subnet_deleg.roles.offers import Offer, choose
from kea_subnet_deleg.roles.packets import Outbound
from kea_subnet_deleg.roles.upstream import FIRST_WAIT, Retransmission, Route, Speaker
from kea_subnet_deleg.wire import SubnetRequest

DISCOVER_TRIES: Final = 3
FOLLOW_TRIES: Final = 2
"""Of a DISCOVER for what flag s announced: the server is there, if it is silent it has nothing after all."""
REQUEST_TRIES: Final = 4
"""So that a REQUEST is given up after 60 s (RFC 2131 section 3.1, item 5)."""


class State(enum.Enum):
    """Where an exchange is."""

    DISCOVERING = enum.auto()
    """Offers are waited for, or for better ones."""
    REQUESTING = enum.auto()
    """One was chosen, its server is to acknowledge it."""
    UNANSWERED = enum.auto()
    """Nobody answers any more."""


class Exchange:
    """Asks servers for subnets, collects their offers for a while, and tells all of them which one is taken.

    Parameters
    ----------
    asked : sequence of int
        Prefix lengths, 0 for a size of the server's choice.
    routes : sequence of Route
        To each server that is asked.
    offer_wait : float
        Seconds for further offers after the first one; none where all servers that were asked have answered.
    xid : int
        Of all its messages: the REQUEST has that of the OFFER (RFC 2131 section 4.4.1).
    doubtful : container of int
        Servers whose offers are taken only where no other offers anything; as it is when the choice is made.
    """

    def __init__(
        self,
        speaker: Speaker,
        asked: Sequence[int],
        routes: Sequence[Route],
        offer_wait: float,
        xid: int,
        random: Random,
        now: float,
        tries: int = DISCOVER_TRIES,
        doubtful: Container[int] = (),
    ) -> None:
        self.asked = tuple(asked)
        self.routes = tuple(routes)
        self.xid = xid
        self.state = State.DISCOVERING
        self.started = now
        self.chosen: Offer | None = None
        self.requested = now
        """When the REQUEST was first sent: its lease is counted from there (RFC 2131 section 4.4.1)."""
        self._speaker = speaker
        self._offer_wait = offer_wait
        self._random = random
        self._requests = [SubnetRequest(length, hierarchical=True) for length in self.asked]
        self._offers: dict[int, Offer] = {}
        self._silent = {route.path.destination for route in self.routes}
        self._doubtful = doubtful
        self._choose_at = math.inf
        self._secs = 0
        self._retransmission = Retransmission(tries, random, now)

    @property
    def due(self) -> float:
        """When `turn` has something to do."""
        choosing = self.state is State.DISCOVERING and self._offers
        return self._choose_at if choosing else self._retransmission.due

    @property
    def has_offers(self) -> bool:
        """Whether there is something to choose from, or was."""
        return bool(self._offers)

    def heard(self, *addresses: int) -> None:
        """Note that the server with these addresses has answered, whatever it said."""
        self._silent.difference_update(addresses)

    def offered(self, offer: Offer, now: float) -> None:
        """Take an offer into account. Of a server's several the first counts: the others are the same, said again.

        While there are only doubtful ones, others are waited for as long as for any answer: those may have to ask others first.
        """
        wait = max(FIRST_WAIT, self._offer_wait) if offer.server in self._doubtful else self._offer_wait
        self._choose_at = min(self._choose_at, now + wait)
        self._offers.setdefault(offer.server, offer)

    def turn(self, now: float) -> list[Outbound]:
        """Return what is to be sent now."""
        if self.state is State.DISCOVERING and self._offers and (now >= self._choose_at or not self._silent):
            self._choose(now)
        if self.state is State.UNANSWERED or now < self.due:
            return []
        if self._retransmission.is_over:
            self.state = State.UNANSWERED
            return []
        self._retransmission.sent(now)
        return self._messages(now)

    def _choose(self, now: float) -> None:
        offers = self._offers.values()
        self.chosen = choose([offer for offer in offers if offer.server not in self._doubtful] or offers, self.asked)
        self.state = State.REQUESTING
        self.requested = now
        self._retransmission = Retransmission(REQUEST_TRIES, self._random, now)

    def _messages(self, now: float) -> list[Outbound]:
        """Return the message of the state, to each server: those not chosen learn from the REQUEST that they were not (seed [0068])."""
        chosen = self.chosen
        if chosen is None:
            self._secs = int(now - self.started)
            return [self._speaker.discover(to.path, self.xid, self._requests, self._secs) for to in self.routes]
        # secs as in the DISCOVER (RFC 2131 section 4.3.1); the Subnet-Informations as they came (RFC 6656 section 4.3).
        return [
            self._speaker.request(to.path, self.xid, chosen.information, chosen.server, self._secs)
            for to in self.routes
        ]
