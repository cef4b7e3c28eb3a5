# SPDX-License-Identifier: MPL-2.0
"""Option 90, authentication: the format of RFC 3118, delayed authentication (there) and FORCERENEW nonces (RFC 6704).

Who keeps keys and nonces also keeps the replay counters: one that is not above the last one accepted is a replay (RFC 3118
section 2), and nothing here knows the last one.
"""

from __future__ import annotations

import enum
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kea_subnet_deleg.wire.message import FILE, MINIMUM_SIZE, OPTIONS_START, SNAME, Message
from kea_subnet_deleg.wire.options import END, PAD, Option

HMAC_MD5: Final = 1
"""The algorithm, of delayed authentication (RFC 3118 section 5.2) as of nonces (RFC 6704 section 3.1.2), and in option 145."""
MAC_LENGTH: Final = 16
"""Octets of a MAC, and of a nonce."""

_MONOTONIC_COUNTER: Final = 0  # the replay detection method, RFC 3118 section 2
_NONCE_VALUE: Final = 1  # types of authentication information, RFC 6704 section 3.1.2
_NONCE_DIGEST: Final = 2
_HEADER: Final = struct.Struct("!BBBQ")
_SECRET_ID: Final = struct.Struct("!I")
_HOPS: Final = 3
_GIADDR: Final = slice(24, 28)
_AUTHENTICATION: Final = int(Option.AUTHENTICATION)
_OVERLOAD: Final = int(Option.OVERLOAD)
_RELAY_AGENT_INFORMATION: Final = int(Option.RELAY_AGENT_INFORMATION)


class _Protocol(enum.IntEnum):
    DELAYED = 1  # RFC 3118 section 5
    NONCE = 3  # "Reconfigure Key", RFC 6704 section 3.1.2


class UnusableAuthentication(ValueError):
    """Option 90 is malformed, or of a protocol, algorithm or replay detection method that is not spoken here."""


class AuthenticationKind(enum.Enum):
    """The forms of option 90 that are spoken here."""

    DELAYED_REQUEST = enum.auto()
    """A DISCOVER or INFORM asks for delayed authentication (RFC 3118 section 5.2)."""
    DELAYED = enum.auto()
    """A message has a MAC made with a secret shared beforehand (RFC 3118 section 5.2)."""
    NONCE = enum.auto()
    """An ACK gives the nonce that a later FORCERENEW is checked with (RFC 6704 section 3.1.2, type 1)."""
    NONCE_DIGEST = enum.auto()
    """A FORCERENEW has a MAC made with that nonce (RFC 6704 section 3.1.2, type 2)."""


_SIGNED: Final = (AuthenticationKind.DELAYED, AuthenticationKind.NONCE_DIGEST)


@dataclass(frozen=True, slots=True)
class Authentication:
    """The value of option 90 (RFC 3118 section 2), algorithm HMAC-MD5, replay detection by a counter.

    `replay` is that counter, of 64 bits. `octets` is the nonce or the MAC, 16 octets (of a MAC all zero until `sign`), and
    means nothing in a DELAYED_REQUEST; it is kept out of logs. `secret_id` tells which secret a DELAYED MAC is made with.
    """

    kind: AuthenticationKind
    replay: int
    octets: bytes = field(default=bytes(MAC_LENGTH), repr=False)
    secret_id: int = 0

    @classmethod
    def decode(cls, value: bytes) -> Authentication:
        """Read option 90's value; raises UnusableAuthentication."""
        if len(value) < _HEADER.size:
            raise UnusableAuthentication(f"option 90 has {len(value)} octets, must have {_HEADER.size} or more")
        protocol, algorithm, method, replay = _HEADER.unpack_from(value)
        information = value[_HEADER.size :]
        if algorithm != HMAC_MD5 or method != _MONOTONIC_COUNTER:
            raise UnusableAuthentication(
                f"option 90: algorithm {algorithm} and replay detection method {method}, must be 1 and 0"
            )
        match protocol, len(information):
            case (_Protocol.DELAYED, 0):
                return cls(AuthenticationKind.DELAYED_REQUEST, replay)
            case (_Protocol.DELAYED, 20):
                (secret_id,) = _SECRET_ID.unpack_from(information)
                return cls(AuthenticationKind.DELAYED, replay, information[_SECRET_ID.size :], secret_id)
            case (_Protocol.NONCE, 17) if information[0] == _NONCE_VALUE:
                return cls(AuthenticationKind.NONCE, replay, information[1:])
            case (_Protocol.NONCE, 17) if information[0] == _NONCE_DIGEST:
                return cls(AuthenticationKind.NONCE_DIGEST, replay, information[1:])
        raise UnusableAuthentication(
            f"option 90: protocol {protocol} with {len(information)} octets of information ({information[:1].hex()}...), "
            "must be 1 (delayed) with 0 or 20, or 3 (nonce) with 17 of type 1 or 2"
        )

    @classmethod
    def of(cls, message: Message) -> Authentication | None:
        """Return what `message` says in option 90, None where it has none; raises UnusableAuthentication."""
        value = message.options.get(_AUTHENTICATION)
        return None if value is None else cls.decode(value)

    def encode(self) -> bytes:
        """Return option 90's value; raises ValueError where a number or the octets don't fit their field."""
        if len(self.octets) != MAC_LENGTH:
            raise ValueError(f"a nonce or MAC has {MAC_LENGTH} octets, not {len(self.octets)}")
        protocol = _Protocol.NONCE
        match self.kind:
            case AuthenticationKind.NONCE:
                information = bytes((_NONCE_VALUE,)) + self.octets
            case AuthenticationKind.NONCE_DIGEST:
                information = bytes((_NONCE_DIGEST,)) + self.octets
            case AuthenticationKind.DELAYED_REQUEST:
                protocol, information = _Protocol.DELAYED, b""
            case AuthenticationKind.DELAYED:
                protocol, information = _Protocol.DELAYED, self._secret_id() + self.octets
        try:
            return _HEADER.pack(protocol, HMAC_MD5, _MONOTONIC_COUNTER, self.replay) + information
        except struct.error:
            raise ValueError(f"replay counter {self.replay}: must be 0 to {2**64 - 1}") from None

    def _secret_id(self) -> bytes:
        try:
            return _SECRET_ID.pack(self.secret_id)
        except struct.error:
            raise ValueError(f"secret ID {self.secret_id}: must be 0 to {2**32 - 1}") from None


def sign(data: bytes, key: bytes) -> bytes:
    """Return the whole message `data` with the MAC filled in that its option 90, DELAYED or NONCE_DIGEST, has room for.

    `key` is the shared secret or the nonce. To be done last: whatever changes afterwards, but for hops, giaddr and option
    82, makes the MAC wrong. Raises ValueError for an empty key and for a message without exactly one such option.
    """
    place = _place_of_mac(data)
    if place is None:
        raise ValueError("the message must have one option 90 with room for a MAC: DELAYED or NONCE_DIGEST")
    if not key:
        raise ValueError("the key is empty: it would authenticate nobody")
    return data[:place] + _mac(key, _signed_octets(data, place)[0]) + data[place + MAC_LENGTH :]


def verify(data: bytes, key: bytes) -> bool:
    """Whether the whole message `data` has the MAC that the holder of `key` would give it.

    False too where there is no MAC, or an empty key. Any octets will do; compares in constant time. Which kind of
    authentication it was, which secret, and whether it is a replay, is the caller's to check: `Authentication.of`.
    """
    place = _place_of_mac(data)
    if place is None or not key:
        return False
    received = data[place : place + MAC_LENGTH]
    return any(hmac.compare_digest(_mac(key, octets), received) for octets in _signed_octets(data, place))


def _mac(key: bytes, octets: bytes) -> bytes:
    return hmac.digest(key, octets, "md5")


def _place_of_mac(data: bytes) -> int | None:
    """Return the offset of the MAC in option 90; None where there is none or, which no RFC defines, a second option 90."""
    places = [(start, stop) for code, start, stop in _all_options(data) if code == _AUTHENTICATION]
    if len(places) != 1:
        return None
    ((start, stop),) = places
    try:
        kind = Authentication.decode(data[start + 2 : stop]).kind
    except UnusableAuthentication:
        return None
    return stop - MAC_LENGTH if kind in _SIGNED else None


def _signed_octets(data: bytes, place: int) -> list[bytes]:
    """Return what the MAC at `place` is made of: the message with the MAC, hops and giaddr zero, and without option 82.

    So says RFC 3118 (sections 3 and 5.3) of "any hash function". RFC 6704 section 3.1.3 says "the entire message" and names
    the MAC alone, which is the same for a message sent straight to a client; where giaddr is set, dhcpcd too reads the two
    together. Option 82's octets are only the relay's where relays put it, in the options field.

    A relay that takes option 82 out, or puts it in, keeps a short message at 300 octets or doesn't, and the RFC has no word
    on the padding: both lengths are returned, the likelier one, which is signed, first.
    """
    octets = bytearray(data)
    octets[place : place + MAC_LENGTH] = bytes(MAC_LENGTH)
    octets[_HOPS] = 0
    octets[_GIADDR] = bytes(4)
    for code, start, stop in reversed(list(_options(data, OPTIONS_START, len(data)))):
        if code == _RELAY_AGENT_INFORMATION:
            del octets[start:stop]
    bare = bytes(octets)
    if len(bare) == len(data) or len(bare) >= MINIMUM_SIZE:
        return [bare]
    return [bare.ljust(MINIMUM_SIZE, b"\0"), bare]


def _all_options(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each option, in whichever fields option 52 says there are (RFC 2132 section 9.3)."""
    overload = 0
    for code, start, stop in _options(data, OPTIONS_START, len(data)):
        if code == _OVERLOAD and stop - start == 3:
            overload = data[start + 2]
        yield code, start, stop
    for bit, span in ((1, FILE), (2, SNAME)):
        if overload & bit:
            yield from _options(data, span.start, span.stop)


def _options(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each option in `data[start:end]`, up to END or to one that doesn't fit."""
    while start + 2 <= end and data[start] != END:
        if data[start] == PAD:
            start += 1
            continue
        stop = start + 2 + data[start + 1]
        if stop > end:
            return
        yield data[start], start, stop
        start = stop
