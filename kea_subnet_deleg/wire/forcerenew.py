# SPDX-License-Identifier: MPL-2.0
"""DHCPFORCERENEW: have a client renew some of its subnets now (RFC 3203, RFC 6656 section 5.4, RFC 6704)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kea_subnet_deleg.wire.authentication import Authentication, sign
from kea_subnet_deleg.wire.message import BOOTREPLY, MessageType, encode_message
from kea_subnet_deleg.wire.options import Option
from kea_subnet_deleg.wire.reply import CLIENT_PORT, SERVER_PORT
from kea_subnet_deleg.wire.subnet_allocation import BLOCK_HEADER, SubnetAllocation, SubnetBlock, SubnetInformation

_BLOCKS_PER_SUBOPTION: Final = (255 - 1) // BLOCK_HEADER


def forcerenew(
    *,
    xid: int,
    htype: int,
    chaddr: bytes,
    client_identifier: bytes | None,
    server_identifier: int,
    blocks: Sequence[SubnetBlock],
    authentication: Authentication | None,
    key: bytes = b"",
    ciaddr: int = 0,
    giaddr: int = 0,
) -> bytes:
    """Return the whole FORCERENEW that asks a client to renew `blocks`, and only those (RFC 6656 section 5.4).

    `htype`, `chaddr` and `client_identifier` (option 61, None for a client that sent none) are the client's own;
    `server_identifier` is what it knows us by, `ciaddr` the address it renews from, `giaddr` the one it gave as relay, all
    host-order integers; `blocks` have no usage, and 34 fit into the 576 octets that every client takes. Signed with `key`,
    the client's nonce or secret, as `authentication` (NONCE_DIGEST or DELAYED) says. With None the message is not
    authenticated and a client MUST drop it (RFC 3203 section 6), so that is for an operator who knows better.

    Raises ValueError for no blocks, for neither ciaddr nor giaddr (it is unicast, RFC 3203 section 2.2), for a key without
    `authentication`, for `authentication` that has no MAC, and for what doesn't fit its field.
    """
    if not blocks:
        raise ValueError("a FORCERENEW must name the subnets to renew (RFC 6656 section 5.4)")
    if not ciaddr and not giaddr:
        raise ValueError("a FORCERENEW is unicast: ciaddr or giaddr must be given (RFC 3203 section 2.2)")
    if key and authentication is None:
        raise ValueError("a key without `authentication`: the message would not be signed with it")
    if not 0 <= server_identifier <= 0xFFFFFFFF:
        raise ValueError(f"server identifier {server_identifier}: must be 0 to 4294967295")
    options = {int(Option.SERVER_IDENTIFIER): server_identifier.to_bytes(4, "big")}
    if client_identifier is not None:
        options[int(Option.CLIENT_IDENTIFIER)] = client_identifier
    if authentication is not None:
        options[int(Option.AUTHENTICATION)] = authentication.encode()
    data = encode_message(
        op=BOOTREPLY,
        type=MessageType.FORCERENEW,
        xid=xid,
        htype=htype,
        chaddr=chaddr,
        ciaddr=ciaddr,
        giaddr=giaddr,
        options=options,
        subnet_allocation=SubnetAllocation(
            information=tuple(
                SubnetInformation(tuple(blocks[at : at + _BLOCKS_PER_SUBOPTION]))
                for at in range(0, len(blocks), _BLOCKS_PER_SUBOPTION)
            )
        ),
    )
    return data if authentication is None else sign(data, key)


def forcerenew_destination(ciaddr: int, giaddr: int) -> tuple[int, int]:
    """Return the address (host-order integer) and UDP port that a FORCERENEW goes to, never a broadcast.

    A server that spoke with its own address as giaddr listens there, on the server port; a client on its own address.
    """
    return (giaddr, SERVER_PORT) if giaddr else (ciaddr, CLIENT_PORT)
