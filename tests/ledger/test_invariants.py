# SPDX-License-Identifier: MPL-2.0
# ruff: noqa: S608  # names of tables and columns, of this file
"""ledger_check() sees each invariant broken; what the database itself enforces, it refuses; the events replay to the table."""

from __future__ import annotations

import random
from typing import Any, LiteralString

import psycopg
import pytest

from tests.conftest import Database
from tests.ledger.scene import Client, do, lease, prefixes

UNWATCHED = "set local session_replication_role = replica"  # no triggers: no events, no checks, no foreign keys
MINE, FREE, LARGE = "10.64.0.0/24", "10.64.1.0/24", "10.64.2.0/23"


@pytest.fixture
def scene(database: Database) -> Database:
    """A /22 of which one client holds a /24."""
    database.pool("10.64.0.0/22")
    assert lease(database.ledger(), Client.number(1), 1, 24) == [MINE]
    assert database.blocks() == {MINE: "leased", FREE: "free", LARGE: "free"}
    assert database.violations() == []
    return database


# ------------------------------------------------------------------------------------------------ what is reported


PLANTED: list[tuple[str, str, tuple[LiteralString, ...], list[str]]] = [
    (
        "an overlap",
        "I1",
        (
            "alter table deleg.blocks drop constraint blocks_disjoint",
            "update deleg.blocks set prefix = '10.64.0.0/23' where prefix = '10.64.1.0/24'",
        ),
        [MINE],
    ),
    ("an address lost", "I2", ("delete from deleg.blocks where prefix = '10.64.1.0/24'",), ["10.64.0.0/22"]),
    (
        "a block outside its origin",
        "I2",
        (UNWATCHED, "update deleg.blocks set prefix = '10.70.0.0/24' where prefix = '10.64.1.0/24'"),
        ["10.64.0.0/22", "10.70.0.0/24"],
    ),
    (
        "a lease beyond its origin's",
        "I3",
        ("update deleg.origins set expires = now() + interval '1 hour'",),
        [MINE],
    ),
    (
        "free buddies",
        "I4",
        (
            "update deleg.blocks set prefix = '10.64.1.0/25' where prefix = '10.64.1.0/24'",
            "insert into deleg.blocks (space, prefix, origin, pool, state) values (0, '10.64.1.128/25', '10.64.0.0/22', 2, 'free')",
        ),
        ["10.64.1.0/25"],
    ),
    (
        "a change of state without event",
        "I5",
        (UNWATCHED, "update deleg.blocks set draining = true where prefix = '10.64.1.0/24'"),
        [FREE],
    ),
    (
        "a change of expiry without event",
        "I5",
        (UNWATCHED, "update deleg.blocks set expires = expires + interval '1 s' where prefix = '10.64.0.0/24'"),
        [MINE],
    ),
    (
        "a block without event",
        "I5",
        ("delete from deleg.events where prefix = '10.64.2.0/23'",),
        [LARGE],
    ),
    (
        "an event without block",
        "I5",
        (
            "insert into deleg.events (space, kind, prefix, state, draining) values (0, 'x', '10.71.0.0/24', 'free', false)",
        ),
        ["10.71.0.0/24"],
    ),
    (
        "two blocks for one request",
        "I7",
        (
            "drop index deleg.blocks_transaction",
            "update deleg.blocks f set state = 'leased', lessee = m.lessee, xid = m.xid, slot = m.slot, hierarchical = true,"
            " lease_time = 1, expires = now() from deleg.blocks m where f.prefix = '10.64.1.0/24' and m.prefix = '10.64.0.0/24'",
        ),
        [MINE],
    ),
    (
        "usage of a free block",
        "usage",
        ("insert into deleg.usage (space, prefix, lessee) select 0, '10.64.1.0/24', lessee from deleg.lessees",),
        [FREE],
    ),
    (
        "a block of another pool than its origin",
        "I2",
        ("update deleg.blocks set pool = 1 where prefix = '10.64.1.0/24'",),
        [FREE],
    ),
    (
        "an origin in a pool of another space",
        "pools",
        (
            "insert into deleg.spaces (space, name) values (1, 'tenant')",
            "update deleg.pools set space = 1 where pool = 2",
        ),
        ["10.64.0.0/22"],
    ),
    (
        "a free block that is asked back",
        "takeback",
        ("insert into deleg.takebacks (space, prefix, reason, server) values (0, '10.64.1.0/24', 'x', '10.0.0.1')",),
        [FREE],
    ),
    (
        "a lease that another server is to ask back",
        "takeback",
        ("insert into deleg.takebacks (space, prefix, reason, server) values (0, '10.64.0.0/24', 'x', '10.0.0.9')",),
        [MINE],
    ),
    (
        "an asked back block that has ended",
        "takeback",
        (
            "insert into deleg.takebacks (space, prefix, reason, server) values (0, '10.64.0.0/24', 'x', '10.0.0.1')",
            "update deleg.blocks set state = 'quarantined', draining = false, xid = null, slot = null where prefix = '10.64.0.0/24'",
        ),
        [MINE],
    ),
    (
        "a network's block beyond its origin's lease",
        "I3",
        ("update deleg.blocks set state = 'local', network = 'hosts', expires = now() where prefix = '10.64.1.0/24'",),
        [FREE],
    ),
    (
        "a network's block without network",
        "network",
        (UNWATCHED, "update deleg.blocks set state = 'local', expires = 'infinity' where prefix = '10.64.1.0/24'"),
        [FREE],
    ),
    (
        "a leased block of a network",
        "network",
        ("update deleg.blocks set network = 'hosts' where prefix = '10.64.0.0/24'",),
        [MINE],
    ),
    (
        "a network's use of a lessee's block",
        "usage",
        ("insert into deleg.usage (space, prefix, in_use) values (0, '10.64.0.0/24', 1)",),
        [MINE],
    ),
    (
        "a free block that is handed out although its origin is being removed",
        "closing",
        ("update deleg.origins set closing = true",),
        [FREE, LARGE],
    ),
    (
        "a free block that is not handed out",
        "closing",
        ("update deleg.blocks set draining = true where prefix = '10.64.1.0/24'",),
        [FREE],
    ),
    (
        "usage of who had it before",
        "usage",
        (
            "insert into deleg.lessees (space, identity) values (0, 'before')",
            "insert into deleg.usage (space, prefix, lessee) select 0, '10.64.0.0/24', max(lessee) from deleg.lessees",
        ),
        [MINE],
    ),
]


@pytest.mark.parametrize(
    ("invariant", "statements", "prefix"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED]
)
def test_a_violation_is_reported(
    scene: Database, invariant: str, statements: tuple[LiteralString, ...], prefix: list[str]
) -> None:
    connection = scene.connect()
    with connection.transaction(force_rollback=True):
        for statement in statements:
            connection.execute(statement)
        found = connection.execute("select invariant, space, prefix::text, detail from deleg.ledger_check()").fetchall()
        assert sorted(row[:3] for row in found if row[0] == invariant) == [(invariant, 0, p) for p in prefix]
        assert all(row[3] for row in found)
        if UNWATCHED not in statements and invariant not in (
            "I1",
            "I2",
        ):  # the other violations that these cannot but plant
            assert len(found) == len(prefix)
    assert scene.violations() == []


# ------------------------------------------------------------------------------------------------ what is refused


def _insert(prefix: str, state: str = "free", **columns: object) -> tuple[str, list[object]]:
    values: dict[str, object] = {
        "space": 0,
        "prefix": prefix,
        "origin": "10.64.0.0/22",
        "pool": 2,
        "state": state,
        **columns,
    }
    return (
        f"insert into deleg.blocks ({', '.join(values)}) values ({', '.join(['%s'] * len(values))})",
        list(values.values()),
    )


@pytest.mark.parametrize("prefix", ["10.64.0.0/24", "10.64.0.128/25", "10.64.0.0/21", "10.64.1.4/30", "10.0.0.0/8"])
def test_an_overlap_is_refused(scene: Database, prefix: str) -> None:
    statement, values = _insert(prefix)
    with pytest.raises((psycopg.errors.ExclusionViolation, psycopg.errors.UniqueViolation)):
        scene.connect().execute(statement, values)


def test_other_spaces_may_overlap(scene: Database) -> None:
    scene.sql("insert into deleg.spaces (space, name) values (1, 'tenant'), (2147483647, 'last')")
    for space in (1, 2147483647):
        scene.pool("10.64.0.0/22", space=space)
        with pytest.raises(psycopg.errors.ExclusionViolation):
            scene.pool("10.64.0.0/23", space=space)
    assert scene.violations() == []


GOOD = {"lessee": 1, "xid": 1, "slot": 5, "lease_time": 60, "expires": "now", "hierarchical": True}


@pytest.mark.parametrize(
    ("state", "columns"),
    [
        ("free", {"lessee": 1}),
        ("free", {"xid": 1}),
        ("free", {"expires": "now"}),
        *[("offered", {**GOOD, column: None}) for column in GOOD],
        ("offered", {**GOOD, "draining": True}),
        *[("leased", {**GOOD, column: None}) for column in ("lessee", "lease_time", "expires", "hierarchical")],
        ("leased", {**GOOD, "hierarchical": False}),
        ("reserved", {**GOOD, "hierarchical": True}),
        ("reserved", {**GOOD, "hierarchical": None}),
        ("free", {"network": "hosts"}),
        ("local", {"lessee": 1, "network": "hosts", "expires": "infinity"}),
        ("local", {"network": "hosts"}),
        ("local", {"expires": "infinity"}),
        ("quarantined", {}),
        ("free", {"prefix": "10.64.1.0/31"}),
        ("free", {"prefix": "10.99.0.0/24"}),
    ],
)
def test_an_invalid_block_is_refused(scene: Database, state: str, columns: dict[str, object]) -> None:
    connection = scene.connect()
    with connection.transaction(force_rollback=True):
        connection.execute("delete from deleg.blocks where prefix = '10.64.1.0/24'")
        lessee = connection.execute("select lessee from deleg.lessees").fetchall()[0][0]
        values = {**columns, **({"lessee": lessee} if columns.get("lessee") else {})}
        prefix = str(values.pop("prefix", FREE))
        statement, arguments = _insert(prefix, state, **values)
        with pytest.raises(psycopg.errors.CheckViolation) as refusal, connection.transaction():
            connection.execute(statement, arguments)
        assert refusal.value.diag.constraint_name == "blocks_state"


def test_a_second_block_for_a_request_is_refused(scene: Database) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation, match="blocks_transaction"):
        scene.sql(
            "update deleg.blocks f set state = 'leased', lessee = m.lessee, xid = m.xid, slot = m.slot, hierarchical = true,"
            " lease_time = 1, expires = now() from deleg.blocks m where f.prefix = '10.64.1.0/24' and m.prefix = '10.64.0.0/24'"
        )


@pytest.mark.parametrize(
    "prefix", ["10.64.0.0/22", "10.64.0.0/16", "10.64.3.0/24", "0.0.0.0/0", "10.9.9.0/31", "fd00::/20"]
)
def test_a_bad_pool_is_refused(scene: Database, prefix: str) -> None:
    with pytest.raises(psycopg.errors.IntegrityError):
        scene.sql("select deleg.pool_add('default', %s::cidr, 'x', null)", prefix)


# ------------------------------------------------------------------------------------------------ the events


def replay(events: list[tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Return the table that the events give: the latest row of each prefix that is still there."""
    table: dict[str, tuple[Any, ...]] = {}
    for was, prefix, *row in events:
        if was is not None and was != prefix:
            del table[was]
        if prefix is not None:
            assert (prefix in table) == (was == prefix), (was, prefix, row)
            table[prefix] = tuple(row)
    return table


def test_the_events_replay_to_the_table(database: Database) -> None:
    database.pool("10.64.0.0/20")
    ledger, chance = database.ledger(), random.Random(6)
    for xid in range(60):
        client = Client.number(chance.randrange(5))
        (offer,) = do(ledger, client.offer(xid, *(chance.randint(23, 28) for _ in range(chance.randint(1, 3)))))
        do(ledger, client.accept(xid, *prefixes(offer)[: chance.randint(0, 3)]))
        (listed,) = do(ledger, client.listing())
        do(ledger, client.renew(*prefixes(listed)[:2], verdict=chance.choice(("full", "deprecate", "refuse"))))
        do(ledger, client.release(*prefixes(listed)[2:4], quarantine=chance.choice((0, 60))))
        ledger.sweep(10, 0)
    columns: LiteralString = "state, draining, server, expires, reason, detail"
    events = database.sql(
        "select was::text, prefix::text, case when state in ('free', 'local') then null else lessee end, "
        + columns
        + " from deleg.events order by seq"
    )
    table = database.sql("select prefix::text, lessee, " + columns + " from deleg.blocks")
    assert len(events) > 200
    assert replay(events) == {prefix: tuple(row) for prefix, *row in table}
    assert database.violations() == []


def test_a_change_by_hand_is_evented(scene: Database) -> None:
    scene.sql("update deleg.blocks set state = 'local', lessee = null, xid = null, expires = 'infinity', network = 'x', reason = 'by hand'"
              " where prefix = '10.64.0.0/24'")  # fmt: skip
    last = scene.sql(
        "select kind, was::text, prefix::text, was_state, state, reason from deleg.events order by seq desc limit 1"
    )
    assert last == [("local", MINE, MINE, "leased", "local", "by hand")]
    assert scene.violations() == []
