# SPDX-License-Identifier: MPL-2.0
"""The ledger is away, or is not one: Kea serves ordinary DHCP, delegation is silent, and begins by itself once it can."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from ci.labs import control
from kea_subnet_deleg.ledger.ledger import SCHEMA_VERSION
from tests.client.rfc6656 import Patience
from tests.kea.conftest import MakeSite
from tests.kea.ordinary import serves
from tests.kea.site import Site
from tests.kea.waiting import wait_until

RECONNECT = {"max-reconnect-delay": 0.5}
BRIEF = Patience(0.3, 2)


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    return make_module_site("single", parameters=RECONNECT)


@pytest.fixture(autouse=True)
def _never_restarted(site: Site) -> Iterator[None]:
    """Kea is the same process all the time, or the test's own; exceptions there are none."""
    yield
    assert site.lab.process("s1").alive
    assert site.counters()["exceptions"] == 0


def silent(site: Site) -> None:
    """No answer to who asks for a subnet, and ordinary DHCP as always. Each message is counted."""
    before = site.counters()
    assert site.client(patience=BRIEF).discover(24) == []
    serves(site.endpoint, site.servers[0])
    after = site.counters()
    assert after["received"] - before["received"] == BRIEF.tries
    assert after["ledger-down"] - before["ledger-down"] == BRIEF.tries
    assert after["answered"] == before["answered"]


def delegates(site: Site) -> None:
    """Delegation begins within the reconnect delay, and what is acknowledged is in the ledger."""
    status = site.lab.servers["s1"].command
    wait_until(lambda: status("subnet-deleg-status")["service"].get("ledger-connected"))
    client = site.client()
    ack = client.acquire(28)
    assert [block.network for block in client.listing(ack.server)] == [ack.blocks[0].network]
    client.release(ack.server, *ack.blocks)


def test_down_at_the_start(site: Site) -> None:
    site.lab.stop("s1")
    site.lab.stop_ledger()
    log = site.log()
    process = site.lab.start("s1", wait=False)
    wait_until(lambda: _answers(site))
    log.wait("ERROR.*SUBNET_DELEG_LEDGER_DOWN")
    silent(site)
    site.lab.start_ledger()
    delegates(site)
    assert site.lab.process("s1").pid == process.pid
    log.wait("SUBNET_DELEG_LEDGER_CONNECTED")


def test_lost_and_found(site: Site) -> None:
    client = site.client()
    held = client.acquire(24)
    pid = site.lab.process("s1").pid
    for _ in range(2):
        log = site.log()
        site.lab.stop_ledger()
        silent(site)
        silent(site)
        assert site.client(client.identity, BRIEF).renew(held.server, *held.blocks) is None
        # One line for each reason and each connection, of which the two workers have one each; not one for each attempt or message.
        told = Counter(re.sub(r".* for the (\w+); next attempt in [\d.]+ s", r"\1", line)
                       for line in log.lines("SUBNET_DELEG_LEDGER_DOWN"))  # fmt: skip
        assert 1 <= max(told.values()) <= 2
        assert all(lines == 1 for line, lines in told.items() if not line.startswith("worker"))
        site.lab.start_ledger()
        delegates(site)
    renewed = client.renew(held.server, *held.blocks)
    assert renewed is not None
    assert renewed.blocks == held.blocks
    assert site.lab.process("s1").pid == pid


def test_restarted_while_nobody_asks(site: Site) -> None:
    """As for an update of PostgreSQL: whose connections are gone answers the first message all the same."""
    before = site.counters()
    for _ in range(3):
        site.client().acquire(28)  # nobody waits for anything then
        site.lab.stop_ledger()
        site.lab.start_ledger()
        site.client(patience=Patience(5.0, 1)).acquire(28)
    assert site.counters()["ledger-down"] == before["ledger-down"]


def wal_writer(site: Site) -> str:
    """Return the number of one of PostgreSQL's own processes, nothing while it starts anew."""
    try:
        return site.lab.sql("select pid from pg_stat_activity where backend_type = 'walwriter'").strip()
    except RuntimeError:
        return ""


def test_crashed_while_nobody_asks(site: Site) -> None:
    """PostgreSQL closes all connections when one of its processes dies, with a warning."""
    before = site.counters()
    for _ in range(2):
        site.client().acquire(28)
        victim = wal_writer(site)
        os.kill(int(victim), signal.SIGKILL)
        wait_until(lambda: wal_writer(site) not in ("", victim))  # noqa: B023  # within this turn
        site.client(patience=Patience(5.0, 1)).acquire(28)
    assert site.counters()["ledger-down"] == before["ledger-down"]


def test_a_database_without_a_ledger(site: Site) -> None:
    pid = site.lab.process("s1").pid
    log = site.log()
    site.lab.stop_ledger()
    site.lab.start_ledger()
    site.lab.sql("alter schema deleg rename to away")
    try:
        site.lab.stop_ledger()  # the servers look at the schema when they connect
        site.lab.start_ledger()
        log.wait("SUBNET_DELEG_LEDGER_DOWN.*no ledger there")
        silent(site)
    finally:
        site.lab.sql("alter schema away rename to deleg")
    delegates(site)
    assert site.lab.process("s1").pid == pid


def test_a_schema_of_another_version(site: Site) -> None:
    log = site.log()
    site.lab.sql("update deleg.schema_version set version = version + 100")
    try:
        site.lab.stop_ledger()
        site.lab.start_ledger()
        line = log.wait("SUBNET_DELEG_LEDGER_DOWN.*schema has version")
        assert f"version {SCHEMA_VERSION + 100}," in line
        silent(site)
    finally:
        site.lab.sql("update deleg.schema_version set version = version - 100")
    delegates(site)


def _answers(site: Site) -> bool:
    try:
        site.command("status-get")
    except (OSError, ValueError, control.CommandError):
        return False
    return True
