# SPDX-License-Identifier: MPL-2.0
"""The requesting role against the delegating role, each over a ledger of its own; every message passes the tests' own decoder and judge."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from ci.labs.cluster import Cluster
from kea_subnet_deleg.ledger.upstreams import Upstreams
from kea_subnet_deleg.roles.authentication import AuthenticationKey, Authenticator, ReplayCounter, ServerKey
from kea_subnet_deleg.roles.delegating import Delegating
from kea_subnet_deleg.roles.packets import Inbound, Outbound
from kea_subnet_deleg.roles.requesting import Path, Requesting, RequestingTerms, Upstream
from kea_subnet_deleg.roles.shortages import Shortages
from kea_subnet_deleg.roles.takeback import Takeback, TakebackTerms
from kea_subnet_deleg.runtime.journal import KeaJournal
from kea_subnet_deleg.runtime.views import LedgerViews
from tests.client.codec import Message, Type, decode
from tests.client.verdict import judge, judge_forcerenew
from tests.conftest import TEMPLATE, Database
from tests.unit.fakes import FakeKea, surroundings, terms

PARENT, CHILD = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
LEASE = 7200


class Chain:
    """A domain that delegates, and one below it; what either sends arrives. With a key, all of it is signed."""

    def __init__(self, above: Database, below: Database, key: bytes | None) -> None:
        self.above, self.below = above, below
        above.pool("10.64.0.0/16")
        self.parent_kea, self.child_kea = FakeKea(), FakeKea()
        self.parent_ledger = above.ledger()
        self.parent_ledger.server_seen(int(PARENT), "one", "0")
        self.views = LedgerViews()
        self.views.read(self.parent_ledger)
        own = {int(PARENT): 2}
        self.upstreams = Upstreams(below.ledger())
        self.key = None if key is None else ServerKey(7, key)
        keys = [] if key is None else [AuthenticationKey(7, key, self.upstreams.identity())]
        self.parent = Delegating(
            terms(LEASE), surroundings(self.parent_ledger, self.views, self.parent_kea, own, keys=keys)
        )
        self.takeback = Takeback(
            TakebackTerms(3, 4.0, 0, False, False),
            Shortages(),
            Authenticator(keys, lambda: time.time_ns() // 1000),
            KeaJournal(self.parent_kea),
            own,
            time.monotonic,
        )
        self.obtained = 0
        self.now = 1000.0
        self.heard: list[Message] = []
        self.child = self.start()

    def start(self) -> Requesting:
        """A requesting server that knows nothing but its ledger."""
        return Requesting(
            RequestingTerms((Upstream(int(PARENT), key=self.key),), None, 0.5, 0, 60.0, None),
            self.upstreams,
            KeaJournal(self.child_kea),
            lambda upstream: Path(int(CHILD), 2, upstream.address or 0),
            lambda: self.now,
            random.Random(f"start at {self.now}"),
            "one",
            ReplayCounter(),
            self._obtained,
        )

    def _obtained(self) -> None:
        self.obtained += 1

    def carry(self, sent: list[Outbound]) -> None:
        """Carry what the child sends to the parent, the answers back, and so on until both are silent."""
        while sent:
            following: list[Outbound] = []
            for packet in sent:
                query = decode(packet.data)
                self.heard.append(query)
                for answer in self.parent.handle([arriving(packet)]):
                    reply = decode(answer.data)
                    judge(query, reply, len(answer.data), (PARENT, 67))
                    self.heard.append(reply)
                    following += self.child.take(arriving(answer))
            sent = following

    def want(self, *lengths: int) -> None:
        self.child.want(lengths)
        self.turn()
        self.child.want(())

    def turn(self) -> None:
        self.now += 1.0
        self.child.changed()  # as the agent says that LISTENs
        self.carry(self.child.turn())

    def renew_now(self) -> None:
        self.below.sql("update deleg.origins set next_try = now() where kind = 'upstream'")
        self.turn()

    def held(self) -> list[str]:
        """What the child has of others, by its own ledger."""
        return [str(lease.prefix) for lease in self.upstreams.leased()]

    def leased(self) -> list[str]:
        """What the parent has leased."""
        return [prefix for prefix, state in self.above.blocks().items() if state == "leased"]

    def said(self) -> list[Type]:
        """The types of all messages since the last call."""
        types = [message.type for message in self.heard]
        self.heard.clear()
        return types


def arriving(packet: Outbound) -> Inbound:
    to = packet.destination
    return Inbound(packet.data, 2, packet.source, 67, to, packet.destination_port, to, time.monotonic())


@pytest.fixture(params=[None, bytes(range(100, 116))], ids=["", "by a key"])
def chain(database: Database, cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Chain]:
    cluster.execute("postgres", f"create database below template {TEMPLATE}")
    try:
        with Database(cluster, "below") as below:
            chain = Chain(database, below, request.param)
            yield chain
            assert database.violations() == []
            assert below.violations() == []
            assert chain.child_kea.counters["malformed"] == 0
    finally:
        cluster.execute("postgres", "drop database below with (force)")


def test_a_block_is_obtained_and_is_an_origin(chain: Chain) -> None:
    chain.want(24)
    assert chain.said() == [Type.DISCOVER, Type.OFFER, Type.REQUEST, Type.ACK]
    assert chain.held() == chain.leased() == ["10.64.0.0/24"]
    assert chain.below.blocks() == {"10.64.0.0/24": "free"}
    assert chain.obtained == 1


def test_several_sizes_at_once(chain: Chain) -> None:
    chain.want(24, 20, 26)
    assert chain.said() == [Type.DISCOVER, Type.OFFER, Type.REQUEST, Type.ACK]
    assert sorted(IPv4Network(text).prefixlen for text in chain.held()) == [20, 24, 26]
    assert chain.held() == chain.leased()


def test_it_is_renewed_with_its_usage(chain: Chain) -> None:
    chain.want(24)
    chain.renew_now()
    assert chain.said()[-2:] == [Type.REQUEST, Type.ACK]
    ((high, now, unusable),) = chain.above.sql("select high_water, in_use, unusable from deleg.usage")
    assert (high, now, unusable) == (0, 0, 0)
    assert chain.child_kea.counters["answers-taken"] == 3


def test_forcerenew_takes_it_back(chain: Chain) -> None:
    chain.want(24)
    chain.above.sql("select deleg.lease_takeback('default', '10.64.0.0/24')")
    (demand,) = chain.takeback.turn(chain.parent_ledger)
    message = decode(demand.data)
    judge_forcerenew(message, (PARENT, 67), message.chaddr, bytes(chain.upstreams.identity()))
    chain.said()
    chain.carry(chain.child.take(arriving(demand)))
    # Flag d: nothing is in use, so it goes back in the same turn.
    chain.turn()
    assert chain.said() == [Type.REQUEST, Type.ACK, Type.RELEASE]
    assert chain.held() == chain.leased() == []
    assert chain.child.take(arriving(demand)) == []
    assert chain.child_kea.counters["forcerenew-refused" if chain.key is None else "not-authentic"] == 1
    assert chain.parent_kea.counters["not-authentic"] == 0


def test_a_forged_forcerenew_is_not_heeded(chain: Chain) -> None:
    chain.want(24)
    chain.above.sql("select deleg.lease_takeback('default', '10.64.0.0/24')")
    (demand,) = chain.takeback.turn(chain.parent_ledger)
    forged = demand._replace(data=demand.data[:-20] + bytes(20))
    assert chain.child.take(arriving(forged)) == []
    assert chain.held() == ["10.64.0.0/24"]


def test_a_refused_renewal_stops_it(chain: Chain) -> None:
    chain.want(24)
    chain.above.sql("select deleg._quarantine(0, '10.64.0.0/24', 30, 'by the test')")
    chain.renew_now()
    assert chain.said()[-2:] == [Type.REQUEST, Type.NAK]
    assert chain.below.sql("select closing, expires <= now() from deleg.origins") == [(True, True)]
    assert chain.child_kea.logged("SUBNET_DELEG_ORIGIN_LOST") != []


def test_one_of_two_is_refused(chain: Chain) -> None:
    """An ACK can't say so; what it leaves out is asked for alone."""
    chain.want(24, 25)
    chain.above.sql("select deleg._quarantine(0, '10.64.1.0/25', 30, 'by the test')")
    chain.said()
    chain.renew_now()
    assert chain.said() == [Type.REQUEST, Type.ACK, Type.REQUEST, Type.NAK]
    assert [line.split(":")[0] for line in chain.child_kea.logged("SUBNET_DELEG_ORIGIN_LOST")] == ["10.64.1.0/25"]


def test_a_ledger_without_memory_learns_what_it_holds(chain: Chain) -> None:
    chain.want(24, 26)
    held = chain.held()
    identity = chain.upstreams.identity()
    chain.below.sql("truncate deleg.blocks, deleg.origins")
    assert chain.held() == []
    chain.child = chain.start()
    chain.said()
    chain.carry(chain.child.start())
    assert chain.said() == [Type.DISCOVER, Type.OFFER]
    assert chain.held() == held
    assert chain.upstreams.identity() == identity
    chain.turn()
    assert chain.said() == [Type.REQUEST, Type.ACK]  # due at once: the list does not say for how long
    assert chain.leased() == held


def test_what_is_unused_goes_back(chain: Chain) -> None:
    chain.want(24)
    chain.below.sql("update deleg.blocks set since = now() - interval '61 seconds'")
    chain.turn()
    assert chain.said()[-1] is Type.RELEASE
    assert chain.held() == chain.leased() == []


def test_the_parent_has_nothing(chain: Chain) -> None:
    chain.want(16)
    chain.said()
    chain.want(24)
    assert chain.said() == [Type.DISCOVER]
    assert chain.held() == ["10.64.0.0/16"]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_network_does_nothing_is_held_that_is_not_leased(chain: Chain, seed: int) -> None:
    """Messages are lost, doubled and overtake each other, and the child starts anew; it never has what the parent has not leased to it."""
    chance = random.Random(seed)
    under_way: list[tuple[bool, Outbound]] = []  # whether to the parent
    for step in range(400):
        chain.now += chance.uniform(0.0, 1.0)
        if chance.random() < 0.1:
            chain.child.want([chance.randint(20, 28) for _ in range(chance.randint(0, 2))])
        if chance.random() < 0.2:
            chain.below.sql("update deleg.origins set next_try = now() where kind = 'upstream'")
        if chance.random() < 0.05:
            chain.below.sql("update deleg.blocks set since = now() - interval '61 seconds' where state = 'free'")
        if step % 150 == 149:
            chain.child = chain.start()  # which takes longer than a packet lives
            under_way = [(True, packet) for packet in chain.child.start()]
        under_way += [(True, packet) for packet in chain.child.turn()]
        chance.shuffle(under_way)
        for to_parent, packet in [under_way.pop() for _ in range(chance.randint(0, len(under_way)))]:
            if chance.random() < 0.2:
                continue
            if chance.random() < 0.2:
                under_way.append((to_parent, packet))
            if to_parent:
                under_way += [(False, answer) for answer in chain.parent.handle([arriving(packet)])]
            else:
                under_way += [(True, answer) for answer in chain.child.take(arriving(packet))]
            assert set(chain.held()) <= set(chain.leased())
    assert chain.child_kea.counters["answers-taken"] > 10
