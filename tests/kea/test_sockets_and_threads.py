# SPDX-License-Identifier: MPL-2.0
"""The ways Kea may be run: with one thread or several, with UDP sockets or raw ones."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from typing import Any

import pytest

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
}


@pytest.fixture(scope="module", params=WAYS)
def site(make_module_site: MakeSite, request: pytest.FixtureRequest) -> Site:
    return make_module_site("single", kea=WAYS[request.param])


@pytest.fixture(params=["relay", "direct", "unnumbered"])
def endpoint(site: Site, request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    if request.param == "relay":
        yield site.endpoint
    else:
        with site.direct() if request.param == "direct" else site.unnumbered() as other:
            yield other


def test_a_delegation_from_beginning_to_end(site: Site, endpoint: Endpoint) -> None:
    client = site.client(endpoint=endpoint)
    ack = client.acquire(24, 28)
    assert [block.network.prefixlen for block in ack.blocks] == [24, 28]
    renewed = client.renew(ack.server, ack.blocks[0].using(10, 7, 2), ack.blocks[1])
    assert renewed is not None
    assert (renewed.type, renewed.blocks) == (ack.type, ack.blocks)
    assert set(client.listing(ack.server)) == set(ack.blocks)
    client.release(ack.server, *ack.blocks)
    assert site.counters()["send-failed"] == 0


def test_many_at_once_beside_ordinary_clients(site: Site) -> None:
    with ThreadPoolExecutor(1) as pool:
        ordinary = pool.submit(lambda: [serves(site.endpoint, site.servers[0]) for _ in range(10)])
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
