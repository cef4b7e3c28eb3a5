# SPDX-License-Identifier: MPL-2.0
"""Whom a shortage asks back: the least used, and no more than is lacking."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from kea_subnet_deleg.ledger import Ledger, Networks
from tests.conftest import Database
from tests.ledger.scene import DAY, SERVER, Client, do, lease

HOLDERS = tuple(Client.number(n, nonce=bytes(15) + bytes((n,))) for n in range(1, 5))
BLOCKS = tuple(f"10.64.0.{n * 64}/26" for n in range(4))


class Scene:
    """A pool of four blocks, each leased to a holder of its own, which uses 1, 2, 3 and 4 addresses of 64."""

    def __init__(self, database: Database, lease_time: int = DAY, nonces: bool = True) -> None:
        self.database = database
        self.pool = database.pool("10.64.0.0/24")
        self.ledger: Ledger = database.ledger()
        self.holders = HOLDERS if nonces else tuple(Client(holder.identity) for holder in HOLDERS)
        for n, holder in enumerate(self.holders):
            assert lease(self.ledger, holder, 1, 26, lease_time=lease_time) == [BLOCKS[n]]
            do(self.ledger, holder.renew(BLOCKS[n], lease_time=lease_time, usage=(n + 1, n + 1, 0)))

    def shortage(self, addresses: int) -> list[str]:
        """Return the blocks that this shortage has asked back."""
        before = set(self.asked())
        chosen = self.ledger.takeback_least_used(0, (self.pool,), addresses, 50, 0)
        asked = [block for block in self.asked() if block not in before]
        assert len(asked) == chosen
        return asked

    def asked(self) -> list[str]:
        return [block for (block,) in self.database.sql("select prefix::text from deleg.takebacks t order by t.prefix")]

    def forcerenew(self, times: int = 1) -> list[str]:
        """Return the blocks that FORCERENEWs are sent for, each of so many turns."""
        sent = []
        for _ in range(times):
            self.database.sql("update deleg.takebacks set next_at = now()")
            orders = self.ledger.takeback_due((SERVER,), (), False, 50, 5, 60.0)
            sent += [str(block.prefix) for order in orders for block in order.blocks]
        return sent

    def told_to_give_up(self, n: int) -> None:
        do(self.ledger, self.holders[n].renew(BLOCKS[n], verdict="deprecate", usage=(n + 1, n + 1, 0)))


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(database)


def test_what_was_asked_back_is_not_asked_for_again_from_others(scene: Scene) -> None:
    assert scene.shortage(64) == [BLOCKS[0]]
    assert scene.shortage(64) == []
    assert scene.shortage(65) == [BLOCKS[1]]
    assert scene.forcerenew() == [BLOCKS[0], BLOCKS[1]]
    assert scene.shortage(128) == []


def test_nor_what_drains(scene: Scene) -> None:
    scene.shortage(64)
    scene.told_to_give_up(0)
    assert scene.asked() == []
    assert scene.shortage(64) == []
    assert scene.shortage(128) == [BLOCKS[1]]


def test_nor_what_is_in_quarantine_that_ends_soon(scene: Scene) -> None:
    do(scene.ledger, scene.holders[3].release(BLOCKS[3], quarantine=60))
    assert scene.shortage(64) == []
    scene.database.sql("update deleg.blocks set expires = now() + interval '2 hours' where state = 'quarantined'")
    assert scene.shortage(64) == [BLOCKS[0]]


def test_nor_what_a_network_of_ours_gives_up(scene: Scene) -> None:
    do(scene.ledger, scene.holders[3].release(BLOCKS[3], quarantine=0))
    scene.ledger.sweep(10, 0)
    networks = Networks(scene.ledger)
    assert networks.take("hosts", None, (26,), 0, 1) == [IPv4Network(BLOCKS[3])]
    assert scene.shortage(64) == [BLOCKS[0]]
    networks.drain([IPv4Network(BLOCKS[3])], "test")
    assert scene.shortage(128) == []
    scene.database.sql("update deleg.blocks set since = now() - interval '61 minutes' where state = 'local'")
    assert scene.shortage(128) == [BLOCKS[1]]


def test_who_does_not_answer_holds_nobody_up(scene: Scene) -> None:
    scene.shortage(64)
    scene.forcerenew(2)
    assert scene.shortage(64) == []
    scene.forcerenew()
    assert scene.shortage(64) == [BLOCKS[1]]


@pytest.mark.parametrize(("lease_time", "patience"), [(DAY, 3600), (1200, 300)])
def test_who_keeps_what_it_is_to_give_up_holds_nobody_up(database: Database, lease_time: int, patience: int) -> None:
    scene = Scene(database, lease_time)
    scene.shortage(64)
    scene.told_to_give_up(0)
    renewed = "update deleg.blocks set lease_time = %s, renewed = now() - make_interval(secs => %s) where draining"
    scene.database.sql(renewed, lease_time, patience - 30)
    assert scene.shortage(64) == []
    scene.database.sql(renewed, lease_time, patience + 1)
    assert scene.shortage(64) == [BLOCKS[1]]


def test_of_which_nothing_was_reported_is_asked_last(scene: Scene) -> None:
    """A lease of a minute ago is unused because it is new."""
    do(scene.ledger, scene.holders[2].release(BLOCKS[2], quarantine=0))
    scene.ledger.sweep(10, 0)
    assert lease(scene.ledger, Client.number(9, nonce=bytes(16)), 1, 26) == [BLOCKS[2]]
    assert scene.shortage(3 * 64) == [BLOCKS[0], BLOCKS[1], BLOCKS[3]]
    assert scene.shortage(4 * 64) == [BLOCKS[2]]


def test_space_that_is_being_given_up_is_of_no_use(scene: Scene) -> None:
    """Neither is it asked for, nor waited for: nothing is leased from it any more."""
    scene.database.sql("select deleg.pool_add('default', '10.65.0.0/26', '10.64.0.0/24')")
    newcomer = Client.number(9, nonce=bytes(16))
    assert lease(scene.ledger, newcomer, 1, 26) == ["10.65.0.0/26"]
    do(scene.ledger, newcomer.renew("10.65.0.0/26", usage=(10, 10, 0)))
    scene.database.sql("select deleg.pool_remove('default', '10.64.0.0/24')")
    for n in range(2):
        scene.told_to_give_up(n)
    assert scene.shortage(64) == ["10.65.0.0/26"]


def test_who_cannot_be_told_is_passed_over_for_an_hour(database: Database) -> None:
    """Else it would be chosen each time, and the others never."""
    scene = Scene(database, nonces=False)
    able = Client.number(1, nonce=bytes(16))
    do(scene.ledger, able.release(BLOCKS[0], quarantine=0))
    scene.ledger.sweep(10, 0)
    assert lease(scene.ledger, able, 2, 26) == [BLOCKS[0]]
    do(scene.ledger, able.renew(BLOCKS[0], usage=(20, 20, 0)))
    assert scene.shortage(64) == [BLOCKS[1]]
    assert scene.forcerenew() == []
    assert scene.shortage(3 * 64) == [BLOCKS[0], BLOCKS[2], BLOCKS[3]]
    assert scene.ledger.takeback_due((SERVER,), (), False, 50, 5, 60.0)[0].blocks[0].prefix == IPv4Network(BLOCKS[0])
    kept = scene.database.sql("select prefix::text, reason, round(extract(epoch from next_at - now()) / 60)::integer"
                              " from deleg.takebacks t where attempts = -1 order by t.prefix")  # fmt: skip
    assert kept == [(block, "not sent: the holder could not check it", 60) for block in BLOCKS[1:]]
    scene.forcerenew()  # an hour has passed
    assert scene.asked() == [BLOCKS[0]]
    events = scene.database.sql("select count(*) from deleg.events where reason like 'not sent%'")
    assert events == [(3,)]  # one for each


def test_what_is_passed_over_an_operator_may_ask_back(database: Database) -> None:
    scene = Scene(database, nonces=False)
    scene.shortage(64)
    scene.forcerenew()
    assert scene.database.sql("select attempts from deleg.takebacks") == [(-1,)]
    scene.database.sql("select deleg.lease_takeback('default', %s::cidr)", BLOCKS[0])
    orders = scene.ledger.takeback_due((SERVER,), (), True, 50, 5, 60.0)
    assert [(str(order.blocks[0].prefix), order.attempt) for order in orders] == [(BLOCKS[0], 1)]


def test_the_event_says_who_asks_for_another_one(database: Database) -> None:
    """The server that it is from has not been heard of for a minute; the other's address is in the message."""
    database.pool("10.64.0.0/24")
    ledger, other = database.ledger(), SERVER + 1
    ledger.server_seen(other, "test", "0")
    (block,) = lease(ledger, HOLDERS[0], 1, 26)
    database.sql("select deleg.lease_takeback('default', %s)", IPv4Network(block))
    (order,) = ledger.takeback_due((other,), (), False, 50, 5, 60.0)
    assert order.server == other
    events = "select host(server) from deleg.events where kind = 'takeback'"
    assert database.sql(events) == [(str(IPv4Address(other)),)]


def test_who_leased_it_last_is_who_asks_it_back(database: Database) -> None:
    """A REQUEST that is sent again may be heard by another server of the domain: its address is what the holder knows from then on."""
    database.pool("10.64.0.0/24")
    ledger, holder, other = database.ledger(), HOLDERS[0], SERVER + 1
    for server in (SERVER, other):
        ledger.server_seen(server, "test", "0")
    (block,) = lease(ledger, holder, 1, 26)
    database.sql("select deleg.lease_takeback('default', %s)", IPv4Network(block))
    do(ledger, holder.accept(1, block, server=other))
    assert ledger.takeback_due((SERVER,), (), False, 50, 5, 60.0) == []
    (order,) = ledger.takeback_due((other,), (), False, 50, 5, 60.0)
    assert (order.server, [str(granted.prefix) for granted in order.blocks]) == (other, [block])
    assert database.violations() == []
