# SPDX-License-Identifier: MPL-2.0
"""Who gets how much: values in, decisions with their reasons out.

Pure and deterministic: no I/O, no clock, nothing of the rest of the project. A policy decides; that what it decides is still
to be had is the ledger's business, so the figures a policy sees may be some seconds old.
"""

from kea_subnet_deleg.policy.best_fit import BestFit
from kea_subnet_deleg.policy.protocol import (
    Grant,
    Holding,
    Lessee,
    Policy,
    Refusal,
    RenewalVerdict,
    Reported,
    Verdict,
    View,
    Wish,
)

__all__ = [
    "BestFit",
    "Grant",
    "Holding",
    "Lessee",
    "Policy",
    "Refusal",
    "RenewalVerdict",
    "Reported",
    "Verdict",
    "View",
    "Wish",
]
