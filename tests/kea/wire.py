# SPDX-License-Identifier: MPL-2.0
"""What servers say to each other, as it goes over the link that they are all on."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from ipaddress import IPv4Address
from types import TracebackType
from typing import NamedTuple, Self

from ci.labs import Lab
from tests.client.codec import Type, decode
from tests.client.namespace import run_inside

ETHERTYPE_ALL = 3  # linux/if_ether.h
IPV4 = b"\x08\x00"
UDP, SERVER_PORT = 17, 67
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
RECEIVE_BUFFER = 16 << 20  # octets
ETHERNET, UDP_HEADER = 14, 8  # octets


class Said(NamedTuple):
    """A message from one server to another. `about` is its option 220 as text."""

    source: IPv4Address
    destination: IPv4Address
    type: Type
    about: str


class Wire:
    """Messages from port 67 to port 67 on the backbone of a lab, each once, while the context lasts."""

    def __init__(self, lab: Lab) -> None:
        switch = lab.servers[next(iter(lab.servers))].netns.rpartition("-")[0] + "-br"
        self._socket = run_inside(switch, _packets)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def count(self, seconds: float) -> Counter[Said]:
        """What is said within so many seconds from now."""
        self.said()
        time.sleep(seconds)
        return self.said()

    def said(self) -> Counter[Said]:
        """What was said since the last call, in its order."""
        found: Counter[Said] = Counter()
        while True:
            try:
                frame, place = self._socket.recvfrom(65535)
            except BlockingIOError:
                return found
            if place[2] != socket.PACKET_OUTGOING and place[0].startswith("port"):  # as it comes into the switch
                found.update(_read(frame))


def _packets() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_PACKET, kind, socket.htons(ETHERTYPE_ALL))
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    return sock


def _read(frame: bytes) -> list[Said]:
    packet = frame[ETHERNET:]
    if frame[12:14] != IPV4 or len(packet) < 20 or packet[9] != UDP:
        return []
    header = (packet[0] & 0x0F) * 4
    if struct.unpack_from("!2H", packet, header) != (SERVER_PORT, SERVER_PORT):
        return []
    message = decode(packet[header + UDP_HEADER :])
    return [Said(IPv4Address(packet[12:16]), IPv4Address(packet[16:20]), message.type, str(message.allocation))]
