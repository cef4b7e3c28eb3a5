# SPDX-License-Identifier: MPL-2.0
"""The seed's worked example ([0055] to [0083]): what DHCP servers 110 and 136 have after each message, as its tables print it.

Once with a client of the tests as server 136, which asks in the order of the tables, and once with real Kea servers on both sides, and hosts.
A.B.C.0 is 10.1.2.0, Q.R.S.0 and Q.R.T.0 are 10.3.4.0 and 10.3.5.0, W.X.Y.Z is 10.5.6.128. "Leased for" is the lease time of a block
(what is served by its own server has that of its pool, or of the lease it came by), "maximum" that of where it came from. Run with
`pytest -s` to see them.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any, NamedTuple

import pytest
from rich.console import Console
from rich.table import Table

from ci.labs import Lab
from tests.client.codec import Type
from tests.client.endpoint import Endpoint
from tests.client.rfc6656 import Client, Identity, Reply
from tests.kea.conftest import MakeLab, MakeSite
from tests.kea.hosts import Hosts
from tests.kea.ledger import events, figures, figures_of, with_parameters_at
from tests.kea.site import Site
from tests.kea.waiting import wait_until
from tests.kea.wire import Wire

DAY = 86400  # seconds
WEEK = 7 * DAY
ABC, QRS, WXYZ = (IPv4Network(pool) for pool in ("10.1.2.0/24", "10.3.4.0/23", "10.5.6.128/25"))
ABC_LOW, ABC_HIGH = ABC.subnets()
QRS_LOW, QRS_HIGH = QRS.subnets()
NA = "NA"
TIMES = {"604800": "1 week", "1209600": "2 weeks", "": NA}
COLUMNS = (
    "Subnet base address",
    "Subnet mask size",
    "Subnet maximum lease time",
    "Subnet leased for time",
    "Subnet lessee",
)

POOLS = (("a", ABC, WEEK), ("q", QRS, 2 * WEEK), ("w", WXYZ, WEEK))
NETWORK = "hosts"
SERVED_BY_110 = {"name": NETWORK, "prefix-length": 25, "pool": "w", "min-blocks": 1}
"""W.X.Y.Z is what server 110 serves hosts with ([0061])."""
PARAMETERS = {"policy": "proportional", "view-interval": 0.1, "sweep-interval": 0.1, "quarantine-time": 1}
RELAY = "192.0.2.10"  # of hosts
KEA = {"shared-networks": [{"name": NETWORK, "relay": {"ip-addresses": [RELAY]}}]}

BLOCKS = """
    select b.prefix, coalesce(o.max_lease, o.lease_time)::text as maximum, b.state,
           coalesce(b.lease_time, case b.state when 'local' then coalesce(p.lease_time, o.lease_time) end)::text as leased_for,
           encode(l.identity, 'hex') as lessee
      from deleg.blocks b
      join deleg.origins o on o.space = b.space and o.prefix = b.origin
      join deleg.pools p on p.pool = b.pool
      left join deleg.lessees l using (lessee)
     order by b.prefix"""
WATCH = f"""
    create function watch() returns trigger language plpgsql security definer as $$
    begin
        insert into watched (transaction, rows) select txid_current(), jsonb_agg(r) from ({BLOCKS}) r on conflict do nothing;
        return null;
    end $$"""  # noqa: S608


class Row(NamedTuple):
    """A line of the seed's tables."""

    network: IPv4Network
    maximum: str
    leased_for: str
    lessee: str


def free(network: IPv4Network) -> Row:
    return Row(network, "unlimited", NA, NA)


def offered(network: IPv4Network, time: str, lessee: str) -> Row:
    return Row(network, "unlimited", f"offered {time}", f"offered to {lessee}")


def leased(network: IPv4Network, time: str, lessee: str) -> Row:
    return Row(network, "unlimited", time, lessee)


LOCAL = leased(WXYZ, "1 week", "server 110")
TABLE_1 = [free(ABC), free(QRS), LOCAL]
TABLE_2 = [offered(ABC_LOW, "1 week", "server 136"), free(ABC_HIGH), free(QRS), LOCAL]
TABLE_3 = [
    offered(ABC_LOW, "1 week", "server 136"),
    free(ABC_HIGH),
    offered(QRS_LOW, "2 weeks", "server 136"),
    free(QRS_HIGH),
    LOCAL,
]
ACCEPTED = [
    leased(ABC_LOW, "1 week", "server 136"),
    free(ABC_HIGH),
    leased(QRS_LOW, "2 weeks", "server 136"),
    free(QRS_HIGH),
    LOCAL,
]
RENEWED = [
    leased(ABC_LOW, "1 week", "server 136"),
    free(ABC_HIGH),
    free(QRS_LOW),
    leased(QRS_HIGH, "2 weeks", "server 132"),
    LOCAL,
]


class Book:
    """The tables of one server: its number, its ledger, and the numbers of others by their client identifiers in hexadecimal."""

    def __init__(self, lab: Lab, number: int, ledger: str | None, others: Mapping[str, int]) -> None:
        self._lab, self._number, self._ledger, self._others = lab, number, ledger, others

    def now(self) -> list[Row]:
        """What the server has now, but for what is in quarantine."""
        return self._rows(json.loads(self._ask(f"select jsonb_agg(r) from ({BLOCKS}) r")))  # noqa: S608  # ours

    def table(self, title: str) -> list[Row]:
        """What it has now, printed in the seed's columns."""
        return _printed(title, self.now())

    def watch(self) -> None:
        """Have the ledger note what the server has whenever that changes, at the end of the transaction that did it."""
        self._ask(
            "create table watched (number bigint generated always as identity, transaction bigint unique, rows jsonb)",
            WATCH,
            "create constraint trigger watch after insert or update or delete on deleg.blocks "
            "deferrable initially deferred for each row execute function watch()",
        )

    def watched(self) -> list[list[Row]]:
        """What the server had, state by state, since it is watched."""
        found = [json.loads(line) for line in self._ask("select rows from watched order by number").splitlines()]
        return [rows for rows, _ in itertools.groupby(map(self._rows, found))]

    def _ask(self, *statements: str) -> str:
        return self._lab.sql(*statements, ledger=self._ledger)

    def _rows(self, found: list[dict[str, Any]]) -> list[Row]:
        return [self._row(**one) for one in found if one["state"] != "quarantined"]

    def _row(self, prefix: str, maximum: str | None, state: str, leased_for: str | None, lessee: str | None) -> Row:
        network, time = IPv4Network(prefix), TIMES[leased_for or ""]
        number = self._number if state == "local" else self._others.get(lessee or "")
        row = {
            "free": free(network),
            "offered": offered(network, time, f"server {number}"),
            "leased": leased(network, time, f"server {number}"),
            "local": leased(network, time, f"server {number}"),
        }[state]
        return row._replace(maximum=TIMES[maximum] if maximum else "unlimited")


def _printed(title: str, rows: list[Row]) -> list[Row]:
    shown = Table(*COLUMNS, title=title, title_justify="left")
    for row in rows:
        shown.add_row(
            str(row.network.network_address), f"{row.network.prefixlen} bits", row.maximum, row.leased_for, row.lessee
        )
    text = io.StringIO()
    Console(file=text, width=120).print(shown)
    print(text.getvalue())  # noqa: T201  # for who runs pytest -s
    return rows


def fill(lab: Lab, server: str) -> None:
    """Type in the subnets of Table 1 at server 110, then have it serve hosts, and wait until it does so with the one."""
    for name, prefix, lease in POOLS:
        lab.cli("pool", "add", str(prefix), "--name", name, "--lease-time", str(lease))
    with_parameters_at(lab, server, networks=[SERVED_BY_110])
    wait_until(lambda: lab.sql("select prefix from deleg.blocks where state = 'local'").strip() == str(WXYZ))


@pytest.fixture
def server_110(make_site: MakeSite) -> Site:
    site = make_site("single", pools=[], parameters=PARAMETERS, kea=KEA)
    fill(site.lab, "s1")
    figures(site)
    return site


def server(site: Site, number: int) -> Client:
    """Another DHCP server of the example, as a client of server 110."""
    return site.client(identity_of_server(number))


def identity_of_server(number: int) -> Identity:
    return Identity(b"\x02\x00\x00\x00\x00" + bytes((number,)), b"\x00server %d" % number)


def ack(reply: Reply | None, *networks: IPv4Network, seconds: int) -> Reply:
    assert reply is not None
    assert (reply.type, reply.networks, reply.lease_time) == (Type.ACK, list(networks), seconds)
    return reply


def test_the_example(server_110: Site) -> None:
    site, server_136 = server_110, server(server_110, 136)
    names = {(identity_of_server(number).identifier or b"").hex(): number for number in (132, 136)}
    table = Book(site.lab, 110, None, names).table
    assert table("Table 1. Subnets initially at DHCP server 110") == TABLE_1

    (first,) = server_136.discover(25)  # [0059]
    assert (first.networks, first.lease_time, first.more) == ([ABC_LOW], WEEK, True)  # [0064], [0065]
    assert table("Table 2. Subnets at DHCP server 110 after first request") == TABLE_2

    (second,) = server_136.follow(first)  # [0067]
    assert (second.networks, second.lease_time, second.more) == ([QRS_LOW], 2 * WEEK, False)
    assert table("Table 3. Subnets at DHCP server 110 after second request") == TABLE_3

    ack(server_136.request(first), ABC_LOW, seconds=WEEK)  # [0068] to [0073]
    held = ack(server_136.request(second), QRS_LOW, seconds=2 * WEEK)
    assert not held.more
    assert table("After both acknowledgements (Table 4 is what server 136 has then)") == ACCEPTED
    assert server_136.listing(site.servers[0]) == [*first.blocks, *second.blocks]

    # Day 4 of the first lease: 51 of 128 in use, 74 at most, none unusable ([0075], [0076]).
    ack(server_136.renew(first.server, first.blocks[0].using(74, 51, 0)), ABC_LOW, seconds=WEEK)
    assert events(site, server_136, "renewed")[-1].reason == "more than half used"
    # Day 11 of the second: nothing of it was ever used, and server 132 has meanwhile taken all the rest of that subnet.
    ack(server(site, 132).acquire(24), QRS_HIGH, seconds=2 * WEEK)
    figures(site)
    refused = server_136.renew(second.server, second.blocks[0].using(0, 0, 0))
    assert refused is not None
    assert (refused.type, refused.networks) == (Type.NAK, [QRS_LOW])  # [0081]
    assert events(site, server_136, "quarantined")[-1].reason == "nearly gone: never used"
    wait_until(lambda: "quarantined" not in site.lab.sql("select state from deleg.blocks"))
    assert table("After the responses to two renewal requests (Table 5: server 136 has the first alone)") == RENEWED
    assert server_136.listing(site.servers[0]) == list(first.blocks)


# Server 136 of Kea accepts what it is offered before it asks for what is pushed ([0069]): in Table 3 it has the first subnet already.
FIRST_ACCEPTED = [leased(ABC_LOW, "1 week", "server 136"), *TABLE_2[1:]]
SECOND_OFFERED = [FIRST_ACCEPTED[0], *TABLE_3[1:]]
SERVES = Row(ABC_LOW, "1 week", "1 week", "server 136")
TABLE_4 = [SERVES, Row(QRS_LOW, "2 weeks", NA, NA)]
TABLE_5 = [SERVES]
# What servers 136 and 110 say to each other, the flag `s` of [0065] and the size of zero of [0067] and [0069] among it.
ASKED = [
    "DISCOVER request /25 h",
    f"OFFER subnets s: {ABC_LOW} h",
    f"REQUEST subnets s: {ABC_LOW} h",
    f"ACK subnets: {ABC_LOW} h",
    "DISCOVER request /? h",
    f"OFFER subnets: {QRS_LOW} h",
    f"REQUEST subnets: {QRS_LOW} h",
    f"ACK subnets: {QRS_LOW} h",
]
RENEWED_ONE = [f"REQUEST subnets: {ABC_LOW} h (high 74, in use 51, unusable 0)", f"ACK subnets: {ABC_LOW} h"]  # [0079]
REFUSED_OTHER = [f"REQUEST subnets: {QRS_LOW} h (high 0, in use 0, unusable 0)", f"NAK subnets: {QRS_LOW} h"]  # [0081]
LISTING = ("request: what do I hold?", "subnets c")  # RFC 6656 6: what a server asks when it starts, and hears


class Example:
    """Server 110 is the root, 136 the edge, which asks the root itself, and 132 the region."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        names = {lab.sql(IDENTITY, ledger=ledger).strip(): number for ledger, number in STATIONS.items()}
        self.book_110, self.book_136 = Book(lab, 110, "root", names), Book(lab, 136, "edge", names)
        self.heard: list[str] = []

    def said(self, wire: Wire) -> list[str]:
        """What servers 110 and 136 have said to each other so far, in order; what was sent again, once."""
        two = {self.lab.servers[name].address for name in ("root", "edge")}
        self.heard += [
            f"{one.type.name} {one.about}"
            for one in wire.said()
            if {one.source, one.destination} == two and not one.about.startswith(LISTING)
        ]
        return self.heard

    def usage(self, ledger: str) -> str:
        """In use, at most, unusable of A.B.C.0/25."""
        usage = f"select in_use, high_water, unusable from report.subnets where subnet = '{ABC_LOW}'"  # noqa: S608
        return self.lab.sql(usage, ledger=ledger).strip()

    def time_to_renew(self, network: IPv4Network) -> None:
        """Days pass at server 136."""
        at_110 = self.lab.servers["root"].address
        assert self.lab.sql(f"select deleg.upstream_renew_now('{at_110}', '{{{network}}}')", ledger="edge") == "1\n"

    def renewal(self, network: IPv4Network) -> str:
        """The last that server 110 decided about a subnet, and why."""
        return self.lab.sql(
            f"select kind || ': ' || reason from deleg.events where '{network}' in (was, prefix) "  # noqa: S608
            "and kind in ('renewed', 'quarantined') order by seq desc limit 1",
            ledger="root",
        ).strip()


IDENTITY = "select encode(identity, 'hex') from deleg.domain"
STATIONS = {"root": 110, "region": 132, "edge": 136}


@pytest.fixture
def example(make_lab: MakeLab) -> Example:
    network_of_136 = {"name": NETWORK, "prefix-length": 25, "max-blocks": 1}
    lab = make_lab(
        "chain",
        pools=[],
        parameters={**PARAMETERS, "release-after": WEEK, "offer-wait": 0.1},
        servers={
            "edge": {"networks": [network_of_136], "upstreams": [{"address": "198.51.100.1"}]},
        },
        kea=KEA,
    )
    fill(lab, "root")
    return Example(lab)


def test_the_example_with_real_servers_on_both_sides(example: Example) -> None:
    lab, book_110, book_136 = example.lab, example.book_110, example.book_136
    assert book_110.table("Table 1. Subnets initially at DHCP server 110") == TABLE_1
    book_110.watch()
    wire = Wire(lab)
    # That a host wants an address is why server 136 asks ([0105]); its network has 128 addresses.
    with wire, Hosts.relayed(lab.hosts) as hosts:
        hosts.arrive(74, 15.0)
        wait_until(lambda: len(book_110.watched()) >= 4)
        wait_until(lambda: len(example.said(wire)) >= len(ASKED))
        assert example.heard == ASKED
        states = book_110.watched()
        titles = (
            "Table 2. Subnets at DHCP server 110 after first request",
            "The first subnet is acknowledged",
            "Table 3. Subnets at DHCP server 110 after second request",
            "Both are acknowledged",
        )
        for title, state in zip(titles, states, strict=False):
            _printed(title, state)
        assert states == [TABLE_2, FIRST_ACCEPTED, SECOND_OFFERED, ACCEPTED]
        wait_until(lambda: len(book_136.now()) >= len(TABLE_4))
        assert book_136.table("Table 4. Subnets at DHCP server 136 after second acknowledgement") == TABLE_4
        # Day 4: 51 addresses in use, 74 at most, none unusable ([0075]).
        wait_until(lambda: example.usage("edge") == "74|74|0")
        hosts.leave(hosts.all[:23])
        wait_until(lambda: example.usage("edge") == "51|74|0")
        assert len({lease.address for lease in hosts.leases if lease.address in ABC_LOW}) == 51
        example.time_to_renew(ABC_LOW)
        wait_until(lambda: example.said(wire)[len(ASKED) :] == RENEWED_ONE)
        assert example.usage("root") == "51|74|0"
        assert example.renewal(ABC_LOW) == "renewed: more than half used"
        # Day 11: server 132 has what was left of Q.R.S.0, for somebody who asked it; so that is nearly gone, and half of it never used.
        taken = acquire_of(lab, "region", 24)
        assert taken.networks == [QRS_HIGH]
        figures_of(lab)
        example.time_to_renew(QRS_LOW)
        wait_until(lambda: len(book_136.now()) == len(TABLE_5))
        assert example.said(wire)[len(ASKED) + len(RENEWED_ONE) :] == REFUSED_OTHER
        title = "Table 5. Subnets at DHCP server 136 after responses to two renewal requests"
        assert book_136.table(title) == TABLE_5
        assert example.renewal(QRS_LOW) == "quarantined: nearly gone: never used"
        wait_until(lambda: len(book_110.now()) == len(RENEWED))
        assert book_110.table("What DHCP server 110 has then") == RENEWED
        hosts.renew()
        assert len(hosts.leases) == 51
        hosts.check()


def acquire_of(lab: Lab, server: str, length: int) -> Reply:
    """Have a client take a subnet of one server."""
    place = lab.clients[0]
    with Endpoint.relay(place.netns, place.interface, place.address) as endpoint:
        return Client(endpoint, Identity.fresh(), [lab.servers[server].address]).acquire(length)
