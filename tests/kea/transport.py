# SPDX-License-Identifier: MPL-2.0
"""How the messages of many hosts get to a server and back: through a relay, or from the link itself."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Protocol

from tests.client.codec import ZERO, Message
from tests.client.namespace import run_inside

SERVER_PORT, CLIENT_PORT = 67, 68
EVERYONE = IPv4Address("255.255.255.255")
ETHERTYPE_IPV4, UDP = 0x0800, 17
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1  # linux/if_packet.h
SO_BINDTODEVICE, SO_RCVBUFFORCE = 25, 33  # asm-generic/socket.h
RECEIVE_BUFFER = 8 << 20  # octets
MOST = 256  # datagrams taken in one go


class Transport(Protocol):
    """A socket in a namespace. `relay` is the giaddr of messages, 0.0.0.0 where there is no relay."""

    relay: IPv4Address

    def fileno(self) -> int: ...

    def send(self, message: Message, server: IPv4Address | None = None) -> None:
        """Send a message to a server, by default to all that hosts here have."""

    def receive(self) -> list[bytes]:
        """The DHCP messages that have come; never waits."""

    def close(self) -> None: ...


class Relayed:
    """A relay: from its own address, port 67 to port 67 of each server."""

    def __init__(self, netns: str, interface: str, relay: IPv4Address, servers: Sequence[IPv4Address]) -> None:
        self.relay, self._servers = relay, tuple(servers)
        self._socket = run_inside(netns, lambda: _udp(interface, relay))

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message, server: IPv4Address | None = None) -> None:
        data = message.encode()
        for to in self._servers if server is None else [server]:
            with contextlib.suppress(OSError):  # ICMP said that an earlier one did not arrive: the server is down
                self._socket.sendto(data, (str(to), SERVER_PORT))

    def receive(self) -> list[bytes]:
        found: list[bytes] = []
        with contextlib.suppress(OSError):  # nothing more, or such an ICMP error
            while len(found) < MOST:
                found.append(self._socket.recv(65535))
        return found

    def close(self) -> None:
        self._socket.close()


class OnLink:
    """Hosts on a server's own link, any number of them behind one interface.

    They are heard by what is on the wire, whatever frame and address it is for: none of their addresses is the interface's.
    """

    def __init__(self, netns: str, interface: str) -> None:
        self.relay = ZERO
        self._interface = interface
        self._socket = run_inside(netns, lambda: _packets(interface))

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message, server: IPv4Address | None = None) -> None:
        to = EVERYONE if server is None else server
        packet = _datagram(message.encode(), message.ciaddr, to)
        self._socket.sendto(packet, (self._interface, ETHERTYPE_IPV4, 0, 6, b"\xff" * 6))

    def receive(self) -> list[bytes]:
        found: list[bytes] = []
        with contextlib.suppress(OSError):
            while len(found) < MOST:
                packet, sender = self._socket.recvfrom(65535)
                if sender[2] != socket.PACKET_OUTGOING and (data := _payload(packet)):
                    found.append(data)
        return found

    def close(self) -> None:
        self._socket.close()


def _udp(interface: str, address: IPv4Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, interface.encode())
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    try:
        sock.bind((str(address), SERVER_PORT))
    except OSError:  # there is a relay already
        sock.close()
        raise
    return sock


def _packets(interface: str) -> socket.socket:
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_PACKET, kind, socket.htons(ETHERTYPE_IPV4))
    sock.bind((interface, ETHERTYPE_IPV4))
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    every_frame = struct.pack("iHH8s", socket.if_nametoindex(interface), PACKET_MR_PROMISC, 0, b"")
    sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, every_frame)
    return sock


def _datagram(data: bytes, source: IPv4Address, to: IPv4Address) -> bytes:
    """An IP packet with a UDP datagram from the client's port to the server's (RFC 791, 768; UDP checksum unused)."""
    udp = struct.pack("!4H", CLIENT_PORT, SERVER_PORT, 8 + len(data), 0) + data
    header = struct.pack("!2B3H2BH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, UDP, 0, source.packed, to.packed)
    total = sum(struct.unpack("!10H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:] + udp


def _payload(packet: bytes) -> bytes | None:
    """The DHCP message in an IP packet for the client's port; None where it is something else."""
    length = (packet[0] & 0x0F) * 4
    if (
        len(packet) < length + 8
        or packet[9] != UDP
        or packet[length + 2 : length + 4] != CLIENT_PORT.to_bytes(2, "big")
    ):
        return None
    return packet[length + 8 :]
