# SPDX-License-Identifier: MPL-2.0
"""Which way replies leave where there are two: back by the interface of the request, or as the routes say ("outbound-interface")."""

from __future__ import annotations

import queue
from ipaddress import IPv4Address, IPv4Interface

import pytest

from ci.labs import Lab, network
from ci.labs.process import run
from tests.client.codec import Allocation, Message, Request, Type, decode
from tests.client.endpoint import Datagram, Endpoint
from tests.client.rfc6656 import Client, Identity
from tests.kea.conftest import MakeLab
from tests.kea.ordinary import Host

OTHER = "eth1"  # the second link of the server and the client
SERVER, CLIENT = IPv4Interface("192.0.2.1/24"), IPv4Interface("192.0.2.2/24")
RELAY = IPv4Address("203.0.113.1")  # an address of the client's that is on neither link
SUBNET = {"id": 1, "subnet": "203.0.113.0/24", "pools": [{"pool": "203.0.113.128/26"}]}
BRIEF = 2.0  # seconds

# By option: the interface that a request comes by, and that its reply leaves by.
WAYS = [("same-as-inbound", "eth0", "eth0"), ("use-routing", "eth0", OTHER), ("use-routing", OTHER, OTHER)]


@pytest.fixture(scope="module")
def lab(make_module_lab: MakeLab) -> Lab:
    """A server that listens on its first link alone, and has the route to the relay by the second."""
    lab = make_module_lab("single", kea={"subnet4": [SUBNET]})
    server, client = lab.servers["s1"].netns, lab.clients[0].netns
    network.link([network.Plug(server, SERVER, OTHER), network.Plug(client, CLIENT, OTHER)], None)
    run(*network.inside(client), "ip", "address", "add", f"{RELAY}/32", "dev", "lo")
    run(*network.inside(server), "ip", "route", "add", str(RELAY), "via", str(CLIENT.ip), "dev", OTHER)
    return lab


def configure(lab: Lab, outbound: str) -> None:
    """Kea looks for interfaces, too, when it is configured."""
    server = lab.servers["s1"]
    loaded = server.configuration(lab.hooks)
    loaded["Dhcp4"]["interfaces-config"]["outbound-interface"] = outbound
    server.command("config-set", loaded)


def answer(query: Message, server: IPv4Address, asking: Endpoint, hearing: Endpoint) -> Datagram:
    """What a query that is sent by one interface is answered on another, or the same."""
    with hearing.listen(query.xid) as mailbox:
        asking.send_message(query, server)
        try:
            return mailbox.get(timeout=BRIEF)
        except queue.Empty:
            raise AssertionError(f"no answer by {hearing.interface}") from None


@pytest.mark.parametrize(("outbound", "inward", "outward"), WAYS)
def test_replies_leave_as_kea_s_own_do(lab: Lab, outbound: str, inward: str, outward: str) -> None:
    configure(lab, outbound)
    netns, server = lab.clients[0].netns, lab.servers["s1"].address
    with Endpoint.relay(netns, inward, RELAY) as asking, Endpoint.relay(netns, outward, RELAY) as hearing:
        of_kea = answer(Host(asking, server).message(Type.DISCOVER), server, asking, hearing)
        client = Client(asking, Identity.fresh(), [server])
        ours = answer(client.build(Type.DISCOVER, Allocation((Request(28),))), server, asking, hearing)
        assert decode(ours.data).allocation.blocks
        assert ours.source == of_kea.source
