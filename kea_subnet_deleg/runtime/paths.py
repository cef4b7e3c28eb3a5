# SPDX-License-Identifier: MPL-2.0
"""How other servers are reached: from which of our addresses, by which interface."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from kea_subnet_deleg.roles.requesting import Path, Upstream
from kea_subnet_deleg.wire import BROADCAST_ADDRESS, SERVER_PORT


@dataclass(frozen=True, slots=True)
class Listening:
    """An address that Kea listens on (host-order integer), the name of its interface and its index."""

    address: int
    interface: str
    index: int


class Paths:
    """Finds the way to an upstream anew each time: routes change.

    Parameters
    ----------
    warn : callable
        Told in words what is wrong with an upstream, each thing once.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._warned: set[str] = set()
        self.listening: tuple[Listening, ...] = ()

    def to(self, upstream: Upstream) -> Path | None:
        """Return how to reach an upstream, None where it can't be reached now."""
        if upstream.address is None:
            return self._broadcast(upstream.interface or "")
        source = _source_toward(upstream.address)
        place = next((place for place in self.listening if place.address == source), None)
        if place is None:
            why = "there is no route to it"
            if source is not None:
                why = f"from {IPv4Address(source)}, on which Kea does not listen"
            self._tell(f"upstream {IPv4Address(upstream.address)} can't be asked: {why}")
            return None
        return Path(place.address, place.index, upstream.address)

    def _broadcast(self, interface: str) -> Path | None:
        place = next((place for place in self.listening if place.interface == interface), None)
        if place is None:
            self._tell(f"upstreams on {interface} can't be asked: Kea listens on no address of that interface")
            return None
        return Path(place.address, place.index, BROADCAST_ADDRESS)

    def _tell(self, why: str) -> None:
        if why not in self._warned:
            self._warned.add(why)
            self._warn(why)


def is_local(address: int) -> bool:
    """Whether an address (host-order integer) is one of this machine's: then the kernel would send from it to it.

    Whether it lets one bind to it says less (`net.ipv4.ip_nonlocal_bind`).
    """
    return address != 0 and _source_toward(address) == address


def _source_toward(address: int) -> int | None:
    """Return the address that the kernel would send from; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect((str(IPv4Address(address)), SERVER_PORT))
        except OSError:
            return None
        return int(IPv4Address(probe.getsockname()[0]))
