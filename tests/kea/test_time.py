# SPDX-License-Identifier: MPL-2.0
"""What time does: offers, leases and quarantines end by themselves, and free space becomes whole again."""

from __future__ import annotations

import time
from ipaddress import IPv4Network

import pytest

from tests.client.codec import Block
from tests.client.rfc6656 import Patience
from tests.kea.conftest import MakeSite
from tests.kea.site import Site
from tests.kea.waiting import wait_until

POOL = "10.7.0.0/16"
OFFER, LEASE, SHORTEST, QUARANTINE = 1, 3, 2, 1  # seconds
BRIEF = Patience(0.3, 1)
LATE = 1.5  # seconds that a sweep may come late, on a busy machine
QUICK = {
    "offer-time": OFFER,
    "lease-time": LEASE,
    "min-lease-time": SHORTEST,
    "quarantine-time": QUARANTINE,
    "sweep-interval": 0.1,
}


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    return make_module_site("shared", pools=[IPv4Network(POOL)], parameters=QUICK)


def whole(site: Site) -> bool:
    """All of the pool is one free block."""
    return site.lab.sql("select prefix, state from deleg.blocks") == f"{POOL}|free\n"


def states(site: Site) -> list[tuple[str, str, float]]:
    """The states that blocks of clients went through: state, reason, seconds since the state before."""
    rows = site.lab.sql(
        "select state, reason, extract(epoch from at - lag(at) over (order by seq)) from deleg.events "
        "where reason not in ('split', 'pool added', 'merged or withdrawn') order by seq"
    )
    split = (line.split("|") for line in rows.splitlines())
    return [(state, reason, float(seconds or 0)) for state, reason, seconds in split]


def test_offers_and_leases_end_by_themselves(site: Site) -> None:
    # An offer that is not taken.
    idle = site.client()
    assert len(idle.discover(24, 28)[0].blocks) == 2
    wait_until(lambda: whole(site), OFFER + LATE)
    assert [(state, reason) for state, reason, _ in states(site)] == [
        *[("offered", "best fit")] * 2,
        *[("free", "offer expired")] * 2,
    ]
    seen = len(states(site))

    # A lease that is not renewed.
    client = site.client()
    ack = client.acquire(24)
    assert ack.lease_time == LEASE
    wait_until(lambda: whole(site), LEASE + QUARANTINE + 2 * LATE)
    history = states(site)[seen:]
    assert [(state, reason) for state, reason, _ in history] == [
        ("offered", "best fit"),
        ("leased", "accepted"),
        ("quarantined", "expired"),
        ("free", "quarantine over"),
    ]
    # Times are those of the transactions; an event is written a little later.
    assert LEASE - 0.2 <= history[2][2] < LEASE + LATE
    assert QUARANTINE - 0.2 <= history[3][2] < QUARANTINE + LATE
    assert site.client(client.identity, BRIEF).renew(ack.server, *ack.blocks) is None


def test_a_renewal_in_time_keeps_the_lease(site: Site) -> None:
    client = site.client()
    ack = client.acquire(24)
    deadline = time.monotonic() + 2 * LEASE
    while time.monotonic() < deadline:
        time.sleep(LEASE * 0.6)
        for server in site.servers:
            renewed = client.renew(server, ack.blocks[0].using(3, 2))
            assert renewed is not None
            assert (renewed.blocks, renewed.lease_time) == (ack.blocks, LEASE)
    client.release(ack.server, *ack.blocks)
    wait_until(lambda: whole(site), QUARANTINE + LATE)


def test_a_renewal_that_comes_too_late_is_refused(site: Site) -> None:
    client = site.client()
    ack = client.acquire(24)
    wait_until(lambda: "quarantined" in site.lab.sql("select state from deleg.blocks"), LEASE + LATE)
    refused = client.renew(ack.server, *ack.blocks)
    assert refused is not None
    assert refused.type.name == "NAK"
    assert refused.blocks == (Block(ack.blocks[0].network),)
    wait_until(lambda: whole(site), QUARANTINE + LATE)


def test_an_offer_taken_too_late_is_refused_and_the_next_holder_undisturbed(site: Site) -> None:
    late = site.client()
    offer = late.discover(24)[0]
    wait_until(lambda: whole(site), OFFER + LATE)
    next_one = site.client()
    ack = next_one.acquire(24)
    assert ack.blocks == offer.blocks
    reply = late.request(offer)
    assert reply is not None
    assert reply.type.name == "NAK"
    assert next_one.listing(ack.server) == list(ack.blocks)
    assert site.client(late.identity, BRIEF).listing(ack.server) == []
    next_one.release(ack.server, *ack.blocks)
    wait_until(lambda: whole(site), QUARANTINE + LATE)


@pytest.mark.parametrize(("asked", "given"), [(1, SHORTEST), (SHORTEST, SHORTEST), (LEASE, LEASE), (3600, LEASE)])
def test_a_client_may_ask_for_a_lease_time_within_limits(site: Site, asked: int, given: int) -> None:
    client = site.client()
    offers = client.discover(28, lease_time=asked)
    ack = client.request(offers[0])
    assert ack is not None
    assert {offers[0].lease_time, offers[1].lease_time, ack.lease_time} == {given}
    client.release(ack.server, *ack.blocks)
    wait_until(lambda: whole(site), QUARANTINE + LATE)
