# SPDX-License-Identifier: MPL-2.0
"""Several connections at once, and connections and servers that die."""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Network
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ci.labs.cluster import Cluster
from ci.labs.process import Process
from kea_subnet_deleg.ledger import (
    Ledger,
    LedgerUnavailable,
    Operation,
    Outcome,
    Result,
)
from tests.conftest import TEMPLATE, Database, make_template, running_cluster
from tests.kea.waiting import wait_until
from tests.ledger.scene import DAY, OTHER_SERVER, SERVER, Client, do, lease, one, prefixes, results, say

CONNECTIONS = 4


def together(*works: Callable[[], Any]) -> list[Any]:
    """Run all at once, each on a thread of its own; return what they return, or raise what the first one raises."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(60) for future in [pool.submit(run, work) for work in works]]


def assert_disjoint(blocks: Sequence[str]) -> None:
    networks = sorted(map(IPv4Network, blocks))
    assert all(low.broadcast_address < high.network_address for low, high in pairwise(networks)), networks


def waits_for_lock(database: Database) -> int:
    """Return how many backends of the database wait for a lock."""
    rows = database.sql(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    return int(rows[0][0])


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


# ------------------------------------------------------------------------------------------------ many at once


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_64_clients_share_a_pool_that_is_just_enough(database: Database, batch: int) -> None:
    """No one is told that there is nothing while another connection has the one large block in hand."""
    database.pool("10.64.0.0/18")
    ledgers = [database.ledger() for _ in range(CONNECTIONS)]
    clients = [Client.number(n) for n in range(64)]

    def acquire(ledger: Ledger, mine: list[Client]) -> list[str]:
        held: list[str] = []
        for start in range(0, len(mine), batch):
            group = mine[start : start + batch]
            offers = do(ledger, *(client.offer(7, 24) for client in group))
            assert results(offers) == [Result.OFFERED] * len(group)
            requests = [client.accept(7, *prefixes(o)) for client, o in zip(group, offers, strict=True)]
            acks = do(ledger, *requests)
            assert results(acks) == [Result.ACKNOWLEDGED] * len(group)
            held += [block for ack in acks for block in prefixes(ack)]
        return held

    held = together(*(partial(acquire, ledgers[n], clients[n::CONNECTIONS]) for n in range(CONNECTIONS)))
    blocks = [block for blocks in held for block in blocks]
    assert_disjoint(blocks)
    assert {str(block) for block in IPv4Network("10.64.0.0/18").subnets(new_prefix=24)} == set(blocks)
    assert database.blocks() == dict.fromkeys(sorted(blocks, key=IPv4Network), "leased")
    assert database.violations() == []
    assert database.deadlocks() == 0


def test_two_servers_hear_the_same_clients_in_different_orders(database: Database) -> None:
    """Both offer the same blocks, and neither waits for the other in a circle."""
    database.pool("10.64.0.0/16")
    ledgers = {SERVER: database.ledger(), OTHER_SERVER: database.ledger()}
    clients = [Client.number(n) for n in range(40)]

    def hear(server: int, xid: int) -> dict[bytes, list[str]]:
        order = random.Random(server + xid).sample(clients, len(clients))
        outcomes = do(ledgers[server], *(client.offer(xid, 26, 28, server=server) for client in order))
        return {client.identity: prefixes(outcome) for client, outcome in zip(order, outcomes, strict=True)}

    for xid in range(8):
        first, second = together(partial(hear, SERVER, xid), partial(hear, OTHER_SERVER, xid))
        assert first == second
        assert_disjoint([block for blocks in first.values() for block in blocks])
    assert list(database.blocks().values()).count("offered") == 8 * 40 * 2
    assert database.violations() == []
    assert database.deadlocks() == 0


def test_spaces_are_owned_in_one_order(database: Database) -> None:
    """Batches over two spaces, where what is offered at once is of the higher one, and what is left of the lower."""
    with database.admin() as admin:
        admin.space_add("blue")
    blue = database.sql("select space from deleg.spaces where name = 'blue'")[0][0]
    pools = {space: (database.pool("10.64.0.0/16", space=space),) for space in (0, blue)}
    ledgers = [database.ledger(), database.ledger()]

    def one_by_one(ledger: Ledger) -> None:  # a message with two sizes is not done with others
        for xid in range(1, 61):
            simple, split = Client.number(xid, blue), Client.number(1000 + xid, 0)
            do(ledger, simple.offer(xid, 28, pools=pools[blue]), split.offer(xid, 28, 28, pools=pools[0]))

    def at_once(ledger: Ledger) -> None:
        for xid in range(1, 61):
            do(ledger, *(Client.number(2000 + xid, space).offer(xid, 28, pools=pools[space]) for space in (0, blue)))

    together(partial(one_by_one, ledgers[0]), partial(at_once, ledgers[1]))
    assert database.deadlocks() == 0
    assert database.violations() == []


def test_one_sweep_sees_to_all_spaces(database: Database) -> None:
    with database.admin() as admin:
        admin.space_add("blue")
    spaces = [space for (space,) in database.sql("select space from deleg.spaces")]
    ledger = database.ledger()
    for space in spaces:
        pool = database.pool("10.64.0.0/24", space=space)
        do(ledger, Client.number(1, space).offer(1, 26, pools=(pool,), hold=0))
    assert ledger.sweep(10, 0).offers == len(spaces) == 2
    assert database.violations() == []


def test_a_client_that_renews_others_blocks_causes_no_deadlock(database: Database) -> None:
    """Batches that offer, then renew, then offer, with each other's blocks among those to be renewed."""
    database.pool("10.64.0.0/16")
    ledgers = [database.ledger(), database.ledger()]
    clients = [Client.number(n) for n in range(16)]
    blocks = [lease(ledgers[0], client, 1, 24)[0] for client in clients]

    def batches(ledger: Ledger, mine: list[Client], seed: int) -> None:
        order = random.Random(seed)
        for xid in range(2, 22):
            batch: list[Operation] = []
            for client in order.sample(mine, len(mine)):
                batch += [client.renew(*order.sample(blocks, 8)), client.offer(xid, 28, hold=1)]
            do(ledger, *batch)

    together(lambda: batches(ledgers[0], clients[::2], 1), lambda: batches(ledgers[1], clients[1::2], 2))
    assert database.deadlocks() == 0
    assert database.violations() == []


def test_the_sweeper_races_with_clients(database: Database) -> None:
    """Holds of no time, so that the sweeper is after each block at every moment of its life; nobody gets what another holds."""
    database.pool("10.64.0.0/21")
    done = threading.Event()
    held: dict[str, bytes] = {}  # block to client, from its ACK until its RELEASE

    def sweep(ledger: Ledger) -> int:
        moved = 0
        while not done.is_set():
            moved += sum(ledger.sweep(100, 0))
        return moved

    def live(ledger: Ledger, number: int) -> int:
        order = random.Random(number)
        clients = [Client.number(n) for n in range(number * 8, number * 8 + 8)]
        acknowledged = 0
        for xid in range(60):
            group = order.sample(clients, 4)
            offers = do(ledger, *(client.offer(xid, 26, 27, 28, hold=0) for client in group))
            named = [prefixes(offer)[: order.randint(1, 3)] for offer in offers]
            acks = do(ledger, *(c.accept(xid, *blocks) for c, blocks in zip(group, named, strict=True)))
            acknowledged += results(acks).count(Result.ACKNOWLEDGED)
            for client, ack in zip(group, acks, strict=True):
                for block in prefixes(ack):
                    assert held.setdefault(block, client.identity) == client.identity
            renewals = do(ledger, *(c.renew(*prefixes(ack)) for c, ack in zip(group, acks, strict=True)))
            assert [r.blocks for r in renewals] == [ack.blocks for ack in acks]
            for ack in acks:
                for block in prefixes(ack):
                    del held[block]
            do(ledger, *(c.release(*prefixes(ack), quarantine=0) for c, ack in zip(group, acks, strict=True)))
        return acknowledged

    def all_clients() -> int:
        try:
            return sum(together(*(partial(live, database.ledger(), n) for n in range(3))))
        finally:
            done.set()

    sweepers = [database.ledger(), database.ledger()]
    *swept, acknowledged = together(*(partial(sweep, ledger) for ledger in sweepers), all_clients)
    assert min(sum(swept), acknowledged) > 0
    assert database.violations() == []
    assert database.deadlocks() == 0
    until(lambda: not any(sweepers[0].sweep(1000, 0)))
    assert database.blocks() == {"10.64.0.0/21": "free"}


def test_a_pool_is_removed_while_it_is_leased_from(database: Database) -> None:
    pool = IPv4Network("10.64.0.0/22")
    ledgers = [database.ledger(), database.ledger()]
    groups = [[Client.number(n) for n in range(first, first + 12)] for first in (0, 100)]

    def lease_some(at: int, xid: int) -> list[str]:
        held = []
        for client in groups[at]:
            offer = one(ledgers[at], client.offer(xid, 28))
            if offer.blocks:
                held += prefixes(one(ledgers[at], client.accept(xid, *prefixes(offer))))
        return held

    def remove(xid: int) -> int:
        time.sleep(random.Random(xid).uniform(0, 0.03))
        with database.admin() as admin:
            return admin.pool_remove(pool)

    for xid in range(12):
        database.pool(str(pool))
        *leased, out = together(partial(lease_some, 0, xid), partial(lease_some, 1, xid), partial(remove, xid))
        held = [block for blocks in leased for block in blocks]
        assert_disjoint(held)
        assert out <= len(held)
        assert database.violations() == []
        assert one(ledgers[0], Client.number(999).offer(xid, 28)).result is Result.EXHAUSTED
        do(ledgers[0], *(client.release(*held, quarantine=0) for group in groups for client in group))
        until(lambda: not any(ledgers[0].sweep(1000, 0)))
        assert database.blocks() == {}
        assert database.sql("select prefix from deleg.origins") == []


# ------------------------------------------------------------------------------------------------ limits


@pytest.mark.parametrize(("max_blocks", "max_addresses"), [(3, None), (None, 3 * 16 + 8)])
def test_a_client_gets_no_more_than_one_may_by_asking_two_servers_at_once(
    database: Database, max_blocks: int | None, max_addresses: int | None
) -> None:
    database.pool("10.64.0.0/22")
    client, ledgers = Client.number(1), [database.ledger(), database.ledger()]

    def ask(ledger: Ledger, first: int) -> list[Result]:
        found = []
        for xid in range(first, first + 10):
            offer = one(ledger, client.offer(xid, 28, 28, max_blocks=max_blocks, max_addresses=max_addresses))
            found.append(offer.result)
            if offer.blocks:
                do(ledger, client.accept(xid, *prefixes(offer)))
        return found

    first, second = together(partial(ask, ledgers[0], 100), partial(ask, ledgers[1], 200))
    assert sorted((first + second).count(result) for result in (Result.OFFERED, Result.LIMITED)) == [2, 18]
    assert list(database.blocks().values()).count("leased") == 3
    assert database.sql("select distinct kind from deleg.events where state is null") == [("limited",)]
    assert database.violations() == []
    assert database.deadlocks() == 0


def test_a_reserve_is_kept_whoever_asks_at_once(database: Database) -> None:
    """Of 256 addresses 64 are for members: 12 blocks of 16 for 64 others, and then the last 4 for a member."""
    member = Client.number(1000)
    database.pool("10.64.0.0/24", reserve=64, members=[f"\\x{member.identity.hex()}"])

    def ask(ledger: Ledger, first: int) -> list[Result]:
        return [one(ledger, Client.number(n).offer(1, 28)).result for n in range(first, first + 16)]

    found = together(*(partial(ask, database.ledger(), 16 * n) for n in range(CONNECTIONS)))
    assert [result for results_ in found for result in results_].count(Result.OFFERED) == 12
    assert len(one(database.ledger(), member.offer(1, 28, 28, 28, 28, 28)).blocks) == 4
    assert set(database.blocks().values()) == {"offered"}
    assert database.violations() == []


# ------------------------------------------------------------------------------------------------ takeback


def held_by_many(database: Database, count: int) -> list[tuple[Client, str]]:
    """Return clients, each with a nonce and a block of /26 leased from a server that was not heard of for long."""
    database.pool("10.64.0.0/18")
    ledger = database.ledger()
    clients = [Client.number(n, nonce=n.to_bytes(16, "big")) for n in range(1, count + 1)]
    offers = do(ledger, *(client.offer(1, 26) for client in clients))
    do(ledger, *(c.accept(1, *prefixes(offer), server=0x0A000063) for c, offer in zip(clients, offers, strict=True)))
    return [(client, prefixes(offer)[0]) for client, offer in zip(clients, offers, strict=True)]


def test_each_forcerenew_is_sent_by_one_server(database: Database) -> None:
    """Of a server that is gone any other may send them, and one does, while all look for them at the same moment."""
    held = held_by_many(database, 60)
    ledgers = [database.ledger() for _ in range(CONNECTIONS)]
    for attempt in (1, 2, 3):
        database.sql("update deleg.takebacks set next_at = now()")
        if attempt == 1:
            assert ledgers[0].takeback_least_used(0, [2], 60 * 64, 100, 0) == 60

        def claim(ledger: Ledger, server: int) -> list[tuple[str, int]]:
            sent: list[tuple[str, int]] = []
            for _ in range(12):
                orders = ledger.takeback_due((server,), (), False, 7, 5, 600.0)
                sent += [(str(block.prefix), order.attempt) for order in orders for block in order.blocks]
            return sent

        sent = together(*(partial(claim, ledger, n + 1) for n, ledger in enumerate(ledgers)))
        assert sorted(order for orders in sent for order in orders) == sorted((block, attempt) for _, block in held)
        assert sum(bool(orders) for orders in sent) > 1
    rows = database.sql("select count(*), count(distinct (prefix, detail ->> 'attempt')), count(distinct detail ->> 'prefix')"
                        " from deleg.events where kind = 'takeback'")  # fmt: skip
    assert rows[0][0] == 180
    assert rows[0][2] == 60
    assert database.deadlocks() == 0


def test_a_lease_of_a_living_server_is_left_to_it(database: Database) -> None:
    held_by_many(database, 2)
    ledger = database.ledger()
    ledger.server_seen(0x0A000063, "it", "0")
    assert ledger.takeback_least_used(0, [2], 128, 10, 0) == 2
    assert ledger.takeback_due((SERVER,), (), False, 10, 5, 600.0) == []
    assert len(ledger.takeback_due((SERVER, 0x0A000063), (), False, 10, 5, 600.0)) == 2


def test_takebacks_race_with_renewals_releases_and_the_sweeper(database: Database) -> None:
    held = held_by_many(database, 48)
    done = threading.Event()

    def ask_back(ledger: Ledger, server: int) -> int:
        sent = 0
        while not done.is_set():
            ledger.takeback_least_used(0, [2], 64 * 64, 64, 0)
            sent += len(ledger.takeback_due((server,), (), False, 20, 1000, 0.0))
            ledger.sweep(100, 0)
        return sent

    def operate() -> int:
        asked = 0
        with database.admin() as admin:
            while not done.is_set():
                for _, block in held[::5]:
                    asked += admin.lease_takeback(IPv4Network(block))
        return asked

    def live(ledger: Ledger, mine: list[tuple[Client, str]], seed: int) -> None:
        order = random.Random(seed)
        for xid in range(2, 40):
            group = order.sample(mine, 8)
            renewals = [client.renew(block, usage=(order.randint(0, 30), None, None)) for client, block in group]
            do(ledger, *renewals)
            client, block = order.choice(mine)
            do(ledger, client.release(block, quarantine=0), client.offer(xid, 26, hold=0))

    def all_clients() -> None:
        try:
            together(*(partial(live, database.ledger(), held[n::2], n) for n in range(2)))
        finally:
            done.set()

    *sent, asked, _ = together(
        partial(ask_back, database.ledger(), 1), partial(ask_back, database.ledger(), 2), operate, all_clients
    )
    assert sum(sent) > 0
    assert asked > 0
    assert database.violations() == []
    assert database.deadlocks() == 0


def test_a_renewal_in_progress_is_not_told_to_renew(database: Database) -> None:
    """And neither waits for the other: the FORCERENEW is put off, and the renewal does away with it."""
    (client, block), (_, other) = held_by_many(database, 2)
    ledger = database.ledger()
    assert ledger.takeback_least_used(0, [2], 128, 10, 0) == 2
    connection = database.connect()
    with connection.transaction():
        say(connection, client.renew(block))
        orders = ledger.takeback_due((SERVER,), (), False, 10, 5, 0.0)
        assert [str(granted.prefix) for order in orders for granted in order.blocks] == [other]
    assert database.sql("select prefix::text from deleg.takebacks") == [(other,)]


@pytest.mark.parametrize("together", [1, 2])
def test_who_renews_while_it_is_asked_back_is_not_told_to(database: Database, together: int) -> None:
    """Alone or in a batch: the renewal waits for the row, and then does away also with what it could not see before."""
    held = held_by_many(database, 2)
    database.sql("update deleg.blocks set renewed = now() - interval '10 minutes' where lessee is not null")
    ledger, connection = database.ledger(), database.connect()
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            connection.execute("select deleg.takeback_least_used(0, '{2}', 128, 2, 60)")
            answers = pool.submit(do, ledger, *(client.renew(block) for client, block in held[:together]))
            until(lambda: waits_for_lock(database) == 1)
        assert set(results(answers.result(10))) == {Result.ACKNOWLEDGED}
    left = [block for _, block in held[together:]]
    assert database.sql("select prefix::text from deleg.takebacks") == [(block,) for block in left]


# ------------------------------------------------------------------------------------------------ races, step by step


def ends_offer(connection: psycopg.Connection[tuple[object, ...]], block: str) -> None:
    connection.execute("select deleg._free(0, %s, 'offer expired')", (IPv4Network(block),))


def test_an_offer_that_ends_and_goes_to_another_while_it_is_accepted(database: Database) -> None:
    """The REQUEST waits for the row; when it has it, the block is another's: refused, and the other keeps it."""
    database.pool("10.64.0.0/24")
    ledger, slow, fast = database.ledger(), Client.number(1), Client.number(2)
    assert prefixes(one(ledger, slow.offer(1, 24))) == ["10.64.0.0/24"]
    connection = database.connect()
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            connection.execute("select deleg._own_free_blocks(0)")
            ends_offer(connection, "10.64.0.0/24")
            say(connection, fast.offer(1, 24))
            answer = pool.submit(one, ledger, slow.accept(1, "10.64.0.0/24"))
            until(lambda: waits_for_lock(database) == 1)
        assert answer.result(10).result is Result.REFUSED
    assert database.blocks() == {"10.64.0.0/24": "offered"}
    assert prefixes(one(ledger, fast.accept(1, "10.64.0.0/24"))) == ["10.64.0.0/24"]
    assert database.violations() == []


@pytest.mark.parametrize("message", ["accept", "reclaim"])
def test_an_offer_that_ends_and_goes_to_another_while_it_is_given_back(database: Database, message: str) -> None:
    """Whoever gives an offered block back while the sweeper has it must not give back what is another's by then."""
    database.pool("10.64.0.0/23")
    ledger, slow, fast = database.ledger(), Client.number(1), Client.number(2)
    assert prefixes(one(ledger, slow.offer(1, 24, 24))) == ["10.64.0.0/24", "10.64.1.0/24"]
    operation = slow.accept(1, "10.64.0.0/24") if message == "accept" else slow.reclaim(1)
    connection = database.connect()
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            connection.execute("select deleg._own_free_blocks(0)")
            answer = pool.submit(one, ledger, operation)
            until(lambda: waits_for_lock(database) == 1)
            ends_offer(connection, "10.64.1.0/24")
            say(connection, fast.offer(1, 24))
        expected = Result.ACKNOWLEDGED if message == "accept" else Result.RECLAIMED
        assert answer.result(10).result is expected
    assert database.blocks()["10.64.1.0/24"] == "offered"
    assert prefixes(one(ledger, fast.accept(1, "10.64.1.0/24"))) == ["10.64.1.0/24"]
    assert database.violations() == []


def test_a_renewal_of_anothers_block_does_not_wait_for_its_holder(database: Database) -> None:
    """Lock order: of the rows, only those of the batch's own clients."""
    database.pool("10.64.0.0/24")
    ledger, holder, other = database.ledger(), Client.number(1), Client.number(2)
    (block,) = lease(ledger, holder, 1, 25)
    connection = database.connect()
    with connection.transaction():
        connection.execute("select from deleg.blocks where prefix = %s for update", (IPv4Network(block),))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(one, ledger, other.renew(block)).result(5).result is Result.NOTHING


# ------------------------------------------------------------------------------------------------ what dies


def test_a_backend_is_killed_in_mid_batch(database: Database) -> None:
    """LedgerUnavailable, and the same batch again has one outcome (I7)."""
    database.pool("10.64.0.0/20")
    ledger, clients = database.ledger(), [Client.number(n) for n in range(16)]
    batch = [client.offer(5, 24) for client in clients]
    connection = database.connect()
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            connection.execute("select deleg._own_free_blocks(0)")
            answer = pool.submit(ledger.apply, batch)
            until(lambda: waits_for_lock(database) == 1)
            database.sql("select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'")
            with pytest.raises(LedgerUnavailable):
                answer.result(10)
        assert not ledger.connected
    with pytest.raises(LedgerUnavailable, match="not connected"):
        ledger.apply(batch)
    assert database.blocks() == {"10.64.0.0/20": "free"}
    ledger.connect()
    first = do(ledger, *batch)
    assert do(database.ledger(), *batch) == first
    assert len(database.sql("select prefix from deleg.blocks where state = 'offered'")) == len(batch)
    assert database.violations() == []


def test_backends_are_killed_at_any_moment(database: Database) -> None:
    """Whatever was or was not committed when the connection went: asked again, each transaction has one outcome."""
    database.pool("10.64.0.0/18")
    ledger, clients = database.ledger(), [Client.number(n) for n in range(24)]
    done = threading.Event()
    began = time.monotonic()
    offers = do(ledger, *(client.offer(9, 26) for client in clients))
    do(ledger, *(client.accept(9, *prefixes(offer)) for client, offer in zip(clients, offers, strict=True)))
    do(ledger, *(client.release(*prefixes(offer), quarantine=0) for client, offer in zip(clients, offers, strict=True)))
    undisturbed = time.monotonic() - began  # seconds: a transaction must have a chance on a busy machine, too

    def kill() -> None:
        moments = random.Random(1)
        while not done.is_set():
            time.sleep(moments.uniform(0.1, 1.0) * undisturbed)
            database.sql(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and usename = 'kea_deleg_hook'"
            )

    def insist(*batch: Operation) -> tuple[list[Outcome], int]:
        lost = 0
        while True:
            try:
                if not ledger.connected:
                    ledger.connect()
                return do(ledger, *batch), lost
            except LedgerUnavailable:
                lost += 1
                assert lost < 1000

    def live() -> int:
        lost = 0
        try:
            for xid in range(5):
                offers, first = insist(*(client.offer(xid, 26) for client in clients))
                requests = [client.accept(xid, *prefixes(o)) for client, o in zip(clients, offers, strict=True)]
                acks, second = insist(*requests)
                assert [ack.blocks for ack in acks] == [offer.blocks for offer in offers]
                _, third = insist(*(c.release(*prefixes(a), quarantine=0) for c, a in zip(clients, acks, strict=True)))
                lost += first + second + third
        finally:
            done.set()
        return lost

    lost, _ = together(live, kill)
    assert lost > 0
    assert database.violations() == []
    assert set(database.blocks().values()) <= {"free", "quarantined"}


def test_what_was_acknowledged_survives_kill_9_of_postgresql() -> None:
    """I6, fsync on: leases, renewals and releases that were answered are there after recovery; offers need not be."""
    with running_cluster() as (cluster, process):
        make_template(cluster)
        cluster.execute("postgres", f"create database victim template {TEMPLATE}")
        with Database(cluster, "victim") as database:
            database.pool("10.64.0.0/12")
            ledgers = [database.ledger() for _ in range(3)]
            lives = [Life(ledger, Client.number(n)) for n, ledger in enumerate(ledgers)]

            def kill() -> None:
                time.sleep(1.0)
                kill_all(process)

            together(kill, *(life.run for life in lives))
        restarted = cluster.start()
        try:
            cluster.wait(restarted)
            with Database(cluster, "victim") as database:
                rows = database.sql("select prefix::text, state::text, lease_time from deleg.blocks")
                found = {prefix: (state, lease_time) for prefix, state, lease_time in rows}
                known = {block: row for life in lives for block, row in life.known.items()}
                assert len(known) > 20
                assert {block: found.get(block) for block in known} == known
                assert database.violations() == []
        finally:
            Cluster.stop(restarted)


class Life:
    """A client that leases, renews and releases until its ledger dies. `known`: state and lease time of each block as acknowledged."""

    def __init__(self, ledger: Ledger, client: Client) -> None:
        self.ledger = ledger
        self.client = client
        self.known: dict[str, tuple[str, int]] = {}

    def run(self) -> None:
        with contextlib.suppress(LedgerUnavailable):
            for xid in itertools.count():
                self.turn(xid)

    def turn(self, xid: int) -> None:
        (block,) = lease(self.ledger, self.client, xid, 28)
        self.known[block] = ("leased", DAY)
        if xid % 3:
            self.change(block, self.client.renew(block, lease_time=DAY // 2), ("leased", DAY // 2))
        if xid % 2:
            self.change(
                block, self.client.release(block, quarantine=DAY), ("quarantined", DAY // 2 if xid % 3 else DAY)
            )

    def change(self, block: str, operation: Operation, then: tuple[str, int]) -> None:
        del self.known[block]  # until it is answered it may be either
        assert one(self.ledger, operation).result in (Result.ACKNOWLEDGED, Result.RELEASED)
        self.known[block] = then


def kill_all(postmaster: Process) -> None:
    """End a PostgreSQL as a crash does: the postmaster and all its children by SIGKILL."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == postmaster.pid:
                children.append(Process.of(int(path.parent.name)))
    for process in (postmaster, *children):
        process.send(signal.SIGKILL)
    for process in (postmaster, *children):
        assert process.wait(10)


def test_what_no_standby_has_is_not_acknowledged(database: Database, cluster: Cluster) -> None:
    """An operator cancels what waits for a standby that is gone: to PostgreSQL that is a success, but a failover would forget the lease."""
    database.pool("10.64.0.0/16")
    ledger, client = database.ledger(), Client.number(1)
    (offer,) = do(ledger, client.offer(1, 26))
    accept = client.accept(1, *prefixes(offer))
    cluster.execute("postgres", "alter system set synchronous_standby_names = 'nobody'", "select pg_reload_conf()")
    try:
        with ThreadPoolExecutor(1) as pool:
            leasing = pool.submit(ledger.apply, [accept])
            waiting = "select pid from pg_stat_activity where wait_event = 'SyncRep'"
            wait_until(lambda: database.sql(waiting) or leasing.done())
            assert not leasing.done()
            database.sql("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
            with pytest.raises(LedgerUnavailable, match="a failover would forget it"):
                leasing.result()
    finally:
        cluster.execute("postgres", "alter system reset synchronous_standby_names", "select pg_reload_conf()")
    assert not ledger.connected
    ledger.connect()
    assert one(ledger, accept).result is Result.ACKNOWLEDGED
