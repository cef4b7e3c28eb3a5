# SPDX-License-Identifier: MPL-2.0
"""The ledger as operators use it, through the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any, NamedTuple, Self

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from kea_subnet_deleg.ledger._files import QUERIES, replaceable_sql, schema_sql, upgrade_sql
from kea_subnet_deleg.ledger.directory import Selector
from kea_subnet_deleg.ledger.ledger import SCHEMA_VERSION, LedgerError, LedgerUnavailable, describe, wrong_version

DEFAULT_SPACE_NAME = "default"
DEFAULT_POOL_NAME = "default"


@dataclass(frozen=True, slots=True)
class Violation:
    """A row of deleg.ledger_check(): the invariant (I1 to I7), where, and what is wrong."""

    invariant: str
    space: int
    prefix: IPv4Network
    detail: str


class Restored(NamedTuple):
    """Of a ledger that was restored: how many blocks are `withheld`, `leased` (and kept), and `served` by networks of our own."""

    withheld: int
    leased: int
    served: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Address space as the administrator enters it (seed [0093-94]), and on which terms the pool it joins is leased.

    `max_lease` in seconds, None for unlimited. `terms`: columns of deleg.pools; they replace what the pool had.
    """

    prefix: IPv4Network
    name: str = DEFAULT_POOL_NAME
    max_lease: int | None = None
    space: str = DEFAULT_SPACE_NAME
    terms: Mapping[str, Any] = field(default_factory=dict)


class Admin:
    """A connection for an operator; a context manager.

    Raises LedgerUnavailable where `dsn` leads nowhere, LedgerError where PostgreSQL refuses what is asked.
    """

    def __init__(self, dsn: str) -> None:
        try:
            # Of a database in SQL_ASCII psycopg returns text as bytes, unless it is told an encoding.
            self._connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row, client_encoding="UTF8")
        except psycopg.Error as error:
            raise LedgerUnavailable(f"can't connect to PostgreSQL: {describe(error)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def check_version(self) -> None:
        """Raise LedgerError where there is no ledger, or one of another version than this package works with."""
        with _errors():
            version = int(self._rows("schema_version")[0]["max"])
        if version != SCHEMA_VERSION:
            raise LedgerError(wrong_version(version))

    def writable(self) -> bool:
        """Return whether anything can be changed here: not on a standby."""
        with _errors():
            return bool(self._rows("writable")[0]["writable"])

    def initialize(self) -> bool:
        """Create the ledger in this database, all of it or nothing. False: there is one already, and it is untouched."""
        with _errors():
            row = self._connection.execute(QUERIES["has_schema"]).fetchone()
            if row is not None and next(iter(row.values())):
                return False
            with self._connection.transaction():
                self._connection.execute(schema_sql())
        return True

    def upgrade(self) -> int:
        """Bring the ledger to the version that this package works with, all the way or not at all. Nothing of it is lost.

        Servers may go on meanwhile; they wait for some moments. Returns the version it had. Raises LedgerError where there is no
        ledger, or a newer one.
        """
        with _errors(), self._connection.transaction():
            try:
                self._rows("lock_schema_version")
            except psycopg.errors.InsufficientPrivilege as error:
                raise LedgerError(f"only the ledger's owner can upgrade it ({describe(error)})") from None
            version = int(self._rows("schema_version")[0]["max"])
            if version > SCHEMA_VERSION:
                raise LedgerError(wrong_version(version))
            if version < SCHEMA_VERSION:
                self._rows("lock_tables")
            for step in range(version + 1, SCHEMA_VERSION + 1):
                self._connection.execute(upgrade_sql(step))
            if version < SCHEMA_VERSION:
                self._connection.execute(replaceable_sql())
        return version

    def space_add(self, name: str) -> None:
        """Add an address space. Raises LedgerError where there is one of that name."""
        with _errors():
            self._rows("space_add", name=name)

    def space_select(self, name: str, selector: Selector) -> None:
        """Say by what requests are known to belong to a space. Raises LedgerError where there is no such space."""
        with _errors():
            self._rows(
                "space_select", name=name, vss=selector.vss, network=selector.network, identity=selector.identity
            )

    def space_deselect(self, selector: Selector) -> bool:
        """Take back what `space_select` said, of whichever space. False: it selects none."""
        with _errors():
            rows = self._rows("space_deselect", vss=selector.vss, network=selector.network, identity=selector.identity)
            return bool(rows[0]["space_deselect"])

    def spaces(self) -> list[dict[str, Any]]:
        """Return the spaces and what selects them, a row for each selector."""
        with _errors():
            return self._rows("spaces")

    def pool_add(self, pool: Pool) -> None:
        """Enter address space. Raises LedgerError where it overlaps what is there, or its terms can't be."""
        with _errors():
            try:
                self._rows(
                    "pool_add",
                    space=pool.space,
                    prefix=pool.prefix,
                    name=pool.name,
                    max_lease=pool.max_lease,
                    terms=Jsonb(dict(pool.terms)),
                )
            except (psycopg.errors.ExclusionViolation, psycopg.errors.UniqueViolation):
                raise LedgerError(
                    f"{pool.prefix} overlaps a pool that is already there in space {pool.space}; see `pool list`"
                ) from None

    def pool_change(self, name: str, terms: Mapping[str, Any], space: str = DEFAULT_SPACE_NAME) -> None:
        """Change the terms of a pool: columns of deleg.pools; None is as the servers' parameters say. Raises LedgerError."""
        with _errors():
            self._rows("pool_change", space=space, name=name, terms=Jsonb(dict(terms)))

    def pool_remove(self, prefix: IPv4Network, space: str = DEFAULT_SPACE_NAME) -> int:
        """Stop leasing from an origin; it goes when nothing of it is held. Returns how many blocks are. Raises LedgerError."""
        with _errors():
            return int(self._rows("pool_remove", space=space, prefix=prefix)[0]["pool_remove"])

    def pool_keep(self, prefix: IPv4Network, space: str = DEFAULT_SPACE_NAME) -> None:
        """Take `pool_remove` back, and what was asked back by it. Raises LedgerError where the origin is not being removed."""
        with _errors():
            self._rows("pool_keep", space=space, prefix=prefix)

    def lease_deprecate(self, prefix: IPv4Network, space: str = DEFAULT_SPACE_NAME) -> bool:
        """Ask the holder for a block back at its next renewal (RFC 6656 flag d). False: no such lease."""
        with _errors():
            return bool(self._rows("lease_deprecate", space=space, prefix=prefix)[0]["lease_deprecate"])

    def lease_takeback(self, prefix: IPv4Network, space: str = DEFAULT_SPACE_NAME) -> bool:
        """Ask the holder for a block back now, by FORCERENEW (RFC 6656 section 5.4). False: no such lease."""
        with _errors():
            return bool(self._rows("lease_takeback", space=space, prefix=prefix)[0]["lease_takeback"])

    def lease_keep(self, prefix: IPv4Network, space: str = DEFAULT_SPACE_NAME) -> bool:
        """Leave a block to its holder that was asked back. False: it was not, or there is no such lease. Raises LedgerError."""
        with _errors():
            return bool(self._rows("lease_keep", space=space, prefix=prefix)[0]["lease_keep"])

    def pools(self) -> list[dict[str, Any]]:
        """Return report.pools."""
        with _errors():
            return self._rows("pools")

    def subnets(self) -> list[dict[str, Any]]:
        """Return report.subnets."""
        with _errors():
            return self._rows("subnets")

    def networks(self) -> list[dict[str, Any]]:
        """Return report.networks."""
        with _errors():
            return self._rows("networks")

    def network_abandon(self, network: str, block: IPv4Network | None, longest: int) -> list[IPv4Network]:
        """Take from a network that no server has any more its blocks, or one of them, and let nobody have them for `longest` seconds.

        Returns the blocks. Raises LedgerError where a server said lately what is in use of the network, and where it has no such block.
        """
        with _errors():
            rows = self._rows("network_abandon", network=network, block=block, longest=longest)
            return [row["network_abandon"] for row in rows]

    def servers_connected(self) -> int:
        """Return how many connections of servers there are to this database."""
        with _errors():
            return int(self._rows("servers_connected")[0]["connections"])

    def restored(self, longest: int) -> Restored:
        """Say that the ledger is of a backup, which does not know what was leased since, for `longest` seconds at most.

        Until that is over nothing is leased that is not leased by the ledger already, and what is leased by it is kept.
        Raises LedgerError.
        """
        with _errors():
            return Restored(**self._rows("ledger_restored", longest=longest)[0])

    def history_keep(self, days: int | None) -> None:
        """Say how many days events are kept, None for ever. Raises LedgerError where that is less than one."""
        with _errors():
            self._rows("history_keep", days=days)

    def history_kept(self) -> int | None:
        """Return how many days events are kept, None for ever."""
        with _errors():
            days: int | None = self._rows("history_kept")[0]["history_kept"]
            return days

    def check(self) -> list[Violation]:
        """Return every violation of an invariant; an empty list is good news."""
        with _errors():
            return [Violation(**row) for row in self._rows("ledger_check")]

    def _rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        cursor = self._connection.execute(QUERIES[query], parameters)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedTable) as error:
        raise LedgerError(
            f"no ledger in this database ({describe(error)}); run `kea-subnet-deleg ledger init`"
        ) from None
    except (psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedColumn) as error:
        raise LedgerError(
            f"the ledger is of another version ({describe(error)}); run `kea-subnet-deleg ledger upgrade`"
        ) from None
    except psycopg.Error as error:
        raise LedgerError(describe(error)) from None
