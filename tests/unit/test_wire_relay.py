# SPDX-License-Identifier: MPL-2.0
"""Option 82 and VPNs byte for byte: RFC 3046, RFC 3527, RFC 5107, RFC 6607 sections 3.1 to 3.5, RFC 8357."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kea_subnet_deleg.wire import MalformedMessage, Message, RelayInformation, Vss, VssKind
from kea_subnet_deleg.wire.relay import without_suboptions

ALL = "0102abcd 0203646566 05040a010000 0b040a000001 1300 9704 00616263 9800"
LINK, SUBNET, RELAY = 0x0A010000, 0x0A020000, 0x0A000002


def message(options: str, giaddr: int = 0) -> Message:
    head = bytes.fromhex("01 01 06 00 12345678 0000 0000 00000000 00000000 00000000") + giaddr.to_bytes(4, "big")
    head += bytes.fromhex("020000000001")
    return Message.decode(head.ljust(236, b"\0") + bytes.fromhex(f"63825363 350101 {options} ff"))


def read(value: str) -> RelayInformation:
    return RelayInformation.decode(bytes.fromhex(value))


def test_every_suboption() -> None:
    assert read(ALL) == RelayInformation(
        circuit_id=bytes.fromhex("abcd"),
        remote_id=b"def",
        link_selection=LINK,
        server_identifier_override=0x0A000001,
        source_port=True,
        vss=Vss(VssKind.NAME, b"abc"),
        vss_control=True,
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", RelayInformation()),
        ("0100 0200", RelayInformation(b"", b"")),
        ("6303aabbcc 1300", RelayInformation(source_port=True)),  # unknown ones are skipped
        ("0101aa 0101bb", RelayInformation(b"\xaa")),  # the first counts
        ("0101aa 0205bb", RelayInformation(b"\xaa")),  # the second doesn't fit
        ("0101aa 02", RelayInformation(b"\xaa")),
        ("000101 ff0102", RelayInformation()),  # no PAD and no END here
        ("00 00 0101aa", RelayInformation(b"\xaa")),
        ("0504 00000000 0b04 00000000", RelayInformation()),
        ("13020539", RelayInformation(source_port=True)),
        ("980101", RelayInformation(vss_control=True)),
    ],
)
def test_unusual_values(value: str, expected: RelayInformation) -> None:
    assert read(value) == expected


@pytest.mark.parametrize("value", ["0500", "05030a0100", "05050a01000000", "0b030a0000", "0b00"])
def test_an_address_of_the_wrong_length_makes_the_message_malformed(value: str) -> None:
    with pytest.raises(MalformedMessage, match=r"sub-option (5|11) has [035] octets, must have 4"):
        read(value)
    with pytest.raises(MalformedMessage, match="option 82"):
        message(f"52{len(bytes.fromhex(value)):02x} {value}", RELAY)


@pytest.mark.parametrize(
    ("options", "giaddr", "expected"),
    [
        ("", 0, 0),
        ("", RELAY, RELAY),
        ("5204 0102abcd", RELAY, RELAY),
        ("76040a020000", 0, SUBNET),
        ("76040a020000", RELAY, SUBNET),
        ("5206 05040a010000", RELAY, LINK),
        ("76040a020000 5206 05040a010000", RELAY, LINK),  # MUST be preferred, RFC 3527 section 3
        ("76040a020000 5206 050400000000", RELAY, SUBNET),
        ("760400000000", RELAY, RELAY),
    ],
)
def test_link_address(options: str, giaddr: int, expected: int) -> None:
    assert message(options, giaddr).link_address == expected


def test_server_identifier_override() -> None:
    assert message("").server_identifier_override is None
    assert message("5204 0102abcd").server_identifier_override is None
    assert message("5206 0b040a000001").server_identifier_override == 0x0A000001


@pytest.mark.parametrize(
    ("value", "vss", "text"),
    [
        ("00 616263", Vss(VssKind.NAME, b"abc"), "abc"),
        ("01 00003f 00000001", Vss(VssKind.VPN_ID, bytes.fromhex("00003f00000001")), "00003f:00000001"),
        ("ff", Vss(VssKind.GLOBAL), "global"),
        # A VPN is wanted, but none that could be told.
        ("02 616263", Vss(VssKind.UNKNOWN, b"\x02abc"), "unknown 02616263"),
        ("fe", Vss(VssKind.UNKNOWN, b"\xfe"), "unknown fe"),
        ("", Vss(VssKind.UNKNOWN), "unknown"),
        ("00", Vss(VssKind.UNKNOWN, b"\0"), "unknown 00"),
        ("00 00", Vss(VssKind.UNKNOWN, b"\0\0"), "unknown 0000"),
        ("00 c3b6", Vss(VssKind.UNKNOWN, b"\0\xc3\xb6"), "unknown 00c3b6"),
        ("00 610062", Vss(VssKind.UNKNOWN, b"\0a\0b"), "unknown 00610062"),
        ("01 00003f 000000", Vss(VssKind.UNKNOWN, bytes.fromhex("0100003f000000")), "unknown 0100003f000000"),
        (
            "01 00003f 0000000100",
            Vss(VssKind.UNKNOWN, bytes.fromhex("0100003f0000000100")),
            "unknown 0100003f0000000100",
        ),
        ("ff 00", Vss(VssKind.UNKNOWN, b"\xff\0"), "unknown ff00"),
    ],
)
def test_vss(value: str, vss: Vss, text: str) -> None:
    octets = bytes.fromhex(value)
    assert Vss.decode(octets) == vss
    assert vss.encode() == octets
    assert str(vss) == text
    client = message(f"dd{len(octets):02x} {value}")
    assert client.vss == vss
    relayed = message(f"52{len(octets) + 2:02x} 97{len(octets):02x} {value} dd04 00787978")
    assert relayed.vss == vss  # takes precedence over the client's, RFC 6607 section 7.3, even when unknown


def test_a_name_that_is_wrongly_terminated_is_the_same_name() -> None:
    assert Vss.decode(b"\0abc\0") == Vss.named("abc")


def test_no_vss() -> None:
    assert message("5204 0102abcd").vss is None


def test_vpns_as_configured() -> None:
    assert Vss.named("red") == Vss(VssKind.NAME, b"red")
    assert (
        Vss.numbered("00003f:0000000A")
        == Vss.numbered("00003F0000000a")
        == Vss.decode(bytes.fromhex("0100003f0000000a"))
    )
    for name in ("", "r\u00f6t", "a\0", "a" * 255):
        with pytest.raises(ValueError, match="ASCII"):
            Vss.named(name)
    for vpn_id in (
        "",
        "00003f",
        "00003f:0000000",
        "00003f:000000012",
        "0000:3f00000001",
        "00003f:0000000g",
        "00003f:+0000001",
    ):
        with pytest.raises(ValueError, match="hexadecimal"):
            Vss.numbered(vpn_id)


def test_without_suboptions() -> None:
    value = bytes.fromhex(ALL)
    assert without_suboptions(value, ()) == value
    assert without_suboptions(value, (152,)) == value[:-2]
    assert without_suboptions(value, (1, 151, 152)) == value[4:-8]
    assert without_suboptions(bytes.fromhex("9800 0101aa 9800 0205bb"), (152,)) == bytes.fromhex("0101aa 0205bb")


@given(st.binary(max_size=260), st.lists(st.integers(0, 255), max_size=4))
def test_any_octets(value: bytes, codes: list[int]) -> None:
    with contextlib.suppress(MalformedMessage):
        RelayInformation.decode(value)
    kept = without_suboptions(value, codes)
    assert len(kept) <= len(value)
    assert without_suboptions(value, ()) == value


@given(st.binary(max_size=255))
def test_any_octets_as_vss(value: bytes) -> None:
    vss = Vss.decode(value)
    assert Vss.decode(vss.encode()) == vss
    assert str(vss).isascii()


@given(st.lists(st.tuples(st.sampled_from([1, 2, 5, 11, 19, 151, 152, 9]), st.binary(max_size=9)), max_size=6))
def test_octets_that_look_like_option_82(suboptions: list[tuple[int, bytes]]) -> None:
    value = b"".join(bytes((code, len(octets))) + octets for code, octets in suboptions)
    first: dict[int, bytes] = {}
    for code, octets in suboptions:
        first.setdefault(code, octets)
    if any(len(first.get(code, b"1234")) != 4 for code in (5, 11)):
        with pytest.raises(MalformedMessage):
            RelayInformation.decode(value)
        return
    information = RelayInformation.decode(value)
    assert (information.circuit_id, information.remote_id) == (first.get(1), first.get(2))
    assert (information.source_port, information.vss_control) == (19 in first, 152 in first)
    assert (information.vss is None) == (151 not in first)
    rest = b"".join(bytes((code, len(octets))) + octets for code, octets in suboptions if code < 151)
    assert without_suboptions(value, (151, 152)) == rest
