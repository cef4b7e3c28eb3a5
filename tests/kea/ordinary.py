# SPDX-License-Identifier: MPL-2.0
"""Ordinary DHCP, the service that delegation must not disturb: a client without option 220."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from ipaddress import IPv4Address

from tests.client.codec import ZERO, Code, Message, Type, decode, insist
from tests.client.endpoint import Endpoint
from tests.client.rfc6656 import Identity

PATIENCE = (1.0, 2.0, 4.0)  # seconds to wait for an answer, then the message is sent again (RFC 2131 4.1)
PARAMETERS = bytes((1, 3, 6, 15, 51, 54, 58, 59))


class Host:
    """A host behind the relay `endpoint`, or at it, that wants one address from one server."""

    def __init__(self, endpoint: Endpoint, server: IPv4Address, identity: Identity | None = None) -> None:
        self.endpoint, self.server, self.identity = endpoint, server, identity or Identity.fresh()
        self._xid = int.from_bytes(self.identity.hardware[2:], "big")

    def message(self, kind: Type, *options: tuple[int, bytes], ciaddr: IPv4Address = ZERO) -> Message:
        """A message of this host. The same for the same host: two servers may be compared by their answers."""
        self._xid = (self._xid + 0x01000193) & 0xFFFFFFFF
        own: list[tuple[int, bytes]] = [(Code.PARAMETER_LIST, PARAMETERS)]
        if self.identity.identifier is not None:
            own.append((Code.CLIENT_IDENTIFIER, self.identity.identifier))
        return Message(
            kind,
            self._xid,
            self.identity.hardware,
            hops=1 if self.endpoint.is_relay else 0,
            giaddr=self.endpoint.address if self.endpoint.is_relay else ZERO,
            ciaddr=ciaddr,
            options=(*own, *options),
        )

    def ask(self, query: Message, patience: Sequence[float] = PATIENCE) -> bytes | None:
        """Send a message until it is answered; the answer's octets, or None where patience ends."""
        with self.endpoint.listen(query.xid) as mailbox:
            for seconds in patience:
                self.endpoint.send_message(query, self.server)
                try:
                    return mailbox.get(timeout=seconds).data
                except queue.Empty:
                    continue
        return None

    def lease(self, *options: tuple[int, bytes]) -> IPv4Address:
        """DISCOVER, OFFER, REQUEST, ACK. Raises `Violation` where ordinary DHCP does not do its work."""
        offer = self.ask(self.message(Type.DISCOVER, *options))
        if offer is None:
            raise AssertionError(f"no ordinary OFFER from {self.server}")
        offered = decode(offer)
        insist(offered.type is Type.OFFER and offered.yiaddr != ZERO, "RFC 2131 3.1", f"{offered} for a DISCOVER")
        named = (Code.SERVER_IDENTIFIER, offered.option(Code.SERVER_IDENTIFIER) or b"")
        chosen = (Code.REQUESTED_ADDRESS, offered.yiaddr.packed)
        answer = self.ask(self.message(Type.REQUEST, chosen, named, *options))
        if answer is None:
            raise AssertionError(f"no ordinary ACK from {self.server}")
        acknowledged = decode(answer)
        insist(acknowledged.type is Type.ACK, "RFC 2131 3.1", f"{acknowledged} for a REQUEST")
        insist(acknowledged.yiaddr == offered.yiaddr, "RFC 2131 3.1", f"{acknowledged.yiaddr}, not {offered.yiaddr}")
        return acknowledged.yiaddr

    def release(self, address: IPv4Address) -> None:
        """Give the address back, so that a small pool is enough for any number of hosts. Nothing answers."""
        query = self.message(Type.RELEASE, (Code.SERVER_IDENTIFIER, self.server.packed), ciaddr=address)
        self.endpoint.send_message(query, self.server)


def serves(endpoint: Endpoint, server: IPv4Address) -> None:
    """A new host gets an address from `server` and gives it back."""
    host = Host(endpoint, server)
    host.release(host.lease())
