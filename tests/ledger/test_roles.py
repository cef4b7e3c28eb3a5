# SPDX-License-Identifier: MPL-2.0
# ruff: noqa: S608  # names of tables and columns, of this file
"""What each database role can do, and what it can't."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import LiteralString

import psycopg
import pytest

from kea_subnet_deleg.ledger import LedgerError, Note, Pool, Result, Selector
from tests.conftest import Database
from tests.ledger.scene import SERVER, Client, do, results

TABLES: tuple[LiteralString, ...] = (
    "schema_version", "spaces", "selectors", "pools", "origins", "lessees", "servers", "blocks", "usage", "takebacks", "events",
)  # fmt: skip
REPORTS: tuple[LiteralString, ...] = ("subnets", "lessees", "pools")
WRITES: tuple[LiteralString, ...] = (
    "insert into deleg.spaces values (9, 'x')",
    "insert into deleg.blocks (space, prefix, origin, pool, state) values (0, '10.64.0.0/24', '10.64.0.0/24', 1, 'free')",
    "update deleg.pools set reserve = 0",
    "insert into deleg.selectors (space, vss) values (0, 'x')",
    "delete from deleg.takebacks",
    "update deleg.lessees set nonce = null",
    "update deleg.blocks set state = 'free'",
    "delete from deleg.blocks",
    "delete from deleg.events",
    "update deleg.origins set closing = false",
    "truncate deleg.events",
)
DDL: tuple[LiteralString, ...] = (
    "create table deleg.x ()",
    "create table report.x ()",
    "create table public.x ()",
    "create schema x",
    "drop table deleg.usage",
    "alter table deleg.blocks disable trigger blocks_events",
    "create or replace function deleg._size(p_prefix cidr) returns bigint language sql as 'select 0::bigint'",
    "set session_replication_role = replica",
)
INTERNALS: tuple[LiteralString, ...] = (
    "select deleg._free(0, '10.64.0.0/24', 'x')",
    "select deleg._quarantine(0, '10.64.0.0/24', 1, 'x')",
    "select deleg._offer(0, '', '{}')",
    "select deleg._remove_origin(0, '10.64.0.0/24')",
    "select deleg._own_free_blocks(0)",
    "select deleg._accept(0, '', '{}')",
    "select deleg._renew(0, '', '{}')",
    "select deleg._note(0, '', 'x', 'x', null)",
    "select deleg._contact(1, '{}')",
    "select deleg._pools_open_to(null, null, null)",
    "select deleg._find_free(0, '{1}', 1, 24, 24, null)",
    "select deleg._space('default')",
)
OPERATING: tuple[LiteralString, ...] = (
    "select deleg.space_add('x')",
    "select deleg.space_select('default', 'x', null, null)",
    "select deleg.pool_add('default', '10.65.0.0/24', 'x')",
    "select deleg.pool_remove('default', '10.64.0.0/24')",
    "select deleg.lease_deprecate('default', '10.64.0.0/24')",
    "select deleg.lease_takeback('default', '10.64.0.0/24')",
)
SERVING: tuple[LiteralString, ...] = (
    "select deleg.apply('[]')",
    "select * from deleg.sweep(1, 1)",
    "select deleg.server_seen('10.0.0.1', 'x', 'x')",
    "select * from deleg.totals()",
    "select * from deleg.free_by_length()",
    "select deleg.directory()",
    "select deleg.takeback_least_used(0, '{1}', 1, 1, 1::bigint)",
    "select * from deleg.takeback_due('{}', '{}', true, 1, 1, 1)",
)


@pytest.fixture
def scene(database: Database) -> Database:
    database.pool("10.64.0.0/24")
    return database


def refused(database: Database, user: str, *statements: LiteralString) -> None:
    connection = database.connect(user)
    for statement in statements:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_the_hook_can_do_all_that_a_server_does(scene: Database) -> None:
    ledger, client = scene.ledger(), Client.number(1)
    ledger.server_seen(SERVER, "one", "0.1")
    outcomes = do(
        ledger,
        client.offer(1, 25, 26),
        client.accept(1, "10.64.0.0/25"),
        client.renew("10.64.0.0/25", usage=(5, 4, 1)),
        client.listing(),
        client.offer(2, 26),
        client.reclaim(2),
        client.release("10.64.0.0/25", quarantine=0),
    )
    assert results(outcomes) == [
        Result.OFFERED,
        Result.ACKNOWLEDGED,
        Result.ACKNOWLEDGED,
        Result.LISTED,
        Result.OFFERED,
        Result.RECLAIMED,
        Result.RELEASED,
    ]
    assert ledger.totals() == []
    assert ledger.sweep(10, 0) == (0, 0, 1, 0, 0)
    assert ledger.free_by_length() == [(0, 2, 24, 1)]
    assert [pool.name for pool in ledger.directory().pools_for(0, None)] == ["10.64.0.0/24"]
    do(ledger, client.offer(3, 25), client.accept(3, "10.64.0.0/25"), client.renew("10.64.0.0/25", usage=(1, 1, 0)))
    assert ledger.takeback_least_used(0, (2,), 128, 10, 0) == 1
    assert [order.attempt for order in ledger.takeback_due((SERVER,), (), True, 10, 5, 4.0)] == [1]
    do(ledger, Note(0, client.identity, 4, "refused", "test"))
    assert scene.violations() == []


def test_the_hook_can_do_nothing_else(scene: Database) -> None:
    refused(scene, "kea_deleg_hook", *WRITES, *DDL, *INTERNALS, *OPERATING)
    connection = scene.connect("kea_deleg_hook")
    for table in TABLES[1:]:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from deleg." + table)
    for view in REPORTS:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from report." + view)


def test_the_administrator_can_do_what_the_command_line_does(scene: Database) -> None:
    do(scene.ledger(), Client.number(1).offer(1, 26), Client.number(1).accept(1, "10.64.0.0/26"))
    with scene.admin() as admin:
        assert not admin.initialize()
        admin.pool_add(Pool(IPv4Network("10.65.0.0/24"), "second", 3600))
        assert [pool["pool"] for pool in admin.pools()] == ["10.64.0.0/24", "second"]
        assert admin.lease_deprecate(IPv4Network("10.64.0.0/26"))
        assert [row["draining"] for row in admin.subnets()] == [True]
        assert admin.lease_takeback(IPv4Network("10.64.0.0/26"))
        assert not admin.lease_takeback(IPv4Network("10.64.0.64/26"))
        admin.space_add("blue")
        admin.space_select("blue", Selector(0, identity=b"x"))
        assert [(row["space"], row["client_id"]) for row in admin.spaces()] == [("default", None), ("blue", "78")]
        assert admin.pool_remove(IPv4Network("10.64.0.0/24")) == 1
        assert admin.pool_remove(IPv4Network("10.65.0.0/24")) == 0
        assert admin.check() == []
        with pytest.raises(LedgerError, match=r"no pool 10\.66"):
            admin.pool_remove(IPv4Network("10.66.0.0/24"))
    connection = scene.connect("kea_deleg_admin")
    for table in TABLES:
        connection.execute("select * from deleg." + table)


def test_the_administrator_writes_no_table_and_serves_no_client(scene: Database) -> None:
    refused(scene, "kea_deleg_admin", *WRITES, *DDL, *INTERNALS, *SERVING)


def test_the_reporter_reads_reports(scene: Database) -> None:
    do(scene.ledger(), Client.number(1).offer(1, 26), Client.number(1).accept(1, "10.64.0.0/26"))
    connection = scene.connect("kea_deleg_report")
    for view in REPORTS:
        assert len(connection.execute("select * from report." + view).fetchall()) == 1
    assert connection.execute("select * from deleg.ledger_check()").fetchall() == []


def test_the_reporter_does_nothing_else(scene: Database) -> None:
    refused(scene, "kea_deleg_report", *WRITES, *DDL, *INTERNALS, *OPERATING, *SERVING)
    connection = scene.connect("kea_deleg_report")
    for table in TABLES[1:]:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from deleg." + table)


def test_a_caller_cannot_put_its_own_objects_in_the_way(scene: Database) -> None:
    """SECURITY DEFINER functions look in deleg first, whatever the caller's search_path and temporary tables say."""
    connection = scene.connect("kea_deleg_hook")
    connection.execute("create temporary table blocks (space integer, prefix cidr, expires timestamptz)")
    connection.execute("create temporary table takebacks (space integer, prefix cidr, next_at timestamptz)")
    connection.execute("insert into takebacks values (0, '10.64.0.0/24', now())")
    connection.execute("set search_path = pg_temp")
    assert connection.execute("select takebacks_due from deleg.sweep(1, 1)").fetchall() == [(0,)]
    assert connection.execute("select * from deleg.free_by_length()").fetchall() == [(0, 2, 24, 1)]
