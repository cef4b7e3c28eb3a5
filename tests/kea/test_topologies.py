# SPDX-License-Identifier: MPL-2.0
"""Each topology comes up, and a host gets an address that came down from the one pool typed in."""

from __future__ import annotations

import io
import json
import re
import secrets
from ipaddress import IPv4Network
from typing import Any

import pytest
from rich.console import Console

from ci.labs import Lab
from ci.labs.picture import picture
from tests.client.endpoint import Endpoint
from tests.client.rfc6656 import Client, Identity
from tests.kea.conftest import MakeLab
from tests.kea.hosts import Hosts
from tests.kea.waiting import wait_until

POOL = IPv4Network("10.64.0.0/16")
QUICK = 20  # seconds that subnets are leased for
WHOLE = 60.0  # seconds until all space has come back from two levels below
SHORT = 8.0  # seconds for hosts that must not wait for more than their first retransmission, on a busy machine
PAIR = ["edge1", "edge2"]

Chain = list[tuple[str, str]]


def hosts_of(lab: Lab, server: str) -> Hosts:
    """Hosts behind a relay on the link of one server, and of its partner where it has one."""
    netns = next(place.netns for place in lab.hosts if place.server == server)
    return Hosts.relayed([place for place in lab.hosts if place.netns == netns])


def rows(lab: Lab, ledger: str, query: str) -> list[list[Any]]:
    """What a ledger answers, row by row."""
    found = lab.sql(f"select json_agg(to_json(r)) from ({query}) r", ledger=ledger)  # noqa: S608  # ours
    return [list(row.values()) for row in json.loads(found.strip() or "[]")]


def drawn(lab: Lab) -> str:
    paper = Console(file=io.StringIO(), width=200)
    paper.print(picture(lab))
    assert isinstance(paper.file, io.StringIO)
    return paper.file.getvalue()


@pytest.mark.parametrize(
    ("topology", "options", "ledgers"),
    [
        ("chain", {}, {"root": "root", "region": "region", "edge": "edge"}),
        ("chain", {"edges": 2}, {"root": "root", "region": "region", "edge1": "edge1", "edge2": "edge2"}),
        ("peers", {}, {"s1": "s1", "s2": "s2", "s3": "s3"}),
        ("ha", {}, {"root": "root", "edge1": "edge", "edge2": "edge"}),
    ],
)
def test_it_comes_up(make_lab: MakeLab, topology: str, options: dict[str, Any], ledgers: dict[str, str]) -> None:
    lab = make_lab(topology, **options)
    assert {name: server.ledger for name, server in lab.servers.items()} == ledgers
    assert set(lab.ledgers) == set(ledgers.values())
    first, *others = lab.ledgers
    assert [row[0] for row in rows(lab, first, "select origin from report.pools")] == [str(POOL)]
    assert not any(rows(lab, other, "select origin from report.pools") for other in others)
    assert f"{POOL}       typed in at {first}" in drawn(lab)
    place, server = lab.clients[0], next(iter(lab.servers.values()))
    with Endpoint.relay(place.netns, place.interface, place.address) as endpoint:  # it is a delegating server as ever
        client = Client(endpoint, Identity.fresh(), [server.address])
        held = client.acquire(24)
        assert held.networks[0].subnet_of(POOL)
        client.release(server.address, *(block.bare() for block in held.blocks))


def test_a_host_gets_an_address_two_levels_below(make_lab: MakeLab) -> None:
    lab = make_lab("chain", lease_time=QUICK)
    with hosts_of(lab, "edge") as hosts, Hosts.on_link(lab.hosts[0], hosts.addresses, first=1000) as direct:
        hosts.arrive(1, SHORT)
        direct.arrive(1, SHORT)  # that one broadcasts
        (one, other) = (*hosts.leases, *direct.leases)
        network = one.interface.network
        assert other.interface.network == network
        assert network.subnet_of(POOL)
        assert network.prefixlen == 24
        assert one.router == network[1]
        assert one.lifetime <= QUICK
        for ledger in ("region", "edge"):
            ((origin, kind),) = rows(lab, ledger, "select origin, kind from report.pools")
            assert (network.subnet_of(IPv4Network(origin)), kind) == (True, "upstream")
        assert rows(lab, "edge", "select subnet, network from report.subnets where state = 'local'") == [
            [str(network), "hosts"]
        ]
        assert re.findall(r"typed in at root|region|edge|network hosts", drawn(lab)) == [
            "typed in at root",
            "region",
            "edge",
            "network hosts",
        ]
        hosts.leave()
        direct.leave()
        wait_until(lambda: rows(lab, "root", "select prefix, state from deleg.blocks") == [[str(POOL), "free"]], WHOLE)
        for each in (hosts, direct):
            each.check()


def test_all_that_is_said_between_levels_may_be_signed(make_lab: MakeLab) -> None:
    """By a key for each pair (RFC 3118): what is obtained, renewed, asked back and released."""
    lab = make_lab("chain", lease_time=QUICK)
    told = {name: server.command("config-get") for name, server in lab.servers.items()}
    hook = {name: configuration["Dhcp4"]["hooks-libraries"][0]["parameters"] for name, configuration in told.items()}
    for number, (upper, lower) in enumerate((("root", "region"), ("region", "edge"))):
        key = {"id": number, "key": secrets.token_hex(16)}
        known = lab.servers[lower].command("subnet-deleg-status")["service"]["client-id"]
        hook[upper]["auth-keys"] = [{**key, "client-id": known}]
        for upstream in hook[lower]["upstreams"]:
            upstream["auth-key"] = key
    for name, configuration in told.items():
        configuration.pop("hash", None)
        lab.servers[name].command("config-set", configuration)
    with hosts_of(lab, "edge") as hosts:
        hosts.arrive(3, SHORT)
        ((leased,),) = rows(lab, "root", "select subnet from report.subnets where state = 'leased'")
        assert hosts.leases[0].interface.network.subnet_of(IPv4Network(leased))
        renewed = "select renewed from report.subnets where state = 'leased'"
        before = rows(lab, "root", renewed)
        lab.sql(f"select deleg.lease_takeback('default', '{leased}')", ledger="root")
        wait_until(lambda: rows(lab, "root", renewed) != before, 2.0)  # long before T1
        wait_until(
            lambda: all(drains for (drains,) in rows(lab, "edge", "select closing from report.upstreams")), SHORT
        )
        hosts.leave()
    wait_until(lambda: rows(lab, "root", "select prefix, state from deleg.blocks") == [[str(POOL), "free"]], WHOLE)
    assert [server.counters()["not-authentic"] for server in lab.servers.values()] == [0, 0, 0]


def test_what_a_server_that_is_gone_had_is_had_back(make_lab: MakeLab) -> None:
    """By an operator's word, which is not taken while it serves."""
    lab = make_lab("chain", lease_time=QUICK)
    with hosts_of(lab, "edge") as hosts:
        hosts.arrive(1, SHORT)
        network = hosts.leases[0].interface.network
    end = ("network", "end", "hosts", "--longest", "1")
    wait_until(lambda: rows(lab, "edge", "select 1 from report.networks where reported is not null"))
    with pytest.raises(RuntimeError, match="a server has network hosts"):
        lab.cli(*end, ledger="edge")
    lab.kill("edge")
    lab.sql("update deleg.usage set reported = now() - interval '4 minutes'", ledger="edge")
    assert lab.cli(*end, ledger="edge") == f"{network}: free in 1 s\n"
    assert rows(lab, "edge", "select state, reason from deleg.blocks where network is not null") == [
        ["quarantined", "operator gave it up"]
    ]
    lab.start("edge")  # for another network, say
    wait_until(lambda: rows(lab, "root", "select prefix, state from deleg.blocks") == [[str(POOL), "free"]], WHOLE)


def test_each_peer_lends_what_it_was_given(make_lab: MakeLab) -> None:
    lab = make_lab("peers", lease_time=QUICK)
    for server in ("s1", "s3"):  # whose own pool it is, and who has none
        with hosts_of(lab, server) as hosts:
            hosts.arrive(3, SHORT)
            assert all(lease.interface.network.subnet_of(POOL) for lease in hosts.leases)
            hosts.leave()
            hosts.check()


@pytest.mark.parametrize("mode", ["hot-standby", "load-balancing"])
def test_a_pair_serves_the_same_subnets(make_lab: MakeLab, mode: str) -> None:
    lab = make_lab("ha", ha=mode, lease_time=QUICK)
    with hosts_of(lab, "edge1") as hosts:
        hosts.arrive(50, SHORT)
        assert {lease.server for lease in hosts.leases} == {
            place.server_address for place in lab.hosts if mode == "load-balancing" or place.server == "edge1"
        }
        hosts.renew()
        hosts.check()
        numbers = [set(subnets(lab, server)) for server in PAIR]
        assert numbers[0] == numbers[1] != set()
        lab.kill("edge1")
        hosts.renew(seconds=QUICK)  # the partner needs some seconds to see that it is alone
        hosts.arrive(50, SHORT)
        hosts.leave()
        hosts.check()


def subnets(lab: Lab, server: str) -> list[str]:
    """The names of the subnets' statistics of one server, which hold the subnets' numbers."""
    return [name for name in lab.servers[server].command("statistic-get-all") if name.endswith("].assigned-addresses")]
