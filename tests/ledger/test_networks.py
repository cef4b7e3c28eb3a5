# SPDX-License-Identifier: MPL-2.0
"""The blocks that this domain serves itself: networks that grow and shrink, whichever of its servers does it, and what relays reserve."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from ipaddress import IPv4Network

import pytest

from kea_subnet_deleg.ledger import (
    Admin,
    Ledger,
    LedgerError,
    Measured,
    Networks,
    Outcome,
    ReservedBlock,
    Result,
    Size,
    Upstreams,
    Wanted,
)
from tests.conftest import Database
from tests.ledger.scene import CONTACT, SERVER, Client, do, lease, one, prefixes
from tests.ledger.test_concurrency import assert_disjoint, together

CLIENT = Client.number(1)


def network(prefix: str) -> IPv4Network:
    return IPv4Network(prefix)


def take(ledger: Ledger, *lengths: int, pool: str | None = None, count: int = 0, shortest: int = 0) -> list[str] | None:
    taken = Networks(ledger).take("hosts", pool, lengths, count, shortest)
    return None if taken is None else [str(block) for block in taken]


def test_best_fit_and_exactly_the_size(database: Database) -> None:
    database.pool("10.64.0.0/20")
    database.pool("10.65.0.0/26")
    ledger = database.ledger()
    assert take(ledger, 27, 26, 24) == ["10.65.0.0/27", "10.64.0.0/26", "10.64.1.0/24"]
    assert take(ledger, 19, 27, count=3) == ["10.65.0.32/27"]  # nothing so large: fewer, and nothing smaller instead
    assert take(ledger, 8, count=4) == []
    blocks = Networks(ledger).served(["hosts", "guests"]).local
    assert {(b.network, b.state, b.draining, b.closing, b.remaining) for b in blocks} == {
        ("hosts", "local", False, False, None)
    }
    assert [str(b.prefix) for b in blocks] == ["10.64.0.0/26", "10.64.1.0/24", "10.65.0.0/27", "10.65.0.32/27"]
    assert all(b.age < 5 for b in blocks)
    assert Networks(ledger).served(["guests"]) == ([], [])
    assert database.sql("select distinct reason, detail ->> 'network' from deleg.blocks where state = 'local'") == [
        ("network hosts grows", "hosts")
    ]
    assert database.violations() == []


def test_of_which_pools(database: Database) -> None:
    database.pool("10.64.0.0/24", name="sales", tags=["sales"])
    database.pool("10.65.0.0/24", name="kept", reserve=192)
    ledger = database.ledger()
    assert take(ledger, 26, 26) == ["10.65.0.0/26"]  # not tagged ones, and the reserve is not ours
    assert take(ledger, 26, pool="sales", count=1) == ["10.64.0.0/26"]
    assert take(ledger, 26, pool="?", count=2) == []
    ours = Upstreams(ledger).identity()
    database.sql("update deleg.pools set members = %s where name = 'kept'", [ours])
    assert take(ledger, 26, pool="kept", count=2) == ["10.65.0.64/26"]
    assert database.violations() == []


def test_not_of_what_is_not_ours_for_long(database: Database) -> None:
    ledger = database.ledger()
    short, long, closing = map(network, ("172.16.0.0/26", "172.16.4.0/24", "172.16.8.0/26"))
    Upstreams(ledger).acknowledged(0, SERVER, 100, 60, 80, [(short, False)], None)
    Upstreams(ledger).acknowledged(0, SERVER, 1000, 600, 800, [(long, False), (closing, True)], None)
    assert take(ledger, 26, shortest=200) == ["172.16.4.0/26"]
    assert take(ledger, 26, count=1, shortest=50) == ["172.16.0.0/26"]
    assert take(ledger, 26, count=2, shortest=1200) == []
    assert [block.remaining in (99, 100) for block in Networks(ledger).served(["hosts"]).local] == [True, False]
    assert database.violations() == []


def test_two_servers_that_find_it_full_let_it_grow_once(database: Database) -> None:
    """Each saw so many open blocks; the second is told that it is no longer so."""
    database.pool("10.64.0.0/20")
    ledgers = [database.ledger() for _ in range(4)]
    for count in range(10):
        found = together(*(partial(take, ledger, 28, count=count) for ledger in ledgers))
        assert sorted(found, key=bool)[:3] == [None] * 3
    blocks = [str(block.prefix) for block in Networks(ledgers[0]).served(["hosts"]).local]
    assert len(blocks) == 10
    assert_disjoint(blocks)
    assert database.violations() == []
    assert database.deadlocks() == 0


def test_networks_that_grow_beside_clients_that_lease(database: Database) -> None:
    database.pool("10.64.0.0/22")
    names = ("a", "b")

    def grow(ledger: Ledger, name: str) -> list[str]:
        networks, taken = Networks(ledger), list[str]()
        while len(taken) < 24:
            blocks = networks.take(name, None, [28], len(taken), 0)
            assert blocks is not None
            taken += map(str, blocks)
            assert blocks
        return taken

    def rent(ledger: Ledger, number: int) -> list[str]:
        return [lease(ledger, Client.number(number + n), 1, 30)[0] for n in range(24)]

    works: list[Callable[[], list[str]]] = [partial(grow, database.ledger(), name) for name in names]
    works += [partial(rent, database.ledger(), number) for number in (100, 200)]
    found = together(*works)
    assert_disjoint([block for blocks in found for block in blocks])
    assert database.violations() == []
    assert database.deadlocks() == 0


def test_it_shrinks(database: Database) -> None:
    database.pool("10.64.0.0/24")
    ledger = database.ledger()
    networks, first, second = Networks(ledger), network("10.64.0.0/26"), network("10.64.0.64/26")
    assert take(ledger, 26, 26) == [str(first), str(second)]
    networks.measured([Measured(first, 3, 5, 1)])
    networks.end([first], 60, "not drained yet")
    assert {block.state for block in networks.served(["hosts"]).local} == {"local"}
    networks.drain([first, network("10.64.0.128/25"), network("10.9.0.0/24")], "little used")
    block = networks.served(["hosts"]).local[0]
    assert (block.draining, block.in_use, block.high_water, block.unusable) == (True, 3, 5, 1)
    assert take(ledger, 26, count=2) is None
    assert networks.reopen([first, second]) == [first]
    assert networks.reopen([first]) == []
    networks.drain([first], "little used")
    networks.end([first, second], 3600, "drained")
    block, _ = networks.served(["hosts"]).local
    assert (block.state, block.draining, block.in_use) == ("quarantined", False, None)
    assert database.sql("select prefix from deleg.usage") == []
    assert take(ledger, 26, 26, count=1) == ["10.64.0.128/26", "10.64.0.192/26"]
    assert one(ledger, CLIENT.offer(1, 28)).result is Result.EXHAUSTED
    database.sql("update deleg.blocks set expires = now() where state = 'quarantined'")
    assert ledger.sweep(10, 0).quarantines == 1
    assert len(networks.served(["hosts"]).local) == 3
    assert prefixes(one(ledger, CLIENT.offer(2, 26))) == [str(first)]
    assert take(ledger, 28, count=3) == []
    assert database.violations() == []


def test_what_is_being_removed_is_not_reopened(database: Database) -> None:
    database.pool("10.64.0.0/24")
    ledger = database.ledger()
    networks, block = Networks(ledger), network("10.64.0.0/25")
    take(ledger, 25)
    with database.admin() as admin:
        assert admin.pool_remove(network("10.64.0.0/24")) == 1
    assert [served.closing for served in networks.served(["hosts"]).local] == [True]
    networks.drain([block], "the pool is being removed")
    assert networks.reopen([block]) == []
    networks.end([block], 0, "drained")
    assert ledger.sweep(10, 0).origins_removed == 1
    assert database.blocks() == {}


def test_figures_begin_anew_with_each_use(database: Database) -> None:
    database.pool("10.64.0.0/24")
    ledger = database.ledger()
    networks, block = Networks(ledger), network("10.64.0.0/24")
    for peak in (70, 40):
        assert take(ledger, 24) == [str(block)]
        for in_use, most in ((30, peak), (31, 31), (31, 31)):
            networks.measured([Measured(block, in_use, most, 2)])
        (served,) = networks.served(["hosts"]).local
        assert (served.in_use, served.high_water, served.unusable) == (31, peak, 2)
        networks.drain([block], "test")
        networks.end([block], 0, "test")
        networks.measured([Measured(block, 1, 1, 1)])
        assert database.sql("select in_use from deleg.usage") == []
        ledger.sweep(10, 0)


def test_what_does_not_change_is_not_written_each_time(database: Database) -> None:
    database.pool("10.64.0.0/24")
    networks, block = Networks(database.ledger()), network("10.64.0.0/24")
    take(database.ledger(), 24)

    def version() -> object:
        return database.sql("select xmin::text from deleg.usage")

    networks.measured([Measured(block, 5, 9, 0)])
    first = version()
    networks.measured([Measured(block, 5, 7, 0)])
    assert version() == first
    networks.measured([Measured(block, 5, 10, 0)])
    second = version()
    assert second != first
    database.sql("update deleg.usage set reported = reported - interval '2 minutes'")
    networks.measured([Measured(block, 5, 5, 0)])
    assert version() != second
    assert database.sql("select high_water, reported > now() - interval '1 minute' from deleg.usage") == [(10, True)]


def test_measurements_race_with_shrinking(database: Database) -> None:
    """What has ended has no figures, and no measurement waits for anybody."""
    database.pool("10.64.0.0/22")
    done = threading.Event()

    def measure(ledger: Ledger, seed: int) -> int:
        networks, order, turns = Networks(ledger), random.Random(seed), 0
        while not done.is_set():
            rows = [Measured(b.prefix, order.randint(0, 9), 9, 0) for b in networks.served(["hosts"]).local]
            networks.measured(order.sample(rows, len(rows)))
            turns += 1
        return turns

    def change() -> int:
        ledger = database.ledger()
        networks = Networks(ledger)
        try:
            for _ in range(60):
                local = [b for b in networks.served(["hosts"]).local if b.state == "local"]
                networks.take("hosts", None, [27, 27, 27], len(local), 0)
                blocks = [b.prefix for b in networks.served(["hosts"]).local]
                networks.drain(blocks[:2], "test")
                networks.end(blocks[:2], 0, "test")
                ledger.sweep(100, 0)
                assert database.violations() == []
        finally:
            done.set()
        return 1

    turns = together(partial(measure, database.ledger(), 1), partial(measure, database.ledger(), 2), change)
    assert min(turns) > 0
    assert database.deadlocks() == 0


# ------------------------------------------------------------------------------------------------ what relays reserve


def reserve(ledger: Ledger, client: Client, xid: int, length: int) -> str:
    """Take a router through DISCOVER and REQUEST without flag h."""
    offer = replace(client.offer(xid), sizes=(Size(0, length, length, False, "test"),))
    (block,) = prefixes(one(ledger, offer))
    accept = replace(client.accept(xid), blocks=(Wanted.of(network(block), False, False),))
    assert one(ledger, accept).result is Result.ACKNOWLEDGED
    return block


def test_what_relays_reserve_is_served(database: Database) -> None:
    database.pool("10.64.0.0/24")
    ledger = database.ledger()
    block = reserve(ledger, CLIENT, 1, 27)
    (served,) = Networks(ledger).served([]).reserved
    assert served.remaining in (86399, 86400)
    assert served == ReservedBlock(network(block), CONTACT.address, served.remaining, SERVER, False, age=served.age)
    one(ledger, replace(Client.number(2).offer(1), sizes=(Size(0, 27, 27, False, "test"),)))
    assert len(Networks(ledger).served([]).reserved) == 1  # an offer is no reservation
    do(ledger, CLIENT.release(block, quarantine=3600))
    assert [served.ended for served in Networks(ledger).served([]).reserved] == [True]
    database.sql("update deleg.blocks set expires = now() where state = 'quarantined'")
    ledger.sweep(10, 0)
    assert Networks(ledger).served([]).reserved == []


def test_what_no_server_has_any_more(database: Database) -> None:
    """An operator takes it, all or a block; not as long as a server says what is in use of it."""
    database.pool("10.64.0.0/24")
    ledger = database.ledger()
    networks = Networks(ledger)
    assert take(ledger, 26, 27, 27) == ["10.64.0.0/26", "10.64.0.64/27", "10.64.0.96/27"]
    assert networks.take("guests", None, [26], 0, 0) == [network("10.64.0.128/26")]
    networks.drain([network("10.64.0.96/27")], "little used")
    networks.measured([Measured(network("10.64.0.0/26"), 5, 5, 0)])
    with Admin(database.dsn("kea_deleg_admin")) as admin:
        with pytest.raises(
            LedgerError, match=r"a server has network hosts and said what is in use of it \d+ seconds ago"
        ):
            admin.network_abandon("hosts", network("10.64.0.64/27"), 60)
        database.sql("update deleg.usage set reported = now() - interval '4 minutes'")
        for name, block, why in (
            ("printers", None, "network printers has no block"),
            ("hosts", "10.64.0.128/26", "10.64.0.128/26 is no block of network hosts"),
            ("hosts", "10.64.0.0/25", "10.64.0.0/25 is no block of network hosts"),
        ):
            with pytest.raises(LedgerError, match=why):
                admin.network_abandon(name, network(block) if block else None, 60)
        assert len(networks.served(["hosts", "guests"]).local) == 4
        assert admin.network_abandon("hosts", network("10.64.0.64/27"), 60) == [network("10.64.0.64/27")]
        rest = [network("10.64.0.0/26"), network("10.64.0.96/27")]
        assert admin.network_abandon("hosts", None, 86400) == rest
        assert [row["network"] for row in admin.networks()] == ["guests"]
    held = "select prefix, round(extract(epoch from due - now()))::integer, reason from deleg.blocks where state = 'quarantined'"
    assert sorted(database.sql(held)) == [
        (rest[0], 86400, "operator gave it up"),
        (network("10.64.0.64/27"), 60, "operator gave it up"),
        (rest[1], 86400, "operator gave it up"),
    ]
    assert database.violations() == []
    database.sql("update deleg.blocks set due = now(), expires = now() where state = 'quarantined'")
    ledger.sweep(10, 0)
    assert database.violations() == []
    assert lease(ledger, CLIENT, 1, 25) == ["10.64.0.0/25"]


def test_what_a_relay_released_is_nobodys_while_its_hosts_have_addresses(database: Database) -> None:
    """For as long as who serves them says, and for its quarantine at least; also where it had been leased for ever."""
    database.pool("10.64.0.0/24")
    ledger = database.ledger()
    networks = Networks(ledger)
    blocks = [reserve(ledger, Client.number(n), 1, 27) for n in range(4)]
    used, unused, for_ever, never = blocks
    database.sql("update deleg.blocks set expires = 'infinity' where prefix = %s", network(for_ever))
    networks.measured([Measured(network(block), 0, 0, 0) for block in (used, unused, for_ever)])
    for n, block in enumerate(blocks):
        do(ledger, Client.number(n).release(block, quarantine=60))

    def left() -> list[int]:
        rows = database.sql(
            "select round(extract(epoch from expires - now()) / 10) * 10 from deleg.blocks"
            " where state = 'quarantined' order by prefix"
        )
        return [int(seconds) for (seconds,) in rows]

    def pending() -> list[bool]:
        return [block.pending for block in networks.served([]).reserved]

    assert (left(), pending()) == ([86400, 86400, 60, 60], [True, True, True, False])
    networks.left({network(used): 3600, network(unused): 0, network(for_ever): 86400, network(never): 3600})
    assert (left(), pending()) == ([3600, 60, 86400, 60], [False] * 4)
    networks.left({network(used): 7200})  # once only
    assert left() == [3600, 60, 86400, 60]
    served = networks.served([])
    assert [block.rest for block in served.reserved] == [60, 60, 60, None]
    assert [block.prefix for block in served.later(61).reserved] == [network(never)]
    assert database.violations() == []


def test_its_servers_are_told_of_what_was_given_up(database: Database) -> None:
    database.pool("10.64.0.0/24")
    ledger = database.ledger()
    take(ledger, 26)
    ledger.listen()
    ledger.notified()  # as after each LISTEN, everything may have changed
    assert ledger.notified() == set()
    with Admin(database.dsn("kea_deleg_admin")) as admin:
        admin.network_abandon("hosts", None, 60)
    deadline = time.monotonic() + 10
    while not (told := ledger.notified()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert told == {"networks"}


def test_what_relays_reserve_stays_with_its_server(database: Database) -> None:
    """Whoever renews it: its hosts' leases are there. Only of a server that is not, or does not serve, another takes it over."""
    database.pool("10.64.0.0/24")
    ledger, other, clients = database.ledger(), SERVER + 1, [CLIENT, Client.number(2), Client.number(3)]
    for server in (SERVER, other):
        ledger.server_seen(server, "test", "0")
    blocks = [reserve(ledger, client, 1, 27) for client in clients]
    renewals = [client.renew(block, server=other) for client, block in zip(clients, blocks, strict=True)]

    def renewed_at_once() -> set[int]:
        assert {outcome.result for outcome in ledger.apply(renewals) if isinstance(outcome, Outcome)} == {
            Result.ACKNOWLEDGED
        }
        return {served.server for served in Networks(ledger).served([]).reserved}

    assert renewed_at_once() == {SERVER}
    for renewal in renewals:
        one(ledger, renewal)
    again = replace(CLIENT.accept(1, server=other), blocks=(Wanted.of(network(blocks[0]), False, False),))
    assert one(ledger, again).result is Result.ACKNOWLEDGED
    assert {served.server for served in Networks(ledger).served([]).reserved} == {SERVER}
    (block,) = lease(ledger, CLIENT, 2, 26)
    one(ledger, CLIENT.renew(block, server=other))
    assert database.sql("select host(server) from deleg.blocks where prefix = %s", network(block)) == [("10.0.0.2",)]
    ledger.server_seen(SERVER, "test", "0", silent=True)
    assert renewed_at_once() == {other}
    ledger.server_seen(SERVER, "test", "0")
    one(ledger, CLIENT.renew(blocks[0], server=SERVER))
    assert renewed_at_once() == {other}
    database.sql("update deleg.servers set last_seen = now() - interval '2 minutes' where address = '10.0.0.2'")
    one(ledger, CLIENT.renew(blocks[0], server=SERVER))
    assert sorted(served.server for served in Networks(ledger).served([]).reserved) == [SERVER, other, other]
    assert database.violations() == []


def test_the_use_of_what_relays_reserve_is_measured_here(database: Database) -> None:
    """And counts as the relay's, until it reports figures itself."""
    ledger = database.ledger()
    upstreams, origin = Upstreams(ledger), network("172.16.0.0/24")
    upstreams.acknowledged(0, SERVER, 3600, 0, 3000, [(origin, False)], None)
    block = reserve(ledger, CLIENT, 1, 26)
    (due,) = upstreams.due(10)
    assert (due.high_water, due.in_use) == (64, 64)
    Networks(ledger).measured([Measured(network(block), 7, 9, 1)])
    assert database.sql("select used, fullness from report.lessees") == [(7, Decimal("0.1094"))]
    database.sql("update deleg.origins set next_try = now()")
    (due,) = upstreams.due(10)
    assert (due.high_water, due.in_use, due.unusable) == (9, 7, 1)
    assert ledger.totals() == [(0, 64, 7)]
    assert ledger.holdings([(0, CLIENT.identity)]) == [(64, 7)]
    assert database.violations() == []


@pytest.mark.parametrize(("address", "relay"), [(0xFFFFFFFF, 0), (0x0A0000C8, 0x0A0000C8)])
def test_where_a_relay_is(database: Database, address: int, relay: int) -> None:
    database.pool("10.64.0.0/24")
    ledger = database.ledger()
    reserve(ledger, Client(CLIENT.identity, contact=CONTACT._replace(address=address)), 1, 26)
    assert [served.relay for served in Networks(ledger).served([]).reserved] == [relay]


def test_our_own_use_is_nobodys_share(database: Database) -> None:
    """deleg.totals() is of lessees."""
    database.pool("10.64.0.0/24")
    ledger = database.ledger()
    (block,) = lease(ledger, CLIENT, 1, 26)
    take(ledger, 26)
    Networks(ledger).measured([Measured(network("10.64.0.64/26"), 60, 60, 0)])
    do(ledger, CLIENT.renew(block, usage=(9, 8, 0)))
    assert ledger.totals() == [(0, 64, 8)]
    assert ledger.holdings([(0, CLIENT.identity)]) == [(64, 8)]
    assert database.sql("select lessee, used, share from report.lessees") == [("02:00:00:00:00:01", 8, 1)]
    assert ledger.takeback_least_used(0, (2,), 1000, 100, 0) == 1
