# SPDX-License-Identifier: MPL-2.0
"""Delayed authentication and nonces: what is believed and what is sent, checked by the tests' own reading of the RFCs."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from kea_subnet_deleg.ledger import Granted
from kea_subnet_deleg.roles.authentication import AuthenticationKey, Authenticator, can_use_nonce
from kea_subnet_deleg.roles.replies import Content, Replies, Times
from kea_subnet_deleg.wire import Message as OurMessage
from kea_subnet_deleg.wire import MessageType
from tests.client import authentication as theirs
from tests.client.authentication import Key, check_delayed, nonce_of, request_option, signed
from tests.client.codec import Allocation, Code, Message, Request, Type, Violation, decode
from tests.unit.fakes import SERVER, inbound, message

KEYED = b"\1\2\0\0\0\0\1"  # client number 1
KEY = AuthenticationKey(7, bytes(range(16)), KEYED)
THEIRS = Key(7, KEY.key)
NONCE = bytes(range(100, 116))


def authenticator() -> Authenticator:
    counter = itertools.count(1000)
    return Authenticator([KEY], lambda: next(counter))


def fault(server: Authenticator, said: Message) -> str | None:
    data = said.encode()
    return server.fault(OurMessage.decode(data), data)


def request(client: int = 1, kind: Type = Type.REQUEST, **more: object) -> Message:
    said = message(kind, Allocation((Request(24),)), client=client, server=SERVER)
    return dataclasses.replace(said, **more)  # type: ignore[arg-type]


def test_who_has_no_key_need_not_authenticate() -> None:
    assert fault(authenticator(), request(client=2)) is None
    assert (
        fault(authenticator(), message(Type.DISCOVER, Allocation((Request(24),)), client=2, extra=[request_option()]))
        is None
    )


def test_a_secret_that_is_not_known_is_not_believed() -> None:
    """RFC 3118 5.6.3. Where no keys are configured, nothing is known of authentication."""
    foreign = signed(request(client=2), Key(9, b"x" * 16))
    assert fault(authenticator(), foreign) == "the authentication is by key 9, which this client does not have"
    assert fault(authenticator(), signed(request(client=2), THEIRS)) is not None  # another's key
    assert fault(Authenticator([], lambda: 1), foreign) is None


def test_a_discover_asks_for_it_and_all_else_has_it() -> None:
    server = authenticator()
    asking = message(Type.DISCOVER, Allocation((Request(24),)), extra=[request_option()])
    assert fault(server, asking) is None
    assert fault(server, signed(request(), THEIRS)) is None
    assert fault(server, signed(request(kind=Type.RELEASE), THEIRS)) is None
    late = request()
    late = dataclasses.replace(late, options=(*late.options, request_option()))
    assert fault(server, late) == "asks for authentication where it has to give it"
    for kind in (Type.DISCOVER, Type.REQUEST, Type.RELEASE):
        assert fault(server, request(kind=kind)) == "no authentication, though the client has a key"


@pytest.mark.parametrize("key", [Key(8, KEY.key), Key(7, KEY.key[:-1] + b"x"), Key(7, b"")])
def test_another_key(key: Key) -> None:
    assert fault(authenticator(), signed(request(), key)) == "the authentication is not by key 7"


def test_any_changed_bit_is_seen_but_a_relays() -> None:
    """Hops, giaddr and option 82 are the relays' to change (RFC 3118 section 3)."""
    good = signed(request(), THEIRS).encode()
    for octet in range(len(good)):
        data = bytearray(good)
        data[octet] ^= 1
        try:
            read = OurMessage.decode(bytes(data))
        except ValueError:
            continue
        if read.client_identifier != KEYED:
            continue
        said = authenticator().fault(read, bytes(data))
        assert (said is None) == (octet == 3 or octet in range(24, 28)), octet


def test_a_replay() -> None:
    server = authenticator()
    old, new = signed(request(), THEIRS), signed(request(), THEIRS)
    assert fault(server, new) is None
    assert fault(server, new) is None  # a retransmission, or by another relay
    assert (fault(server, old) or "").startswith("a replay: counter ")
    forged = signed(request(), Key(7, b"wrong" * 4))  # with a higher counter, which must not count
    assert fault(server, forged) == "the authentication is not by key 7"
    assert fault(server, signed(request(), THEIRS)) is None


def test_what_was_kept_meanwhile_is_no_replay() -> None:
    server = authenticator()
    kept, later = signed(request(), THEIRS), signed(request(), THEIRS)
    assert fault(server, kept) is None
    assert fault(server, later) is None
    data = kept.encode()
    assert server.fault(OurMessage.decode(data), data, again=True) is None
    forged = signed(request(), Key(7, b"wrong" * 4)).encode()
    assert server.fault(OurMessage.decode(forged), forged, again=True) == "the authentication is not by key 7"


def test_what_is_no_authentication() -> None:
    said = request()
    said = dataclasses.replace(said, options=(*said.options, (int(Code.AUTHENTICATION), b"\1\1")))
    assert (fault(authenticator(), said) or "").startswith("option 90 has 2 octets")


# ------------------------------------------------------------------------------------------------ what is sent


BLOCKS = (Granted(0x0A000000, 24, True, False),)
CAPABLE = (145, b"\1")


def answer(server: Authenticator, said: Message, kind: MessageType, nonce: bytes | None) -> tuple[Message, bytes]:
    packet = inbound(said)
    content = Content(BLOCKS, 600, False, False, nonce)
    sent = Replies(Times(), server).encode(packet, OurMessage.decode(packet.data), kind, int(SERVER), content)
    return decode(sent.data), sent.data


def test_answers_to_who_has_a_key_are_signed() -> None:
    server, counters = authenticator(), []
    for kind in (MessageType.OFFER, MessageType.ACK, MessageType.NAK):
        counters.append(check_delayed(*answer(server, signed(request(), THEIRS), kind, None), THEIRS))
        with pytest.raises(Violation, match="wrong MAC"):
            check_delayed(*answer(server, signed(request(), THEIRS), kind, None), Key(7, b"another key 1234"))
    assert counters == sorted(set(counters))


def test_a_nonce_is_given_in_an_ack_to_who_can_use_it() -> None:
    capable = request(client=2)
    capable = dataclasses.replace(capable, options=(*capable.options, CAPABLE))
    assert can_use_nonce(OurMessage.decode(capable.encode()))
    ack, _ = answer(authenticator(), capable, MessageType.ACK, NONCE)
    assert nonce_of(ack, capable=True) == NONCE
    ack, _ = answer(authenticator(), request(client=2), MessageType.ACK, None)
    assert nonce_of(ack, capable=False) is None
    assert not can_use_nonce(OurMessage.decode(request(client=2).encode()))


def test_a_key_goes_before_a_nonce() -> None:
    ack, data = answer(authenticator(), signed(request(), THEIRS), MessageType.ACK, NONCE)
    assert check_delayed(ack, data, THEIRS)
    assert NONCE not in data


def test_forcerenew_for_whom() -> None:
    server = authenticator()
    option, key = server.for_forcerenew(KEYED, NONCE, 5)
    assert option is not None
    assert option.encode() == bytes((theirs.DELAYED, 1, 0)) + (5).to_bytes(8, "big") + (7).to_bytes(4, "big") + bytes(
        16
    )
    assert key == KEY.key
    option, key = server.for_forcerenew(b"x", NONCE, 6)
    assert option is not None
    assert option.encode() == bytes((theirs.NONCE, 1, 0)) + (6).to_bytes(8, "big") + b"\2" + bytes(16)
    assert key == NONCE
    assert server.for_forcerenew(b"x", None, 7) == (None, b"")
    assert list(server.clients) == [KEYED]
