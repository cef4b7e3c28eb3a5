# SPDX-License-Identifier: MPL-2.0
# ruff: noqa: S608  # names of tables and columns, of this file
"""What each database role can do, and what it can't."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import LiteralString

import psycopg
import pytest

from kea_subnet_deleg.ledger import (
    Kept,
    Leased,
    LedgerError,
    Measured,
    Networks,
    Note,
    Pool,
    Result,
    Selector,
    Upstreams,
)
from tests.conftest import Database
from tests.ledger.scene import SERVER, Client, do, results

TABLES: tuple[LiteralString, ...] = (
    "schema_version", "spaces", "selectors", "pools", "origins", "lessees", "servers", "blocks", "usage", "takebacks", "events",
    "domain", "upstreams", "claims", "usage_days", "origins_use", "events_kept", "noted", "progress",
)  # fmt: skip
REPORTS: tuple[LiteralString, ...] = ("subnets", "lessees", "pools", "networks", "upstreams", "growth")
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
    "select deleg._find_free(0, '{1}', 1, 24, 24, null, null)",
    "select deleg._find_free_beside(0, '{1}', 24, 24, '{}')",
    "select deleg._tell_networks()",
    "select deleg._close(0, '10.64.0.0/24', 'x')",
    "select deleg._open(0, '10.64.0.0/24', 'x')",
    "select deleg._keep(0, '10.64.0.0/24', '10.0.0.1', 1, 1, 1, false, null)",
    "select deleg._obtain(0, '10.64.0.0/24', '10.0.0.1', 1, 1, 1, false, null)",
    "select deleg._cut_short(null)",
    "select deleg._change_terms(null, '{}', null)",
    "select deleg._next_try(now(), null)",
    "select deleg._may_go(null, now(), 1)",
    "select deleg._remaining(now())",
    "select deleg._space('default')",
)
OPERATING: tuple[LiteralString, ...] = (
    "select deleg.space_add('x')",
    "select deleg.space_select('default', 'x', null, null)",
    "select deleg.space_deselect('x', null, null)",
    "select deleg.pool_change('default', 'default', '{}')",
    "select deleg.pool_add('default', '10.65.0.0/24', 'x')",
    "select deleg.pool_remove('default', '10.64.0.0/24')",
    "select deleg.lease_deprecate('default', '10.64.0.0/24')",
    "select deleg.lease_takeback('default', '10.64.0.0/24')",
    "select deleg.lease_keep('default', '10.64.0.0/24')",
    "select deleg.pool_keep('default', '10.64.0.0/24')",
    "select deleg.network_abandon('x', null, 1)",
)
SERVING: tuple[LiteralString, ...] = (
    "select deleg.apply('{}'::deleg.message[])",
    "select deleg.apply('[]'::jsonb)",
    "select * from deleg.sweep(1, 1)",
    "select deleg.server_seen('10.0.0.1', 'x', 'x')",
    "select * from deleg.totals()",
    r"select * from deleg.holdings('{0}', '{\\x01}')",
    "select * from deleg.free_by_length()",
    "select deleg.directory()",
    "select deleg.takeback_least_used(0, '{1}', 1, 1, 1::bigint)",
    "select * from deleg.takeback_due('{}', '{}', true, 1, 1, 1)",
    "select deleg.identity()",
    "select deleg.claim('x', 'x', 1)",
    "select deleg.unclaim('x', 'x')",
    "select deleg.upstream_acknowledged(0, '10.0.0.1', 1, 1, 1, '{}', '{}', null)",
    "select deleg.upstream_refused(0, '10.0.0.1', '{}', 1)",
    "select deleg.upstream_due(1)",
    "select deleg.upstream_give_back(1, 1)",
    "select deleg.upstream_due_in(1)",
    "select deleg.upstream_released(0, '10.64.0.0/24')",
    "select deleg.upstream_listed(0, '10.0.0.1', 1, '{}', '{}')",
    "select deleg.upstream_renew_now('10.0.0.1', '{}')",
    "select deleg.upstream_secret('10.0.0.1')",
    "select deleg.upstream_replayed('10.0.0.1', 1)",
    "select deleg.upstream_leased()",
    "select deleg.network_served('{}')",
    "select deleg.network_take('x', null, '{}', 0, 1)",
    "select deleg.network_drain('{}', 'x')",
    "select deleg.network_reopen('{}')",
    "select deleg.network_end('{}', 1, 'x')",
    "select deleg.network_measured('{}', '{}', '{}', '{}')",
    "select deleg.keep_days()",
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
    assert ledger.sweep(10, 0) == (0, 0, 1, 0, 0, False)
    assert ledger.free_by_length() == [(0, 2, 24, 1)]
    assert [pool.name for pool in ledger.directory().pools_for(0, None)] == ["10.64.0.0/24"]
    do(ledger, client.offer(3, 25), client.accept(3, "10.64.0.0/25"), client.renew("10.64.0.0/25", usage=(1, 1, 0)))
    assert ledger.takeback_least_used(0, (2,), 128, 10, 0) == 1
    assert [order.attempt for order in ledger.takeback_due((SERVER,), (), True, 10, 5, 4.0)] == [1]
    do(ledger, Note(0, client.identity, 4, "refused", "test"))
    assert scene.violations() == []


def test_the_hook_can_do_all_that_the_agent_does(scene: Database) -> None:
    ledger, client, upstream, block = scene.ledger(), Client.number(1), 0xC0000201, IPv4Network("172.16.0.0/24")
    upstreams, networks = Upstreams(ledger), Networks(ledger)
    assert upstreams.identity().startswith(b"\xff")
    assert upstreams.claim("listing", "one", 5.0)
    upstreams.unclaim("listing", "one")
    assert upstreams.acknowledged(0, upstream, 3600, 0, 3000, [(block, False)], bytes(16)) == [Kept(block, "added")]
    assert upstreams.leased() == [Leased(0, block, upstream)]
    assert networks.take("hosts", None, [26], 0, 60) == [IPv4Network("10.64.0.0/26")]
    networks.measured([Measured(IPv4Network("10.64.0.0/26"), 1, 2, 0)])
    networks.keep_days()
    networks.drain([IPv4Network("10.64.0.0/26")], "test")
    assert networks.reopen([IPv4Network("10.64.0.0/26")]) == [IPv4Network("10.64.0.0/26")]
    networks.drain([IPv4Network("10.64.0.0/26")], "test")
    networks.end([IPv4Network("10.64.0.0/26")], 60, "test")
    assert [served.state for served in networks.served(["hosts"]).local] == ["quarantined"]
    assert upstreams.listed(0, upstream, 60, [(block, False)]) == [Kept(block, "known")]
    assert upstreams.renew_now(upstream, [block]) == 1
    assert [due.prefix for due in upstreams.due(10)] == [block]
    assert upstreams.acknowledged(0, upstream, 3600, 1800, 3000, [(block, False)], None) == [Kept(block, "renewed")]
    assert upstreams.secret(upstream) == (bytes(16), 0)
    assert upstreams.replayed(upstream, 7)
    assert upstreams.give_back(0, 10) == [Leased(0, block, upstream)]
    upstreams.released(0, block)
    assert upstreams.refused(0, upstream, [block], 60) == []
    do(ledger, client.offer(1, 26))
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
        assert admin.lease_keep(IPv4Network("10.64.0.0/26"))
        assert [row["draining"] for row in admin.subnets()] == [False]
        assert not admin.lease_keep(IPv4Network("10.64.0.0/26"))
        admin.space_add("blue")
        admin.space_select("blue", Selector(0, identity=b"x"))
        assert [(row["space"], row["client_id"]) for row in admin.spaces()] == [("default", None), ("blue", "78")]
        assert admin.pool_remove(IPv4Network("10.64.0.0/24")) == 1
        admin.pool_keep(IPv4Network("10.64.0.0/24"))
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
    ledger = scene.ledger()
    do(ledger, Client.number(1).offer(1, 26), Client.number(1).accept(1, "10.64.0.0/26"))
    Upstreams(ledger).acknowledged(0, SERVER, 60, 30, 50, [(IPv4Network("172.16.0.0/26"), True)], None)
    Networks(ledger).take("hosts", None, [26], 0, 60)
    Networks(ledger).measured([Measured(IPv4Network("10.64.0.64/26"), 1, 1, 0)])
    Networks(ledger).keep_days()
    connection = scene.connect("kea_deleg_report")
    for view in REPORTS:
        rows = connection.execute("select * from report." + view).fetchall()
        assert len(rows) == (2 if view in ("subnets", "pools") else 1), view
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
