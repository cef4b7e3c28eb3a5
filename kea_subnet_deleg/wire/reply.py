# SPDX-License-Identifier: MPL-2.0
"""What a server answers, and where to (RFC 2131 section 4.3.1 table 3, RFC 6842, RFC 3046, RFC 3011, RFC 6607, RFC 8357)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from kea_subnet_deleg.wire.message import (
    BOOTREPLY,
    BROADCAST_FLAG,
    MAGIC_COOKIE,
    MINIMUM_SIZE,
    OPTIONS_START,
    Message,
    MessageType,
    given_option,
    pad,
)
from kea_subnet_deleg.wire.options import END, Option, write_instances, write_option
from kea_subnet_deleg.wire.relay import Suboption, without_suboptions
from kea_subnet_deleg.wire.subnet_allocation import SubnetAllocation

SERVER_PORT: Final = 67
CLIENT_PORT: Final = 68
BROADCAST_ADDRESS: Final = 0xFFFFFFFF

# Client identifier: RFC 6842 section 3. Subnet selection: RFC 3011 section 2. Relay agent information: RFC 3046
# section 2.2. Each goes back as it came, in every reply; encode_message puts option 82 last.
_ECHOED: Final = (
    int(Option.CLIENT_IDENTIFIER),
    int(Option.SUBNET_SELECTION),
    int(Option.RELAY_AGENT_INFORMATION),
)
_IP_AND_UDP_HEADERS: Final = 28
_LARGEST_DATAGRAM: Final = 1500
"""Octets, of an Ethernet frame's: what goes out of a raw socket is not fragmented, so a larger answer would never be sent."""
_HEADER: Final = struct.Struct("!BBBBIHHIIII16s192x4sBBB")  # sname and file stay empty
_FOUR_OCTETS: Final = struct.Struct("!BBI")
_END: Final = bytes((END,))
_MESSAGE_TYPE: Final = int(Option.MESSAGE_TYPE)
_SUBNET_ALLOCATION: Final = int(Option.SUBNET_ALLOCATION)
_LEASE_TIME: Final = int(Option.LEASE_TIME)
_RENEWAL_TIME: Final = int(Option.RENEWAL_TIME)
_REBINDING_TIME: Final = int(Option.REBINDING_TIME)
_SERVER_IDENTIFIER: Final = int(Option.SERVER_IDENTIFIER)
_RELAY_AGENT_INFORMATION: Final = int(Option.RELAY_AGENT_INFORMATION)
_VIRTUAL_SUBNET_SELECTION: Final = int(Option.VIRTUAL_SUBNET_SELECTION)
_SET: Final = (_SERVER_IDENTIFIER, _LEASE_TIME, _RENEWAL_TIME, _REBINDING_TIME)


class VssUse(enum.Enum):
    """What became of the VPN that a request named (`Message.vss`), and so what the reply says of it (RFC 6607 section 7)."""

    UNSUPPORTED = enum.auto()
    """VPNs are not looked at: option 82 goes back whole, which tells the relay so, and option 221 does not."""
    USED = enum.auto()
    """The answer is from that VPN: sub-option 151 goes back without 152; so does option 221, saying what 151 says."""
    REFUSED = enum.auto()
    """VPNs are looked at, but not this one, or not for this client: none of these goes back."""


# Looking up a member of an enum costs as much as comparing it.
_UNSUPPORTED: Final = VssUse.UNSUPPORTED
_NAK: Final = MessageType.NAK
_ACK: Final = MessageType.ACK


def reply(
    request: Message,
    type: MessageType,  # noqa: A002 - called what Message.type is called
    server_identifier: int,
    allocation: SubnetAllocation | bytes | None = None,
    lease_time: int | None = None,
    *,
    t1: int | None = None,
    t2: int | None = None,
    extra_options: Mapping[int, bytes] | None = None,
    vss: VssUse = _UNSUPPORTED,
) -> bytes:
    """Return the whole reply of `type` (OFFER, ACK or NAK) to `request`.

    `server_identifier` is our address, a host-order integer, or `request.server_identifier_override`. `allocation` may come as the
    value of option 220, of at most 255 octets (`encode_block`). `lease_time`, `t1` and `t2` are seconds, None leaves options 51, 58
    and 59 out, and a NAK never has them. yiaddr is 0: a subnet and an address can't be had in one exchange (RFC 6656 section 4.2).
    ciaddr is the client's in an ACK, else 0. `extra_options` go before option 220; one that is to be signed (option 90) leaves
    room, and `sign` comes after.

    Raises ValueError where a value does not fit its option, and for an extra option that is set here or echoed.
    """
    # This is the hot path: what is of one length is packed at once, and nothing is collected that is not there.
    chunks = [_header(request, type)]
    try:
        chunks.append(_FOUR_OCTETS.pack(_SERVER_IDENTIFIER, 4, server_identifier))
        if type is not _NAK:
            if lease_time is not None:
                chunks.append(_FOUR_OCTETS.pack(_LEASE_TIME, 4, lease_time))
            if t1 is not None:
                chunks.append(_FOUR_OCTETS.pack(_RENEWAL_TIME, 4, t1))
            if t2 is not None:
                chunks.append(_FOUR_OCTETS.pack(_REBINDING_TIME, 4, t2))
    except struct.error:
        numbers = (server_identifier, lease_time, t1, t2)
        raise ValueError(f"server identifier and times {numbers}: each must be 0 to 4294967295") from None
    echoed: Mapping[int, bytes] = request.options
    if vss is not _UNSUPPORTED:
        echoed = changed = {code: echoed[code] for code in _ECHOED if code in echoed}
        _answer_vss(request, vss, changed)
    codes = [code for code in (_ECHOED if vss is _UNSUPPORTED else echoed) if code in echoed]
    chunks += [write_option(code, echoed[code]) for code in codes if code != _RELAY_AGENT_INFORMATION]
    if extra_options:
        _refuse_twice(extra_options, codes)
        chunks += [given_option(code, value) for code, value in extra_options.items()]
    if allocation is not None:
        parts = (allocation,) if isinstance(allocation, bytes) else allocation.encode_parts()
        chunks.append(write_instances(_SUBNET_ALLOCATION, parts))
    if _RELAY_AGENT_INFORMATION in codes:  # after everything else, RFC 3046 section 2.2
        chunks.append(write_option(_RELAY_AGENT_INFORMATION, echoed[_RELAY_AGENT_INFORMATION]))
    chunks.append(_END)
    return pad(chunks)


def _header(request: Message, kind: MessageType) -> bytes:
    """Return a reply's header and option 53."""
    flags = request.flags
    if kind is _NAK and request.giaddr:
        flags |= BROADCAST_FLAG  # so that the relay broadcasts it, RFC 2131 section 4.3.2
    return _HEADER.pack(
        BOOTREPLY,
        request.htype,
        len(request.chaddr),
        0,
        request.xid,
        0,
        flags,
        request.ciaddr if kind is _ACK else 0,
        0,
        0,
        request.giaddr,
        request.chaddr,
        MAGIC_COOKIE,
        _MESSAGE_TYPE,
        1,
        kind,
    )


def _answer_vss(request: Message, use: VssUse, options: dict[int, bytes]) -> None:
    """Change what is echoed so that it says what became of the VPN (RFC 6607 sections 7.1 to 7.3)."""
    relay = options.pop(_RELAY_AGENT_INFORMATION, None)
    if relay is not None:
        kept = without_suboptions(
            relay, (Suboption.VSS_CONTROL,) if use is VssUse.USED else (Suboption.VSS, Suboption.VSS_CONTROL)
        )
        if kept:  # "the minimum Relay Agent Information length is two", RFC 3046 section 2
            options[_RELAY_AGENT_INFORMATION] = kept
    client = request.options.get(_VIRTUAL_SUBNET_SELECTION)
    if use is VssUse.USED and client is not None:
        # Exactly as it came where it was what counted; else only what was used may be said, RFC 6607 section 7.3.
        chosen = request.relay.vss
        options[_VIRTUAL_SUBNET_SELECTION] = client if chosen is None else chosen.encode()


def _refuse_twice(extra: Iterable[int], echoed: Collection[int]) -> None:
    for code in extra:
        if code in _SET or code in echoed:
            raise ValueError(f"option {code} is set by the reply itself and can't be given as an extra option")


def allocation_room(
    request: Message,
    *,
    extra_options: Mapping[int, bytes] | None = None,
    vss: VssUse = _UNSUPPORTED,
) -> int:
    """Return how many octets of option 220's value (`SubnetAllocation.encode`) a reply to `request` can carry.

    The reply's IP datagram stays within the client's maximum message size (option 57), with all of options 51, 53, 54,
    58 and 59, what is echoed, and `extra_options`; both arguments are those that `reply` will get. A longer list is for
    several messages, linked by the `s` flag (RFC 6656 section 6).
    """
    fixed = OPTIONS_START + 3 + 4 * 6 + 1
    for code in _ECHOED:
        value = request.options.get(code)
        if value is not None:
            fixed += len(value) + 2 * max(1, -(-len(value) // 255))
    if vss is not _UNSUPPORTED:
        answer: dict[int, bytes] = {}
        _answer_vss(request, vss, answer)
        fixed += sum(map(_size, answer.values()))
    if extra_options:
        fixed += sum(map(_size, extra_options.values()))
    datagram = min(max(request.max_message_size, MINIMUM_SIZE + _IP_AND_UDP_HEADERS), _LARGEST_DATAGRAM)
    left = datagram - _IP_AND_UDP_HEADERS - fixed
    # Instances may be cut a little short of 255 octets (split_payload), hence 240.
    return max(0, left - 2 * -(-left // 240))


def destination(request: Message, source: int, source_port: int) -> tuple[int, int]:
    """Return the address (host-order integer) and UDP port that the reply to `request` goes to.

    `source` and `source_port` are where the request came from. In this order: the relay (giaddr), on port 67 or, with
    sub-option 19 in option 82, on the port it sent from (RFC 8357 section 5.1); the client's own address (ciaddr);
    the source address and port; everybody.
    """
    if request.giaddr:
        if _RELAY_AGENT_INFORMATION in request.options and source_port and request.relay.source_port:
            return request.giaddr, source_port
        return request.giaddr, SERVER_PORT
    if request.ciaddr:
        return request.ciaddr, CLIENT_PORT
    if source not in (0, BROADCAST_ADDRESS):
        return source, source_port or CLIENT_PORT
    return BROADCAST_ADDRESS, CLIENT_PORT


def _size(value: bytes) -> int:
    """Return the octets that an option with `value` takes, in as many instances as needed (RFC 3396)."""
    return len(value) + 2 * max(1, -(-len(value) // 255))
