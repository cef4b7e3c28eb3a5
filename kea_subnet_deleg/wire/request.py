# SPDX-License-Identifier: MPL-2.0
"""What a server says as a client of another one (RFC 6656 sections 4.1, 4.3, 5.1, 5.3 and 6; RFC 2131 table 5).

It speaks as a relay does, with its own address as giaddr: answers come to its server port, across routers too. What is said to a server
that has a secret of ours is authenticated (RFC 3118), as `authentication` says: a DISCOVER asks for it (DELAYED_REQUEST), all else is
signed with `key` (DELAYED).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kea_subnet_deleg.wire.authentication import HMAC_MD5, Authentication, AuthenticationKind, sign
from kea_subnet_deleg.wire.message import (
    BOOTREQUEST,
    OPTIONS_START,
    SMALLEST_MAX_MESSAGE,
    MessageType,
    encode_message,
)
from kea_subnet_deleg.wire.options import Option
from kea_subnet_deleg.wire.subnet_allocation import (
    BLOCK_HEADER,
    SubnetAllocation,
    SubnetBlock,
    SubnetInformation,
    SubnetRequest,
)

LARGEST_ANSWER: Final = 1400
"""Octets of IP datagram announced in option 57: Kea reads 1500 octets, of a raw socket those of the frame, and tunnels take some."""

_INFORMATION_SIZE: Final = 255
_STATISTICS: Final = 6
_IP_AND_UDP_HEADERS: Final = 28
_LONGEST_SECS: Final = 0xFFFF
_HOPS_OF_A_RELAY: Final = 1


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: option 61, an Ethernet address for chaddr, and the lease time in seconds that is asked for, None for none."""

    identity: bytes
    hardware: bytes
    lease_time: int | None = None


def discover(
    requester: Requester,
    xid: int,
    giaddr: int,
    requests: Sequence[SubnetRequest],
    *,
    after: SubnetInformation | None = None,
    secs: int = 0,
    authentication: Authentication | None = None,
) -> bytes:
    """Return the whole DISCOVER for `requests`: new subnets, or what the client holds (flag i).

    `after` is the last Subnet-Information of the page before, as it came (RFC 6656 section 6.3); `giaddr` is our address, a
    host-order integer; `secs` are seconds since the first DISCOVER. Raises ValueError for what does not fit its field.
    """
    listing = any(request.information for request in requests)
    allocation = SubnetAllocation(requests=tuple(requests), information=() if after is None else (after,))
    options = _options(requester, lease_time=None if listing else requester.lease_time)
    return _message(requester, MessageType.DISCOVER, xid, giaddr, options, allocation, secs, authentication)


def request(
    requester: Requester,
    xid: int,
    giaddr: int,
    information: Sequence[SubnetInformation],
    *,
    server: int | None = None,
    secs: int = 0,
    authentication: Authentication | None = None,
    key: bytes = b"",
) -> bytes:
    """Return the whole REQUEST: of what `server` offered, its Subnet-Informations as they came, or with None a renewal.

    Neither ciaddr nor option 50: no address of ours is in question. Raises ValueError for what does not fit its field.
    """
    options = _options(requester, server=server, lease_time=requester.lease_time)
    allocation = SubnetAllocation(information=tuple(information))
    return _message(requester, MessageType.REQUEST, xid, giaddr, options, allocation, secs, authentication, key)


def release(
    requester: Requester,
    xid: int,
    giaddr: int,
    server: int,
    blocks: Sequence[SubnetBlock],
    *,
    authentication: Authentication | None = None,
    key: bytes = b"",
) -> bytes:
    """Return the whole RELEASE of `blocks` to `server` (RFC 6656 section 5.3). Raises ValueError for what does not fit its field."""
    options = {
        int(Option.CLIENT_IDENTIFIER): requester.identity,
        int(Option.SERVER_IDENTIFIER): server.to_bytes(4, "big"),
    }
    allocation = SubnetAllocation(information=gather(blocks))
    return _message(requester, MessageType.RELEASE, xid, giaddr, options, allocation, 0, authentication, key)


def gather(blocks: Iterable[SubnetBlock]) -> tuple[SubnetInformation, ...]:
    """Return as few Subnet-Informations, without flags, as hold `blocks`: 255 octets fit one."""
    gathered: list[list[SubnetBlock]] = []
    room = 0
    for block in blocks:
        size = BLOCK_HEADER if block.usage is None else BLOCK_HEADER + _STATISTICS
        if size > room:
            gathered.append([])
            room = _INFORMATION_SIZE - 1
        gathered[-1].append(block)
        room -= size
    return tuple(SubnetInformation(tuple(some)) for some in gathered)


def renewals_that_fit(requester: Requester, *, authenticated: bool = False) -> int:
    """Return how many blocks with usage a REQUEST can renew within the 576 octets that everybody takes (RFC 2131 section 2)."""
    options = _options(requester, lease_time=0)
    if authenticated:
        options[int(Option.AUTHENTICATION)] = Authentication(AuthenticationKind.DELAYED, 0).encode()
    # Beside them option 53, END, and option 220 in two instances (RFC 3396) with its flags octet.
    fixed = OPTIONS_START + sum(2 + len(value) for value in options.values()) + 3 + 1 + 2 * 2 + 1
    room = SMALLEST_MAX_MESSAGE - _IP_AND_UDP_HEADERS - fixed
    block = BLOCK_HEADER + _STATISTICS
    per_suboption = (_INFORMATION_SIZE - 1) // block
    whole, rest = divmod(room, 3 + per_suboption * block)
    return max(1, whole * per_suboption + max(0, rest - 3) // block)


def _options(requester: Requester, *, server: int | None = None, lease_time: int | None) -> dict[int, bytes]:
    """Return the options of a DISCOVER or REQUEST but option 220. Option 145: we can check FORCERENEWs by a nonce (RFC 6704)."""
    options = {int(Option.CLIENT_IDENTIFIER): requester.identity}
    if server is not None:
        options[int(Option.SERVER_IDENTIFIER)] = server.to_bytes(4, "big")
    if lease_time is not None:
        options[int(Option.LEASE_TIME)] = lease_time.to_bytes(4, "big")
    options[int(Option.MAX_MESSAGE_SIZE)] = LARGEST_ANSWER.to_bytes(2, "big")
    options[int(Option.FORCERENEW_NONCE_CAPABLE)] = bytes((HMAC_MD5,))
    return options


def _message(
    requester: Requester,
    kind: MessageType,
    xid: int,
    giaddr: int,
    options: dict[int, bytes],
    allocation: SubnetAllocation | None,
    secs: int,
    authentication: Authentication | None,
    key: bytes = b"",
) -> bytes:
    if authentication is not None:
        options[int(Option.AUTHENTICATION)] = authentication.encode()
    data = encode_message(
        op=BOOTREQUEST,
        type=kind,
        xid=xid,
        chaddr=requester.hardware,
        hops=_HOPS_OF_A_RELAY,
        secs=min(secs, _LONGEST_SECS),
        giaddr=giaddr,
        options=options,
        subnet_allocation=allocation,
    )
    return sign(data, key) if key else data
