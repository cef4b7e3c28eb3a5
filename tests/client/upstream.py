# SPDX-License-Identifier: MPL-2.0
"""A delegating server of RFC 6656 that does what a test says, and judges whoever asks it.

Left alone it gives out the blocks of a pool, as a good server would. A test replaces what it answers to each `Kind` of message by a
function from the query to answers: none, one, several, or octets that are no message at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType
from typing import Self

from tests.client import authentication
from tests.client.authentication import (
    DELAYED,
    NONCE,
    NONCE_DIGEST,
    NONCE_VALUE,
    Authentication,
    Key,
    check_delayed,
    signed,
)
from tests.client.codec import (
    Allocation,
    Block,
    Code,
    Information,
    Message,
    Type,
    Violation,
    decode,
    information,
    insist,
)
from tests.client.conduct import Conduct, Kind, Query
from tests.client.endpoint import EVERYONE, RECEIVE_BUFFER, SERVER_PORT, SO_BINDTODEVICE, SO_RCVBUFFORCE
from tests.client.namespace import run_inside

Answer = Message | bytes
Answering = Callable[[Query], Iterable[Answer]]
POOL = IPv4Network("10.200.0.0/14")


class Upstream:
    """A server at an address of a namespace; with `broadcasts` it also hears what is sent to everyone. A context manager.

    `lease_time`, `t1`, `t2`, `suggested` (seconds, None: left out) and `nonce` are what it says in its OFFERs and ACKs, `extra` are
    further options of each answer; with `echoes` it echoes the client identifier (RFC 6842), which older servers do not. With a `key` it
    signs what it says, and who asks has to sign, too (RFC 3118).
    """

    def __init__(
        self,
        netns: str,
        interface: str,
        address: IPv4Address,
        conduct: Conduct,
        *,
        pool: IPv4Network = POOL,
        broadcasts: bool = False,
    ) -> None:
        self.address, self.conduct = address, conduct
        self.lease_time: int | None = 60
        self.t1: int | None = None
        self.t2: int | None = None
        self.suggested: int | None = None
        self.nonce: bytes | None = None
        self.extra: tuple[tuple[int, bytes], ...] = ()
        self.echoes = True
        self.key: Key | None = None
        self._counter = 0
        self.heard: list[Query] = []
        self.violations: list[Violation] = []
        self.answers: dict[Kind, Answering] = {
            Kind.DISCOVER: self.offer,
            Kind.LISTING: silence,
            Kind.REQUEST: self.acknowledge,
            Kind.RENEW: self.renew,
            Kind.RELEASE: silence,
        }
        self._error: Exception | None = None
        self._free = _Free(pool)
        self._replay = itertools.count(1)
        self._changed = threading.Condition()
        self._socket = run_inside(netns, lambda: _bound(interface, address))
        self._sockets = [self._socket]
        if broadcasts:
            self._sockets.append(run_inside(netns, lambda: _bound(interface, EVERYONE)))
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=f"upstream {address}", daemon=True)

    # -- what a good server answers

    def offer(self, query: Query) -> Iterator[Answer]:
        """A block of the pool for each Subnet-Request with a size."""
        lengths = [length for length in query.lengths if length]
        if lengths:
            yield self.offering(query, *(self._free.take(length) for length in lengths))

    def acknowledge(self, query: Query) -> Iterator[Answer]:
        """All that is requested, if it is our offer."""
        if query.message.server == self.address:
            yield self.reply(query, Type.ACK, query.allocation)

    def renew(self, query: Query) -> Iterator[Answer]:
        """Whatever somebody renews."""
        yield self.reply(query, Type.ACK, information(*(block.bare() for block in query.blocks)))

    # -- the parts of answers

    def offering(self, query: Query, *blocks: Block | IPv4Network | str, more: bool = False) -> Message:
        """An OFFER of these in one Subnet-Information, with flag `s` where there is `more`."""
        return self.reply(query, Type.OFFER, subnets(*blocks, more=more))

    def reply(self, query: Query, kind: Type, allocation: Allocation | None) -> Message:
        """An answer to `query`, as RFC 2131 table 3 has it."""
        asked = query.message
        options: list[tuple[int, bytes]] = [(Code.SERVER_IDENTIFIER, self.address.packed)]
        if kind is not Type.NAK:
            options += self._times()
        if self.echoes and (identifier := asked.option(Code.CLIENT_IDENTIFIER)) is not None:
            options.append((Code.CLIENT_IDENTIFIER, identifier))
        options += self.extra
        if kind is Type.ACK and self.nonce is not None and asked.option(Code.FORCERENEW_NONCE_CAPABLE):
            given = Authentication(NONCE, next(self._replay), bytes((NONCE_VALUE,)) + self.nonce)
            options.append((Code.AUTHENTICATION, given.encode()))
        if allocation is not None:
            if self.suggested is not None and kind is not Type.NAK:
                allocation = dataclasses.replace(allocation, lease_times=(self.suggested,))
            options.append((Code.SUBNET_ALLOCATION, allocation.encode()))
        answer = Message(
            kind, asked.xid, asked.chaddr, op=2, flags=asked.flags, giaddr=asked.giaddr, options=tuple(options)
        )
        return answer if self.key is None else signed(answer, self.key)

    def _times(self) -> list[tuple[int, bytes]]:
        times = {Code.LEASE_TIME: self.lease_time, Code.RENEWAL_TIME: self.t1, Code.REBINDING_TIME: self.t2}
        return [(int(code), struct.pack("!I", value)) for code, value in times.items() if value is not None]

    # -- what a server begins

    def forcerenew(self, *blocks: Block | IPv4Network | str, nonce: bytes | None, replay: int | None = None) -> Message:
        """A FORCERENEW for whoever was heard last, signed by `nonce` (RFC 6704 3.1.2), or not at all. See `send`.

        A good server uses a higher `replay` value each time, and does so here by default.
        """
        asked = self.heard[-1].message
        identifier = asked.option(Code.CLIENT_IDENTIFIER) or b""
        options = [
            (int(Code.SERVER_IDENTIFIER), self.address.packed),
            (int(Code.CLIENT_IDENTIFIER), identifier),
            (int(Code.SUBNET_ALLOCATION), subnets(*blocks).encode()),
        ]
        message = Message(
            Type.FORCERENEW,
            random.getrandbits(32),
            asked.chaddr,
            op=2,
            giaddr=asked.giaddr,
            options=tuple(options),
        )
        if nonce is None:
            return message
        counter = next(self._replay) if replay is None else replay
        room = Authentication(NONCE, counter, bytes((NONCE_DIGEST,)) + bytes(authentication.DIGEST))
        blank = _with(message, room)
        mac = authentication.digests(blank.encode(), nonce)[0]
        return _with(message, dataclasses.replace(room, information=bytes((NONCE_DIGEST,)) + mac))

    def send(self, answer: Answer, to: IPv4Address) -> None:
        """Send a message, or any octets, to port 67 of a client that asks as a relay does."""
        data = answer
        if isinstance(answer, Message):
            with contextlib.suppress(Violation):  # a server that breaks the rules has offered nothing
                self.conduct.told(self.address, answer)
            data = answer.encode()
        assert isinstance(data, bytes)
        self._socket.sendto(data, (str(to), SERVER_PORT))

    def _authenticate(self, query: Query, key: Key) -> None:
        """Raise `Violation` unless it asks for authentication in a DISCOVER, and has signed all else, with counters that rise."""
        if query.message.type is Type.DISCOVER:
            given = authentication.authentication(query.message)
            insist(
                given is not None and given.protocol == DELAYED and not given.information, "RFC 3118 5.5.1", f"{given}"
            )
            return
        counter = check_delayed(query.message, query.data, key)
        insist(counter > self._counter, "RFC 3118 2", f"counter {counter} after {self._counter}")
        self._counter = counter

    # -- what was heard

    def queries(self, *kinds: Kind) -> list[Query]:
        """What was heard so far, in order, of some kinds or all."""
        return [query for query in tuple(self.heard) if not kinds or query.kind in kinds]

    def wait(
        self,
        kind: Kind,
        seconds: float = 6.0,
        *,
        count: int = 1,
        where: Callable[[Query], bool] = lambda _: True,
    ) -> Query:
        """Wait for the `count`-th message of a kind, of those `where` something holds. Raises `AssertionError` where none comes in time."""
        deadline = time.monotonic() + seconds

        def found() -> list[Query]:
            return [query for query in self.queries(kind) if where(query)]

        with self._changed:
            while len(found()) < count:
                self.check()
                left = deadline - time.monotonic()
                assert left > 0, f"not {count} {kind.name} at {self.address} within {seconds} s: {self.history()}"
                self._changed.wait(min(left, 0.2))
        return found()[count - 1]

    def history(self) -> str:
        """All that was heard, a line each."""
        return "".join(f"\n{query.received:.2f} {query}" for query in tuple(self.heard))

    def check(self) -> None:
        """Raise the first violation, if there was one."""
        if self._error is not None:
            raise AssertionError(f"the script of {self.address} failed") from self._error
        if self.violations:
            raise self.violations[0]

    # -- the thread

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.send(b"\0")
        self._thread.join()
        for sock in (*self._sockets, self._wake, self._woken):
            sock.close()

    def _run(self) -> None:
        try:
            while self._woken not in (ready := select.select([*self._sockets, self._woken], [], [])[0]):
                for sock in ready:
                    self._hear(sock)
        except Exception as error:  # `check` raises it
            self._error = error

    def _hear(self, sock: socket.socket) -> None:
        try:
            data, sender = sock.recvfrom(65535)
        except OSError:  # ICMP said that an earlier answer did not arrive: the client is down
            return
        received = time.monotonic()
        destination = self.address if sock is self._socket else EVERYONE
        source = (IPv4Address(sender[0]), sender[1])
        if sock is not self._socket and source[0] == self.address:
            return
        try:
            query = Query(decode(data), data, source, destination, received)
            kind = query.kind
            self.conduct.judge(query, self.address)
            if self.key is not None:
                self._authenticate(query, self.key)
        except Violation as violation:
            self.violations.append(violation)
            return
        with self._changed:
            self.heard.append(query)
            self._changed.notify_all()
        for answer in self.answers[kind](query):
            self.send(answer, query.message.giaddr)


def silence(_: Query) -> Iterator[Answer]:
    """No answer."""
    yield from ()


def subnets(*blocks: Block | IPv4Network | str, more: bool = False, listed: bool = False) -> Allocation:
    """Option 220 with one Subnet-Information: flags `s` where there is `more`, `c` where it is `listed`."""
    named = tuple(block if isinstance(block, Block) else Block(IPv4Network(block)) for block in blocks)
    return Allocation(information=(Information(named, client=listed, server=more),))


class _Free:
    """Gives out the blocks of a pool, each once, from the lowest on."""

    def __init__(self, pool: IPv4Network) -> None:
        self._pool, self._next = pool, int(pool.network_address)

    def take(self, length: int) -> IPv4Network:
        size = 1 << 32 - length
        first = -(-self._next // size) * size
        self._next = first + size
        block = IPv4Network((first, length))
        assert block.subnet_of(self._pool), f"{self._pool} is exhausted"
        return block


def _with(message: Message, given: Authentication) -> Message:
    return dataclasses.replace(message, options=(*message.options, (int(Code.AUTHENTICATION), given.encode())))


def _bound(interface: str, address: IPv4Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, interface.encode())
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    sock.bind((str(address), SERVER_PORT))
    return sock
