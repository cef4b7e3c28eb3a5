# SPDX-License-Identifier: MPL-2.0
"""The proportional policy at work: pushes, and who gets and keeps how much in scarcity (seed [0010], [0065], [0115], [0140])."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from tests.client.codec import Type
from tests.client.rfc6656 import Client, Patience, Reply
from tests.kea.conftest import MakeSite
from tests.kea.ledger import Event, events, figures, state, states
from tests.kea.site import Site
from tests.kea.waiting import wait_until

PARAMETERS = {
    "policy": "proportional",
    "view-interval": 0.1,
    "sweep-interval": 0.1,
    "quarantine-time": 0,
    "takeback-on-shortage": False,
    "offer-time": 2,
}
BRIEF = Patience(0.4, 1)


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    """All is leased from one pool in turn; each test leaves it whole."""
    return make_module_site("single", pools=[IPv4Network("10.64.0.0/20")], parameters=PARAMETERS)


def take(client: Client, offers: list[Reply]) -> Reply:
    reply = client.request(offers[0])
    assert reply is not None
    assert reply.type is Type.ACK
    return reply


def holding(site: Site, *lengths: int) -> tuple[Client, Reply]:
    """A client that was given blocks of these sizes."""
    client = site.client()
    figures(site)
    return client, take(client, client.discover(*lengths))


def renew(client: Client, ack: Reply, *used: float) -> Reply:
    """Renew blocks, each with a part of its addresses in use, now as at the most."""
    blocks = [
        block.using(int(part * block.network.num_addresses), int(part * block.network.num_addresses), 0)
        for block, part in zip(ack.blocks, used, strict=True)
    ]
    reply = client.renew(ack.server, *blocks)
    assert reply is not None
    return reply


def give_back(site: Site, *holders: tuple[Client, Reply]) -> None:
    for client, ack in holders:
        client.release(ack.server, *ack.blocks)
    wait_until(lambda: site.lab.sql("select distinct state from deleg.blocks") == "free\n")
    figures(site)


def decision(event: Event) -> dict[str, object]:
    """The numbers of an event, which every decision of this policy has."""
    assert {"asked", "utilisation", "others-utilisation", "share", "free"} <= set(event.detail)
    detail: dict[str, object] = event.detail
    return detail


def test_a_newcomer_is_pushed_follows_and_is_not_pushed_again(site: Site) -> None:
    client = site.client()
    figures(site)
    offers = client.discover(25)
    assert [network.prefixlen for network in offers[0].networks] == [25]
    assert offers[0].more
    ack = take(client, offers)
    figures(site)
    second = client.follow(offers[0])
    assert [network.prefixlen for network in second[0].networks] == [24]  # the default: the server chooses
    assert not second[0].more
    more = take(client, second)
    assert not more.more
    (first, last) = events(site, client, "offered")
    assert decision(first)["push"] == "newcomer"
    assert last.reason.startswith("server's choice")
    figures(site)
    third = client.discover(25)
    assert not third[0].more  # it holds 384 addresses and uses none
    give_back(site, (client, ack), (client, more), (client, take(client, third)))


def test_heavy_use_is_pushed(site: Site) -> None:
    client, ack = holding(site, 25)
    other, others = holding(site, 25)
    renew(client, ack, 1.0)
    renew(other, others, 0.2)
    figures(site)
    offers = client.discover(25)
    assert offers[0].more
    last = events(site, client, "offered")[-1]
    assert (decision(last)["utilisation"], decision(last)["push"]) == (1.0, "heavy use")
    give_back(site, (client, ack), (other, others), (client, take(client, offers)))


def test_scarcity_halves_what_is_used_by_less_than_half(site: Site) -> None:
    """The seed's numbers: 45% of a /24 is deprecated and a /25 follows, 90% of another is renewed in full ([0010])."""
    big, bigs = holding(site, 21)
    high, highs = holding(site, 24)
    low, lows = holding(site, 24)
    rest, rests = holding(site, 22)
    assert not renew(high, highs, 0.9).blocks[0].deprecate  # not scarce yet: a quarter, and 512 addresses, are free
    renew(big, bigs, 0.9)
    renew(rest, rests, 0.9)
    figures(site)

    assert not renew(high, highs, 0.9).blocks[0].deprecate
    answered = renew(low, lows, 0.45)
    assert (answered.type, answered.networks) == (Type.ACK, lows.networks)
    assert answered.blocks[0].deprecate
    last = events(site, low, "draining")[-1]
    assert last.reason == "scarce: half would do"
    assert (decision(last)["in-use"], decision(last)["high-water"]) == (115, 115)
    assert events(site, high, "renewed")[-1].reason == "more than half used"

    figures(site)
    offers = low.discover(24)
    assert [network.prefixlen for network in offers[0].networks] == [25]
    last = events(site, low, "offered")[-1]
    assert last.reason == "scarce: uses less than others"
    assert decision(last)["others-utilisation"] == pytest.approx(0.9, abs=0.01)
    half = take(low, offers)
    low.release(lows.server, *lows.blocks)
    wait_until(lambda: state(site, lows.networks[0]) == "free")
    assert states(site, low) == {half.networks[0]: "leased"}
    give_back(site, (big, bigs), (high, highs), (rest, rests), (low, half))


def test_nearly_gone_refuses_what_was_never_used_and_who_uses_less(site: Site) -> None:
    big, bigs = holding(site, 21)
    next_, nexts = holding(site, 22)
    idle, idles = holding(site, 24)
    last, lasts = holding(site, 24)
    # The last two get a /26, as little is left; 64 of 4096 are free then.
    rest = [holding(site, length) for length in (25, 25, 26, 25, 25)]
    for client, ack in ((big, bigs), (next_, nexts), (last, lasts), *rest):
        renew(client, ack, 0.95)
    figures(site)

    # Who uses what it has less than the others do, and who has nothing yet: silence, and an event that says why.
    renewed = renew(idle, idles, 0.3)
    assert renewed.blocks[0].deprecate
    figures(site)
    hungry = Client(idle.endpoint, idle.identity, site.servers, BRIEF)
    assert hungry.discover(28) == []
    newcomer = site.client(patience=BRIEF)
    assert newcomer.discover(28) == []
    for client, reason in ((hungry, "uses less than others"), (newcomer, "others use theirs heavily")):
        (refused,) = events(site, client, "refused")
        assert refused.reason == f"nearly gone: {reason}"
        assert decision(refused)["asked"] == 28
        assert decision(refused)["free"] == pytest.approx(64 / 4096, abs=0.001)

    # What was never used is refused at once: NAK, and free for others.
    refused_renewal = renew(idle, idles, 0.0)
    assert (refused_renewal.type, refused_renewal.networks) == (Type.NAK, idles.networks)
    (taken,) = events(site, idle, "quarantined")
    assert taken.reason == "nearly gone: never used"
    give_back(site, (big, bigs), (next_, nexts), (last, lasts), *rest)


def test_a_pool_may_have_a_policy_of_its_own(site: Site) -> None:
    site.lab.cli("pool", "add", "10.99.0.0/24", "--name", "plain", "--tag", "plain", "--policy", "best-fit")
    figures(site)
    client = site.client()
    offers = client.discover(25, name="plain")
    assert not offers[0].more
    assert events(site, client, "offered")[-1].reason == "best fit"
    with_default = site.client().discover(25)
    assert with_default[0].more
