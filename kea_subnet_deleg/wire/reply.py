# SPDX-License-Identifier: MPL-2.0
"""What a server answers, and where to (RFC 2131 section 4.3.1 table 3, RFC 6842, RFC 3046, RFC 3011, RFC 8357)."""

from __future__ import annotations

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
from kea_subnet_deleg.wire.options import Option, has_relay_source_port
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


def reply(
    request: Message,
    type: MessageType,  # noqa: A002 - called what Message.type is called
    server_identifier: int,
    allocation: SubnetAllocation | None = None,
    lease_time: int | None = None,
    *,
    t1: int | None = None,
    t2: int | None = None,
) -> bytes:
    """Return the whole reply of `type` (OFFER, ACK or NAK) to `request`.

    `server_identifier` is our address, a host-order integer; `lease_time`, `t1` and `t2` are seconds, None leaves
    options 51, 58 and 59 out, and a NAK never has them. yiaddr is 0: a subnet and an address can't be had in one
    exchange (RFC 6656 section 4.2). ciaddr is the client's in an ACK, else 0.

    Raises ValueError where a value does not fit its option.
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


def allocation_room(request: Message) -> int:
    """Return how many octets of option 220's value (`SubnetAllocation.encode`) a reply to `request` can carry.

    The reply's IP datagram stays within the client's maximum message size (option 57), with all of options 51, 53, 54,
    58 and 59 and what is echoed. A longer list is for several messages, linked by the `s` flag (RFC 6656 section 6).
    """
    fixed = OPTIONS_START + 3 + 4 * 6 + 1
    for code in _ECHOED:
        value = request.options.get(code)
        if value is not None:
            fixed += len(value) + 2 * max(1, -(-len(value) // 255))
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
        relay_agent_information = request.relay_agent_information
        if relay_agent_information is not None and source_port and has_relay_source_port(relay_agent_information):
            return request.giaddr, source_port
        return request.giaddr, SERVER_PORT
    if request.ciaddr:
        return request.ciaddr, CLIENT_PORT
    if source not in (0, BROADCAST_ADDRESS):
        return source, source_port or CLIENT_PORT
    return BROADCAST_ADDRESS, CLIENT_PORT


def _four_octets(what: str, value: int) -> bytes:
    if not 0 <= value <= 0xFFFFFFFF:
        raise ValueError(f"{what} {value}: must be 0 to 4294967295")
    return value.to_bytes(4, "big")
