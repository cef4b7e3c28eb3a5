# SPDX-License-Identifier: MPL-2.0
"""Option 90 as a client reads and writes it: delayed authentication (RFC 3118) and nonces (RFC 6704), computed from the RFCs' words."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import struct
import time
from dataclasses import dataclass

from tests.client.codec import Code, Message, Type, insist

DELAYED, NONCE = 1, 3  # protocols: RFC 3118 5, RFC 6704 3.1.2
HMAC_MD5, COUNTER = 1, 0  # algorithm, replay detection method
NONCE_VALUE, NONCE_DIGEST = 1, 2  # types of authentication information, RFC 6704 3.1.2
DIGEST = 16  # octets
HEADER = struct.Struct("!3BQ")
HOPS, GIADDR, OPTIONS = 3, 24, 240  # offsets in a message, RFC 2131 figure 1
BOOTP_MINIMUM = 300


@dataclass(frozen=True, slots=True)
class Key:
    """A secret shared with the servers, and its number (RFC 3118 5.4)."""

    number: int
    secret: bytes


@dataclass(frozen=True, slots=True)
class Authentication:
    """Option 90: its protocol, the replay counter, and the information behind that."""

    protocol: int
    replay: int
    information: bytes

    def encode(self) -> bytes:
        return bytes((self.protocol, HMAC_MD5, COUNTER)) + struct.pack("!Q", self.replay) + self.information


def authentication(message: Message) -> Authentication | None:
    """Option 90 of a message, or None. Raises `Violation` where it is not of the form that RFC 3118 2 gives it."""
    values = message.instances(Code.AUTHENTICATION)
    if not values:
        return None
    insist(len(values) == 1, "RFC 3118 2", f"option 90 {len(values)} times")
    insist(len(values[0]) >= HEADER.size, "RFC 3118 2", f"option 90 of {len(values[0])} octets")
    protocol, algorithm, method, replay = HEADER.unpack_from(values[0])
    insist((algorithm, method) == (HMAC_MD5, COUNTER), "RFC 3118 2", f"algorithm {algorithm}, method {method}")
    return Authentication(protocol, replay, values[0][HEADER.size :])


def request_option() -> tuple[int, bytes]:
    """What a DISCOVER asks for delayed authentication by (RFC 3118 5.2)."""
    return Code.AUTHENTICATION, Authentication(DELAYED, time.time_ns(), b"").encode()


def signed(message: Message, key: Key) -> Message:
    """The same message with the MAC of RFC 3118 5.2 in an option 90 of its own, before option 82."""
    room = Authentication(DELAYED, time.time_ns(), struct.pack("!I", key.number) + bytes(DIGEST))
    blank = _with_option(message, room.encode())
    mac = digests(blank.encode(), key.secret)[0]
    return _with_option(message, dataclasses.replace(room, information=room.information[:4] + mac).encode())


def _with_option(message: Message, value: bytes) -> Message:
    relay = [option for option in message.options if option[0] == Code.RELAY_INFORMATION]
    own = [option for option in message.options if option[0] != Code.RELAY_INFORMATION]
    return dataclasses.replace(message, options=(*own, (int(Code.AUTHENTICATION), value), *relay))


def digests(data: bytes, secret: bytes) -> list[bytes]:
    """What the MAC of a message may be: with the MAC, hops and giaddr zero, without option 82 (RFC 3118 3, 5.3).

    Two, where option 82 made up for padding: RFC 3118 does not say whether a relay that takes it out pads again (RFC 1542 2.1).
    """
    octets = bytearray(data)
    octets[HOPS] = 0
    octets[GIADDR : GIADDR + 4] = bytes(4)
    at = OPTIONS
    relayed = slice(0, 0)
    while octets[at] != Code.END:
        if octets[at] == Code.PAD:
            at += 1
            continue
        end = at + 2 + octets[at + 1]
        if octets[at] == Code.AUTHENTICATION:
            octets[end - DIGEST : end] = bytes(DIGEST)
        if octets[at] == Code.RELAY_INFORMATION:
            relayed = slice(at, end)
        at = end
    del octets[relayed]
    forms = [bytes(octets).ljust(BOOTP_MINIMUM, b"\0"), bytes(octets)]
    return [hmac.new(secret, form, hashlib.md5).digest() for form in forms]


def check_delayed(message: Message, data: bytes, key: Key) -> int:
    """The replay counter of a message that the holder of `key` signed (RFC 3118 5.3). Raises `Violation` where nobody did."""
    given = authentication(message)
    insist(given is not None, "RFC 3118 5.6", f"no option 90 in {message.type.name}")
    assert given is not None
    insist(given.protocol == DELAYED, "RFC 3118 5", f"protocol {given.protocol}")
    insist(len(given.information) == 4 + DIGEST, "RFC 3118 5.1", f"{len(given.information)} octets of information")
    number = int.from_bytes(given.information[:4], "big")
    insist(number == key.number, "RFC 3118 5.2", f"secret ID {number}, not {key.number}")
    insist(given.information[4:] in digests(data, key.secret), "RFC 3118 5.3", f"wrong MAC: {data.hex()}")
    return given.replay


def nonce_of(message: Message, capable: bool) -> bytes | None:
    """The nonce in an ACK, or None. `capable`: whether the client said that it can use one (RFC 6704 3.1.3)."""
    given = authentication(message)
    if given is None:
        return None
    insist(capable, "RFC 6704 3.1.3", "option 90 for a client that is not capable of nonces")
    insist(given.protocol == NONCE, "RFC 6704 3.1.2", f"protocol {given.protocol}")
    insist(message.type is Type.ACK, "RFC 6704 3.1.3", f"a nonce in {message.type.name}")
    kind, nonce = given.information[0], given.information[1:]
    insist((kind, len(nonce)) == (NONCE_VALUE, DIGEST), "RFC 6704 3.1.2", f"type {kind}, {len(nonce)} octets")
    return nonce


def check_nonce(message: Message, data: bytes, nonce: bytes) -> int:
    """The replay counter of a FORCERENEW made with `nonce` (RFC 6704 3.1.4). Raises `Violation` where it was not."""
    given = authentication(message)
    insist(given is not None, "RFC 6704 5", "a FORCERENEW without option 90")
    assert given is not None
    insist(given.protocol == NONCE, "RFC 6704 3.1.2", f"protocol {given.protocol}")
    insist(len(given.information) == 1 + DIGEST, "RFC 6704 3.1.2", f"{len(given.information)} octets of information")
    insist(given.information[0] == NONCE_DIGEST, "RFC 6704 3.1.2", f"type {given.information[0]}")
    insist(given.information[1:] in digests(data, nonce), "RFC 6704 3.1.4", f"wrong digest: {data.hex()}")
    return given.replay
