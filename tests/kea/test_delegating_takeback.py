# SPDX-License-Identifier: MPL-2.0
"""Subnets are asked back: FORCERENEW (RFC 3203, RFC 6656 5.4), and what comes of it (seed [0085], [0105], [0113])."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from tests.client.authentication import Key
from tests.client.codec import Block, Type, information
from tests.client.endpoint import Endpoint
from tests.client.rfc6656 import Client, Identity, Patience, Reply
from tests.kea.conftest import MakeSite
from tests.kea.ledger import events, figures, state, with_parameters
from tests.kea.site import Site
from tests.kea.waiting import wait_until

RAW = {"interfaces-config": {"dhcp-socket-type": "raw"}}  # Kea hears broadcasts on raw sockets alone
ATTEMPTS, DELAY = 3, 0.5  # DELAY in seconds
QUARANTINE = 1  # second
KEYED = Identity(b"\x02\x00\x00\x00\x90\x01", b"\x00keyed-requester").with_key(Key(7, bytes(range(100, 116))))
PARAMETERS = {
    "takeback-attempts": ATTEMPTS,
    "takeback-delay": DELAY,
    "takeback-grace": 0,
    "quarantine-time": QUARANTINE,
    "sweep-interval": 0.1,
    "view-interval": 0.1,
    "auth-keys": [{"id": 7, "key": bytes(range(100, 116)).hex(), "client-id": (KEYED.identifier or b"").hex(":")}],
}
SOON = 5.0  # seconds until the first FORCERENEW at the latest, on a busy machine
UNHURRIED = 600.0  # seconds
ANNOUNCED = 25.0  # seconds until the others know that a server was told to be silent
QUIET = 1.5  # seconds without one, where there would have been at least one


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    return make_module_site("shared", pools=[IPv4Network("10.64.0.0/20")], parameters=PARAMETERS, kea=RAW)


@pytest.fixture
def unhurried(site: Site) -> Iterator[Site]:
    """The site while no FORCERENEW is repeated before a test is over, however busy the machine is."""
    with_parameters(site, takeback_delay=UNHURRIED)
    yield site
    with_parameters(site, takeback_delay=DELAY)


def capable(site: Site, endpoint: Endpoint | None = None) -> Client:
    """A client that can check a FORCERENEW by a nonce."""
    who = Identity.fresh() if endpoint is None else Identity(endpoint.hardware, b"\0host %d" % int(endpoint.address))
    return site.client(who.nonce_capable(), endpoint=endpoint)


def held_of(site: Site, client: Client, server: int) -> Reply:
    """What a client was acknowledged by a server of its choice."""
    offer = next(offer for offer in client.discover(25) if offer.server == site.servers[server])
    reply = client.request(offer)
    assert reply is not None
    assert reply.type is Type.ACK
    return reply


def holding(client: Client, *lengths: int) -> Reply:
    """What a client was acknowledged by the first server that offered."""
    offers = client.discover(*lengths)
    reply = client.request(offers[0])
    assert reply is not None
    assert reply.type is Type.ACK
    return reply


def told(client: Client, seconds: float = SOON) -> Reply:
    """The FORCERENEW that has to come."""
    order = client.forcerenew(seconds)
    assert order is not None
    return order


def answered(client: Client, order: Reply, *blocks: Block) -> Reply:
    reply = client.renew(order.server, *(blocks or order.blocks))
    assert reply is not None
    return reply


def given_up(site: Site, client: Client, order: Reply) -> None:
    """Renewed, deprecated, released, held back, and free again."""
    renewed = answered(client, order)
    assert (renewed.type, renewed.networks) == (Type.ACK, order.networks)
    assert all(block.deprecate for block in renewed.blocks)
    assert pending(site, order.networks[0]) == 0
    client.release(order.server, *order.blocks)
    wait_until(lambda: state(site, order.networks[0]) == "quarantined")
    wait_until(lambda: state(site, order.networks[0]) == "free", QUARANTINE + 3.0)


def pending(site: Site, network: IPv4Network) -> int:
    return int(site.lab.sql(f"select count(*) from deleg.takebacks where prefix = '{network}'"))  # noqa: S608


def ask_back(site: Site, network: IPv4Network) -> None:
    site.lab.cli("lease", "takeback", str(network))


def sent_by(site: Site, name: str) -> int:
    return site.counters(name)["forcerenew-sent"]


def sent(site: Site) -> int:
    return sum(sent_by(site, name) for name in site.lab.servers)


# ------------------------------------------------------------------------------------------------- on an operator's word


@pytest.mark.parametrize("server", [0, 1])
def test_a_requesting_server_is_told_once_by_whom_it_leased_from(unhurried: Site, server: int) -> None:
    site = unhurried
    client = capable(site)
    ack = held_of(site, client, server)
    before = [sent_by(site, name) for name in site.lab.servers]
    ask_back(site, ack.networks[0])
    order = told(client)
    assert (order.server, order.networks) == (site.servers[server], ack.networks)
    assert order.message.giaddr == client.endpoint.address
    assert client.forcerenew(QUIET) is None  # the other server says nothing
    told_by = [sent_by(site, name) - count for name, count in zip(site.lab.servers, before, strict=True)]
    assert told_by == [int(number == server) for number in range(len(site.servers))]
    given_up(site, client, order)
    assert [event.kind for event in events(site, client)] == [
        "offered", "leased", "draining", "takeback", "renewed", "quarantined", "free",
    ]  # fmt: skip


def test_who_has_answered_is_not_told_again(site: Site) -> None:
    client = capable(site)
    ack = holding(client, 25)
    ask_back(site, ack.networks[0])
    given_up(site, client, told(client))
    time.sleep(QUIET)
    # In the ledger's order: on a busy machine the next one may be due before the answer to the first has come.
    kinds = [event.kind for event in events(site, client)]
    assert "takeback" in kinds[: kinds.index("renewed")]
    assert "takeback" not in kinds[kinds.index("renewed") :]


def test_a_host_is_told_on_its_own_port(site: Site) -> None:
    with site.direct() as endpoint:
        client = capable(site, endpoint)
        ack = holding(client, 25)
        assert (ack.message.giaddr, ack.message.ciaddr) == (ack.message.yiaddr, ack.message.yiaddr)
        ask_back(site, ack.networks[0])
        order = told(client)
        assert order.message.ciaddr == endpoint.address
        given_up(site, client, order)


@pytest.mark.parametrize("who", [KEYED, KEYED.relayed((1, b"port 7"), (2, b"rack"))])
def test_who_has_a_key_is_told_under_it(site: Site, who: Identity) -> None:
    client = site.client(who)  # which believes no OFFER, ACK or FORCERENEW that is not signed
    ack = holding(client, 25)
    ask_back(site, ack.networks[0])
    given_up(site, client, told(client))


def test_who_has_a_key_must_use_it(site: Site) -> None:
    imposter = site.client(Identity(KEYED.hardware, KEYED.identifier), Patience(0.4, 1))
    before = sum(site.counters(name)["not-authentic"] for name in site.lab.servers)
    assert imposter.discover(25) == []
    forger = site.client(KEYED.with_key(Key(7, bytes(16))))
    claimed = information(Block(IPv4Network("10.64.0.0/25")))
    for query in (forger.build(Type.REQUEST, claimed, bound=True), forger.build(Type.RELEASE, claimed, bound=True)):
        forger.unanswered(query, 0.3)
    (noted,) = events(site, KEYED, "not-authentic")
    assert "no authentication" in noted.reason
    assert (
        sum(site.counters(name)["not-authentic"] for name in site.lab.servers) >= before + 6
    )  # each server heard all three


def test_it_is_repeated_ever_more_slowly_and_then_given_up(site: Site) -> None:
    client = capable(site)
    ack = holding(client, 25)
    ask_back(site, ack.networks[0])
    for attempt in range(ATTEMPTS):
        assert told(client, SOON + DELAY * 2**attempt).networks == ack.networks
    wait_until(lambda: pending(site, ack.networks[0]) == 0, DELAY * 4 + SOON)
    assert client.forcerenew(0.2) is None
    told_so = events(site, client, "takeback")
    # By the ledger's clock: on a busy machine one may be long on its way, and the next one not.
    waits = [later.at - earlier.at for earlier, later in itertools.pairwise(told_so)]
    assert all(wait >= DELAY * 2**attempt * 0.9 for attempt, wait in enumerate(waits))
    noted = [event.reason for event in told_so]
    assert noted == ["operator asked it back"] * ATTEMPTS + ["given up: no renewal came"]
    assert state(site, ack.networks[0]) == "leased"  # to the end of its lease, and asked for at each renewal
    assert answered(client, ack).blocks[0].deprecate


def test_it_names_the_one_subnet_alone(site: Site) -> None:
    client = capable(site)
    ack = holding(client, 25, 26, 27)
    ask_back(site, ack.networks[1])
    order = told(client)
    assert order.networks == [ack.networks[1]]
    renewed = answered(client, order)
    assert [block.deprecate for block in renewed.blocks] == [True]
    assert state(site, ack.networks[0]) == state(site, ack.networks[2]) == "leased"


def test_who_cannot_check_it_is_not_told(site: Site) -> None:
    client = site.client()
    ack = holding(client, 25)
    before = sent(site)
    ask_back(site, ack.networks[0])
    wait_until(lambda: events(site, client, "takeback"))
    assert [event.reason for event in events(site, client, "takeback")] == ["not sent: the holder could not check it"]
    assert client.forcerenew(QUIET, authentic=False) is None
    assert sent(site) == before
    assert answered(client, ack).blocks[0].deprecate  # as at any renewal from now on


def test_who_has_no_address_is_not_told(site: Site) -> None:
    with site.unnumbered() as endpoint:
        client = capable(site, endpoint)
        ack = holding(client, 25)
        assert client.nonce is not None
        ask_back(site, ack.networks[0])
        wait_until(lambda: events(site, client, "takeback"))
        noted = [event.reason for event in events(site, client, "takeback")]
        assert noted == ["not sent: the holder has no address of its own"]
        assert client.forcerenew(QUIET) is None


def test_who_has_no_identifier_is_told_by_its_hardware(site: Site) -> None:
    client = site.client(dataclasses.replace(Identity.fresh(), identifier=None).nonce_capable())
    ack = holding(client, 25)
    ask_back(site, ack.networks[0])
    given_up(site, client, told(client))


def test_the_other_server_speaks_for_one_that_is_to_be_silent(unhurried: Site) -> None:
    site = unhurried
    client = capable(site)
    ack = held_of(site, client, 0)
    before = sent_by(site, "s1")
    site.command("dhcp-disable")
    try:
        ask_back(site, ack.networks[0])
        order = told(client, ANNOUNCED)
        assert order.server == site.servers[1]
        assert sent_by(site, "s1") == before
        given_up(site, client, order)
    finally:
        site.command("dhcp-enable")


def test_the_other_server_takes_over_from_a_dead_one(site: Site) -> None:
    client = capable(site)
    ack = held_of(site, client, 1)
    site.lab.kill("s2")
    try:
        ask_back(site, ack.networks[0])
        assert client.forcerenew(QUIET) is None  # it was heard of a moment ago
        # A server says once a minute that it lives: as if it had not for longer.
        site.lab.sql(
            f"update deleg.servers set last_seen = now() - interval '61 seconds' where address = '{site.servers[1]}'"  # noqa: S608
        )
        order = told(client)
        assert order.server == site.servers[0]  # names itself: it is the one that is there
        assert answered(client, order).blocks[0].deprecate
    finally:
        site.lab.start("s2")


# ----------------------------------------------------------------------------------------------------------- on shortage


def test_shortage_asks_the_least_used_back(make_site: MakeSite) -> None:
    site = make_site(
        "shared",
        pools=[IPv4Network("10.64.0.0/22")],
        # Space is scarce when the last quarter of it is leased, not before: by then who uses less than half has reported that.
        parameters={**PARAMETERS, "policy": "proportional", "max-prefix-length": 26, "scarce-below": 0.1},
    )
    holders = [capable(site) for _ in range(4)]
    acks = []
    for holder, used in zip(holders, (230, 20, 120, 250), strict=True):
        ack = holding(holder, 24)
        renewed = holder.renew(ack.server, ack.blocks[0].using(used, used, 0))
        assert renewed is not None
        assert not renewed.blocks[0].deprecate
        acks.append(ack)
    figures(site)
    newcomer = site.client(patience=Patience(0.4, 1))
    assert newcomer.discover(25) == []
    order = told(holders[1])
    assert order.networks == acks[1].networks
    for holder in (holders[0], holders[2], holders[3]):
        assert holder.forcerenew(0.3) is None
    renewed = answered(holders[1], order, order.blocks[0].using(20, 20, 0))
    assert renewed.blocks[0].deprecate
    holders[1].release(order.server, *order.blocks)
    wait_until(lambda: state(site, order.networks[0]) == "free", QUARANTINE + SOON)
    again = site.client()
    assert holding(again, 25).networks[0].subnet_of(order.networks[0])


# --------------------------------------------------------------------------------------------------- what an operator may


def test_an_operator_may_have_it_sent_to_who_cannot_check_it(site: Site) -> None:
    with_parameters(site, send_unauthenticated_forcerenew=True)
    client = site.client()
    ack = holding(client, 25)
    ask_back(site, ack.networks[0])
    order = client.forcerenew(SOON, authentic=False)
    assert order is not None
    assert order.message.option(90) is None
    given_up(site, client, order)
