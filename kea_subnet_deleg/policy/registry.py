# SPDX-License-Identifier: MPL-2.0
"""Policies by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kea_subnet_deleg.policy.best_fit import BestFit
from kea_subnet_deleg.policy.proportional import Proportional
from kea_subnet_deleg.policy.protocol import Policy

ENTRY_POINT_GROUP: Final = "kea_subnet_deleg.policies"
"""The group of Python entry points under which an operator's own policies are found; each is called without arguments."""

BUILT_IN: Final[Mapping[str, Callable[[], Policy]]] = {"best-fit": BestFit, "proportional": Proportional}


class UnknownPolicy(ValueError):
    """No policy has the name, or two have; the text names the policy and what is allowed."""


def policy_named(name: str, extra: Mapping[str, Callable[[], Policy]]) -> Policy:
    """Return the policy called `name`, one of ours or of `extra`, which are the operator's own.

    Raises UnknownPolicy: nothing is called so, or one of `extra` has a name of ours. What making the policy raises passes through.
    """
    if name in BUILT_IN and name in extra:
        raise UnknownPolicy(
            f'policy: "{name}": built in, and an entry point of {ENTRY_POINT_GROUP} has the same name; call that one otherwise'
        )
    make = BUILT_IN.get(name) or extra.get(name)
    if make is None:
        allowed = ", ".join(f'"{known}"' for known in sorted(BUILT_IN.keys() | extra.keys()))
        raise UnknownPolicy(f'policy: "{name}": no such policy; allowed is one of {allowed}')
    return make()
