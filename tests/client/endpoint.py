# SPDX-License-Identifier: MPL-2.0
"""A client's place on the network.

Sockets inside a namespace, shared by any number of clients and told apart by xid.
"""

from __future__ import annotations

import contextlib
import fcntl
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import TracebackType

from tests.client.codec import ZERO, Message, Violation, decode
from tests.client.namespace import run_inside

SERVER_PORT, CLIENT_PORT = 67, 68
EVERYONE = IPv4Address("255.255.255.255")
SO_BINDTODEVICE, SO_RCVBUFFORCE = 25, 33  # asm-generic/socket.h
SIOCGIFHWADDR = 0x8927  # linux/sockios.h
RECEIVE_BUFFER = 8 << 20  # octets: hundreds of clients answered at once
ETHERTYPE_IPV4 = 0x0800


@dataclass(frozen=True, slots=True)
class Datagram:
    """What came in: the UDP payload, the address and port that sent it, and when (monotonic seconds)."""

    data: bytes
    source: tuple[IPv4Address, int]
    received: float


@dataclass(frozen=True, slots=True)
class Passage:
    """One message on its way, for who wants to show or record the exchange."""

    sent: bool
    peer: IPv4Address
    message: Message


Mailbox = queue.SimpleQueue[Datagram]


class Endpoint:
    """One address of a namespace from which clients talk, as a relay (port 67, giaddr) or as hosts (port 68).

    Use `relay`, `direct` or `unnumbered` to make one, and as a context manager or with `close` to end it.
    """

    def __init__(self, netns: str, interface: str, address: IPv4Address, port: int, is_relay: bool = False) -> None:
        self.address, self.port, self.interface, self.is_relay = address, port, interface, is_relay
        self.trace: Callable[[Passage], None] | None = None
        self.strays: list[Datagram] = []  # what nobody waited for
        self._mailboxes: dict[int, Mailbox] = {}
        self._lock = threading.Lock()
        self._open = True
        self._socket = run_inside(netns, lambda: _udp_socket(interface, port))
        self.hardware = run_inside(netns, lambda: _hardware_address(interface))
        self._packets = run_inside(netns, lambda: _packet_socket(interface)) if address == ZERO else None
        self._reader = threading.Thread(target=self._read, name=f"endpoint {address}:{port}", daemon=True)
        self._reader.start()

    @classmethod
    def relay(cls, netns: str, interface: str, address: IPv4Address, port: int = SERVER_PORT) -> Endpoint:
        """A requesting server: giaddr is its own address, port 67 to port 67, or from another one (RFC 8357)."""
        return cls(netns, interface, address, port, is_relay=True)

    @classmethod
    def direct(cls, netns: str, interface: str, address: IPv4Address) -> Endpoint:
        """A client that has an address of its own: from port 68, broadcast or unicast."""
        return cls(netns, interface, address, CLIENT_PORT)

    @classmethod
    def unnumbered(cls, netns: str, interface: str) -> Endpoint:
        """A client without an address: sends from 0.0.0.0, hears broadcasts (RFC 2131 4.1)."""
        return cls(netns, interface, ZERO, CLIENT_PORT)

    def send(self, data: bytes, to: IPv4Address) -> None:
        """Send any octets to port 67 of a server, or of everyone on the link."""
        if self._packets is None:
            self._socket.sendto(data, (str(to), SERVER_PORT))
        else:
            self._packets.sendto(_unnumbered_packet(data, to), (self.interface, ETHERTYPE_IPV4, 0, 6, b"\xff" * 6))

    def send_message(self, message: Message, to: IPv4Address) -> None:
        if self.trace is not None:
            self.trace(Passage(True, to, message))
        self.send(message.encode(), to)

    @contextlib.contextmanager
    def listen(self, xid: int) -> Iterator[Mailbox]:
        """Collect the datagrams that carry `xid` while the context lasts."""
        mailbox: Mailbox = queue.SimpleQueue()
        with self._lock:
            self._mailboxes[xid] = mailbox
        try:
            yield mailbox
        finally:
            with self._lock:
                del self._mailboxes[xid]

    def silence(self, seconds: float) -> None:
        """Raise `Violation` if anything that no client waits for arrives within `seconds`, or has arrived already."""
        deadline = time.monotonic() + seconds
        while not self.strays and time.monotonic() < deadline:
            time.sleep(0.01)
        if self.strays:
            heard = self.strays[0]
            raise Violation(f"an answer from {heard.source[0]} where silence is due: {heard.data.hex()}")

    def claim(self, belongs: Callable[[Datagram], bool], seconds: float) -> Datagram | None:
        """The first datagram that no client waited for and that `belongs` says is the caller's, waited for `seconds` at most."""
        deadline = time.monotonic() + seconds
        while True:
            for datagram in list(self.strays):
                if belongs(datagram):
                    self.strays.remove(datagram)
                    return datagram
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.01)

    def close(self) -> None:
        self._open = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the reader; an unconnected socket also reports ENOTCONN
        self._reader.join()
        self._socket.close()
        if self._packets is not None:
            self._packets.close()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        while self._open:
            try:
                data, sender = self._socket.recvfrom(65535)
            except OSError:  # an ICMP error for an earlier datagram, or closing
                continue
            if not self._open:
                break
            datagram = Datagram(data, (IPv4Address(sender[0]), sender[1]), time.monotonic())
            if self.trace is not None:
                with contextlib.suppress(Violation):  # who waits for it judges it
                    self.trace(Passage(False, datagram.source[0], decode(data)))
            xid = int.from_bytes(data[4:8], "big")
            with self._lock:
                mailbox = self._mailboxes.get(xid)
            if mailbox is None:
                self.strays.append(datagram)
            else:
                mailbox.put(datagram)


def _udp_socket(interface: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, interface.encode())
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    sock.bind(("", port))
    return sock


def _hardware_address(interface: str) -> bytes:
    """The interface's own address: the chaddr of a client that a server with raw sockets can reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, SIOCGIFHWADDR, struct.pack("256s", interface.encode()))
    return answer[18:24]


def _packet_socket(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    sock.bind((interface, 0))
    return sock


def _unnumbered_packet(data: bytes, to: IPv4Address) -> bytes:
    """An IP and UDP header for a sender without an address, which no UDP socket can be (RFC 791, 768.

    UDP checksum unused).
    """
    udp = struct.pack("!4H", CLIENT_PORT, SERVER_PORT, 8 + len(data), 0) + data
    header = struct.pack("!2B3H2BH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, ZERO.packed, to.packed)
    total = sum(struct.unpack("!10H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:] + udp
