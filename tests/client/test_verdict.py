# SPDX-License-Identifier: MPL-2.0
"""The client's own judgement: it reads the RFC's examples, and no broken rule gets past it."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from tests.client.codec import (
    Allocation,
    Block,
    Code,
    Information,
    Message,
    Request,
    Type,
    Violation,
    decode,
    decode_allocation,
    information,
)
from tests.client.verdict import judge

SERVER, RELAY = IPv4Address("198.51.100.1"), IPv4Address("198.51.100.100")
NETWORK, OTHER = IPv4Network("10.0.2.0/24"), IPv4Network("10.0.3.0/28")
IDENTIFIER, CIRCUIT = b"\x00client", b"\x01\x04port"

# RFC 6656 section 8, without code and length, and what it says
EXAMPLES = {
    "00 01 02 00 18": Allocation((Request(24, False),)),
    "00 02 08 00 0a 00 01 00 18 00 00": information(Block(IPv4Network("10.0.1.0/24"), False)),
    "00 01 02 00 18 01 02 00 18": Allocation((Request(24, False), Request(24, False))),
    "00 02 0f 00 0a 00 02 00 18 00 00 0a 00 03 00 1c 00 00": information(Block(NETWORK, False), Block(OTHER, False)),
    "00 02 0e 00 0a 00 02 00 18 00 06 00 0a 00 07 00 02": information(Block(NETWORK, False).using(10, 7, 2)),
    "00 02 08 00 0a 00 02 00 18 01 00": information(Block(NETWORK, False, deprecate=True)),
    "00 01 02 02 00": Allocation((Request(0, False, information=True),)),
    "00 02 08 02 0a 00 02 00 18 01 00": Allocation(
        information=(Information((Block(NETWORK, False, deprecate=True),), client=True),)
    ),
}


ONE = Allocation((Request(24),))


def query(kind: Type = Type.DISCOVER, allocation: Allocation = ONE, named: bool = False) -> Message:
    options = [(Code.CLIENT_IDENTIFIER, IDENTIFIER), (Code.SUBNET_ALLOCATION, allocation.encode())]
    options += [(Code.SERVER_IDENTIFIER, SERVER.packed)] if named else []
    options += [(Code.RELAY_INFORMATION, CIRCUIT)]
    return Message(kind, 7, b"\x02\0\0\0\0\1", hops=1, giaddr=RELAY, options=tuple(options))


def answer(kind: Type, allocation: Allocation) -> Message:
    times = (Code.LEASE_TIME, Code.RENEWAL_TIME, Code.REBINDING_TIME)
    options = [(Code.SERVER_IDENTIFIER, SERVER.packed), (Code.CLIENT_IDENTIFIER, IDENTIFIER)]
    if kind is not Type.NAK:
        options += [(code, struct.pack("!I", s)) for code, s in zip(times, (3600, 2160, 3150), strict=True)]
    options += [(Code.SUBNET_ALLOCATION, allocation.encode()), (Code.RELAY_INFORMATION, CIRCUIT)]
    flags = 0x8000 if kind is Type.NAK else 0
    return Message(kind, 7, b"\x02\0\0\0\0\1", op=2, giaddr=RELAY, flags=flags, options=tuple(options))


def put(message: Message, code: int, value: bytes | None) -> Message:
    """The message with another value of an option, or without it, or with it where it was not."""
    if value is None:
        return dataclasses.replace(message, options=tuple(o for o in message.options if o[0] != code))
    if any(number == code for number, _ in message.options):
        return dataclasses.replace(message, options=tuple((c, value if c == code else v) for c, v in message.options))
    return dataclasses.replace(message, options=((code, value), *message.options))


def weigh(asked: Message, reply: Message, source: tuple[IPv4Address, int] = (SERVER, 67)) -> None:
    data = reply.encode()
    judge(asked, decode(data), len(data), source)


BLOCK, FOREIGN = Block(NETWORK), Block(OTHER)
LISTING = Allocation((Request(0, information=True),))
OFFER, ACK, NAK = (answer(kind, information(BLOCK)) for kind in (Type.OFFER, Type.ACK, Type.NAK))
DISCOVER, SELECT = query(), query(Type.REQUEST, information(BLOCK), named=True)
RENEW = query(Type.REQUEST, information(BLOCK.using(10, 7)))


@pytest.mark.parametrize("octets", EXAMPLES)
def test_reads_and_writes_the_examples_of_the_rfc(octets: str) -> None:
    assert decode_allocation(bytes.fromhex(octets)) == EXAMPLES[octets]
    assert EXAMPLES[octets].encode() == bytes.fromhex(octets)


def listed(*parts: Information) -> Message:
    return answer(Type.OFFER, Allocation(information=parts))


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        (DISCOVER, OFFER),
        (SELECT, ACK),
        (SELECT, put(NAK, Code.SUBNET_ALLOCATION, None)),
        (RENEW, ACK),
        (RENEW, NAK),
        (RENEW, answer(Type.ACK, information(Block(NETWORK, deprecate=True)))),
        (query(allocation=LISTING), listed(Information((BLOCK,), client=True), Information((FOREIGN,), True, True))),
    ],
)
def test_accepts_what_is_in_order(asked: Message, reply: Message) -> None:
    weigh(asked, reply)


def with_block(block: Block, **flags: Any) -> Message:
    return answer(Type.OFFER, Allocation(information=(Information((block,), **flags),)))


BROKEN: dict[str, Callable[[], tuple[Message, Message]]] = {
    "yiaddr": lambda: (DISCOVER, dataclasses.replace(OFFER, yiaddr=RELAY)),
    "ciaddr": lambda: (DISCOVER, dataclasses.replace(OFFER, ciaddr=RELAY)),
    "giaddr": lambda: (DISCOVER, dataclasses.replace(OFFER, giaddr=SERVER)),
    "xid": lambda: (DISCOVER, dataclasses.replace(OFFER, xid=8)),
    "chaddr": lambda: (DISCOVER, dataclasses.replace(OFFER, chaddr=b"\x02\0\0\0\0\2")),
    "op": lambda: (DISCOVER, dataclasses.replace(OFFER, op=1)),
    "hops": lambda: (DISCOVER, dataclasses.replace(OFFER, hops=1)),
    "flags": lambda: (DISCOVER, dataclasses.replace(OFFER, flags=0x8000)),
    "NAK that a relay would unicast": lambda: (RENEW, dataclasses.replace(NAK, flags=0)),
    "wrong type": lambda: (DISCOVER, ACK),
    "reply to a release": lambda: (query(Type.RELEASE, information(BLOCK), named=True), ACK),
    "no lease time": lambda: (DISCOVER, put(OFFER, Code.LEASE_TIME, None)),
    "two lease times": lambda: (DISCOVER, dataclasses.replace(OFFER, options=(OFFER.options[2], *OFFER.options))),
    "no lease time in an ACK": lambda: (SELECT, put(ACK, Code.LEASE_TIME, None)),
    "lease time in a NAK": lambda: (RENEW, put(NAK, Code.LEASE_TIME, b"\0\0\0\1")),
    "lease of no time": lambda: (
        DISCOVER,
        put(put(put(OFFER, Code.LEASE_TIME, bytes(4)), Code.RENEWAL_TIME, None), Code.REBINDING_TIME, None),
    ),
    "T1 after T2": lambda: (DISCOVER, put(OFFER, Code.RENEWAL_TIME, b"\0\0\x0d\x00")),
    "no server identifier": lambda: (DISCOVER, put(OFFER, Code.SERVER_IDENTIFIER, None)),
    "another's server identifier": lambda: (DISCOVER, put(OFFER, Code.SERVER_IDENTIFIER, RELAY.packed)),
    "client identifier not echoed": lambda: (DISCOVER, put(OFFER, Code.CLIENT_IDENTIFIER, None)),
    "client identifier changed": lambda: (DISCOVER, put(OFFER, Code.CLIENT_IDENTIFIER, b"\0other")),
    "client identifier invented": lambda: (put(DISCOVER, Code.CLIENT_IDENTIFIER, None), OFFER),
    "relay information not echoed": lambda: (DISCOVER, put(OFFER, Code.RELAY_INFORMATION, None)),
    "relay information not last": lambda: (DISCOVER, dataclasses.replace(OFFER, options=OFFER.options[::-1])),
    "requested address": lambda: (DISCOVER, put(OFFER, Code.REQUESTED_ADDRESS, RELAY.packed)),
    "no option 220": lambda: (DISCOVER, put(OFFER, Code.SUBNET_ALLOCATION, None)),
    "renewal refused without option 220": lambda: (RENEW, put(NAK, Code.SUBNET_ALLOCATION, None)),
    "longer than 576 octets": lambda: (put(DISCOVER, 224, b""), put(OFFER, 224, bytes(400))),
    "Subnet-Request": lambda: (
        DISCOVER,
        answer(Type.OFFER, Allocation((Request(24),), information(BLOCK).information)),
    ),
    "Subnet-Name": lambda: (
        DISCOVER,
        answer(Type.OFFER, dataclasses.replace(information(BLOCK), names=("sales",))),
    ),
    "two Suggested-Lease-Times": lambda: (
        DISCOVER,
        answer(Type.OFFER, dataclasses.replace(information(BLOCK), lease_times=(60, 60))),
    ),
    "flags of the option": lambda: (DISCOVER, answer(Type.OFFER, dataclasses.replace(information(BLOCK), flags=1))),
    "undefined flags of Subnet-Information": lambda: (DISCOVER, with_block(BLOCK, undefined=4)),
    "undefined flags of a block": lambda: (DISCOVER, with_block(Block(NETWORK, undefined=0x80))),
    "statistics": lambda: (DISCOVER, with_block(BLOCK.using(1, 1))),
    "c flag in the offer of a new subnet": lambda: (DISCOVER, with_block(BLOCK, client=True)),
    "no c flag in a listing": lambda: (query(allocation=LISTING), OFFER),
    "s flag before the end": lambda: (
        query(allocation=LISTING),
        listed(Information((BLOCK,), client=True, server=True), Information((FOREIGN,), client=True)),
    ),
    "more blocks than requests": lambda: (DISCOVER, answer(Type.OFFER, information(BLOCK, FOREIGN))),
    "overlapping blocks": lambda: (
        query(allocation=Allocation((Request(24), Request(24)))),
        answer(Type.OFFER, information(BLOCK, Block(IPv4Network("10.0.2.128/25")))),
    ),
    "d flag in the offer of a new subnet": lambda: (DISCOVER, with_block(Block(NETWORK, deprecate=True))),
    "d flag in the ACK of a new subnet": lambda: (
        SELECT,
        answer(Type.ACK, information(Block(NETWORK, deprecate=True))),
    ),
    "h flag changed": lambda: (DISCOVER, with_block(Block(NETWORK, hierarchical=False))),
    "ACK of what was not asked": lambda: (SELECT, answer(Type.ACK, information(FOREIGN))),
    "ACK of another size": lambda: (SELECT, answer(Type.ACK, information(Block(IPv4Network("10.0.2.0/25"))))),
    "NAK of what was not asked": lambda: (RENEW, answer(Type.NAK, information(FOREIGN))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_rejects_a_broken_rule(rule: str) -> None:
    with pytest.raises(Violation):
        weigh(*BROKEN[rule]())


@pytest.mark.parametrize("source", [(SERVER, 68), (RELAY, 67)])
def test_rejects_a_reply_from_elsewhere(source: tuple[IPv4Address, int]) -> None:
    with pytest.raises(Violation):
        weigh(DISCOVER, OFFER, source)


@pytest.mark.parametrize(
    "octets",
    [
        "00",  # no suboption
        "00 01 02 00",  # runs over the end
        "00 01 02 00 1f",  # a /31
        "00 02 08 00 0a 00 01 01 18 00 00",  # host bits
        "00 02 08 00 00 00 00 00 00 00 00",  # a /0
        "00 02 07 00 0a 00 01 00 18 00",  # too short for a block
        "00 02 08 00 0a 00 01 00 18 00 01",  # statistics run over the end
        "00 03 00",  # empty name
        "00 03 01 ff",  # no UTF-8
        "00 04 03 00 00 01",  # lease time of three octets
    ],
)
def test_rejects_a_malformed_option(octets: str) -> None:
    with pytest.raises(Violation):
        decode_allocation(bytes.fromhex(octets))


def test_joins_an_option_that_was_split() -> None:
    blocks = [Block(IPv4Network((10 << 24 | n << 8, 24))) for n in range(100)]
    message = query(Type.REQUEST, information(*blocks))
    assert decode(message.encode()).allocation.blocks == tuple(blocks)
