# SPDX-License-Identifier: MPL-2.0
"""Reserved subnets: a router asks for one to relay from (RFC 6656, flag h clear), and the server that acknowledged it serves its hosts."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from ci.labs.network import INTERFACE, inside
from ci.labs.process import run
from ci.labs.topology import BACKBONE
from tests.client.codec import Request, Type, decode
from tests.client.rfc6656 import Client, Reply
from tests.kea.conftest import MakeSite
from tests.kea.ledger import with_parameters
from tests.kea.ordinary import Host
from tests.kea.site import Site
from tests.kea.waiting import wait_until

SERVERS = ("s1", "s2")
KEPT = 3
LENGTH = 29  # six addresses for hosts, less those kept
BRIEFLY = (0.6,)  # seconds in which no answer is expected
LIFETIME = 600  # seconds, of hosts' leases
SECONDS = 8  # a short lease of a subnet
SOON = 2.0  # seconds until Kea serves what was acknowledged, and no longer what was given back
PARAMETERS = {"kept-addresses": KEPT, "min-lease-time": 1, "sweep-interval": 0.2, "quarantine-time": 1}


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    return make_module_site("shared", parameters=PARAMETERS, kea={"valid-lifetime": LIFETIME})


@pytest.fixture
def router(site: Site) -> Client:
    """A router that is reached at the address it relays from."""
    return site.client()


def reserve(router: Client, server: IPv4Address, lease_time: int | None = None) -> Reply:
    """Take a subnet of one server of several."""
    offers = {
        offer.server: offer for offer in router.discover(Request(LENGTH, hierarchical=False), lease_time=lease_time)
    }
    reply = router.request(offers[server])
    assert reply is not None
    assert (reply.type, [block.hierarchical for block in reply.blocks]) == (Type.ACK, [False])
    return reply


def served(site: Site, server: str) -> dict[IPv4Network, dict[str, Any]]:
    """The subnets of the running Kea, but for the ordinary one."""
    subnets = {IPv4Network(one["subnet"]): one for one in site.command("config-get", server=server)["Dhcp4"]["subnet4"]}
    return {network: one for network, one in subnets.items() if network != BACKBONE}


def appears(site: Site, server: str, network: IPv4Network) -> dict[str, Any]:
    """Wait until a server serves a reserved subnet; as what."""
    return wait_until(lambda: served(site, server).get(network, {}), SOON)


def lease(site: Site, server: IPv4Address) -> IPv4Address:
    """The address that a new host behind the router gets of a server."""
    return Host(site.endpoint, server).lease()


def granted(host: Host, address: IPv4Address) -> int:
    """For how many seconds a host's renewal is acknowledged."""
    answer = host.ask(host.message(Type.REQUEST, ciaddr=address))
    assert answer is not None
    assert decode(answer).type is Type.ACK
    return decode(answer).lease_time or 0


def link(site: Site, state: str) -> None:
    """Set the link of the first server up or down."""
    run(*inside(site.lab.servers["s1"].netns), "ip", "link", "set", INTERFACE, state)


def give_back(site: Site, router: Client, reply: Reply) -> None:
    """Release what `reserve` returned, and wait until nobody serves it."""
    router.release(reply.server, *(block.bare() for block in reply.blocks))
    wait_until(lambda: not any(served(site, server) for server in SERVERS), SOON)


def test_its_hosts_are_served_through_its_relay_but_not_with_what_is_the_routers(site: Site, router: Client) -> None:
    one, other = site.servers
    reply = reserve(router, one)
    (network,) = reply.networks
    assert appears(site, "s1", network)["relay"]["ip-addresses"] == [str(router.gateway)]
    addresses = list(network.hosts())
    assert sorted(lease(site, one) for _ in addresses[KEPT:]) == addresses[KEPT:]
    full = Host(site.endpoint, one)
    assert full.ask(full.message(Type.DISCOVER), BRIEFLY) is None
    # The other server of the ledger leaves it to the one that acknowledged it.
    assert lease(site, other) in BACKBONE
    assert served(site, "s2") == {}
    give_back(site, router, reply)
    assert lease(site, one) in BACKBONE


def test_what_is_released_is_nobodys_while_its_hosts_have_addresses(site: Site, router: Client) -> None:
    """Who only relays does not know. Kea forgets it when its quarantine is over."""
    one, _ = site.servers
    reply = reserve(router, one)
    (network,) = reply.networks
    appears(site, "s1", network)
    lease(site, one)
    query = f"select round(extract(epoch from expires - now())) from deleg.blocks where prefix = '{network}'"  # noqa: S608
    wait_until(lambda: site.lab.sql(f"select in_use from deleg.usage where prefix = '{network}'").strip() == "1", 7.0)  # noqa: S608
    give_back(site, router, reply)
    assert LIFETIME - 10 < int(site.lab.sql(query)) <= LIFETIME
    another = site.client()
    elsewhere = reserve(another, one)
    assert elsewhere.networks != [network]
    appears(site, "s1", elsewhere.networks[0])
    give_back(site, another, elsewhere)


def test_two_routers_have_their_own(site: Site, router: Client) -> None:
    """Each of one relay's subnets at one of two servers; what one has is not the other's."""
    (one, other), another = site.servers, site.client()
    replies = [reserve(router, one), reserve(another, other)]
    for server, reply in zip(SERVERS, replies, strict=True):
        appears(site, server, reply.networks[0])
        assert list(served(site, server)) == reply.networks
        assert lease(site, reply.server) in reply.networks[0]
    router.release(one, *(block.bare() for block in replies[0].blocks))
    wait_until(lambda: served(site, "s1") == {}, SOON)
    assert list(served(site, "s2")) == replies[1].networks
    give_back(site, another, replies[1])


def test_whoever_renews_it_its_hosts_stay_with_their_server(site: Site, router: Client) -> None:
    """The other server of the ledger knows nothing of their leases, and would give their addresses to somebody else."""
    one, other = site.servers
    reply = reserve(router, one)
    (network,) = reply.networks
    appears(site, "s1", network)
    host = Host(site.endpoint, one)
    address = host.lease()
    for server in (other, one, other):
        renewal = router.renew(server, *(block.bare() for block in reply.blocks))
        assert renewal is not None
        assert (renewal.type, renewal.server) == (Type.ACK, server)
    time.sleep(SOON)
    assert (list(served(site, "s1")), served(site, "s2")) == ([network], {})
    assert granted(host, address) > 0
    assert lease(site, other) in BACKBONE
    give_back(site, router, reply)


def test_its_hosts_leases_end_with_it(site: Site, router: Client) -> None:
    begin = time.monotonic()
    reply = reserve(router, site.servers[0], lease_time=SECONDS)
    assert reply.lease_time == SECONDS
    (network,) = reply.networks
    appears(site, "s1", network)
    host = Host(site.endpoint, reply.server)
    address = host.lease()
    assert address in network
    time.sleep(1.0)
    now = time.monotonic()
    assert 0 < granted(host, address) <= SECONDS - int(now - begin) + 1
    # The router renews, and the hosts' leases follow.
    again = router.renew(reply.server, reply.blocks[0])
    assert again is not None
    assert again.type is Type.ACK
    assert again.lease_time > LIFETIME
    wait_until(lambda: granted(host, address) == LIFETIME, SOON, pause=0.2)
    give_back(site, router, reply)


def test_it_is_withdrawn_when_its_lease_ends(site: Site, router: Client) -> None:
    begin = time.monotonic()
    reply = reserve(router, site.servers[0], lease_time=3)
    appears(site, "s1", reply.networks[0])
    wait_until(lambda: served(site, "s1") == {}, 3 + SOON)
    assert time.monotonic() - begin >= 3.0 - 0.5


def test_it_is_kept_with_its_leases_where_its_servers_link_is_down_at_the_start(site: Site, router: Client) -> None:
    reply = reserve(router, site.servers[0])
    (network,) = reply.networks
    appears(site, "s1", network)
    host = Host(site.endpoint, reply.server)
    address = host.lease()
    site.lab.stop("s1")
    link(site, "down")
    try:
        site.lab.start("s1")
        time.sleep(SOON)
        assert list(served(site, "s1")) == [network]
    finally:
        link(site, "up")
    site.command("config-reload")  # Kea opens its sockets then
    assert granted(host, address) > 0
    give_back(site, router, reply)


@pytest.mark.parametrize(("which", "servers"), [("all", SERVERS), ("none", ())])
def test_who_serves_it(site: Site, router: Client, which: str, servers: tuple[str, ...]) -> None:
    with_parameters(site, serve_reserved=which)
    reply = reserve(router, site.servers[0])
    (network,) = reply.networks
    for server in servers:
        appears(site, server, network)
    for name, address in zip(SERVERS, site.servers, strict=True):
        assert (lease(site, address) in network) == (name in servers)
    give_back(site, router, reply)
    with_parameters(site, serve_reserved=None)
