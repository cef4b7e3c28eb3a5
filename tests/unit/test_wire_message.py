# SPDX-License-Identifier: MPL-2.0
"""DHCPv4 messages (RFC 2131, RFC 2132, RFC 3396): whole packets both ways, and the fields options may hide in."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kea_subnet_deleg.wire import (
    BOOTREPLY,
    BOOTREQUEST,
    MalformedMessage,
    Message,
    MessageType,
    SubnetAllocation,
    SubnetBlock,
    SubnetInformation,
    SubnetRequest,
    encode_message,
)

COOKIE = bytes.fromhex("63825363")
HEADER = bytes.fromhex(
    "01 01 06 02 12345678 0007 8000 0a000005 00000000 00000000 0a000001 020000000001 00000000000000000000"
)

# What perfdhcp (Kea 2.2.0) sent with -o 220,0001020118, caught on loopback.
PERFDHCP_DISCOVER = (
    bytes.fromhex("0101060100000000000000000000000000000000000000007f000001020000000001")
    + bytes(202)
    + bytes.fromhex("638253633501013707011c02030f060c3d0701020000000001dc050001020118ff")
)


def message(options: str | bytes, *, sname: bytes = b"", file: bytes = b"", header: bytes = HEADER) -> bytes:
    body = bytes.fromhex(options) if isinstance(options, str) else options
    return header + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + COOKIE + body


def test_a_packet_of_perfdhcp() -> None:
    value = Message.decode(PERFDHCP_DISCOVER)
    assert (value.op, value.htype, value.hlen, value.hops, value.xid) == (1, 1, 6, 1, 0)
    assert (value.secs, value.flags, value.ciaddr, value.yiaddr, value.siaddr) == (0, 0, 0, 0, 0)
    assert value.giaddr == 0x7F000001
    assert value.chaddr == bytes.fromhex("020000000001")
    assert value.type is MessageType.DISCOVER
    assert value.options == {53: b"\1", 55: bytes.fromhex("011c02030f060c"), 61: bytes.fromhex("01020000000001")}
    assert value.client_identifier == bytes.fromhex("01020000000001")
    assert value.subnet_allocation_parts == (bytes.fromhex("0001020118"),)
    assert SubnetAllocation.decode(value.subnet_allocation_parts).requests == (SubnetRequest(24, hierarchical=True),)


def test_a_packet_of_perfdhcp_encodes() -> None:
    encoded = encode_message(
        op=BOOTREQUEST,
        type=MessageType.DISCOVER,
        xid=0,
        hops=1,
        giaddr=0x7F000001,
        chaddr=bytes.fromhex("020000000001"),
        options={55: bytes.fromhex("011c02030f060c"), 61: bytes.fromhex("01020000000001")},
        subnet_allocation=SubnetAllocation((SubnetRequest(24, hierarchical=True),)),
    )
    assert encoded == PERFDHCP_DISCOVER.ljust(300, b"\0")


def test_every_header_field() -> None:
    header = bytes.fromhex(
        "02 11 10 22 33445566 7788 99aa bbccddee 01020304 05060708 090a0b0c 000102030405060708090a0b0c0d0e0f"
    )
    data = message("350105ff", header=header, sname=b"server", file=b"boot/file")
    value = Message.decode(data)
    assert (value.op, value.htype, value.hlen, value.hops) == (BOOTREPLY, 0x11, 16, 0x22)
    assert (value.xid, value.secs, value.flags) == (0x33445566, 0x7788, 0x99AA)
    assert (value.ciaddr, value.yiaddr) == (0xBBCCDDEE, 0x01020304)
    assert (value.siaddr, value.giaddr) == (0x05060708, 0x090A0B0C)
    assert value.chaddr == bytes(range(16))
    assert (value.sname, value.file) == (b"server", b"boot/file")
    assert data.ljust(300, b"\0") == encode_message(
        op=value.op,
        type=value.type,
        xid=value.xid,
        chaddr=value.chaddr,
        htype=value.htype,
        hops=value.hops,
        secs=value.secs,
        flags=value.flags,
        ciaddr=value.ciaddr,
        yiaddr=value.yiaddr,
        siaddr=value.siaddr,
        giaddr=value.giaddr,
        sname=value.sname,
        file=value.file,
    )


def test_options_with_properties() -> None:
    value = Message.decode(
        message("350103 36040a000001 32040a000009 330400000e10 3a0400000708 3b0400000c4e 390205dc 5204 01020304 ff")
    )
    assert value.type is MessageType.REQUEST
    assert value.server_identifier == 0x0A000001
    assert value.requested_address == 0x0A000009
    assert (value.lease_time, value.renewal_time, value.rebinding_time) == (3600, 1800, 3150)
    assert value.max_message_size == 1500
    assert value.relay_agent_information == bytes.fromhex("01020304")


def test_options_absent() -> None:
    value = Message.decode(message("350101ff"))
    assert value.server_identifier is value.requested_address is None
    assert value.lease_time is value.renewal_time is value.rebinding_time is None
    assert value.relay_agent_information is None
    assert value.max_message_size == 576
    assert value.subnet_allocation_parts == ()
    assert value.client_identifier == bytes.fromhex("01020000000001")


def test_max_message_size_below_the_least_allowed() -> None:
    assert Message.decode(message("350101 39020001 ff")).max_message_size == 576


@pytest.mark.parametrize("number", range(256))
def test_message_types(number: int) -> None:
    data = message(bytes((53, 1, number, 255)))
    if 1 <= number <= 18:
        assert Message.decode(data).type is MessageType(number)
    else:
        with pytest.raises(MalformedMessage, match=f"message type {number} is unknown"):
            Message.decode(data)


@pytest.mark.parametrize("op", [0, 3, 255])
def test_op(op: int) -> None:
    with pytest.raises(MalformedMessage, match=f"offset 0: op {op}"):
        Message.decode(message("350101ff", header=bytes((op,)) + HEADER[1:]))


@pytest.mark.parametrize("length", [0, 1, 235, 236, 239])
def test_too_short(length: int) -> None:
    with pytest.raises(MalformedMessage, match=f"{length} octets, a DHCPv4 message has 240 or more"):
        Message.decode(message("350101ff")[:length])


def test_hardware_address_length() -> None:
    assert Message.decode(message("350101ff", header=HEADER[:2] + b"\x10" + HEADER[3:])).hlen == 16
    with pytest.raises(MalformedMessage, match="hardware address of 17 octets"):
        Message.decode(message("350101ff", header=HEADER[:2] + b"\x11" + HEADER[3:]))


def test_a_request_must_say_whose_it_is() -> None:
    """RFC 6842 section 2: messages without both may be dropped. Two such clients would be taken for one."""
    nobody = HEADER[:2] + b"\0" + HEADER[3:]
    with pytest.raises(MalformedMessage, match="neither a hardware address nor a client identifier"):
        Message.decode(message("350101ff", header=nobody))
    assert Message.decode(message("350101 3d02ff01 ff", header=nobody)).client_identifier == b"\xff\1"
    assert Message.decode(message("350102ff", header=b"\2" + nobody[1:])).chaddr == b""


@pytest.mark.parametrize("at", range(4))
def test_magic_cookie(at: int) -> None:
    data = bytearray(message("350101ff"))
    data[236 + at] ^= 1
    with pytest.raises(MalformedMessage, match="magic cookie"):
        Message.decode(bytes(data))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("", "no option 53"),
        ("ff", "no option 53"),
        ("ff350101", "no option 53"),
        ("350101 33", "offset 243: option 51 has no length octet"),
        ("350101 3304 000000", "offset 243: option 51 announces 4 octets, but only 3 are left"),
        ("350101 dc05 00010200", "offset 243: option 220 announces 5 octets, but only 4 are left"),
        ("350101 dc", "offset 243: option 220 has no length octet"),
        ("3500 ff", "option 53 has 0 octets, must have 1"),
        ("350101 350101 ff", "option 53 has 2 octets"),
        ("350101 3303000000 ff", "option 51 has 3 octets, must have 4"),
        ("350101 36040a000001 36040a000002 ff", "option 54 has 8 octets"),
        ("350101 390101 ff", "option 57 has 1 octets, must have 2"),
        ("350101 3d00 ff", "option 61 .* has 0 octets"),
        ("350101 3d01aa ff", "option 61 .* has 1 octets"),
        ("350101 3400 ff", "overload.* is empty"),
        ("350101 340100 ff", "overload.* is 00"),
        ("350101 340104 ff", "overload.* is 04"),
        ("350101 340101 340101 ff", "overload.* is 0101"),
    ],
)
def test_options_refused(options: str, reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        Message.decode(message(options))


def test_pads_missing_end_and_what_follows_end() -> None:
    expected = Message.decode(message("350101 330400000e10 ff"))
    for options in (
        "0000 350101 00 330400000e10 ff",
        "350101 330400000e10",
        "350101 330400000e10 ff 3601 dc",
        "350101 330400000e10 0000",
    ):
        assert Message.decode(message(options)) == expected


def test_an_empty_option_is_kept() -> None:
    value = Message.decode(message("350101 5000 dc00 ff"))
    assert value.options[80] == b""
    assert value.subnet_allocation_parts == (b"",)


def test_long_options_are_joined_but_220_is_not() -> None:
    value = Message.decode(message("350101 dc050001020018 5203010161 3d020102 5202ccdd dc050001020019 3d020304 ff"))
    assert value.options == {53: b"\1", 82: bytes.fromhex("010161ccdd"), 61: bytes.fromhex("01020304")}
    assert value.subnet_allocation_parts == (bytes.fromhex("0001020018"), bytes.fromhex("0001020019"))


# --- option overload: RFC 2132 section 9.3, order of RFC 3396 section 5 ---

IN_SNAME = bytes.fromhex("3d020506 dc02aabb ff")
IN_FILE = bytes.fromhex("3d020304 dc02ccdd")


@pytest.mark.parametrize(
    ("overload", "identifier", "parts", "sname", "file"),
    [
        ("", "0102", ["eeff"], IN_SNAME, IN_FILE),
        ("340101", "01020304", ["eeff", "ccdd"], IN_SNAME, b""),
        ("340102", "01020506", ["eeff", "aabb"], b"", IN_FILE),
        ("340103", "010203040506", ["eeff", "ccdd", "aabb"], b"", b""),
    ],
)
def test_overload(overload: str, identifier: str, parts: list[str], sname: bytes, file: bytes) -> None:
    value = Message.decode(message(f"350101 {overload} 3d020102 dc02eeff ff", sname=IN_SNAME, file=IN_FILE))
    assert value.client_identifier.hex() == identifier
    assert [part.hex() for part in value.subnet_allocation_parts] == parts
    assert (value.sname, value.file) == (sname, file)


def test_an_option_may_not_cross_the_end_of_its_field() -> None:
    data = message("350101 340101 ff", file=bytes(125) + bytes.fromhex("3d0201"))
    with pytest.raises(MalformedMessage, match="offset 233: option 61 announces 2 octets, but only 1 are left"):
        Message.decode(data)
    data = message("350101 340102 ff", sname=bytes(63) + b"\x3d", file=b"\2\1\1")
    with pytest.raises(MalformedMessage, match="offset 107: option 61 has no length octet"):
        Message.decode(data)


def test_no_overload_no_options_in_sname_and_file() -> None:
    """Whatever looks like an option there is a name."""
    assert Message.decode(message("350101 ff", sname=b"\x3d\xff")).sname == b"\x3d\xff"


# --- encoding ---


def minimal(**fields: object) -> bytes:
    given_fields = {"op": 1, "type": MessageType.DISCOVER, "xid": 1, "chaddr": b"\2\0\0\0\0\1"} | fields
    return encode_message(**given_fields)  # type: ignore[arg-type]


def test_short_messages_are_padded() -> None:
    assert minimal() == minimal().rstrip(b"\0").ljust(300, b"\0")
    assert minimal()[240:] == bytes.fromhex("350101ff") + bytes(56)
    assert len(minimal(options={60: bytes(54)})) == 300
    assert len(minimal(options={60: bytes(55)})) == 301


def test_order_of_options() -> None:
    data = minimal(
        options={82: b"\1\1a", 61: b"\1\2", 51: bytes(4)}, subnet_allocation=SubnetAllocation((SubnetRequest(24),))
    )
    assert data[240:].rstrip(b"\0").hex() == "3501013d020102330400000000dc0500010200185203010161ff"


def test_long_options_are_split() -> None:
    value = bytes(range(256)) * 2
    data = minimal(options={60: value, 82: value[:256]})
    assert data[243:].startswith(b"\x3c\xff" + value[:255] + b"\x3c\xff" + value[255:510] + b"\x3c\x02" + value[510:])
    assert data.endswith(b"\x52\xff" + value[:255] + b"\x52\x01\xff\xff")
    assert Message.decode(data).options == {53: b"\1", 60: value, 82: value[:256]}


def test_a_long_option_220_comes_back() -> None:
    networks = [IPv4Network((10 << 24 | n << 8, 24)) for n in range(120)]
    tops = [SubnetInformation(tuple(map(SubnetBlock.of, networks[n : n + 30]))) for n in range(0, 120, 30)]
    allocation = SubnetAllocation(information=tuple(tops))
    value = Message.decode(minimal(subnet_allocation=allocation, options={82: b"\1\1a"}))
    assert len(value.subnet_allocation_parts) == 4
    assert SubnetAllocation.decode(value.subnet_allocation_parts) == allocation


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"options": {0: b""}}, "option code 0"),
        ({"options": {255: b""}}, "option code 255"),
        ({"options": {256: b""}}, "option code 256"),
        ({"options": {52: b"\1"}}, "option 52 can't be given"),
        ({"options": {53: b"\1"}}, "option 53 can't be given"),
        ({"options": {220: b"\0\1\2\0\0"}}, "option 220 can't be given"),
        ({"options": {51: b"\1"}}, "option 51 must have 4 octets, not 1"),
        ({"chaddr": bytes(17)}, "not 17, 0 and 0"),
        ({"sname": bytes(65)}, "not 6, 65 and 0"),
        ({"file": bytes(129)}, "not 6, 0 and 129"),
        ({"giaddr": 2**32}, "DHCP header"),
        ({"ciaddr": -1}, "DHCP header"),
        ({"flags": 2**16}, "DHCP header"),
        ({"options": {60: bytes(65507)}}, "a UDP datagram at most 65507"),
    ],
)
def test_what_cannot_be_encoded(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        minimal(**fields)


octet = st.integers(0, 255)
word = st.integers(0, 2**32 - 1)
FREE_OPTIONS = [code for code in range(1, 255) if code not in (50, 51, 52, 53, 54, 57, 58, 59, 61, 118, 220)]


@given(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from([1, 2]),
            "type": st.sampled_from(MessageType),
            "htype": octet,
            "hops": octet,
            "xid": word,
            "secs": st.integers(0, 65535),
            "flags": st.integers(0, 65535),
            "ciaddr": word,
            "yiaddr": word,
            "siaddr": word,
            "giaddr": word,
            "chaddr": st.binary(min_size=1, max_size=16),
            "sname": st.binary(max_size=64).map(lambda name: name.rstrip(b"\0")),
            "file": st.binary(max_size=128).map(lambda name: name.rstrip(b"\0")),
        }
    ),
    st.dictionaries(
        st.sampled_from(FREE_OPTIONS), st.binary(max_size=20) | st.binary(min_size=250, max_size=600), max_size=8
    ),
)
def test_round_trip(fields: dict[str, object], options: dict[int, bytes]) -> None:
    value = Message.decode(encode_message(**fields, options=options))  # type: ignore[arg-type]
    assert {name: getattr(value, name) for name in fields} == fields
    assert value.options == {53: bytes((value.type,))} | options
    assert value.subnet_allocation_parts == ()


def test_messages_are_values() -> None:
    data = message("350101 dc050001020018 ff")
    assert Message.decode(data) == Message.decode(data)
    assert len({Message.decode(data), Message.decode(data)}) == 1
    with pytest.raises(TypeError):
        Message.decode(data).options[61] = b"\1\2"  # type: ignore[index]
