# SPDX-License-Identifier: MPL-2.0
# ruff: noqa: S608  # names of tables and columns, of this file
"""The reports: their columns are a contract, their figures are right on a small scene."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.rows import dict_row

from kea_subnet_deleg.ledger import Measured, Networks, Upstreams
from tests.conftest import Database
from tests.ledger.scene import DAY, SERVER, Client, do, lease, one, prefixes

COLUMNS = {
    "subnets": "space subnet state draining lessee lessee_identity lessee_address hierarchical server since renewed until"
    " lease_seconds addresses in_use high_water unusable reported fullness pool origin reason detail",
    "lessees": "space lessee lessee_identity lessee_address subnets held used share held_share fullness first_seen last_renewed",
    "pools": "space pool origin kind closing max_lease_seconds expires size free free_by_prefix_length offered leased reserved"
    " local quarantined",
    "networks": "space network blocks addresses in_use fullness draining reported",
    "upstreams": "space prefix server since renewed until t1 t2 closing in_use high_water",
    "growth": "space prefix day in_use growth",
}
TYPES = {
    "subnets": "text cidr text boolean text bytea inet boolean inet timestamptz timestamptz timestamptz int8 int8 int4 int4 int4"
    " timestamptz numeric text cidr text jsonb",
    "lessees": "text text bytea inet int8 int8 int8 numeric numeric numeric timestamptz timestamptz",
    "pools": "text text cidr text boolean int8 timestamptz int8 int8 jsonb int8 int8 int8 int8 int8",
    "networks": "text text int8 int8 int8 numeric int8 timestamptz",
    "upstreams": "text cidr inet timestamptz timestamptz timestamptz timestamptz timestamptz boolean int8 int8",
    "growth": "text cidr date int4 int4",
}
REPORT = Path(__file__).parents[2] / "docs" / "report.md"
FIRST, SECOND = Client.number(0x0B), Client(b"\0router-7")


@pytest.mark.parametrize("view", COLUMNS)
def test_the_columns_are_a_contract(database: Database, view: str) -> None:
    """Columns are only ever added, behind these."""
    rows = database.sql(
        "select attname::text, atttypid::regtype::text from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 order by attnum",
        f"report.{view}",
    )
    found = [(name, _SHORT.get(kind, kind)) for name, kind in rows]
    expected = list(zip(COLUMNS[view].split(), TYPES[view].split(), strict=True))
    assert found[: len(expected)] == expected


_SHORT = {"timestamp with time zone": "timestamptz", "bigint": "int8", "integer": "int4"}


@pytest.fixture
def scene(database: Database) -> Database:
    """Two lessees, one with two blocks and 24 of 64 addresses used, and a bit of everything else."""
    database.pool("10.64.0.0/24", max_lease=DAY)
    database.pool("192.0.2.0/26")
    ledger = database.ledger()
    assert lease(ledger, FIRST, 1, 27, 27) == ["192.0.2.0/27", "192.0.2.32/27"]
    assert lease(ledger, SECOND, 1, 25, lease_time=0xFFFFFFFF) == ["10.64.0.0/25"]
    do(ledger, FIRST.renew("192.0.2.0/27", usage=(20, 18, 1)), FIRST.renew("192.0.2.32/27", usage=(6, None, None)))
    do(ledger, SECOND.renew("10.64.0.0/25", usage=(90, 72, 0), verdict="deprecate"))
    assert prefixes(one(ledger, FIRST.offer(9, 26))) == ["10.64.0.128/26"]
    return database


def rows(database: Database, view: LiteralString, order: LiteralString) -> list[dict[str, object]]:
    connection = database.connect("kea_deleg_report")
    connection.row_factory = dict_row
    return connection.execute("select * from report." + view + " order by " + order).fetchall()


def test_subnets(scene: Database) -> None:
    offered, ending, used = None, None, None
    found = {str(row["subnet"]): row for row in rows(scene, "subnets", "subnet")}
    assert list(found) == ["10.64.0.0/25", "10.64.0.128/26", "192.0.2.0/27", "192.0.2.32/27"]
    ending, offered, used = found["10.64.0.0/25"], found["10.64.0.128/26"], found["192.0.2.0/27"]
    assert (ending["lessee"], ending["draining"], ending["lease_seconds"]) == ("router-7", True, DAY)
    assert (offered["state"], offered["lessee"], offered["in_use"], offered["renewed"]) == (
        "offered",
        "02:00:00:00:00:0b",
        None,
        None,
    )
    since, until = used["since"], used["until"]
    assert isinstance(since, dt.datetime)
    assert isinstance(until, dt.datetime)
    assert dt.timedelta(seconds=DAY - 60) < until - since <= dt.timedelta(seconds=DAY + 60)
    expected = {
        "space": "default",
        "subnet": IPv4Network("192.0.2.0/27"),
        "state": "leased",
        "draining": False,
        "lessee": "02:00:00:00:00:0b",
        "lessee_identity": FIRST.identity,
        "hierarchical": True,
        "lease_seconds": DAY,
        "addresses": 32,
        "in_use": 18,
        "high_water": 20,
        "unusable": 1,
        "fullness": Decimal("0.5625"),
        "pool": "192.0.2.0/26",
        "origin": IPv4Network("192.0.2.0/26"),
        "reason": "test",
    }
    assert {key: used[key] for key in expected} == expected
    assert int(used["server"]) == SERVER  # type: ignore[call-overload]


def test_nobody_uses_more_than_there_is(database: Database) -> None:
    """Whatever is reported; and 65534 says all of a block that has more (RFC 6656 3.2.1.1)."""
    database.pool("10.0.0.0/11")
    ledger = database.ledger()
    assert lease(ledger, FIRST, 1, 12) == ["10.0.0.0/12"]
    assert lease(ledger, SECOND, 1, 24) == ["10.16.0.0/24"]
    do(
        ledger,
        FIRST.renew("10.0.0.0/12", usage=(65534, 65534, 0)),
        SECOND.renew("10.16.0.0/24", usage=(60000, 60000, 0)),
    )
    assert [row["fullness"] for row in rows(database, "subnets", "subnet")] == [Decimal(1), Decimal(1)]
    assert [(row["used"], row["fullness"]) for row in rows(database, "lessees", "held desc")] == [
        (1 << 20, 1),
        (256, 1),
    ]
    assert ledger.holdings([(0, SECOND.identity)]) == [(256, 256)]
    assert database.violations() == []


def test_what_is_asked_back_twice_was_not_renewed(scene: Database) -> None:
    for _ in range(2):
        assert scene.sql("select deleg.lease_takeback('default', '192.0.2.0/27')") == [(True,)]
    kinds = scene.sql("select kind from deleg.events where prefix = '192.0.2.0/27' order by seq")
    assert [kind for (kind,) in kinds] == ["offered", "leased", "renewed", "draining"]
    assert scene.sql("select deleg.lease_takeback('default', '192.0.2.64/27')") == [(False,)]


def test_a_lease_without_end_has_no_until(database: Database) -> None:
    database.pool("10.64.0.0/24")
    lease(database.ledger(), FIRST, 1, 25, lease_time=0xFFFFFFFF)
    assert [(row["until"], row["lease_seconds"]) for row in rows(database, "subnets", "subnet")] == [(None, 0xFFFFFFFF)]


def test_lessees(scene: Database) -> None:
    scene.sql("insert into deleg.lessees (space, identity) values (0, 'holds nothing')")
    found = rows(scene, "lessees", "held desc")
    columns = ("lessee", "subnets", "held", "used", "share", "held_share", "fullness")
    assert [tuple(row[column] for column in columns) for row in found] == [
        ("router-7", 1, 128, 72, Decimal("0.7500"), Decimal("0.6667"), Decimal("0.5625")),
        ("02:00:00:00:00:0b", 2, 64, 24, Decimal("0.2500"), Decimal("0.3333"), Decimal("0.3750")),
        ("holds nothing", 0, 0, 0, Decimal(0), Decimal(0), None),
    ]


def test_pools(scene: Database) -> None:
    do(scene.ledger(), FIRST.release("192.0.2.32/27"))
    first, second = rows(scene, "pools", "origin")
    assert {
        key: first[key] for key in ("size", "free", "offered", "leased", "quarantined", "max_lease_seconds", "closing")
    } == {
        "size": 256,
        "free": 64,
        "offered": 64,
        "leased": 128,
        "quarantined": 0,
        "max_lease_seconds": DAY,
        "closing": False,
    }
    assert first["free_by_prefix_length"] == {"/26": 1}
    assert (second["size"], second["free"], second["leased"], second["quarantined"]) == (64, 0, 32, 32)
    assert (second["free_by_prefix_length"], second["expires"], second["kind"]) == ({}, None, "administrator")


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        (b"\1\0\x1b\x21\xaa\xbb\xcc", "00:1b:21:aa:bb:cc"),
        (b"\0router-7", "router-7"),
        (b"router-7", "router-7"),
        (b"\xff\0\1\2", "ff000102"),
        (b"\0", "00"),
        (b"a\\b", "615c62"),
        (b"\0a\nb", "00610a62"),
        (" é".encode(), "20c3a9"),
    ],
)
def test_identities_as_text(database: Database, identity: bytes, text: str) -> None:
    assert database.sql("select report.identity_text(%s)", identity) == [(text,)]


def test_networks_and_their_subnets(database: Database) -> None:
    database.pool("10.64.0.0/24")
    networks = Networks(database.ledger())
    assert networks.take("guests", None, [26], 0, 0) == [IPv4Network("10.64.0.0/26")]
    assert networks.take("hosts", None, [25, 27], 0, 0) == [IPv4Network("10.64.0.128/25"), IPv4Network("10.64.0.64/27")]
    networks.measured([Measured(IPv4Network("10.64.0.64/27"), 4, 9, 1)])
    (reported,) = database.sql("select reported from deleg.usage")[0]
    assert [tuple(row.values())[1:] for row in rows(database, "networks", "network")] == [
        ("guests", 1, 64, None, None, 0, None),
        ("hosts", 2, 160, 4, Decimal("0.0250"), 0, reported),
    ]
    networks.measured([Measured(IPv4Network("10.64.0.0/26"), 32, 32, 0)])
    networks.drain([IPv4Network("10.64.0.64/27")], "little used")
    found = rows(database, "networks", "network")
    assert [(row["fullness"], row["draining"]) for row in found] == [(Decimal("0.5000"), 0), (Decimal("0.0250"), 1)]
    subnets = {str(row["subnet"]): row for row in rows(database, "subnets", "subnet")}
    drained = subnets["10.64.0.64/27"]
    columns = ("state", "network", "draining", "lessee", "until", "in_use", "high_water", "unusable", "reason")
    assert [drained[column] for column in columns] == ["local", "hosts", True, None, None, 4, 9, 1, "little used"]
    networks.end([IPv4Network("10.64.0.64/27")], 60, "drained")
    ended = {str(row["subnet"]): row for row in rows(database, "subnets", "subnet")}["10.64.0.64/27"]
    assert [ended[column] for column in columns[:4]] == ["quarantined", "hosts", False, None]


def test_when_the_lease_of_what_a_network_serves_was_acknowledged(database: Database) -> None:
    """That of its origin: at once, and each time, where there is no end to move, too. Never of what an administrator entered."""
    database.pool("10.64.0.0/24")
    ledger = database.ledger()
    upstreams, networks, block = Upstreams(ledger), Networks(ledger), IPv4Network("172.16.0.0/24")

    def acknowledge() -> None:
        upstreams.acknowledged(0, SERVER, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, [(block, False)], None)

    def renewed() -> dict[object, object]:
        return {row["network"]: row["renewed"] for row in rows(database, "subnets", "subnet")}

    acknowledge()
    assert networks.take("guests", "10.64.0.0/24", [25], 0, 0)
    assert networks.take("hosts", "default", [25], 0, 0) == [IPv4Network("172.16.0.0/25")]
    for _ in range(2):
        assert renewed() == {"guests": None, "hosts": rows(database, "upstreams", "prefix")[0]["renewed"]}
        acknowledge()
    networks.drain([IPv4Network("172.16.0.0/25")], "little used")
    networks.end([IPv4Network("172.16.0.0/25")], 60, "drained")
    assert renewed()["hosts"] is not None


def test_upstreams(database: Database) -> None:
    ledger = database.ledger()
    upstreams, block = Upstreams(ledger), IPv4Network("172.16.0.0/24")
    upstreams.acknowledged(0, SERVER, 1000, 600, 875, [(block, True), (IPv4Network("172.16.1.0/24"), False)], None)
    Networks(ledger).take("hosts", None, [25], 0, 0)
    found = rows(database, "upstreams", "prefix")
    assert [(row["closing"], row["in_use"], row["high_water"]) for row in found] == [
        (True, 0, None),
        (False, 128, None),
    ]
    row = found[0]
    assert (str(row["prefix"]), str(row["server"]), row["renewed"]) == (str(block), "10.0.0.1", row["since"])
    since, times = row["since"], [row[column] for column in ("t1", "t2", "until")]
    assert isinstance(since, dt.datetime)
    assert times == [since + dt.timedelta(seconds=seconds) for seconds in (600, 875, 1000)]
    Networks(ledger).measured([Measured(IPv4Network("172.16.1.0/25"), 51, 74, 0)])
    assert [(row["in_use"], row["high_water"]) for row in rows(database, "upstreams", "prefix")][1] == (51, 74)
    upstreams.acknowledged(0, SERVER, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, [(block, False)], None)
    row = rows(database, "upstreams", "prefix")[0]
    assert [row[column] for column in ("t1", "t2", "until", "closing")] == [None, None, None, False]


def test_growth(database: Database) -> None:
    database.pool("10.64.0.0/24")
    networks, block = Networks(database.ledger()), IPv4Network("10.64.0.0/25")
    networks.take("hosts", None, [25], 0, 0)

    def a_day(*figures: int) -> None:
        database.sql("update deleg.usage_days set day = day - 1")
        for in_use in figures:
            networks.measured([Measured(block, in_use, in_use, 0)])
            networks.keep_days()

    a_day(10, 30, 20)
    a_day(25)
    a_day(25, 5)
    found = [(row["in_use"], row["growth"], row["most"]) for row in rows(database, "growth", "prefix, day")]
    assert found == [(20, 10, 30), (25, 5, 25), (5, -20, 25)]
    days = [row["day"] for row in rows(database, "growth", "day desc")]
    assert days[0] == dt.datetime.now(dt.UTC).date()
    database.sql("update deleg.usage_days set day = day - 399")
    networks.keep_days()
    assert len(rows(database, "growth", "day")) == 3  # the oldest has gone, and there is today


def who_had(database: Database, address: str) -> tuple[Any, ...]:
    """Ask docs/report.md's query of the history for an address, as of now: prefix, state and lessee."""
    (query,) = re.findall(
        r"^```sql\n(-- kea_deleg_admin\n[^`]*'10\.64\.0\.77', true[^`]*)^```", REPORT.read_text(), re.MULTILINE
    )
    query = query.replace("10.64.0.77", address).replace("2026-12-01 00:00+00", "infinity")
    with psycopg.connect(database.dsn("kea_deleg_admin"), row_factory=dict_row) as connection:
        (row,) = connection.execute(query).fetchall()
    return str(row["prefix"]), row["state"], row["lessee"]


def test_who_had_an_address(database: Database) -> None:
    """Nobody whose part of a merged block it was not."""
    database.pool("10.64.0.0/23")
    ledger = database.ledger()
    assert lease(ledger, FIRST, 1, 24) + lease(ledger, SECOND, 2, 24) == ["10.64.0.0/24", "10.64.1.0/24"]
    first = "02:00:00:00:00:0b"
    assert who_had(database, "10.64.0.77") == ("10.64.0.0/24", "leased", first)
    do(ledger, FIRST.release("10.64.0.0/24", quarantine=0))
    assert who_had(database, "10.64.0.77") == ("10.64.0.0/24", "quarantined", first)
    while ledger.sweep(10, 0).more:
        pass
    do(ledger, SECOND.release("10.64.1.0/24", quarantine=0))
    while ledger.sweep(10, 0).more:
        pass
    assert database.blocks() == {"10.64.0.0/23": "free"}
    assert who_had(database, "10.64.0.77") == ("10.64.0.0/23", "free", None)
