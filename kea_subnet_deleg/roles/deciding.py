# SPDX-License-Identifier: MPL-2.0
"""Who decides about a request, by which figures, within which sizes; and what was decided (seed [0060-72], [0115-120], [0140])."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from kea_subnet_deleg.ledger import Directory, PoolTerms, Size
from kea_subnet_deleg.policy import (
    BestFit,
    Holding,
    Lessee,
    Limits,
    Policy,
    Refusal,
    RenewalVerdict,
    Reported,
    View,
    Wish,
)
from kea_subnet_deleg.roles.shortages import Shortages
from kea_subnet_deleg.wire import SubnetRequest

DECISIONS_KEPT: Final = 1000
"""Decisions of a policy that are kept for others who come with the same, while the view of the space is the same."""


class Views(Protocol):
    """The ledger as of some seconds ago: what to decide by."""

    @property
    def directory(self) -> Directory:
        """Spaces, pools and servers."""

    def view(self, space: int, pools: tuple[PoolTerms, ...]) -> View:
        """Return what all lessees of a space hold and use, and what is free of some pools."""

    @property
    def figures(self) -> bool:
        """Whether any policy in use decides by figures."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms we lease, where a pool says nothing else. Times in seconds, sizes as prefix lengths.

    A client may ask for a lease between the shortest and the longest. `hierarchical`: whether the lessee allocates from the subnet
    (flag h) or relays to us; None as the client asks. `policy` is a name.
    """

    lease_time: int
    shortest_lease: int
    longest_lease: int
    offer_hold: int
    quarantine: int
    limits: Limits
    policy: str
    hierarchical: bool | None = None
    max_blocks: int | None = None
    max_addresses: int | None = None

    def clamp(self, asked: int | None) -> int | None:
        """Return the lease time a client asked for (option 51), within our limits."""
        return None if asked is None else min(max(asked, self.shortest_lease), self.longest_lease)


class Choice(NamedTuple):
    """Who decides about a pool, within which sizes; and whether by what the lessee holds, whoever it is."""

    policy: Policy
    limits: Limits
    pool: PoolTerms
    by_holding: bool


class _Decided:
    """What was decided by one view of the space and one policy, for who comes with the same wish and the same holding.

    Newcomers, who hold nothing, come by thousands.
    """

    __slots__ = ("choice", "pushes", "sizes", "view")

    def __init__(self, view: View, choice: Choice) -> None:
        self.view = view
        self.choice = choice
        self.sizes: dict[tuple[int, int, bool, int, int], Size] = {}
        self.pushes: dict[tuple[int, int, int], bool] = {}


class Deciding:
    """The policies at work, for one thread."""

    def __init__(self, terms: Terms, policies: Mapping[str, Policy], views: Views, shortages: Shortages) -> None:
        self._terms = terms
        self._policies = policies
        self._views = views
        self._shortages = shortages
        self._choices: dict[int, Choice] = {}
        self._unlimited: tuple[View, View] | None = None
        self._last = _Decided(View(), Choice(BestFit(), terms.limits, PoolTerms(0, 0, ""), False))

    def choice(self, pool: PoolTerms) -> Choice:
        """Return the policy and the sizes of a pool, where it has its own."""
        choice = self._choices.get(pool.number)
        if choice is None or choice.pool is not pool:
            limits = Limits(
                pool.default_length or self._terms.limits.default,
                pool.largest_length or self._terms.limits.largest,
                pool.smallest_length or self._terms.limits.smallest,
            )
            # A pool's policy that this server lacks (an entry point installed elsewhere) must not leave its clients unserved.
            policy = self._policies.get(pool.policy or self._terms.policy) or self._policies[self._terms.policy]
            # What the class was made from promises nothing for it.
            by_holding = vars(type(policy)).get("by_holding") is True
            choice = self._choices[pool.number] = Choice(policy, limits, pool, by_holding)
        return choice

    def view(self, space: int, pools: tuple[PoolTerms, ...]) -> View:
        """Return what to decide by.

        A server that obtains space as it is asked for has little that is free, ever. As long as its upstreams give, that is no
        scarcity: how much there is counts as not known. Nor is it known of a ledger that was restored.
        """
        view = self._views.view(space, pools)
        if not self._views.directory.restored:
            if self._shortages.refused:
                return view
            for pool in pools:
                if pool.leased:
                    break
            else:
                return view
        if self._unlimited is None or self._unlimited[0] is not view:
            self._unlimited = view, replace(view, size=0)
        return self._unlimited[1]

    def size(self, slot: int, request: SubnetRequest, lessee: Lessee, choice: Choice, view: View) -> Size | Refusal:
        """Return what the policy gives for one Subnet-Request, or why it gives nothing."""
        if not choice.by_holding:
            return self._grant(slot, request, lessee, choice, view)
        sizes = self._decided(view, choice).sizes
        held, used = lessee.holding.held, lessee.holding.used
        key = (slot, request.prefix_length, request.hierarchical, held, used)
        size = sizes.get(key)
        if size is not None:
            return size
        decision = self._grant(slot, request, lessee, choice, view)
        if isinstance(decision, Size) and len(sizes) < DECISIONS_KEPT:
            sizes[key] = decision
        return decision

    def sizes(
        self, requests: Sequence[SubnetRequest], lessee: Lessee, choice: Choice, view: View
    ) -> list[Size | Refusal]:
        """Return the same for each of several in one message: what the ones before it get counts as held, and is free no more.

        Else who asks for eight blocks at once would get what it would not if it asked eight times.
        """
        decided: list[Size | Refusal] = []
        for slot, request in enumerate(requests):
            size = self._grant(slot, request, lessee, choice, view)
            decided.append(size)
            if isinstance(size, Size):
                held, used = lessee.holding.held + (1 << 32 - size.wanted), lessee.holding.used
                lessee, view = Lessee(lessee.identity, Holding(held, used)), view.without(size.wanted)
        return decided

    def pushes(self, identity: bytes, pool: PoolTerms, granted: int, held: int, used: int) -> bool:
        """Whether an ACK for so many addresses tells the client to ask for more (seed [0072]), by what else it holds and uses."""
        choice, view = self.choice(pool), self.view(pool.space, (pool,))
        pushes = self._decided(view, choice).pushes if choice.by_holding else {}
        push = pushes.get((granted, held, used))
        if push is None:
            # Compiled, nothing else is taken for a bool; a policy of somebody else's may be less strict.
            push = bool(choice.policy.push(Lessee(identity, Holding(held, used)), granted, view, choice.limits))
            if len(pushes) < DECISIONS_KEPT:
                pushes[granted, held, used] = push
        return push

    def verdict(self, space: int, lessee: Lessee, network: int, reported: Reported) -> RenewalVerdict:
        """Return what becomes of a block at its renewal; `network`: where it begins, a host-order integer."""
        pool = self._views.directory.pool_of(space, network, reported.prefix_length)
        if pool is None:
            policy, limits, pools = self._policies[self._terms.policy], self._terms.limits, tuple[PoolTerms, ...]()
        else:
            policy, limits, pools = *self.choice(pool)[:2], (pool,)
        return policy.renew(reported, lessee, self.view(space, pools), limits)

    def asks_what_is_held(self, pool: PoolTerms | None) -> bool:
        """Whether what a lessee holds matters for what its ACK says: best fit never has a client ask for more."""
        policy = self._policies[self._terms.policy] if pool is None else self.choice(pool).policy
        return not isinstance(policy, BestFit)

    def _decided(self, view: View, choice: Choice) -> _Decided:
        last = self._last
        if last.view is not view or last.choice is not choice:
            last = self._last = _Decided(view, choice)
        return last

    def _grant(self, slot: int, request: SubnetRequest, lessee: Lessee, choice: Choice, view: View) -> Size | Refusal:
        decision = choice.policy.grant(Wish(request.prefix_length), lessee, view, choice.limits)
        if isinstance(decision, Refusal):
            return decision
        numbers = decision.numbers
        if decision.push and (numbers is None or "push" not in numbers):
            numbers = {**(numbers or {}), "push": "yes"}
        hierarchical = request.hierarchical if self._terms.hierarchical is None else self._terms.hierarchical
        return Size(slot, decision.prefix_length, decision.longest, hierarchical, decision.reason, numbers or None)
