# SPDX-License-Identifier: MPL-2.0
"""The two examples of RFC 6656 section 8, octet for octet, against a real server."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from tests.client.codec import Code, Message, Type
from tests.client.rfc6656 import Patience, Reply
from tests.kea.conftest import MakeSite
from tests.kea.site import Site
from tests.kea.waiting import wait_until

# Option 220 with its code and length, as the figures of section 8 have it.
ONE_24 = "dc 05 00 01 02 00 18"
BLOCK_1 = "dc 0b 00 02 08 00 0a 00 01 00 18 00 00"
TWO_24 = "dc 09 00 01 02 00 18 01 02 00 18"
BLOCKS_2_AND_3 = "dc 12 00 02 0f 00 0a 00 02 00 18 00 00 0a 00 03 00 1c 00 00"
BLOCK_2 = "dc 0b 00 02 08 00 0a 00 02 00 18 00 00"
RENEWAL = "dc 11 00 02 0e 00 0a 00 02 00 18 00 06 00 0a 00 07 00 02"
DEPRECATED = "dc 0b 00 02 08 00 0a 00 02 00 18 01 00"
WHAT_DO_I_HOLD = "dc 05 00 01 02 02 00"
LISTED = "dc 0b 00 02 08 02 0a 00 02 00 18 01 00"

QUICK = Patience(0.3, 1)


class Talk:
    """One client's exchange with the one server of a site, its option 220 given and compared as octets."""

    def __init__(self, site: Site) -> None:
        self.site, self.client, self.server = site, site.client(), site.servers[0]

    def send(
        self, kind: Type, octets: str, *, server: IPv4Address | None = None, xid: int | None = None, bound: bool = False
    ) -> Reply:
        query = self._query(kind, octets, server, xid, bound)
        (reply,) = self.client.exchange(query, want=1)
        return reply

    def release(self, octets: str) -> None:
        query = self._query(Type.RELEASE, octets, self.server, None, True)
        self.client.unanswered(query, 0.3)

    def _query(self, kind: Type, octets: str, server: IPv4Address | None, xid: int | None, bound: bool) -> Message:
        option = bytes.fromhex(octets)
        assert (option[0], option[1]) == (Code.SUBNET_ALLOCATION, len(option) - 2)
        extra = [(option[0], option[2:])]
        return self.client.build(kind, None, server=server, xid=xid, bound=bound, extra=extra)


def holds(reply: Reply, kind: Type, octets: str) -> None:
    assert (reply.type, reply.option.hex(" ")) == (kind, octets)


def subnets(site: Site) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(site.lab.cli("lease", "list", "--json"))
    return rows


def test_both_examples(make_site: MakeSite) -> None:
    pools = [IPv4Network(pool) for pool in ("10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/28")]
    site = make_site("single", pools=pools)
    _example_1(Talk(site))
    _example_2(Talk(site))


def _example_1(talk: Talk) -> None:
    offer = talk.send(Type.DISCOVER, ONE_24)
    holds(offer, Type.OFFER, BLOCK_1)
    holds(talk.send(Type.REQUEST, BLOCK_1, server=talk.server, xid=offer.message.xid), Type.ACK, BLOCK_1)
    (row,) = subnets(talk.site)
    identity = (talk.client.identity.identifier or b"")[1:].decode()
    assert (row["subnet"], row["state"], row["lessee"], row["hierarchical"]) == (
        "10.0.1.0/24", "reserved", identity, False,
    )  # fmt: skip
    talk.release(BLOCK_1)
    wait_until(lambda: subnets(talk.site)[0]["state"] == "quarantined")


def _example_2(talk: Talk) -> None:
    offer = talk.send(Type.DISCOVER, TWO_24)
    holds(offer, Type.OFFER, BLOCKS_2_AND_3)
    holds(talk.send(Type.REQUEST, BLOCK_2, server=talk.server, xid=offer.message.xid), Type.ACK, BLOCK_2)
    # The /28 that the client left out is free again at once.
    assert talk.site.lab.sql("select state from deleg.blocks where prefix = '10.0.3.0/28'").strip() == "free"

    assert talk.site.lab.cli("lease", "deprecate", "10.0.2.0/24")
    usage = "select high_water, in_use, unusable, fullness, addresses from report.subnets where subnet = '10.0.2.0/24'"

    def is_recorded() -> bool:
        holds(talk.send(Type.REQUEST, RENEWAL, bound=True), Type.ACK, DEPRECATED)
        return talk.site.lab.sql(usage).strip() == "10|7|2|0.0273|256"

    # The server serves these addresses itself: every five seconds its own count replaces what was reported.
    wait_until(is_recorded)
    (row,) = [row for row in subnets(talk.site) if row["subnet"] == "10.0.2.0/24"]
    assert (row["high_water"], row["draining"]) == (10, True)

    holds(talk.send(Type.DISCOVER, WHAT_DO_I_HOLD), Type.OFFER, LISTED)
    talk.release(BLOCK_2)
    wait_until(lambda: {row["state"] for row in subnets(talk.site)} == {"quarantined"})
    assert not talk.client.listing(talk.server, patience=QUICK)
