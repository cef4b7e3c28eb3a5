# SPDX-License-Identifier: MPL-2.0
"""A requesting client of RFC 6656: acquires, renews, lists and releases subnets, and trusts no reply.

Any deviation of a server's reply from RFC 2131 or RFC 6656 raises `Violation`. Clients are cheap: one `Endpoint`
carries hundreds, each in a
thread of its own if they are to run at once.
"""

from __future__ import annotations

import dataclasses
import queue
import random
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from tests.client import authentication
from tests.client.authentication import Key
from tests.client.codec import (
    ZERO,
    Allocation,
    Block,
    Code,
    Information,
    Message,
    Request,
    Type,
    Violation,
    decode,
    information,
    insist,
)
from tests.client.endpoint import EVERYONE, Datagram, Endpoint, Mailbox
from tests.client.verdict import BROADCAST, judge, judge_forcerenew

_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is.

    Hardware address (chaddr), client identifier (option 61, or none), what its relay adds (option 82, or none), further options
    that it always sends, and the key by which it speaks and believes what it hears (RFC 3118, or none).
    """

    hardware: bytes
    identifier: bytes | None = None
    relay_information: bytes | None = None
    options: tuple[tuple[int, bytes], ...] = ()
    key: Key | None = None

    @classmethod
    def number(cls, n: int) -> Identity:
        """The n-th of any number of distinct clients.

        A locally administered address and an identifier of type 0 (RFC 2132 9.14).
        """
        return cls(b"\x02\x00" + n.to_bytes(4, "big"), b"\x00requester-%d" % n)

    @classmethod
    def fresh(cls) -> Identity:
        """A client that no server has heard of."""
        return cls.number(_random.getrandbits(32))

    def relayed(self, *suboptions: tuple[int, bytes]) -> Identity:
        """The same client behind a relay that adds these sub-options of option 82."""
        value = b"".join(bytes((code, len(octets))) + octets for code, octets in suboptions)
        return dataclasses.replace(self, relay_information=value)

    def sending(self, *options: tuple[int, bytes]) -> Identity:
        """The same client, with these options in each of its messages."""
        return dataclasses.replace(self, options=options)

    def nonce_capable(self) -> Identity:
        """The same client, able to check a FORCERENEW by a nonce (RFC 6704 3.1.1)."""
        return self.sending(*self.options, NONCE_CAPABLE)

    def with_key(self, key: Key) -> Identity:
        """The same client with a key (RFC 3118)."""
        return dataclasses.replace(self, key=key)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client waits.

    `first` seconds, then doubling, `tries` times in all (RFC 2131 4.1, without its random part).
    """

    first: float = 1.0
    tries: int = 4


NORMAL = Patience()
NONCE_CAPABLE = (int(Code.FORCERENEW_NONCE_CAPABLE), bytes((authentication.HMAC_MD5,)))


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's reply that has been found in order."""

    message: Message
    data: bytes
    server: IPv4Address
    elapsed: float  # seconds since the query was first sent

    @property
    def type(self) -> Type:
        return self.message.type

    @property
    def allocation(self) -> Allocation:
        return self.message.allocation

    @property
    def blocks(self) -> tuple[Block, ...]:
        return self.allocation.blocks

    @property
    def networks(self) -> list[IPv4Network]:
        """The subnets it names."""
        return [block.network for block in self.blocks]

    @property
    def more(self) -> bool:
        """Flag `s`: there is more to be had."""
        return self.allocation.information[-1].server

    @property
    def option(self) -> bytes:
        """Option 220 as it came, code and length included."""
        value = self.message.option(Code.SUBNET_ALLOCATION) or b""
        return bytes((Code.SUBNET_ALLOCATION, len(value))) + value

    @property
    def lease_time(self) -> int:
        """Seconds; 0 in a NAK."""
        return self.message.lease_time or 0


class Silence(Violation):
    """No server answered in time where one had to."""


class Client:
    """One requesting client at an endpoint, knowing the servers it asks.

    `servers` are unicast to, one copy each, as a relay does. A client that is no relay broadcasts unless told a server.
    """

    def __init__(
        self, endpoint: Endpoint, identity: Identity, servers: Sequence[IPv4Address], patience: Patience = NORMAL
    ) -> None:
        self.endpoint, self.identity, self.servers, self.patience = endpoint, identity, tuple(servers), patience
        self.gateway = (
            endpoint.address if endpoint.is_relay else ZERO
        )  # giaddr; may be another address of the endpoint's
        self._began = time.monotonic()  # what came before was for one of this name that is no more
        self.nonce: bytes | None = None  # of the last ACK that had one (RFC 6704 3.1.4)
        self._replay: dict[IPv4Address | None, int] = {}  # the last counter heard of each server, under the key

    # -- one exchange each

    def discover(
        self,
        *requests: int | Request,
        want: int | None = None,
        lease_time: int | None = None,
        name: str | None = None,
        suggest: Sequence[Block] = (),
        xid: int | None = None,
    ) -> list[Reply]:
        """DISCOVER subnets of the given prefix lengths; return the OFFERs, in order of arrival (RFC 6656 4.1, 4.2).

        `want` servers are waited for (default: every server asked), `lease_time` is in seconds, `suggest` names
        particular subnets (3.1).
        """
        wanted = tuple(r if isinstance(r, Request) else Request(r) for r in requests)
        allocation = Allocation(wanted, information(*suggest).information, () if name is None else (name,))
        query = self.build(Type.DISCOVER, allocation, lease_time=lease_time, xid=xid)
        return self.exchange(query, want=len(self.servers) if want is None else want)

    def follow(self, pushed: Reply) -> list[Reply]:
        """Ask for what flag `s` of an OFFER or ACK announced: a size of zero, the server to choose (RFC 6656 4.2; seed [0067])."""
        insist(pushed.more, "RFC 6656 4.2", f"no s flag in {pushed.allocation}")
        return self.discover(0)

    def request(self, offer: Reply, blocks: Iterable[Block] | None = None, xid: int | None = None) -> Reply | None:
        """REQUEST what was offered, or only `blocks` of it; every server hears it (RFC 6656 4.3).

        None where all are silent.
        """
        chosen = offer.blocks if blocks is None else tuple(blocks)
        named = offer.message.server  # its identifier, which a relay may have overridden (RFC 5107 4)
        query = self.build(Type.REQUEST, information(*chosen), server=named, xid=xid or offer.message.xid)
        return next(iter(self.exchange(query, want=1)), None)

    def renew(self, server: IPv4Address, *blocks: Block, xid: int | None = None) -> Reply | None:
        """Ask `server` to renew, with the usage that `blocks` carry (RFC 6656 5.1). None where it is silent."""
        query = self.build(Type.REQUEST, information(*blocks), xid=xid, bound=True)
        return next(iter(self.exchange(query, want=1, to=[server])), None)

    def rebind(self, *blocks: Block, want: int = 1) -> list[Reply]:
        """Ask any server to renew (RFC 2131 4.4.5)."""
        return self.exchange(self.build(Type.REQUEST, information(*blocks), bound=True), want=want)

    def release(self, server: IPv4Address, *blocks: Block) -> None:
        """Give subnets back (RFC 6656 5.3). Nothing answers."""
        query = self.build(Type.RELEASE, information(*blocks), server=server, bound=True)
        self.endpoint.send_message(query, server)

    # -- what a whole client does

    def acquire(self, *requests: int | Request, want: int = 1) -> Reply:
        """DISCOVER, take the first OFFER, REQUEST, and return the ACK.

        Raises `Silence` or `Violation` where there is none.
        """
        offers = self.discover(*requests, want=want)
        if not offers:
            raise Silence(f"no OFFER for {requests}")
        reply = self.request(offers[0])
        if reply is None:
            raise Silence(f"no ACK from {offers[0].server} for {offers[0].allocation}")
        insist(reply.type is Type.ACK, "RFC 6656 4.4", f"{reply.type.name} for {offers[0].allocation}")
        return reply

    def listing(self, server: IPv4Address, patience: Patience | None = None) -> list[Block]:
        """Everything that `server` says this client holds, page by page (RFC 6656 6); nothing where it is silent."""
        held: list[Block] = []
        last: tuple[Information, ...] = ()
        while True:
            query = self.build(Type.DISCOVER, Allocation((Request(0, information=True),), last))
            replies = self.exchange(query, want=1, to=[server], patience=patience)
            if not replies:
                insist(not held, "RFC 6656 6.4", f"no page after {last}")
                return held
            known = {block.network for block in held}
            repeated = [str(block) for block in replies[0].blocks if block.network in known]
            insist(not repeated, "RFC 6656 6.4", f"{repeated} listed twice")
            held += replies[0].blocks
            last = replies[0].allocation.information[-1:]
            if not last[0].server:
                return held

    # -- the parts

    def build(
        self,
        kind: Type,
        allocation: Allocation | None,
        *,
        server: IPv4Address | None = None,
        lease_time: int | None = None,
        xid: int | None = None,
        bound: bool = False,
        extra: Sequence[tuple[int, bytes]] = (),
    ) -> Message:
        """A message of this client. `bound` says that it already holds a lease.

        Ciaddr is its own address (RFC 2131 table 5).
        """
        options: list[tuple[int, bytes]] = []
        if self.identity.identifier is not None:
            options.append((Code.CLIENT_IDENTIFIER, self.identity.identifier))
        if server is not None:
            options.append((Code.SERVER_IDENTIFIER, server.packed))
        if lease_time is not None:
            options.append((Code.LEASE_TIME, struct.pack("!I", lease_time)))
        options.extend(self.identity.options)
        options.extend(extra)
        if allocation is not None:
            options.append((Code.SUBNET_ALLOCATION, allocation.encode()))
        if self.identity.relay_information is not None:
            options.append((Code.RELAY_INFORMATION, self.identity.relay_information))
        own = self.endpoint.address
        message = Message(
            kind,
            _random.getrandbits(32) if xid is None else xid,
            self.identity.hardware,
            hops=1 if self.endpoint.is_relay else 0,
            flags=BROADCAST if own == ZERO else 0,
            giaddr=self.gateway,
            ciaddr=own if bound and not self.endpoint.is_relay else ZERO,
            options=tuple(options),
        )
        return self._authentic(message)

    def _authentic(self, message: Message) -> Message:
        """The message as a client with a key sends it: a DISCOVER asks for authentication, all else has it (RFC 3118 5.5)."""
        key = self.identity.key
        if key is None:
            return message
        if message.type is Type.DISCOVER:
            first = [option for option in message.options if option[0] != Code.RELAY_INFORMATION]
            relay = [option for option in message.options if option[0] == Code.RELAY_INFORMATION]
            return dataclasses.replace(message, options=(*first, authentication.request_option(), *relay))
        return authentication.signed(message, key)

    def _believe(self, message: Message, data: bytes) -> None:
        """Raise `Violation` unless a reply is authentic to a client with a key; keep a nonce (RFC 3118 5.5, RFC 6704 3.1.4)."""
        key = self.identity.key
        if key is not None:
            self._advance(message, authentication.check_delayed(message, data, key))
            return
        nonce = authentication.nonce_of(message, NONCE_CAPABLE in self.identity.options)
        self.nonce = nonce or self.nonce

    def _advance(self, message: Message, replay: int) -> None:
        last = self._replay.get(message.server, -1)
        insist(replay > last, "RFC 3118 2", f"replay counter {replay} of {message.server} after {last}")
        self._replay[message.server] = replay

    # -- what a server begins

    def forcerenew(self, seconds: float, authentic: bool = True) -> Reply | None:
        """The next FORCERENEW for this client, found in order and, unless told otherwise, authentic; None within `seconds`."""
        started = time.monotonic()
        datagram = self.endpoint.claim(self._is_forcerenew, seconds)
        if datagram is None:
            return None
        message = decode(datagram.data)
        judge_forcerenew(message, datagram.source, self.identity.hardware, self.identity.identifier)
        if authentic and self.identity.key is not None:
            self._advance(message, authentication.check_delayed(message, datagram.data, self.identity.key))
        elif authentic:
            insist(self.nonce is not None, "RFC 6704 3.1.4", "a FORCERENEW for a client without a nonce")
            self._advance(message, authentication.check_nonce(message, datagram.data, self.nonce or b""))
        return Reply(message, datagram.data, datagram.source[0], datagram.received - started)

    def _is_forcerenew(self, datagram: Datagram) -> bool:
        message = decode(datagram.data)
        mine = message.chaddr == self.identity.hardware and datagram.received >= self._began
        return message.type is Type.FORCERENEW and mine

    def exchange(
        self, query: Message, *, want: int, to: Sequence[IPv4Address] | None = None, patience: Patience | None = None
    ) -> list[Reply]:
        """Send `query` until `want` servers have answered or patience ends;

        return what came, the first answer of each server.

        Raises `Violation` for a reply that is not in order, or that differs from the same server's earlier answer to
        the same query.
        """
        targets = to if to is not None else self.servers if self.endpoint.is_relay else [EVERYONE]
        patience = patience or self.patience
        replies: dict[IPv4Address, Reply] = {}
        started = time.monotonic()
        with self.endpoint.listen(query.xid) as mailbox:
            deadline = started
            for attempt in range(patience.tries):
                for target in targets:
                    self.endpoint.send_message(query, target)
                deadline += patience.first * 2**attempt
                while len(replies) < want and (datagram := _next(mailbox, deadline)) is not None:
                    self._accept(query, datagram, started, replies)
                if len(replies) >= want:
                    break
            while not mailbox.empty():
                self._accept(query, mailbox.get(), started, replies)
        return list(replies.values())

    def unanswered(self, query: Message, seconds: float, to: Sequence[IPv4Address] | None = None) -> None:
        """Send `query` once; raise `Violation` if anything at all answers it within `seconds`."""
        patience = Patience(seconds, 1)
        with self.endpoint.listen(query.xid) as mailbox:
            for target in to if to is not None else self.servers if self.endpoint.is_relay else [EVERYONE]:
                self.endpoint.send_message(query, target)
            heard = _next(mailbox, time.monotonic() + patience.first)
        insist(heard is None, "silence is due", f"{heard} answers {query}")

    def _accept(self, query: Message, datagram: Datagram, started: float, replies: dict[IPv4Address, Reply]) -> None:
        message = decode(datagram.data)
        if query.type is Type.REQUEST and message.type is Type.OFFER:
            return  # of a server that was slower than the one chosen: discarded (RFC 2131 figure 5)
        judge(query, message, len(datagram.data), datagram.source)
        self._believe(message, datagram.data)
        reply = Reply(message, datagram.data, datagram.source[0], datagram.received - started)
        earlier = replies.setdefault(reply.server, reply)
        says = [(one.type, one.message.option(Code.SUBNET_ALLOCATION)) for one in (earlier, reply)]
        insist(
            says[0] == says[1],
            "RFC 2131 4.1",
            f"{reply.server} answered one query twice: {earlier.message}, {reply.message}",
        )


def _next(mailbox: Mailbox, deadline: float) -> Datagram | None:
    try:
        return mailbox.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        return None
