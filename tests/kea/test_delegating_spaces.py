# SPDX-License-Identifier: MPL-2.0
"""Address spaces that overlap: what selects one, and that they do not disturb each other (RFC 6607, RFC 3527, RFC 3011)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.client.codec import Allocation, Block, Code, Request, Type, information
from tests.client.rfc6656 import Client, Identity, Patience
from tests.kea.conftest import MakeSite
from tests.kea.ledger import events, figures, identity_of
from tests.kea.site import Site
from tests.kea.waiting import wait_until

POOL = IPv4Network("10.64.0.0/16")  # of every space
NAME, VPN_ID, GLOBAL = b"\x00blue", b"\x01\x00\x00\x3f\x00\x00\x00\x2a", b"\xff"  # VSS, RFC 6607 3.5
LINK_SELECTION, VSS, VSS_CONTROL = 5, 151, 152  # sub-options of option 82
GREEN = IPv4Network("203.0.113.0/24")
TENANT = Identity(b"\x02\x00\x00\x00\x0c\x01", b"\x00the tenant")
BRIEF = Patience(0.4, 1)
OPTION, SUBSELECT = int(Code.VSS), int(Code.SUBNET_SELECTION)


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    site = make_module_site("shared", pools=[POOL], parameters={"view-interval": 0.1, "quarantine-time": 600})
    for space in ("blue", "numbered", "green", "tenant"):
        site.lab.cli("space", "add", space)
        site.lab.cli("pool", "add", str(POOL), "--space", space)
    site.lab.cli("space", "select", "blue", "--vss", "blue")
    site.lab.cli("space", "select", "numbered", "--vss", "00003f0000002a")
    site.lab.cli("space", "select", "green", "--network", str(GREEN))
    site.lab.cli("space", "select", "tenant", "--client-id", identity_of(TENANT))
    figures(site)
    return site


def spaces(site: Site, client: Client, state: str = "leased") -> list[str]:
    """The spaces that a client holds blocks of, or was offered some."""
    rows = site.lab.sql(
        "select name from deleg.blocks join deleg.lessees l using (lessee) join deleg.spaces s on s.space = l.space "  # noqa: S608
        f"where identity = '\\x{identity_of(client)}' and state = '{state}' order by name"
    )
    return rows.splitlines()


SELECTED = {
    "no selector": (Identity.fresh(), "default"),
    "82.151, a name": (Identity.fresh().relayed((VSS, NAME), (VSS_CONTROL, b"")), "blue"),
    "82.151, a VPN-ID": (Identity.fresh().relayed((1, b"port 1"), (VSS, VPN_ID)), "numbered"),
    "82.151, the global VPN": (Identity.fresh().relayed((VSS, GLOBAL), (VSS_CONTROL, b"")), "default"),
    "option 221, a name": (Identity.fresh().sending((OPTION, NAME)), "blue"),
    "option 221, a VPN-ID": (Identity.fresh().sending((OPTION, VPN_ID)), "numbered"),
    "82.5": (Identity.fresh().relayed((LINK_SELECTION, GREEN[1].packed)), "green"),
    "option 118": (Identity.fresh().sending((SUBSELECT, GREEN[1].packed)), "green"),
    "82.5 before 118": (
        Identity.fresh()
        .sending((SUBSELECT, GREEN[1].packed))
        .relayed((LINK_SELECTION, IPv4Address("192.0.2.1").packed)),
        "default",
    ),
    "a VPN before a link": (Identity.fresh().sending((SUBSELECT, GREEN[1].packed), (OPTION, NAME)), "blue"),
    "the client itself": (TENANT, "tenant"),
}


@pytest.mark.parametrize("what", SELECTED)
def test_what_selects_a_space(site: Site, what: str) -> None:
    identity, space = SELECTED[what]
    client = site.client(identity)
    ack = client.acquire(24, want=2)
    assert spaces(site, client) == [space]
    assert client.renew(ack.server, *ack.blocks) is not None
    assert client.listing(site.servers[1]) == list(ack.blocks)


def test_giaddr_selects_a_space(site: Site) -> None:
    client = site.client()
    client.gateway = GREEN[7]
    # No relay of ours is there, so the ledger tells what is offered to it.
    client.endpoint.send_message(client.build(Type.DISCOVER, Allocation((Request(24),))), site.servers[0])
    assert wait_until(lambda: spaces(site, client, "offered")) == ["green"]


def test_renewing_and_releasing_past_the_relay(site: Site) -> None:
    """RFC 2131 4.3.2, 4.4.4: the server alone is told, and no relay says where its client is."""
    identity = Identity.fresh()
    client = site.client(identity.relayed((LINK_SELECTION, GREEN[1].packed)))
    ack = client.acquire(24, want=2)
    (block,) = ack.blocks
    endpoint = site.direct()
    try:
        alone = site.client(identity, endpoint=endpoint)
        for server in site.servers:
            renewed = alone.renew(server, block)
            assert renewed is not None
            assert (renewed.type, renewed.blocks) == (Type.ACK, (block,))
        alone.release(ack.server, block)
        wait_until(lambda: held(site, block.network)["green"] == "quarantined")
    finally:
        endpoint.close()


def test_spaces_that_overlap_do_not_disturb_each_other(site: Site) -> None:
    red = site.client()
    blue = site.client(Identity.fresh().relayed((VSS, NAME)))
    wanted = IPv4Network("10.64.200.0/24")
    reds, blues = (client.discover(24, suggest=[Block(wanted)]) for client in (red, blue))
    assert (reds[0].networks, blues[0].networks) == ([wanted], [wanted])
    mine, theirs = red.request(reds[0]), blue.request(blues[0])
    assert mine is not None
    assert theirs is not None
    assert (mine.type, theirs.type) == (Type.ACK, Type.ACK)
    red.release(mine.server, *mine.blocks)
    wait_until(lambda: held(site, wanted) == {"default": "quarantined", "blue": "leased"})
    assert blue.renew(theirs.server, *theirs.blocks) is not None
    assert blue.listing(theirs.server) == list(theirs.blocks)


def test_one_client_in_two_spaces_is_two_lessees(site: Site) -> None:
    who = Identity.fresh()
    plain, blue = site.client(who), site.client(who.relayed((VSS, NAME)), BRIEF)
    ack = plain.acquire(24, want=2)
    assert blue.listing(ack.server) == []
    blue.unanswered(blue.build(Type.REQUEST, information(*ack.blocks), bound=True), 0.4)
    blue.acquire(24, want=2)
    assert spaces(site, plain) == ["blue", "default"]


@pytest.mark.parametrize("value", [b"\x00red", b"\x01\x00\x00\x3f\x00\x00\x00\x2b", b"\x02what", b"\x00"])
@pytest.mark.parametrize("where", ["82.151", "221"])
def test_an_unknown_vpn_is_met_with_silence_and_an_event(site: Site, value: bytes, where: str) -> None:
    fresh = Identity.fresh()
    client = site.client(fresh.relayed((VSS, value)) if where == "82.151" else fresh.sending((OPTION, value)), BRIEF)
    before = [site.counters(name)["not-admitted"] for name in site.lab.servers]
    assert client.discover(24) == []
    (noted,) = events(site, client)
    assert noted.kind == "not-admitted"
    assert noted.reason.startswith("no space is selected by the VPN ")
    assert [site.counters(name)["not-admitted"] for name in site.lab.servers] == [count + 1 for count in before]


def held(site: Site, network: IPv4Network) -> dict[str, str]:
    rows = site.lab.sql(
        f"select name, state from deleg.blocks join deleg.spaces using (space) where prefix = '{network}'"  # noqa: S608
    )
    return dict(line.split("|") for line in rows.splitlines())
