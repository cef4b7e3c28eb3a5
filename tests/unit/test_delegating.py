# SPDX-License-Identifier: MPL-2.0
"""The delegating role over a real ledger, with messages that the tests' own codec writes and reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from kea_subnet_deleg.ledger import Ledger, LedgerUnavailable, Operation, OperationFailed, Outcome, Selector
from kea_subnet_deleg.ledger.upstreams import Upstreams
from kea_subnet_deleg.policy import (
    BestFit,
    Grant,
    Holding,
    Lessee,
    Limits,
    Policy,
    Refusal,
    RenewalVerdict,
    Reported,
    View,
    Wish,
)
from kea_subnet_deleg.roles.admission import Admission
from kea_subnet_deleg.roles.authentication import AuthenticationKey
from kea_subnet_deleg.roles.delegating import Delegating
from kea_subnet_deleg.roles.replies import Times
from kea_subnet_deleg.roles.shortages import Shortage, Shortages
from kea_subnet_deleg.runtime.views import LedgerViews
from tests.client.authentication import Key, check_delayed, signed
from tests.client.codec import ZERO, Allocation, Block, Code, Information, Message, Request, Type, decode, information
from tests.conftest import Database
from tests.ledger.scene import Client as LedgerClient
from tests.ledger.scene import lease
from tests.unit.fakes import RELAY, SERVER, FakeKea, inbound, message, surroundings, terms

LEASE, SHORTEST = 7200, 60
FOREIGN = IPv4Address("192.0.2.9")


class Clock:
    """Monotonic seconds, by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """The role, its ledger, and what it says."""

    def __init__(
        self,
        database: Database,
        *,
        keys: Sequence[AuthenticationKey] = (),
        allow: Sequence[Admission] = (),
        rate: float | None = None,
        policies: Mapping[str, Policy] | None = None,
        times: Times | None = None,
        **changes: Any,
    ) -> None:
        self.database = database
        self.kea = FakeKea()
        self.ledger = database.ledger()
        self.ledger.server_seen(int(SERVER), "one", "0")
        self.views = LedgerViews()
        self.views.read(self.ledger)
        self.shortages = Shortages()
        self.clock = Clock()
        own = {int(SERVER): 2}
        self.role = Delegating(
            replace(terms(LEASE), **changes),
            surroundings(
                self.ledger,
                self.views,
                self.kea,
                own,
                keys=keys,
                allow=allow,
                rate=rate,
                clock=self.clock,
                policies=policies,
                shortages=self.shortages,
                times=times,
            ),
        )

    def hear(self, *messages: Message | bytes) -> list[Message]:
        """Hand over a batch and return the answers; all go to the relay."""
        answers = self.role.handle([inbound(data) for data in messages])
        assert {(answer.destination, answer.destination_port) for answer in answers} <= {(int(RELAY), 67)}
        return [decode(answer.data) for answer in answers]

    def offer(self, *requests: Request | int, client: int = 1, xid: int = 1) -> tuple[Block, ...]:
        wishes = tuple(Request(r) if isinstance(r, int) else r for r in requests)
        (answer,) = self.hear(message(Type.DISCOVER, Allocation(wishes), client=client, xid=xid))
        assert answer.type is Type.OFFER
        return answer.allocation.blocks

    def lease(self, *requests: Request | int, client: int = 1, xid: int = 1) -> tuple[Block, ...]:
        blocks = self.offer(*requests, client=client, xid=xid)
        (answer,) = self.hear(message(Type.REQUEST, information(*blocks), client=client, xid=xid, server=SERVER))
        assert answer.type is Type.ACK
        assert answer.allocation.blocks == blocks
        return blocks

    def table(self) -> list[tuple[object, ...]]:
        return self.database.sql("select * from deleg.blocks order by space, prefix")

    def count(self) -> Counter[str]:
        """Return the counters since the last look."""
        counted, self.kea.counters = self.kea.counters, Counter()
        return counted


@pytest.fixture
def server(database: Database) -> Server:
    database.pool("10.0.0.0/8")
    return Server(database)


# ------------------------------------------------------------------------------------------------ bits


def undefined_bits(value: bytes, blocks: int) -> set[int]:
    """Return the numbers of the bits in option 220 that RFC 6656 leaves undefined, with `blocks` in one suboption."""
    octets = [(0, 0xFF), (3, 0xFC), *((4 + 7 * n + 5, 0xFC) for n in range(blocks))]
    assert len(value) == 4 + 7 * blocks
    return {8 * octet + 7 - bit for octet, mask in octets for bit in range(8) if mask >> bit & 1}


@pytest.mark.parametrize("sizes", [(24,), (24, 20)])
def test_a_request_changed_by_a_bit(server: Server, sizes: tuple[int, ...]) -> None:
    """NAK or silence and the ledger as it was; but undefined flags are ignored (RFC 6656 section 3)."""
    good = information(*server.offer(*sizes, client=1)).encode()
    harmless = undefined_bits(good, len(sizes))
    for number in range(8 * len(good)):
        client = number + 2
        value = bytearray(information(*server.offer(*sizes, client=client)).encode())
        value[number // 8] ^= 0x80 >> number % 8
        before = server.table()
        server.count()
        answers = server.hear(message(Type.REQUEST, bytes(value), client=client, server=SERVER))
        counted = server.count()
        if number in harmless:
            assert [answer.type for answer in answers] == [Type.ACK], number
            assert counted == {"answered": 1}
        else:
            assert server.table() == before, number
            assert [answer.type for answer in answers] in ([], [Type.NAK]), number
            assert counted in ({"malformed": 1}, {"silent": 1}, {"nak": 1}), number
    assert server.database.violations() == []


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        "0001",
        "000102",
        "00010200",
        "0001020018ff",
        "000102001f",
        "0001020020",
        "00010200ff",
        "000208000a000100180001",
        "000207000a0001001800",
        "000208000a0001001f0000",
        "000208000a000100000000",
        "000208000a000101180000",
        "000208000a000100180002",
        "00020100",
        "000300",
        "000301ff",
        "0004030000ff",
    ],
)
@pytest.mark.parametrize("kind", [Type.DISCOVER, Type.REQUEST, Type.RELEASE])
def test_malformed_is_counted_once_and_met_with_silence(server: Server, kind: Type, value: str) -> None:
    before = server.table()
    data = message(kind, bytes.fromhex(value), server=SERVER if kind is not Type.DISCOVER else None)
    assert server.hear(data) == []
    assert server.count() == {"malformed": 1}
    assert len(server.kea.logged("SUBNET_DELEG_MALFORMED")) == 1
    assert server.table() == before


def test_malformed_leaves_the_rest_of_the_batch_alone(server: Server) -> None:
    good = message(Type.DISCOVER, Allocation((Request(24),)), client=2)
    bad = message(Type.DISCOVER, b"\0\1", client=3)
    assert [answer.type for answer in server.hear(bad, good, b"", b"\0" * 300, bad)] == [Type.OFFER]
    assert server.count() == {"malformed": 4, "answered": 1}


@pytest.mark.parametrize("kind", [Type.REQUEST, Type.RELEASE])
def test_a_subnet_request_has_no_place_there(server: Server, kind: Type) -> None:
    """RFC 6656 sections 4.3 and 5.3."""
    (block,) = server.lease(24)
    before = server.table()
    server.count()
    assert server.hear(message(kind, Allocation((Request(24),)) + information(block), server=SERVER)) == []
    assert server.count() == {"malformed": 1}
    assert server.table() == before


@pytest.mark.parametrize("field", ["giaddr", "ciaddr"])
@pytest.mark.parametrize("address", ["224.0.0.1", "239.255.255.255", "255.255.255.255", "0.0.0.1"])
def test_who_says_to_be_where_nobody_is(server: Server, field: str, address: str) -> None:
    """The answer would go to whoever listens there."""
    asks = replace(message(Type.DISCOVER, Allocation((Request(24),))), giaddr=IPv4Address(0))
    assert server.hear(replace(asks, **{field: IPv4Address(address)})) == []  # type: ignore[arg-type]
    assert server.count() == {"malformed": 1}
    assert address in server.kea.logged("SUBNET_DELEG_MALFORMED")[0]


@pytest.mark.parametrize("kind", [t for t in Type if t not in (Type.DISCOVER, Type.REQUEST, Type.RELEASE)])
def test_other_messages_are_met_with_silence(server: Server, kind: Type) -> None:
    (block,) = server.lease(24)
    server.count()
    assert server.hear(message(kind, Allocation((Request(24),)) + information(block), server=SERVER)) == []
    assert server.count() == {"silent": 1}


def test_a_reply_is_met_with_silence(server: Server) -> None:
    query = message(Type.DISCOVER, Allocation((Request(24),)))
    assert server.hear(Message(query.type, 1, query.chaddr, op=2, giaddr=RELAY, options=query.options)) == []
    assert server.count() == {"silent": 1}


def test_a_discover_that_asks_for_nothing(server: Server) -> None:
    assert server.hear(message(Type.DISCOVER, information(Block(IPv4Network("10.0.0.0/24"))))) == []
    assert server.count() == {"silent": 1}


# ------------------------------------------------------------------------------------------------ another's


def test_a_request_for_anothers_block(server: Server) -> None:
    """NAK with the very blocks, and the holder keeps them; also where one block of two is the client's own."""
    (theirs,) = server.lease(24, client=1)
    (mine,) = server.offer(24, client=2)
    before = server.table()
    server.count()
    for blocks in ((theirs,), (mine, theirs), (theirs, mine)):
        (answer,) = server.hear(message(Type.REQUEST, information(*blocks), client=2, server=SERVER))
        assert answer.type is Type.NAK
        assert answer.allocation.blocks == blocks
        assert answer.server == SERVER
        assert answer.lease_time is None
        assert answer.yiaddr == answer.ciaddr == IPv4Address(0)
        assert answer.flags == 0x8000  # RFC 2131 section 4.3.2: the relay broadcasts it
    assert server.count() == {"nak": 3}
    assert server.table() == before


def test_a_request_of_another_transaction(server: Server) -> None:
    """RFC 2131 table 5: the xid of the REQUEST should be that of the OFFER. What is offered to this client is its own in any case,
    the first time as at a retransmission (I7), and what else was offered beside it is free again.
    """
    kept, spare = server.offer(24, 26, xid=7)
    query = message(Type.REQUEST, information(kept), xid=8, server=SERVER)
    first, second = server.hear(query, query)
    assert (first.type, first.allocation.blocks) == (Type.ACK, (kept,))
    assert first == second
    assert server.database.blocks()[str(kept.network)] == "leased"
    assert "offered" not in server.database.blocks().values()
    (nak,) = server.hear(message(Type.REQUEST, information(spare), xid=7, server=SERVER))
    assert nak.type is Type.NAK
    assert server.database.violations() == []


@pytest.mark.parametrize("kept", [slice(None), slice(1), slice(1, None)], ids=["all", "the first", "the second"])
def test_flag_s_is_of_all_blocks_of_an_offer(database: Database, kept: slice) -> None:
    """Though only one of them made the policy set it: the REQUEST says what the OFFER said (RFC 6656 4.3)."""
    database.pool("10.0.0.0/8")
    server = Server(database, policy="proportional")
    (offer,) = server.hear(message(Type.DISCOVER, Allocation((Request(24), Request(0)))))
    (offered,) = offer.allocation.information
    assert (len(offered.blocks), offered.server) == (2, True)
    wanted = Allocation(information=(Information(offered.blocks[kept], server=True),))
    (ack,) = server.hear(message(Type.REQUEST, wanted, server=SERVER))
    assert (ack.type, ack.allocation.blocks) == (Type.ACK, offered.blocks[kept])
    assert "offered" not in server.database.blocks().values()


@pytest.mark.parametrize(("asked", "left"), [(None, LEASE - 3600), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_a_request_that_names_a_server_prolongs_no_lease(server: Server, asked: int | None, left: int) -> None:
    """Who renews names none (RFC 2131 4.3.2), and is told what the policy says. It is a retransmission, for as long as it can be one."""
    extra = [] if asked is None else [(Code.LEASE_TIME, asked.to_bytes(4, "big"))]
    (offer,) = server.hear(message(Type.DISCOVER, Allocation((Request(24),)), extra=extra))
    request = message(Type.REQUEST, offer.allocation, server=SERVER)
    server.hear(request)
    for _ in range(2):  # what answers a retransmission does not make it younger
        server.hear(request)
        server.database.sql("update deleg.blocks set since = since - interval '61 seconds' where lessee is not null")
    server.database.sql("update deleg.blocks set expires = expires - interval '1 hour' where lessee is not null")
    before = server.database.sql("select b::text from deleg.blocks b order by prefix")
    (ack,) = server.hear(request)
    assert (ack.type, ack.allocation) == (Type.ACK, offer.allocation)
    assert ack.lease_time is not None
    assert left - 5 <= ack.lease_time <= left
    assert server.database.sql("select b::text from deleg.blocks b order by prefix") == before
    (renewal,) = server.hear(message(Type.REQUEST, offer.allocation, xid=2))
    assert renewal.lease_time == LEASE
    assert server.database.violations() == []


def test_what_is_offered_again_is_held_again(server: Server) -> None:
    """RFC 6656 4.2: it is not offered to others for a while. Who asks again did not hear the first OFFER, and can take the last one."""
    left = "select extract(epoch from min(expires) - now())::float from deleg.blocks where state = 'offered'"
    discover = message(Type.DISCOVER, Allocation((Request(24), Request(26))))
    (offer,) = server.hear(discover)
    ((whole,),) = server.database.sql(left)
    for seconds in (whole / 4, whole / 2):
        server.database.sql(
            "update deleg.blocks set expires = expires - make_interval(secs => %s) where state = 'offered'", seconds
        )
        ((before,),) = server.database.sql(left)
        (again,) = server.hear(discover)
        assert again.allocation == offer.allocation
        ((after,),) = server.database.sql(left)
        assert after == pytest.approx(before if before > whole / 2 else whole, abs=2.0)
    server.database.sql("update deleg.holds set ends = now() where hold = (select min(hold) from deleg.holds)")
    server.ledger.sweep(100, 60)  # the first hold is over
    assert list(server.database.blocks().values()).count("offered") == 2
    assert server.database.violations() == []
    server.database.sql("update deleg.blocks set expires = now() where state = 'offered'")
    server.database.sql("update deleg.holds set ends = now()")
    server.ledger.sweep(100, 60)
    assert set(server.database.blocks().values()) == {"free"}
    assert server.database.sql("select 1 from deleg.holds") == []


@pytest.mark.parametrize("renewed", [False, True])
def test_an_xid_of_long_ago_is_a_new_transaction(server: Server, renewed: bool) -> None:
    """A client may begin with the same xid at each boot: it gets what it asks for now, and nothing that it has is touched."""
    first = server.lease(24, 26, xid=7)
    if renewed:
        server.hear(message(Type.REQUEST, information(*first), xid=8))
    (again,) = server.hear(message(Type.DISCOVER, Allocation((Request(24), Request(26))), xid=7))
    assert again.allocation.blocks == first  # a retransmission, for as long as it can be one
    held = "select prefix::text, state::text, expires from deleg.blocks where state = 'leased' order by prefix"
    for wanted in (28, 25):
        server.database.sql("update deleg.blocks set since = since - interval '121 seconds' where state = 'leased'")
        before = server.database.sql(held)
        (block,) = server.lease(Request(wanted, hierarchical=True), xid=7)
        assert (block.network.prefixlen, block.hierarchical) == (wanted, True)
        assert block not in first
        assert [row for row in server.database.sql(held) if row in before] == before
    (renewal,) = server.hear(message(Type.REQUEST, information(*first), xid=7))
    assert renewal.allocation.blocks == first
    assert len(server.database.sql(held)) == 4
    assert server.database.violations() == []


def test_what_its_relay_calls_us(server: Server) -> None:
    """RFC 5107 4. The ledger has which server it is in truth, for FORCERENEW and for what is served of it."""
    spoken_for = IPv4Address("198.51.100.250")
    relayed = [(Code.RELAY_INFORMATION, bytes((11, 4)) + spoken_for.packed)]
    (offer,) = server.hear(message(Type.DISCOVER, Allocation((Request(24),)), extra=relayed))
    (ack,) = server.hear(message(Type.REQUEST, offer.allocation, server=spoken_for, extra=relayed))
    assert server.database.sql("select host(server) from deleg.blocks where state = 'leased'") == [(str(SERVER),)]
    (renewal,) = server.hear(message(Type.REQUEST, offer.allocation, xid=2, extra=relayed))
    (listing,) = server.hear(message(Type.DISCOVER, Allocation((Request(0, information=True),)), xid=3, extra=relayed))
    assert [answer.server for answer in (offer, ack, renewal, listing)] == [spoken_for] * 4
    assert server.hear(message(Type.RELEASE, offer.allocation, xid=4, server=spoken_for, extra=relayed)) == []
    assert "quarantined" in server.database.blocks().values()
    # A relay that does not say so can't be meant.
    assert server.hear(message(Type.REQUEST, offer.allocation, xid=5, server=spoken_for)) == []
    assert server.database.violations() == []


def test_a_relay_that_overrides_sends_us_what_is_for_others(server: Server) -> None:
    """RFC 5107 4: all servers are called the same. What another domain offered gets no NAK, and what we offered stays for a while."""
    spoken_for = IPv4Address("198.51.100.250")
    relayed = [(Code.RELAY_INFORMATION, bytes((11, 4)) + spoken_for.packed)]
    (ours,) = server.hear(message(Type.DISCOVER, Allocation((Request(24),)), extra=relayed))
    theirs = information(Block(IPv4Network("172.20.0.0/24")))
    assert server.hear(message(Type.REQUEST, theirs, server=spoken_for, extra=relayed)) == []
    assert server.count()["foreign-server"] == 1
    (ack,) = server.hear(message(Type.REQUEST, ours.allocation, server=spoken_for, extra=relayed))
    assert (ack.type, ack.allocation) == (Type.ACK, ours.allocation)
    assert server.database.violations() == []


@pytest.mark.parametrize("named", [None, SERVER])
def test_a_release_of_anothers_block(server: Server, named: IPv4Address | None) -> None:
    (theirs,) = server.lease(24, client=1)
    before = server.table()
    server.count()
    assert server.hear(message(Type.RELEASE, information(theirs), client=2, server=named)) == []
    assert server.count() == {"silent": 1}
    assert server.table() == before
    assert server.kea.logged("SUBNET_DELEG_RELEASED") == []


def test_only_what_was_released_is_logged_so(server: Server) -> None:
    (theirs,) = server.lease(24, client=1)
    (mine,) = server.lease(24, client=2)
    assert server.hear(message(Type.RELEASE, information(theirs, mine), client=2)) == []
    assert server.kea.logged("SUBNET_DELEG_RELEASED") == [f"{mine.network} of 01:02:00:00:00:00:02"]
    (nak,) = server.hear(message(Type.REQUEST, information(mine), client=2))
    assert nak.type is Type.NAK
    assert server.kea.logged("SUBNET_DELEG_RENEWAL_REFUSED") == [f"{mine.network} of 01:02:00:00:00:00:02"]


def test_a_renewal_of_anothers_block(server: Server) -> None:
    (theirs,) = server.lease(24, client=1)
    before = server.table()
    server.count()
    assert server.hear(message(Type.REQUEST, information(theirs), client=2, xid=5)) == []
    assert server.count() == {"silent": 1}
    assert server.table() == before


def test_a_request_that_names_another_domains_server(server: Server) -> None:
    server.offer(24)
    server.count()
    (block,) = server.offer(24, client=2)
    query = message(Type.REQUEST, information(block), client=2, server=FOREIGN)
    server.count()
    assert server.hear(query) == []
    assert server.count() == {"foreign-server": 1, "silent": 1}
    assert list(server.database.blocks().values()).count("offered") == 1


# ------------------------------------------------------------------------------------------------ what is given


def test_a_block_leased_renewed_and_released(server: Server) -> None:
    query = message(Type.DISCOVER, Allocation((Request(24, hierarchical=True), Request(26, hierarchical=False))))
    (offer,) = server.hear(query)
    assert [str(block) for block in offer.allocation.blocks] == ["10.0.0.0/24 h", "10.0.1.0/26"]
    assert offer.lease_time == LEASE
    assert server.hear(query) == [offer]
    blocks = offer.allocation.blocks
    request = message(Type.REQUEST, information(*blocks), server=SERVER)
    (ack,) = server.hear(request)
    assert (ack.type, ack.allocation, ack.lease_time, ack.server) == (Type.ACK, offer.allocation, LEASE, SERVER)
    assert server.hear(request) == [ack]
    assert list(server.database.blocks().values())[:2] == ["leased", "reserved"]
    (renewal,) = server.hear(message(Type.REQUEST, information(blocks[0].using(90, 70, 3)), xid=2))
    assert (renewal.type, renewal.allocation.blocks) == (Type.ACK, blocks[:1])
    assert server.database.sql("select high_water, in_use, unusable from deleg.usage") == [(90, 70, 3)]
    assert server.hear(message(Type.RELEASE, information(*blocks), xid=3, server=SERVER)) == []
    assert list(server.database.blocks().values())[:2] == ["quarantined", "quarantined"]
    (nak,) = server.hear(message(Type.REQUEST, information(blocks[0]), xid=4))
    assert (nak.type, nak.allocation.blocks) == (Type.NAK, blocks[:1])
    assert len(server.kea.logged("SUBNET_DELEG_RELEASED")) == 2


@pytest.mark.parametrize(
    ("asked", "given"), [(None, LEASE), (1, SHORTEST), (0, SHORTEST), (90, 90), (0xFFFFFFFF, 0xFFFFFFFF)]
)
def test_the_lease_time_asked(server: Server, asked: int | None, given: int) -> None:
    extra = [] if asked is None else [(Code.LEASE_TIME, asked.to_bytes(4, "big"))]
    (offer,) = server.hear(message(Type.DISCOVER, Allocation((Request(24),)), extra=extra))
    (ack,) = server.hear(message(Type.REQUEST, information(*offer.allocation.blocks), server=SERVER))
    assert (offer.lease_time, ack.lease_time) == (given, given)
    (until,) = server.database.sql("select expires = 'infinity' from deleg.blocks where state = 'leased'")[0]
    assert until == (given == 0xFFFFFFFF)


@pytest.mark.parametrize(("asked", "given"), [(0, [25]), (1, [20]), (8, [20]), (27, [27]), (28, []), (30, [])])
def test_the_sizes_given(database: Database, asked: int, given: list[int]) -> None:
    """Prefix 0 leaves it to the server; larger than the largest is that; smaller than the smallest is nothing."""
    database.pool("10.0.0.0/8")
    server = Server(database, limits=Limits(default=25, largest=20, smallest=27))
    answers = server.hear(message(Type.DISCOVER, Allocation((Request(asked),))))
    assert [block.network.prefixlen for answer in answers for block in answer.allocation.blocks] == given
    assert len(server.kea.logged("SUBNET_DELEG_NOT_OFFERED")) == (not given)


def test_nothing_left_is_silence(database: Database) -> None:
    database.pool("10.0.0.0/25")
    server = Server(database)
    assert [str(block.network) for block in server.offer(24)] == ["10.0.0.0/25"]
    assert server.hear(message(Type.DISCOVER, Allocation((Request(24),)), client=2)) == []
    assert server.count() == {"answered": 1, "silent": 1}


def test_200_subnet_requests(server: Server) -> None:
    """As many as fit the answer to a client that takes 576 octets; a larger one gets more."""
    query = message(Type.DISCOVER, Allocation((Request(28),) * 200))
    (offer,) = server.hear(query)
    small = len(offer.allocation.blocks)
    assert 30 <= small < 45
    assert len(offer.encode()) <= 576 - 28
    room = [(Code.MAXIMUM_SIZE, (1500).to_bytes(2, "big"))]
    (offer,) = server.hear(message(Type.DISCOVER, Allocation((Request(28),) * 200), client=2, extra=room))
    assert small * 2 < len(offer.allocation.blocks) < 200
    assert len(offer.encode()) <= 1500 - 28


def test_a_retransmission_by_another_relay_is_answered_in_the_room_that_this_leaves(server: Server) -> None:
    wishes = Allocation((Request(30),) * 40)
    (offer,) = server.hear(message(Type.DISCOVER, wishes))
    (again,) = server.hear(
        message(Type.DISCOVER, wishes, extra=[(Code.RELAY_INFORMATION, bytes((1, 200)) + bytes(200))])
    )
    assert len(again.encode()) <= 576 - 28
    assert 0 < len(again.allocation.blocks) < len(offer.allocation.blocks)
    assert again.allocation.blocks == offer.allocation.blocks[: len(again.allocation.blocks)]


def test_what_is_named_twice_is_renewed_once(server: Server) -> None:
    (one,) = server.lease(24)
    (other,) = server.lease(26, xid=2)
    used = (one.using(7, 5, 0), other.using(3, 2, 0), one.using(9, 9, 0))
    (renewal,) = server.hear(message(Type.REQUEST, information(*used), xid=3))
    assert renewal.allocation.blocks == (one, other)
    assert server.database.sql("select in_use from deleg.usage order by in_use") == [(2,), (5,)]


def test_a_listing_of_100_blocks_in_pages(server: Server) -> None:
    held: list[Block] = []
    for xid in range(100):
        held += server.lease(28, xid=xid)
    listed: list[Block] = []
    last: tuple[Information, ...] = ()
    pages = 0
    while True:
        (answer,) = server.hear(message(Type.DISCOVER, Allocation((Request(0, information=True),), last), xid=999))
        assert answer.type is Type.OFFER
        assert len(answer.encode()) <= 576 - 28
        found = answer.allocation.information
        assert all(info.client for info in found)
        assert not any(info.server for info in found[:-1])
        assert answer.lease_time in range(LEASE - 60, LEASE + 1)
        listed += answer.allocation.blocks
        pages += 1
        if not found[-1].server:
            break
        last = found[-1:]
    assert pages == 3
    assert listed == sorted(held, key=lambda block: block.network)


def test_a_listing_has_no_lease_that_has_ended(server: Server) -> None:
    """The sweeper may come to it a moment later."""
    (ended,) = server.lease(24)
    (held,) = server.lease(26, xid=2)
    server.database.sql("update deleg.blocks set expires = now(), due = now() where prefix = %s", ended.network)
    (listing,) = server.hear(message(Type.DISCOVER, Allocation((Request(0, information=True),)), xid=3))
    assert listing.allocation.blocks == (held,)


def test_a_listing_of_nothing_is_silence(server: Server) -> None:
    assert server.hear(message(Type.DISCOVER, Allocation((Request(0, information=True),)))) == []
    assert server.count() == {"silent": 1}


def test_what_upstreams_give_as_it_is_needed_is_not_scarce(database: Database) -> None:
    server = Server(database, policy="proportional")
    Upstreams(server.ledger).acknowledged(
        0, int(FOREIGN), LEASE, 3600, 6300, [(IPv4Network("10.0.0.0/24"), False)], None
    )
    server.views.read(server.ledger)
    (block,) = server.lease(24)
    server.views.read(server.ledger)

    def renewed(xid: int) -> Block:
        (ack,) = server.hear(message(Type.REQUEST, information(block.using(20, 10)), xid=xid))
        assert ack.type is Type.ACK
        return ack.allocation.blocks[0]

    assert not renewed(2).deprecate  # though nothing is free
    server.shortages.refused = True
    assert renewed(3).deprecate


@pytest.mark.parametrize(("ours", "said"), [(None, 900), (7200, 900), (600, 600)])
def test_what_upstreams_suggest_for_hosts_is_passed_on(database: Database, ours: int | None, said: int) -> None:
    """RFC 6656 section 3.4; of space that nobody leased to us, and in a listing, it is as before."""
    server = Server(database, times=Times(suggested=ours))
    leased = [(IPv4Network("10.0.0.0/24"), False)]
    Upstreams(server.ledger).acknowledged(0, int(FOREIGN), LEASE, 3600, 6300, leased, None, host_lease_time=900)
    database.pool("10.1.0.0/25")
    server.views.read(server.ledger)
    own = () if ours is None else (ours,)
    for xid, (length, expected) in enumerate(((24, (said,)), (25, own)), 1):
        (offer,) = server.hear(message(Type.DISCOVER, Allocation((Request(length),)), xid=xid))
        given = information(*offer.allocation.blocks)
        (ack,) = server.hear(message(Type.REQUEST, given, xid=xid, server=SERVER))
        (renewed,) = server.hear(message(Type.REQUEST, given, xid=xid + 10))
        assert [reply.allocation.lease_times for reply in (offer, ack, renewed)] == [expected] * 3
    (listing,) = server.hear(message(Type.DISCOVER, Allocation((Request(0, information=True),)), xid=20))
    assert (len(listing.allocation.blocks), listing.allocation.lease_times) == (2, ())


def test_deprecated_in_renewal_and_listing(server: Server) -> None:
    (block,) = server.lease(24)
    server.database.sql("select deleg.lease_deprecate('default', %s)", block.network)
    (renewal,) = server.hear(message(Type.REQUEST, information(block), xid=2))
    (listing,) = server.hear(message(Type.DISCOVER, Allocation((Request(0, information=True),)), xid=3))
    ending = Block(block.network, deprecate=True)
    assert renewal.allocation.blocks == listing.allocation.blocks == (ending,)
    assert server.kea.logged("SUBNET_DELEG_RENEWED")[0].endswith("to be given up")


# ------------------------------------------------------------------------------------------------ the ledger fails


def test_an_operation_that_fails_alone_takes_none_with_it(server: Server) -> None:
    """A ledger changed by hand: what it then refuses is logged as an error and met with silence."""
    (block,) = server.offer(24, client=1)
    server.database.sql("alter table deleg.lessees add constraint odd check (identity <> '\\x01020000000002')")
    queries = [
        message(Type.REQUEST, information(block), client=1, server=SERVER),
        message(Type.DISCOVER, Allocation((Request(24),)), client=2),
        message(Type.DISCOVER, Allocation((Request(24),)), client=3),
    ]
    server.count()
    answers = server.hear(*queries)
    server.database.sql("alter table deleg.lessees drop constraint odd")
    assert {(answer.type, answer.chaddr[-1]) for answer in answers} == {(Type.ACK, 1), (Type.OFFER, 3)}
    assert server.count() == {"answered": 2, "conflicts": 1}
    (line,) = server.kea.logged("SUBNET_DELEG_OPERATION_FAILED")
    assert "01:02:00:00:00:00:02" in line
    assert "odd" in line


def test_a_ledger_that_is_gone(server: Server) -> None:
    server.ledger.close()
    with pytest.raises(LedgerUnavailable):
        server.hear(message(Type.DISCOVER, Allocation((Request(24),))))


def test_the_log_is_quiet_without_debugging(server: Server) -> None:
    server.kea.debug = False
    server.offer(24)
    server.hear(b"nonsense")
    assert server.kea.lines == []


def test_no_message_no_transaction() -> None:
    class Untouchable:
        def apply(self, operations: Sequence[Operation]) -> list[Outcome | OperationFailed]:
            raise AssertionError(f"there is nothing to apply: {operations}")

        def holdings(self, asked: Sequence[tuple[int, bytes]]) -> list[tuple[int, int]]:
            raise AssertionError(f"nobody asks for anything: {asked}")

    role = Delegating(terms(), surroundings(Untouchable(), LedgerViews(), FakeKea(), {}))
    assert role.handle([]) == []
    assert role.handle([inbound(b"nonsense")]) == []


# ------------------------------------------------------------------------------------------------ who is not served


DISCOVER = message(Type.DISCOVER, Allocation((Request(24),)))


def refusals(server: Server) -> list[tuple[str, str]]:
    """Return kind and reason of the events that changed no block."""
    return server.database.sql("select kind, reason from deleg.events where state is null and was is null order by seq")


def test_the_allow_list(database: Database) -> None:
    database.pool("10.0.0.0/8")
    server = Server(database, allow=[Admission(client_id=b"\1\2\0\0\0\0\2")])
    assert server.hear(DISCOVER, DISCOVER) == []
    assert server.count() == {"not-admitted": 2, "silent": 2}
    assert refusals(server) == [("not-admitted", "not on the allow-list")]
    assert len(server.offer(24, client=2)) == 1


def test_the_allow_list_by_where_the_relay_is(database: Database) -> None:
    database.pool("10.0.0.0/8")
    assert Server(database, allow=[Admission(network=IPv4Network("192.0.2.0/24"))]).hear(DISCOVER) == []
    assert len(Server(database, allow=[Admission(network=IPv4Network(f"{RELAY}/32"))]).offer(24)) == 1


def test_more_messages_than_one_client_may_send(database: Database) -> None:
    database.pool("10.0.0.0/8")
    server = Server(database, rate=1.0)
    assert len(server.hear(*[DISCOVER] * 20)) == 5
    assert server.count() == {"answered": 5, "limited": 15, "silent": 15}
    assert refusals(server) == [("limited", "asks more often than one client may")]
    assert len(server.offer(24, client=2)) == 1  # others are served
    server.clock.now += 1.0
    assert len(server.hear(DISCOVER, DISCOVER)) == 1


def test_a_client_that_has_a_key(database: Database) -> None:
    database.pool("10.0.0.0/8")
    key = AuthenticationKey(7, b"sixteen octets!!", b"\1\2\0\0\0\0\1")
    server = Server(database, keys=[key])
    assert server.hear(DISCOVER) == []
    assert server.count() == {"not-authentic": 1, "silent": 1}
    assert refusals(server) == [("not-authentic", "no authentication, though the client has a key")]
    mine = Key(7, key.key)
    (offer,) = server.hear(signed(DISCOVER, mine))
    request = message(Type.REQUEST, information(*offer.allocation.blocks), server=SERVER)
    assert server.hear(signed(request, Key(7, b"another 16 octet"))) == []
    (ack,) = server.hear(signed(request, mine))
    assert ack.type is Type.ACK
    assert check_delayed(ack, ack.encode(), mine) > 0
    assert len(server.offer(24, client=2)) == 1


# ------------------------------------------------------------------------------------------------ limits, pools, spaces


def test_a_lessee_that_holds_all_it_may(database: Database) -> None:
    database.pool("10.0.0.0/8")
    server = Server(database, max_blocks=2, max_addresses=512)
    server.lease(24, xid=1)
    assert server.hear(message(Type.DISCOVER, Allocation((Request(23),)), xid=2)) == []
    server.lease(24, xid=3)
    server.count()
    assert server.hear(message(Type.DISCOVER, Allocation((Request(30),)), xid=4)) == []
    assert server.count() == {"limited": 1}
    assert refusals(server) == [("limited", "holds as much as one lessee may")]
    assert len(server.offer(24, client=2)) == 1
    assert not server.shortages


def test_nothing_left_is_a_shortage_of_the_pools_asked(database: Database) -> None:
    pool = database.pool("10.0.0.0/24", name="default")
    server = Server(database)
    server.lease(24)
    assert server.hear(message(Type.DISCOVER, Allocation((Request(24), Request(26))), client=2)) == []
    assert server.shortages.take() == [Shortage(0, (pool,), 256 + 64)]
    assert server.hear(message(Type.DISCOVER, Allocation((Request(25),)), client=3)) == []
    assert server.shortages.take() == [Shortage(0, (pool,), 256 + 64 + 128)]  # by both


@pytest.mark.parametrize(
    ("own", "served"),
    [(set(), True), ({"lab"}, True), ({None}, False), ({"default"}, False), ({"lab", None}, False)],
)
def test_what_our_own_networks_wait_for_is_not_given_away(
    database: Database, own: set[str | None], served: bool
) -> None:
    """Of the pools in question, and of the space that networks are in."""
    with database.admin() as admin:
        admin.space_add("blue")
        admin.space_select("blue", Selector(0, identity=b"\1\2\0\0\0\0\2"))
    blue = database.sql("select space from deleg.spaces where name = 'blue'")[0][0]
    for space in (0, blue):
        database.pool("10.0.0.0/24", space=space, name="default")
    server = Server(database)
    server.shortages.own = frozenset(own)
    assert bool(server.hear(DISCOVER)) is served
    assert refusals(server) == ([] if served else [("refused", "this domain lacks space itself")])
    assert len(server.offer(26, client=2)) == 1  # of the other space


def test_who_is_served_at_last_lacks_nothing(database: Database) -> None:
    database.pool("10.0.0.0/24", name="default")
    server = Server(database)
    server.lease(24)
    assert server.hear(message(Type.DISCOVER, Allocation((Request(26),)), client=2)) == []
    assert server.shortages.remembered
    database.pool("10.1.0.0/24", name="default")
    server.offer(26, client=2)
    assert not server.shortages.remembered


def test_others_are_asked_for_what_would_help_alone(database: Database) -> None:
    """What they give is of the default space and without tags."""
    with database.admin() as admin:
        admin.space_add("blue")
        admin.space_select("blue", Selector(0, identity=b"\1\2\0\0\0\0\2"))
    database.pool("10.0.0.0/24", name="default")
    database.pool("10.1.0.0/24", name="gold", tags=["gold"])
    server = Server(database)
    server.lease(24)
    server.hear(message(Type.DISCOVER, Allocation((Request(26),)), client=2))  # of the other space, which has no pool
    for client, names in ((3, ("gold",)), (4, ("gold",)), (5, ()), (6, ("?",))):
        server.hear(message(Type.DISCOVER, Allocation((Request(24 + client % 3),), names=names), client=client))
    assert server.shortages.lacking() == (24, 26)  # clients 6 and 5; of the pool with a tag, 3 had all and 4 nothing


def test_of_several_requests_each_is_decided_as_if_the_ones_before_were_leased(database: Database) -> None:
    """Else a newcomer gets the last of scarce space by asking four times in one message."""
    database.pool("10.0.0.0/20")
    server = Server(database, policy="proportional")
    for client in range(2, 14):
        (block,) = server.lease(24, client=client)
        server.hear(message(Type.REQUEST, information(block.using(200, 200, 0)), client=client, xid=2))
    server.views.read(server.ledger)
    (answer,) = server.hear(message(Type.DISCOVER, Allocation((Request(24),) * 4)))
    lengths = [block.network.prefixlen for block in answer.allocation.blocks]
    assert lengths[0] == 24
    assert sum(1 << 32 - length for length in lengths) <= 512  # half of what is free
    assert len(lengths) == 4


def test_pools_by_subnet_name(database: Database) -> None:
    database.pool("10.0.0.0/16", name="default")
    database.pool("10.1.0.0/16", name="sales", tags=["sales"], default_length=26, largest_length=25, smallest_length=28)
    server = Server(database)

    def ask(length: int, name: str | None, client: int) -> list[str]:
        allocation = Allocation((Request(length),), names=() if name is None else (name,))
        answers = server.hear(message(Type.DISCOVER, allocation, client=client))
        return [str(block.network) for answer in answers for block in answer.allocation.blocks]

    assert ask(0, None, 1) == ["10.0.0.0/24"]
    assert ask(0, "sales", 2) == ["10.1.0.0/26"]
    assert ask(16, "sales", 3) == ["10.1.0.128/25"]  # the largest of this pool
    assert ask(29, "sales", 4) == []
    assert ask(24, "?", 5) == ["10.0.1.0/24"]


def test_a_space_by_its_relay(database: Database) -> None:
    with database.admin() as admin:
        admin.space_add("blue")
        admin.space_select("blue", Selector(0, network=IPv4Network(f"{RELAY}/32")))
    (space,) = database.sql("select space from deleg.spaces where name = 'blue'")[0]
    server = Server(database)
    database.pool("10.0.0.0/24", name="default")
    server.views.read(server.ledger)
    assert server.hear(DISCOVER) == []  # space 0 has some, blue has none
    assert refusals(server) == [("refused", "no pool serves this request")]
    database.pool("10.0.0.0/24", space=space, name="default")
    server.views.read(server.ledger)
    (block,) = server.lease(24)
    assert database.sql("select space, prefix::text from deleg.blocks where state = 'leased'") == [
        (space, str(block.network))
    ]
    assert database.violations() == []


def test_who_renews_past_its_relay_is_found_in_its_space(database: Database) -> None:
    """RFC 2131 4.3.2, 4.4.4: renewing and releasing clients send to us alone, and nobody says where they are."""
    with database.admin() as admin:
        admin.space_add("blue")
        admin.space_select("blue", Selector(0, network=IPv4Network(f"{RELAY}/32")))
    for (space,) in database.sql("select space from deleg.spaces"):
        database.pool("10.0.0.0/16", space=space, name="default")
    server = Server(database)

    def direct(kind: Type, block: Block, client: int) -> list[Message]:
        named = SERVER if kind is Type.RELEASE else None
        said = message(kind, information(block), client=client, xid=9, server=named)
        own = IPv4Address("192.0.2.77")
        packet = inbound(replace(said, giaddr=ZERO, hops=0, ciaddr=own))._replace(source=int(own), source_port=68)
        answers = server.role.handle([packet])
        assert {(answer.destination, answer.destination_port) for answer in answers} <= {(int(own), 68)}
        return [decode(answer.data) for answer in answers]

    (block,) = server.lease(24)
    (ack,) = direct(Type.REQUEST, block, 1)
    assert (ack.type, ack.allocation.blocks) == (Type.ACK, (block,))
    assert direct(Type.REQUEST, block, 2) == []  # which has nothing anywhere
    # Who holds something in the default space as well is taken to be there.
    (elsewhere,) = server.lease(24, client=3)
    (here,) = lease(database.ledger(), LedgerClient.number(3), 1, 25)
    assert direct(Type.REQUEST, elsewhere, 3) == []
    (ack,) = direct(Type.REQUEST, Block(IPv4Network(here)), 3)
    assert [str(renewed.network) for renewed in ack.allocation.blocks] == [here]
    assert direct(Type.RELEASE, block, 1) == []
    released = "select state from deleg.blocks join deleg.spaces using (space) where name = 'blue' and prefix = %s"
    assert database.sql(released, block.network) == [("quarantined",)]


@pytest.mark.parametrize(
    ("named", "said"), [(b"\0blue", bytes((151, 5)) + b"\0blue"), (b"\0red", None), (b"\xff", None)]
)
def test_a_vpn_that_is_not_its_clients(database: Database, named: bytes, said: bytes | None) -> None:
    """RFC 6607 7.1: what is not of the VPN that the relay named does not say so."""
    with database.admin() as admin:
        for name in ("blue", "red"):
            admin.space_add(name)
            admin.space_select(name, Selector(0, vss=name))
        admin.space_select("blue", Selector(0, identity=b"\1\2\0\0\0\0\1"))
    for (space,) in database.sql("select space from deleg.spaces"):
        database.pool("10.0.0.0/24", space=space, name="default")
    server = Server(database)
    relayed = bytes((151, len(named))) + named + bytes((152, 0))
    (offer,) = server.hear(
        message(Type.DISCOVER, Allocation((Request(24),)), extra=[(Code.RELAY_INFORMATION, relayed)])
    )
    assert database.sql("select name from deleg.blocks join deleg.spaces using (space) where state = 'offered'") == [
        ("blue",)
    ]
    assert offer.option(Code.RELAY_INFORMATION) == said


@pytest.mark.parametrize(("name", "shown"), [(b"\0red", "red"), (b"\0b\x1b[31m\nINFO", "'b\\x1b[31m\\nINFO'")])
def test_the_reason_names_a_vpn_as_one_printable_line(server: Server, name: bytes, shown: str) -> None:
    assert server.hear(message(Type.DISCOVER, Allocation((Request(24),)), extra=[(Code.VSS, name)])) == []
    assert refusals(server) == [("not-admitted", f"no space is selected by the VPN {shown}")]


def test_a_pool_whose_policy_this_server_lacks(database: Database) -> None:
    database.pool("10.0.0.0/24", policy="elsewhere")
    assert len(Server(database).offer(26)) == 1


# ------------------------------------------------------------------------------------------------ what is decided by


class Witness:
    """Decides as best fit does, and keeps what it was told of each lessee."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Holding]] = []

    def grant(self, wish: Wish, lessee: Lessee, view: View, limits: Limits) -> Grant | Refusal:
        self.seen.append(("grant", lessee.holding))
        return BestFit().grant(wish, lessee, view, limits)

    def renew(self, reported: Reported, lessee: Lessee, view: View, limits: Limits) -> RenewalVerdict:
        self.seen.append(("renew", lessee.holding))
        return BestFit().renew(reported, lessee, view, limits)

    def push(self, lessee: Lessee, granted: int, view: View, limits: Limits) -> bool:
        self.seen.append((f"push {granted}", lessee.holding))
        return BestFit().push(lessee, granted, view, limits)


class Asked:
    """A ledger, and whose holdings it was asked for."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.apply = ledger.apply
        self.asked: list[list[tuple[int, bytes]]] = []

    def holdings(self, asked: Sequence[tuple[int, bytes]]) -> list[tuple[int, int]]:
        self.asked.append(list(asked))
        return self.ledger.holdings(asked)


def test_what_who_asks_holds_is_of_this_moment(database: Database) -> None:
    """Read once a batch, for those alone whose messages are decided by it; the totals may be old."""
    database.pool("10.0.0.0/8")
    witness, ledger, views = Witness(), Asked(database.ledger()), LedgerViews()
    views.read(ledger.ledger)
    policies = {"best-fit": witness}
    role = Delegating(terms(), surroundings(ledger, views, FakeKea(), {int(SERVER): 2}, policies=policies))

    def hear(*messages: Message | bytes) -> list[Message]:
        witness.seen.clear()
        ledger.asked.clear()
        return [decode(answer.data) for answer in role.handle([inbound(data) for data in messages])]

    (offer,) = hear(message(Type.DISCOVER, Allocation((Request(24),)), client=1))
    (block,) = offer.allocation.blocks
    assert witness.seen == [("grant", Holding())]
    (_,) = hear(message(Type.REQUEST, information(block), client=1, server=SERVER))
    assert witness.seen == [("push 256", Holding())]
    (_,) = hear(message(Type.REQUEST, information(block.using(100, 70, 3)), client=1, xid=2))
    assert witness.seen == [("renew", Holding(256, 0))]
    identities = {client: b"\1\2" + client.to_bytes(5, "big") for client in (1, 2)}
    hear(
        message(Type.DISCOVER, Allocation((Request(0, information=True),)), client=1, xid=3),
        message(Type.DISCOVER, Allocation((Request(26),)), client=2, xid=4),
        b"nonsense",
        message(Type.DISCOVER, Allocation((Request(25), Request(26))), client=1, xid=5),
        message(Type.RELEASE, information(block), client=2, xid=6, server=SERVER),
    )
    assert ledger.asked == [[(0, identities[2]), (0, identities[1])]]
    # Of two requests in one message, the second as if what the first gets were held.
    assert witness.seen == [("grant", Holding()), ("grant", Holding(256, 70)), ("grant", Holding(256 + 128, 70))]


class Impartial(Witness):
    """Promises that it does not look at who asks."""

    by_holding = True


class Heir(Impartial):
    """Inherits a promise that it did not give."""


@pytest.mark.parametrize(("policy", "each"), [(Impartial, 1), (Heir, 2), (Witness, 2)])
def test_who_comes_with_the_same_is_decided_alike_at_once(database: Database, policy: type[Witness], each: int) -> None:
    """By a policy that promises not to look at who asks; as long as nothing that it decides by has changed."""
    database.pool("10.0.0.0/8")
    witness = policy()
    server = Server(database, policies={"best-fit": witness})

    def asked(*clients: int, size: int = 26) -> list[tuple[str, Holding]]:
        witness.seen.clear()
        for client in clients:
            server.lease(size, client=client, xid=next(xids))
        return witness.seen

    xids = iter(range(1, 100))
    new, small, both = Holding(), Holding(64), Holding(64 + 16)
    assert Counter(asked(1, 2)) == Counter({("grant", new): each, ("push 64", new): each})
    known = 2 - each  # how often what was decided before is asked anew, less than a policy without the promise
    assert Counter(asked(3)) == Counter({("grant", new): 1 - known, ("push 64", new): 1 - known})
    assert Counter(asked(4, size=28)) == Counter({("grant", new): 1, ("push 16", new): 1})
    assert Counter(asked(1, 2, size=28)) == Counter({("grant", small): each, ("push 16", small): each})
    server.views.read(server.ledger)
    assert Counter(asked(5, 6)) == Counter({("grant", new): each, ("push 64", new): each})
    assert Counter(asked(1, size=28)) == Counter({("grant", both): 1, ("push 16", both): 1})


def test_nobody_decides_by_figures(database: Database) -> None:
    database.pool("10.0.0.0/8")
    ledger, views = Asked(database.ledger()), LedgerViews(wanted=lambda _: False)
    views.read(ledger.ledger)
    role = Delegating(terms(), surroundings(ledger, views, FakeKea(), {int(SERVER): 2}))
    assert len(role.handle([inbound(message(Type.DISCOVER, Allocation((Request(24),))))])) == 1
    assert ledger.asked == []


def test_offers_do_not_wait_for_the_disk_with_the_rest_of_a_batch(server: Server) -> None:
    """They are committed and sent first; not where one client asks for both, whose messages stay in order."""
    (block,) = server.offer(24, client=1)
    request = message(Type.REQUEST, information(block), client=1, server=SERVER)
    discover = message(Type.DISCOVER, Allocation((Request(24),)), client=2)
    sent: list[list[Type]] = []
    server.role.serve(
        [inbound(request), inbound(discover)], lambda some: sent.append([decode(one.data).type for one in some])
    )
    assert sent == [[Type.OFFER], [Type.ACK]]
    sent.clear()
    release = message(Type.RELEASE, information(block), client=1, server=SERVER)
    again = message(Type.DISCOVER, Allocation((Request(24),)), client=1, xid=9)
    server.role.serve(
        [inbound(release), inbound(again)], lambda some: sent.append([decode(one.data).type for one in some])
    )
    assert sent == [[Type.OFFER]]
    assert server.database.violations() == []
