# SPDX-License-Identifier: MPL-2.0
"""A throw-away PostgreSQL cluster for the session, and a ledger of its own for each test that asks for one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final, LiteralString, Self

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg.types.json import Jsonb

from ci.labs.cluster import Cluster
from ci.labs.process import Process
from kea_subnet_deleg.ledger import Admin, Ledger
from kea_subnet_deleg.ledger._files import schema_sql

TEMPLATE: Final = "ledger_template"
TIMEOUT: Final = 30.0  # seconds a statement may take before a test fails rather than hangs
LONG: Final = ("kea", "chaos", "cli", "ledger")
"""Folders whose files take minutes. Where files run side by side, those that wait for servers do beside those that compute, as the ledger's;
what is short fills the gaps at the end."""

PREFIX: Final = "ksd-pg-"  # of the folders of a run's clusters; behind it is the pid of the run


# Other tests run meanwhile: how long an example takes says nothing about what it examines.
settings.register_profile("beside others", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("beside others")


class Database:
    """One database with a ledger. A context manager: on exit, every connection it handed out is closed."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self._deadlocks_before = 0
        self._ledgers: list[Ledger] = []
        self._connections: list[psycopg.Connection[Any]] = []
        self._superuser: psycopg.Connection[Any] | None = None

    def dsn(self, user: str = "postgres") -> str:
        return self.cluster.dsn(self.name, user)

    def connect(self, user: str = "postgres") -> psycopg.Connection[Any]:
        """Open a connection in autocommit mode."""
        connection = psycopg.connect(self.dsn(user), autocommit=True)
        self._connections.append(connection)
        return connection

    def ledger(self, user: str = "kea_deleg_hook") -> Ledger:
        """Open the ledger as a server does."""
        ledger = Ledger(self.dsn(user), TIMEOUT)
        ledger.connect()
        self._ledgers.append(ledger)
        return ledger

    def admin(self) -> Admin:
        """Open the ledger as an operator does; the caller closes it."""
        return Admin(self.dsn("kea_deleg_admin"))

    def sql(self, statement: LiteralString, *parameters: object) -> list[Any]:
        """Run one statement as the superuser and return its rows, none where it has none."""
        if self._superuser is None:
            self._superuser = self.connect()
        cursor = self._superuser.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []

    def pool(
        self, prefix: str, max_lease: int | None = None, space: int = 0, name: str | None = None, **terms: object
    ) -> int:
        """Add address space to the pool called `name`, by default one of its own; return the number of the pool."""
        self.sql(
            "select deleg.pool_add(name, %s, %s, %s, %s) from deleg.spaces where space = %s",
            IPv4Network(prefix),
            name or prefix,
            max_lease,
            Jsonb(terms),
            space,
        )
        return int(
            self.sql("select pool from deleg.origins where space = %s and prefix = %s", space, IPv4Network(prefix))[0][
                0
            ]
        )

    def violations(self) -> list[tuple[str, int, str, str]]:
        return self.sql("select invariant, space, prefix::text, detail from deleg.ledger_check() order by 1, 2, 3")

    def blocks(self) -> dict[str, str]:
        """Return the state of each block of space 0 by its prefix, in address order."""
        return dict(self.sql("select prefix::text, state::text from deleg.blocks where space = 0 order by prefix"))

    def empty(self) -> None:
        """Make it as it was when new."""
        self.sql(
            "truncate deleg.pools, deleg.blocks, deleg.origins, deleg.lessees, deleg.usage, deleg.takebacks, deleg.events,"
            " deleg.servers, deleg.selectors, deleg.upstreams, deleg.claims, deleg.usage_days, deleg.events_kept,"
            " deleg.progress, deleg.noted, deleg.holds"
            " restart identity"
        )
        self.sql("delete from deleg.spaces where space <> 0")
        self.sql("update deleg.domain set restored_until = null")
        self.sql("insert into deleg.pools (space, name) values (0, 'default')")
        self._deadlocks_before = self._all_deadlocks()

    def deadlocks(self) -> int:
        """Return the deadlocks PostgreSQL has seen in this database since it was emptied."""
        return self._all_deadlocks() - self._deadlocks_before

    def _all_deadlocks(self) -> int:
        self.sql("select pg_stat_force_next_flush()")
        return int(self.sql("select deadlocks from pg_stat_database where datname = current_database()")[0][0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for ledger in self._ledgers:
            ledger.close()
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._superuser = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the files of the long folders first, by turns, and those last that want the machine for themselves."""
    files: dict[str, list[Path]] = {folder: [] for folder in LONG}
    for path in dict.fromkeys(item.path for item in items):
        files.setdefault(path.parent.name, []).append(path)

    def place(item: pytest.Item) -> tuple[bool, bool, float, str]:
        beside = files[item.path.parent.name]
        turn = beside.index(item.path) / len(beside)
        return item.get_closest_marker("alone") is not None, item.path.parent.name not in LONG, turn, str(item.path)

    items.sort(key=place)


@pytest.fixture(scope="module", autouse=True)
def _alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A module marked `alone` waits until the other workers of pytest-xdist are between two modules, and they wait for its end."""
    if not hasattr(request.config, "workerinput"):
        yield
        return
    # The folder above a worker's own is that of the run.
    with (tmp_path_factory.getbasetemp().parent / "alone.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if request.node.get_closest_marker("alone") else fcntl.LOCK_SH)
        yield


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster whose files need not survive a crash; the tests of durability start one of their own."""
    with running_cluster() as (cluster, _):
        cluster.execute("postgres", "alter system set fsync = off", "select pg_reload_conf()")
        make_template(cluster)
        yield cluster


@pytest.fixture(scope="session")
def _one_database(cluster: Cluster) -> str:
    cluster.execute("postgres", f"create database ledger template {TEMPLATE}")
    return "ledger"


@pytest.fixture
def database(cluster: Cluster, _one_database: str) -> Iterator[Database]:
    """An empty ledger for one test. It is one database for all of them, emptied: a test that changes the schema changes it back."""
    with Database(cluster, _one_database) as database:
        database.empty()
        yield database


def make_template(cluster: Cluster) -> None:
    """Make the database that every ledger is cloned from."""
    cluster.execute("postgres", f"create database {TEMPLATE}")
    with psycopg.connect(cluster.dsn(TEMPLATE), autocommit=True) as connection, connection.transaction():
        connection.execute(schema_sql())


class running_cluster:  # noqa: N801  # a context manager
    """A new cluster and its server process; everything of it is gone afterwards."""

    def __enter__(self) -> tuple[Cluster, Process]:
        _end_leftovers()
        # Not under pytest's own directory: PostgreSQL's account must get there, and a socket's path has 107 octets at most.
        self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._folder.chmod(0o755)
        cluster = Cluster(self._folder / "c")
        cluster.create()
        self.process = cluster.start()
        cluster.wait(self.process)
        return cluster, self.process

    def __exit__(self, *_: object) -> None:
        Cluster.stop(self.process)
        shutil.rmtree(self._folder)


def _end_leftovers() -> None:
    """End the clusters of test runs that were killed: their folders are named for the pid of the run."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if Path(f"/proc/{folder.name.removeprefix(PREFIX).partition('-')[0]}").exists():
            continue
        with contextlib.suppress(OSError, ValueError):
            Cluster.stop(Process.of(int((folder / "c/data/postmaster.pid").read_text().split()[0])))
        shutil.rmtree(folder, ignore_errors=True)
