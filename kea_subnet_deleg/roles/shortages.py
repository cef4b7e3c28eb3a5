# SPDX-License-Identifier: MPL-2.0
"""What could not be given: noted where requests are answered, looked after where time is (seed [0105], [0113])."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Sequence
from typing import Final, NamedTuple

from kea_subnet_deleg.roles.packets import Inbound

PATIENCE: Final = 8.0
"""Seconds that a request is kept for which there was nothing. Its sender asks again after 4 s, and then after 8 (RFC 2131 4.1)."""
MOST_KEPT: Final = 256
"""Requests kept at most; one for each client."""
MOST_POSTPONED: Final = 4096
"""Renewals kept at most; who sent one that is dropped sends it again."""


class Shortage(NamedTuple):
    """So many addresses were wanted of some pools of a space, and nothing that fits was free."""

    space: int
    pools: tuple[int, ...]
    addresses: int


class _Unserved(NamedTuple):
    """A request for which there was nothing, and the prefix lengths it asks for."""

    packet: Inbound
    lengths: tuple[int, ...]
    since: float


class Shortages:
    """Shortages since the last look, for use by several threads.

    Parameters
    ----------
    clock : callable, optional
        Monotonic seconds. With it, requests are kept, to be answered when space was obtained; without, nobody is asked for any.
    changed : callable
        Called when a request was kept.
    peers : collection of int
        Addresses of the servers that we ask ourselves. Nothing is obtained for these: who is asked by us asks others itself, and two
        that ask on each other's behalf would never come to an end (seed [0053]).
    """

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        changed: Callable[[], None] = lambda: None,
        peers: Container[int] = (),
    ) -> None:
        self._lock = threading.Lock()
        self._wanted: dict[tuple[int, tuple[int, ...]], int] = {}
        self._clock = clock
        self._changed = changed
        self._peers = peers
        self._unserved: dict[bytes, _Unserved] = {}
        self._postponed: list[Inbound] = []
        self.own = False
        """Whether this server lacks space for its own networks: it gives none away then (seed [0105])."""
        self.refused = False
        """Whether upstreams gave nothing when they were asked last: there is no more space than is here."""

    def __bool__(self) -> bool:
        """Whether there was one since the last look."""
        return bool(self._wanted)

    def note(self, space: int, pools: tuple[int, ...], addresses: int) -> None:
        """Remember one. Of several about the same pools the largest counts: clients ask again while they get nothing."""
        with self._lock:
            key = (space, pools)
            self._wanted[key] = max(addresses, self._wanted.get(key, 0))

    def take(self) -> list[Shortage]:
        """Return what was noted since the last call."""
        with self._lock:
            wanted, self._wanted = self._wanted, {}
        return [Shortage(space, pools, addresses) for (space, pools), addresses in wanted.items()]

    def keep(self, identity: bytes, packet: Inbound, lengths: Sequence[int]) -> None:
        """Keep a client's request, its latest alone, until there is space for it or its time is over."""
        if self._clock is None or not lengths or packet.source in self._peers:
            return
        with self._lock:
            if identity not in self._unserved and len(self._unserved) >= MOST_KEPT:
                return
            self._unserved[identity] = _Unserved(packet, tuple(lengths), self._clock())
        self._changed()

    def postpone(self, packet: Inbound) -> None:
        """Keep a renewal until our own lease on the space was renewed, or could not be."""
        with self._lock:
            self._postponed += [packet][: MOST_POSTPONED - len(self._postponed)]
        self._changed()

    @property
    def has_postponed(self) -> bool:
        """Whether renewals wait."""
        return bool(self._postponed)

    def postponed(self) -> list[Inbound]:
        """Return the renewals that wait, and keep them no longer."""
        with self._lock:
            postponed, self._postponed = self._postponed, []
        return postponed

    def lacking(self) -> tuple[int, ...]:
        """Return the prefix lengths that clients wait for, the largest blocks first."""
        if not self._unserved or self._clock is None:
            return ()
        oldest = self._clock() - PATIENCE
        with self._lock:
            self._unserved = {who: kept for who, kept in self._unserved.items() if kept.since >= oldest}
            return tuple(sorted(length for kept in self._unserved.values() for length in kept.lengths))

    def kept(self) -> list[Inbound]:
        """Return the requests that were kept, and keep them no longer."""
        with self._lock:
            unserved, self._unserved = self._unserved, {}
        return [kept.packet for kept in unserved.values()]
