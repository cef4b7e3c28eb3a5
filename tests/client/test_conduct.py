# SPDX-License-Identifier: MPL-2.0
"""The judge of clients: a whole conversation that is in order, and no broken rule that gets past it."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from tests.client.codec import (
    UNREPORTED,
    ZERO,
    Allocation,
    Block,
    Code,
    Information,
    Message,
    Request,
    Type,
    Violation,
    information,
)
from tests.client.conduct import Conduct, Kind, Query
from tests.client.endpoint import EVERYONE

SERVER, OTHER, CLIENT = (IPv4Address("198.51.100.0") + number for number in (102, 103, 1))
IDENTIFIER = b"\xff" + bytes(range(22))
OFFERED = Information((Block(IPv4Network("10.0.2.0/24")), Block(IPv4Network("10.0.3.0/28"))), server=True)
PAGE = Information((Block(IPv4Network("10.0.4.0/24")),), client=True, server=True)
HELD = OFFERED.blocks[0]


def said(kind: Kind, allocation: Allocation | None = None, *, server: IPv4Address = SERVER, **fields: Any) -> Query:
    """A message of a client that is in order after `conduct` was told all that a test's server says."""
    given = {
        Kind.DISCOVER: (Type.DISCOVER, 1, Allocation((Request(24), Request(28)))),
        Kind.LISTING: (Type.DISCOVER, 2, Allocation((Request(0, information=True),), (PAGE,))),
        Kind.REQUEST: (Type.REQUEST, 1, Allocation(information=(dataclasses.replace(OFFERED, blocks=(HELD,)),))),
        Kind.RENEW: (Type.REQUEST, 3, information(HELD.using(10, 7, 2))),
        Kind.RELEASE: (Type.RELEASE, 4, information(HELD)),
    }
    message_type, xid, usual = given[kind]
    options = [(int(Code.CLIENT_IDENTIFIER), IDENTIFIER)]
    if kind in (Kind.REQUEST, Kind.RELEASE):
        options.append((int(Code.SERVER_IDENTIFIER), server.packed))
    if kind is not Kind.RELEASE:
        options.append((int(Code.MAXIMUM_SIZE), struct.pack("!H", 1400)))
    options.append((int(Code.SUBNET_ALLOCATION), (usual if allocation is None else allocation).encode()))
    message = Message(message_type, xid, b"\2\0\0\0\0\1", hops=1, giaddr=CLIENT, options=tuple(options))
    message = dataclasses.replace(message, **fields)
    return Query(message, message.encode(), (CLIENT, 67), SERVER, 0.0)


def answer(kind: Type, xid: int, *told: Information) -> Message:
    return Message(
        kind,
        xid,
        b"\2\0\0\0\0\1",
        op=2,
        options=((int(Code.SUBNET_ALLOCATION), Allocation(information=told).encode()),),
    )


@pytest.fixture
def conduct() -> Conduct:
    """One that has heard a DISCOVER, an OFFER, an ACK and a page of a list."""
    conduct = Conduct()
    conduct.judge(said(Kind.DISCOVER), SERVER)
    conduct.told(SERVER, answer(Type.OFFER, 1, OFFERED))
    conduct.told(SERVER, answer(Type.ACK, 1, dataclasses.replace(OFFERED, server=False)))
    conduct.told(SERVER, answer(Type.OFFER, 9, PAGE))
    return conduct


@pytest.mark.parametrize("kind", Kind)
def test_what_is_in_order_passes(conduct: Conduct, kind: Kind) -> None:
    conduct.judge(said(kind), SERVER)
    conduct.judge(said(kind), SERVER)  # a retransmission
    assert said(kind).kind is kind


def test_it_tells_servers_and_all_phases_apart(conduct: Conduct) -> None:
    conduct.judge(dataclasses.replace(said(Kind.REQUEST), destination=OTHER), OTHER)  # told to the one not chosen
    conduct.judge(dataclasses.replace(said(Kind.RENEW), destination=EVERYONE), OTHER)  # rebinding
    whole = said(Kind.LISTING, Allocation((Request(0, information=True),)), xid=5)
    conduct.judge(dataclasses.replace(whole, destination=OTHER), OTHER)


def without(query: Query, code: int) -> Query:
    return fields(query, options=tuple(option for option in query.message.options if option[0] != code))


def adding(query: Query, *options: tuple[int, bytes]) -> Query:
    return fields(query, options=(*query.message.options, *options))


def fields(query: Query, **values: Any) -> Query:
    message = dataclasses.replace(query.message, **values)
    return dataclasses.replace(query, message=message, data=message.encode())


def change(kind: Kind, **values: Any) -> Callable[[], Query]:
    return lambda: fields(said(kind), **values)


def saying(kind: Kind, allocation: Allocation, **values: Any) -> Callable[[], Query]:
    return lambda: said(kind, allocation, **values)


def info(*blocks: Block, **flags: bool) -> Allocation:
    return Allocation(information=(Information(blocks, **flags),))


SECONDS = struct.pack("!I", 60)
LATER = dataclasses.replace(HELD, network=IPv4Network("10.0.9.0/24"))

BROKEN: dict[str, tuple[str, Callable[[], Query]]] = {
    "op": ("table 5", change(Kind.DISCOVER, op=2)),
    "hlen": ("table 5", change(Kind.DISCOVER, chaddr=b"\2")),
    "hops": ("RFC 1542", change(Kind.DISCOVER, hops=17)),
    "flags": ("figure 2", change(Kind.DISCOVER, flags=1)),
    "an address of its own": ("RFC 6656 4.2", change(Kind.RENEW, ciaddr=CLIENT)),
    "another relay": ("PROTOCOL", change(Kind.DISCOVER, giaddr=OTHER)),
    "no relay": ("PROTOCOL", change(Kind.DISCOVER, giaddr=ZERO)),
    "port": ("RFC 1542", lambda: dataclasses.replace(said(Kind.DISCOVER), source=(CLIENT, 68))),
    "destination": ("RFC 2131 4.1", lambda: dataclasses.replace(said(Kind.DISCOVER), destination=CLIENT)),
    "a broadcast RELEASE": ("RFC 2131 4.4.4", lambda: dataclasses.replace(said(Kind.RELEASE), destination=EVERYONE)),
    "message type": ("RFC 6656", change(Kind.DISCOVER, type=Type.INFORM)),
    "no identifier": ("RFC 4361", lambda: without(said(Kind.DISCOVER), Code.CLIENT_IDENTIFIER)),
    "another identifier": (
        "another identity",
        lambda: adding(
            without(said(Kind.DISCOVER), Code.CLIENT_IDENTIFIER), (Code.CLIENT_IDENTIFIER, IDENTIFIER + b"\0")
        ),
    ),
    "another chaddr": ("another identity", change(Kind.DISCOVER, chaddr=b"\2\0\0\0\0\2")),
    "option twice": ("RFC 3396", lambda: adding(said(Kind.DISCOVER), (Code.MAXIMUM_SIZE, b"\5\0"))),
    "too long": ("RFC 2131 2", lambda: adding(said(Kind.DISCOVER), (43, bytes(255)), (60, bytes(99)))),
    "option 57": (
        "9.10",
        lambda: adding(without(said(Kind.DISCOVER), Code.MAXIMUM_SIZE), (Code.MAXIMUM_SIZE, b"\0\xff")),
    ),
    "option 57 in RELEASE": ("table 5", lambda: adding(said(Kind.RELEASE), (Code.MAXIMUM_SIZE, b"\5\0"))),
    "option 50": ("an address", lambda: adding(said(Kind.RENEW), (Code.REQUESTED_ADDRESS, CLIENT.packed))),
    "option 58": ("9.11", lambda: adding(said(Kind.RENEW), (Code.RENEWAL_TIME, SECONDS))),
    "option 59": ("9.12", lambda: adding(said(Kind.RENEW), (Code.REBINDING_TIME, SECONDS))),
    "option 82": ("RFC 3046", lambda: adding(said(Kind.RENEW), (Code.RELAY_INFORMATION, b"\1\1x"))),
    "option 54 in DISCOVER": (
        "option 54",
        lambda: adding(said(Kind.DISCOVER), (Code.SERVER_IDENTIFIER, SERVER.packed)),
    ),
    "no option 54 in RELEASE": ("option 54", lambda: without(said(Kind.RELEASE), Code.SERVER_IDENTIFIER)),
    "option 51 in RELEASE": ("option 51", lambda: adding(said(Kind.RELEASE), (Code.LEASE_TIME, SECONDS))),
    "option 51 in a listing": ("option 51", lambda: adding(said(Kind.LISTING), (Code.LEASE_TIME, SECONDS))),
    "xid of a DISCOVER in a renewal": ("xid", change(Kind.RENEW, xid=1)),
    "xid of another DISCOVER": ("xid", saying(Kind.DISCOVER, Allocation((Request(24),)))),
    "RELEASE of another server's": ("RELEASE for", lambda: said(Kind.RELEASE, server=OTHER)),
    "secs in RELEASE": ("secs", change(Kind.RELEASE, secs=1)),
    "secs in REQUEST": ("4.4.1", change(Kind.REQUEST, secs=1)),
    "flags of the option": ("RFC 6656 3:", saying(Kind.DISCOVER, Allocation((Request(24),), flags=1), xid=7)),
    "flags of a request": ("3.1", saying(Kind.DISCOVER, Allocation((Request(24, undefined=4),)), xid=7)),
    "flags of blocks": ("3.2.1", saying(Kind.RENEW, info(dataclasses.replace(HELD, undefined=4)))),
    "lease time of hosts": ("3.4", saying(Kind.DISCOVER, Allocation((Request(24),), lease_times=(60,)), xid=7)),
    "no request": ("4.1", saying(Kind.DISCOVER, info(HELD), xid=7)),
    "request in REQUEST": ("4.3", saying(Kind.REQUEST, Allocation((Request(24),), (OFFERED,)))),
    "request in a renewal": ("4.3", saying(Kind.RENEW, Allocation((Request(24),), (Information((HELD,)),)))),
    "request in RELEASE": ("5.3", saying(Kind.RELEASE, Allocation((Request(24),), (Information((HELD,)),)))),
    "no subnet in REQUEST": ("4.3", saying(Kind.REQUEST, Allocation(names=("x",)))),
    "suggestions for two": (
        "3.1",
        saying(Kind.DISCOVER, Allocation((Request(24),) * 2, (Information((HELD,)),)), xid=7),
    ),
    "flag c in DISCOVER": ("3.2", saying(Kind.DISCOVER, Allocation((Request(24),), (PAGE,)), xid=7)),
    "two requests in a listing": ("6.1", saying(Kind.LISTING, Allocation((Request(0, information=True),) * 2))),
    "a size in a listing": ("3.1", saying(Kind.LISTING, Allocation((Request(24, information=True),)))),
    "page without its flag": (
        "6.3",
        saying(Kind.LISTING, Allocation((Request(0, information=True),), (dataclasses.replace(PAGE, server=False),))),
    ),
    "page of nobody": (
        "6.3",
        saying(Kind.LISTING, Allocation((Request(0, information=True),), (dataclasses.replace(PAGE, blocks=(HELD,)),))),
    ),
    "REQUEST of no offer": ("is of no offer", change(Kind.REQUEST, xid=8)),
    "REQUEST of another server's offer": ("is of no offer", lambda: said(Kind.REQUEST, server=OTHER)),
    "REQUEST without the flag s": ("4.3", saying(Kind.REQUEST, info(HELD))),
    "REQUEST of a changed block": ("4.3", saying(Kind.REQUEST, info(LATER, server=True))),
    "REQUEST with statistics": ("4.3", saying(Kind.REQUEST, info(HELD.using(1, 1), server=True))),
    "REQUEST with another flag h": (
        "4.3",
        saying(Kind.REQUEST, info(dataclasses.replace(HELD, hierarchical=False), server=True)),
    ),
    "renewal with flag s": ("3.2:", saying(Kind.RENEW, info(HELD, server=True))),
    "renewal with flag c": ("3.2:", saying(Kind.RENEW, info(HELD, client=True))),
    "renewal with flag d": ("3.2.1", saying(Kind.RENEW, info(dataclasses.replace(HELD, deprecate=True)))),
    "renewal with another flag h": (
        "never leased",
        saying(Kind.RENEW, info(dataclasses.replace(HELD, hierarchical=False))),
    ),
    "renewal of what it has not": ("never leased", saying(Kind.RENEW, info(LATER))),
    "renewal of a part": (
        "never leased",
        saying(Kind.RENEW, info(dataclasses.replace(HELD, network=IPv4Network("10.0.2.0/25")))),
    ),
    "renewal of one twice": ("twice", saying(Kind.RENEW, info(HELD, HELD))),
    "RELEASE of what it has not": ("never leased", saying(Kind.RELEASE, info(LATER))),
    "more in use than ever": ("more in use", saying(Kind.RENEW, info(HELD.using(7, 10, 2)))),
    "more than there are": ("addresses", saying(Kind.RENEW, info(HELD.using(257, 7, 2)))),
    "further statistics": ("fields", saying(Kind.RENEW, info(dataclasses.replace(HELD, statistics=(9, 8, 7, 6))))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_what_is_not_in_order_is_noticed(conduct: Conduct, rule: str) -> None:
    source, broken = BROKEN[rule]
    with pytest.raises(Violation, match=source):
        conduct.judge(broken(), SERVER)


def test_what_is_not_reported_breaks_no_rule(conduct: Conduct) -> None:
    conduct.judge(said(Kind.RENEW, info(HELD.using(UNREPORTED, 7))), SERVER)
    conduct.judge(said(Kind.RENEW, info(dataclasses.replace(HELD, statistics=(9, 8))), xid=7), SERVER)
