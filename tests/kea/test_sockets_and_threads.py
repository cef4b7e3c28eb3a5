# SPDX-License-Identifier: MPL-2.0
"""The ways Kea may be run: with one thread or several, with UDP sockets or raw ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from typing import Any

import pytest

from tests.client.codec import Allocation, Request, Type
from tests.client.endpoint import Endpoint
from tests.kea.conftest import MakeSite
from tests.kea.crowd import at_once, overlaps, unrecorded
from tests.kea.ordinary import serves
from tests.kea.site import Site

CLIENTS = 32
THREADED = {"enable-multi-threading": True, "thread-pool-size": 4, "packet-queue-size": 64}
SINGLE_THREADED = {"enable-multi-threading": False}
WAYS: dict[str, dict[str, Any]] = {
    f"{name}, {sockets} sockets": {"multi-threading": threading, "interfaces-config": {"dhcp-socket-type": sockets}}
    for name, threading in (("one thread", SINGLE_THREADED), ("threads", THREADED))
    for sockets in ("udp", "raw")
} | {
    "one thread that serves, one that reads": {
        "multi-threading": SINGLE_THREADED,
        "dhcp-queue-control": {"enable-queue": True, "queue-type": "kea-ring4", "capacity": 256},
    }
}


@pytest.fixture(scope="module", params=WAYS)
def site(make_module_site: MakeSite, request: pytest.FixtureRequest) -> Site:
    return make_module_site("single", kea=WAYS[request.param])


def from_beginning_to_end(site: Site, endpoint: Endpoint) -> None:
    client = site.client(endpoint=endpoint)
    ack = client.acquire(24, 28)
    assert [block.network.prefixlen for block in ack.blocks] == [24, 28]
    renewed = client.renew(ack.server, ack.blocks[0].using(10, 7, 2), ack.blocks[1])
    assert renewed is not None
    assert (renewed.type, renewed.blocks) == (ack.type, ack.blocks)
    assert set(client.listing(ack.server)) == set(ack.blocks)
    client.release(ack.server, *ack.blocks)
    assert site.counters()["send-failed"] == 0


def test_another_server_asks(site: Site) -> None:
    from_beginning_to_end(site, site.endpoint)


def test_a_server_that_is_told_to_be_silent_is(site: Site) -> None:
    client = site.client()
    query = client.build(Type.DISCOVER, Allocation((Request(28),)))
    site.command("dhcp-disable")
    try:
        client.unanswered(query, 1.0)
    finally:
        site.command("dhcp-enable")
    assert client.discover(28)


# A host's broadcasts reach Kea by raw sockets alone.
@pytest.mark.parametrize("site", [way for way in WAYS if "raw" in way], indirect=True)
def test_hosts_with_and_without_an_address_ask(site: Site) -> None:
    for make in (site.direct, site.unnumbered):
        with make() as endpoint:
            from_beginning_to_end(site, endpoint)


def ordinary_clients(site: Site) -> None:
    for _ in range(10):
        serves(site.endpoint, site.servers[0])


def test_many_at_once_beside_ordinary_clients(site: Site) -> None:
    with ThreadPoolExecutor(1) as pool:
        ordinary = pool.submit(ordinary_clients, site)
        holdings = at_once(site, [26] * CLIENTS)
        ordinary.result()
    networks: list[IPv4Network] = [network for holding in holdings for network in holding.networks]
    assert overlaps(networks) == []
    assert unrecorded(site, holdings) == []
    counters = site.counters()
    assert (counters["send-failed"], counters["queue-full"], counters["exceptions"], counters["conflicts"]) == (
        0,
        0,
        0,
        0,
    )
