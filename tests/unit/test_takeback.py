# SPDX-License-Identifier: MPL-2.0
"""FORCERENEW over a real ledger: to whom, from where, how often, and that its holder can check it."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from kea_subnet_deleg.ledger import Contact, Ledger
from kea_subnet_deleg.roles.authentication import AuthenticationKey, Authenticator
from kea_subnet_deleg.roles.packets import Outbound
from kea_subnet_deleg.roles.shortages import Shortages
from kea_subnet_deleg.roles.takeback import Takeback, TakebackTerms
from kea_subnet_deleg.runtime.journal import KeaJournal
from tests.client.authentication import Key, check_delayed, check_nonce
from tests.client.codec import Code, Message, Type, decode
from tests.conftest import Database
from tests.ledger.scene import SERVER, Client, do, lease
from tests.unit.fakes import FakeKea

NONCE = bytes(range(16))
KEY = AuthenticationKey(7, b"sixteen octets!!", b"\1\2\0\0\0\0\3")
PLACE = int(IPv4Address("10.9.9.9"))
NO_ADDRESS = 0xFFFFFFFF


def contact(relayed: bool, address: int = PLACE, nonce: bytes | None = NONCE) -> Contact:
    return Contact(address, 67 if relayed else 68, relayed, b"\1\2\0\0\0\0\1", nonce)


class Scene:
    """A server's takeback, and its ledger with a pool of 4 blocks."""

    def __init__(self, database: Database, *, on_shortage: bool = True, unauthenticated: bool = False) -> None:
        self.database = database
        self.pool = database.pool("10.64.0.0/24")
        self.ledger: Ledger = database.ledger()
        self.ledger.server_seen(SERVER, "one", "0")
        self.kea, self.shortages, self.own, self.now = FakeKea(), Shortages(), {SERVER: 3}, 1000.0
        terms = TakebackTerms(2, 4.0, 0, on_shortage, unauthenticated)
        authenticator = Authenticator([KEY], lambda: 1)
        self.takeback = Takeback(terms, self.shortages, authenticator, KeaJournal(self.kea), self.own, lambda: self.now)

    def ask_back(self, block: str) -> None:
        assert self.database.sql("select deleg.lease_takeback('default', %s::cidr)", block) == [(True,)]

    def turn(self) -> list[tuple[Outbound, Message]]:
        return [(sent, decode(sent.data)) for sent in self.takeback.turn(self.ledger)]

    def pass_time(self) -> None:
        self.database.sql("update deleg.takebacks set next_at = now()")

    def endings(self) -> list[str]:
        rows = self.database.sql("select reason from deleg.events where kind = 'takeback' order by seq")
        return [reason for (reason,) in rows]


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(database)


@pytest.mark.parametrize("relayed", [True, False])
def test_it_goes_to_where_the_lessee_was_answered(scene: Scene, relayed: bool) -> None:
    client = Client(b"\0router", contact=contact(relayed))
    (block,) = lease(scene.ledger, client, 1, 26)
    assert scene.turn() == []
    scene.ask_back(block)
    ((sent, said),) = scene.turn()
    assert (sent.destination, sent.destination_port, sent.interface, sent.source) == (
        PLACE,
        67 if relayed else 68,
        3,
        SERVER,
    )
    assert sent.hardware == b"\2\0\0\0\0\1"
    assert said.type is Type.FORCERENEW
    assert [str(found.network) for found in said.allocation.blocks] == [block]
    assert said.option(Code.CLIENT_IDENTIFIER) == b"\0router"
    assert said.server == IPv4Address(SERVER)
    assert (int(said.giaddr), int(said.ciaddr)) == ((PLACE, 0) if relayed else (0, PLACE))
    assert check_nonce(said, sent.data, NONCE) > 0
    assert scene.kea.counters == {"forcerenew-sent": 1}
    assert scene.turn() == []  # not again before its time


def test_a_client_without_option_61_gets_none(scene: Scene) -> None:
    client = Client(b"\1\2\0\0\0\0\1", contact=contact(relayed=True))
    scene.ask_back(lease(scene.ledger, client, 1, 26)[0])
    ((_, said),) = scene.turn()
    assert said.option(Code.CLIENT_IDENTIFIER) is None
    assert said.chaddr == b"\2\0\0\0\0\1"


def test_it_is_repeated_with_a_higher_counter_and_given_up(scene: Scene) -> None:
    client = Client(b"\0router", contact=contact(relayed=True))
    (block,) = lease(scene.ledger, client, 1, 26)
    scene.ask_back(block)
    counters = []
    for pause in (4.0, 8.0):
        ((sent, said),) = scene.turn()
        counters.append(check_nonce(said, sent.data, NONCE))
        (wait,) = scene.database.sql("select extract(epoch from next_at - now())::float8 from deleg.takebacks")[0]
        assert pause - 1.0 < wait <= pause
        scene.pass_time()
    assert counters[0] < counters[1]
    assert scene.turn() == []
    assert scene.endings()[-1] == "given up: no renewal came"
    assert scene.database.sql("select 1 from deleg.takebacks") == []
    assert scene.database.blocks()[block] == "leased"


def test_a_renewal_ends_it(scene: Scene) -> None:
    client = Client(b"\0router", contact=contact(relayed=True))
    (block,) = lease(scene.ledger, client, 1, 26)
    scene.ask_back(block)
    assert len(scene.turn()) == 1
    (outcome,) = do(scene.ledger, client.renew(block))
    assert outcome.blocks[0].deprecate
    scene.pass_time()
    assert scene.turn() == []


def test_by_a_key_where_there_is_one(scene: Scene) -> None:
    scene.ask_back(lease(scene.ledger, Client(KEY.client_id, contact=contact(relayed=True, nonce=None)), 1, 26)[0])
    ((sent, said),) = scene.turn()
    assert check_delayed(said, sent.data, Key(7, KEY.key)) > 0


@pytest.mark.parametrize("unauthenticated", [False, True])
def test_to_who_cant_check_it_only_where_the_operator_says_so(database: Database, unauthenticated: bool) -> None:
    scene = Scene(database, unauthenticated=unauthenticated)
    scene.ask_back(lease(scene.ledger, Client(b"\0router", contact=contact(relayed=True, nonce=None)), 1, 26)[0])
    sent = scene.turn()
    if unauthenticated:
        ((_, said),) = sent
        assert said.option(Code.AUTHENTICATION) is None
    else:
        assert sent == []
        assert scene.endings() == ["not sent: the holder could not check it"]
    assert len(database.sql("select 1 from deleg.takebacks")) == unauthenticated


def test_never_a_broadcast(scene: Scene) -> None:
    """RFC 3203 section 2.2. A client without an address of its own was answered by broadcast."""
    scene.ask_back(
        lease(scene.ledger, Client(b"\0router", contact=contact(relayed=False, address=NO_ADDRESS)), 1, 26)[0]
    )
    assert scene.turn() == []
    assert scene.endings() == ["not sent: the holder has no address of its own"]


@pytest.mark.parametrize("silent", [False, True])
def test_anothers_lease_is_left_to_it_while_it_speaks(scene: Scene, silent: bool) -> None:
    other = SERVER + 1
    scene.ledger.server_seen(other, "two", "0")
    client = Client(b"\0router", contact=contact(relayed=True))
    do(scene.ledger, client.offer(1, 26), client.accept(1, "10.64.0.0/26", server=other))
    scene.ask_back("10.64.0.0/26")
    assert scene.turn() == []
    if silent:  # told to be, by an operator or a partner
        scene.ledger.server_seen(other, "two", "0", silent=True)
    else:
        scene.database.sql("update deleg.servers set last_seen = now() - interval '61 s' where name = 'two'")
    ((sent, said),) = scene.turn()
    assert sent.source == SERVER
    assert said.server == IPv4Address(SERVER)
    scene.ledger.server_seen(other, "two", "0")
    scene.pass_time()
    assert scene.turn() == []


def test_before_an_interface_is_known_nothing_is_sent(scene: Scene) -> None:
    scene.ask_back(lease(scene.ledger, Client(b"\0router", contact=contact(relayed=True)), 1, 26)[0])
    scene.own.clear()
    assert scene.turn() == []
    scene.own[SERVER] = 3
    assert len(scene.turn()) == 1


def test_a_shortage_asks_the_least_used(scene: Scene) -> None:
    used = {}
    for n, in_use in enumerate((60, 5, 10, 31)):
        client = Client(b"\0router%d" % n, contact=contact(relayed=True))
        (block,) = lease(scene.ledger, client, 1, 26)
        do(scene.ledger, client.renew(block, usage=(in_use, in_use, 0)))
        used[block] = in_use
    scene.shortages.note(0, (scene.pool,), 65)  # two blocks of 64
    asked = [str(block.network) for _, said in scene.turn() for block in said.allocation.blocks]
    assert sorted(used[block] for block in asked) == [5, 10]
    assert len(scene.kea.logged("SUBNET_DELEG_SHORTAGE")) == 1
    scene.shortages.note(0, (scene.pool,), 256)
    assert scene.turn() == []  # those asked first have their time to answer
    scene.now += 4.0
    scene.shortages.note(0, (scene.pool,), 256)
    asked = [str(block.network) for _, said in scene.turn() for block in said.allocation.blocks]
    assert [used[block] for block in asked] == [31]  # more than half used is never asked back


def test_a_shortage_where_the_operator_wants_no_takeback(database: Database) -> None:
    scene = Scene(database, on_shortage=False)
    lease(scene.ledger, Client(b"\0router", contact=contact(relayed=True)), 1, 26)
    scene.shortages.note(0, (scene.pool,), 64)
    assert scene.turn() == []
    assert database.sql("select 1 from deleg.takebacks") == []
