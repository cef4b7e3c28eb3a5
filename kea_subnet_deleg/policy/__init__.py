# SPDX-License-Identifier: MPL-2.0
"""Who gets how much: values in, decisions with their reasons out.

Pure and deterministic: no I/O, no clock, nothing of the rest of the project. A policy decides; that what it decides is still
to be had is the ledger's business, so the figures a policy sees may be some seconds old.
"""

from kea_subnet_deleg.policy.best_fit import BestFit
from kea_subnet_deleg.policy.proportional import Proportional, Thresholds
from kea_subnet_deleg.policy.protocol import (
    Grant,
    Holding,
    Lessee,
    Limits,
    Numbers,
    Policy,
    Refusal,
    RenewalVerdict,
    Reported,
    Verdict,
    View,
    Wish,
)
from kea_subnet_deleg.policy.registry import BUILT_IN, ENTRY_POINT_GROUP, UnknownPolicy, policy_named

__all__ = [
    "BUILT_IN",
    "ENTRY_POINT_GROUP",
    "BestFit",
    "Grant",
    "Holding",
    "Lessee",
    "Limits",
    "Numbers",
    "Policy",
    "Proportional",
    "Refusal",
    "RenewalVerdict",
    "Reported",
    "Thresholds",
    "UnknownPolicy",
    "Verdict",
    "View",
    "Wish",
    "policy_named",
]
