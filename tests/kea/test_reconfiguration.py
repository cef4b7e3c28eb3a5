# SPDX-License-Identifier: MPL-2.0
"""Kea is configured anew while clients are being served: nobody is lost, nothing crashes, nothing is left behind."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from ci.labs import control
from tests.client.codec import Allocation, Code, Request, Type, decode
from tests.kea.conftest import MakeSite
from tests.kea.crowd import Load, unrecorded
from tests.kea.ordinary import serves
from tests.kea.processes import resident, threads
from tests.kea.site import Site
from tests.kea.waiting import wait_until

RELOADS = 20
# KiB of resident memory that so many reloads may cost. Measured: 2 to 4 MiB at first, next to nothing after 40.
LEAK = 12 * 1024
MULTI_THREADED = {"multi-threading": {"enable-multi-threading": True, "thread-pool-size": 4, "packet-queue-size": 64}}


def configuration(site: Site) -> dict[str, Any]:
    """What the server was started with, to be changed and set."""
    loaded: dict[str, Any] = json.loads(site.lab.servers["s1"].config.read_text())
    return loaded


def connections(site: Site) -> int:
    return int(site.lab.sql("select count(*) from pg_stat_activity where usename = 'kea_deleg_hook'"))


def working(site: Site) -> None:
    """Delegation and ordinary DHCP both serve."""
    client = site.client()
    ack = client.acquire(28)
    client.release(ack.server, *ack.blocks)
    serves(site.endpoint, site.servers[0])


@pytest.fixture(scope="module")
def threaded(make_module_site: MakeSite) -> Site:
    return make_module_site("single", kea=MULTI_THREADED, severities={"kea-dhcp4.subnet-deleg-hooks": "INFO"})


def test_reloads_under_load(threaded: Site) -> None:
    site, server = threaded, threaded.lab.servers["s1"]
    pid = site.lab.process("s1").pid
    log = site.log()
    with Load(site, threads=4, length=30) as load:
        load.wait_for(10)
        server.command("config-reload")  # what the first one costs is no leak
        load.wait_for(10)
        thread_count, memory = threads(pid), resident(pid)
        for _ in range(RELOADS):
            server.command("config-reload")
            load.wait_for(4)
        serves(site.endpoint, site.servers[0])
    assert load.failures == []
    assert site.lab.process("s1").pid == pid
    assert site.lab.process("s1").alive
    wait_until(lambda: threads(pid) == thread_count)
    assert resident(pid) - memory < LEAK
    assert (
        connections(site) == 4
    )  # the two workers', the timers' and the agent's; those of generations before are closed
    assert unrecorded(site, load.acknowledged) == []
    assert site.counters()["exceptions"] == 0
    assert log.lines("EXCEPTION|STOP_SLOW|START_FAILED| FATAL ") == []
    assert len(log.lines("SUBNET_DELEG_STARTED")) == RELOADS + 1


def test_configuration_set_and_tested_under_load(threaded: Site) -> None:
    site, server = threaded, threaded.lab.servers["s1"]
    changed = configuration(site)
    changed["Dhcp4"]["hooks-libraries"][0]["parameters"]["lease-time"] = 7777
    with Load(site, threads=2, length=30) as load:
        load.wait_for(4)
        server.command("config-test", configuration(site))
        load.wait_for(4)
        server.command("config-set", changed)
        load.wait_for(4)
    assert load.failures == []
    assert site.client().acquire(28).lease_time == 7777  # the new parameters are in force
    working(site)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("lease-time", -5, "an integer from 1 to 4294967295"),
        ("offer-time", "soon", "an integer from 1 to 3600"),
        ("policy", "generous", "one of best-fit, proportional"),
        ("no-such-thing", 1, "allowed are allow, "),
    ],
)
def test_a_bad_parameter_is_refused_in_so_many_words(single: Site, key: str, value: object, allowed: str) -> None:
    bad = configuration(single)
    bad["Dhcp4"]["hooks-libraries"][0]["parameters"][key] = value
    log = single.log()
    with pytest.raises(control.CommandError):
        single.command("config-set", bad)
    line = log.wait("SUBNET_DELEG_REFUSED")
    assert all(text in line for text in (key, json.dumps(value), allowed)), line
    # Kea does not go back to the old configuration by itself (DHCP4_CONFIG_UNRECOVERABLE_ERROR): the operator does.
    single.command("config-reload")
    working(single)


def test_without_the_hook_and_with_it_again(single: Site) -> None:
    pid = single.lab.process("s1").pid
    working(single)
    bare = copy.deepcopy(configuration(single))
    bare["Dhcp4"]["hooks-libraries"] = []
    single.command("config-set", bare)
    # Kea knows nothing of option 220: it offers this client an address, but never a subnet.
    client = single.client()
    query = client.build(Type.DISCOVER, Allocation((Request(24),)))
    with single.endpoint.listen(query.xid) as mailbox:
        single.endpoint.send_message(query, single.servers[0])
        offer = decode(mailbox.get(timeout=5).data)
    assert (offer.type, offer.instances(Code.SUBNET_ALLOCATION)) == (Type.OFFER, [])
    serves(single.endpoint, single.servers[0])
    with pytest.raises(control.CommandError):
        single.command("subnet-deleg-status")
    wait_until(lambda: connections(single) == 0)
    single.command("config-set", configuration(single))
    working(single)
    assert single.lab.process("s1").pid == pid
