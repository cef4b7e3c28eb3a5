# SPDX-License-Identifier: MPL-2.0
"""The client believes what is signed as RFC 3118 and RFC 6704 say, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.client.authentication import (
    DELAYED,
    NONCE,
    NONCE_DIGEST,
    NONCE_VALUE,
    Authentication,
    Key,
    check_delayed,
    check_nonce,
    digests,
    nonce_of,
    signed,
)
from tests.client.codec import Block, Code, Message, Type, Violation, decode, information
from tests.client.verdict import judge_forcerenew

KEY, SECRET = Key(7, bytes(range(16))), bytes(range(16, 32))
SERVER, RELAY = IPv4Address("198.51.100.1"), IPv4Address("198.51.100.100")
BLOCK = Block(IPv4Network("10.0.2.0/24"))
HARDWARE, IDENTIFIER = b"\x02\0\0\0\0\1", b"\0client"
ORDER = Message(
    Type.FORCERENEW, 9, HARDWARE, op=2, giaddr=RELAY,
    options=((61, IDENTIFIER), (54, SERVER.packed), (220, information(BLOCK).encode())),
)  # fmt: skip


def by_nonce(message: Message, nonce: bytes) -> Message:
    """The FORCERENEW with its digest, made without the client's own arithmetic: the whole message, giaddr zero (RFC 6704 3.1.3)."""
    blank = Authentication(NONCE, 1, bytes((NONCE_DIGEST,)) + bytes(16))
    bare = dataclasses.replace(
        message, options=(*message.options, (90, blank.encode())), giaddr=IPv4Address(0), hops=0
    ).encode()
    digest = hmac.new(nonce, bare, hashlib.md5).digest()
    filled = dataclasses.replace(blank, information=bytes((NONCE_DIGEST,)) + digest)
    return dataclasses.replace(message, options=(*message.options, (90, filled.encode())))


def test_believes_what_the_key_signed_whatever_a_relay_did_to_it() -> None:
    message = signed(ORDER, KEY)
    check_delayed(message, message.encode(), KEY)
    relayed = dataclasses.replace(message, hops=3, giaddr=SERVER, options=(*message.options, (82, b"\1\4port")))
    check_delayed(relayed, relayed.encode(), KEY)


@pytest.mark.parametrize("key", [Key(8, KEY.secret), Key(7, SECRET)])
def test_rejects_another_key(key: Key) -> None:
    message = signed(ORDER, KEY)
    with pytest.raises(Violation):
        check_delayed(message, message.encode(), key)


def test_rejects_whatever_was_changed() -> None:
    data = bytearray(by_nonce(ORDER, SECRET).encode())
    check_nonce(decode(bytes(data)), bytes(data), SECRET)
    for at in (4, 28, 29, 100, 260):  # xid, chaddr, sname, an option
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(Violation):
            check_nonce(by_nonce(ORDER, SECRET), bytes(changed), SECRET)


@pytest.mark.parametrize("nonce", [KEY.secret, SECRET[::-1]])
def test_rejects_another_nonce(nonce: bytes) -> None:
    message = by_nonce(ORDER, SECRET)
    with pytest.raises(Violation):
        check_nonce(message, message.encode(), nonce)


def test_digests_of_a_message_without_option_82_are_one() -> None:
    assert len(set(digests(ORDER.encode(), SECRET))) == 1


def with_authentication(kind: Type, value: Authentication | None) -> Message:
    options = ORDER.options if value is None else (*ORDER.options, (int(Code.AUTHENTICATION), value.encode()))
    return dataclasses.replace(ORDER, type=kind, options=options)


def test_keeps_the_nonce_of_an_ack_alone() -> None:
    given = Authentication(NONCE, 1, bytes((NONCE_VALUE,)) + SECRET)
    assert nonce_of(with_authentication(Type.ACK, given), True) == SECRET
    assert nonce_of(with_authentication(Type.ACK, None), True) is None
    for kind, capable in ((Type.OFFER, True), (Type.NAK, True), (Type.ACK, False)):
        with pytest.raises(Violation):
            nonce_of(with_authentication(kind, given), capable)


@pytest.mark.parametrize(
    "value",
    [
        None,
        Authentication(DELAYED, 1, bytes(20)),
        Authentication(NONCE, 1, bytes((NONCE_VALUE,)) + SECRET),
        Authentication(NONCE, 1, bytes((NONCE_DIGEST,)) + bytes(16)),
        Authentication(NONCE, 1, b""),
    ],
)
def test_rejects_a_forcerenew_without_a_digest_by_the_nonce(value: Authentication | None) -> None:
    message = with_authentication(Type.FORCERENEW, value)
    with pytest.raises(Violation):
        check_nonce(message, message.encode(), SECRET)


BROKEN = {
    "of a client": dataclasses.replace(ORDER, op=1),
    "another type": dataclasses.replace(ORDER, type=Type.OFFER),
    "another client's": dataclasses.replace(ORDER, chaddr=bytes(6)),
    "yiaddr": dataclasses.replace(ORDER, yiaddr=RELAY),
    "no identifier": dataclasses.replace(ORDER, options=ORDER.options[1:]),
    "of nobody": dataclasses.replace(ORDER, options=(ORDER.options[0], ORDER.options[2])),
    "no subnet": dataclasses.replace(ORDER, options=ORDER.options[:2]),
    "statistics": dataclasses.replace(
        ORDER, options=(*ORDER.options[:2], (220, information(BLOCK.using(1, 1)).encode()))
    ),
}


def test_accepts_a_forcerenew_in_order() -> None:
    judge_forcerenew(ORDER, (SERVER, 67), HARDWARE, IDENTIFIER)


@pytest.mark.parametrize("rule", BROKEN)
def test_rejects_a_forcerenew_that_breaks_a_rule(rule: str) -> None:
    with pytest.raises(Violation):
        judge_forcerenew(BROKEN[rule], (SERVER, 67), HARDWARE, IDENTIFIER)


@pytest.mark.parametrize("source", [(SERVER, 68), (RELAY, 67)])
def test_rejects_a_forcerenew_from_elsewhere(source: tuple[IPv4Address, int]) -> None:
    with pytest.raises(Violation):
        judge_forcerenew(ORDER, source, HARDWARE, IDENTIFIER)
