# SPDX-License-Identifier: MPL-2.0
"""DHCPFORCERENEW byte for byte (RFC 3203 section 4, RFC 6656 section 5.4, RFC 6704)."""

from __future__ import annotations

import hmac
from ipaddress import IPv4Network
from typing import Any

import pytest

from kea_subnet_deleg.wire import (
    Authentication,
    AuthenticationKind,
    Message,
    MessageType,
    SubnetAllocation,
    SubnetBlock,
    forcerenew,
    forcerenew_destination,
    verify,
)

NONCE = bytes.fromhex("0f1e2d3c4b5a69788796a5b4c3d2e1f0")
BLOCKS = (SubnetBlock.of(IPv4Network("10.0.2.0/24"), hierarchical=True), SubnetBlock.of(IPv4Network("10.0.3.0/28")))
COMMON: dict[str, Any] = {
    "xid": 0x12345678,
    "htype": 1,
    "chaddr": bytes.fromhex("020000000001"),
    "client_identifier": bytes.fromhex("01020000000001"),
    "server_identifier": 0x0A000001,
    "blocks": BLOCKS,
    "authentication": Authentication(AuthenticationKind.NONCE_DIGEST, 1234),
    "key": NONCE,
}


def expect(ciaddr: str, giaddr: str, digest: str) -> bytes:
    head = f"02 01 06 00 12345678 0000 0000 {ciaddr} 00000000 00000000 {giaddr} 020000000001"
    options = (
        "63825363 350109 36040a000001 3d0701020000000001"
        f"5a1c 03 01 00 00000000000004d2 02 {digest}"
        "dc12 00 020f 00 0a000200 18 02 00 0a000300 1c 00 00 ff"
    )
    return (bytes.fromhex(head).ljust(236, b"\0") + bytes.fromhex(options)).ljust(300, b"\0")


@pytest.mark.parametrize(
    ("ciaddr", "giaddr"), [("0a000005", "00000000"), ("00000000", "0a000002"), ("0a000005", "0a000002")]
)
def test_signed_with_a_nonce(ciaddr: str, giaddr: str) -> None:
    """giaddr is zero for the digest (RFC 3118 section 3), so that the client's own relay changes nothing."""
    digest = hmac.new(NONCE, expect(ciaddr, "00000000", "00" * 16), "md5").hexdigest()
    data = forcerenew(**COMMON, ciaddr=int(ciaddr, 16), giaddr=int(giaddr, 16))
    assert data == expect(ciaddr, giaddr, digest)
    assert verify(data, NONCE)


def test_signed_with_a_secret() -> None:
    delayed = Authentication(AuthenticationKind.DELAYED, 7, secret_id=42)
    data = forcerenew(**(COMMON | {"authentication": delayed, "key": b"a secret"}), ciaddr=1)
    assert Message.decode(data).options[90][:15] == bytes.fromhex("01 01 00 0000000000000007 0000002a")
    assert verify(data, b"a secret")


def test_unsigned_and_without_client_identifier() -> None:
    bare = COMMON | {"authentication": None, "key": b"", "client_identifier": None}
    message = Message.decode(forcerenew(**bare, ciaddr=0x0A000005))
    assert message.type is MessageType.FORCERENEW
    assert message.options == {53: b"\x09", 54: bytes.fromhex("0a000001")}
    assert SubnetAllocation.decode(message.subnet_allocation_parts).information[0].blocks == BLOCKS


def test_many_blocks_take_several_suboptions() -> None:
    blocks = [SubnetBlock.of(IPv4Network((10 << 24 | n << 8, 24))) for n in range(80)]
    message = Message.decode(forcerenew(**(COMMON | {"blocks": blocks}), ciaddr=1))
    information = SubnetAllocation.decode(message.subnet_allocation_parts).information
    assert [len(one.blocks) for one in information] == [36, 36, 8]
    assert [block for one in information for block in one.blocks] == blocks
    assert not any(one.client or one.server for one in information)


def test_34_blocks_fit_what_every_client_takes() -> None:
    blocks = [SubnetBlock.of(IPv4Network((10 << 24 | n << 8, 24))) for n in range(34)]
    long_identifier = {"client_identifier": bytes(17)}  # type, IAID and a DUID with a MAC address: 19 at most
    assert len(forcerenew(**(COMMON | long_identifier | {"blocks": blocks}), ciaddr=1)) + 28 <= 576


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"blocks": ()}, "must name the subnets"),
        ({"ciaddr": 0}, "is unicast"),
        ({"authentication": None}, "a key without"),
        ({"key": b""}, "key is empty"),
        ({"authentication": Authentication(AuthenticationKind.NONCE, 1, NONCE)}, "room for a MAC"),
        ({"server_identifier": 2**32}, "server identifier 4294967296"),
        ({"server_identifier": -1}, "server identifier -1"),
        ({"xid": 2**32}, "DHCP header"),
    ],
)
def test_what_is_no_forcerenew(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        forcerenew(**(COMMON | {"ciaddr": 1} | change))


def test_destination() -> None:
    assert forcerenew_destination(0x0A000005, 0) == (0x0A000005, 68)
    assert forcerenew_destination(0, 0x0A000002) == (0x0A000002, 67)
    assert forcerenew_destination(0x0A000005, 0x0A000002) == (0x0A000002, 67)
