# SPDX-License-Identifier: MPL-2.0
"""Two servers, one ledger: one party to the outside, whoever of them a client hears."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.client.codec import Allocation, Request, Type, information
from tests.client.rfc6656 import Client, Patience, Reply
from tests.kea.conftest import MakeSite
from tests.kea.crowd import at_once, overlaps, unrecorded
from tests.kea.site import Site
from tests.kea.waiting import wait_until

CLIENTS = 64
ANOTHER_DOMAIN = IPv4Address("198.51.100.99")
BRIEF = Patience(0.4, 1)


def state(site: Site, client: Client) -> list[str]:
    """What the ledger says of a client's blocks: state, prefix and server, in address order."""
    identity = (client.identity.identifier or b"").hex()
    return site.lab.sql(
        "select state, prefix, host(server) from deleg.blocks join deleg.lessees using (lessee) "  # noqa: S608  # hex digits
        f"where identity = '\\x{identity}' order by prefix"
    ).splitlines()


def events(site: Site, client: Client) -> list[str]:
    """The kinds of the events of a client, in order."""
    identity = (client.identity.identifier or b"").hex()
    return site.lab.sql(
        "select kind from deleg.events join deleg.lessees using (lessee) "  # noqa: S608  # hex digits
        f"where lessees.identity = '\\x{identity}' order by seq"
    ).splitlines()


def asking(*lengths: int) -> Allocation:
    return Allocation(tuple(Request(length) for length in lengths))


def same(*replies: Reply) -> bool:
    return len({(reply.type, reply.option, reply.lease_time) for reply in replies}) == 1


def both_offers(client: Client, *lengths: int) -> list[Reply]:
    offers = client.discover(*lengths)
    assert {offer.server for offer in offers} == set(client.servers)
    return sorted(offers, key=lambda offer: offer.server)


# ------------------------------------------------------------------------------------------------------ one transaction


def test_both_offer_the_same_blocks(shared: Site) -> None:
    client = shared.client()
    offers = both_offers(client, 24, 26, 0)
    assert same(*offers)
    assert [block.network.prefixlen for block in offers[0].blocks] == [24, 26, 24]
    assert len(state(shared, client)) == 3


@pytest.mark.parametrize("chosen", [0, 1])
def test_only_the_one_named_acknowledges(shared: Site, chosen: int) -> None:
    client = shared.client()
    offer = both_offers(client, 25)[chosen]
    query = client.build(Type.REQUEST, information(*offer.blocks), server=offer.server, xid=offer.message.xid)
    (reply,) = client.exchange(query, want=2, patience=BRIEF)
    assert (reply.type, reply.server, reply.blocks) == (Type.ACK, offer.server, offer.blocks)
    assert state(shared, client) == [f"leased|{offer.blocks[0].network}|{offer.server}"]
    assert events(shared, client) == ["offered", "leased"]  # the other gave nothing back in between


def test_retransmissions_repeat_the_answer(shared: Site) -> None:
    client = shared.client()
    discover = client.build(Type.DISCOVER, asking(24, 27))
    first, second = client.exchange(discover, want=2)
    for target in (shared.servers[0], shared.servers[1], shared.servers[0]):
        (again,) = client.exchange(discover, want=1, to=[target])
        assert same(first, second, again)
    named, other = first.server, second.server
    request = client.build(Type.REQUEST, information(*first.blocks), server=named, xid=discover.xid)
    (ack,) = client.exchange(request, want=1)
    (ack_again,) = client.exchange(request, want=1, to=[named])
    assert same(ack, ack_again)
    client.unanswered(request, 0.3, to=[other])
    # A DISCOVER that was under way for longer than its REQUEST takes nothing more.
    (late,) = client.exchange(discover, want=1, to=[other])
    assert late.option == first.option
    assert [line.split("|")[0] for line in state(shared, client)] == ["leased", "leased"]
    assert events(shared, client).count("leased") == 2


def test_a_transaction_heard_by_one_may_be_acknowledged_by_the_other(shared: Site) -> None:
    client = shared.client()
    one, other = shared.servers
    discover = client.build(Type.DISCOVER, asking(26))
    (offer,) = client.exchange(discover, want=1, to=[one])
    request = client.build(Type.REQUEST, information(*offer.blocks), server=other, xid=discover.xid)
    (ack,) = client.exchange(request, want=1, to=[other])
    assert (ack.type, ack.server, ack.blocks) == (Type.ACK, other, offer.blocks)


def test_a_server_of_another_domain_frees_what_was_offered(shared: Site) -> None:
    client = shared.client()
    before = [shared.counters(name)["foreign-server"] for name in ("s1", "s2")]
    offer = both_offers(client, 24)[0]
    query = client.build(Type.REQUEST, information(*offer.blocks), server=ANOTHER_DOMAIN, xid=offer.message.xid)
    client.unanswered(query, 0.4)
    assert state(shared, client) == []
    assert [shared.counters(name)["foreign-server"] for name in ("s1", "s2")] == [count + 1 for count in before]
    assert events(shared, client) == ["offered", "free"]


def test_either_renews_and_either_takes_back(shared: Site) -> None:
    client = shared.client()
    ack = client.acquire(24)
    other = next(server for server in shared.servers if server != ack.server)
    renewed = client.renew(other, ack.blocks[0].using(12, 9, 1))
    assert renewed is not None
    assert (renewed.type, renewed.blocks, renewed.server) == (Type.ACK, ack.blocks, other)
    rebound = client.rebind(*ack.blocks, want=2)
    assert {reply.server for reply in rebound} == set(shared.servers)
    assert same(*rebound)
    client.release(other, *ack.blocks)
    wait_until(lambda: state(shared, client)[0].startswith("quarantined|"))
    assert client.listing(ack.server, patience=BRIEF) == []


# ---------------------------------------------------------------------------------------------------------------- crowds


def test_many_at_once_do_not_overlap(shared: Site) -> None:
    lengths = random.Random(6656).choices(range(20, 31), k=CLIENTS)
    holdings = at_once(shared, lengths)
    networks = [network for holding in holdings for network in holding.networks]
    assert [network.prefixlen for network in networks] == lengths
    assert overlaps(networks) == []
    assert unrecorded(shared, holdings) == []
    assert {holding.server for holding in holdings} == set(shared.servers)


def test_many_at_once_fill_a_pool_to_the_last_block(make_site: MakeSite) -> None:
    site = make_site("shared", pools=[IPv4Network("10.9.0.0/18")])
    holdings = at_once(site, [24] * CLIENTS)
    networks = {network for holding in holdings for network in holding.networks}
    assert networks == set(IPv4Network("10.9.0.0/18").subnets(new_prefix=24))
    assert unrecorded(site, holdings) == []
    assert site.lab.sql("select free, leased, free_by_prefix_length from report.pools").strip() == "0|16384|{}"
    assert site.client(patience=BRIEF).discover(30) == []  # and not one address more
