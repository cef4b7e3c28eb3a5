# SPDX-License-Identifier: MPL-2.0
"""From what the ledger granted to the octets of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kea_subnet_deleg.ledger import Granted
from kea_subnet_deleg.roles.authentication import Authenticator, can_use_nonce
from kea_subnet_deleg.roles.packets import Inbound, Outbound
from kea_subnet_deleg.wire import (
    HMAC_MD5,
    Message,
    MessageType,
    Option,
    SubnetAllocation,
    SubnetBlock,
    SubnetInformation,
    VssUse,
    allocation_room,
    destination,
    encode_block,
    reply,
)

BLOCKS_PER_SUBOPTION: Final = 36
"""Blocks that fit a Subnet-Information of 255 octets without statistics."""
_BLOCK_SIZE: Final = 7
_SUBOPTION_HEADER: Final = 3
_AUTHENTICATION_ROOM: Final = {int(Option.AUTHENTICATION): bytes(31)}
_NONCE_CAPABLE: Final = int(Option.FORCERENEW_NONCE_CAPABLE)
# Looking up a member of an enum costs as much as comparing it.
_OFFER: Final = MessageType.OFFER
_NAK: Final = MessageType.NAK
_UNSUPPORTED: Final = VssUse.UNSUPPORTED
_USED: Final = VssUse.USED
_REFUSED: Final = VssUse.REFUSED


@dataclass(frozen=True, slots=True)
class Times:
    """What replies say of times. T1 and T2 as shares of the lease time, or None for none (RFC 2132 sections 9.11, 9.12).

    `suggested`: seconds that the client should lease addresses of the subnet for (RFC 6656 section 3.4), or None.
    """

    t1: float | None = None
    t2: float | None = None
    suggested: int | None = None

    def of(self, lease_time: int | None) -> tuple[int | None, int | None]:
        """Return T1 and T2 in seconds."""
        if lease_time is None:
            return None, None
        if lease_time == 0xFFFFFFFF:  # for ever: nothing to renew
            return (None if self.t1 is None else lease_time), (None if self.t2 is None else lease_time)
        return (
            None if self.t1 is None else int(lease_time * self.t1),
            None if self.t2 is None else int(lease_time * self.t2),
        )

    def suggest(self, longest: int | None) -> int | None:
        """Return the Suggested-Lease-Time to send: ours, but for no longer than was suggested to us."""
        if longest is None or self.suggested is None:
            return self.suggested if longest is None else longest
        return min(self.suggested, longest)


@dataclass(init=False, slots=True)  # not frozen, see wire.Message
class Content:
    """What an answer says: blocks, their lease time in seconds, flags c (`listing`) and s (`more`), and a nonce to agree on.

    `elsewhere`: they are not of the VPN that the message names, since its client is known to belong to another.
    `host_lease_time`: seconds that our own upstreams would have addresses of them leased at most, None for any.
    """

    blocks: Sequence[Granted]
    lease_time: int | None = None
    listing: bool = False
    more: bool = False
    nonce: bytes | None = None
    elsewhere: bool = False
    host_lease_time: int | None = None

    def __init__(
        self,
        blocks: Sequence[Granted],
        lease_time: int | None = None,
        listing: bool = False,
        more: bool = False,
        nonce: bytes | None = None,
        elsewhere: bool = False,
        host_lease_time: int | None = None,
    ) -> None:
        self.blocks = blocks
        self.lease_time = lease_time
        self.listing = listing
        self.more = more
        self.nonce = nonce
        self.elsewhere = elsewhere
        self.host_lease_time = host_lease_time


class Replies:
    """Encodes answers."""

    def __init__(self, times: Times, authenticator: Authenticator) -> None:
        self._times = times
        self._authenticator = authenticator

    def encode(self, packet: Inbound, message: Message, kind: MessageType, server: int, content: Content) -> Outbound:
        """Return the answer of `kind` to a message, from the server identifier `server`."""
        extra = self._extra(message, kind, content.nonce)
        t1, t2 = self._times.of(content.lease_time)
        data = reply(
            message,
            kind,
            server,
            self._allocation(kind, content),
            content.lease_time,
            t1=t1,
            t2=t2,
            extra_options=extra,
            vss=_REFUSED if content.elsewhere else _vss_use(message),
        )
        # A NAK too: RFC 2131 section 4.1 broadcasts those because the client's address may be wrong. It is not in question here.
        address, port = destination(message, packet.source, packet.source_port)
        signed = self._authenticator.sign(message, data)
        return Outbound(signed, packet.interface, packet.local_address, address, port, message.chaddr)

    def _extra(self, message: Message, kind: MessageType, nonce: bytes | None) -> Mapping[int, bytes]:
        options = self._authenticator.options(message, nonce)
        if kind is _OFFER and can_use_nonce(message):
            options[_NONCE_CAPABLE] = bytes((HMAC_MD5,))  # RFC 6704 section 3.1.3
        return options

    def _allocation(self, kind: MessageType, content: Content) -> SubnetAllocation | bytes | None:
        """Return option 220: as few Subnet-Informations as hold the blocks, flag s in the last where there is more."""
        if not content.blocks:
            return None
        suggested = None if kind is _NAK or content.listing else self._times.suggest(content.host_lease_time)
        if len(content.blocks) == 1 and not content.listing and suggested is None:
            return encode_block(*content.blocks[0], content.more)
        blocks = [
            SubnetBlock(network, prefix_length, deprecate, hierarchical)
            for network, prefix_length, hierarchical, deprecate in content.blocks
        ]
        last = len(blocks) - 1
        information = [
            SubnetInformation(
                tuple(blocks[start : start + BLOCKS_PER_SUBOPTION]),
                content.listing,
                content.more and start + BLOCKS_PER_SUBOPTION > last,
            )
            for start in range(0, len(blocks), BLOCKS_PER_SUBOPTION)
        ]
        return SubnetAllocation(information=tuple(information), suggested_lease_time=suggested)


def _vss_use(message: Message) -> VssUse:
    """Return what a reply from the VPN that the message names, if it names one, says of it (RFC 6607 section 7)."""
    return _UNSUPPORTED if message.vss is None else _USED


def blocks_that_fit(message: Message) -> int:
    """Return how many blocks a reply to `message` can carry, at least one."""
    # Flags octet, Suggested-Lease-Time, and room for option 90 where it may be needed.
    authenticated = Option.AUTHENTICATION in message.options or can_use_nonce(message)
    octets = (
        allocation_room(message, extra_options=_AUTHENTICATION_ROOM if authenticated else None, vss=_vss_use(message))
        - 1
        - 6
    )
    whole, rest = divmod(octets, _SUBOPTION_HEADER + BLOCKS_PER_SUBOPTION * _BLOCK_SIZE)
    return max(1, whole * BLOCKS_PER_SUBOPTION + max(0, rest - _SUBOPTION_HEADER) // _BLOCK_SIZE)
