# SPDX-License-Identifier: MPL-2.0
"""Hosts behind a relay that come one after the other, and how long each waited for an address.

They are impatient: one that is not answered asks again after `probe` seconds, each time under a transaction of its own, so that it is
known which question had no answer. (RFC 2131 4.1 has a host wait for 4 seconds, which would hide what is to be measured.) A program of
its own, of the standard library alone, to be run inside the namespace of hosts:

    nsenter --net=/run/netns/HOSTS -- python -m bench.arrivals SERVER GIADDR --hosts N [--every S] [--probe S] [--first N] [--leave] ...

It prints one JSON object. Moments are of the machine's monotonic clock, in seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

SERVER_PORT = 67
DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE = 1, 2, 3, 5, 6, 7
_HEAD = struct.Struct("!4B I 2H 4s4s4s4s 16s 192x 4s")
_COOKIE = bytes((99, 130, 83, 99))
_OPTIONS = 240
LATE = 0.5  # seconds at the end in which answers to what was sent may still come
SMALLEST = 300  # octets (RFC 1542 2.1)


@dataclass(slots=True)
class Host:
    """One host: when it first asked and had its address, and which. `unanswered`: when it first asked in vain."""

    number: int
    began: float
    asked: int = 0
    served: float | None = None
    address: str | None = None
    unanswered: float | None = None
    awaits: int = OFFER
    offered: bytes = b""
    server: bytes = b""
    sent: dict[int, float] = field(default_factory=dict)  # DISCOVERs without an answer: when, by xid

    @property
    def hardware(self) -> bytes:
        return b"\2\0" + self.number.to_bytes(4, "big")


class Arrivals:
    """So many hosts, `every` seconds one."""

    def __init__(self, server: str, giaddr: str, probe: float, first: int) -> None:
        self._giaddr = socket.inet_aton(giaddr)
        self._probe, self._first = probe, first
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind((giaddr, SERVER_PORT))
        self._socket.connect((server, SERVER_PORT))
        self._xid = first << 12
        self._by_xid: dict[int, Host] = {}
        self._due: list[tuple[float, int]] = []  # a heap: when which host, by its place in `hosts`, speaks
        self.hosts: list[Host] = []

    def run(self, count: int, every: float, patience: float) -> list[dict[str, object]]:
        """Have `count` hosts come; return each as it is when all have an address, or the last one has waited for `patience` seconds."""
        begin = time.monotonic()
        for number in range(count):
            self.hosts.append(Host(self._first + number, begin + number * every))
            heapq.heappush(self._due, (begin + number * every, number))
        end = begin + count * every + patience
        while (now := time.monotonic()) < end and any(host.served is None for host in self.hosts):
            self._speak(now)
            self._hear(self._due[0][0] if self._due else now + self._probe)
        end = time.monotonic() + LATE
        while (now := time.monotonic()) < end:
            self._hear(end)
        for host in self.hosts:
            host.unanswered = min(host.sent.values(), default=None)
        left_out = {"awaits", "offered", "server", "sent"}
        return [{key: value for key, value in asdict(host).items() if key not in left_out} for host in self.hosts]

    def leave(self) -> None:
        """Have all give their addresses back (RFC 2131 4.4.6)."""
        for host in self.hosts:
            if host.served is not None:
                self._send(host, RELEASE, b"\x36\4" + host.server, host.offered)
                time.sleep(0.001)

    def close(self) -> None:
        """Give up the socket."""
        self._socket.close()

    def _speak(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            _, number = heapq.heappop(self._due)
            host = self.hosts[number]
            if host.served is None:
                self._ask(host, now)
                heapq.heappush(self._due, (now + self._probe, number))

    def _ask(self, host: Host, now: float) -> None:
        self._xid += 1
        self._by_xid[self._xid] = host
        if host.asked == 0:
            host.began = now
        host.asked += 1
        if host.awaits == OFFER:
            host.sent[self._xid] = now
            self._send(host, DISCOVER, b"")
        else:  # what was offered, again
            self._send(host, REQUEST, b"\x32\4" + host.offered + b"\x36\4" + host.server)

    def _send(self, host: Host, kind: int, options: bytes, ciaddr: bytes = b"") -> None:
        head = _HEAD.pack(1, 1, 6, 1, self._xid, 0, 0, ciaddr, b"", b"", self._giaddr, host.hardware, _COOKIE)
        identity = bytes((61, 7, 1)) + host.hardware
        message = head + bytes((53, 1, kind)) + identity + options + b"\xff"
        with contextlib.suppress(OSError):  # as good as lost
            self._socket.send(message.ljust(SMALLEST, b"\0"))

    def _hear(self, until: float) -> None:
        """Take what comes until a moment, or at least what is there."""
        self._socket.settimeout(max(0.0001, min(0.05, until - time.monotonic())))
        try:
            data = self._socket.recv(2048)
        except OSError:  # nothing, or nobody listens there for the moment
            return
        xid = int.from_bytes(data[4:8], "big")
        host = self._by_xid.get(xid)
        if host is None or data[28:34] != host.hardware:
            raise ValueError(f"an answer to nobody: {data.hex()}")
        host.sent.pop(xid, None)
        options = _options(data)
        kind = options[53][0]
        now = time.monotonic()
        if kind == OFFER and host.awaits == OFFER:
            host.awaits, host.offered, host.server = ACK, data[16:20], options[54]
            self._ask(host, now)
        elif kind == ACK and host.served is None:
            if data[16:20] != host.offered:
                raise ValueError(f"host {host.number} was acknowledged what it was not offered: {data.hex()}")
            host.served, host.address = now, socket.inet_ntoa(data[16:20])
        elif kind == NAK:
            host.awaits = OFFER


def _options(data: bytes) -> dict[int, bytes]:
    found, at = {}, _OPTIONS
    while data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        found[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it by its command line."""
    parser = argparse.ArgumentParser(description="Hosts that come, and how long each waits for an address.")
    parser.add_argument("server", help="address of the server, IPv4")
    parser.add_argument("giaddr", help="own address, from which hosts are relayed, IPv4")
    parser.add_argument("--hosts", type=int, required=True, help="how many come")
    parser.add_argument("--every", type=float, default=0.002, help="seconds from one to the next")
    parser.add_argument("--probe", type=float, default=0.05, help="seconds until one asks again")
    parser.add_argument("--patience", type=float, default=15.0, help="seconds that the last one waits")
    parser.add_argument("--first", type=int, default=1, help="number of the first host")
    parser.add_argument("--leave", action="store_true", help="they go at the end")
    options = parser.parse_args(arguments)
    arrivals = Arrivals(options.server, options.giaddr, options.probe, options.first)
    print(json.dumps(arrivals.run(options.hosts, options.every, options.patience)))
    if options.leave:
        arrivals.leave()
    arrivals.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
