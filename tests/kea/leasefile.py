# SPDX-License-Identifier: MPL-2.0
"""Kea's own lease database (memfile) from outside: which client has which address, and whether one was ever given twice.

With `lfc-interval` 0, as in labs, the file is the whole history: a row each time a lease is made, renewed, ended or reclaimed.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from ci.labs.server import Server

ASSIGNED = 0  # state of a lease; others are declined, and expired and reclaimed


@dataclass(frozen=True, slots=True)
class Row:
    """What Kea wrote of an address: whose it is, from when until when (seconds since the epoch), in which subnet and state."""

    address: IPv4Address
    client: str
    since: int
    until: int
    subnet: int
    state: int

    @property
    def holds(self) -> bool:
        """Whether the client may use the address until then; a lease that was given back has a lifetime of 0."""
        return self.state == ASSIGNED and self.until > self.since


def history(server: Server) -> Iterator[Row]:
    """All rows, oldest first. What Kea has begun to write is not one yet."""
    text = (server.directory / "leases4.csv").read_text()
    for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
        until, lifetime = int(row["expire"]), int(row["valid_lifetime"])
        client = (row["client_id"] or row["hwaddr"]).replace(":", "")
        yield Row(
            IPv4Address(row["address"]), client, until - lifetime, until, int(row["subnet_id"]), int(row["state"])
        )


def leases(server: Server) -> dict[IPv4Address, Row]:
    """The leases that have not ended."""
    latest = {row.address: row for row in history(server)}
    now = time.time()
    return {address: row for address, row in latest.items() if row.holds and row.until > now}


def given_twice(server: Server) -> list[str]:
    """The addresses that were leased to a client while another one's lease of them had not ended."""
    holders: dict[IPv4Address, Row] = {}
    found = []
    for row in history(server):
        before = holders.get(row.address)
        if row.holds and before and before.holds and before.client != row.client and before.until > row.since:
            found.append(f"{row.address} of {before.client} until {before.until} to {row.client} at {row.since}")
        holders[row.address] = row
    return found
