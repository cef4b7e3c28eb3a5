# SPDX-License-Identifier: MPL-2.0
"""The totals that policies decide by, read from the ledger every few seconds."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from kea_subnet_deleg.ledger import Ledger
from kea_subnet_deleg.policy import Holding, View

_NOTHING = Holding()
_EMPTY = View()


class _Snapshot(NamedTuple):
    views: dict[int, View]
    holdings: dict[tuple[int, bytes], Holding]


class LedgerViews:
    """Implements roles.delegating.Views. Read by the worker while the timers replace it whole."""

    def __init__(self) -> None:
        self._snapshot = _Snapshot({}, {})

    def view(self, space: int) -> View:
        """Return what was last read about a space."""
        return self._snapshot.views.get(space, _EMPTY)

    def holding(self, space: int, identity: bytes) -> Holding:
        """Return what was last read about a lessee."""
        return self._snapshot.holdings.get((space, identity), _NOTHING)

    def read(self, ledger: Ledger) -> None:
        """Read all anew. Raises LedgerUnavailable, LedgerError."""
        holdings: dict[tuple[int, bytes], Holding] = {}
        held: dict[int, int] = defaultdict(int)
        used: dict[int, int] = defaultdict(int)
        for space, identity, lessee_held, lessee_used in ledger.totals():
            holdings[space, identity] = Holding(lessee_held, lessee_used)
            held[space] += lessee_held
            used[space] += lessee_used
        free: dict[int, dict[int, int]] = defaultdict(dict)
        for space, prefix_length, blocks in ledger.free_by_length():
            free[space][prefix_length] = blocks
        views = {
            space: View(Holding(held[space], used[space]), dict(free[space])) for space in held.keys() | free.keys()
        }
        self._snapshot = _Snapshot(views, holdings)
