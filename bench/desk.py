# SPDX-License-Identifier: MPL-2.0
"""The delegating side without its packets: the policy, the figures it decides by and the ledger, put together as in a server.

What is measured by it is decisions, not speed: PostgreSQL does not wait for the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Final, NamedTuple, Self

import psycopg
from ci.labs import Lab
from ci.labs.lab import DATABASE
from kea_subnet_deleg.ledger import (
    Accept,
    Contact,
    ForceRenew,
    Ledger,
    Offer,
    Operation,
    OperationFailed,
    Outcome,
    Release,
    Renew,
    Renewal,
    Result,
    Size,
    Wanted,
)
from kea_subnet_deleg.policy import BUILT_IN, Holding, Lessee, Limits, Refusal, Reported, View, Wish
from kea_subnet_deleg.runtime.views import LedgerViews

POOL: Final = "bench"
SPACE: Final = 0
SERVER: Final = int(IPv4Address("198.51.100.1"))
LEASE: Final = 604800  # seconds; the bench has a time of its own, in which leases are renewed and given back
BATCH: Final = 128  # parameter batch-size
TIMEOUT: Final = 30.0  # seconds for a statement
TAKEBACK_DELAY: Final = 4.0  # seconds, parameter takeback-delay
TAKEBACK_ATTEMPTS: Final = 5
TAKEBACK_GRACE: Final = 60  # seconds, parameter takeback-grace
TAKEBACK_AT_ONCE: Final = 50


class Ask(NamedTuple):
    """A lessee's request for blocks of these prefix lengths."""

    lessee: int
    lengths: tuple[int, ...]


class Report(NamedTuple):
    """A lessee's renewal of one block, with its usage."""

    lessee: int
    prefix: IPv4Network
    high_water: int
    in_use: int


class LedgerAlone(Lab):
    """A lab of one cluster without any server: an empty ledger with some address space in one pool, for each `desk` anew."""

    def __init__(self, origins: Sequence[IPv4Network], limits: Limits) -> None:
        super().__init__("single", name=f"bench-{os.getpid()}", pools=origins)
        self._limits = limits

    def _build(self) -> None:
        self._save()
        self.cluster.create()
        self.cluster.wait(self.start_ledger(wait=False))
        self.cluster.execute("postgres", "alter system set synchronous_commit = off", "select pg_reload_conf()")
        self.cluster.execute("postgres", f"create database {DATABASE}")
        self.cli("ledger", "init")
        for pool in self.pools:
            self.cli("pool", "add", str(pool), "--name", POOL)
        self.cluster.execute("postgres", f"alter database {DATABASE} rename to {DATABASE}_pristine")

    def desk(self, policy: str) -> Desk:
        """Return a server's place at a fresh ledger."""
        self.cluster.execute(
            "postgres",
            f"drop database if exists {DATABASE}",
            f"create database {DATABASE} template {DATABASE}_pristine",
        )
        return Desk(self.cluster.dsn(DATABASE, "kea_deleg_hook"), self.cluster.dsn(DATABASE), policy, self._limits)


class Desk:
    """Serves what lessees ask, one call a batch; a context manager. Lessees are told apart by number."""

    def __init__(self, dsn: str, superuser: str, policy: str, limits: Limits) -> None:
        self._ledger = Ledger(dsn, TIMEOUT)
        self._superuser = psycopg.connect(superuser, autocommit=True)
        self._superuser.execute("set session_replication_role = replica")  # what it changes is no event
        self._policy = BUILT_IN[policy]()
        self._limits = limits
        self._views = LedgerViews()
        self._holdings: dict[int, Holding] = {}
        self._outdated = True
        self._xid = 0
        self.cut = 0  # blocks that the policy decided to give smaller than asked
        self.refused = 0  # those that it gave nothing for

    def __enter__(self) -> Self:
        self._ledger.connect()
        self._ledger.server_seen(SERVER, "bench", "bench")
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger.close()
        self._superuser.close()

    def outdate(self) -> None:
        """Have the figures that the policy decides by read anew before its next decisions: a server does every view-interval."""
        self._outdated = True

    def ask(self, asks: Sequence[Ask], *, smaller: bool = True) -> list[list[IPv4Network]]:
        """DISCOVER to ACK of each; return what each was given: nothing, or less than asked (`smaller`) where there is no more.

        Without `smaller` that can only come from the policy.
        """
        self._look(one.lessee for one in asks)
        offers: list[tuple[int, Operation]] = []
        given: list[list[IPv4Network]] = [[] for _ in asks]
        for number, one in enumerate(asks):
            if sizes := self._sizes(one, smaller=smaller):
                offers.append((number, self._offer(one, sizes)))
        accepts: list[tuple[int, Operation]] = []
        for (number, offer), outcome in zip(offers, self._apply([offer for _, offer in offers]), strict=True):
            if outcome.result is Result.OFFERED:
                blocks = tuple(Wanted(*block[:3], more=outcome.more) for block in outcome.blocks)
                contact = _contact(asks[number].lessee)
                accept = Accept(SPACE, offer.identity, offer.xid, SERVER, contact, blocks)
                accepts.append((number, accept))
        for (number, _), outcome in zip(accepts, self._apply([accept for _, accept in accepts]), strict=True):
            given[number] = [block.prefix for block in outcome.blocks]
        return given

    def renew(self, reports: Sequence[Report]) -> list[bool | None]:
        """Renew each block; return of each whether it is to be given up, None for one that was refused."""
        if not reports:
            return []
        self._look(report.lessee for report in reports)
        outcomes = self._apply([self._renewal(report) for report in reports])
        return [outcome.blocks[0].deprecate if outcome.result is Result.ACKNOWLEDGED else None for outcome in outcomes]

    def release(self, blocks: Iterable[tuple[int, IPv4Network]]) -> None:
        """Take back what lessees give back; it is free at once: a quarantine is the caller's to wait for."""
        self._apply([Release(SPACE, _identity(lessee), self._next(), SERVER, 0, (block,)) for lessee, block in blocks])
        while self._ledger.sweep(1000, 0):
            pass

    def shortage(self, addresses: int, held: Mapping[IPv4Network, float]) -> list[ForceRenew]:
        """Have the least used leases asked back for want of so many addresses; return whom FORCERENEW is sent to.

        `held`: all leases, each with the seconds since it was renewed, for which the ledger goes by another clock.
        """
        self._superuser.execute(
            "update deleg.blocks set renewed = now() - make_interval(secs => age)"
            " from unnest(%s::cidr[], %s::float[]) as held (block, age) where prefix = block",
            ([str(prefix) for prefix in held], list(held.values())),
        )
        pools = tuple(pool.number for pool in self._views.directory.pools_for(SPACE, None))
        self._ledger.takeback_least_used(SPACE, pools, addresses, TAKEBACK_AT_ONCE, TAKEBACK_GRACE)
        return self._ledger.takeback_due([SERVER], (), True, TAKEBACK_AT_ONCE, TAKEBACK_ATTEMPTS, TAKEBACK_DELAY)

    def _look(self, lessees: Iterable[int]) -> None:
        if self._outdated:
            self._views.read(self._ledger)
            self._outdated = False
        asked = list(set(lessees))
        found = self._ledger.holdings([(SPACE, _identity(lessee)) for lessee in asked])
        self._holdings = {lessee: Holding(*figures) for lessee, figures in zip(asked, found, strict=True)}

    # -- as roles/delegating.py says it

    def _sizes(self, ask: Ask, *, smaller: bool) -> tuple[Size, ...]:
        lessee, view = self._lessee(ask.lessee), self._view()
        sizes = []
        for slot, length in enumerate(ask.lengths):
            decision = self._policy.grant(Wish(length), lessee, view, self._limits)
            if isinstance(decision, Refusal):
                self.refused += 1
                continue
            self.cut += decision.prefix_length > length
            detail: dict[str, float | str | bool] = dict(decision.numbers or {})
            if decision.push:
                detail.setdefault("push", "yes")
            longest = decision.longest if smaller else decision.prefix_length
            sizes.append(Size(slot, decision.prefix_length, longest, True, decision.reason, detail or None))
        return tuple(sizes)

    def _offer(self, ask: Ask, sizes: tuple[Size, ...]) -> Offer:
        pools = tuple(pool.number for pool in self._views.directory.pools_for(SPACE, None))
        contact, identity = _contact(ask.lessee), _identity(ask.lessee)
        return Offer(SPACE, identity, self._next(), SERVER, contact, LEASE, None, 30, pools, None, None, sizes)

    def _renewal(self, report: Report) -> Renew:
        reported = Reported(report.prefix.prefixlen, report.high_water, report.in_use, 0)
        verdict = self._policy.renew(reported, self._lessee(report.lessee), self._view(), self._limits)
        counts = (report.high_water, report.in_use, 0)
        block = Renewal(str(report.prefix), verdict.verdict.value, None, *counts, verdict.reason, verdict.numbers)
        contact, identity = _contact(report.lessee), _identity(report.lessee)
        return Renew(SPACE, identity, self._next(), SERVER, contact, LEASE, 0, (block,))

    def _lessee(self, number: int) -> Lessee:
        return Lessee(_identity(number), self._holdings[number])

    def _view(self) -> View:
        return self._views.view(SPACE, self._views.directory.pools_for(SPACE, None))

    def _apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for first in range(0, len(operations), BATCH):
            for outcome in self._ledger.apply(operations[first : first + BATCH]):
                if isinstance(outcome, OperationFailed):
                    raise RuntimeError(f"the ledger failed: {outcome.error}")
                outcomes.append(outcome)
        return outcomes

    def _next(self) -> int:
        self._xid += 1
        return self._xid


def _identity(lessee: int) -> bytes:
    return b"\1\2" + lessee.to_bytes(5, "big")


def _contact(lessee: int) -> Contact:
    return Contact(int(IPv4Address("198.51.100.100")), 67, True, _identity(lessee))
