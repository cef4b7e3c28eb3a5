# SPDX-License-Identifier: MPL-2.0
"""The load generator of ci/bench under policies that push or give less: what it takes, and which blocks it finds given twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from bench.load import ACK, MORE, OFFER, PLAIN, Exchange, Fault, Generator, template

HARDWARE = bytes((2, 0, 0, 0, 0, 1))
SERVER = bytes((127, 0, 0, 2))
CLIENT_FLAG = b"\0\2\x08\2"  # c: RFC 6656 4.2 wants it clear


def option(block: str, flags: bytes = PLAIN) -> bytes:
    network = IPv4Network(block)
    return flags + network.network_address.packed + bytes((network.prefixlen, 2, 0))


def answer(kind: int, allocation: bytes) -> bytes:
    options = bytes((54, 4)) + SERVER + bytes((51, 4, 0, 0, 1, 0, 220, len(allocation))) + allocation
    message = template(kind, bytes((127, 0, 0, 1)), options)
    message[0] = 2
    message[28:34] = message[246:252] = HARDWARE
    return bytes(message)


@pytest.fixture
def generator() -> Iterator[Generator]:
    made = Generator("127.0.0.2", "127.0.0.1", 26, 1, port=0)
    yield made
    made.close()


@pytest.mark.parametrize("flags", [PLAIN, MORE], ids=["plain", "more"])
@pytest.mark.parametrize("block", ["10.0.0.64/26", "10.0.0.96/27", "10.0.0.252/30"])
def test_flag_s_and_smaller_blocks_are_taken(generator: Generator, block: str, flags: bytes) -> None:
    offered = option(block, flags)
    assert generator.check(answer(OFFER, offered), Exchange(HARDWARE, 0.0)) == (OFFER, offered)
    for acknowledged in (
        option(block, PLAIN),
        option(block, MORE),
    ):  # s may differ: it is of the message, not of the block
        waiting = Exchange(HARDWARE, 0.0, ACK, offered)
        assert generator.check(answer(ACK, acknowledged), waiting) == (ACK, acknowledged)


@pytest.mark.parametrize(
    "wrong",
    [
        option("10.0.0.0/25", MORE),
        option("10.0.0.4/31", MORE),
        option("10.0.0.64/26", CLIENT_FLAG),
        option("10.0.0.64/27")[:7] + b"\x50" + option("10.0.0.64/27")[8:],
    ],
    ids=["larger than asked", "beyond /30", "flag c", "host bits of the smaller block"],
)
def test_a_wrong_offer_is_noticed(generator: Generator, wrong: bytes) -> None:
    with pytest.raises(Fault):
        generator.check(answer(OFFER, wrong), Exchange(HARDWARE, 0.0))


@pytest.mark.parametrize("other", ["10.0.0.128/26", "10.0.0.64/27"], ids=["network", "length"])
def test_an_ack_with_other_blocks_is_noticed(generator: Generator, other: str) -> None:
    with pytest.raises(Fault, match="other blocks"):
        generator.check(answer(ACK, option(other)), Exchange(HARDWARE, 0.0, ACK, option("10.0.0.64/26", MORE)))


def test_what_was_given_is_counted(generator: Generator) -> None:
    for block, flags in (("10.0.0.0/26", MORE), ("10.0.0.64/27", PLAIN), ("10.0.0.96/28", MORE)):
        generator.take_note(option(block, flags))
    assert (generator.counts.smaller, generator.counts.more, generator.counts.overlaps) == (2, 2, 0)


def test_overlaps_are_found_by_range(generator: Generator) -> None:
    source = random.Random(220)
    given: list[IPv4Network] = []
    overlaps = 0
    for _ in range(400):
        length = source.randint(26, 30)
        first = source.getrandbits(14) >> 32 - length << 32 - length
        block = IPv4Network((0x0A000000 | first, length))
        overlaps += any(block.overlaps(other) for other in given)
        given.append(block)
        generator.take_note(option(str(block)))
        assert generator.counts.overlaps == overlaps
    assert 0 < overlaps < len(given)
