# SPDX-License-Identifier: MPL-2.0
"""Messages of clients as operations on the ledger, with the values that a test does not care about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from kea_subnet_deleg.ledger import (
    Accept,
    Ledger,
    Listing,
    Offer,
    Operation,
    Outcome,
    Reclaim,
    Release,
    Renew,
    Renewal,
    Result,
    Size,
)

SERVER = 0x0A000001
OTHER_SERVER = 0x0A000002
FOREIGN_SERVER = 0x0A0000FE
DAY = 86400


@dataclass(frozen=True, slots=True)
class Client:
    """One client; each method is a message of it."""

    identity: bytes

    @classmethod
    def number(cls, n: int) -> Client:
        """Return a client with an Ethernet address made of `n`."""
        return cls(b"\1\2" + n.to_bytes(5, "big"))

    def offer(
        self, xid: int, *lengths: int, lease_time: int = DAY, hold: int = 60, server: int = SERVER, longest: int = 30
    ) -> Offer:
        sizes = tuple(Size(slot, length, longest, True, "test") for slot, length in enumerate(lengths))
        return Offer(0, self.identity, xid, 0x0A0000C8, server, lease_time, hold, sizes)

    def accept(self, xid: int, *blocks: str, server: int = SERVER) -> Accept:
        return Accept(0, self.identity, xid, server, tuple((IPv4Network(block), True) for block in blocks))

    def renew(
        self,
        *blocks: str,
        verdict: str = "full",
        lease_time: int = DAY,
        usage: tuple[int | None, int | None, int | None] = (None, None, None),
        quarantine: int = 60,
    ) -> Renew:
        items = tuple(Renewal(block, verdict, lease_time, *usage, "test") for block in blocks)
        return Renew(0, self.identity, 0, SERVER, quarantine, items)

    def release(self, *blocks: str, named: int | None = None, quarantine: int = 60) -> Release:
        return Release(0, self.identity, 0, named, quarantine, tuple(map(IPv4Network, blocks)))

    def reclaim(self, xid: int, named: int = FOREIGN_SERVER) -> Reclaim:
        return Reclaim(0, self.identity, xid, named)

    def listing(self, after: str | None = None, limit: int = 100) -> Listing:
        return Listing(0, self.identity, 0, None if after is None else IPv4Network(after), limit)


def do(ledger: Ledger, *operations: Operation) -> list[Outcome]:
    """Apply a batch of which nothing fails."""
    outcomes = ledger.apply(operations)
    assert all(isinstance(outcome, Outcome) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Outcome)]


def one(ledger: Ledger, operation: Operation) -> Outcome:
    """Apply one operation that does not fail."""
    return do(ledger, operation)[0]


def prefixes(outcome: Outcome) -> list[str]:
    return [str(granted.prefix) for granted in outcome.blocks]


def lease(ledger: Ledger, client: Client, xid: int, *lengths: int, lease_time: int = DAY) -> list[str]:
    """Take a client through DISCOVER and REQUEST and return its blocks."""
    offered = prefixes(one(ledger, client.offer(xid, *lengths, lease_time=lease_time)))
    outcome = one(ledger, client.accept(xid, *offered))
    assert outcome.result is Result.ACKNOWLEDGED
    return prefixes(outcome)


def results(outcomes: Sequence[Outcome]) -> list[Result]:
    return [outcome.result for outcome in outcomes]
