# SPDX-License-Identifier: MPL-2.0
"""Messages of clients as operations on the ledger, with the values that a test does not care about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import psycopg

from kea_subnet_deleg.ledger import (
    Accept,
    Contact,
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
    Wanted,
)
from kea_subnet_deleg.ledger._files import QUERIES
from kea_subnet_deleg.ledger.operations import batch_to_array

SERVER = 0x0A000001
OTHER_SERVER = 0x0A000002
FOREIGN_SERVER = 0x0A0000FE
DAY = 86400


ANY_POOL = tuple(range(1, 17))
"""All pools that a test may have made; the ledger ignores those that are not there."""
CONTACT = Contact(0x0A0000C8, 67, True, b"\1\2\0\0\0\0\1")


@dataclass(frozen=True, slots=True)
class Client:
    """One client; each method is a message of it."""

    identity: bytes
    space: int = 0
    contact: Contact = CONTACT

    @classmethod
    def number(cls, n: int, space: int = 0, nonce: bytes | None = None) -> Client:
        """Return a client with an Ethernet address made of `n`."""
        identity = b"\1\2" + n.to_bytes(5, "big")
        return cls(identity, space, CONTACT._replace(hardware=identity, nonce=nonce))

    def offer(
        self,
        xid: int,
        *lengths: int,
        lease_time: int = DAY,
        asked: int | None = None,
        hold: int = 60,
        server: int = SERVER,
        longest: int = 30,
        pools: tuple[int, ...] = ANY_POOL,
        max_blocks: int | None = None,
        max_addresses: int | None = None,
        named: str | None = None,
        push: bool = False,
    ) -> Offer:
        detail = {"push": "yes"} if push else None
        sizes = tuple(
            Size(slot, length, longest, True, "test", detail, named if slot == 0 else None)
            for slot, length in enumerate(lengths)
        )
        return Offer(
            self.space,
            self.identity,
            xid,
            server,
            self.contact,
            lease_time,
            asked,
            hold,
            pools,
            max_blocks,
            max_addresses,
            sizes,
        )

    def accept(self, xid: int, *blocks: str, server: int = SERVER, more: bool = False) -> Accept:
        wanted = tuple(Wanted.of(IPv4Network(block), True, more) for block in blocks)
        return Accept(self.space, self.identity, xid, server, self.contact, wanted)

    def renew(
        self,
        *blocks: str,
        verdict: str = "full",
        lease_time: int = DAY,
        asked: int | None = None,
        usage: tuple[int | None, int | None, int | None] = (None, None, None),
        quarantine: int = 60,
        server: int = SERVER,
    ) -> Renew:
        items = tuple(Renewal(block, verdict, asked, *usage, "test") for block in blocks)
        return Renew(self.space, self.identity, 0, server, self.contact, lease_time, quarantine, items)

    def release(self, *blocks: str, named: int | None = None, quarantine: int = 60) -> Release:
        return Release(self.space, self.identity, 0, named, quarantine, tuple(map(IPv4Network, blocks)))

    def reclaim(self, xid: int, named: int = FOREIGN_SERVER) -> Reclaim:
        return Reclaim(self.space, self.identity, xid, named)

    def listing(self, after: str | None = None, limit: int = 100) -> Listing:
        return Listing(self.space, self.identity, 0, None if after is None else IPv4Network(after), limit)


def say(connection: psycopg.Connection[Any], *operations: Operation) -> None:
    """Apply a batch by a connection that a test has of its own, in its transaction."""
    connection.execute(QUERIES["apply"], {"batch": batch_to_array(operations)})


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
