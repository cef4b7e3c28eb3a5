# SPDX-License-Identifier: MPL-2.0
"""kea-subnet-deleg as an operator runs it: a process, a real cluster, its output and exit status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from kea_subnet_deleg import __version__
from kea_subnet_deleg.ledger import Measured, Networks, Upstreams
from tests.conftest import Database, running_cluster
from tests.ledger.scene import DAY, Client, do, lease

COMMAND = Path(sys.executable).with_name("kea-subnet-deleg")


def run(*arguments: str, dsn: str = "") -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment |= {"KEA_SUBNET_DELEG_DSN": dsn} if dsn else {}
    return subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


def good(*arguments: str, dsn: str = "") -> str:
    done = run(*arguments, dsn=dsn)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def good_json(*arguments: str, dsn: str = "") -> Any:
    return json.loads(good(*arguments, "--json", dsn=dsn))


def refused(*arguments: str, dsn: str = "", status: int = 1) -> str:
    """Return what a command that fails says: on stderr, with nothing on stdout."""
    done = run(*arguments, dsn=dsn)
    assert (done.returncode, done.stdout) == (status, "")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def dsn(database: Database) -> str:
    return database.dsn("kea_deleg_admin")


@pytest.fixture
def scene(database: Database) -> Database:
    """A pool of which one client holds a /24."""
    database.pool("10.64.0.0/16", max_lease=DAY)
    ledger, client = database.ledger(), Client.number(1)
    assert lease(ledger, client, 1, 24) == ["10.64.0.0/24"]
    do(ledger, client.renew("10.64.0.0/24", usage=(90, 70, 1)))
    return database


def test_version() -> None:
    assert good("version") == f"kea-subnet-deleg {__version__}\n"
    assert good_json("version") == {"version": __version__}


@pytest.fixture(scope="module")
def bare() -> Iterator[str]:
    """A cluster as an operator finds one: no ledger, no roles."""
    with running_cluster() as (cluster, _):
        yield cluster.dsn("postgres")


def test_ledger_init(bare: str) -> None:
    for command in (
        ("ledger", "check"),
        ("pool", "list"),
        ("pool", "add", "10.0.0.0/8"),
        ("lease", "deprecate", "10.0.0.0/8"),
    ):
        text = refused(*command, dsn=bare)
        assert text.startswith("kea-subnet-deleg: no ledger in this database")
        assert "kea-subnet-deleg ledger init" in text
    assert good("ledger", "init", dsn=bare) == "ledger created\n"
    assert good("ledger", "init", dsn=bare) == "there is a ledger already; nothing changed\n"
    assert good_json("ledger", "init", "--dsn", bare) == {"created": False}
    assert good("ledger", "check", dsn=bare) == "every invariant holds\n"
    assert good("pool", "list", dsn=bare) == "no pools\n"
    assert good("lease", "list", dsn=bare) == "nothing is held\n"


def test_ledger_init_without_the_right_to(database: Database) -> None:
    other = database.cluster.dsn("postgres", "kea_deleg_admin")
    assert "permission denied" in refused("ledger", "init", dsn=other)
    assert refused("pool", "list", dsn=other).startswith("kea-subnet-deleg: no ledger in this database")


def test_ledger_check(scene: Database, dsn: str) -> None:
    assert good("ledger", "check", dsn=dsn) == "every invariant holds\n"
    assert good_json("ledger", "check", dsn=dsn) == []
    scene.sql("update deleg.origins set expires = now()")
    done = run("ledger", "check", dsn=dsn)
    assert done.returncode == 1
    assert "I3" in done.stdout
    assert "10.64.0.0/24" in done.stdout
    done = run("ledger", "check", "--json", dsn=dsn)
    (violation,) = json.loads(done.stdout)
    assert (done.returncode, violation["invariant"], violation["prefix"]) == (1, "I3", "10.64.0.0/24")
    assert set(violation) == {"invariant", "space", "prefix", "detail"}


def test_how_long_events_are_kept(dsn: str) -> None:
    assert good("ledger", "retention", dsn=dsn) == "events are kept for 400 days\n"
    try:
        assert good("ledger", "retention", "none", dsn=dsn) == "events are kept for ever\n"
        assert good_json("ledger", "retention", dsn=dsn) == {"days": None}
        assert good_json("ledger", "retention", "90", dsn=dsn) == {"days": 90}
        for days in ("0", "-1", "90d", "100001"):
            assert "allowed are 1 to 100000 days" in refused("ledger", "retention", "--", days, dsn=dsn, status=2)
        assert good_json("ledger", "retention", dsn=dsn) == {"days": 90}
    finally:
        good("ledger", "retention", "400", dsn=dsn)


def test_what_is_not_utf_8(dsn: str) -> None:
    """As a terminal in another encoding sends it."""
    assert refused("space", "add", "b\udcfcro", dsn=dsn) == "kea-subnet-deleg: b\\udcfcro: not UTF-8\n"
    assert refused("ledger", "check", dsn="host=\udcff") == "kea-subnet-deleg: host=\\udcff: not UTF-8\n"


@pytest.mark.usefixtures("scene")
def test_a_ledger_that_was_restored(dsn: str, scene: Database) -> None:
    text = refused("ledger", "restored", "--longest", "86400", dsn=dsn)
    assert "servers are connected to this ledger (1 times)" in text
    assert scene.sql("select restored_until from deleg.domain") == [(None,)]
    assert good_json("ledger", "restored", "--longest", "1", "--force", dsn=dsn)["leased"] == 1
    scene.sql(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = current_database() and usename = 'kea_deleg_hook'"
    )
    said = good("ledger", "restored", "--longest", "86400", dsn=dsn)
    assert re.fullmatch(
        r"for 86400 s, \d+ blocks are withheld, 1 leases are kept, and 0 blocks of our own networks are served on\n",
        said,
    )
    assert good_json("ledger", "restored", "--longest", "60", dsn=dsn)["leased"] == 1
    for longest in ("0", "4294967295", "a week"):
        assert "--longest" in refused("ledger", "restored", "--longest", longest, dsn=dsn, status=2)
    assert "--longest" in refused("ledger", "restored", dsn=dsn, status=2)


def test_pools(database: Database, dsn: str) -> None:
    assert good("pool", "add", "10.64.0.0/10", dsn=dsn) == "added 10.64.0.0/10 to pool default\n"
    assert good_json("pool", "add", "192.0.2.0/24", "--name", "lab", "--max-lease-time", "3600", dsn=dsn) == {
        "space": "default",
        "origin": "192.0.2.0/24",
        "pool": "lab",
        "max_lease_seconds": 3600,
    }
    first, second = good_json("pool", "list", dsn=dsn)
    assert (first["pool"], first["origin"], first["size"], first["free"]) == (
        "default",
        "10.64.0.0/10",
        1 << 22,
        1 << 22,
    )
    assert (second["pool"], second["max_lease_seconds"], second["free_by_prefix_length"]) == ("lab", 3600, {"/24": 1})
    table = good("pool", "list", dsn=dsn).splitlines()
    assert len(table) == 3
    assert table[2].split()[:5] == ["default", "lab", "192.0.2.0/24", "256", "256"]
    assert good("pool", "remove", "10.64.0.0/10", dsn=dsn) == "removed 10.64.0.0/10\n"
    assert good_json("pool", "remove", "192.0.2.0/24", dsn=dsn) == {
        "origin": "192.0.2.0/24",
        "removed": True,
        "blocks_held": 0,
    }
    assert database.blocks() == {}


TERMS = (
    "select tags, policy, default_length, largest_length, smallest_length, lease_time, reserve, members from deleg.pools"
    " where name = 'lab'"
)


def test_the_terms_of_a_pool_change(database: Database, dsn: str) -> None:
    good(
        "pool", "add", "10.64.0.0/16", "--name", "lab", "--tag", "a", "--tag", "b", "--max-prefix-length", "28", dsn=dsn
    )
    assert (
        good("pool", "change", "lab", "--lease-time", "600", "--policy", "proportional", "--tag", "c", dsn=dsn)
        == "changed pool lab\n"
    )
    assert database.sql(TERMS) == [(["c"], "proportional", None, None, 28, 600, 0, [])]
    sizes = ("--default-prefix-length", "26", "--min-prefix-length", "20", "--reserve", "64", "--member", "01:02")
    assert good_json("pool", "change", "lab", *sizes, dsn=dsn) == {"space": "default", "pool": "lab"}
    assert database.sql(TERMS) == [(["c"], "proportional", 26, 20, 28, 600, 64, [b"\1\2"])]
    unset = [
        word for option in ("tag", "policy", "min-prefix-length", "reserve", "member") for word in ("--unset", option)
    ]
    good("pool", "change", "lab", *unset, "--max-prefix-length", "27", dsn=dsn)
    assert database.sql(TERMS) == [([], None, 26, None, 27, 600, 0, [])]
    assert database.blocks() == {"10.64.0.0/16": "free"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("lab",), "nothing to change: at least one option is needed"),
        (("labs", "--reserve", "1"), 'pool: "labs": no such pool in space default; allowed are default, lab'),
        (("lab", "--space", "x", "--reserve", "1"), 'space: "x": no such space; allowed are default'),
        (("lab", "--policy", "x"), 'policy: "x": no such policy; allowed are best-fit'),
        (("lab", "--reserve", "1", "--unset", "reserve"), "--reserve is both given and unset"),
        (
            ("lab", "--default-prefix-length", "15"),
            "default-prefix-length: 15: is more than the pool 10.64.0.0/16; allowed is 16 to 30",
        ),
        (
            ("lab", "--max-prefix-length", "15"),
            "max-prefix-length: 15: nothing of the pool 10.64.0.0/16 would be leased",
        ),
        (
            ("lab", "--min-prefix-length", "29"),
            "min-prefix-length: 29, default-prefix-length: not set, max-prefix-length: 28: none may",
        ),
        (("lab", "--tag", "a", "--tag", ""), 'tag: "": a Subnet-Name has at least one character'),
    ],
)
def test_terms_that_cant_be(database: Database, dsn: str, words: tuple[str, ...], text: str) -> None:
    good("pool", "add", "10.64.0.0/16", "--name", "lab", "--tag", "a", "--max-prefix-length", "28", dsn=dsn)
    before = database.sql(TERMS)
    assert refused("pool", "change", *words, dsn=dsn).startswith(f"kea-subnet-deleg: {text}")
    assert database.sql(TERMS) == before


@pytest.mark.parametrize("selector", [("--vss", "blue"), ("--network", "192.0.2.0/24"), ("--client-id", "01:02")])
def test_a_selector_goes(dsn: str, selector: tuple[str, str]) -> None:
    good("space", "add", "blue", dsn=dsn)
    good("space", "select", "blue", *selector, dsn=dsn)
    assert good("space", "deselect", *selector, dsn=dsn) == f"{selector[1]} selects no space any more\n"
    assert (
        refused("space", "deselect", *selector, dsn=dsn)
        == f"kea-subnet-deleg: {selector[1]} selects no space; see `space list`\n"
    )
    assert (
        refused("space", "deselect", dsn=dsn)
        == "kea-subnet-deleg: exactly one of --vss, --network and --client-id is needed\n"
    )
    assert [row["space"] for row in good_json("space", "list", dsn=dsn)] == ["default", "blue"]


@pytest.mark.usefixtures("scene")
def test_removing_a_pool_that_is_leased_from(dsn: str) -> None:
    text = good("pool", "remove", "10.64.0.0/16", dsn=dsn)
    assert text == "10.64.0.0/16: 1 blocks are still out; it goes when they have come back\n"
    assert good_json("pool", "remove", "10.64.0.0/16", dsn=dsn) == {
        "origin": "10.64.0.0/16",
        "removed": False,
        "blocks_held": 1,
    }
    assert good_json("pool", "list", dsn=dsn)[0]["closing"] is True
    assert "with its whole pool 10.64.0.0/16" in refused("lease", "keep", "10.64.0.0/24", dsn=dsn)
    assert good("pool", "keep", "10.64.0.0/16", dsn=dsn) == "10.64.0.0/16 stays\n"
    assert good_json("pool", "list", dsn=dsn)[0]["closing"] is False
    assert refused("pool", "keep", "10.64.0.0/16", dsn=dsn) == (
        "kea-subnet-deleg: the pool 10.64.0.0/16 of space default is not being removed\n"
    )
    good("pool", "remove", "10.64.0.0/16", dsn=dsn)
    assert good_json("pool", "keep", "10.64.0.0/16", dsn=dsn) == {"origin": "10.64.0.0/16", "closing": False}


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize("prefix", ["10.64.0.0/16", "10.64.0.0/24", "10.0.0.0/8"])
def test_a_pool_that_overlaps(dsn: str, prefix: str) -> None:
    text = refused("pool", "add", prefix, dsn=dsn)
    assert (
        text == f"kea-subnet-deleg: {prefix} overlaps a pool that is already there in space default; see `pool list`\n"
    )


def test_names_have_a_character(dsn: str) -> None:
    bad = refused("pool", "add", "10.0.0.0/8", "--name", "", dsn=dsn), refused("space", "add", "", dsn=dsn)
    assert bad == (
        'kea-subnet-deleg: pool: "": a name has at least one character\n',
        'kea-subnet-deleg: space: "": a name has at least one character\n',
    )
    text = refused("pool", "add", "10.0.0.0/8", "--tag", "a", "--tag", "", dsn=dsn)
    assert text == 'kea-subnet-deleg: tag: "": a Subnet-Name has at least one character; alone it takes all tags off\n'
    assert "dsn" in refused("config", "stanza", "--dsn", "")


def test_tags_are_taken_off(database: Database, dsn: str) -> None:
    good("pool", "add", "10.0.0.0/9", "--tag", "a", "--tag", "b", dsn=dsn)
    assert database.sql("select tags from deleg.pools where name = 'default'") == [(["a", "b"],)]
    good("pool", "add", "10.128.0.0/9", "--tag", "", dsn=dsn)
    assert database.sql("select tags from deleg.pools where name = 'default'") == [([],)]


@pytest.mark.parametrize("prefix", ["10.64.0.1/16", "10.64.0.0/31", "0.0.0.0/0", "10.64.0.0", "x", "fd00::/8", ""])
@pytest.mark.parametrize(
    "command", [("pool", "add"), ("pool", "remove"), ("pool", "keep"), ("lease", "deprecate"), ("lease", "keep")]
)
def test_what_is_no_prefix(command: tuple[str, str], prefix: str) -> None:
    assert prefix.partition("/")[0] in refused(*command, prefix, status=2)


@pytest.mark.parametrize("seconds", ["0", "4294967296", "-1", "x"])
def test_a_lease_time_that_cant_be(seconds: str) -> None:
    assert "max-lease-time" in refused("pool", "add", "10.0.0.0/8", f"--max-lease-time={seconds}", status=2)


@pytest.mark.parametrize("reserve", ["-1", "4294967297", "99999999999999999999", "x"])
def test_a_reserve_that_cant_be(reserve: str) -> None:
    for command in (("add", "10.0.0.0/8"), ("change", "lab")):
        assert "reserve" in refused("pool", *command, f"--reserve={reserve}", status=2)


def test_the_largest_reserve(database: Database, dsn: str) -> None:
    said = good("pool", "add", "10.0.0.0/8", "--name", "lab", "--reserve", "4294967296", dsn=dsn)
    assert said == "added 10.0.0.0/8 to pool lab\n"
    assert database.sql("select reserve from deleg.pools where name = 'lab'") == [(4294967296,)]


@pytest.mark.usefixtures("scene")
def test_a_pool_that_is_not_there(dsn: str) -> None:
    assert (
        refused("pool", "remove", "10.65.0.0/16", dsn=dsn)
        == "kea-subnet-deleg: no pool 10.65.0.0/16 in space default\n"
    )


@pytest.mark.usefixtures("scene")
def test_leases(dsn: str) -> None:
    (row,) = good_json("lease", "list", dsn=dsn)
    expected = {
        "space": "default",
        "subnet": "10.64.0.0/24",
        "state": "leased",
        "lessee": "02:00:00:00:00:01",
        "lessee_identity": "01020000000001",
        "server": "10.0.0.1",
        "in_use": 70,
        "fullness": 0.2734,
        "lease_seconds": DAY,
    }
    assert {key: row[key] for key in expected} == expected
    lines = good("lease", "list", dsn=dsn).splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:5] == ["default", "10.64.0.0/24", "leased", "no", "02:00:00:00:00:01"]


@pytest.mark.parametrize(
    ("identity", "shown"),
    [(b"\0[/x]", "[/x]"), (b"\0[core] 1", "[core] 1"), (bytes.fromhex("0102ab00cd5301"), "02:ab:00:cd:53:01")],
)
def test_a_client_may_call_itself_anything(database: Database, dsn: str, identity: bytes, shown: str) -> None:
    database.pool("10.64.0.0/24")
    lease(database.ledger(), Client(identity), 1, 26)
    assert f" {shown} " in good("lease", "list", dsn=dsn)


def test_removing_what_is_leased_to_us(database: Database, dsn: str) -> None:
    block = IPv4Network("172.16.0.0/24")
    Upstreams(database.ledger()).acknowledged(0, 0xC0000201, DAY, DAY, DAY, [(block, False)], None)
    assert "RELEASE" in good("pool", "remove", str(block), dsn=dsn)
    assert good_json("pool", "remove", str(block), dsn=dsn) == {
        "origin": str(block),
        "removed": False,
        "blocks_held": 0,
    }


def test_a_ledger_of_another_version(database: Database, dsn: str) -> None:
    database.sql("alter function deleg.history_kept() rename to history_kept_otherwise")
    try:
        assert "run `kea-subnet-deleg ledger upgrade`" in refused("ledger", "retention", dsn=dsn)
    finally:
        database.sql("alter function deleg.history_kept_otherwise() rename to history_kept")


@pytest.mark.parametrize(
    ("version", "remedy"), [(1, "run `kea-subnet-deleg ledger upgrade`"), (999, "install the version")]
)
@pytest.mark.parametrize(
    "arguments", [("ledger", "check"), ("pool", "add", "10.0.0.0/8"), ("lease", "list"), ("ledger", "retention", "3")]
)
def test_a_ledger_that_says_that_it_has_another_version(
    database: Database, dsn: str, version: int, remedy: str, arguments: tuple[str, ...]
) -> None:
    before = database.sql("select max(version) from deleg.schema_version")[0][0]
    database.sql("update deleg.schema_version set version = %s", version)
    try:
        text = refused(*arguments, dsn=dsn)
    finally:
        database.sql("update deleg.schema_version set version = %s", before)
    assert text.startswith(f"kea-subnet-deleg: its schema has version {version}, needed is {before}: {remedy}")
    assert database.sql("select count(*) from deleg.origins") == [(0,)]


def test_a_ledger_that_servers_cant_write(dsn: str) -> None:
    """As a standby: it may be looked at."""
    assert good("ledger", "check", dsn=dsn + " options='-c default_transaction_read_only=on'") == (
        "every invariant holds; servers can't use it from here: it is read-only: a standby, or default_transaction_read_only is on\n"
    )


def test_upgrading_without_the_right_to(dsn: str) -> None:
    assert refused("ledger", "upgrade", dsn=dsn).startswith(
        "kea-subnet-deleg: only the ledger's owner can upgrade it ("
    )


@pytest.mark.parametrize("prefix", ["127.0.0.0/24", "0.0.0.0/1", "169.254.7.0/24", "224.0.0.0/4", "239.1.0.0/16"])
def test_a_prefix_that_is_for_no_host(database: Database, dsn: str, prefix: str) -> None:
    assert f"{prefix}: no host can have an address of " in refused("pool", "add", prefix, dsn=dsn)
    assert database.sql("select count(*) from deleg.origins") == [(0,)]


def test_standard_output_is_full(dsn: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, "pool", "list", "--dsn", dsn],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "kea-subnet-deleg: No space left on device\n")


def test_asking_a_lease_back_and_leaving_it(scene: Database, dsn: str) -> None:
    assert good_json("lease", "deprecate", "10.64.0.0/24", dsn=dsn) == {"subnet": "10.64.0.0/24", "draining": True}
    text = refused("lease", "deprecate", "10.64.0.0/24", dsn=dsn)
    assert text.startswith("kea-subnet-deleg: 10.64.0.0/24 is not leased, or was asked back already")
    assert good_json("lease", "list", dsn=dsn)[0]["draining"] is True
    assert good_json("lease", "keep", "10.64.0.0/24", dsn=dsn) == {"subnet": "10.64.0.0/24", "draining": False}
    text = refused("lease", "keep", "10.64.0.0/24", dsn=dsn)
    assert text.startswith("kea-subnet-deleg: 10.64.0.0/24 is not leased, or not asked back")
    assert good_json("lease", "list", dsn=dsn)[0]["draining"] is False
    assert "10.64.0.0/24" in good("lease", "takeback", "10.64.0.0/24", dsn=dsn)
    assert good("lease", "keep", "10.64.0.0/24", dsn=dsn) == "10.64.0.0/24 is left to its holder\n"
    assert scene.sql("select count(*) from deleg.takebacks") == [(0,)]


def test_a_network_that_no_server_has_any_more(database: Database, dsn: str) -> None:
    assert good("network", "list", dsn=dsn) == "no networks\n"
    database.pool("10.64.0.0/24")
    networks, block = Networks(database.ledger()), IPv4Network("10.64.0.0/26")
    networks.take("hosts", None, [26, 27], 0, 0)
    networks.measured([Measured(block, 4, 4, 0)])
    (row,) = good_json("network", "list", dsn=dsn)
    assert (row["network"], row["blocks"], row["addresses"], row["in_use"]) == ("hosts", 2, 96, 4)
    # As moments: PostgreSQL writes microseconds without zeros at their end.
    assert [(datetime.fromisoformat(row["reported"]),)] == database.sql("select max(reported) from deleg.usage")
    assert "hosts" in good("network", "list", dsn=dsn)
    end = ("network", "end", "hosts")
    assert "a server has network hosts" in refused(*end, "--longest", "60", dsn=dsn)
    database.sql("update deleg.usage set reported = now() - interval '4 minutes'")
    assert good_json(*end, "--longest", "60", "--block", "10.64.0.64/27", dsn=dsn) == {
        "network": "hosts",
        "blocks": ["10.64.0.64/27"],
        "seconds": 60,
    }
    assert good(*end, "--longest", "86400", dsn=dsn) == "10.64.0.0/26: free in 86400 s\n"
    assert refused(*end, "--longest", "60", dsn=dsn) == "kea-subnet-deleg: network hosts has no block\n"
    assert "--longest" in refused(*end, dsn=dsn, status=2)


@pytest.mark.parametrize(
    "arguments",
    [("ledger", "init"), ("ledger", "check"), ("pool", "list"), ("pool", "add", "10.0.0.0/8"), ("lease", "list")],
)
@pytest.mark.parametrize("dsn", ["host=/nonexistent", "nonsense"])
def test_no_postgresql(arguments: tuple[str, ...], dsn: str) -> None:
    text = refused(*arguments, dsn=dsn)
    assert text.startswith("kea-subnet-deleg: can't connect to PostgreSQL: ")
    assert text.count("\n") == 1


def test_a_role_without_the_right_to(scene: Database) -> None:
    dsn = scene.dsn("kea_deleg_report")
    assert len(good_json("lease", "list", dsn=dsn)) == 1
    assert good("ledger", "check", dsn=dsn) == "every invariant holds\n"
    assert "permission denied" in refused("pool", "add", "10.0.0.0/8", dsn=dsn)


def test_the_hook_library() -> None:
    path = good("hook", "path").strip()
    assert Path(path).is_file()
    assert Path(path).name == "libdhcp_subnet_deleg.so"
    assert good_json("hook", "path") == {"library": path}
    stanza = json.loads(good("config", "stanza", "--dsn", "host=/run/postgresql dbname=deleg"))
    assert stanza == {"library": path, "parameters": {"dsn": "host=/run/postgresql dbname=deleg"}}


def test_the_schema_of_the_parameters() -> None:
    schema = json.loads(good("config", "schema"))
    assert schema["required"] == ["dsn"]
    assert schema["properties"]["lease-time"]["maximum"] == 4294967295


@pytest.mark.parametrize("arguments", [(), ("ledger",), ("pool",), ("lease",), ("hook",), ("config",)])
def test_help_where_the_command_is_missing(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert "Usage: kea-subnet-deleg" in done.stdout + done.stderr


def test_an_unknown_command() -> None:
    assert "nonsense" in refused("nonsense", status=2)
