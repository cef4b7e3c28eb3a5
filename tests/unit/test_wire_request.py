# SPDX-License-Identifier: MPL-2.0
"""What a server says as a client, byte for byte: RFC 6656 section 8, RFC 2131 table 5; and as the tests' own decoder reads it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kea_subnet_deleg.wire import (
    Message,
    MessageType,
    Requester,
    SubnetAllocation,
    SubnetBlock,
    SubnetInformation,
    SubnetRequest,
    Usage,
    discover,
    gather,
    release,
    renewals_that_fit,
    request,
)
from tests.client.codec import Block, Code, Information, Request, Type, decode

IDENTITY = bytes.fromhex("ff0102030400041111111122223333444455555555555501")
REQUESTER = Requester(IDENTITY, bytes.fromhex("02a1b2c3d4e5"))
LEASING = Requester(IDENTITY, bytes.fromhex("02a1b2c3d4e5"), 86400)
GIADDR = int(IPv4Address("192.0.2.2"))
SERVER = int(IPv4Address("192.0.2.1"))
XID = 0x01020304
ONE = SubnetBlock.of(IPv4Network("10.0.1.0/24"))
TWO = SubnetBlock.of(IPv4Network("10.0.2.0/24"))
HEAD = "01 01 06 01 01020304 {secs} 0000 00000000 00000000 00000000 c0000202 02a1b2c3d4e5"
CLIENT = "3d18" + IDENTITY.hex()
CAPABLE = "39020578 910101"


def expect(options: str, secs: str = "0000") -> bytes:
    data = bytes.fromhex(HEAD.format(secs=secs)).ljust(236, b"\0") + bytes.fromhex("63825363" + options)
    return data.ljust(300, b"\0")


def test_discover_one_24() -> None:
    assert discover(REQUESTER, XID, GIADDR, [SubnetRequest(24)]) == expect(
        f"350101 {CLIENT} {CAPABLE} dc05 00 01020018 ff"
    )


def test_discover_two_24_with_a_lease_time() -> None:
    asked = [SubnetRequest(24), SubnetRequest(24)]
    assert discover(LEASING, XID, GIADDR, asked, secs=5) == expect(
        f"350101 {CLIENT} 330400015180 {CAPABLE} dc09 00 01020018 01020018 ff", secs="0005"
    )


def test_discover_flag_h_is_the_lowest_bit() -> None:
    data = discover(REQUESTER, XID, GIADDR, [SubnetRequest(25, hierarchical=True)])
    assert decode(data).allocation.encode().hex() == "0001020119"


def test_request_of_an_offer() -> None:
    data = request(REQUESTER, XID, GIADDR, [SubnetInformation((ONE,))], server=SERVER)
    assert data == expect(f"350103 {CLIENT} 3604c0000201 {CAPABLE} dc0b 00 0208 00 0a000100 18 00 00 ff")


def test_request_keeps_the_subnet_informations_as_they_came() -> None:
    offered = bytes.fromhex("00 02 0f 00 0a000200 18 02 00 0a000300 1c 02 00 02 08 01 0a000400 18 02 00")
    information = SubnetAllocation.decode([offered]).information
    data = request(LEASING, XID, GIADDR, information, server=SERVER, secs=3)
    assert decode(data).option(Code.SUBNET_ALLOCATION) == offered
    assert decode(data).lease_time == 86400


def test_renewal_with_usage() -> None:
    block = SubnetBlock.of(IPv4Network("10.0.2.0/24"), usage=Usage(10, 7, 2))
    assert request(REQUESTER, XID, GIADDR, gather([block])) == expect(
        f"350103 {CLIENT} {CAPABLE} dc11 00 020e 00 0a000200 18 00 06 000a 0007 0002 ff"
    )


def test_release() -> None:
    assert release(REQUESTER, XID, GIADDR, SERVER, [ONE]) == expect(
        f"350107 {CLIENT} 3604c0000201 dc0b 00 0208 00 0a000100 18 00 00 ff"
    )


def test_what_do_i_hold() -> None:
    asked = [SubnetRequest(0, information=True)]
    assert discover(LEASING, XID, GIADDR, asked) == expect(f"350101 {CLIENT} {CAPABLE} dc05 00 01020200 ff")


def test_next_page_echoes_the_last_subnet_information() -> None:
    last = SubnetInformation((SubnetBlock.of(IPv4Network("10.0.2.0/24"), hierarchical=True),), client=True, server=True)
    data = discover(REQUESTER, XID, GIADDR, [SubnetRequest(0, information=True)], after=last)
    assert data == expect(f"350101 {CLIENT} {CAPABLE} dc0f 00 01020200 0208 03 0a000200 18 02 00 ff")


def test_next_page_after_a_full_suboption_fits_into_what_everybody_takes() -> None:
    blocks = [SubnetBlock.of(IPv4Network((0x0A000000 + 256 * n, 24)), hierarchical=True) for n in range(36)]
    (last,) = gather(blocks)
    data = discover(LEASING, XID, GIADDR, [SubnetRequest(0, information=True)], after=last)
    assert len(data) + 28 <= 576
    assert len(decode(data).allocation.blocks) == 36


@pytest.mark.parametrize("secs", [65535, 65536, 10**9])
def test_secs_stay_at_their_most(secs: int) -> None:
    assert decode(discover(REQUESTER, XID, GIADDR, [SubnetRequest(24)], secs=secs)).secs == 65535


def test_gather_fills_suboptions() -> None:
    blocks = [SubnetBlock.of(IPv4Network((0x0A000000 + 256 * n, 24))) for n in range(80)]
    assert [len(information.blocks) for information in gather(blocks)] == [36, 36, 8]
    used = [SubnetBlock.of(block.network, usage=Usage(1, 1, 1)) for block in blocks[:40]]
    assert [len(information.blocks) for information in gather(used)] == [19, 19, 2]
    assert gather([]) == ()


@given(st.integers(2, 255), st.booleans())
def test_as_many_renewals_as_fit_into_what_everybody_takes(identity: int, asks_time: bool) -> None:
    requester = Requester(bytes(identity), b"\2" * 6, 600 if asks_time else None)
    most = renewals_that_fit(requester)
    assert most >= 1
    blocks = [
        SubnetBlock.of(IPv4Network((0x0A000000 + 256 * n, 24)), hierarchical=True, usage=Usage(9, 8, 7))
        for n in range(most)
    ]
    data = request(requester, XID, GIADDR, gather(blocks))
    assert len(data) + 28 <= 576
    assert [block.network for block in decode(data).allocation.blocks] == [block.network for block in blocks]


def test_identities_of_ours_leave_room_for_many() -> None:
    assert renewals_that_fit(LEASING) == 19


def test_both_decoders_read_the_same() -> None:
    blocks = [SubnetBlock.of(IPv4Network("10.0.2.0/24"), hierarchical=True, usage=Usage(74, 51, 0)), TWO]
    data = request(LEASING, XID, GIADDR, gather(blocks[:1]))
    theirs, ours = decode(data), Message.decode(data)
    assert (theirs.type, ours.type) == (Type.REQUEST, MessageType.REQUEST)
    assert theirs.allocation.information == (Information((Block(blocks[0].network, statistics=(74, 51, 0)),)),)
    assert theirs.allocation.requests == ()
    assert (theirs.hops, theirs.giaddr, theirs.ciaddr) == (1, IPv4Address(GIADDR), IPv4Address(0))
    assert theirs.server is None
    assert ours.forcerenew_nonce_algorithms == (1,)
    assert ours.client_identifier == theirs.option(Code.CLIENT_IDENTIFIER) == IDENTITY
    assert ours.max_message_size == 1400
    assert decode(discover(LEASING, XID, GIADDR, [SubnetRequest(20, True)])).allocation.requests == (Request(20),)
