# SPDX-License-Identifier: MPL-2.0
"""PostgreSQL hangs: it takes connections and says nothing, as one on a frozen machine. Kea must not hang with it."""

from __future__ import annotations

import signal
import time
from contextlib import AbstractContextManager

import pytest

from kea_subnet_deleg.runtime.worker import ENOUGH
from tests.client.codec import Allocation, Request, Type
from tests.client.rfc6656 import Patience
from tests.kea.conftest import MakeSite
from tests.kea.ordinary import serves
from tests.kea.processes import family, stopped, threads
from tests.kea.site import Site
from tests.kea.waiting import wait_until

STOP_PATIENCE = 5.0  # seconds that unload() gives the service (hook/service.cc)
QUEUE = 16  # packets
BRIEF = Patience(0.3, 1)


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site("single", parameters={"max-reconnect-delay": 0.5, "queue-size": QUEUE})


def hung(site: Site) -> AbstractContextManager[None]:
    return stopped(family(site.lab.process("main").pid))


def delegates(site: Site) -> None:
    wait_until(lambda: site.client(patience=BRIEF).discover(28), 20)
    site.client().acquire(28)


def test_ordinary_dhcp_and_reloads_go_on(site: Site) -> None:
    server, pid = site.lab.servers["s1"], site.lab.process("s1").pid
    site.client().acquire(28)
    before = threads(pid)
    with hung(site):
        assert site.client(patience=BRIEF).discover(24) == []
        serves(site.endpoint, site.servers[0])
        assert server.counters()["answered"] == 2
        for _ in range(2):  # the first finds threads that wait for an answer, the second such as want to connect
            started = time.monotonic()
            server.command("config-reload")
            assert time.monotonic() - started < STOP_PATIENCE + 2
            serves(site.endpoint, site.servers[0])
        assert site.client(patience=BRIEF).discover(24) == []
    delegates(site)
    wait_until(lambda: threads(pid) == before, 20)  # those that were left behind have ended
    assert server.counters()["exceptions"] == 0


def test_kea_ends_in_good_order(site: Site) -> None:
    site.client().acquire(28)
    process = site.lab.process("s1")
    with hung(site):
        assert site.client(patience=BRIEF).discover(24) == []
        process.send(signal.SIGTERM)
        assert process.wait(STOP_PATIENCE + 2)
    site.lab.start("s1")
    delegates(site)


def arrived(site: Site) -> int:
    """The messages with option 220 that Kea has handed to us."""
    counters = site.counters()
    return counters["received"] + counters["queue-full"]


def test_what_waits_is_bounded(site: Site) -> None:
    site.client().acquire(28)
    client, server = site.client(), site.lab.servers["s1"]
    first, queued = arrived(site), server.counters()["received"]
    with hung(site):
        for count in range(1, 10 * QUEUE + 1):
            query = client.build(Type.DISCOVER, Allocation((Request(28),)))
            site.endpoint.send_message(query, site.servers[0])
            if count % QUEUE == 0:  # Kea's own queue is bounded too, and drops what we never hear of
                wait_until(lambda count=count: arrived(site) == first + count)  # type: ignore[misc]
        serves(site.endpoint, site.servers[0])
        status = server.command("subnet-deleg-status")
        assert status["queue"] == {"length": QUEUE, "size": QUEUE}
        # Those in the queue, those that the first worker took, and those that the second gathered: what was there once it had enough.
        assert status["counters"]["received"] - queued <= 3 * QUEUE + ENOUGH
    delegates(site)
