# SPDX-License-Identifier: MPL-2.0
"""The ledger as the servers use it: one connection, one transaction a call."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg import conninfo, pq
from psycopg.pq.abc import PGresult

from kea_subnet_deleg.ledger._files import QUERIES
from kea_subnet_deleg.ledger.directory import Directory
from kea_subnet_deleg.ledger.operations import Granted, Operation, OperationFailed, Outcome, batch_to_array

SCHEMA_VERSION: Final = 14
"""The schema this version of the package works with."""

# Given where the DSN says nothing else: a server that vanished without a FIN must not hold the worker for long.
_DEFAULTS: Final = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "application_name": "kea-subnet-deleg",
    "client_encoding": "UTF8",  # of a database in SQL_ASCII psycopg else returns text as bytes
}

_TRANSIENT: Final = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
# Cancelled (a timeout, a server that stops), out of resources, shut down, or no longer the primary; the ledger, or the right to use it,
# was taken away: not the query's fault.
_UNAVAILABLE: Final = (
    psycopg.OperationalError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedTable,
)
_CLOSES: Final = ("57P01", "57P02", "57P03")
"""SQLSTATE of what PostgreSQL says as it closes a connection: it is shut down, or has crashed. The latter is but a warning."""
_ATTEMPTS: Final = 3
_NOT_CONNECTED: Final = "not connected"
_WAITS_FOR_STANDBY: Final = "SyncRepWaitForLSN"
"""The function of PostgreSQL's that waits for a synchronous standby: its messages are translated, their origin is not."""

READ_ONLY: Final = "it is read-only: a standby, or default_transaction_read_only is on"

GRACE: Final = 5.0
"""Seconds beyond the statement timeout after which nothing is expected of PostgreSQL any more. It gives statements up itself, and says
so, unless its process hangs; and then its kernel still acknowledges what TCP sends, so that no keepalive fails."""

PATIENCE: Final = 12
"""As many times the statement timeout has what is done as a whole or not at all, however many blocks it is about (`Ledger.run_whole`).
Given up earlier, it would be begun again and again, and never be done."""

CHANNEL: Final = "kea_subnet_deleg"
"""Where the ledger tells of changes (PostgreSQL's NOTIFY). What has changed is the payload."""
NETWORKS: Final = "networks"
"""A block that a network or a relay of this domain uses has changed, or an origin that is leased to it."""
SWEEP: Final = "sweep"
"""Something is to be swept, or to be asked back, sooner than `Ledger.due_in` said."""

_Found = TypeVar("_Found")


class LedgerError(Exception):
    """The ledger can't do what was asked; the text says what and why."""


class LedgerUnavailable(LedgerError):
    """No answer from PostgreSQL, or no usable ledger in it. What was asked may or may not have been committed."""


class LedgerUnusable(LedgerUnavailable):
    """PostgreSQL answers, and does not do it: a new connection may be no better."""


class Swept(NamedTuple):
    """How many blocks a sweep moved on, by the state they were in, and origins it removed; and how many FORCERENEWs are due.

    `more`: there is more to do at once.
    """

    offers: int
    leases: int
    quarantines: int
    origins_removed: int
    takebacks_due: int = 0
    more: bool = False

    def __bool__(self) -> bool:
        """Whether it did anything."""
        return any((self.offers, self.leases, self.quarantines, self.origins_removed))


class ForceRenew(NamedTuple):
    """A FORCERENEW to send: to whom and where, what it can be checked by, which server it is from, and which blocks to renew."""

    identity: bytes
    address: int
    port: int
    relayed: bool
    hardware: bytes
    nonce: bytes | None
    replay: int
    server: int
    blocks: tuple[Granted, ...]
    attempt: int


def check_dsn(dsn: str) -> str | None:
    """Return what is wrong with a PostgreSQL connection string, None if nothing is. It tells no values: one may be secret."""
    try:
        conninfo.conninfo_to_dict(dsn)
    except (psycopg.Error, UnicodeError) as error:
        text = str(error).strip()
        return (
            text if text.startswith("invalid connection option") else re.sub(r'"[^"]*"', '"..."', text, flags=re.DOTALL)
        )
    return None


def wrong_version(version: int | None) -> str:
    """Return what is wrong with the version of a ledger's schema, and what to do about it."""
    remedy = (
        "install the version of kea-subnet-deleg that made it, or a newer one"
        if version is not None and version > SCHEMA_VERSION
        else "run `kea-subnet-deleg ledger upgrade`"
    )
    return f"its schema has version {version}, needed is {SCHEMA_VERSION}: {remedy}"


def describe(error: BaseException) -> str:
    """Return an error of PostgreSQL on one line, without the lines that say where in a function it arose."""
    text = (isinstance(error, psycopg.Error) and error.diag.message_primary) or str(error)
    return " ".join(text.split()) or type(error).__name__


class Ledger:
    """One connection to the ledger, for one thread; `abandon` and `abandon_overdue` alone may come from another.

    Parameters
    ----------
    dsn : str
        PostgreSQL connection string, multi-host ones included.
    statement_timeout : float
        Seconds after which PostgreSQL gives a statement up.
    """

    def __init__(self, dsn: str, statement_timeout: float) -> None:
        self._dsn = dsn
        self._statement_timeout = statement_timeout
        self._connection: psycopg.Connection[Any] | None = None
        self._cursor: psycopg.Cursor[Any] | None = None  # one for all queries: making one takes longer than using it
        self._prepared: set[str] = set()
        # The connection's socket, under a descriptor of our own: psycopg's may be closed, and be another file's, at any moment.
        self._line: socket.socket | None = None
        self._allowed = statement_timeout  # seconds, for what is asked now
        self._due: float | None = None  # when the answer to it is overdue
        self._overdue = False
        self._unreplicated = False
        self._farewell = ""  # what PostgreSQL said as it closed the connection
        self._answered = False
        self._listening = False
        self._notified: set[str] = set()

    @property
    def connected(self) -> bool:
        """Whether the last call found the ledger there."""
        return self._connection is not None

    @property
    def answered(self) -> bool:
        """Whether anything was done by this connection: not only that it could be made."""
        return self._answered

    def check(self) -> None:
        """See whether PostgreSQL has closed the connection since the last call. Never waits.

        Raises LedgerUnavailable where it has; then it is no longer connected.
        """
        connection = self._connected()
        try:
            connection.pgconn.consume_input()
            connection.pgconn.is_busy()  # looks what it was
            if self._farewell:
                raise psycopg.OperationalError(self._farewell)
        except psycopg.Error as error:
            self.close()
            raise LedgerUnavailable(describe(error)) from None

    def connect(self, *, reading: bool = False) -> None:
        """Connect, and see that the schema is the one this version works with, and can be written.

        `reading`: nothing is to be written; a standby will do. Raises LedgerUnavailable; seconds may pass until then (connect_timeout
        in the DSN).
        """
        self.close()
        try:
            parameters = _DEFAULTS | {k: str(v) for k, v in conninfo.conninfo_to_dict(self._dsn).items()}
            connection = psycopg.connect(conninfo.make_conninfo("", **parameters), autocommit=True)
        except psycopg.Error as error:
            raise LedgerUnavailable(describe(error)) from None
        self._line = socket.socket(fileno=os.dup(connection.fileno()))
        self._expect_within(self._statement_timeout)
        try:
            # As text of a SET, because statement_timeout takes no parameter; an integer can't smuggle anything in.
            connection.execute(
                "select set_config('statement_timeout', %s, false)", (str(round(self._statement_timeout * 1000)),)
            )
            version = connection.execute(QUERIES["schema_version"]).fetchone()
            writable = connection.execute(QUERIES["writable"]).fetchone()
        except psycopg.Error as error:
            why = self._why(error)
            self._drop(connection)
            raise LedgerUnavailable(f"no ledger there: {why}") from None
        finally:
            self._due = None
        if version is None or version[0] != SCHEMA_VERSION:
            self._drop(connection)
            raise LedgerUnavailable(wrong_version(version[0] if version else None))
        if writable != (True,) and not reading:
            self._drop(connection)
            raise LedgerUnavailable(READ_ONLY)
        self._answered = False
        connection.add_notify_handler(lambda notify: self._notified.add(notify.payload))
        connection.add_notice_handler(self._hear)
        self._connection, self._cursor = connection, connection.cursor()
        self._prepared.clear()
        if self._listening:
            self._listen()

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        """Note that PostgreSQL closes the connection, or waits no longer for its standby: then it says that all is well, and warns."""
        if notice.severity_nonlocalized == "FATAL" or notice.sqlstate in _CLOSES:
            self._farewell = notice.message_primary or "it closes the connection"
        if notice.source_function == _WAITS_FOR_STANDBY:
            self._unreplicated = True

    def close(self) -> None:
        """Drop the connection, if there is one."""
        connection, self._connection, self._cursor = self._connection, None, None
        self._drop(connection)

    def _drop(self, connection: psycopg.Connection[Any] | None) -> None:
        line, self._line = self._line, None
        self._overdue = self._unreplicated = False
        self._farewell = ""
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()
        if line is not None:
            line.close()

    def abandon(self) -> None:
        """Cut the connection under the thread that waits for PostgreSQL: its call ends with LedgerUnavailable.

        Never waits. A cancel request would: it is a connection of its own, to a server that may be the one that hangs.
        """
        line = self._line
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def abandon_overdue(self) -> None:
        """Do so if PostgreSQL has been owing an answer for longer than it may take. To be called every few seconds."""
        due = self._due
        if due is not None and time.monotonic() > due:
            self._overdue = True
            self.abandon()

    def _expect_within(self, seconds: float) -> None:
        """Note by when an answer has to be there."""
        self._allowed = seconds
        self._due = time.monotonic() + seconds + GRACE

    def _why(self, error: BaseException) -> str:
        """Return why a call ended that found PostgreSQL unavailable."""
        if self._overdue:
            return f"no answer within the statement timeout ({self._allowed:g} s) and {GRACE:g} s more"
        return describe(error)

    def listen(self) -> None:
        """From now on, and after each `connect`, note what the ledger tells of changes: see `notified`.

        Raises LedgerUnavailable where it is connected and does not answer.
        """
        self._listening = True
        if self._connection is not None:
            self._listen()

    def _listen(self) -> None:
        self.run("listen")
        self._notified |= {NETWORKS, SWEEP}  # what happened before, nobody told us

    def notified(self) -> set[str]:
        """Return what has changed since the last call (NETWORKS, SWEEP). Never waits. After a `connect`, everything has.

        Raises LedgerUnavailable where the connection is gone.
        """
        self.check()
        connection = self._connected()
        while notify := connection.pgconn.notifies():
            self._notified.add(notify.extra.decode())
        notified, self._notified = self._notified, set()
        return notified

    def fileno(self) -> int:
        """Return the descriptor that is readable when `notified` may have something. Raises LedgerUnavailable where not connected."""
        return self._connected().fileno()

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            raise LedgerUnavailable(_NOT_CONNECTED)
        return self._connection

    def apply(self, operations: Sequence[Operation]) -> list[Outcome | OperationFailed]:
        """Do what a batch of messages asks, in one transaction, and return an outcome for each, in their order.

        Each client's messages are done in order; those of different clients are not, as they came at the same time.

        When this returns, everything but offers is on PostgreSQL's disk (I6). Where an operation fails, all are tried one by
        one, and only what fails alone comes back as OperationFailed.

        Raises LedgerUnavailable where PostgreSQL did not answer: then nothing may be said to any of the clients.
        """
        try:
            return list(self._apply(operations))
        except psycopg.Error as error:
            if len(operations) == 1:
                return [OperationFailed(describe(error))]
        outcomes: list[Outcome | OperationFailed] = []
        for operation in operations:
            try:
                outcomes += self._apply((operation,))
            except psycopg.Error as error:
                outcomes.append(OperationFailed(describe(error)))
        return outcomes

    def _apply(self, operations: Sequence[Operation]) -> Sequence[Outcome]:
        result = self._ask_again(lambda cursor: self._execute(cursor, "apply", batch_to_array(operations)))
        return [Outcome.from_json(value) for value in json.loads(result.get_value(0, 0) or b"[]")]

    def sweep(self, limit: int, quarantine: int) -> Swept:
        """Move on what is due: ended offers, leases and quarantines, emptied origins. At most `limit` blocks of each.

        `quarantine` is in seconds, for leases that ended. Raises LedgerUnavailable, LedgerError.
        """
        return Swept(*self.run("sweep", limit=limit, quarantine=quarantine)[0])

    def due_in(self) -> float:
        """Return the seconds until a sweep has something to do, an hour at most, as far as that can be known now.

        What comes up meanwhile and ends earlier is not in it; of FORCERENEWs and pools that are removed the ledger tells (SWEEP).
        Raises LedgerUnavailable, LedgerError.
        """
        seconds: float = self.run("due_in")[0][0]
        return seconds

    def keep_events(self) -> str | None:
        """Do a step of what has to be done for the events: make partitions ahead, let go what is kept no longer. Milliseconds.

        Returns what it did; None where nothing is to be done, or somebody else is in the way. Raises LedgerUnavailable, LedgerError.
        """
        done: str | None = self.run("keep_events")[0][0]
        return done

    def server_seen(self, address: int, name: str, version: str, *, silent: bool = False) -> None:
        """Say that `address` (host-order integer) is a server identifier of this domain.

        `silent`: it was told not to serve, so that the domain's other servers speak for it. Raises LedgerUnavailable, LedgerError.
        """
        self.run("server_seen", address=str(IPv4Address(address)), name=name, version=version, silent=silent)

    def totals(self) -> list[tuple[int, int, int]]:
        """Return per space the addresses that its lessees hold and use, where they hold something.

        Raises LedgerUnavailable, LedgerError.
        """
        return self.run("totals")

    def holdings(self, asked: Sequence[tuple[int, bytes]]) -> list[tuple[int, int]]:
        """Return for each lessee, told by space and identity, the addresses that it holds and uses, in the order asked.

        Raises LedgerUnavailable, LedgerError.
        """
        spaces = "{" + ",".join([str(space) for space, _ in asked]) + "}"
        identities = "{" + ",".join([f'"\\\\x{identity.hex()}"' for _, identity in asked]) + "}"
        try:
            result = self._ask_again(lambda cursor: self._execute(cursor, "holdings", spaces, identities))
        except psycopg.Error as error:
            raise LedgerError(describe(error)) from None
        found = [(0, 0)] * len(asked)
        for row in range(result.ntuples):
            n, held, used = (int(result.get_value(row, column) or 0) for column in range(3))
            found[n - 1] = held, used
        return found

    def keep_tallies(self) -> None:
        """Add up what connections that are no more have counted. Raises LedgerUnavailable, LedgerError."""
        self.run("keep_tallies")

    def free_by_length(self) -> list[tuple[int, int, int, int]]:
        """Return space, pool, prefix length and number of free blocks. Raises LedgerUnavailable, LedgerError."""
        return self.run("free_by_length")

    def directory(self) -> Directory:
        """Return spaces, pools and servers. Raises LedgerUnavailable, LedgerError."""
        return Directory.from_json(self.run("directory")[0][0])

    def takeback_least_used(self, space: int, pools: Sequence[int], addresses: int, limit: int, grace: int) -> int:
        """Have the least used leases of some pools renewed at once, `limit` leases at most, so that `addresses` come back.

        What is on its way back already counts. Those of which nothing was ever reported are last; those renewed within the last
        `grace` seconds are spared. Returns how many were chosen. Raises LedgerUnavailable, LedgerError.
        """
        rows = self.run(
            "takeback_least_used", space=space, pools=list(pools), addresses=addresses, limit=limit, grace=grace
        )
        return int(rows[0][0])

    def takeback_due(
        self, own: Iterable[int], keyed: Iterable[bytes], unauthenticated: bool, limit: int, attempts: int, delay: float
    ) -> list[ForceRenew]:
        """Return the FORCERENEWs that are due and that a server with the addresses `own` is to send, and note that it does.

        `keyed`: lessees with a key of their own; `unauthenticated`: send also to those that can't check the sender. Each is due again
        after `delay` seconds, then twice that, until `attempts` were made.

        Raises LedgerUnavailable, LedgerError.
        """
        rows = self.run(
            "takeback_due",
            own=[str(IPv4Address(address)) for address in own],
            keyed=[identity.hex() for identity in keyed],
            unauthenticated=unauthenticated,
            limit=limit,
            attempts=attempts,
            delay=delay,
        )
        return [
            ForceRenew(
                identity,
                int(IPv4Address(address)),
                port,
                relayed,
                hardware,
                nonce,
                replay,
                int(IPv4Address(server)),
                tuple(Granted(*block) for block in blocks),
                attempt,
            )
            for identity, address, port, relayed, hardware, nonce, replay, server, blocks, attempt in rows
        ]

    def run(self, query: str, **parameters: object) -> list[Any]:
        """Run one query of queries.sql, a transaction of its own, and return its rows: for the other modules of this package.

        Raises LedgerUnavailable, LedgerError.
        """
        return self._run(lambda cursor: _rows(cursor, query, parameters))

    def run_whole(self, query: str, **parameters: object) -> list[Any]:
        """As `run`, with PATIENCE: for what may be about very many blocks, and can't be done in steps.

        Raises LedgerUnavailable, LedgerError.
        """
        seconds = self._statement_timeout * PATIENCE

        def patiently(cursor: psycopg.Cursor[Any]) -> list[Any]:
            with cursor.connection.transaction():
                cursor.execute(QUERIES["wait_for"], {"milliseconds": str(round(seconds * 1000))})
                return _rows(cursor, query, parameters)

        return self._run(patiently, seconds)

    def _run(self, question: Callable[[psycopg.Cursor[Any]], list[Any]], seconds: float | None = None) -> list[Any]:
        try:
            return self._ask_again(question, seconds)
        except psycopg.Error as error:
            raise LedgerError(describe(error)) from None

    def _execute(self, cursor: psycopg.Cursor[Any], query: str, *values: str) -> PGresult:
        """Run one query with its parameters, in their order, as text, by libpq alone: a cursor takes three times as long.

        For what is asked with each batch of messages. Raises psycopg.Error.
        """
        pgconn, encoding = cursor.connection.pgconn, cursor.connection.info.encoding
        name = query.encode()
        if query not in self._prepared:
            numbers = itertools.count(1)
            statement = re.sub(r"%\(\w+\)s", lambda _: f"${next(numbers)}", QUERIES[query])
            _checked(pgconn.prepare(name, statement.encode()), encoding)
            self._prepared.add(query)
        return _checked(pgconn.exec_prepared(name, [value.encode(encoding) for value in values]), encoding)

    def _ask_again(self, question: Callable[[psycopg.Cursor[Any]], _Found], seconds: float | None = None) -> _Found:
        """As `_ask`, and once or twice more where other transactions were in the way of this one, and it was rolled back."""
        for _ in range(1, _ATTEMPTS):
            with contextlib.suppress(*_TRANSIENT):
                return self._ask(question, seconds)
        return self._ask(question, seconds)

    def _ask(self, question: Callable[[psycopg.Cursor[Any]], _Found], seconds: float | None = None) -> _Found:
        """Ask PostgreSQL what is answered within so many seconds, by default the statement timeout.

        Raises LedgerUnavailable where the connection is gone or the server gave up, else psycopg.Error.
        """
        cursor = self._cursor
        if cursor is None:
            raise LedgerUnavailable(_NOT_CONNECTED)
        self._expect_within(self._statement_timeout if seconds is None else seconds)
        try:
            found = question(cursor)
        except psycopg.Error as error:
            if cursor.connection.broken:
                why = self._why(error)
                self.close()
                raise LedgerUnavailable(why) from None
            if isinstance(error, _UNAVAILABLE) and not isinstance(error, _TRANSIENT):
                self.close()
                raise LedgerUnusable(describe(error)) from None
            raise
        finally:
            self._due = None
        if self._unreplicated:
            self.close()
            raise LedgerUnavailable(
                "committed here, but a failover would forget it: the wait for the standby was cancelled"
            )
        self._answered = True
        return found


def _checked(result: PGresult, encoding: str) -> PGresult:
    """Return what PostgreSQL answered. Raises psycopg.Error where that is an error."""
    if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
        raise psycopg.errors.error_from_result(result, encoding)
    return result


def _rows(cursor: psycopg.Cursor[Any], query: str, parameters: dict[str, object]) -> list[Any]:
    """Run one query and return its rows, none where it has none."""
    cursor.execute(QUERIES[query], parameters)
    return cursor.fetchall() if cursor.description else []
