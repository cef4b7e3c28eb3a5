# SPDX-License-Identifier: MPL-2.0
"""Other servers as this one asks them: which there are, how they are reached, and our words to them as packets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from kea_subnet_deleg.roles.authentication import Credentials, ServerKey
from kea_subnet_deleg.roles.packets import Outbound
from kea_subnet_deleg.wire import (
    BROADCAST_ADDRESS,
    SERVER_PORT,
    Requester,
    SubnetBlock,
    SubnetInformation,
    SubnetRequest,
    discover,
    release,
    request,
)

FIRST_WAIT: Final = 4.0
LONGEST_WAIT: Final = 64.0
SPREAD: Final = 1.0
"""Seconds until the first retransmission and between two at most, each with so much more or less (RFC 2131 section 4.1)."""

_EVERYBODY: Final = b"\xff" * 6
_LOCALLY_ADMINISTERED: Final = b"\x02"
_CHADDR_SIZE: Final = 6


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server to ask, by its address (host-order integer), or whoever hears a broadcast on an interface.

    Of two offers that are equal otherwise, that of the higher preference is taken. `key`: what we are known to it by.
    """

    address: int | None = None
    interface: str | None = None
    preference: int = 0
    key: ServerKey | None = None


class Path(NamedTuple):
    """How an upstream is reached: our address there, the interface's index (0: that of the address), and where to."""

    source: int
    interface: int
    destination: int

    @property
    def is_broadcast(self) -> bool:
        """Whether anybody may answer."""
        return self.destination == BROADCAST_ADDRESS


class Route(NamedTuple):
    """The path to an upstream, and its preference."""

    path: Path
    preference: int = 0


class Retransmission:
    """When a message that is not answered is sent again, so many `tries` in all (RFC 2131 section 4.1)."""

    def __init__(self, tries: int, random: Random, now: float) -> None:
        self._random = random
        self._left = tries
        self._wait = FIRST_WAIT
        self.due = now

    @property
    def is_over(self) -> bool:
        """Whether the message was sent as often as it may be."""
        return self._left <= 0

    def sent(self, now: float) -> None:
        """Note that the message goes out."""
        self._left -= 1
        self.due = now + self._wait + self._random.uniform(-SPREAD, SPREAD)
        self._wait = min(LONGEST_WAIT, 2 * self._wait)


@dataclass(frozen=True, slots=True)
class Speaker:
    """Says what a domain has to say to its upstreams. One xid may go by several paths: it is one request."""

    requester: Requester
    credentials: Credentials

    @classmethod
    def of(cls, identity: bytes, lease_time: int | None, credentials: Credentials) -> Speaker:
        """Return the speaker of the domain with this client identifier. All its servers have the same chaddr: it is one client."""
        digest = hashlib.sha256(identity).digest()[: _CHADDR_SIZE - 1]
        return cls(Requester(identity, _LOCALLY_ADMINISTERED + digest, lease_time), credentials)

    def discover(
        self,
        path: Path,
        xid: int,
        requests: Sequence[SubnetRequest],
        secs: int = 0,
        after: SubnetInformation | None = None,
    ) -> Outbound:
        """Return a DISCOVER; see wire.discover."""
        asks = self.credentials.to_ask(path.destination)
        return _packet(
            path, discover(self.requester, xid, path.source, requests, after=after, secs=secs, authentication=asks)
        )

    def request(
        self, path: Path, xid: int, information: Sequence[SubnetInformation], server: int, secs: int
    ) -> Outbound:
        """Return the REQUEST of what `server` offered."""
        authentication, key = self.credentials.to_sign(path.destination)
        data = request(
            self.requester,
            xid,
            path.source,
            information,
            server=server,
            secs=secs,
            authentication=authentication,
            key=key,
        )
        return _packet(path, data)

    def renew(self, path: Path, xid: int, information: Sequence[SubnetInformation]) -> Outbound:
        """Return a REQUEST that renews or rebinds."""
        authentication, key = self.credentials.to_sign(path.destination)
        data = request(self.requester, xid, path.source, information, authentication=authentication, key=key)
        return _packet(path, data)

    def release(self, path: Path, xid: int, server: int, blocks: Sequence[SubnetBlock]) -> Outbound:
        """Return a RELEASE to `server`."""
        authentication, key = self.credentials.to_sign(path.destination)
        data = release(self.requester, xid, path.source, server, blocks, authentication=authentication, key=key)
        return _packet(path, data)


def _packet(path: Path, data: bytes) -> Outbound:
    hardware = _EVERYBODY if path.is_broadcast else b""  # the frame's destination, not our chaddr
    return Outbound(data, path.interface, path.source, path.destination, SERVER_PORT, hardware)
