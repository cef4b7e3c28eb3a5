# SPDX-License-Identifier: MPL-2.0
"""What servers say to servers: their answers with option 220 come to Kea's socket, and are taken there."""

from __future__ import annotations

import struct

import pytest

from tests.client.codec import Code, Message, Type
from tests.client.rfc6656 import Identity
from tests.kea.conftest import MakeSite
from tests.kea.site import Site
from tests.kea.waiting import wait_until

BOOTREPLY = 2
INFORMATION = bytes((0, 2, 10, 10, 1, 0, 0, 24, 0, 0))  # RFC 6656 3.2: a Subnet-Information suboption with one block


def answer(site: Site, kind: Type, carried: bytes = INFORMATION) -> bytes:
    """A server's answer to the server at the site, as octets: `Message` encodes a client's."""
    message = Message(
        kind,
        0x12345678,
        Identity.fresh().hardware,
        giaddr=site.servers[0],
        options=((Code.SERVER_IDENTIFIER, site.endpoint.address.packed), (Code.SUBNET_ALLOCATION, carried)),
    ).encode()
    return struct.pack("!B", BOOTREPLY) + message[1:]


@pytest.mark.parametrize("parameters", [{}, {"respect-drops": True}], ids=["alone", "respect-drops"])
@pytest.mark.parametrize("kea", [{}, {"subnet4": []}], ids=["", "no subnet"])
def test_answers_of_servers_are_taken(
    make_site: MakeSite, parameters: dict[str, object], kea: dict[str, object]
) -> None:
    site = make_site("single", parameters=parameters, kea=kea)
    kinds = (Type.OFFER, Type.ACK, Type.NAK, Type.FORCERENEW)
    for kind in kinds:
        site.endpoint.send(answer(site, kind), site.servers[0])
    wait_until(lambda: site.counters()["received"] >= len(kinds))
    assert site.counters()["received"] == len(kinds)
    assert site.counters()["exceptions"] == 0
