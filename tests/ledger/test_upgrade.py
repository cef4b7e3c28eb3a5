# SPDX-License-Identifier: MPL-2.0
# ruff: noqa: S608  # names of tables, of this file
"""A ledger of each version before, with something of everything in it, becomes one of today: nothing is lost, and nothing tells them apart."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.types.json import Jsonb

from ci.labs.cluster import Cluster
from kea_subnet_deleg import __version__
from kea_subnet_deleg.cli import main
from kea_subnet_deleg.ledger import (
    Accept,
    Admin,
    LedgerError,
    LedgerUnavailable,
    Networks,
    Offer,
    Operation,
    Release,
    Renew,
    Upstreams,
)
from kea_subnet_deleg.ledger.ledger import SCHEMA_VERSION
from tests.conftest import Database
from tests.ledger.scene import Client, lease, one, prefixes

BEFORE = range(1, SCHEMA_VERSION)
TABLES: tuple[LiteralString, ...] = (
    "spaces", "selectors", "pools", "origins", "lessees", "servers", "blocks", "usage", "takebacks", "events",
)  # fmt: skip


def schema(version: int) -> LiteralString:
    """Return schema.sql as that version had it."""
    return (Path(__file__).parent / "data" / f"schema-{version}.sql").read_text(encoding="utf-8")


@pytest.fixture(params=BEFORE)
def version(request: pytest.FixtureRequest) -> int:
    """Each version that there was."""
    found: int = request.param
    return found


@pytest.fixture
def old(cluster: Cluster, version: int) -> Iterator[Database]:
    """A database with an empty ledger of that version."""
    cluster.execute("postgres", "drop database if exists old", "create database old")
    with Database(cluster, "old") as database:
        connection = database.connect()
        with connection.transaction():
            connection.execute(schema(version))
        yield database
    cluster.execute("postgres", "drop database old")


OPS = {Offer: "offer", Accept: "accept", Renew: "renew", Release: "release"}


def as_json(operation: Operation) -> dict[str, Any]:
    """Return an operation as deleg.apply() read it before version 5; the first one's Offer did not say `shortest`."""
    said = {field.name: getattr(operation, field.name) for field in dataclasses.fields(operation)}
    said |= {"op": OPS[type(operation)], "identity": operation.identity.hex()}
    said.pop("shortest", None)
    if isinstance(operation, Release):
        return said | {"blocks": [str(block) for block in operation.blocks]}
    if isinstance(operation, Accept):
        said["blocks"] = [(str(block.prefix), block.hierarchical, block.more) for block in operation.blocks]
    if isinstance(operation, (Offer, Accept, Renew)):
        contact = operation.contact._asdict() | {
            "address": str(IPv4Address(operation.contact.address)),
            "hardware": operation.contact.hardware.hex(),
            "nonce": None if operation.contact.nonce is None else operation.contact.nonce.hex(),
        }
        said |= {"server": str(IPv4Address(operation.server)), "contact": contact}
    return said


def apply(connection: psycopg.Connection[Any], *operations: Operation) -> list[Any]:
    """Do what a server of an old version does."""
    batch = [as_json(operation) for operation in operations]
    outcomes: list[Any] = connection.execute("select deleg.apply(%s)", (Jsonb(batch),)).fetchall()[0][0]
    return outcomes


def fill(database: Database) -> psycopg.Connection[Any]:
    """Put something of everything into the ledger; return the connection of a server."""
    database.pool("10.64.0.0/22", max_lease=864000, reserve=16, members=["\\x01"], tags=["sales"])
    database.pool("10.65.0.0/24")
    database.pool("10.66.0.0/24")
    database.sql("select deleg.space_add('tenant')")
    database.pool("10.64.0.0/22", space=1)
    database.sql("select deleg.space_select('tenant', 'vpn', null, null)")
    server = database.connect("kea_deleg_hook")
    server.execute("select deleg.server_seen('10.0.0.1', 'one', '0.3')")
    clients = [Client.number(n, nonce=bytes(16)) for n in range(4)]
    apply(server, *(client.offer(1, 26, 27) for client in clients))
    apply(server, Client.number(9, space=1).offer(1, 25))
    offers = apply(server, *(client.offer(1, 26, 27) for client in clients[:3]))
    blocks = [[IPv4Network((network, length)) for network, length, *_ in offer["blocks"]] for offer in offers]
    apply(server, *(c.accept(1, *map(str, held)) for c, held in zip(clients[:3], blocks, strict=True)))
    apply(server, clients[0].renew(*map(str, blocks[0]), usage=(9, 8, 7)), clients[1].release(str(blocks[1][0])))
    database.sql("update deleg.blocks set hierarchical = false, state = 'reserved' where prefix = %s", blocks[2][0])
    database.sql("select deleg.lease_takeback('default', %s)", blocks[0][1])
    (held,) = apply(server, clients[3].offer(2, 28, pools=(4,)))
    apply(server, clients[3].accept(2, str(IPv4Network(tuple(held["blocks"][0][:2])))))
    database.sql("select deleg.pool_remove('default', '10.66.0.0/24')")
    return server


def contents(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table of version 1."""
    return {
        table: [row for (row,) in database.sql("select to_jsonb(t) from deleg." + table + " t order by t::text")]
        for table in TABLES
    }


def catalog(database: Database) -> dict[str, list[Any]]:
    """Return all that a schema is: what it is made of, how it is defined, and who may use it."""
    return {
        # Partitions are not compared: their names are dates.
        "columns": database.sql(
            "select c.oid::regclass::text, attnum, attname::text, format_type(atttypid, atttypmod), attnotnull, attidentity::text,"
            " pg_get_expr(adbin, adrelid) from pg_attribute a join pg_class c on c.oid = attrelid"
            " left join pg_attrdef d on adrelid = attrelid and adnum = attnum"
            " where relnamespace::regnamespace::text in ('deleg', 'report') and attnum > 0 and not attisdropped and not relispartition"
            " order by 1, 2"
        ),
        "constraints": database.sql(
            # Since PostgreSQL 18 NOT NULL is there, too, under names that depend on what there was before: the columns have it.
            "select conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) from pg_constraint"
            " where connamespace::regnamespace::text = 'deleg' and contype <> 'n' order by 1, 2"
        ),
        "indexes": database.sql(
            "select pg_get_indexdef(indexrelid) from pg_index join pg_class c on c.oid = indrelid"
            " where relnamespace::regnamespace::text in ('deleg', 'report') and not relispartition order by 1"
        ),
        "relations": database.sql(
            "select oid::regclass::text, relkind::text, reloptions::text, relowner::regrole::text,"
            " array(select unnest(relacl)::text order by 1) from pg_class"
            " where relnamespace::regnamespace::text in ('deleg', 'report') and not relispartition order by 1"
        ),
        "views": database.sql(
            "select schemaname::text, viewname::text, definition from pg_views where schemaname in ('deleg', 'report') order by 1, 2"
        ),
        "functions": database.sql(
            "select pg_get_functiondef(p.oid), proowner::regrole::text, array(select unnest(proacl)::text order by 1) from pg_proc p"
            " where pronamespace::regnamespace::text in ('deleg', 'report') and prokind = 'f'"
            "   and not exists (select from pg_depend where objid = p.oid and deptype = 'e') order by 1"
        ),
        "triggers": database.sql(
            "select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by 1",
        ),
        "types": database.sql(
            "select enumtypid::regtype::text, enumlabel::text from pg_enum order by 1, enumsortorder",
        ),
        "schemas": database.sql(
            "select nspname::text, array(select unnest(nspacl)::text order by 1) from pg_namespace where nspname in ('deleg', 'report')"
            " order by 1"
        ),
    }


def test_nothing_is_lost(old: Database, version: int) -> None:
    fill(old)
    before = contents(old)
    assert all(before.values())
    assert {row["state"] for row in before["blocks"]} == {"free", "offered", "leased", "reserved", "quarantined"}
    with Admin(old.dsn()) as admin:
        assert admin.upgrade() == version
        assert admin.upgrade() == SCHEMA_VERSION
        assert admin.check() == []
    after = contents(old)
    for row in before["blocks"]:
        if row["state"] == "quarantined":  # it is of no transaction any more
            row["xid"] = row["slot"] = None
    for table, rows in before.items():
        kept = [{column: row[column] for column in rows[0]} for row in after[table]]
        assert sorted(map(json.dumps, kept)) == sorted(map(json.dumps, rows)), table
    assert [row["origin"] for row in after["blocks"] if row["network"]] == []
    assert {row["prefix"]: row["removing"] for row in after["origins"] if row["space"] == 0} == {
        "10.64.0.0/22": False,
        "10.65.0.0/24": False,
        "10.66.0.0/24": True,
    }


def test_nothing_tells_it_from_a_new_one(old: Database, database: Database) -> None:
    assert catalog(old) != catalog(database)
    with Admin(old.dsn()) as admin:
        admin.upgrade()
    upgraded, new = catalog(old), catalog(database)
    for what, rows in new.items():
        assert upgraded[what] == rows, what
    assert len(new["functions"]) > 60


def test_its_servers_go_on_and_new_ones_work_with_it(old: Database, version: int) -> None:
    server = fill(old)
    with pytest.raises(
        LedgerUnavailable, match=f"version {version}, needed is {SCHEMA_VERSION}: run `kea-subnet-deleg ledger upgrade`"
    ):
        old.ledger()
    with Admin(old.dsn()) as admin:
        admin.upgrade()
    (offer,) = apply(server, Client.number(20).offer(1, 28))
    block = str(IPv4Network(tuple(offer["blocks"][0][:2])))
    assert apply(server, Client.number(20).accept(1, block))[0]["outcome"] == "acknowledged"
    ledger = old.ledger()
    assert len(Upstreams(ledger).identity()) == 23
    assert prefixes(one(ledger, Client.number(20).renew(block))) == [block]
    assert lease(ledger, Client.number(21), 1, 28)
    assert Networks(ledger).take("hosts", "10.64.0.0/22", [28], 0, 60)
    reserved = old.sql("select prefix from deleg.blocks where state = 'reserved'")
    assert [(block.prefix,) for block in Networks(ledger).served(["hosts"]).reserved] == reserved
    assert old.violations() == []


def test_the_package_is_called_by_the_version_of_its_ledger() -> None:
    assert __version__.split(".")[1] == str(SCHEMA_VERSION)


def test_two_upgrades_at_once_are_one(old: Database, version: int) -> None:
    found: list[int] = []

    def upgrade() -> None:
        with Admin(old.dsn()) as admin:
            found.append(admin.upgrade())

    threads = [threading.Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == [version, SCHEMA_VERSION, SCHEMA_VERSION]
    assert old.sql("select version from deleg.schema_version order by 1") == [
        (n,) for n in range(version, SCHEMA_VERSION + 1)
    ]


def test_an_upgrade_that_fails_changes_nothing(old: Database, version: int) -> None:
    old.sql("drop function if exists deleg._wire_text")
    old.sql("create function deleg._wire_text(p_prefix cidr, p_hierarchical boolean) returns integer return 1")
    before = catalog(old)
    with Admin(old.dsn()) as admin, pytest.raises(LedgerError, match="cannot change return type"):
        admin.upgrade()
    assert catalog(old) == before
    assert old.sql("select max(version) from deleg.schema_version") == [(version,)]


@pytest.mark.parametrize("version", [BEFORE[-1]])
def test_who_is_in_the_way_is_named(old: Database, version: int) -> None:
    """A backup, say: stopping the servers does not help then."""
    connection = old.connect()
    connection.execute("set application_name = 'pg_dump'")
    with connection.transaction():
        connection.execute("select from deleg.blocks")
        with Admin(old.dsn()) as admin, pytest.raises(LedgerError, match=r"never at rest .* pg_dump, process"):
            admin.upgrade()
    with Admin(old.dsn()) as admin:
        assert admin.upgrade() == version


def test_who_may_not(old: Database) -> None:
    with Admin(old.dsn("kea_deleg_admin")) as admin, pytest.raises(LedgerError, match="permission denied"):
        admin.upgrade()


def test_no_ledger_and_a_newer_one(cluster: Cluster, old: Database) -> None:
    with Admin(cluster.dsn("postgres")) as admin, pytest.raises(LedgerError, match="no ledger in this database"):
        admin.upgrade()
    old.sql("update deleg.schema_version set version = 99")
    with (
        Admin(old.dsn()) as admin,
        pytest.raises(LedgerError, match=f"version 99, needed is {SCHEMA_VERSION}: install the version"),
    ):
        admin.upgrade()


def test_the_command(
    old: Database, version: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["kea-subnet-deleg", "ledger", "upgrade", "--dsn", old.dsn(), *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        return capsys.readouterr().out

    assert run() == f"ledger upgraded from version {version} to {SCHEMA_VERSION}\n"
    assert run() == f"the ledger has version {SCHEMA_VERSION} already; nothing changed\n"
    assert json.loads(run("--json")) == {"before": SCHEMA_VERSION, "now": SCHEMA_VERSION}


def test_servers_at_work_meanwhile(old: Database) -> None:
    """They wait. What waited in a function that the upgrade drops fails, once, and is sent again by who asked; nothing else does."""
    fill(old)
    old.pool("10.80.0.0/12")
    wrong: list[Exception] = []
    done, again = [0, 0], [0, 0]
    stop = threading.Event()

    def serve(number: int) -> None:
        connection = old.connect("kea_deleg_hook")
        try:
            while not stop.is_set():
                client = Client.number(1000 * (number + 1) + done[number])
                try:
                    (offer,) = apply(connection, client.offer(1, 28))
                    apply(connection, client.accept(1, str(IPv4Network(tuple(offer["blocks"][0][:2])))))
                    connection.execute("select deleg.sweep(10, 60)")
                except psycopg.errors.UndefinedFunction:
                    again[number] += 1
                else:
                    done[number] += 1
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    before = wait_for(done, [5, 5], wrong)
    with Admin(old.dsn()) as admin:
        admin.upgrade()
    wait_for(done, [n + 5 for n in before], wrong)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert max(again) <= 1
    assert old.deadlocks() == 0
    assert old.violations() == []


def wait_for(done: list[int], least: list[int], wrong: list[Exception]) -> list[int]:
    """Return what is done when each is at least that; fail after half a minute, or when something went wrong."""
    deadline = time.monotonic() + 30
    while not all(n >= wanted for n, wanted in zip(done, least, strict=True)):
        assert not wrong
        assert time.monotonic() < deadline, done
        time.sleep(0.01)
    return done.copy()
