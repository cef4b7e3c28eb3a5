# SPDX-License-Identifier: MPL-2.0
"""How other servers are reached: from which of our addresses, by which interface."""

from __future__ import annotations

import contextlib
import math
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from kea_subnet_deleg.roles.packets import Inbound
from kea_subnet_deleg.roles.requesting import Path, Upstream
from kea_subnet_deleg.wire import BROADCAST_ADDRESS, SERVER_PORT

LOOK_INTERVAL: Final = 5.0
"""Seconds after which it is looked again where Kea listens, while an upstream can't be reached."""


@dataclass(frozen=True, slots=True)
class Listening:
    """An address that Kea listens on (host-order integer), the name of its interface and its index."""

    address: int
    interface: str
    index: int


class Paths:
    """Finds the way to an upstream anew each time: routes change, and Kea opens sockets later where it retries that.

    Parameters
    ----------
    warn : callable
        Told in words what is wrong with an upstream, each thing once.
    listening : callable
        Returns where Kea listens now.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self, warn: Callable[[str], None], listening: Callable[[], Sequence[Listening]], clock: Callable[[], float]
    ) -> None:
        self._warn = warn
        self._warned: set[str] = set()
        self._ask = listening
        self._clock = clock
        self._listening: Sequence[Listening] = ()
        self._look_at = -math.inf

    def look(self) -> None:
        """Learn where Kea listens."""
        self._look_at = self._clock() + LOOK_INTERVAL
        self._listening = self._ask()

    def to(self, upstream: Upstream) -> Path | None:
        """Return how to reach an upstream, None where it can't be reached now."""
        path = self._find(upstream)
        if isinstance(path, str) and self._clock() >= self._look_at:
            self.look()
            path = self._find(upstream)
        if isinstance(path, Path):
            return path
        if path not in self._warned:
            self._warned.add(path)
            self._warn(path)
        return None

    def _find(self, upstream: Upstream) -> Path | str:
        """Return the way to an upstream, or why there is none."""
        if upstream.address is None:
            interface = upstream.interface or ""
            place = next((place for place in self._listening if place.interface == interface), None)
            if place is None:
                return f"upstreams on {interface} can't be asked: Kea listens on no address of that interface"
            return Path(place.address, place.index, BROADCAST_ADDRESS)
        source = _source_toward(upstream.address)
        place = next((place for place in self._listening if place.address == source), None)
        if place is None:
            why = "there is no route to it"
            if source is not None:
                why = f"from {IPv4Address(source)}, on which Kea does not listen"
            return f"upstream {IPv4Address(upstream.address)} can't be asked: {why}"
        return Path(place.address, place.index, upstream.address)


class Neighbours:
    """Tells whose requests are none of ours to obtain space for: see Shortages."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self._addresses = {upstream.address for upstream in upstreams}
        self._interfaces = [upstream.interface for upstream in upstreams if upstream.interface is not None]

    def __call__(self, packet: Inbound) -> bool:
        """Whether it came from a server that we ask, or was broadcast on a link on which we ask: those asked have heard it, too."""
        if packet.source in self._addresses:
            return True
        return packet.destination == BROADCAST_ADDRESS and packet.interface in map(_index, self._interfaces)


def is_local(address: int) -> bool:
    """Whether an address (host-order integer) is one of this machine's: then the kernel would send from it to it.

    Whether it lets one bind to it says less (`net.ipv4.ip_nonlocal_bind`).
    """
    return address != 0 and _source_toward(address) == address


def _index(interface: str) -> int:
    """Return the index of an interface, 0 where there is none of this name."""
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(interface)
    return 0


def _source_toward(address: int) -> int | None:
    """Return the address that the kernel would send from; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect((str(IPv4Address(address)), SERVER_PORT))
        except OSError:
            return None
        return int(IPv4Address(probe.getsockname()[0]))
