# SPDX-License-Identifier: MPL-2.0
"""Limits against hoarding (RFC 6656 section 10): over one of them there is silence, an event and a counter."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network

import pytest

from tests.client.codec import Allocation, Block, Request, Type
from tests.client.rfc6656 import Client, Identity, Patience
from tests.kea.conftest import MakeSite
from tests.kea.ledger import events, figures, identity_of, states, with_parameters
from tests.kea.site import Site
from tests.kea.waiting import wait_until

BRIEF = Patience(0.4, 1)
BLOCKS, ADDRESSES = 3, 512
MEMBER = Identity(b"\x02\x00\x00\x00\x0e\x01", b"\x00a member")
RESERVED = IPv4Network("10.99.0.0/24")
CIRCUIT, REMOTE = 1, 2  # sub-options of option 82


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    return make_module_site("shared", pools=[IPv4Network("10.64.0.0/16")], parameters={"view-interval": 0.1})


def counted(site: Site, counter: str) -> int:
    return sum(site.counters(name)[counter] for name in site.lab.servers)


def silent(site: Site, client: Client, counter: str, kind: str, reason: str) -> None:
    """Whatever this client asks for is met with silence, told to the event log and counted."""
    before = counted(site, counter)
    assert Client(client.endpoint, client.identity, site.servers, BRIEF).discover(24) == []
    (noted,) = events(site, client, kind)
    assert reason in noted.reason
    assert counted(site, counter) == before + len(site.servers)


# --------------------------------------------------------------------------------------------- what one lessee may hold


def at_once(client: Client, site: Site, messages: int, length: int) -> None:
    """Many DISCOVERs of one client at the same moment, to both servers, each a transaction of its own; REQUEST what is offered."""
    ready = threading.Barrier(messages)

    def one(number: int) -> None:
        ready.wait()
        server = site.servers[number % 2]
        query = client.build(Type.DISCOVER, Allocation((Request(length),)))
        for offer in client.exchange(query, want=1, to=[server], patience=Patience(1.0, 1)):
            client.request(offer)

    with ThreadPoolExecutor(messages) as pool:
        list(pool.map(one, range(messages)))


@pytest.mark.parametrize("length", [28, 30])
def test_blocks_are_limited_exactly(site: Site, length: int) -> None:
    with_parameters(site, max_blocks_per_lessee=BLOCKS, max_addresses_per_lessee=None)
    client = site.client()
    at_once(client, site, 12, length)
    assert list(states(site, client).values()) == ["leased"] * BLOCKS
    assert counted(site, "limited") > 0
    (noted,) = events(site, client, "limited")
    assert noted.detail["blocks"] == BLOCKS


@pytest.mark.parametrize("length", [24, 25])
def test_addresses_are_limited_exactly(site: Site, length: int) -> None:
    with_parameters(site, max_blocks_per_lessee=None, max_addresses_per_lessee=ADDRESSES)
    client = site.client()
    at_once(client, site, 12, length)
    held = states(site, client)
    assert set(held.values()) == {"leased"}
    assert sum(network.num_addresses for network in held) == ADDRESSES
    silent(site, client, "limited", "limited", "holds as much as one lessee may")
    assert len(site.client().discover(24)) == 2  # others are not concerned
    given_back = next(iter(held))
    client.release(site.servers[0], Block(given_back))
    wait_until(lambda: states(site, client)[given_back] == "quarantined")
    assert len(client.discover(length)) == 2


def test_one_message_may_be_answered_in_part(site: Site) -> None:
    with_parameters(site, max_blocks_per_lessee=BLOCKS, max_addresses_per_lessee=None)
    client = site.client()
    ack = client.acquire(28, 28, 28, 28, 28, want=2)
    assert len(ack.blocks) == BLOCKS


# ---------------------------------------------------------------------------------------------------- how often one asks


def test_messages_per_second_are_limited(site: Site) -> None:
    with_parameters(site, max_blocks_per_lessee=None, max_requests_per_second=2)
    client, other = site.client(), site.client()
    began = time.monotonic()
    before = site.counters()["limited"]
    for _ in range(30):
        query = client.build(Type.DISCOVER, Allocation((Request(0, information=True),)))
        client.endpoint.send_message(query, site.servers[0])
    ack = other.acquire(28, want=2)
    assert other.renew(ack.server, *ack.blocks) is not None
    limited = site.counters()["limited"] - before
    answered = 30 - limited
    assert (
        10 <= answered <= 10 + 2 * (time.monotonic() - began) + 1
    )  # what five seconds allow at once, and what was earned since
    (noted,) = events(site, client, "limited")
    assert noted.reason == "asks more often than one client may"
    with_parameters(site, max_requests_per_second=None)


# ------------------------------------------------------------------------------------------------------ reserve, members


def test_a_reserve_is_for_members_alone(site: Site) -> None:
    site.lab.cli(
        "pool", "add", str(RESERVED), "--name", "kept", "--tag", "kept", "--reserve", "128", "--member", identity_of(MEMBER)
    )  # fmt: skip
    figures(site)
    anyone = site.client()
    (offer, _) = anyone.discover(25, name="kept")
    assert offer.networks[0].subnet_of(RESERVED)
    assert anyone.request(offer) is not None
    late = site.client(patience=BRIEF)
    assert late.discover(26, name="kept") == []
    assert [event.kind for event in events(site, late)] == ["exhausted"]
    member = site.client(MEMBER)
    (kept, _) = member.discover(25, name="kept")
    assert kept.networks[0].subnet_of(RESERVED)


# ----------------------------------------------------------------------------------------------------------- allow-list


def test_who_is_not_on_the_allow_list_is_not_served(site: Site) -> None:
    allow = [
        {"client-id": identity_of(MEMBER)},
        {"circuit-id": b"ge-0/0/1".hex(), "remote-id": b"rack 7".hex()},
        {"network": "203.0.113.0/24", "circuit-id": b"ge-0/0/2".hex()},
    ]
    with_parameters(site, allow=allow)
    fresh = Identity.fresh
    for admitted in (MEMBER, fresh().relayed((CIRCUIT, b"ge-0/0/1"), (REMOTE, b"rack 7"))):
        assert len(site.client(admitted).discover(28)) == 2
    for kept_out in (
        fresh(),
        fresh().relayed((CIRCUIT, b"ge-0/0/1")),
        fresh().relayed((CIRCUIT, b"ge-0/0/1"), (REMOTE, b"rack 8")),
        fresh().relayed((CIRCUIT, b"ge-0/0/2")),  # as the third line says, but its relay is elsewhere
    ):
        silent(site, site.client(kept_out), "not-admitted", "not-admitted", "not on the allow-list")
    with_parameters(site, allow=[{"network": "198.51.100.0/24"}])
    assert len(site.client().discover(28)) == 2
    with_parameters(site, allow=[{"network": "198.51.100.0/26"}])
    silent(site, site.client(), "not-admitted", "not-admitted", "not on the allow-list")
