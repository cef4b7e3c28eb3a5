# SPDX-License-Identifier: MPL-2.0
"""The policies that can be named: our own, and those that are installed as Python entry points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points

from kea_subnet_deleg.policy import Policy, Proportional, Thresholds
from kea_subnet_deleg.policy.registry import BUILT_IN, ENTRY_POINT_GROUP, policy_named


def known_policies() -> frozenset[str]:
    """Return the names that a policy may be called by."""
    return frozenset(BUILT_IN) | frozenset(_installed())


def make_policies(thresholds: Thresholds) -> dict[str, Policy]:
    """Return every policy by its name. Raises whatever loading an operator's own policy raises."""
    installed = _installed()
    policies = {name: policy_named(name, installed) for name in known_policies()}
    policies["proportional"] = Proportional(thresholds)
    return policies


def policy_fault(name: str) -> str | None:
    """Return what is wrong with the name of a policy, None if nothing is."""
    known = known_policies()
    return None if name in known else f"no such policy; allowed is one of {', '.join(sorted(known))}"


def _installed() -> Mapping[str, Callable[[], Policy]]:
    """Return how to make the policies that are installed under the group of entry points."""

    def maker(point: EntryPoint) -> Callable[[], Policy]:
        def make() -> Policy:
            policy: Policy = point.load()()
            return policy

        return make

    return {point.name: maker(point) for point in entry_points(group=ENTRY_POINT_GROUP)}
