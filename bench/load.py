# SPDX-License-Identifier: MPL-2.0
"""The load generator: relayed DISCOVER-OFFER-REQUEST-ACK exchanges with option 220, each of a client never seen before; or renewals.

Closed loop: a fixed number of exchanges is under way, and one that ends starts the next. Every reply is checked, lost messages are
sent again as a client would, and a block that was acknowledged twice is counted. `--given FILE` tells afterwards who got what; with
`--renew FILE` these clients renew their blocks in turn, each time with other figures of its use. It is a program of its own, to be
started inside the client's namespace, of the standard library alone and without a line of what it measures. Run it by its path:

    nsenter --net=/run/netns/CLIENT -- python bench/load.py SERVER[,SERVER...] GIADDR [--outstanding N] [--warmup S] [--window S]
            [--prefix N] [--clients N] [--given FILE] [--renew FILE]

Of several servers each new client asks the next one. It prints one JSON object. The work for one packet is kept small, since it comes
out of the same two cores.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import random
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

SERVER_PORT = 67
DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6
MESSAGE_TYPE, SERVER_IDENTIFIER, LEASE_TIME, CLIENT_IDENTIFIER, SUBNET_ALLOCATION = 53, 54, 51, 61, 220
# Option 220 of an OFFER or ACK (RFC 6656 3.2): flags, code and length of its one Subnet-Information, its flags; then the one block.
PLAIN, MORE = b"\0\2\x08\0", b"\0\2\x08\1"  # MORE: flag s, the client may ask for another block
FLAGS, BLOCK, NETWORK, PREFIX = slice(0, 4), slice(4, 11), slice(4, 8), slice(4, 9)
SMALLEST_BLOCK = 30  # the longest prefix (RFC 6656 3.1)
OPTIONS = 240  # offset of the first option (RFC 2131 2, behind the magic cookie)
SMALLEST = 300  # octets (RFC 1542 2.1)
PATIENCE = 1.0  # seconds until a message is sent again the first time, twice as many each time after (perfdhcp gives up after 1)
ATTEMPTS = 5
TICK = 0.02  # seconds between two looks at the clock where nothing comes in
AT_ONCE = 32  # exchanges begun within a tick, at the beginning
DRAIN = 3.0  # seconds at the end for the exchanges under way
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
EXAMPLES = 5  # faults told in words; all are counted
SAMPLE = 200  # blocks whose use is told at the end, as it was reported last

# A DISCOVER and a REQUEST: header, then options at fixed offsets, so that only these are written for each client.
XID, CHADDR, IDENTIFIER = slice(4, 8), slice(28, 34), slice(246, 252)
CHOSEN, ACCEPTED = slice(254, 258), slice(260, 271)  # of a REQUEST that answers an OFFER: options 54 and 220
RENEWED, USAGE = (
    slice(258, 263),
    slice(263, 271),
)  # of one that renews: network and prefix length; the flags and statistics behind
_RENEWED = struct.Struct("!2B 3H")
_HEAD = struct.Struct("!4B I 2H 4s4s4s4s 16s 192x 4s")
_COOKIE = bytes((99, 130, 83, 99))


class Fault(Exception):
    """A reply is not what it has to be; the text says how."""


def template(message_type: int, giaddr: bytes, options: bytes) -> bytearray:
    """Return a message of client zero: RFC 2131 2, relayed (hops 1), with options 53, 61 and then `options`."""
    head = _HEAD.pack(1, 1, 6, 1, 0, 0, 0, b"", b"", b"", giaddr, b"", _COOKIE)
    identity = bytes((CLIENT_IDENTIFIER, 7, 1)) + bytes(6)
    return bytearray(head + bytes((MESSAGE_TYPE, 1, message_type)) + identity + options + b"\xff").ljust(
        SMALLEST, b"\0"
    )


def read_options(data: bytes) -> dict[int, bytes]:
    """Return a reply's options. Raises `Fault` for one that comes twice, IndexError for one that is cut off."""
    found: dict[int, bytes] = {}
    at = OPTIONS
    while (code := data[at]) != 255:
        if code == 0:
            at += 1
            continue
        end = at + 2 + data[at + 1]
        if code in found:
            raise Fault(f"option {code} comes twice")
        found[code] = data[at + 2 : end]
        at = end
    return found


@dataclass(slots=True)
class Holder:
    """A client that has its block: by whom, by which option 220 and for how many seconds (4 octets); its use as reported last."""

    hardware: bytes
    server: int
    option: bytes
    lease_time: bytes
    usage: tuple[int, int, int] = (0, 0, 0)


@dataclass(slots=True)
class Exchange:
    """One client on its way: what it waits for, what it was offered, when it began, which server it asks, by number.

    `renews`: it has a block, and asks to keep it, with `usage`: high water, in use, unusable.
    """

    hardware: bytes
    began: float
    awaits: int = OFFER
    option: bytes = b""
    attempts: int = 1
    server: int = 0
    renews: Holder | None = None
    usage: tuple[int, int, int] = (0, 0, 0)


@dataclass(slots=True)
class Counts:
    """What happened in the whole run, warm-up and end included."""

    started: int = 0
    completed: int = 0
    retransmissions: int = 0
    abandoned: int = 0  # not answered after all attempts
    naks: int = 0
    late: int = 0  # replies nobody waits for any more: to a retransmission, mostly
    faults: int = 0
    overlaps: int = 0
    smaller: int = 0  # blocks smaller than asked
    more: int = 0  # ACKs that told the client to ask for more (flag s)
    examples: list[str] = field(default_factory=list)


class Generator:
    """A relay with `outstanding` clients at any time that each want one block of prefix length `prefix` of one of the servers."""

    def __init__(
        self,
        servers: Sequence[str],
        giaddr: str,
        prefix: int,
        outstanding: int,
        port: int = SERVER_PORT,
        clients: float = math.inf,
    ) -> None:
        self.counts = Counts()
        self.latencies: list[float] = []
        self.holders: deque[Holder] = deque()  # those with a block and nothing under way; who renewed longest ago first
        self._outstanding = outstanding
        self._newcomers = clients  # that may still come
        self._renewing = False
        self._servers = [socket.inet_aton(server) for server in servers]
        self._giaddr = socket.inet_aton(giaddr)
        self._prefix = prefix
        # RFC 6656 3.1: one Subnet-Request, flag h. RFC 2132 9.7: the server chosen.
        self._discover = template(DISCOVER, self._giaddr, bytes((SUBNET_ALLOCATION, 5, 0, 1, 2, 1, prefix)))
        self._request = template(
            REQUEST,
            self._giaddr,
            bytes((SERVER_IDENTIFIER, 4)) + bytes(4) + bytes((SUBNET_ALLOCATION, 11)) + bytes(11),
        )
        # RFC 6656 5.1: to any server, with statistics (3.2.1.1).
        self._renewal = template(REQUEST, self._giaddr, bytes((SUBNET_ALLOCATION, 17, 0, 2, 14, 0)) + bytes(13))
        self._socket, self._posts = _socket(giaddr, servers, port)
        self._under_way: dict[int, Exchange] = {}
        self._due: deque[tuple[float, int, int]] = deque()  # when, xid, attempt: in order, as long as attempts are few
        self._late_due: list[tuple[float, int, int]] = []
        # Of each block of the size asked, by its number: which of its addresses were given, a bit each.
        self._given: dict[int, int] = {}
        self._number = random.getrandbits(40)  # of the first client: other runs on the same ledger have other clients

    def run(self, warmup: float, window: float) -> dict[str, object]:
        """Load the server for `warmup` + `window` seconds and then end what is under way; return the figures of the window."""
        start = time.monotonic()
        opens, closes = start + warmup, start + warmup + window
        self._begin()
        self._until(opens)
        before, busy, began = self.counts.completed, time.process_time(), time.monotonic()
        self.latencies.clear()
        self._until(closes)
        completed, busy, elapsed = (
            self.counts.completed - before,
            time.process_time() - busy,
            time.monotonic() - began,
        )
        latencies = sorted(self.latencies)
        self._outstanding = 0
        self._until(time.monotonic() + DRAIN)
        return {
            "rate": completed / elapsed,
            "window": elapsed,
            "p50_ms": 1000 * quantile(latencies, 0.5),
            "p99_ms": 1000 * quantile(latencies, 0.99),
            "generator_cpu_share": busy / elapsed / (os.cpu_count() or 1),
            "unfinished": len(self._under_way),
            **asdict(self.counts),
        }

    def renew(self, holders: Iterable[Holder]) -> None:
        """Have none but these clients, who renew what they have."""
        self.holders.extend(holders)
        self._renewing = True

    def close(self) -> None:
        """Give up the socket."""
        self._socket.close()

    def _begin(self) -> None:
        """Start the exchanges, some at a time: a socket holds fewer packets than all of these."""
        for begun in range(0, self._outstanding, AT_ONCE):
            for _ in range(min(AT_ONCE, self._outstanding - max(begun, len(self._under_way)))):
                self._start(time.monotonic())
            self._until(time.monotonic() + TICK)

    def _until(self, end: float) -> None:
        """Answer what comes in until `end` (monotonic seconds), or until nothing is under way."""
        receive = self._socket.recv
        next_look = 0.0
        while self._under_way:
            try:
                data = receive(2048)
            except (BlockingIOError, ConnectionRefusedError):  # nothing for a tick; nobody listens there for the moment
                data = b""
            now = time.monotonic()
            if data:
                self._take(data, now)
            if now >= next_look:
                next_look = now + TICK
                self._repeat(now)
            if now >= end:
                return

    def _start(self, now: float) -> None:
        """Begin an exchange, if anybody is left for it."""
        number = self._number + 1
        if self._renewing and self.holders:
            holder = self.holders.popleft()
            exchange = Exchange(holder.hardware, now, ACK, holder.option, 1, holder.server, holder, usage(number))
        elif not self._renewing and self._newcomers:
            self._newcomers -= 1
            hardware = b"\x02" + (number & 0xFFFFFFFFFF).to_bytes(5, "big")
            exchange = Exchange(hardware, now, server=number % len(self._servers))
        else:
            return
        self._number = number
        self.counts.started += 1
        xid = number & 0xFFFFFFFF
        self._under_way[xid] = exchange
        self._send(xid, exchange)
        self._due.append((now + PATIENCE, xid, exchange.awaits))

    def _send(self, xid: int, exchange: Exchange) -> None:
        """Send what the exchange has to say now."""
        if exchange.awaits == OFFER:
            message = self._discover
        elif exchange.renews is None:
            message = self._request
            message[CHOSEN], message[ACCEPTED] = self._servers[exchange.server], exchange.option
        else:
            message = self._renewal
            message[RENEWED], message[USAGE] = exchange.option[PREFIX], _RENEWED.pack(2, 6, *exchange.usage)
        message[XID] = xid.to_bytes(4, "big")
        message[CHADDR] = message[IDENTIFIER] = exchange.hardware
        try:
            self._posts[exchange.server](message)
        except (ConnectionRefusedError, BlockingIOError):
            return  # as good as lost: it is sent again

    def _take(self, data: bytes, now: float) -> None:
        xid = int.from_bytes(data[XID], "big")
        exchange = self._under_way.get(xid)
        if exchange is None:
            self.counts.late += 1
            return
        try:
            kind, option, lease_time = self.check(data, exchange)
        except (Fault, IndexError) as fault:
            self.counts.faults += 1
            if len(self.counts.examples) < EXAMPLES:
                self.counts.examples.append(f"{fault or 'cut off'}: {data.hex()}")
            return
        if kind != exchange.awaits:  # the OFFER again, after a retransmission
            self.counts.late += 1
        elif kind == OFFER:
            exchange.awaits, exchange.option, exchange.attempts = ACK, option, 1
            self._send(xid, exchange)
            self._due.append((now + PATIENCE, xid, ACK))
        else:
            self._complete(
                xid, exchange, Holder(exchange.hardware, exchange.server, option, lease_time, exchange.usage), now
            )

    def check(self, data: bytes, exchange: Exchange) -> tuple[int, bytes, bytes]:
        """Return a reply's type, option 220 and lease time (option 51).

        Raises `Fault` unless it is an OFFER or ACK as it has to be for the exchange.
        """
        if data[0] != 2 or data[CHADDR] != exchange.hardware or data[24:28] != self._giaddr:
            raise Fault("op, chaddr or giaddr")
        options = read_options(data)
        kind = options.get(MESSAGE_TYPE, b"\0")[0]
        if kind == NAK:
            self.counts.naks += 1
        if kind not in {OFFER, ACK} or (kind == ACK and exchange.awaits == OFFER):
            raise Fault(f"message type {kind}")
        if data[16:20] != b"\0\0\0\0":
            raise Fault("yiaddr (RFC 6656 4.2)")
        if options.get(SERVER_IDENTIFIER) != self._servers[exchange.server]:
            raise Fault("option 54")
        if options.get(CLIENT_IDENTIFIER) != b"\1" + exchange.hardware:
            raise Fault("option 61 (RFC 6842)")
        lease_time = options.get(LEASE_TIME, b"")
        if len(lease_time) != 4 or (exchange.renews and lease_time != exchange.renews.lease_time):
            raise Fault("option 51")
        option = options.get(SUBNET_ALLOCATION, b"")
        if kind == ACK and option[BLOCK] != exchange.option[BLOCK]:
            raise Fault("the ACK has other blocks than the OFFER, or than are to be renewed")
        # One block: network, length, flag h, no statistics (RFC 6656 3.2.1)
        if len(option) != 11 or option[FLAGS] not in {PLAIN, MORE} or option[9:] != b"\2\0":
            raise Fault("option 220")
        length = option[8]
        if not self._prefix <= length <= SMALLEST_BLOCK:
            raise Fault(f"a /{length}, where /{self._prefix} was asked (RFC 6656 4.2)")
        if int.from_bytes(option[NETWORK], "big") & (0xFFFFFFFF >> length):
            raise Fault("a network with host bits")
        return kind, option, lease_time

    def _complete(self, xid: int, exchange: Exchange, holder: Holder, now: float) -> None:
        if exchange.renews is None:
            self.take_note(holder.option)
        self.holders.append(holder)
        self.latencies.append(now - exchange.began)
        self.counts.completed += 1
        self._end(xid, now)

    def take_note(self, option: bytes) -> None:
        """Count what an ACK's option 220 gives, and whether any address of it was given before."""
        network, length = int.from_bytes(option[NETWORK], "big"), option[8]
        # None is larger than asked, and all are aligned: each lies within one block of the size asked.
        number, first = network >> 32 - self._prefix, network & 0xFFFFFFFF >> self._prefix
        addresses = (1 << (1 << 32 - length)) - 1 << first
        given = self._given.get(number, 0)
        self.counts.overlaps += given & addresses != 0
        self.counts.smaller += length != self._prefix
        self.counts.more += option[FLAGS] == MORE
        self._given[number] = given | addresses

    def told(self) -> list[tuple[str, str, tuple[int, int, int]]]:
        """Of each client with a block and nothing under way: its identity in hexadecimal, the block, its use as reported last."""
        return [(f"01{holder.hardware.hex()}", cidr(holder.option), holder.usage) for holder in self.holders]

    def given(self) -> str:
        """The same clients: a line for each with its identity in hexadecimal, the block, and the seconds that it was leased for."""
        return "".join(
            f"01{holder.hardware.hex()} {cidr(holder.option)} {int.from_bytes(holder.lease_time, 'big')}\n"
            for holder in self.holders
        )

    def _end(self, xid: int, now: float) -> None:
        del self._under_way[xid]
        if len(self._under_way) < self._outstanding:
            self._start(now)

    def _repeat(self, now: float) -> None:
        """Send again what was not answered in time, and give up what was not answered at all."""
        due = self._due
        overdue = []
        while due and due[0][0] <= now:
            overdue.append(due.popleft())
        if self._late_due:
            overdue += [entry for entry in self._late_due if entry[0] <= now]
            self._late_due = [entry for entry in self._late_due if entry[0] > now]
        for _, xid, awaited in overdue:
            exchange = self._under_way.get(xid)
            if exchange is None or exchange.awaits != awaited:
                continue
            if exchange.attempts == ATTEMPTS:
                self.counts.abandoned += 1
                self._end(xid, now)
                continue
            exchange.attempts += 1
            self.counts.retransmissions += 1
            self._send(xid, exchange)
            self._late_due.append((now + PATIENCE * 2 ** (exchange.attempts - 1), xid, awaited))


def usage(number: int) -> tuple[int, int, int]:
    """High water, in use and unusable addresses of a block, for the n-th report: always other ones, that a /26 can have."""
    in_use = number % 61
    return in_use + number // 61 % 3, in_use, number // 183 % 2


def holders_of(given: str) -> Iterator[Holder]:
    """The clients that `Generator.given` tells of; all ask the first server."""
    for line in given.splitlines():
        identity, block, seconds = line.split()
        network, length = block.split("/")
        option = PLAIN + socket.inet_aton(network) + bytes((int(length), 2, 0))
        yield Holder(bytes.fromhex(identity)[1:], 0, option, int(seconds).to_bytes(4, "big"))


def cidr(option: bytes) -> str:
    """The block of an option 220, as text."""
    return f"{socket.inet_ntoa(option[NETWORK])}/{option[8]}"


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of the ordered values do not exceed; 0 where there is none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


Post = Callable[[bytes | bytearray], int]


def _socket(giaddr: str, servers: Sequence[str], port: int) -> tuple[socket.socket, list[Post]]:
    """The socket for all, and what sends to each server."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    # The kernel's own timeout: one system call for a packet, while Python's timeouts take two.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, int(TICK * 1_000_000)))
    sock.bind((giaddr, port))
    if len(servers) == 1:
        sock.connect(
            (servers[0], SERVER_PORT)
        )  # the kernel then looks up the way once, and drops what comes from others
        return sock, [sock.send]
    return sock, [functools.partial(_post, sock, (server, SERVER_PORT)) for server in servers]


def _post(sock: socket.socket, address: tuple[str, int], message: bytes | bytearray) -> int:
    return sock.sendto(message, address)


def main() -> int:
    """Run the generator by its command line."""
    parser = argparse.ArgumentParser(
        description="DISCOVER-OFFER-REQUEST-ACK with option 220, as fast as they are answered."
    )
    parser.add_argument("servers", help="addresses of the servers, IPv4, with commas between them")
    parser.add_argument("giaddr", help="own address, to which the server answers, IPv4")
    parser.add_argument("--outstanding", type=int, default=256, help="exchanges under way at any time")
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds before the window")
    parser.add_argument("--window", type=float, default=5.0, help="seconds in which exchanges are counted")
    parser.add_argument("--prefix", type=int, default=26, help="prefix length each client asks for")
    parser.add_argument("--clients", type=int, default=math.inf, metavar="N", help="have so many come, and end then")
    parser.add_argument(
        "--given", type=Path, metavar="FILE", help="write there what each got: identity, block, seconds"
    )
    parser.add_argument("--renew", type=Path, metavar="FILE", help="have those renew that an earlier run wrote there")
    options = parser.parse_args()
    servers = options.servers.split(",")
    generator = Generator(servers, options.giaddr, options.prefix, options.outstanding, clients=options.clients)
    if options.renew:
        generator.renew(holders_of(options.renew.read_text()))
    result = generator.run(options.warmup, options.window)
    if options.renew:
        result["sample"] = random.sample(generator.told(), min(SAMPLE, len(generator.holders)))
    if options.given:
        options.given.write_text(generator.given())
    print(json.dumps(result))
    generator.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
