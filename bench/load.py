# SPDX-License-Identifier: MPL-2.0
"""The load generator: relayed DISCOVER-OFFER-REQUEST-ACK exchanges with option 220, each of a client never seen before.

Closed loop: a fixed number of exchanges is under way, and one that ends starts the next. Every reply is checked, lost messages are
sent again as a client would, and a block that was acknowledged twice is counted. It is a program of its own, to be started inside
the client's namespace, of the standard library alone and without a line of what it measures. Run it by its path:

    nsenter --net=/run/netns/CLIENT -- python bench/load.py SERVER GIADDR [--outstanding N] [--warmup S] [--window S] [--prefix N]

It prints one JSON object. The work for one packet is kept small, since it comes out of the same two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

SERVER_PORT = 67
DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6
MESSAGE_TYPE, SERVER_IDENTIFIER, LEASE_TIME, CLIENT_IDENTIFIER, SUBNET_ALLOCATION = 53, 54, 51, 61, 220
# Option 220 of an OFFER or ACK (RFC 6656 3.2): flags, code and length of its one Subnet-Information, its flags; then the one block.
PLAIN, MORE = b"\0\2\x08\0", b"\0\2\x08\1"  # MORE: flag s, the client may ask for another block
FLAGS, BLOCK, NETWORK = slice(0, 4), slice(4, 11), slice(4, 8)
SMALLEST_BLOCK = 30  # the longest prefix (RFC 6656 3.1)
OPTIONS = 240  # offset of the first option (RFC 2131 2, behind the magic cookie)
SMALLEST = 300  # octets (RFC 1542 2.1)
PATIENCE = 1.0  # seconds until a message is sent again the first time, twice as many each time after (perfdhcp gives up after 1)
ATTEMPTS = 5
TICK = 0.02  # seconds between two looks at the clock where nothing comes in
DRAIN = 3.0  # seconds at the end for the exchanges under way
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
EXAMPLES = 5  # faults told in words; all are counted

# A DISCOVER and a REQUEST: header, then options at fixed offsets, so that only these are written for each client.
XID, CHADDR, IDENTIFIER = slice(4, 8), slice(28, 34), slice(246, 252)
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
class Exchange:
    """One client on its way: what it waits for, what it was offered, when it began and last spoke."""

    hardware: bytes
    began: float
    awaits: int = OFFER
    option: bytes = b""
    attempts: int = 1


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
    """A relay with `outstanding` clients at any time that each want one block of prefix length `prefix`."""

    def __init__(self, server: str, giaddr: str, prefix: int, outstanding: int, port: int = SERVER_PORT) -> None:
        self.counts = Counts()
        self.latencies: list[float] = []
        self._outstanding = outstanding
        self._server = socket.inet_aton(server)
        self._giaddr = socket.inet_aton(giaddr)
        self._prefix = prefix
        # RFC 6656 3.1: one Subnet-Request, flag h. RFC 2132 9.7: the server chosen.
        self._discover = template(DISCOVER, self._giaddr, bytes((SUBNET_ALLOCATION, 5, 0, 1, 2, 1, prefix)))
        self._request = template(
            REQUEST,
            self._giaddr,
            bytes((SERVER_IDENTIFIER, 4)) + self._server + bytes((SUBNET_ALLOCATION, 11)) + bytes(11),
        )
        self._block_at = slice(len(self._request.rstrip(b"\0")) - 12, len(self._request.rstrip(b"\0")) - 1)
        self._socket = _socket(giaddr, server, port)
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
        for _ in range(self._outstanding):
            self._start(time.monotonic())
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
        self._until(closes + DRAIN)
        return {
            "rate": completed / elapsed,
            "window": elapsed,
            "p50_ms": 1000 * quantile(latencies, 0.5),
            "p99_ms": 1000 * quantile(latencies, 0.99),
            "generator_cpu_share": busy / elapsed / (os.cpu_count() or 1),
            "unfinished": len(self._under_way),
            **asdict(self.counts),
        }

    def close(self) -> None:
        """Give up the socket."""
        self._socket.close()

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
        self._number += 1
        self.counts.started += 1
        hardware = b"\x02" + (self._number & 0xFFFFFFFFFF).to_bytes(5, "big")
        xid = self._number & 0xFFFFFFFF
        self._under_way[xid] = exchange = Exchange(hardware, now)
        self._send(xid, exchange)
        self._due.append((now + PATIENCE, xid, OFFER))

    def _send(self, xid: int, exchange: Exchange) -> None:
        """Send what the exchange has to say now."""
        message = self._discover
        if exchange.awaits == ACK:
            message = self._request
            message[self._block_at] = exchange.option
        message[XID] = xid.to_bytes(4, "big")
        message[CHADDR] = message[IDENTIFIER] = exchange.hardware
        try:
            self._socket.send(message)
        except (ConnectionRefusedError, BlockingIOError):
            return  # as good as lost: it is sent again

    def _take(self, data: bytes, now: float) -> None:
        xid = int.from_bytes(data[XID], "big")
        exchange = self._under_way.get(xid)
        if exchange is None:
            self.counts.late += 1
            return
        try:
            kind, option = self.check(data, exchange)
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
            self._complete(xid, exchange, option, now)

    def check(self, data: bytes, exchange: Exchange) -> tuple[int, bytes]:
        """Return a reply's type and option 220. Raises `Fault` unless it is an OFFER or ACK as it has to be for the exchange."""
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
        if options.get(SERVER_IDENTIFIER) != self._server:
            raise Fault("option 54")
        if options.get(CLIENT_IDENTIFIER) != b"\1" + exchange.hardware:
            raise Fault("option 61 (RFC 6842)")
        if len(options.get(LEASE_TIME, b"")) != 4:
            raise Fault("option 51")
        option = options.get(SUBNET_ALLOCATION, b"")
        if kind == ACK and option[BLOCK] != exchange.option[BLOCK]:
            raise Fault("the ACK has other blocks than the OFFER")
        # One block: network, length, flag h, no statistics (RFC 6656 3.2.1)
        if len(option) != 11 or option[FLAGS] not in {PLAIN, MORE} or option[9:] != b"\2\0":
            raise Fault("option 220")
        length = option[8]
        if not self._prefix <= length <= SMALLEST_BLOCK:
            raise Fault(f"a /{length}, where /{self._prefix} was asked (RFC 6656 4.2)")
        if int.from_bytes(option[NETWORK], "big") & (0xFFFFFFFF >> length):
            raise Fault("a network with host bits")
        return kind, option

    def _complete(self, xid: int, exchange: Exchange, option: bytes, now: float) -> None:
        self.take_note(option)
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


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of the ordered values do not exceed; 0 where there is none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _socket(giaddr: str, server: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    # The kernel's own timeout: one system call for a packet, while Python's timeouts take two.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, int(TICK * 1_000_000)))
    sock.bind((giaddr, port))
    sock.connect((server, SERVER_PORT))
    return sock


def main() -> int:
    """Run the generator by its command line."""
    parser = argparse.ArgumentParser(
        description="DISCOVER-OFFER-REQUEST-ACK with option 220, as fast as they are answered."
    )
    parser.add_argument("server", help="address of the server, IPv4")
    parser.add_argument("giaddr", help="own address, to which the server answers, IPv4")
    parser.add_argument("--outstanding", type=int, default=256, help="exchanges under way at any time")
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds before the window")
    parser.add_argument("--window", type=float, default=5.0, help="seconds in which exchanges are counted")
    parser.add_argument("--prefix", type=int, default=26, help="prefix length each client asks for")
    options = parser.parse_args()
    generator = Generator(options.server, options.giaddr, options.prefix, options.outstanding)
    print(json.dumps(generator.run(options.warmup, options.window)))
    generator.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
