# SPDX-License-Identifier: MPL-2.0
"""The ledger as of some seconds ago: what policies decide by, and which pools there are."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from kea_subnet_deleg.ledger import Directory, Ledger, PoolTerms
from kea_subnet_deleg.policy import Holding, View

_NOTHING = Holding()


class _Snapshot:
    """One reading. Views are put together when they are first asked for."""

    def __init__(
        self,
        directory: Directory,
        everyone: Mapping[int, Holding],
        free: Mapping[int, Mapping[int, int]],
        figures: bool = True,
    ) -> None:
        self.directory = directory
        self.figures = figures
        self._everyone = everyone
        self._free = free
        self._views: dict[tuple[int, tuple[int, ...]], View] = {}

    def view(self, space: int, pools: tuple[PoolTerms, ...]) -> View:
        key = (space, tuple([pool.number for pool in pools]))
        view = self._views.get(key)
        if view is None:
            free: dict[int, int] = defaultdict(int)
            for pool in pools:
                for length, blocks in self._free.get(pool.number, {}).items():
                    free[length] += blocks
            view = self._views[key] = View(
                self._everyone.get(space, _NOTHING),
                dict(free),
                sum(pool.size for pool in pools),
            )
        return view


class LedgerViews:
    """Implements roles.delegating.Views. Read by the workers while the timers replace it whole, as long as anybody asks for subnets.

    When nobody did between two readings, the timers stop to read, and what was read counts no longer: who asks next has it read first.

    Parameters
    ----------
    wanted : callable
        Whether anybody decides by figures, with these pools; where not, they are not read, which costs less.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self, wanted: Callable[[Directory], bool] = lambda _: True, clock: Callable[[], float] = time.time
    ) -> None:
        self._wanted = wanted
        self._clock = clock
        self._snapshot = _Snapshot(Directory(), {}, {})
        self._as_of: float | None = None
        self._asked = True

    @property
    def as_of(self) -> float | None:
        """When the figures were read last, in seconds since 1970; None where they are to be read before they are used."""
        return self._as_of

    def freshen(self, ledger: Ledger) -> bool:
        """See to it that they can be used, and go on to be read. Returns whether they had to be read.

        Raises LedgerUnavailable, LedgerError.
        """
        self._asked = True
        if self._as_of is not None:
            return False
        self.read(ledger)
        return True

    def keep(self, ledger: Ledger) -> bool:
        """Read all anew, if anybody has asked for subnets since the last call. Returns whether `as_of` is another now.

        Raises LedgerUnavailable, LedgerError.
        """
        asked, self._asked = self._asked, False
        if asked:
            self.read(ledger)
            return True
        lapsed, self._as_of = self._as_of is not None, None
        return lapsed

    @property
    def directory(self) -> Directory:
        """Spaces, pools and servers as last read."""
        return self._snapshot.directory

    def view(self, space: int, pools: tuple[PoolTerms, ...]) -> View:
        """Return what was last read about a space and some of its pools."""
        return self._snapshot.view(space, pools)

    @property
    def figures(self) -> bool:
        """Whether anybody decides by figures, so that those of who asks are to be read."""
        return self._snapshot.figures

    def read(self, ledger: Ledger) -> None:
        """Read all anew: the figures only where a policy looks at them. Raises LedgerUnavailable, LedgerError."""
        began = self._clock()
        directory = ledger.directory()
        if not self._wanted(directory):
            self._snapshot = _Snapshot(directory, {}, {}, figures=False)
            self._as_of = began
            return
        everyone = {space: Holding(held, used) for space, held, used in ledger.totals()}
        free: dict[int, dict[int, int]] = defaultdict(dict)
        for _, pool, prefix_length, blocks in ledger.free_by_length():
            free[pool][prefix_length] = blocks
        self._snapshot = _Snapshot(directory, everyone, free)
        self._as_of = began
