# SPDX-License-Identifier: MPL-2.0
"""kill -9 in mid-run: whoever is left goes on, and nothing that a client was told is lost (I6)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.client.rfc6656 import Client
from tests.kea.conftest import MakeSite
from tests.kea.crowd import HASTY, Holding, Load, overlaps, unrecorded
from tests.kea.ordinary import serves
from tests.kea.processes import family, parent
from tests.kea.site import Site
from tests.kea.waiting import wait_until

RECONNECT = {"max-reconnect-delay": 0.5}
QUIET = {"kea-dhcp4.subnet-deleg-hooks": "INFO"}
OUTAGE = 1.5  # seconds that the ledger stays away: longer than a client's first patience, shorter than a lease


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    return make_module_site("shared", parameters=RECONNECT, severities=QUIET)


def in_order(site: Site, load: Load) -> None:
    """Everyone was served, nobody's subnet is another's, and the ledger has all of it. (`ledger_check` runs after each test.)"""
    assert load.failures == []
    assert overlaps(network for holding in load.acknowledged for network in holding.networks) == []
    assert unrecorded(site, load.acknowledged) == []


def serving(site: Site, number: int) -> None:
    """The one server asked alone acknowledges and serves ordinary hosts."""
    server = site.servers[number]
    ack = Client(site.endpoint, site.client().identity, [server], HASTY).acquire(28)
    assert ack.server == server
    serves(site.endpoint, server)


@pytest.mark.parametrize("number", [0, 1])
def test_a_server_is_killed(site: Site, number: int) -> None:
    name, survivor = f"s{number + 1}", 1 - number
    with Load(site, threads=6) as load:
        load.wait_for(40)
        survived = site.lab.process(f"s{survivor + 1}")
        site.lab.kill(name)
        load.wait_for(60)
        serving(site, survivor)
        site.lab.start(name)
        load.wait_for(40)
        serving(site, number)
    in_order(site, load)
    assert site.lab.process(f"s{survivor + 1}") == survived
    assert survived.alive
    served = {holding.server for holding in load.acknowledged}
    assert served == set(site.servers)


def kill_postmaster_and_backends(site: Site) -> None:
    """All of PostgreSQL at one moment, by pid, as when its machine loses power."""
    pids = family(site.lab.process("main").pid)
    assert len(pids) > 5  # checkpointer, writers, and the servers' backends
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    site.lab.kill("main")
    wait_until(lambda: all(parent(pid) is None for pid in pids))


def kill_postmaster(site: Site) -> None:
    """The postmaster alone: its backends notice and end, some after the transaction at work."""
    site.lab.kill("main")


def kill_backends(site: Site) -> None:
    """The servers' backends alone: PostgreSQL restarts itself."""
    rows = site.lab.sql("select pid from pg_stat_activity where usename = 'kea_deleg_hook'")
    first, *others = map(int, rows.split())
    os.kill(first, signal.SIGKILL)
    for pid in others:
        with contextlib.suppress(ProcessLookupError):  # PostgreSQL ends the others as soon as it misses one
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_postmaster_and_backends, kill_postmaster, kill_backends])
def test_postgresql_is_killed(site: Site, kill: Callable[[Site], None]) -> None:
    processes = [site.lab.process(name) for name in ("s1", "s2")]
    with Load(site, threads=6) as load:
        load.wait_for(40)
        kill(site)
        if not site.lab.ledger_is_up:
            _outage(site, load)
            wait_until(lambda: _started(site))
        load.wait_for(60)
    in_order(site, load)
    for number in range(2):
        serving(site, number)
    assert [site.lab.process(name) for name in ("s1", "s2")] == processes
    assert all(process.alive for process in processes)
    assert [site.counters(name)["exceptions"] for name in ("s1", "s2")] == [0, 0]


def _outage(site: Site, load: Load) -> None:
    """Ordinary DHCP goes on meanwhile; no subnet is acknowledged, whatever was under way."""
    time.sleep(0.2)  # answers to what was committed before
    before = len(load.acknowledged)
    deadline = time.monotonic() + OUTAGE
    while time.monotonic() < deadline:
        for server in site.servers:
            serves(site.endpoint, server)
    assert len(load.acknowledged) == before


def _started(site: Site) -> bool:
    """Start the cluster: only possible once the last backend of the one before has ended."""
    with contextlib.suppress(RuntimeError):
        site.lab.start_ledger()
        return True
    site.lab.kill("main")
    return False


def test_everything_is_killed(site: Site) -> None:
    """Both servers and PostgreSQL at once, then all of it again."""
    with Load(site, threads=6) as load:
        load.wait_for(40)
        kill_postmaster_and_backends(site)
        for name in ("s1", "s2"):
            site.lab.kill(name)
        acknowledged: list[Holding] = list(load.acknowledged)
        wait_until(lambda: _started(site))
        assert unrecorded(site, acknowledged) == []
        for name in ("s1", "s2"):
            site.lab.start(name)
        load.wait_for(40)
    in_order(site, load)
    for number in range(2):
        serving(site, number)
