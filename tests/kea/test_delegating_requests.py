# SPDX-License-Identifier: MPL-2.0
"""Every request that RFC 6656 lets a client make, of two servers that share one ledger."""

from __future__ import annotations

import dataclasses
import struct
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.client.codec import Allocation, Block, Code, Information, Request, Type, decode, information
from tests.client.endpoint import EVERYONE, Endpoint
from tests.client.rfc6656 import Client, Identity, Reply
from tests.kea.conftest import MakeSite
from tests.kea.ledger import events, figures, state, states, with_parameters
from tests.kea.site import Site
from tests.kea.waiting import wait_until

LEASE, SHORTEST, LONGEST, HOST_LEASE = 4000, 600, 8000, 1800  # seconds
PARAMETERS = {
    "lease-time": LEASE,
    "min-lease-time": SHORTEST,
    "max-lease-time": LONGEST,
    "t1-percent": 0.6,
    "t2-percent": 0.8,
    "suggested-host-lease-time": HOST_LEASE,
    "quarantine-time": 600,
    "view-interval": 0.1,
}
RAW = {"interfaces-config": {"dhcp-socket-type": "raw"}}  # Kea hears broadcasts on raw sockets alone
LAB, SALES = IPv4Network("10.64.0.0/12"), IPv4Network("10.96.0.0/16")
LINK_SELECTION, OVERRIDE, SOURCE_PORT, CIRCUIT, REMOTE = 5, 11, 19, 1, 2  # sub-options of option 82


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    site = make_module_site("shared", pools=[LAB], parameters=PARAMETERS, kea=RAW)
    site.lab.cli("pool", "add", str(SALES), "--name", "sales", "--tag", "sales", "--tag", "marketing")
    figures(site)
    return site


def acknowledged(reply: Reply | None) -> Reply:
    assert reply is not None
    assert reply.type is Type.ACK
    return reply


def take(client: Client, offers: list[Reply]) -> Reply:
    return acknowledged(client.request(offers[0]))


# ------------------------------------------------------------------------------------------------------------- DISCOVER


def test_several_sizes_in_one_discover(site: Site) -> None:
    client = site.client()
    offers = client.discover(26, 0, Request(22, hierarchical=False), 30, 24)
    assert {offer.option for offer in offers} == {offers[0].option}
    assert [block.network.prefixlen for block in offers[0].blocks] == [26, 24, 22, 30, 24]
    assert [block.hierarchical for block in offers[0].blocks] == [True, True, False, True, True]
    ack = take(client, offers)
    assert ack.blocks == offers[0].blocks
    assert sorted(states(site, client).values()) == ["leased"] * 4 + ["reserved"]


def test_a_block_that_is_named_is_given_where_it_is_free(site: Site) -> None:
    wanted = Block(IPv4Network("10.79.3.64/26"))
    first = site.client()
    assert take(first, first.discover(26, suggest=[wanted])).networks == [wanted.network]
    second = site.client()
    (network,) = take(second, second.discover(26, suggest=[wanted])).networks
    assert network != wanted.network
    assert network.prefixlen == 26


def test_a_named_block_is_ignored_where_it_is_larger_than_what_is_asked_or_elsewhere(site: Site) -> None:
    for named in (Block(IPv4Network("10.79.0.0/20")), Block(IPv4Network("172.16.0.0/26")), Block(SALES)):
        offer = site.client().discover(26, suggest=[named])[0]
        assert [network.prefixlen for network in offer.networks] == [26]
        assert not offer.networks[0].overlaps(named.network)


def test_a_named_block_that_is_smaller_decides_the_size(site: Site) -> None:
    wanted = Block(IPv4Network("10.78.3.0/28"))
    assert site.client().discover(26, suggest=[wanted])[0].networks == [wanted.network]


@pytest.mark.parametrize(
    ("asked", "given"), [(1, SHORTEST), (SHORTEST + 1, SHORTEST + 1), (None, LEASE), (0xFFFFFFFF, LONGEST)]
)
def test_a_wished_lease_time_is_kept_within_limits(site: Site, asked: int | None, given: int) -> None:
    client = site.client()
    offers = client.discover(28, lease_time=asked)
    ack = take(client, offers)
    assert {offers[0].lease_time, offers[1].lease_time, ack.lease_time} == {given}


def test_t1_t2_and_the_lease_of_hosts(site: Site) -> None:
    client = site.client()
    offers = client.discover(28)
    ack = take(client, offers)
    renewed = acknowledged(client.renew(ack.server, ack.blocks[0].using(3, 2)))
    for reply in (*offers, ack, renewed):
        times = [reply.message.option(code) for code in (Code.RENEWAL_TIME, Code.REBINDING_TIME)]
        assert times == [struct.pack("!I", seconds) for seconds in (LEASE * 6 // 10, LEASE * 8 // 10)]
        assert reply.allocation.lease_times == (HOST_LEASE,)


@pytest.mark.parametrize("name", ["sales", "marketing"])
def test_a_subnet_name_chooses_the_pool_that_is_tagged_with_it(site: Site, name: str) -> None:
    client = site.client()
    ack = take(client, client.discover(27, name=name))
    assert ack.networks[0].subnet_of(SALES)


def test_other_names_are_served_by_pools_without_tags(site: Site) -> None:
    for name in ("purchase", None):
        assert site.client().discover(27, name=name)[0].networks[0].subnet_of(LAB)


# -------------------------------------------------------------------------------------------------------------- REQUEST


def test_a_request_may_keep_fewer_and_the_rest_is_free_again(site: Site) -> None:
    client = site.client()
    offer = client.discover(25, 26, 27)[0]
    kept = offer.blocks[1]
    ack = acknowledged(client.request(offer, [kept]))
    assert ack.blocks == (kept,)
    assert states(site, client) == {kept.network: "leased"}
    assert [state(site, offer.networks[n]) for n in (0, 2)] == ["free", "free"]
    kinds = [event.kind for event in events(site, client, "free")]
    assert kinds == ["free", "free"]


def test_a_renewal_of_several_blocks_has_a_verdict_on_each(site: Site) -> None:
    client = site.client()
    ack = take(client, client.discover(25, 26, 27))
    site.lab.cli("lease", "deprecate", str(ack.networks[1]))
    other = next(server for server in site.servers if server != ack.server)
    usage = [ack.blocks[0].using(60, 55, 1), ack.blocks[1].using(30, 20), ack.blocks[2]]
    renewed = acknowledged(client.renew(other, *usage))
    assert renewed.networks == ack.networks
    assert [block.deprecate for block in renewed.blocks] == [False, True, False]
    reported = site.lab.sql(
        "select u.high_water, u.in_use, u.unusable from deleg.usage u join deleg.lessees using (lessee) "  # noqa: S608
        f"where identity = '\\x{(client.identity.identifier or b'').hex()}' order by u.prefix"
    )
    assert sorted(reported.splitlines()) == ["30|20|", "60|55|1"]


def test_a_renewal_leaves_out_what_the_client_does_not_hold(site: Site) -> None:
    client, other = site.client(), site.client()
    ack, foreign = take(client, client.discover(25)), take(other, other.discover(25))
    renewed = acknowledged(client.renew(ack.server, *ack.blocks, *foreign.blocks))
    assert renewed.blocks == ack.blocks
    client.unanswered(client.build(Type.REQUEST, information(*foreign.blocks), bound=True), 0.4)


def test_rebinding_by_broadcast(site: Site) -> None:
    with site.direct() as endpoint:
        client = site.client(Identity(endpoint.hardware, b"\0direct"), endpoint=endpoint)
        ack = take(client, client.discover(25))
        rebound = client.rebind(ack.blocks[0].using(20, 10), want=2)
    assert {reply.server for reply in rebound} == set(site.servers)
    assert {(reply.type, reply.blocks) for reply in rebound} == {(Type.ACK, ack.blocks)}


def test_a_release_may_give_back_some(site: Site) -> None:
    client = site.client()
    ack = take(client, client.discover(25, 26, 27))
    client.release(ack.server, ack.blocks[0], ack.blocks[2])
    wait_until(lambda: list(states(site, client).values()).count("quarantined") == 2)
    assert states(site, client)[ack.networks[1]] == "leased"
    assert [block.network for block in client.listing(ack.server)] == [ack.networks[1]]


# -------------------------------------------------------------------------------------------------------------- listing


def many(site: Site, client: Client, count: int) -> list[IPv4Network]:
    """Have a client hold more than one message can list."""
    held: list[IPv4Network] = []
    while len(held) < count:
        ack = take(client, client.discover(*[30] * min(20, count - len(held))))
        held += ack.networks
    assert len(states(site, client)) == count
    return sorted(held)


@pytest.mark.parametrize("identity", ["plain", "vss"])
def test_a_long_list_comes_in_pages_in_address_order(site: Site, identity: str) -> None:
    who = Identity.fresh()
    if identity == "vss":  # what RFC 6607 adds to the replies must have room too
        who = who.sending((int(Code.VSS), b"\xff")).relayed((CIRCUIT, b"port 7"), (151, b"\xff"), (152, b""))
    client = site.client(who)
    held = many(site, client, 100)
    for server in site.servers:
        assert [block.network for block in client.listing(server)] == held


@pytest.mark.parametrize("size", [576, 1500, 9000, 65535])
def test_an_answer_to_who_has_no_address_fits_a_frame_whatever_size_it_announces(site: Site, size: int) -> None:
    """It goes out of a raw socket, which sends no fragments."""
    with site.unnumbered() as endpoint:
        who = Identity.fresh().sending((int(Code.MAXIMUM_SIZE), struct.pack("!H", size)))
        client = site.client(who, endpoint=endpoint)
        query = client.build(Type.DISCOVER, Allocation(tuple(Request(30) for _ in range(160))))
        offer = client.exchange(query, want=1, to=[EVERYONE])[0]
        assert 20 < len(offer.blocks) <= 160
        assert len(offer.data) + 28 <= min(size, 1500)


def test_pages_may_come_from_both_servers_in_turn(site: Site) -> None:
    client = site.client()
    held = many(site, client, 100)
    listed: list[IPv4Network] = []
    last: tuple[Information, ...] = ()
    for turn in range(10):
        query = client.build(Type.DISCOVER, Allocation((Request(0, information=True),), last))
        (page,) = client.exchange(query, want=1, to=[site.servers[turn % 2]])
        listed += page.networks
        last = page.allocation.information[-1:]
        if not page.more:
            break
    assert listed == held
    assert turn > 0


# ------------------------------------------------------------------------------------------------------- what relays add


def test_the_identifier_and_the_relays_information_are_echoed(site: Site) -> None:
    # The client judges each reply: option 61 and 82 as they were, 82 last.
    who = Identity.fresh().relayed((CIRCUIT, b"ge-0/0/1.7"), (REMOTE, bytes(range(40))), (200, b""))
    client = site.client(who)
    ack = take(client, client.discover(28))
    renewed = acknowledged(client.renew(ack.server, *ack.blocks))
    assert renewed.message.option(Code.RELAY_INFORMATION) == who.relay_information
    assert [block.network for block in client.listing(ack.server)] == ack.networks


def test_a_client_without_an_identifier_is_known_by_its_hardware(site: Site) -> None:
    client = site.client(dataclasses.replace(Identity.fresh(), identifier=None))
    ack = take(client, client.discover(28))
    assert ack.message.option(Code.CLIENT_IDENTIFIER) is None
    assert states(site, client) == {ack.networks[0]: "leased"}


def test_a_relay_may_override_the_server_identifier(site: Site) -> None:
    spoken_for = IPv4Address("198.51.100.250")
    client = site.client(Identity.fresh().relayed((OVERRIDE, spoken_for.packed)))
    offers = client.discover(28)
    assert {offer.message.server for offer in offers} == {spoken_for}
    reply = client.request(offers[0])
    assert acknowledged(reply).message.server == spoken_for
    assert states(site, client) == {offers[0].networks[0]: "leased"}
    renewed = acknowledged(client.renew(site.servers[0], *offers[0].blocks))
    assert renewed.message.server == spoken_for


def test_a_relay_may_listen_on_another_port(site: Site) -> None:
    place = site.lab.clients[0]
    with Endpoint.relay(place.netns, place.interface, place.address, port=6767) as endpoint:
        client = site.client(Identity.fresh().relayed((SOURCE_PORT, b"")), endpoint=endpoint)
        ack = take(client, client.discover(28))
        assert acknowledged(client.renew(ack.server, *ack.blocks)).blocks == ack.blocks


# -------------------------------------------------------------------------------------------------------------- flag h


@pytest.mark.parametrize(("configured", "given"), [("never", False), ("always", True)])
def test_who_allocates_may_be_configured(site: Site, configured: str, given: bool) -> None:
    with_parameters(site, hierarchical=configured)
    client = site.client()
    query = client.build(Type.DISCOVER, Allocation((Request(26, not given),)))
    # The client's own judgement wants the flag as asked: here it is what the operator says, so the reply is compared by hand.
    with site.endpoint.listen(query.xid) as mailbox:
        site.endpoint.send_message(query, site.servers[0])
        offered = decode(mailbox.get(timeout=5).data).allocation
    (block,) = offered.blocks
    assert block.hierarchical is given
    request = client.build(Type.REQUEST, information(block), server=site.servers[0], xid=query.xid)
    (ack,) = client.exchange(request, want=1)
    assert ack.blocks == (block,)
    assert states(site, client) == {block.network: "leased" if given else "reserved"}
