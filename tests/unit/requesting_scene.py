# SPDX-License-Identifier: MPL-2.0
"""A requesting role with a clock, a ledger and upstreams of the test's own; upstreams speak by the tests' own codec."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from kea_subnet_deleg.ledger import LedgerUnavailable
from kea_subnet_deleg.ledger.upstreams import Due, Kept, Leased, Phase
from kea_subnet_deleg.roles.packets import Inbound, Outbound
from kea_subnet_deleg.roles.requesting import Path, Requesting, RequestingTerms, Upstream
from kea_subnet_deleg.runtime.journal import KeaJournal
from tests.client.codec import Allocation, Block, Code, Information, Message, Type, decode
from tests.unit.fakes import FakeKea

OWN = IPv4Address("192.0.2.2")
OWN_ON_LAN = IPv4Address("198.51.100.2")
A, B, C = IPv4Address("192.0.2.10"), IPv4Address("192.0.2.11"), IPv4Address("198.51.100.7")
EVERYBODY = IPv4Address("255.255.255.255")
LAN = "lan"
IDENTITY = bytes.fromhex("ff00000001000411111111222233334444555555555555")
TO_A, TO_B, TO_LAN = Upstream(int(A)), Upstream(int(B)), Upstream(interface=LAN)
INFINITE = 0xFFFFFFFF


def network(text: str) -> IPv4Network:
    return IPv4Network(text)


def blocks(*texts: str, deprecate: bool = False, hierarchical: bool = True) -> tuple[Block, ...]:
    return tuple(Block(IPv4Network(text), hierarchical, deprecate) for text in texts)


def information(*texts: str, server: bool = False, client: bool = False, deprecate: bool = False) -> Allocation:
    return Allocation(information=(Information(blocks(*texts, deprecate=deprecate), client, server),))


def due(text: str, server: IPv4Address = A, phase: Phase = Phase.RENEW, remaining: int = 600) -> Due:
    return Due(0, IPv4Network(text), int(server), phase, remaining, 74, 51, 0)


@dataclass
class FakeStore:
    """The ledger as the role sees it; what it is told is kept."""

    now: float = 0.0
    down: bool = False
    claims: dict[str, tuple[str, float]] = field(default_factory=dict)
    acknowledgements: list[tuple[int, int, int, int, int, list[tuple[str, bool]], bytes | None]] = field(
        default_factory=list
    )
    host_lease_times: list[int | None] = field(default_factory=list)  # of these
    overlapping: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    vanished: set[str] = field(default_factory=set)
    refusals: list[tuple[int, list[str], int]] = field(default_factory=list)
    renewals: list[Due] = field(default_factory=list)
    unused: list[Leased] = field(default_factory=list)
    rest: float = 0.0  # seconds until something is due, as far as the ledger can tell
    gone: list[str] = field(default_factory=list)
    lists: list[tuple[int, int, list[tuple[str, bool]]]] = field(default_factory=list)
    forced: list[tuple[int, list[str]]] = field(default_factory=list)
    secrets: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    leases: list[Leased] = field(default_factory=list)

    def _up(self) -> None:
        if self.down:
            raise LedgerUnavailable("down")

    def identity(self) -> bytes:
        self._up()
        return IDENTITY

    def claim(self, what: str, who: str, seconds: float) -> bool:
        self._up()
        holder, until = self.claims.get(what, (who, 0.0))
        if holder != who and until > self.now:
            return False
        self.claims[what] = (who, self.now + seconds)
        return True

    def unclaim(self, what: str, who: str) -> None:
        self._up()
        if self.claims.get(what, ("", 0.0))[0] == who:
            del self.claims[what]

    def acknowledged(
        self,
        space: int,
        server: int,
        lease_time: int,
        t1: int,
        t2: int,
        blocks: Sequence[tuple[IPv4Network, bool]],
        nonce: bytes | None,
        *,
        renewal: bool = False,
        host_lease_time: int | None = None,
    ) -> list[Kept]:
        self._up()
        texts = [(str(prefix), flag) for prefix, flag in blocks]
        self.acknowledgements.append((space, server, lease_time, t1, t2, texts, nonce))
        self.host_lease_times.append(host_lease_time)
        return [Kept(prefix, self._result(str(prefix), renewal=renewal)) for prefix, _ in blocks]

    def _result(self, prefix: str, *, renewal: bool) -> str:
        if prefix in self.vanished and renewal:
            return "gone"
        if prefix in self.overlapping:
            return "overlaps"
        return "renewed" if prefix in self.known else "added"

    def refused(self, space: int, server: int, prefixes: Sequence[IPv4Network], quarantine: int) -> list[IPv4Network]:
        self._up()
        assert space == 0
        self.refusals.append((server, list(map(str, prefixes)), quarantine))
        return list(prefixes)

    def due(self, limit: int) -> list[Due]:
        self._up()
        given, self.renewals = self.renewals[:limit], self.renewals[limit:]
        return given

    def give_back(self, after: float, limit: int) -> list[Leased]:
        self._up()
        assert after == 60.0
        given, self.unused = self.unused[:limit], self.unused[limit:]
        return given

    def due_in(self, after: float) -> float:
        self._up()
        assert after == 60.0
        return self.rest

    def released(self, space: int, prefix: IPv4Network) -> None:
        self._up()
        assert space == 0
        self.gone.append(str(prefix))

    def listed(
        self, space: int, server: int, lease_time: int, blocks: Sequence[tuple[IPv4Network, bool]]
    ) -> list[Kept]:
        self._up()
        assert space == 0
        self.lists.append((server, lease_time, [(str(prefix), flag) for prefix, flag in blocks]))
        return [Kept(prefix, self._result(str(prefix), renewal=False)) for prefix, _ in blocks]

    def renew_now(self, server: int, prefixes: Sequence[IPv4Network]) -> int:
        self._up()
        ours = [one for one in self.leases if one.server == server and one.prefix in prefixes]
        if ours:
            self.forced.append((server, [str(one.prefix) for one in ours]))
            self.renewals += [due(str(one.prefix), IPv4Address(server)) for one in ours]
        return len(ours)

    def secret(self, server: int) -> tuple[bytes | None, int]:
        self._up()
        return self.secrets.get(server, (None, 0))

    def replayed(self, server: int, replay: int) -> bool:
        self._up()
        nonce, last = self.secrets[server]
        self.secrets[server] = (nonce, max(last, replay))
        return replay > last

    def leased(self) -> list[Leased]:
        self._up()
        return self.leases


class Steady(random.Random):
    """Random numbers for xids, but no jitter, so that times can be told."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


Sent = tuple[Outbound, Message]


class Scene:
    """The role of one server, asking `upstreams`."""

    def __init__(
        self,
        *upstreams: Upstream,
        lease_time: int | None = None,
        request_length: int | None = None,
        offer_wait: float = 0.5,
        randomness: random.Random | None = None,
    ) -> None:
        self.now = 1000.0
        self.store = FakeStore(self.now)
        self.kea = FakeKea()
        self.unreachable: set[IPv4Address] = set()
        self.obtained = 0
        terms = RequestingTerms(upstreams or (TO_A,), lease_time, offer_wait, 30, 60.0, request_length)
        self.role = Requesting(
            terms,
            self.store,
            KeaJournal(self.kea),
            self._path,
            lambda: self.now,
            Steady(7) if randomness is None else randomness,
            "one",
            itertools.count(1).__next__,
            self._obtained,
        )

    def _obtained(self) -> None:
        self.obtained += 1

    def _path(self, upstream: Upstream) -> Path | None:
        if upstream.address is None:
            return Path(int(OWN_ON_LAN), 3, int(EVERYBODY)) if upstream.interface == LAN else None
        address = IPv4Address(upstream.address)
        if address in self.unreachable:
            return None
        if address in IPv4Network("198.51.100.0/24"):
            return Path(int(OWN_ON_LAN), 3, upstream.address)
        return Path(int(OWN), 2, upstream.address)

    # -- what the role does

    def at(self, seconds: float) -> list[Sent]:
        """Let it be so many seconds later than at the start, and return what is sent then."""
        self.now = self.store.now = 1000.0 + seconds
        return self.turn() if self.role.due <= self.now else []

    def turn(self) -> list[Sent]:
        return read(self.role.turn())

    def want(self, *lengths: int) -> list[Sent]:
        self.role.want(lengths)
        return self.turn() if self.role.due <= self.now else []

    def run(self, until: float, step: float = 0.05) -> list[tuple[float, Message, Outbound]]:
        """Call the role whenever it wants to be called; return what it sends, with the seconds since the start."""
        sent = []
        end = 1000.0 + until
        while True:
            if self.role.due <= self.now:
                sent += [(self.now - 1000.0, message, packet) for packet, message in self.turn()]
            if self.now >= end:
                return sent
            self.now = self.store.now = min(end, max(self.now + step, min(self.role.due, self.now + 1.0)))

    def hear(self, message: Message, source: IPv4Address | None = None) -> list[Sent]:
        """Let a server's message come in, and return what is sent in answer."""
        return read(self.role.take(inbound(message, source)))

    # -- what upstreams say

    def logged(self, name: str) -> list[str]:
        return self.kea.logged(f"SUBNET_DELEG_{name}")

    def lease(self, *texts: str, server: IPv4Address = A, lease_time: int = 3600, nonce: bytes | None = None) -> None:
        """Obtain blocks from the one upstream there is."""
        sent = self.want(*(IPv4Network(text).prefixlen for text in texts))
        (((_, asked)),) = sent
        (((_, requested)),) = self.hear(offer(asked, server, *texts, lease_time=lease_time))
        assert requested.type is Type.REQUEST
        extra = () if nonce is None else ((int(Code.AUTHENTICATION), bytes((3, 1, 0)) + bytes(8) + b"\1" + nonce),)
        assert self.hear(ack(requested, server, information(*texts), lease_time=lease_time, extra=extra)) == []
        self.role.want(())


def read(packets: Sequence[Outbound]) -> list[Sent]:
    return [(packet, decode(packet.data)) for packet in packets]


def inbound(message: Message, source: IPv4Address | None = None) -> Inbound:
    sender = source or message.server or A
    own = int(message.giaddr)
    interface = 3 if message.giaddr == OWN_ON_LAN else 2
    return Inbound(message.encode(), interface, int(sender), 67, own, 67, own, 0.0)


def answer(
    kind: Type,
    query: Message,
    server: IPv4Address,
    allocation: Allocation | None,
    lease_time: int | None,
    extra: Sequence[tuple[int, bytes]] = (),
) -> Message:
    """What a server says to a query (RFC 2131 table 3)."""
    options: list[tuple[int, bytes]] = [(Code.SERVER_IDENTIFIER, server.packed)]
    if lease_time is not None:
        options.append((Code.LEASE_TIME, lease_time.to_bytes(4, "big")))
    options.append((Code.CLIENT_IDENTIFIER, query.option(Code.CLIENT_IDENTIFIER) or b""))
    options += extra
    if allocation is not None:
        options.append((Code.SUBNET_ALLOCATION, allocation.encode()))
    return Message(kind, query.xid, query.chaddr, op=2, giaddr=query.giaddr, options=tuple(options))


def offer(query: Message, server: IPv4Address, *texts: str, lease_time: int = 3600, more: bool = False) -> Message:
    assert query.type is Type.DISCOVER
    return answer(Type.OFFER, query, server, information(*texts, server=more), lease_time)


def ack(
    query: Message,
    server: IPv4Address,
    allocation: Allocation | None = None,
    lease_time: int | None = 3600,
    extra: Sequence[tuple[int, bytes]] = (),
) -> Message:
    """An ACK of all that is in the query, unless an allocation is given."""
    assert query.type is Type.REQUEST
    given = allocation or information(*(str(block.network) for block in query.allocation.blocks))
    return answer(Type.ACK, query, server, given, lease_time, extra)


def nak(query: Message, server: IPv4Address, *texts: str) -> Message:
    return answer(Type.NAK, query, server, information(*texts), None)


def to(sent: Sequence[Sent]) -> list[IPv4Address]:
    return [IPv4Address(packet.destination) for packet, _ in sent]
