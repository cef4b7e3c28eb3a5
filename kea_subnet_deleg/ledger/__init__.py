# SPDX-License-Identifier: MPL-2.0
"""The subnet ledger: all SQL of the project, and the only import of psycopg.

One method is one transaction and one round trip. The queries are in queries.sql, the schema and everything that must be
atomic in schema.sql, the invariants in both.
"""

from kea_subnet_deleg.ledger.admin import Admin, Pool, Violation
from kea_subnet_deleg.ledger.directory import Directory, PoolTerms, Selector
from kea_subnet_deleg.ledger.ledger import (
    NETWORKS,
    SWEEP,
    ForceRenew,
    Ledger,
    LedgerError,
    LedgerUnavailable,
    LedgerUnusable,
    Swept,
)
from kea_subnet_deleg.ledger.networks import LocalBlock, Measured, Networks, ReservedBlock, Served
from kea_subnet_deleg.ledger.operations import (
    Accept,
    Contact,
    Granted,
    Listing,
    Note,
    Offer,
    Operation,
    OperationFailed,
    Outcome,
    Reclaim,
    Release,
    Renew,
    Renewal,
    Result,
    Size,
    Wanted,
    cidr,
)
from kea_subnet_deleg.ledger.upstreams import Due, Kept, Leased, Phase, Upstreams

__all__ = [
    "NETWORKS",
    "SWEEP",
    "Accept",
    "Admin",
    "Contact",
    "Directory",
    "Due",
    "ForceRenew",
    "Granted",
    "Kept",
    "Leased",
    "Ledger",
    "LedgerError",
    "LedgerUnavailable",
    "LedgerUnusable",
    "Listing",
    "LocalBlock",
    "Measured",
    "Networks",
    "Note",
    "Offer",
    "Operation",
    "OperationFailed",
    "Outcome",
    "Phase",
    "Pool",
    "PoolTerms",
    "Reclaim",
    "Release",
    "Renew",
    "Renewal",
    "ReservedBlock",
    "Result",
    "Selector",
    "Served",
    "Size",
    "Swept",
    "Upstreams",
    "Violation",
    "Wanted",
    "cidr",
]
