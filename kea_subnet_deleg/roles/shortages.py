# SPDX-License-Identifier: MPL-2.0
"""What could not be given: noted where requests are answered, looked after where time is (seed [0105], [0113])."""

from __future__ import annotations

import threading
from typing import NamedTuple


class Shortage(NamedTuple):
    """So many addresses were wanted of some pools of a space, and nothing that fits was free."""

    space: int
    pools: tuple[int, ...]
    addresses: int


class Shortages:
    """Shortages since the last look, for use by two threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: dict[tuple[int, tuple[int, ...]], int] = {}

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
