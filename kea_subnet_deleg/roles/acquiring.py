# SPDX-License-Identifier: MPL-2.0
"""Obtaining what is missing from upstreams, one acquisition at a time in a domain (seed FIG. 5, [0092-100]; RFC 6656 section 4)."""

from __future__ import annotations

import enum
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from typing import Final

from kea_subnet_deleg.roles.exchange import DISCOVER_TRIES, FOLLOW_TRIES, Exchange, State
from kea_subnet_deleg.roles.offers import Offer, UnusableOffer, covered, read_offer, sizes_to_ask
from kea_subnet_deleg.roles.packets import Inbound
from kea_subnet_deleg.roles.station import SPACE, Station, address
from kea_subnet_deleg.roles.upstream import FIRST_WAIT, LONGEST_WAIT, SPREAD, Route
from kea_subnet_deleg.wire import Message, MessageType, SubnetAllocation

CLAIM: Final = "acquire"
CLAIM_SECONDS: Final = 15.0
CLAIM_REFRESH: Final = 5.0
"""The claim on acquiring outlives its holder's death by so little; it is refreshed meanwhile."""
CLAIM_RETRY: Final = 1.0
"""Seconds until it is seen whether another instance of the domain is done."""
MOST_FOLLOWS: Final = 4
"""Further DISCOVERs in a row where the server goes on setting flag s."""
LEAST_INTERVAL: Final = 1.0
"""Seconds between acquisitions that brought nothing, where something else is wanted by now."""
SHORTEST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 8.0
"""Seconds after a success in which whoever wanted the space may take it, and say what is missing then. They grow while just the same is
wanted after each: then what comes does not help (its lease ends too soon, say), and must not be taken from others without end."""
MOST_DOUBTFUL: Final = 64
"""Servers remembered for not having acknowledged what they offered: on a link anybody may offer, under any name."""
SILENCE_TOLD: Final = 300.0
"""Seconds until it is logged again that nothing is offered."""


class _End(enum.Enum):
    """How an acquisition ended."""

    OBTAINED = enum.auto()
    """Something that was wanted came."""
    LITTLE = enum.auto()
    """Only smaller blocks than any that was wanted came."""
    NOTHING = enum.auto()
    SUPERSEDED = enum.auto()
    """What it was for is wanted no longer."""


class Acquiring:
    """Asks for what is wanted until it is there.

    Parameters
    ----------
    obtained : callable
        Called when there are new blocks in the ledger.
    uncertain : callable
        Called with the way to a server that did not answer a REQUEST: it may have leased to us all the same.
    """

    def __init__(self, station: Station, obtained: Callable[[], None], uncertain: Callable[[Route], None]) -> None:
        self._station = station
        self._obtained = obtained
        self._uncertain = uncertain
        self._wanted: tuple[int, ...] = ()
        self._own: tuple[int, ...] = ()
        self._exchange: Exchange | None = None
        self._end_so_far = _End.NOTHING
        self._follows = 0
        self._changed = False
        self._more = False
        self._asked: tuple[int, ...] = ()
        self._in_vain: Counter[int] = Counter()  # what was asked for since anything that was wanted came
        self._began = -math.inf
        self._claimed_at = -math.inf
        self._next = -math.inf
        self._earliest = -math.inf
        self._backoff = FIRST_WAIT
        self._pause = SHORTEST_PAUSE
        self._told_until = -math.inf
        # Who left a REQUEST unanswered, and acknowledged nothing since.
        self._doubtful = deque[int](maxlen=MOST_DOUBTFUL)
        self.refused = False
        """Whether the last acquisition brought nothing of the size that was wanted."""

    @property
    def wanting(self) -> bool:
        """Whether something is missing."""
        return bool(self._wanted)

    @property
    def due(self) -> float:
        """When `turn` has something to do."""
        exchange = self._exchange
        if exchange is None:
            return self._next if self._wanted else math.inf
        due = min(exchange.due, self._claimed_at + CLAIM_REFRESH)
        return min(due, self._supersedes_at(exchange))

    def want(self, own: Sequence[int], clients: Sequence[int], now: float) -> None:
        """Say which prefix lengths are missing now. What was not asked for before is asked for soon.

        What clients want beside what is missing here, in its turn: they may be servers that ask for what we asked of others, who asked
        these. Then each would want more as soon as the others do, and nobody wait for longer each time.
        """
        wanted, missing = tuple(sorted((*own, *clients))), tuple(sorted(own))
        grown = Counter(wanted) - Counter(self._wanted)
        hurried = grown and (not missing or bool(Counter(missing) - Counter(self._own)))
        self._own = missing
        if wanted == self._wanted:
            return
        self._wanted = wanted
        self._pause = SHORTEST_PAUSE
        if hurried:
            self._changed = True
            self._backoff = FIRST_WAIT
        elif not Counter(self._to_ask()) - self._in_vain:
            return
        if grown:
            self._next = min(self._next, max(now, self._earliest))
            self._more = True

    def turn(self, now: float) -> None:
        """Do what time asks for."""
        if self._exchange is not None:
            self._continue(self._exchange, now)
        if self._exchange is None and self._wanted and now >= self._next:
            self._begin(now)

    def answer(self, packet: Inbound, message: Message, allocation: SubnetAllocation, now: float) -> bool:
        """Hear an OFFER, ACK or NAK; whether it was of use."""
        exchange = self._exchange
        if exchange is None or message.xid != exchange.xid:
            return False
        if message.type is MessageType.OFFER and exchange.state is State.DISCOVERING:
            return self._offered(exchange, packet, message, allocation, now)
        chosen = exchange.chosen
        if chosen is None or message.server_identifier != chosen.server:
            return False
        if message.type is MessageType.ACK:
            return self._acknowledged(exchange, chosen, message, allocation, now)
        if message.type is MessageType.NAK:
            self._finish(now, self._end_so_far, f"{address(chosen.server)} takes its offer back")
            return True
        return False

    def trust(self, server: int) -> None:
        """Note that a server has acknowledged something: its offers are as good as others' again."""
        if server in self._doubtful:
            self._doubtful.remove(server)

    # --------------------------------------------------------------------------------------------------------- asking

    def _begin(self, now: float) -> None:
        station = self._station
        routes = station.routes()
        if not routes:
            self._rest(now, _End.NOTHING, "no upstream can be reached")
            return
        speaker = station.speaker
        if not station.store.claim(CLAIM, station.who, CLAIM_SECONDS):
            self._next = now + CLAIM_RETRY
            return
        self._began = self._claimed_at = now
        self._changed = self._more = False
        self._follows = 0
        self._end_so_far = _End.NOTHING
        self._asked = self._to_ask()
        self._exchange = Exchange(
            speaker,
            self._asked,
            routes,
            station.terms.offer_wait,
            station.new_xid(),
            station.random,
            now,
            DISCOVER_TRIES,
            self._doubtful,
        )
        station.send(self._exchange.turn(now))

    def _to_ask(self) -> tuple[int, ...]:
        return sizes_to_ask(self._wanted, self._station.terms.request_length)

    def _continue(self, exchange: Exchange, now: float) -> None:
        if now >= self._supersedes_at(exchange):
            self._finish(now, _End.SUPERSEDED if self._follows == 0 else self._end_so_far, "")
            return
        if now >= self._claimed_at + CLAIM_REFRESH:
            station = self._station
            ours = station.store.claim(CLAIM, station.who, CLAIM_SECONDS)
            self._claimed_at = now
            if not ours and exchange.state is State.DISCOVERING:  # what was requested already is brought to its end
                self._exchange = None
                self._next = now + CLAIM_RETRY
                return
        self._station.send(exchange.turn(now))
        if exchange.state is State.UNANSWERED:
            self._unanswered(exchange, now)

    def _supersedes_at(self, exchange: Exchange) -> float:
        """Return when an exchange gives way to what is wanted now: only while nobody has offered anything."""
        if exchange.state is not State.DISCOVERING or exchange.has_offers:
            return math.inf
        if not self._wanted and self._follows == 0:
            return exchange.started
        return exchange.started + LEAST_INTERVAL if self._changed else math.inf

    def _unanswered(self, exchange: Exchange, now: float) -> None:
        if exchange.chosen is None:
            self._finish(now, self._end_so_far, "nobody answers")
            return
        server = exchange.chosen.server
        if server not in self._doubtful:  # else the next exchange would take its offer again, and nobody else's ever
            self._doubtful.append(server)
        self._station.asked_again([block.network for block in exchange.chosen.blocks], exchange.requested)
        route = self._station.route_to(server)
        if route is not None:
            self._uncertain(route)
        self._finish(now, self._end_so_far, f"{address(server)} offered, but does not acknowledge")

    # ------------------------------------------------------------------------------------------------------- answers

    def _offered(
        self, exchange: Exchange, packet: Inbound, message: Message, allocation: SubnetAllocation, now: float
    ) -> bool:
        server = message.server_identifier or 0
        exchange.heard(packet.source, server)
        useful = True
        try:
            offer = read_offer(message, allocation, exchange.asked, _preference(exchange.routes, packet, server))
        except UnusableOffer as error:
            self._station.journal.debug("SUBNET_DELEG_OFFER_IGNORED", f"of {address(server)}: {error}")
            useful = False
        else:
            exchange.offered(offer, now)
        self._station.send(exchange.turn(now))
        return useful

    def _acknowledged(
        self, exchange: Exchange, chosen: Offer, message: Message, allocation: SubnetAllocation, now: float
    ) -> bool:
        station = self._station
        blocks = _leased(chosen, allocation)
        lease_time = chosen.lease_time if message.lease_time is None else message.lease_time
        if not (blocks and lease_time):
            return False
        # A list told of it before this ACK did, and it has gone back by now.
        returned = {prefix for prefix, _ in blocks if station.was_released(prefix, exchange.requested)}
        station.release(chosen.server, sorted(returned))
        blocks = [block for block in blocks if block[0] not in returned]
        # Where this raises, the exchange stays as it is: the REQUEST is sent again, and so is the ACK.
        suggested, elapsed = allocation.suggested_lease_time, now - exchange.requested
        kept = station.keep(SPACE, message, lease_time, elapsed, blocks, suggested=suggested) if blocks else []
        self._exchange = None
        networks = [one.prefix for one in kept if one.result != "overlaps"]
        for network in networks:
            text = f"{network} from {address(chosen.server)} for {lease_time} s"
            station.journal.info("SUBNET_DELEG_OBTAINED", text)
        if networks:
            self._note(exchange, networks)
        has_more = chosen.has_more or any(information.server for information in allocation.information)
        if not (has_more and self._follow(exchange, chosen.server, now)):
            self._finish(now, self._end_so_far, "what was leased overlaps space that we have, or no host can have it")
        return True

    def _note(self, exchange: Exchange, networks: Sequence[IPv4Network]) -> None:
        """Note what came, and whether it is of the size that was wanted."""
        self._obtained()
        if covered((*self._wanted, *filter(None, exchange.asked)), networks):
            self._end_so_far = _End.OBTAINED
        elif self._end_so_far is _End.NOTHING:
            self._end_so_far = _End.LITTLE

    def _follow(self, before: Exchange, server: int, now: float) -> bool:
        """Ask a server for what it would like us to have, the size being its choice (flag s; seed [0069], [0098])."""
        station = self._station
        known = (route for route in before.routes if route.path.destination == server)
        route = next(known, None) or station.route_to(server)
        if route is None or self._follows >= MOST_FOLLOWS:
            return False
        self._follows += 1
        self._exchange = Exchange(
            station.speaker, (0,), (route,), 0.0, station.new_xid(), station.random, now, FOLLOW_TRIES
        )
        station.send(self._exchange.turn(now))
        return True

    # -------------------------------------------------------------------------------------------------- between them

    def _finish(self, now: float, end: _End, why: str) -> None:
        self._exchange = None
        self._rest(now, end, why)
        self._station.store.unclaim(CLAIM, self._station.who)

    def _rest(self, now: float, end: _End, why: str) -> None:
        """Set when the next acquisition may begin."""
        self._earliest = now
        match end:
            case _End.SUPERSEDED:
                self._next = self._earliest = max(now, self._began + LEAST_INTERVAL)
            case _End.OBTAINED:
                self._backoff = FIRST_WAIT
                self.refused = False
                self._in_vain.clear()
                self._told_until = now
                self._next = now + self._pause
                self._pause = min(LONGEST_PAUSE, 2 * self._pause)
            case _End.NOTHING | _End.LITTLE:
                self.refused = True
                self._in_vain |= Counter(self._asked)
                self._earliest = now + LEAST_INTERVAL
                wait = self._backoff + self._station.random.uniform(-SPREAD, SPREAD)
                self._next = self._earliest if self._more else now + wait
                self._backoff = min(LONGEST_WAIT, 2 * self._backoff)
        if end is _End.NOTHING:
            self._tell(now, why)

    def _tell(self, now: float, why: str) -> None:
        """Log that nothing comes, once for long."""
        self._station.journal.count("nothing-obtained")
        if now < self._told_until or not self._wanted:
            return
        self._told_until = now + SILENCE_TOLD
        wanted = ", ".join(f"/{length}" for length in self._wanted)
        self._station.journal.warn("SUBNET_DELEG_NOTHING_OBTAINED", f"wanted: {wanted}; {why}; it is asked for again")


def _leased(chosen: Offer, allocation: SubnetAllocation) -> list[tuple[IPv4Network, bool]]:
    """Return the blocks of an ACK, with their flag d: those that were offered, which it may leave out but not change."""
    offered = {block.network for block in chosen.blocks}
    return [
        (block.network, block.deprecate)
        for information in allocation.information
        for block in information.blocks
        if block.network in offered and block.hierarchical
    ]


def _preference(routes: Sequence[Route], packet: Inbound, server: int) -> int:
    """Return the preference configured for whoever sent an offer."""
    for path, preference in routes:
        if path.destination in (packet.source, server):
            return preference
    return max(
        (preference for path, preference in routes if path.is_broadcast and path.interface == packet.interface),
        default=0,
    )
