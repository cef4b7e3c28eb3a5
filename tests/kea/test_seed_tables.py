# SPDX-License-Identifier: MPL-2.0
"""The seed's worked example ([0055] to [0083]) on a real server: what DHCP server 110 has after each message, as its tables print it.

A.B.C.0 is 192.0.2.0, Q.R.S.0 and Q.R.T.0 are 198.18.18.0 and 198.18.19.0, W.X.Y.Z is 203.0.113.128. The tables' "leased for" is the
lease time of a block, "maximum" that of where it came from. Run with `pytest -s` to see them.
"""

from __future__ import annotations

import io
from ipaddress import IPv4Network
from typing import NamedTuple

import pytest
from rich.console import Console
from rich.table import Table

from tests.client.codec import Type
from tests.client.rfc6656 import Client, Identity, Reply
from tests.kea.conftest import MakeSite
from tests.kea.ledger import events, figures
from tests.kea.site import Site
from tests.kea.waiting import wait_until

DAY = 86400  # seconds
WEEK = 7 * DAY
ABC, QRS, WXYZ = (IPv4Network(pool) for pool in ("192.0.2.0/24", "198.18.18.0/23", "203.0.113.128/25"))
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
PARAMETERS = {"policy": "proportional", "view-interval": 0.1, "sweep-interval": 0.1, "quarantine-time": 1}


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


def table(site: Site, title: str) -> list[Row]:
    """What server 110 has, printed in the seed's columns."""
    found = site.lab.sql(
        "select b.prefix, o.max_lease, b.state, b.lease_time, report.identity_text(l.identity) "
        "from deleg.blocks b join deleg.origins o on o.space = b.space and o.prefix = b.origin "
        "left join deleg.lessees l using (lessee) order by b.prefix"
    )
    rows = [_row(*line.split("|")) for line in found.splitlines()]
    shown = Table(*COLUMNS, title=title, title_justify="left")
    for row in rows:
        shown.add_row(
            str(row.network.network_address), f"{row.network.prefixlen} bits", row.maximum, row.leased_for, row.lessee
        )
    text = io.StringIO()
    Console(file=text, width=120).print(shown)
    print(text.getvalue())  # noqa: T201  # for who runs pytest -s
    return rows


def _row(prefix: str, maximum: str, state: str, lease_time: str, lessee: str) -> Row:
    most = "unlimited" if maximum == "" else TIMES[maximum]
    if state == "offered":
        return Row(IPv4Network(prefix), most, f"offered {TIMES[lease_time]}", f"offered to {lessee}")
    who = {"free": NA, "leased": lessee, "local": "server 110"}[state]
    return Row(IPv4Network(prefix), most, TIMES[lease_time], who)


@pytest.fixture
def server_110(make_site: MakeSite) -> Site:
    site = make_site("single", pools=[], parameters=PARAMETERS)
    for name, prefix, lease in (("a", ABC, WEEK), ("q", QRS, 2 * WEEK), ("w", WXYZ, WEEK)):
        site.lab.cli("pool", "add", str(prefix), "--name", name, "--lease-time", str(lease))
    # What server 110 serves itself: no command puts a block into that state.
    served = f"state = 'local', lease_time = {WEEK}, reason = 'served here' where prefix = '{WXYZ}'"
    site.lab.sql(f"update deleg.blocks set {served}")  # noqa: S608
    figures(site)
    return site


def server(site: Site, number: int) -> Client:
    """Another DHCP server of the example, as a client of server 110."""
    return site.client(Identity(b"\x02\x00\x00\x00\x00" + bytes((number,)), b"\x00server %d" % number))


def ack(reply: Reply | None, *networks: IPv4Network, seconds: int) -> Reply:
    assert reply is not None
    assert (reply.type, reply.networks, reply.lease_time) == (Type.ACK, list(networks), seconds)
    return reply


def test_the_example(server_110: Site) -> None:
    site, server_136 = server_110, server(server_110, 136)
    assert table(site, "Table 1. Subnets initially at DHCP server 110") == TABLE_1

    (first,) = server_136.discover(25)  # [0059]
    assert (first.networks, first.lease_time, first.more) == ([ABC_LOW], WEEK, True)  # [0064], [0065]
    assert table(site, "Table 2. Subnets at DHCP server 110 after first request") == TABLE_2

    (second,) = server_136.follow(first)  # [0067]
    assert (second.networks, second.lease_time, second.more) == ([QRS_LOW], 2 * WEEK, False)
    assert table(site, "Table 3. Subnets at DHCP server 110 after second request") == TABLE_3

    ack(server_136.request(first), ABC_LOW, seconds=WEEK)  # [0068] to [0073]
    held = ack(server_136.request(second), QRS_LOW, seconds=2 * WEEK)
    assert not held.more
    assert table(site, "After both acknowledgements (Table 4 is what server 136 has then)") == ACCEPTED
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
    assert (
        table(site, "After the responses to two renewal requests (Table 5: server 136 has the first alone)") == RENEWED
    )
    assert server_136.listing(site.servers[0]) == list(first.blocks)
