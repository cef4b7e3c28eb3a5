# SPDX-License-Identifier: MPL-2.0
"""What a server answers, and where to (RFC 2131 section 4.3.1 table 3, RFC 6842, RFC 3046, RFC 3011, RFC 6607, RFC 8357)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from kea_subnet_deleg.wire.message import (
    BOOTREPLY,
    BROADCAST_FLAG,
    MINIMUM_SIZE,
    OPTIONS_START,
    Message,
    MessageType,
    encode_message,
)
from kea_subnet_deleg.wire.options import Option
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
_TIMES: Final = (int(Option.LEASE_TIME), int(Option.RENEWAL_TIME), int(Option.REBINDING_TIME))
_SERVER_IDENTIFIER: Final = int(Option.SERVER_IDENTIFIER)
_RELAY_AGENT_INFORMATION: Final = int(Option.RELAY_AGENT_INFORMATION)
_VIRTUAL_SUBNET_SELECTION: Final = int(Option.VIRTUAL_SUBNET_SELECTION)


class VssUse(enum.Enum):
    """What became of the VPN that a request named (`Message.vss`), and so what the reply says of it (RFC 6607 section 7)."""

    UNSUPPORTED = enum.auto()
    """VPNs are not looked at: option 82 goes back whole, which tells the relay so, and option 221 does not."""
    USED = enum.auto()
    """The answer is from that VPN: sub-option 151 goes back without 152; so does option 221, saying what 151 says."""
    REFUSED = enum.auto()
    """VPNs are looked at, but not this one, or not for this client: none of these goes back."""


_UNSUPPORTED: Final = VssUse.UNSUPPORTED  # looking up a member of an enum costs as much as comparing it


def reply(
    request: Message,
    type: MessageType,  # noqa: A002 - called what Message.type is called
    server_identifier: int,
    allocation: SubnetAllocation | None = None,
    lease_time: int | None = None,
    *,
    t1: int | None = None,
    t2: int | None = None,
    extra_options: Mapping[int, bytes] | None = None,
    vss: VssUse = _UNSUPPORTED,
) -> bytes:
    """Return the whole reply of `type` (OFFER, ACK or NAK) to `request`.

    `server_identifier` is our address, a host-order integer, or `request.server_identifier_override`; `lease_time`, `t1`
    and `t2` are seconds, None leaves options 51, 58 and 59 out, and a NAK never has them. yiaddr is 0: a subnet and an
    address can't be had in one exchange (RFC 6656 section 4.2). ciaddr is the client's in an ACK, else 0. `extra_options`
    go before option 220; one that is to be signed (option 90) leaves room, and `sign` comes after.

    Raises ValueError where a value does not fit its option, and for an extra option that is set here or echoed.
    """
    options = {_SERVER_IDENTIFIER: _four_octets("server identifier", server_identifier)}
    flags = request.flags
    if type is MessageType.NAK:
        if request.giaddr:
            flags |= BROADCAST_FLAG  # so that the relay broadcasts it, RFC 2131 section 4.3.2
    else:
        for code, seconds in zip(_TIMES, (lease_time, t1, t2), strict=True):
            if seconds is not None:
                options[code] = _four_octets(f"option {code}", seconds)
    for code in _ECHOED:
        value = request.options.get(code)
        if value is not None:
            options[code] = value
    if vss is not _UNSUPPORTED:
        _answer_vss(request, vss, options)
    if extra_options:
        _add_options(options, extra_options)
    return encode_message(
        op=BOOTREPLY,
        type=type,
        xid=request.xid,
        htype=request.htype,
        chaddr=request.chaddr,
        flags=flags,
        ciaddr=request.ciaddr if type is MessageType.ACK else 0,
        giaddr=request.giaddr,
        options=options,
        subnet_allocation=allocation,
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


def _add_options(options: dict[int, bytes], extra: Mapping[int, bytes]) -> None:
    for code, value in extra.items():
        if code in options:
            raise ValueError(f"option {code} is set by the reply itself and can't be given as an extra option")
        options[code] = value


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
    left = max(request.max_message_size, MINIMUM_SIZE + _IP_AND_UDP_HEADERS) - _IP_AND_UDP_HEADERS - fixed
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


def _four_octets(what: str, value: int) -> bytes:
    if not 0 <= value <= 0xFFFFFFFF:
        raise ValueError(f"{what} {value}: must be 0 to 4294967295")
    return value.to_bytes(4, "big")
