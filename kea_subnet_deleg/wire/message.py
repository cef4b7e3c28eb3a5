# SPDX-License-Identifier: MPL-2.0
"""DHCPv4 messages: octets to values and back (RFC 2131 section 2, RFC 2132, RFC 3396).

IPv4 addresses are integers in host order here, as in the packets Kea hands over: this is the hot path.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from kea_subnet_deleg.wire.options import (
    END,
    FIXED_LENGTHS,
    MalformedMessage,
    Option,
    scan_options,
    write_instances,
    write_option,
)
from kea_subnet_deleg.wire.relay import RelayInformation, Vss
from kea_subnet_deleg.wire.subnet_allocation import SubnetAllocation

BOOTREQUEST: Final = 1
BOOTREPLY: Final = 2
BROADCAST_FLAG: Final = 0x8000
MAGIC_COOKIE: Final = b"\x63\x82\x53\x63"

SNAME: Final = slice(44, 108)
FILE: Final = slice(108, 236)
OPTIONS_START: Final = 240
MINIMUM_SIZE: Final = 300
"""Octets that a message is padded to: what BOOTP takes, and some relays insist on (RFC 1542 section 2.1)."""
MAXIMUM_SIZE: Final = 65507
"""Octets that a UDP datagram over IPv4 can carry."""
SMALLEST_MAX_MESSAGE: Final = 576
"""Octets of IP datagram that every client takes (RFC 2131 section 2, RFC 2132 section 9.10)."""

_HEADER: Final = struct.Struct("!BBBBIHHIIII16s")
_OPERATIONS: Final = (BOOTREQUEST, BOOTREPLY)
_NO_NAMES: Final = bytes(192)
_OVERLOAD_FILE: Final = 0x01
_OVERLOAD_SNAME: Final = 0x02
# Plain integers: comparing and looking up enum members costs a call each.
_LEASE_TIME: Final = int(Option.LEASE_TIME)
_MESSAGE_TYPE: Final = int(Option.MESSAGE_TYPE)
_SERVER_IDENTIFIER: Final = int(Option.SERVER_IDENTIFIER)
_OVERLOAD: Final = int(Option.OVERLOAD)
_MAX_MESSAGE_SIZE: Final = int(Option.MAX_MESSAGE_SIZE)
_CLIENT_IDENTIFIER: Final = int(Option.CLIENT_IDENTIFIER)
_RELAY_AGENT_INFORMATION: Final = int(Option.RELAY_AGENT_INFORMATION)
_SUBNET_SELECTION: Final = int(Option.SUBNET_SELECTION)
_FORCERENEW_NONCE_CAPABLE: Final = int(Option.FORCERENEW_NONCE_CAPABLE)
_SUBNET_ALLOCATION: Final = int(Option.SUBNET_ALLOCATION)
_VIRTUAL_SUBNET_SELECTION: Final = int(Option.VIRTUAL_SUBNET_SELECTION)
_NOT_AMONG_OPTIONS: Final = frozenset((_OVERLOAD, _MESSAGE_TYPE, _SUBNET_ALLOCATION))


class MessageType(enum.IntEnum):
    """DHCP message types, option 53 (RFC 2132 section 9.6, RFC 3203, RFC 4388, RFC 6926, RFC 7724)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8
    FORCERENEW = 9
    LEASEQUERY = 10
    LEASEUNASSIGNED = 11
    LEASEUNKNOWN = 12
    LEASEACTIVE = 13
    BULKLEASEQUERY = 14
    LEASEQUERYDONE = 15
    ACTIVELEASEQUERY = 16
    LEASEQUERYSTATUS = 17
    TLS = 18


_NO_RELAY_INFORMATION: Final = RelayInformation()
_TYPES: Final = {bytes((member,)): member for member in MessageType}


# Not frozen, though nobody changes one: making a frozen dataclass takes a call for each field, five times as long. And __init__ is
# written out, here and wherever a value is made for each message: compiled, it sets the fields where they are; dataclass makes one
# that is not compiled, and looks each of them up.
@dataclass(init=False, slots=True, unsafe_hash=True)
class Message:
    """A DHCPv4 message as received (RFC 2131 section 2).

    Addresses are host-order integers, 0 for none; `secs` is in seconds; `chaddr` has `hlen` octets. `sname` and `file`
    come without their padding, and empty where they held options (option 52). `options` has every option but 220 by
    number, long ones joined (RFC 3396); `subnet_allocation_parts` has the value of each option 220 as it came.

    `client_identifier` tells who the client is: option 61 or, without it, hardware type and address (RFC 2131 section 4.2).
    `relay`: what option 82 says. `vss`: the VPN that space is wanted in, by the relay's word, else by the client's option 221 (RFC 6607
    section 7.3).
    """

    op: int
    htype: int
    hlen: int
    hops: int
    xid: int
    secs: int
    flags: int
    ciaddr: int
    yiaddr: int
    siaddr: int
    giaddr: int
    chaddr: bytes
    sname: bytes
    file: bytes
    type: MessageType
    options: Mapping[int, bytes] = field(hash=False)
    subnet_allocation_parts: tuple[bytes, ...]
    client_identifier: bytes
    relay: RelayInformation
    vss: Vss | None

    def __init__(
        self,
        op: int,
        htype: int,
        hlen: int,
        hops: int,
        xid: int,
        secs: int,
        flags: int,
        ciaddr: int,
        yiaddr: int,
        siaddr: int,
        giaddr: int,
        chaddr: bytes,
        sname: bytes,
        file: bytes,
        type: MessageType,  # noqa: A002  # as the field
        options: Mapping[int, bytes],
        subnet_allocation_parts: tuple[bytes, ...],
        client_identifier: bytes,
        relay: RelayInformation,
        vss: Vss | None,
    ) -> None:
        self.op = op
        self.htype = htype
        self.hlen = hlen
        self.hops = hops
        self.xid = xid
        self.secs = secs
        self.flags = flags
        self.ciaddr = ciaddr
        self.yiaddr = yiaddr
        self.siaddr = siaddr
        self.giaddr = giaddr
        self.chaddr = chaddr
        self.sname = sname
        self.file = file
        self.type = type
        self.options = options
        self.subnet_allocation_parts = subnet_allocation_parts
        self.client_identifier = client_identifier
        self.relay = relay
        self.vss = vss

    @classmethod
    def decode(cls, data: bytes) -> Message:
        """Read a whole DHCPv4 message, the payload of its UDP datagram.

        Raises MalformedMessage for what is no DHCPv4 message, an option that doesn't fit its field, an option (or
        sub-option of option 82, see `RelayInformation`) of the wrong length, and a request from which no client could
        be told. Option 220 is left to `SubnetAllocation.decode`, option 90 to `Authentication.of`.
        """
        if len(data) < OPTIONS_START:
            raise MalformedMessage(f"{len(data)} octets, a DHCPv4 message has {OPTIONS_START} or more")
        op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr = _HEADER.unpack_from(data)
        if op not in _OPERATIONS:
            raise MalformedMessage(f"offset 0: op {op}, must be 1 or 2")
        if hlen > 16:
            raise MalformedMessage(f"offset 2: hardware address of {hlen} octets, at most 16 fit")
        if data[236:OPTIONS_START] != MAGIC_COOKIE:
            raise MalformedMessage(f"offset 236: magic cookie {data[236:OPTIONS_START].hex()}, must be 63825363")
        options, parts, overload = _read_options(data)
        _check_lengths(options)
        sname = file = b""
        if data[SNAME.start : FILE.stop] != _NO_NAMES:
            sname = b"" if overload & _OVERLOAD_SNAME else data[SNAME.start : SNAME.stop].rstrip(b"\0")
            file = b"" if overload & _OVERLOAD_FILE else data[FILE.start : FILE.stop].rstrip(b"\0")
        relay = _NO_RELAY_INFORMATION
        if _RELAY_AGENT_INFORMATION in options:
            relay = RelayInformation.decode(options[_RELAY_AGENT_INFORMATION])
        vss = relay.vss
        if vss is None and _VIRTUAL_SUBNET_SELECTION in options:
            vss = Vss.decode(options[_VIRTUAL_SUBNET_SELECTION])
        identifier = options.get(_CLIENT_IDENTIFIER)
        if identifier is None:
            if op == BOOTREQUEST and hlen == 0:
                raise MalformedMessage("neither a hardware address nor a client identifier (option 61)")
            identifier = bytes((htype,)) + chaddr[:hlen]
        return cls(
            op,
            htype,
            hlen,
            hops,
            xid,
            secs,
            flags,
            ciaddr,
            yiaddr,
            siaddr,
            giaddr,
            chaddr[:hlen],
            sname,
            file,
            _message_type(options),
            MappingProxyType(options),
            tuple(parts),
            identifier,
            relay,
            vss,
        )

    @property
    def server_identifier(self) -> int | None:
        """Option 54, the address of the server that speaks or is spoken to."""
        return self._integer(_SERVER_IDENTIFIER)

    @property
    def requested_address(self) -> int | None:
        """Option 50, an address."""
        return self._integer(Option.REQUESTED_ADDRESS)

    @property
    def lease_time(self) -> int | None:
        """Option 51, in seconds; 0xffffffff is infinity."""
        return self._integer(_LEASE_TIME)

    @property
    def renewal_time(self) -> int | None:
        """Option 58, T1, in seconds."""
        return self._integer(Option.RENEWAL_TIME)

    @property
    def rebinding_time(self) -> int | None:
        """Option 59, T2, in seconds."""
        return self._integer(Option.REBINDING_TIME)

    @property
    def max_message_size(self) -> int:
        """Largest IP datagram the sender takes, in octets: option 57, never below 576 (RFC 2132 section 9.10)."""
        return max(self._integer(_MAX_MESSAGE_SIZE) or 0, SMALLEST_MAX_MESSAGE)

    @property
    def relay_agent_information(self) -> bytes | None:
        """Option 82, its sub-options as they came (RFC 3046)."""
        return self.options.get(_RELAY_AGENT_INFORMATION)

    @property
    def link_address(self) -> int:
        """An address on the link that space is wanted for, 0 where the message names none.

        That is the relay's link selection, which MUST be preferred to the client's subnet selection, option 118 (RFC 3527
        section 3), which is preferred to giaddr (RFC 3011 section 2).
        """
        return self.relay.link_selection or self._integer(_SUBNET_SELECTION) or self.giaddr

    @property
    def server_identifier_override(self) -> int | None:
        """What MUST be option 54 of the reply, and may be that of a REQUEST to us (RFC 5107 section 4)."""
        return self.relay.server_identifier_override

    @property
    def forcerenew_nonce_algorithms(self) -> tuple[int, ...]:
        """The algorithms by which the sender can authenticate a FORCERENEW: option 145 (RFC 6704 section 3.1.1)."""
        value = self.options.get(_FORCERENEW_NONCE_CAPABLE)
        return () if value is None else tuple(value)

    def _integer(self, code: int) -> int | None:
        value = self.options.get(code)
        return None if value is None else int.from_bytes(value, "big")


def _read_options(data: bytes) -> tuple[dict[int, bytes], list[bytes], int]:
    """Return the options, in the order of RFC 3396 section 5 (options, file, sname), the values of option 220, and option 52."""
    options: dict[int, bytes] = {}
    parts: list[bytes] = []
    scan_options(data, OPTIONS_START, len(data), options, parts)
    if _OVERLOAD not in options:
        return options, parts, 0
    value = options[_OVERLOAD]
    if value not in (b"\1", b"\2", b"\3"):
        raise MalformedMessage(f"option 52 (overload) is {value.hex() or 'empty'}, must be 01, 02 or 03")
    if value[0] & _OVERLOAD_FILE:
        scan_options(data, FILE.start, FILE.stop, options, parts)
    if value[0] & _OVERLOAD_SNAME:
        scan_options(data, SNAME.start, SNAME.stop, options, parts)
    return options, parts, value[0]


def _check_lengths(options: Mapping[int, bytes]) -> None:
    """Raise MalformedMessage where an option has not the length that it must have."""
    for code, value in options.items():
        if code in FIXED_LENGTHS and len(value) != FIXED_LENGTHS[code]:
            raise MalformedMessage(f"option {code} has {len(value)} octets, must have {FIXED_LENGTHS[code]}")
        if code == _CLIENT_IDENTIFIER and len(value) < 2:  # RFC 2132 section 9.14
            raise MalformedMessage(f"option 61 (client identifier) has {len(value)} octets, must have 2 or more")


def _message_type(options: Mapping[int, bytes]) -> MessageType:
    value = options.get(_MESSAGE_TYPE)
    if value is None:
        raise MalformedMessage("no option 53: BOOTP, not DHCP")
    if value not in _TYPES:
        raise MalformedMessage(f"option 53: message type {value[0]} is unknown")
    return _TYPES[value]


def encode_message(
    *,
    op: int,
    type: MessageType,  # noqa: A002 - called what Message.type is called
    xid: int,
    chaddr: bytes,
    htype: int = 1,
    hops: int = 0,
    secs: int = 0,
    flags: int = 0,
    ciaddr: int = 0,
    yiaddr: int = 0,
    siaddr: int = 0,
    giaddr: int = 0,
    sname: bytes = b"",
    file: bytes = b"",
    options: Mapping[int, bytes] | None = None,
    subnet_allocation: SubnetAllocation | None = None,
) -> bytes:
    """Return a whole DHCPv4 message, padded to 300 octets (RFC 1542 section 2.1).

    Option 53 goes first, then `options` in their order, then option 220; option 82 goes after everything else
    (RFC 3046 section 2.2). Values above 255 octets become several instances (RFC 3396). Addresses are host-order
    integers.

    Raises ValueError for options 52, 53 or 220 among `options` (there is no overloading here, the others are
    arguments), and for whatever does not fit: an address, a field, or all of it into a UDP datagram.
    """
    if len(chaddr) > 16 or len(sname) > 64 or len(file) > 128:
        raise ValueError(
            f"chaddr, sname and file take 16, 64 and 128 octets, not {len(chaddr)}, {len(sname)} and {len(file)}"
        )
    try:
        header = _HEADER.pack(op, htype, len(chaddr), hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr)
    except struct.error as error:
        raise ValueError(f"DHCP header: {error}") from None
    names = sname.ljust(64, b"\0") + file.ljust(128, b"\0")
    body = _write_options(type, options or {}, subnet_allocation)
    return pad((header, names, MAGIC_COOKIE, body))


def pad(chunks: Iterable[bytes]) -> bytes:
    """Return a message made of `chunks`, padded to 300 octets; raises ValueError where that fits no UDP datagram."""
    data = b"".join(chunks).ljust(MINIMUM_SIZE, b"\0")
    if len(data) > MAXIMUM_SIZE:
        raise ValueError(f"the message takes {len(data)} octets, a UDP datagram at most {MAXIMUM_SIZE}")
    return data


def given_option(code: int, value: bytes) -> bytes:
    """Return option `code` as it goes out; raises ValueError for options 52, 53 and 220, and for a wrong length."""
    if code in _NOT_AMONG_OPTIONS:
        raise ValueError(f"option {code} can't be given among the options")
    if code in FIXED_LENGTHS and len(value) != FIXED_LENGTHS[code]:
        raise ValueError(f"option {code} must have {FIXED_LENGTHS[code]} octets, not {len(value)}")
    return write_option(code, value)


def _write_options(
    message_type: MessageType, options: Mapping[int, bytes], allocation: SubnetAllocation | None
) -> bytes:
    chunks = [bytes((_MESSAGE_TYPE, 1, message_type))]
    relay = b""
    for code, value in options.items():
        if code == _RELAY_AGENT_INFORMATION:
            relay = given_option(code, value)
        else:
            chunks.append(given_option(code, value))
    if allocation is not None:
        chunks.append(write_instances(_SUBNET_ALLOCATION, allocation.encode_parts()))
    chunks += (relay, bytes((END,)))
    return b"".join(chunks)
