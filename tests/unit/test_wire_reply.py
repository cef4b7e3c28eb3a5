# SPDX-License-Identifier: MPL-2.0
"""Replies byte for byte (RFC 2131 table 3, RFC 6842, RFC 3046, RFC 3011, RFC 6607) and where they go (RFC 8357)."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kea_subnet_deleg.wire import (
    BROADCAST_ADDRESS,
    Message,
    MessageType,
    SubnetAllocation,
    SubnetBlock,
    SubnetInformation,
    VssUse,
    allocation_room,
    destination,
    reply,
)

SERVER = 0x0A000001
ALLOCATION = SubnetAllocation(information=(SubnetInformation((SubnetBlock.of(IPv4Network("10.0.1.0/24")),)),))
OPTION_220 = "dc0b 00 02 08 00 0a000100 18 00 00"


def request(
    options: str = "350101 3d07ff000000010203 dc050001020018 ff",
    *,
    flags: int = 0,
    ciaddr: int = 0,
    giaddr: int = 0,
) -> Message:
    head = bytes.fromhex("01 06 06 03 12345678 0009") + flags.to_bytes(2, "big") + ciaddr.to_bytes(4, "big")
    head += bytes(8) + giaddr.to_bytes(4, "big") + bytes.fromhex("020000000001")
    return Message.decode(head.ljust(236, b"\0") + bytes.fromhex("63825363" + options))


def expect(head: str, options: str) -> bytes:
    data = bytes.fromhex(head + "020000000001").ljust(236, b"\0") + bytes.fromhex("63825363" + options)
    return data.ljust(300, b"\0")


def test_offer() -> None:
    asked = request(
        "350101 3d07ff000000010203 76040a010000 dc050001020018 520601040000000a ff", flags=0x8000, giaddr=0x0A000002
    )
    assert reply(asked, MessageType.OFFER, SERVER, ALLOCATION, 3600, t1=2160, t2=3150) == expect(
        "02 06 06 00 12345678 0000 8000 00000000 00000000 00000000 0a000002",
        "350102 36040a000001 330400000e10 3a0400000870 3b0400000c4e 3d07ff000000010203 76040a010000"
        + OPTION_220
        + "520601040000000a ff",
    )


def test_ack_of_a_renewal() -> None:
    renewing = request(ciaddr=0x0A000005)
    assert reply(renewing, MessageType.ACK, SERVER, ALLOCATION, 3600) == expect(
        "02 06 06 00 12345678 0000 0000 0a000005 00000000 00000000 00000000",
        "350105 36040a000001 330400000e10 3d07ff000000010203" + OPTION_220 + "ff",
    )


def test_nak_has_no_times_and_no_address() -> None:
    renewing = request(ciaddr=0x0A000005)
    assert reply(renewing, MessageType.NAK, SERVER, ALLOCATION, 3600, t1=1800, t2=3150) == expect(
        "02 06 06 00 12345678 0000 0000 00000000 00000000 00000000 00000000",
        "350106 36040a000001 3d07ff000000010203" + OPTION_220 + "ff",
    )


def test_nak_through_a_relay_is_to_be_broadcast() -> None:
    answer = Message.decode(reply(request(giaddr=0x0A000002), MessageType.NAK, SERVER))
    assert (answer.flags, answer.giaddr) == (0x8000, 0x0A000002)
    assert Message.decode(reply(request(giaddr=0x0A000002), MessageType.ACK, SERVER)).flags == 0


def test_what_was_not_sent_is_not_echoed() -> None:
    answer = Message.decode(reply(request("350101 37020133 ff"), MessageType.OFFER, SERVER, ALLOCATION))
    assert set(answer.options) == {53, 54}


def test_long_relay_agent_information_is_echoed_whole_and_last() -> None:
    information = "01ff" + "ab" * 255
    asked = request("350101 52ff" + information[:510] + "5202abab ff")
    data = reply(asked, MessageType.OFFER, SERVER, ALLOCATION, 3600)
    assert Message.decode(data).relay_agent_information == bytes.fromhex(information)
    assert data.endswith(bytes.fromhex("5202abab ff"))


@pytest.mark.parametrize(("seconds", "server"), [(-1, SERVER), (2**32, SERVER), (1, -1), (1, 2**32)])
def test_values_that_fit_no_option(seconds: int, server: int) -> None:
    with pytest.raises(ValueError, match="must be 0 to 4294967295"):
        reply(request(), MessageType.ACK, server, None, seconds)


def test_extra_options_go_before_option_220() -> None:
    data = reply(request(), MessageType.OFFER, SERVER, ALLOCATION, 3600, extra_options={145: b"\1", 56: b"hi"})
    assert data == expect(
        "02 06 06 00 12345678 0000 0000 00000000 00000000 00000000 00000000",
        "350102 36040a000001 330400000e10 3d07ff000000010203 910101 38026869" + OPTION_220 + "ff",
    )


@pytest.mark.parametrize("code", [51, 52, 53, 54, 61, 220])
def test_extra_options_that_are_the_replys_own(code: int) -> None:
    with pytest.raises(ValueError, match=f"option {code} "):
        reply(request(), MessageType.OFFER, SERVER, ALLOCATION, 3600, extra_options={code: b"\1\1\1\1"})


def test_server_identifier_override_is_the_callers_to_pass() -> None:
    """RFC 5107 section 4: it is option 54 of the reply, and echoed like the rest of option 82."""
    asked = request("350101 5206 0b040a000063 ff", giaddr=0x0A000002)
    assert asked.server_identifier_override == 0x0A000063
    answer = Message.decode(reply(asked, MessageType.OFFER, asked.server_identifier_override, ALLOCATION))
    assert answer.server_identifier == 0x0A000063
    assert answer.relay_agent_information == bytes.fromhex("0b040a000063")


ASKED_FOR_VPN = "5211 0102abcd 9704 00616263 9800 0203646566"


@pytest.mark.parametrize(
    ("options", "use", "client", "relay"),
    [
        (ASKED_FOR_VPN, VssUse.UNSUPPORTED, None, ASKED_FOR_VPN[5:]),
        (ASKED_FOR_VPN, VssUse.USED, None, "0102abcd 9704 00616263 0203646566"),
        (ASKED_FOR_VPN, VssUse.REFUSED, None, "0102abcd 0203646566"),
        ("5206 9704 00616263", VssUse.USED, None, "9704 00616263"),  # as if it had sent 152, RFC 6607 section 7
        ("5208 9704 00616263 9800", VssUse.REFUSED, None, None),
        ("dd04 00787978", VssUse.UNSUPPORTED, None, None),
        ("dd04 00787978", VssUse.USED, "00787978", None),
        ("dd05 0078797800", VssUse.USED, "0078797800", None),  # an exact copy
        ("dd04 00787978", VssUse.REFUSED, None, None),
        # Both: the relay's was used, and both places must say so (section 7.3).
        ("dd04 00787978 5208 9704 00616263 9800", VssUse.USED, "00616263", "9704 00616263"),
        ("dd04 00787978 5208 9704 00616263 9800", VssUse.REFUSED, None, None),
        ("dd04 00787978 5204 0102abcd", VssUse.USED, "00787978", "0102abcd"),
        ("", VssUse.USED, None, None),
        ("5204 0102abcd", VssUse.REFUSED, None, "0102abcd"),
    ],
)
def test_what_a_reply_says_of_the_vpn(options: str, use: VssUse, client: str | None, relay: str | None) -> None:
    asked = request(f"350101 3d07ff000000010203 {options} ff")
    data = reply(asked, MessageType.OFFER, SERVER, ALLOCATION, 3600, vss=use)
    answer = Message.decode(data)
    assert answer.options.get(221) == (None if client is None else bytes.fromhex(client))
    assert answer.relay_agent_information == (None if relay is None else bytes.fromhex(relay))
    if relay is not None:
        assert data.rstrip(b"\0").endswith(bytes.fromhex(relay) + b"\xff")


@pytest.mark.parametrize("use", list(VssUse))
@pytest.mark.parametrize("options", ["", "dd04 00787978", "dd04 00787978 5211" + ASKED_FOR_VPN[5:]])
def test_room_beside_extra_options_and_vpns(options: str, use: VssUse) -> None:
    asked = request(f"350101 3d07ff000000010203 390203e8 {options} ff")
    extra = {90: bytes(28), 145: b"\1", 56: bytes(300)}
    room = allocation_room(asked, extra_options=extra, vss=use)
    blocks = [SubnetBlock.of(IPv4Network((10 << 24 | n << 4, 28))) for n in range((room - 1) // 10)]
    allocation = SubnetAllocation(information=tuple(SubnetInformation((block,)) for block in blocks))
    data = reply(asked, MessageType.OFFER, SERVER, allocation, 3600, t1=1, t2=2, extra_options=extra, vss=use)
    assert 950 < 28 + len(data) <= 1000


@pytest.mark.parametrize("announced", ["", "39020240", "39020001", "39020400", "390205dc", "3902ffff"])
@pytest.mark.parametrize("relay", ["", "520601040000000a", "5264" + "00" * 100 + "5203000000"])
def test_room_is_what_fits_the_clients_datagram(announced: str, relay: str) -> None:
    asked = request(f"350101 3d07ff000000010203 {announced} {relay} ff")
    room = allocation_room(asked)
    blocks = [SubnetBlock.of(IPv4Network((10 << 24 | n << 4, 28))) for n in range((room - 1) // 10)]
    allocation = SubnetAllocation(information=tuple(SubnetInformation((block,)) for block in blocks))
    assert room - 10 < len(allocation.encode()) <= room
    datagram = 28 + len(reply(asked, MessageType.OFFER, SERVER, allocation, 3600, t1=1800, t2=3150))
    size = min(asked.max_message_size, 1500)  # more does not fit an Ethernet frame, and a raw socket sends no fragments
    assert size - 30 - room // 40 < datagram <= size


@given(st.lists(st.integers(0, 2**28 - 1), min_size=150, max_size=150), st.integers(576, 1500))
def test_room_holds_whatever_the_networks_are(networks: list[int], size: int) -> None:
    """Where a long option may be cut depends on its octets; the datagram stays within the client's size."""
    asked = request(f"350101 3902{size:04x} ff")
    blocks = [
        SubnetBlock.of(IPv4Network((number << 4, 28))) for number in networks[: (allocation_room(asked) - 1) // 10]
    ]
    allocation = SubnetAllocation(information=tuple(SubnetInformation((block,)) for block in blocks))
    assert 28 + len(reply(asked, MessageType.OFFER, SERVER, allocation, 3600, t1=1800, t2=3150)) <= size


def test_no_room() -> None:
    assert allocation_room(request("350101 52ff" + "00" * 255 + "52ff" + "00" * 255 + "ff")) == 0


SOURCE_PORT = "52081300 0104deadbeef"
RELAY, CLIENT, SOURCE = 0x0A000002, 0x0A000005, 0x0A000009


@pytest.mark.parametrize(
    ("giaddr", "ciaddr", "source", "options", "expected"),
    [
        (RELAY, CLIENT, (SOURCE, 67), "", (RELAY, 67)),
        (RELAY, 0, (0, 4444), "", (RELAY, 67)),
        (RELAY, 0, (SOURCE, 4444), SOURCE_PORT, (RELAY, 4444)),
        (RELAY, 0, (SOURCE, 4444), "52080104deadbeef1300", (RELAY, 4444)),
        (RELAY, 0, (SOURCE, 0), SOURCE_PORT, (RELAY, 67)),
        (RELAY, 0, (SOURCE, 4444), "52060104de131300", (RELAY, 67)),  # 19 only inside another sub-option
        (RELAY, 0, (SOURCE, 4444), "52030104de", (RELAY, 67)),
        (RELAY, 0, (SOURCE, 4444), "520113", (RELAY, 67)),
        (RELAY, 0, (SOURCE, 4444), "5200", (RELAY, 67)),
        (0, CLIENT, (SOURCE, 4444), SOURCE_PORT, (CLIENT, 68)),
        (0, CLIENT, (0, 68), "", (CLIENT, 68)),
        (0, 0, (SOURCE, 68), "", (SOURCE, 68)),
        (0, 0, (SOURCE, 67), "", (SOURCE, 67)),
        (0, 0, (SOURCE, 0), "", (SOURCE, 68)),
        (0, 0, (0, 68), "", (BROADCAST_ADDRESS, 68)),
        (0, 0, (0, 4444), "", (BROADCAST_ADDRESS, 68)),
        (0, 0, (BROADCAST_ADDRESS, 68), "", (BROADCAST_ADDRESS, 68)),
    ],
)
def test_destination(
    giaddr: int, ciaddr: int, source: tuple[int, int], options: str, expected: tuple[int, int]
) -> None:
    asked = request(f"350101 {options} ff", giaddr=giaddr, ciaddr=ciaddr)
    assert destination(asked, *source) == expected
