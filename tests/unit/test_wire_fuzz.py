# SPDX-License-Identifier: MPL-2.0
"""Whatever octets arrive, the decoders return a value or raise their own error, and never anything else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kea_subnet_deleg.wire import (
    Authentication,
    MalformedMessage,
    MalformedOption,
    Message,
    MessageType,
    SubnetAllocation,
    UnusableAuthentication,
    VssUse,
    destination,
    reply,
    verify,
)

OPTIONS = [
    "00 01 02 00 18",
    "00 02 08 00 0a 00 01 00 18 00 00",
    "00 01 02 00 18 01 02 00 18",
    "00 02 0f 00 0a 00 02 00 18 00 00 0a 00 03 00 1c 00 00",
    "00 02 0e 00 0a 00 02 00 18 00 06 00 0a 00 07 00 02",
    "00 02 08 00 0a 00 02 00 18 01 00",
    "00 01 02 02 00",
    "00 02 08 02 0a 00 02 00 18 01 00",
    "00 01 02 01 1e 03 06 70 c3 b6 c3 b6 6c 04 04 00 01 51 80",
]
HEADER = "0102060112345678 00058000 00000000 00000000 00000000 0a000001 020000000001".replace(" ", "")
MESSAGE = bytes.fromhex(HEADER).ljust(236, b"\0") + bytes.fromhex(
    "63825363 350101 340103 3d0701020000000001 910101 5a0b0101000000000000000001 dd0400616263 dc050001020118"
    "52120104deadbeef1300 05040a010000 9701ff9800 ff"
)


def read_option(*parts: bytes) -> SubnetAllocation | None:
    try:
        value = SubnetAllocation.decode(parts)
    except MalformedOption:
        return None
    if value != SubnetAllocation():
        assert SubnetAllocation.decode(value.encode_parts()) == value
    return value


def read_message(data: bytes) -> None:
    """Read a message and use all that a server reads of it."""
    with contextlib.suppress(MalformedMessage):
        message = Message.decode(data)
        assert message.client_identifier
        numbers = (message.server_identifier, message.requested_address, message.lease_time, message.renewal_time)
        assert all(number is None or 0 <= number < 2**32 for number in (*numbers, message.rebinding_time))
        assert message.max_message_size >= 576
        destination(message, 0, 67)
        assert 0 <= message.link_address < 2**32
        assert message.server_identifier_override != 0
        assert str(message.vss)
        assert bytes(message.forcerenew_nonce_algorithms) == message.options.get(145, b"")
        with contextlib.suppress(UnusableAuthentication):
            Authentication.of(message)
        assert not verify(data, b"key")
        Message.decode(reply(message, MessageType.ACK, 0x0A000001, vss=VssUse.USED))
        answer = Message.decode(reply(message, MessageType.NAK, 0x0A000001))
        assert (answer.xid, answer.chaddr) == (message.xid, message.chaddr)
        if message.subnet_allocation_parts:
            read_option(*message.subnet_allocation_parts)


def mutations(data: bytes) -> list[bytes]:
    changed = [data[:at] + bytes((octet,)) + data[at + 1 :] for at in range(len(data)) for octet in range(256)]
    return changed + [data[:at] for at in range(len(data))] + [data[:at] + data[at + 1 :] for at in range(len(data))]


@pytest.mark.parametrize("text", OPTIONS)
def test_every_single_octet_mutation_of_an_option(text: str) -> None:
    original = bytes.fromhex(text)
    value = read_option(original)
    assert value is not None
    outcomes = [read_option(changed) for changed in mutations(original)]
    assert None in outcomes
    assert value in outcomes


@pytest.mark.parametrize("text", OPTIONS)
def test_truncation_never_passes(text: str) -> None:
    """Short of the whole option, only the end of a suboption can be read."""
    original = bytes.fromhex(text)
    ends = {1}
    while (at := max(ends)) < len(original):
        ends.add(at + 2 + original[at + 1])
    for length in range(len(original)):
        assert (read_option(original[:length]) is not None) == (length in ends - {1})


@pytest.mark.no_cover  # it would take four times as long
def test_every_single_octet_mutation_of_a_message() -> None:
    Message.decode(MESSAGE)
    for at in range(len(MESSAGE)):
        # Inside sname and file, where there is only padding, a few values do.
        for octet in (1, 52, 53, 220, 255) if 50 < at < 230 else range(256):
            read_message(MESSAGE[:at] + bytes((octet,)) + MESSAGE[at + 1 :])
    for length in range(len(MESSAGE)):
        read_message(MESSAGE[:length])


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_any_octets_as_options(parts: list[bytes]) -> None:
    read_option(*parts)


@given(st.lists(st.integers(0, 5) | st.integers(0, 255), max_size=60).map(bytes))
def test_octets_that_look_like_an_option(payload: bytes) -> None:
    read_option(b"\0" + payload)


@given(st.binary(max_size=700))
def test_any_octets_as_a_message(data: bytes) -> None:
    read_message(data)


@given(
    st.binary(max_size=400), st.binary(min_size=192, max_size=192), st.sampled_from(["", "340101", "340102", "340103"])
)
def test_any_octets_as_options_of_a_message(options: bytes, names: bytes, overload: str) -> None:
    read_message(MESSAGE[:44] + names + MESSAGE[236:243] + bytes.fromhex(overload) + options)
