# SPDX-License-Identifier: MPL-2.0
"""What could not be given: noted where requests are answered, looked after where time is (seed [0105], [0113])."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from kea_subnet_deleg.roles.packets import Inbound

PATIENCE: Final = 8.0
"""Seconds that a request is kept for which there was nothing. Its sender asks again after 4 s, and then after 8 (RFC 2131 4.1)."""
MOST_KEPT: Final = 256
"""Requests kept at most, and clients whose want is remembered; one for each client."""
MEMORY: Final = 64.0
"""Seconds that a client's want counts among those of others: that often at least it asks again (RFC 2131 4.1)."""
MOST_POSTPONED: Final = 4096
"""Renewals kept at most; who sent one that is dropped sends it again."""


_Pools = tuple[int, tuple[int, ...]]
"""A space, and pools of it."""


class Shortage(NamedTuple):
    """So many addresses are wanted of some pools of a space, by all together, and nothing that fits was free."""

    space: int
    pools: tuple[int, ...]
    addresses: int


OURSELVES: Final = b""
"""Who wants what networks of our own lack; no client has this identity."""


class _Want(NamedTuple):
    """So many addresses one client was not given, and when."""

    addresses: int
    since: float


class _Unserved(NamedTuple):
    """A request for which there was nothing, and the prefix lengths it asks for."""

    packet: Inbound
    lengths: tuple[int, ...]
    since: float


class Shortages:
    """Shortages since the last look, for use by several threads.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    changed : callable
        Called when a request was kept.
    noted : callable
        Called when there is a shortage to be looked after that was not.
    is_peers : callable
        Whether a request is of a server that we ask ourselves, or was heard by those that we ask. Nothing is obtained for these: who is
        asked by us asks others itself, and two that ask on each other's behalf would never come to an end (seed [0053]).
    keeps : bool
        Whether requests are kept, to be answered when space was obtained: not where nobody is asked for any.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[], None] = lambda: None,
        is_peers: Callable[[Inbound], bool] = lambda _: False,
        *,
        keeps: bool = True,
        noted: Callable[[], None] = lambda: None,
    ) -> None:
        self._lock = threading.Lock()
        self._wants: dict[_Pools, dict[bytes, _Want]] = {}
        self._noted: dict[_Pools, None] = {}  # in the order that they came
        self._clock = clock
        self._keeps = keeps
        self._changed = changed
        self._was_noted = noted
        self._is_peers = is_peers
        self._unserved: dict[bytes, _Unserved] = {}
        self._postponed: list[Inbound] = []
        self.own: frozenset[str | None] = frozenset()
        """Of which pools this server lacks space for its own networks, None for those without tags: it gives none of these away then
        (seed [0105])."""
        self.refused = False
        """Whether upstreams gave nothing when they were asked last: there is no more space than is here."""

    def __bool__(self) -> bool:
        """Whether there was one since the last look."""
        return bool(self._noted)

    @property
    def remembered(self) -> bool:
        """Whether anybody's want is remembered."""
        return bool(self._wants)

    def note(self, space: int, pools: tuple[int, ...], addresses: int, who: bytes = OURSELVES) -> None:
        """Remember that somebody was not given so many addresses. What it asked last counts: it asks again while it gets nothing."""
        with self._lock:
            wants = self._wants.setdefault((space, pools), {})
            if who in wants or len(wants) < MOST_KEPT:
                wants[who] = _Want(addresses, self._clock())
            first = (space, pools) not in self._noted
            self._noted[space, pools] = None
        if first:
            self._was_noted()

    def again(self, shortage: Shortage) -> None:
        """Have one that was taken returned by the next call, too."""
        with self._lock:
            self._noted[shortage.space, shortage.pools] = None

    def served(self, who: bytes) -> None:
        """Forget what somebody wanted."""
        with self._lock:
            for key, wants in tuple(self._wants.items()):
                wants.pop(who, None)
                if not wants:
                    del self._wants[key]

    def take(self) -> list[Shortage]:
        """Return those of what was asked for since the last call, each with all that is wanted of these pools.

        Another server of the domain may have served some of those meanwhile: then it is too much, for a minute.
        """
        oldest = self._clock() - MEMORY
        with self._lock:
            noted, self._noted = self._noted, {}
            self._wants = {
                key: left
                for key, wants in self._wants.items()
                if (left := {who: want for who, want in wants.items() if want.since >= oldest})
            }
            return [
                Shortage(*key, sum(want.addresses for want in self._wants[key].values()))
                for key in noted
                if key in self._wants
            ]

    def keep(self, identity: bytes, packet: Inbound, lengths: Sequence[int]) -> None:
        """Keep a client's request, its latest alone, until there is space for it or its time is over."""
        if not self._keeps or not lengths or self._is_peers(packet):
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
        if not self._unserved:
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
