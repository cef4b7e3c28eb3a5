# SPDX-License-Identifier: MPL-2.0
"""Serving hosts: networks grow and shrink by blocks while Kea runs, reserved subnets are served (seed FIG. 6, [0101-109], [0117]).

All state that matters is in the ledger and in Kea. A turn that fails half-way leaves both such that the next one goes on; what is
remembered here is only how things moved lately.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Final

from kea_subnet_deleg.ledger.networks import ReservedBlock, Served
from kea_subnet_deleg.policy.growth import NetworkTerms, Router
from kea_subnet_deleg.roles.network import LONGEST_STILLNESS, PACE, Network, NetworkStore, Surroundings
from kea_subnet_deleg.roles.serving import Journal, Serving
from kea_subnet_deleg.roles.subnets import ReservedTerms, Subnet, served_elsewhere, served_subnets
from kea_subnet_deleg.roles.usage import Asks, Usage, Watched, subnet_id

__all__ = ["Addressing", "NetworkStore", "NetworkTerms", "ReservedTerms", "Router"]

REREAD: Final = 30.0
"""Seconds until the ledger is read again of which nobody has told that it changed."""
LEASED_POOLS: Final = (None, "default", "upstream")
"""The pools that what upstreams lease to us may come into; None: of those without tags."""
PACE_RESERVED: Final = 5.0
"""Seconds between two looks where there are only reserved subnets; what becomes of them the ledger tells at once."""


class Addressing:
    """The networks and reserved subnets of one server.

    Parameters
    ----------
    own : container of int
        Our server identifiers (host-order integers).
    clock : callable
        Monotonic seconds.
    quarantine : int
        Seconds for which a withdrawn block is held back.

    Attributes
    ----------
    due : float
        When `turn` is to be called next, at the latest,
    tolerance, still_until : int or None, float
        unless not more addresses than this come and go (None: whatever they do): then not before that.
    lacking : frozenset of str or None
        The pools, as networks name them, of which nothing was free for one at the last turn.
    """

    def __init__(
        self,
        terms: Sequence[NetworkTerms],
        reserved: ReservedTerms,
        store: NetworkStore,
        kea: Asks,
        journal: Journal,
        own: Container[int],
        clock: Callable[[], float],
        quarantine: int,
    ) -> None:
        self._terms: Mapping[str, NetworkTerms] = {network.name: network for network in terms}
        self._reserved = reserved
        self._store = store
        self._own = own
        self._clock = clock
        self._usage = Usage(kea, clock)
        self._serving = Serving(list(self._terms), kea, journal, clock)
        surroundings = Surroundings(store, self._usage, self._serving, journal, clock, quarantine)
        self._networks = {network.name: Network(network, surroundings) for network in terms}
        self._known: Served | None = None  # what the ledger has, as far as we were told
        self._known_at = 0.0
        self.still_until = -math.inf
        self.tolerance: int | None = None
        self.due = clock()
        self.lacking: frozenset[str | None] = frozenset()

    def configured(self) -> Mapping[str, Any]:
        """Return the request `serve` from the ledger alone, for when Kea has just been configured. Raises LedgerUnavailable."""
        self._serving.forget()
        served = self._served()
        subnets = self._subnets(served)
        return self._serving.request(subnets, served_elsewhere(served, subnets))

    def turn(self, *, news: bool = True) -> tuple[int, ...]:
        """Measure, decide, act; return the prefix lengths of which nothing is free, to be asked for upstream.

        Not those that a network takes of another pool than the one that such space comes into.

        Kea has what was decided when this returns. Raises LedgerUnavailable, LedgerError, and what Kea's face raises when it does
        not answer; then it is to be called again.

        Parameters
        ----------
        news : bool
            Whether the ledger may have changed since the last turn (LISTEN tells). If not, there is little to do: what it has is known,
            and where hosts changed nothing either, nothing can come of a look.
        """
        now = self._clock()
        self.due = now + PACE
        if news:
            self._known = None  # also for the next turn, should this one fail
        elif self.tolerance is not None and now < self.still_until and self._usage.within(self.tolerance):
            self.lacking = frozenset()
            return ()
        self.tolerance = None
        served = self._as_told(now)
        subnets = self._serve(served)  # what other servers did meanwhile
        if self._tell_who_is_left(served.reserved, subnets):
            served = self._served()
        watched = self._watched(served, {int(subnet["id"]) for subnet in subnets})
        if watched or self._networks:
            self._usage.read(watched)
        if figures := self._usage.news():
            self._store.measured(figures)
            self._usage.told(figures)
        outcomes = {
            name: network.look_after([block for block in served.local if block.network == name])
            for name, network in self._networks.items()
            if name not in self._serving.unknown
        }
        if any(outcome.changed for outcome in outcomes.values()):
            self._serve(self._served())
        pace = PACE if self._networks else PACE_RESERVED
        waits = [
            max(PACE, block.rest - block.age)
            for block in served.reserved
            if block.ended and block.rest is not None and not block.pending
        ]
        self.due = now + min([outcome.pace for outcome in outcomes.values()] + waits, default=pace)
        tolerances = [outcome.tolerance for outcome in outcomes.values()]
        if tolerances and None not in tolerances:
            self.still_until = now + min([LONGEST_STILLNESS, *waits])
            self.tolerance = min(tolerance for tolerance in tolerances if tolerance is not None)
        missing = [(self._terms[name], outcome.missing) for name, outcome in outcomes.items() if outcome.missing]
        self.lacking = frozenset(terms.pool for terms, _ in missing)
        return tuple(
            terms.prefix_length for terms, number in missing for _ in range(number) if terms.pool in LEASED_POOLS
        )

    # ------------------------------------------------------------------------------------------------ what there is

    def _served(self) -> Served:
        """Read the ledger."""
        self._known = None
        # As old as it may be: a host's lease must not outlive its block because the answer was long on its way.
        self._known_at = self._clock()
        self._known = self._store.served(list(self._terms))
        return self._known.later(self._clock() - self._known_at)

    def _as_told(self, now: float) -> Served:
        """Return what the ledger has; read it only if that is not known."""
        if self._known is None or now - self._known_at >= REREAD:
            return self._served()
        return self._known.later(now - self._known_at)

    def _serve(self, served: Served) -> list[Subnet]:
        """Have Kea serve what is ours of this; return what that is."""
        subnets = self._subnets(served)
        self._serving.serve(subnets, served_elsewhere(served, subnets))
        return subnets

    def _subnets(self, served: Served) -> list[Subnet]:
        return served_subnets(self._terms, self._reserved, self._own, served)

    def _tell_who_is_left(self, reserved: Sequence[ReservedBlock], subnets: Sequence[Subnet]) -> bool:
        """Say how long hosts have addresses of what relays released, before Kea forgets them with the subnet; whether any was."""
        ours = [
            block.prefix
            for block in reserved
            if block.pending and (self._reserved.serve == "all" or block.server in self._own)
        ]
        if not ours:
            return False
        told = {int(subnet["id"]) for subnet in subnets} - set(self._serving.refused)
        ends = self._usage.lease_ends([prefix for prefix in ours if subnet_id(prefix) in told])
        self._store.left({prefix: ends.get(prefix, 0) for prefix in ours})
        return True

    def _watched(self, served: Served, told: Container[int]) -> list[Watched]:
        """Return the subnets whose usage Kea knows, of those that it was told to serve."""
        blocks = [
            Watched(block.prefix, block.network, block.in_use, block.unusable)
            for block in served.local
            if block.state == "local" and block.network not in self._serving.unknown
        ]
        blocks += [Watched(block.prefix, None) for block in served.reserved if not block.ended]
        return [
            block for block in blocks if (key := subnet_id(block.prefix)) in told and key not in self._serving.refused
        ]
