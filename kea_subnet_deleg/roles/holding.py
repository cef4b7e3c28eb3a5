# SPDX-License-Identifier: MPL-2.0
"""Keeping what was obtained as long as it is of use: renewing, rebinding, giving back (seed FIG. 9A, [0076-85]; RFC 6656 section 5)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from itertools import groupby
from typing import Final

from kea_subnet_deleg.ledger.upstreams import Due, Kept, Leased, Phase
from kea_subnet_deleg.roles.packets import Inbound
from kea_subnet_deleg.roles.renewing import Renewal, Renewals, messages_of
from kea_subnet_deleg.roles.station import Station, address
from kea_subnet_deleg.roles.upstream import Route
from kea_subnet_deleg.wire import (
    Authentication,
    AuthenticationKind,
    Message,
    MessageType,
    SubnetAllocation,
    UnusableAuthentication,
    gather,
    verify,
)

INTERVAL: Final = 1.0
"""Seconds between two looks at what is due, while something may be,"""
REST: Final = 5.0
"""and at most where nothing is: each costs ordinary DHCP something. What is freed meanwhile nobody tells."""
AT_ONCE: Final = 200
"""Blocks renewed, and released, in one turn at most."""


class Holding:
    """Renews and releases what upstreams leased to this domain. Which instance does it, and when, is the ledger's to say."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._renewals = Renewals()
        self._next = self._looked = -math.inf
        self._rest = max(INTERVAL, min(REST, station.terms.release_after / 10))
        self._warn_at: dict[IPv4Network, float] = {}

    @property
    def due(self) -> float:
        """When `turn` has something to do."""
        return self._next

    def hurry(self) -> None:
        """Look at the next turn for what is due."""
        self._next = -math.inf

    def changed(self) -> None:
        """Look soon for what is due: the ledger is not what it was."""
        self._next = min(self._next, self._looked + INTERVAL)

    def turn(self, now: float) -> None:
        """Do what time asks for."""
        if now < self._next:
            return
        self._looked = now
        due_in = self._station.store.due_in(self._station.terms.release_after)
        more = due_in <= 0.0 and self._look(now)
        self._renewals.forget(now)
        self._next = now if more else now + min(max(INTERVAL, due_in), self._rest)

    def _look(self, now: float) -> bool:
        """Renew and release what is due; whether there is more."""
        store = self._station.store
        due = store.due(AT_ONCE)
        self._warn(due)
        self._renew(due, now)
        unused = store.give_back(self._station.terms.release_after, AT_ONCE)
        self._give_back(unused)
        return AT_ONCE in (len(due), len(unused))

    def answer(self, message: Message, allocation: SubnetAllocation, now: float) -> bool:
        """Hear an ACK or NAK; whether it answers a renewal of ours."""
        renewal = self._renewals.find(message.xid)
        server = message.server_identifier
        if renewal is None or server is None:
            return False
        named = {
            block.network: block.deprecate
            for information in allocation.information
            for block in information.blocks
            if block.network in renewal.blocks
        }
        if not named:
            return False
        if message.type is MessageType.ACK and message.lease_time and renewal.concerns(server):
            self._acknowledged(renewal, message, allocation.suggested_lease_time, named, now)
        elif message.type is MessageType.NAK and server in renewal.believed:
            self._refused(renewal, server, list(named))
        else:
            return False
        return True

    # ------------------------------------------------------------------------------------------------------ renewing

    def _renew(self, due: Iterable[Due], now: float) -> None:
        for group in messages_of(due, self._station.blocks_per_message):
            self._ask(group, now)

    def _ask(self, group: Sequence[Due], now: float, again: bool = False) -> None:
        """Renew blocks of one server, in one phase, by one message. Where it can't be reached, the ledger makes them due once more."""
        station = self._station
        first = group[0]
        routes = self._routes(first)
        if not routes:
            return
        believed = frozenset({first.server, *(route.path.destination for route in routes)})
        blocks = {due.prefix: due for due in group}
        renewal = Renewal(station.new_xid(), first.space, first.server, first.phase, blocks, believed, now, again)
        self._renewals.add(renewal)
        information = gather(renewal.information())
        station.send(station.speaker.renew(route.path, renewal.xid, information) for route in routes)

    def _routes(self, due: Due) -> list[Route]:
        """Return the way to the server that a block is leased from; in REBIND, those to all upstreams, too."""
        routes = self._station.routes() if due.phase is Phase.REBIND else []
        if all(route.path.destination != due.server for route in routes):
            own = self._station.route_to(due.server)
            routes += [] if own is None else [own]
        return routes

    def _acknowledged(
        self,
        renewal: Renewal,
        message: Message,
        suggested: int | None,
        named: Mapping[IPv4Network, bool],
        now: float,
    ) -> None:
        station = self._station
        server, lease_time = message.server_identifier or 0, message.lease_time or 0
        # Where this raises, the renewal stays as it is, and the ledger makes it due again.
        ours, others = self._still_ours(renewal.space, named)
        kept: list[Kept] = []
        if ours:
            elapsed = now - renewal.sent
            kept = station.keep(renewal.space, message, lease_time, elapsed, ours, suggested=suggested, renewal=True)
        rest = self._renewals.answered(renewal, named)
        # It ended, or another instance gave it back, while this was under way: the server must not think that we have it.
        station.release(server, others + [one.prefix for one in kept if one.result == "gone"])
        for one in kept:
            self._warn_at.pop(one.prefix, None)
            if one.result not in ("overlaps", "gone"):
                until = ", to be given up" if named.get(one.prefix) else ""
                text = f"{one.prefix} by {address(server)} for {lease_time} s{until}"
                station.journal.info("SUBNET_DELEG_ORIGIN_RENEWED", text)
        if rest and not renewal.again:
            # One message can say ACK or NAK, not both: a block that an ACK leaves out may be refused. Asked for alone, we hear it.
            self._ask(list(rest.values()), now, again=True)

    def _still_ours(
        self, space: int, named: Mapping[IPv4Network, bool]
    ) -> tuple[list[tuple[IPv4Network, bool]], list[IPv4Network]]:
        """Return which of the blocks, with their flag d, the ledger has as leased to us, and which not."""
        held = {lease.prefix for lease in self._station.store.leased() if lease.space == space}
        ours = [(prefix, deprecate) for prefix, deprecate in named.items() if prefix in held]
        return ours, [prefix for prefix in named if prefix not in held]

    def _refused(self, renewal: Renewal, server: int, named: Sequence[IPv4Network]) -> None:
        """Stop using blocks at once (RFC 6656 section 5.2)."""
        station = self._station
        lost = station.store.refused(renewal.space, server, named, station.terms.quarantine)
        self._renewals.drop(named)
        for prefix in lost:
            self._warn_at.pop(prefix, None)
            text = f"{prefix}: {address(server)} refuses to renew it; it is used no longer"
            station.journal.warn("SUBNET_DELEG_ORIGIN_LOST", text)

    def _warn(self, due: Iterable[Due]) -> None:
        """Say in good time that a lease comes to its end unanswered: at T2, and when half of the rest is over."""
        for one in due:
            if one.phase is not Phase.REBIND or one.remaining > self._warn_at.get(one.prefix, math.inf):
                continue
            again = one.prefix in self._warn_at
            self._warn_at[one.prefix] = -math.inf if again else one.remaining / 2
            text = f"{address(one.server)} does not answer: {one.prefix} ends in {one.remaining} s"
            self._station.journal.warn("SUBNET_DELEG_UPSTREAM_SILENT", text)

    # ---------------------------------------------------------------------------------------------------- giving back

    def _give_back(self, unused: Iterable[Leased]) -> None:
        """Release what nothing is in use of (RFC 6656 section 5.3; seed [0084])."""
        ordered = sorted(unused, key=lambda one: (one.server, one.space, one.prefix))
        for (server, space), group in groupby(ordered, key=lambda one: (one.server, one.space)):
            prefixes = [one.prefix for one in group]
            if not self._station.release(server, prefixes):
                continue  # it ends by time
            self._renewals.drop(prefixes)  # an answer that is on its way renews nothing that we have
            for prefix in prefixes:
                self._station.store.released(space, prefix)
                self._warn_at.pop(prefix, None)
                self._station.journal.info("SUBNET_DELEG_GIVEN_BACK", f"{prefix} to {address(server)}")

    # ----------------------------------------------------------------------------------------------------- FORCERENEW

    def forcerenew(self, packet: Inbound, message: Message, allocation: SubnetAllocation, now: float) -> bool:
        """Renew what an authentic FORCERENEW names, now and nothing else (RFC 6656 section 5.4); whether it was of use.

        One that is not authentic is dropped (RFC 3203 section 6).
        """
        prefixes = [block.network for information in allocation.information for block in information.blocks]
        servers = self._senders(packet, message, prefixes)
        if not servers:
            self._station.journal.count("forcerenew-refused")
            text = f"from {address(packet.source)}: not authentic, or a replay"
            self._station.journal.debug("SUBNET_DELEG_FORCERENEW_REFUSED", text)
            return False
        renewed = [self._station.store.renew_now(server, prefixes) for server in servers] if prefixes else []
        if not any(renewed):
            return False
        self._next = now
        self.turn(now)
        return True

    def _senders(self, packet: Inbound, message: Message, prefixes: Sequence[IPv4Network]) -> list[int]:
        """Return the servers whose nonce made a FORCERENEW; none if it is not to be believed (RFC 6704 section 3.1.4).

        Servers with one ledger agree on one nonce, or have one key, and count as one; another may speak than that which leased what is
        named. What is signed by a key was checked before it came here.
        """
        candidates = self._candidates(message.server_identifier, prefixes)
        credentials = self._station.credentials
        speaker = credentials.speaker(message, packet.source)
        sharing = [server for server in candidates if credentials.share(server, speaker)]
        if sharing:
            return sharing
        try:
            given = Authentication.of(message)
        except UnusableAuthentication:
            return []
        if given is None or given.kind is not AuthenticationKind.NONCE_DIGEST:
            return []
        store = self._station.store
        secrets = [(server, *store.secret(server)) for server in candidates]
        theirs = [(server, last) for server, nonce, last in secrets if nonce is not None and verify(packet.data, nonce)]
        if any(given.replay <= last for _, last in theirs):
            return []
        return [server for server, _ in theirs if store.replayed(server, given.replay)]

    def _candidates(self, server: int | None, prefixes: Sequence[IPv4Network]) -> list[int]:
        named = set(prefixes)
        lessors = {lease.server for lease in self._station.store.leased() if lease.prefix in named}
        return sorted(lessors if server is None else lessors | {server})
