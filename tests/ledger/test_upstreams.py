# SPDX-License-Identifier: MPL-2.0
"""What this domain leases from upstream servers: its end is the end of all that is of it, and each message is sent by one server."""

from __future__ import annotations

import datetime as dt
import random
import select
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network

import pytest

from kea_subnet_deleg.ledger import (
    NETWORKS,
    SWEEP,
    Due,
    Kept,
    Leased,
    Ledger,
    LedgerError,
    LedgerUnavailable,
    Measured,
    Networks,
    Phase,
    Result,
    Size,
    Upstreams,
    Wanted,
)
from tests.conftest import Database
from tests.ledger.scene import CONTACT, SERVER, Client, do, lease, one, prefixes, say
from tests.ledger.test_concurrency import together, until, waits_for_lock

UPSTREAM = 0xC0000201
BLOCK = IPv4Network("172.16.0.0/24")
OTHER = IPv4Network("172.16.4.0/24")
FOR_EVER = 0xFFFFFFFF
CLIENT = Client.number(1)


def obtain(
    ledger: Ledger,
    *blocks: IPv4Network,
    lease_time: int = 3600,
    t1: int | None = None,
    t2: int | None = None,
    server: int = UPSTREAM,
    deprecated: bool = False,
    space: int = 0,
) -> list[str]:
    """Take an ACK; T1 and T2 as RFC 6656 and RFC 2131 have them where not given. Return what became of each block."""
    t1 = lease_time * 6 // 10 if t1 is None else t1
    t2 = lease_time * 7 // 8 if t2 is None else t2
    flagged = [(block, deprecated) for block in blocks or (BLOCK,)]
    kept = Upstreams(ledger).acknowledged(space, server, lease_time, t1, t2, flagged, None)
    assert [k.prefix for k in kept] == sorted(block for block, _ in flagged)
    return [k.result for k in kept]


def seconds_left(database: Database, table: str = "blocks") -> dict[str, int]:
    """Return for how many seconds each block, or origin, is held yet."""
    query = (
        "select prefix::text, extract(epoch from expires - now()) from deleg.blocks where expires < 'infinity'"
        if table == "blocks"
        else "select prefix::text, extract(epoch from expires - now()) from deleg.origins where expires < 'infinity'"
    )
    return {prefix: round(seconds) for prefix, seconds in database.sql(query)}


def pass_time(database: Database, seconds: float) -> None:
    """Make everything of the space happen so many seconds earlier."""
    by = dt.timedelta(seconds=seconds)
    database.sql(
        "with o as (update deleg.origins set expires = expires - %s, renew_at = renew_at - %s, rebind_at = rebind_at - %s,"
        "           next_try = next_try - %s, renewed = renewed - %s)"
        " update deleg.blocks set expires = expires - %s, since = since - %s",
        *[by] * 7,
    )


# ------------------------------------------------------------------------------------------------ I3


def test_what_is_leased_of_it_ends_with_it(database: Database) -> None:
    ledger = database.ledger()
    assert obtain(ledger, lease_time=1000) == ["added"]
    offer = one(ledger, CLIENT.offer(1, 26, lease_time=86400))
    assert offer.lease_time in (999, 1000)
    one(ledger, CLIENT.accept(1, *prefixes(offer)))
    assert Networks(ledger).take("hosts", None, [26], 0, 60) == [IPv4Network("172.16.0.64/26")]
    assert set(seconds_left(database).values()) <= {999, 1000}
    assert obtain(ledger, lease_time=5000) == ["renewed"]
    assert seconds_left(database)["172.16.0.64/26"] in (4999, 5000)
    assert one(ledger, CLIENT.renew(*prefixes(offer))).lease_time in (4999, 5000)
    assert database.violations() == []


@pytest.mark.parametrize("terms", [{"tags": ["sales"]}, {"reserve": 64}])
def test_terms_of_the_pool_default_are_not_those_of_what_is_leased_to_us(
    database: Database, terms: dict[str, object]
) -> None:
    """Else nobody would get what it was obtained for, and it would be obtained again and again."""
    ledger = database.ledger()
    with database.admin() as admin:
        admin.pool_change("default", terms)
    assert obtain(ledger) == ["added"]
    assert database.sql("select pool, origin from report.pools") == [("upstream", BLOCK)]
    (pool,) = ledger.directory().pools_for(0, None)
    assert (pool.name, pool.leased) == ("upstream", True)
    assert obtain(ledger, BLOCK, OTHER) == ["renewed", "added"]
    assert database.sql("select distinct pool from report.pools") == [("upstream",)]
    assert database.violations() == []


def test_how_long_hosts_leases_of_it_are_to_last(database: Database) -> None:
    """RFC 6656 3.4: as the last ACK says, whether a block of it is served in a network of ours or for a relay."""
    ledger = database.ledger()
    upstreams, networks = Upstreams(ledger), Networks(ledger)
    database.pool("10.64.0.0/26")
    offer = replace(CLIENT.offer(1), sizes=(Size(0, 26, 26, False, "test"),))
    upstreams.acknowledged(0, UPSTREAM, 1000, 600, 800, [(BLOCK, False)], None)
    assert networks.take("hosts", None, [26], 0, 60) == [IPv4Network("10.64.0.0/26")]
    assert networks.take("hosts", None, [26], 1, 60) == [IPv4Network("172.16.0.0/26")]
    (reserved,) = prefixes(one(ledger, offer))
    one(ledger, replace(CLIENT.accept(1), blocks=(Wanted.of(IPv4Network(reserved), False, False),)))
    for given in 900, None, FOR_EVER:
        upstreams.acknowledged(0, UPSTREAM, 1000, 600, 800, [(BLOCK, False)], None, renewal=True, host_lease_time=given)
        served = networks.served(["hosts"])
        assert [(block.prefix, block.longest) for block in served.local] == [
            (IPv4Network("10.64.0.0/26"), None),
            (IPv4Network("172.16.0.0/26"), given),
        ]
        assert [block.longest for block in served.reserved] == [given]
        assert database.sql("select host_lease_time from report.upstreams") == [(given,)]
        times = [pool.host_lease_times for pool in ledger.directory().pools if pool.leased]
        assert times == [{} if given is None else {BLOCK: given}]
    upstreams.listed(0, UPSTREAM, 1000, [(BLOCK, False)])
    assert database.sql("select host_lease_time from report.upstreams") == [(FOR_EVER,)]
    assert database.violations() == []


def test_a_lease_that_is_cut_short_cuts_what_is_leased_of_it(database: Database) -> None:
    """Its holders are told to renew; what ends earlier anyway is left alone."""
    ledger = database.ledger()
    assert obtain(ledger, lease_time=FOR_EVER) == ["added"]
    (long,) = lease(ledger, CLIENT, 1, 26)
    (short,) = lease(ledger, CLIENT, 2, 26, lease_time=60)
    assert obtain(ledger, lease_time=100) == ["renewed"]
    assert database.violations() == []
    left = seconds_left(database)
    assert left[long] in (99, 100)
    assert left[short] in (59, 60)
    assert database.sql("select prefix::text, reason from deleg.takebacks") == [(long, "own lease was cut short")]
    (order,) = ledger.takeback_due((SERVER,), (), True, 10, 5, 4.0)
    assert [str(block.prefix) for block in order.blocks] == [long]
    renewal = one(ledger, CLIENT.renew(long))
    assert renewal.lease_time in (98, 99, 100)
    assert not renewal.blocks[0].deprecate


def test_a_lease_is_not_taken_beyond_an_end_that_comes_nearer_meanwhile(database: Database) -> None:
    """Lock 0: the ACK that cuts our lease waits for the batch that leases from it, and cuts what that leased."""
    ledger, agent = database.ledger(), database.ledger()
    obtain(ledger, lease_time=FOR_EVER)
    (block,) = prefixes(one(ledger, CLIENT.offer(1, 26)))
    connection = database.connect()
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            say(connection, CLIENT.accept(1, block))
            answer = pool.submit(obtain, agent, lease_time=100)
            until(lambda: waits_for_lock(database) == 1)
        assert answer.result(10) == ["renewed"]
    assert seconds_left(database)[block] in (99, 100)
    assert database.violations() == []


def test_nothing_is_leased_while_the_end_comes_nearer(database: Database) -> None:
    ledger = database.ledger()
    obtain(ledger, lease_time=FOR_EVER)
    (block,) = prefixes(one(ledger, CLIENT.offer(1, 26)))
    connection = database.connect()
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            cut = "select deleg.upstream_acknowledged(0, '192.0.2.1', 100, 60, 80, %s, '{false}', null)"
            connection.execute(cut, ([BLOCK],))
            answer = pool.submit(one, ledger, CLIENT.accept(1, block))
            until(lambda: waits_for_lock(database) == 1)
        assert answer.result(10).lease_time in (99, 100)
    assert database.violations() == []


def test_when_it_ends_all_ends(database: Database) -> None:
    """Quarantine, then the origin goes: it was never ours to give."""
    ledger = database.ledger()
    obtain(ledger, BLOCK, OTHER, lease_time=1000)
    (block,) = lease(ledger, CLIENT, 1, 25)
    assert Networks(ledger).take("hosts", None, [25], 0, 60) == [IPv4Network("172.16.0.128/25")]
    pass_time(database, 1000)
    assert one(ledger, Client.number(2).offer(1, 28)).result is Result.EXHAUSTED
    swept = ledger.sweep(100, 60)
    assert (swept.leases, swept.origins_removed) == (2, 1)
    assert database.blocks() == {block: "quarantined", "172.16.0.128/25": "quarantined"}
    (ended,) = Networks(ledger).served(["hosts"]).local
    assert (ended.state, ended.closing, ended.remaining) == ("quarantined", True, 0)
    assert one(ledger, CLIENT.renew(block)).result is Result.REFUSED
    assert database.violations() == []
    pass_time(database, 60)
    assert ledger.sweep(100, 60) == (0, 0, 2, 1, 0, False)
    assert database.blocks() == {}


def test_it_is_leased_anew_while_some_of_it_is_in_quarantine(database: Database) -> None:
    ledger = database.ledger()
    obtain(ledger, lease_time=1000)
    (block,) = lease(ledger, CLIENT, 1, 25)
    pass_time(database, 1000)
    ledger.sweep(100, 60)
    assert obtain(ledger, lease_time=1000) == ["renewed"]
    assert database.blocks() == {block: "quarantined", "172.16.0.128/25": "free"}
    assert lease(ledger, Client.number(2), 1, 25) == ["172.16.0.128/25"]
    pass_time(database, 60)
    ledger.sweep(100, 60)
    assert lease(ledger, Client.number(2), 2, 25) == [block]
    assert database.violations() == []


# ------------------------------------------------------------------------------------------------ what is offered of it


def test_nothing_is_offered_back_to_where_it_came_from(database: Database) -> None:
    """Named, of an origin where the client has space already, or by best fit."""
    ledger = database.ledger()
    obtain(ledger, BLOCK, server=CONTACT.address)
    assert one(ledger, CLIENT.offer(1, 26)).result is Result.EXHAUSTED
    assert one(ledger, CLIENT.offer(2, 26, named="172.16.0.64/26")).result is Result.EXHAUSTED
    obtain(ledger, OTHER)
    assert prefixes(one(ledger, CLIENT.offer(3, 26, 26, named="172.16.0.64/26"))) == ["172.16.4.0/26", "172.16.4.64/26"]
    assert prefixes(one(ledger, CLIENT.offer(4, 20, longest=28))) == ["172.16.4.128/25"]
    elsewhere = Client(CLIENT.identity, contact=CONTACT._replace(address=0xC0000299))
    assert prefixes(one(ledger, elsewhere.offer(5, 24))) == ["172.16.0.0/24"]
    obtain(ledger, OTHER, server=CONTACT.address)
    assert one(ledger, CLIENT.offer(6, 28)).result is Result.EXHAUSTED
    assert database.violations() == []


@pytest.mark.parametrize("clients", [1, 3])
def test_what_a_client_leases_to_us_while_it_waits_is_not_offered_to_it(database: Database, clients: int) -> None:
    """What is barred is known with lock 2 alone: alone as in a batch."""
    ledger = database.ledger()
    connection = database.connect()
    asking = [Client.number(n).offer(1, 26) for n in range(clients)]
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            add = "select deleg.upstream_acknowledged(0, %s, 1000, 600, 800, %s, '{false}', null)"
            connection.execute(add, (IPv4Address(CONTACT.address), [BLOCK]))
            answer = pool.submit(do, ledger, *asking)
            until(lambda: waits_for_lock(database) == 1)
        assert [outcome.result for outcome in answer.result(10)] == [Result.EXHAUSTED] * clients
    assert database.blocks() == {str(BLOCK): "free"}


@pytest.mark.parametrize(("left", "block"), [(30, "10.64.0.0/26"), (90, "172.16.0.0/26")])
def test_an_origin_without_time_left_does_not_stand_in_the_way(database: Database, left: int, block: str) -> None:
    """It is the better fit, but where it has not as long as the shortest lease, there is another."""
    database.pool("10.64.0.0/20", name="default")
    ledger = database.ledger()
    obtain(ledger, BLOCK, lease_time=left)
    assert prefixes(one(ledger, replace(CLIENT.offer(1, 26), shortest=60))) == [block]


def test_what_upstream_asks_back_is_not_leased_on(database: Database) -> None:
    """Flag d; and an ACK without it undoes it all, but for what else is asked back."""
    ledger = database.ledger()
    obtain(ledger)
    blocks = lease(ledger, CLIENT, 1, 26, 27)
    Networks(ledger).take("hosts", None, [27], 0, 60)
    obtain(ledger, deprecated=True)
    assert one(ledger, Client.number(2).offer(1, 28)).result is Result.EXHAUSTED
    assert [block.closing for block in Networks(ledger).served(["hosts"]).local] == [True]
    assert database.sql("select prefix::text, reason from deleg.takebacks order by prefix") == [
        (block, "upstream asks it back") for block in blocks
    ]
    renewal = one(ledger, CLIENT.renew(blocks[0]))
    assert [block.deprecate for block in renewal.blocks] == [True]
    database.sql("select deleg.lease_deprecate('default', %s)", IPv4Network(blocks[1]))
    assert database.sql("select distinct reason from deleg.blocks where state = 'leased' order by 1") == [
        ("operator asked it back",),
        ("upstream asks it back",),
    ]
    assert database.violations() == []
    obtain(ledger)
    assert [block.closing for block in Networks(ledger).served(["hosts"]).local] == [False]
    renewal = one(ledger, CLIENT.renew(*blocks))
    assert [block.deprecate for block in renewal.blocks] == [False, True]
    assert prefixes(one(ledger, Client.number(2).offer(2, 28))) == ["172.16.0.128/28"]
    assert database.violations() == []


@pytest.mark.parametrize("who", ["upstream", "operator"])
def test_what_is_asked_back_for_another_reason_stays_so(database: Database, who: str) -> None:
    """By the policy, or by an operator, before or meanwhile: it does not end when the space is left to us."""
    ledger = database.ledger()
    obtain(ledger)
    blocks = [block for xid in range(1, 5) for block in lease(ledger, CLIENT, xid, 28)]
    before, meanwhile, deprecated, kept = blocks
    one(ledger, CLIENT.renew(deprecated, verdict="deprecate"))
    with database.admin() as admin:
        assert admin.lease_deprecate(IPv4Network(before))
        if who == "upstream":
            obtain(ledger, deprecated=True)
        else:
            assert admin.pool_remove(BLOCK) == 4
        assert [block.deprecate for block in one(ledger, CLIENT.renew(*blocks)).blocks] == [True] * 4
        assert one(ledger, CLIENT.accept(4, kept)).result is Result.ACKNOWLEDGED  # a retransmission
        assert admin.lease_deprecate(IPv4Network(meanwhile))
        assert not admin.lease_deprecate(IPv4Network(meanwhile))
        if who == "upstream":
            obtain(ledger, lease_time=1000)  # which is cut short as well
        else:
            admin.pool_keep(BLOCK)
    assert [block.deprecate for block in one(ledger, CLIENT.renew(*blocks)).blocks] == [True, True, True, False]
    assert database.sql("select reason from deleg.blocks where state = 'leased' order by prefix") == [
        ("operator asked it back",),
        ("operator asked it back",),
        ("test",),
        ("test",),
    ]
    assert database.violations() == []


def test_an_operator_has_the_last_word(database: Database) -> None:
    """What is being removed stays so, whatever upstream says, and goes with a RELEASE."""
    ledger = database.ledger()
    obtain(ledger)
    with database.admin() as admin:
        assert admin.pool_remove(BLOCK) == 0
    assert database.blocks() == {str(BLOCK): "free"}
    obtain(ledger)
    assert one(ledger, CLIENT.offer(1, 28)).result is Result.EXHAUSTED
    assert ledger.sweep(10, 0) == (0, 0, 0, 0, 0, False)
    assert Upstreams(ledger).give_back(3600, 10) == [Leased(0, BLOCK, UPSTREAM)]
    Upstreams(ledger).released(0, BLOCK)
    assert database.blocks() == {}


def test_an_operator_may_change_his_mind(database: Database) -> None:
    """Then upstream is asked at once what it says: it may have asked the space back itself meanwhile."""
    ledger = database.ledger()
    obtain(ledger)
    blocks = [block for xid in (1, 2) for block in lease(ledger, CLIENT, xid, 28)]
    with database.admin() as admin:
        assert admin.pool_remove(BLOCK) == 2
        assert [block.deprecate for block in one(ledger, CLIENT.renew(blocks[0])).blocks] == [True]
        assert one(ledger, Client.number(2).offer(1, 28)).result is Result.EXHAUSTED
        admin.pool_keep(BLOCK)
        assert database.violations() == []
        assert [lease.prefix for lease in Upstreams(ledger).due(10)] == [BLOCK]
        assert [block.deprecate for block in one(ledger, CLIENT.renew(*blocks)).blocks] == [False, False]
        assert prefixes(one(ledger, Client.number(2).offer(2, 28))) == ["172.16.0.32/28"]
        obtain(ledger, deprecated=True)
        assert [block.deprecate for block in one(ledger, CLIENT.renew(*blocks)).blocks] == [True, True]
        with pytest.raises(LedgerError, match="is not being removed"):
            admin.pool_keep(BLOCK)
    assert database.violations() == []


def test_what_is_being_given_back_is_given_back(database: Database) -> None:
    ledger = database.ledger()
    obtain(ledger)
    with database.admin() as admin:
        admin.pool_remove(BLOCK)
        assert Upstreams(ledger).give_back(3600, 10) == [Leased(0, BLOCK, UPSTREAM)]
        with pytest.raises(LedgerError, match="is not being removed"):
            admin.pool_keep(BLOCK)
    assert database.blocks() == {str(BLOCK): "free"}


# ------------------------------------------------------------------------------------------------ what is kept


def test_overlaps(database: Database) -> None:
    database.pool("10.64.0.0/24")
    ledger = database.ledger()
    obtain(ledger)
    found = obtain(
        ledger,
        *map(IPv4Network, ("10.64.0.0/24", "10.64.0.0/25", "10.0.0.0/8", "172.16.0.128/25", "172.16.0.0/23")),
        *map(IPv4Network, ("172.16.9.0/31", "172.16.9.1/32", "0.0.0.0/0", "172.16.1.0/24", "172.16.1.0/24")),
    )
    assert found == [*["overlaps"] * 6, "added", "renewed", *["overlaps"] * 2]  # in the order of addresses
    assert database.blocks() == dict.fromkeys(("10.64.0.0/24", str(BLOCK), "172.16.1.0/24"), "free")
    assert database.violations() == []


def test_what_is_for_no_host_is_not_taken(database: Database) -> None:
    """It goes back, as what overlaps does."""
    ledger = database.ledger()
    for prefix in ("127.0.0.0/24", "224.1.2.0/24", "169.254.0.0/16", "0.0.0.0/2"):
        assert obtain(ledger, IPv4Network(prefix)) == ["overlaps"]
    assert database.blocks() == {}


def test_another_space(database: Database) -> None:
    """It may overlap, and its pool `default` is made."""
    database.sql("insert into deleg.spaces (space, name) values (1, 'tenant')")
    ledger = database.ledger()
    assert obtain(ledger) == obtain(ledger, space=1) == ["added"]
    assert Upstreams(ledger).leased() == [Leased(0, BLOCK, UPSTREAM), Leased(1, BLOCK, UPSTREAM)]
    assert database.sql("select name from deleg.pools where space = 1") == [("default",)]
    assert Upstreams(ledger).give_back(0, 10) == [Leased(0, BLOCK, UPSTREAM)]
    assert Upstreams(ledger).give_back(0, 10) == [Leased(1, BLOCK, UPSTREAM)]
    assert database.violations() == []


def test_the_listing(database: Database) -> None:
    ledger = database.ledger()
    obtain(ledger)
    found = Upstreams(ledger).listed(
        0, UPSTREAM, 600, [(BLOCK, False), (OTHER, True), (IPv4Network("172.16.0.0/20"), False)]
    )
    assert found == [Kept(BLOCK, "known"), Kept(OTHER, "added"), Kept(IPv4Network("172.16.0.0/20"), "overlaps")]
    (due,) = Upstreams(ledger).due(10)
    assert (due.prefix, due.phase) == (OTHER, Phase.RENEW)
    assert seconds_left(database, "origins")[str(BLOCK)] in (3599, 3600)
    assert one(ledger, CLIENT.offer(1, 25, named="172.16.4.0/25")).blocks[0].prefix == IPv4Network("172.16.0.0/25")


# ------------------------------------------------------------------------------------------------ renewals


@pytest.mark.parametrize(
    ("lease_time", "passed", "phase", "next_try"),
    [
        (1000, 600, Phase.RENEW, 137.5),  # half of the time to T2 at 875
        (1000, 830, Phase.RENEW, 45),  # not less than a twentieth of the lease, but not beyond T2
        (1000, 875, Phase.REBIND, 62.5),  # half of the time to the end
        (1000, 960, Phase.REBIND, 40),  # not less than a twentieth, but not beyond the end
        (100, 60, Phase.RENEW, 13.75),
        (100, 86, Phase.RENEW, 1.5),
        (100, 95, Phase.REBIND, 5),
        (10, 8, Phase.RENEW, 0.75),
        (10, 8.75, Phase.REBIND, 1),  # not less than a second
        (864000, 864000 * 0.6, Phase.RENEW, 118800),
        (864000, 864000 - 100, Phase.REBIND, 60),  # not less than a minute
        (FOR_EVER, None, Phase.RENEW, 60),
    ],
)
def test_when_the_next_renewal_is_sent(
    database: Database, lease_time: int, passed: float | None, phase: Phase, next_try: float
) -> None:
    ledger = database.ledger()
    upstreams = Upstreams(ledger)
    t1, t2 = (FOR_EVER, FOR_EVER) if passed is None else (round(lease_time * 0.6), lease_time)
    obtain(ledger, lease_time=lease_time, t1=t1, t2=t2)
    assert upstreams.due(10) == []
    if passed is None:
        assert upstreams.renew_now(UPSTREAM, [BLOCK]) == 1
    else:
        database.sql("update deleg.origins set rebind_at = created + make_interval(secs => %s)", lease_time * 0.875)
        pass_time(database, passed)
    (due,) = upstreams.due(10)
    left = FOR_EVER if passed is None else lease_time - passed
    assert due[:4] == (0, BLOCK, UPSTREAM, phase)
    assert left - 1 <= due.remaining <= left
    ((found,),) = database.sql("select extract(epoch from next_try - now()) from deleg.origins")
    assert float(found) == pytest.approx(next_try, abs=0.4)
    assert upstreams.due(10) == []


@pytest.mark.parametrize("lease_time", [604800, FOR_EVER])
def test_what_was_asked_for_before_its_time_is_asked_for_again_soon(database: Database, lease_time: int) -> None:
    """By FORCERENEW: the answer may say that it is wanted back, and without it, nothing is given back."""
    ledger = database.ledger()
    upstreams = Upstreams(ledger)
    t1, t2 = (FOR_EVER, FOR_EVER) if lease_time == FOR_EVER else (round(lease_time * 0.6), round(lease_time * 0.875))
    obtain(ledger, lease_time=lease_time, t1=t1, t2=t2)
    assert upstreams.renew_now(UPSTREAM, [BLOCK]) == 1
    for minutes in (1, 2, 4, 8, 16, 32, 64, 64):
        assert len(upstreams.due(10)) == 1
        ((found,),) = database.sql("select extract(epoch from next_try - now()) from deleg.origins")
        assert float(found) == pytest.approx(60 * minutes, abs=0.4)
        database.sql("update deleg.origins set next_try = now()")


def test_each_renewal_is_sent_by_one_server(database: Database) -> None:
    """And by another where the first one died: when its next try is due."""
    ledgers = [database.ledger() for _ in range(4)]
    blocks = list(IPv4Network("172.16.0.0/18").subnets(new_prefix=24))
    obtain(ledgers[0], *blocks, t1=0)
    for _ in range(3):

        def claim(ledger: Ledger) -> list[IPv4Network]:
            return [due.prefix for _ in range(12) for due in Upstreams(ledger).due(7)]

        sent = together(*(partial(claim, ledger) for ledger in ledgers))
        assert sorted(prefix for found in sent for prefix in found) == blocks
        database.sql("update deleg.origins set next_try = now()")
    assert database.sql("select distinct tries from deleg.origins") == [(3,)]
    obtain(ledgers[0], *blocks)
    assert database.sql("select distinct tries from deleg.origins") == [(0,)]
    assert database.deadlocks() == 0


def test_renewals_acknowledgements_and_measurements_of_many_servers_at_once(database: Database) -> None:
    """Nobody waits in a circle, and nobody's block is lost."""
    blocks = list(IPv4Network("172.16.0.0/20").subnets(new_prefix=24))
    obtain(database.ledger(), *blocks, t1=0)
    taken = Networks(database.ledger()).take("hosts", None, [26] * 20, 0, 60)
    assert taken is not None

    def live(ledger: Ledger, number: int) -> None:
        upstreams, networks, order = Upstreams(ledger), Networks(ledger), random.Random(number)
        for xid in range(25):
            sent = [due.prefix for due in upstreams.due(5)]
            obtain(ledger, *order.sample(sent, len(sent)), t1=0, lease_time=order.choice((3600, 3000, 100, FOR_EVER)))
            networks.measured([Measured(b, order.randint(0, 60), 9, 0) for b in order.sample(taken, 10)])
            client = Client.number(number * 100 + xid)
            do(ledger, client.offer(xid, 28))
            held = do(ledger, client.listing())
            do(ledger, *(client.accept(xid, *prefixes(outcome)) for outcome in held if outcome.blocks))
            networks.drain(order.sample(taken, 2), "test")
            networks.reopen(order.sample(taken, 2))
            upstreams.renew_now(UPSTREAM, order.sample(blocks, 3))
            ledger.sweep(10, 60)
            networks.keep_days()

    together(*(partial(live, database.ledger(), number) for number in range(4)))
    assert database.violations() == []
    assert database.deadlocks() == 0


def test_what_is_reported(database: Database) -> None:
    """Seed [0124-125], RFC 6656 3.2.1.1: figures of our networks, those that lessees reported, and the whole of what nobody reports of."""
    ledger = database.ledger()
    upstreams, networks = Upstreams(ledger), Networks(ledger)

    def due() -> Due:
        upstreams.renew_now(UPSTREAM, [BLOCK])
        (found,) = upstreams.due(10)
        return found

    obtain(ledger)
    assert due()[5:] == (0, 0, 0)
    assert networks.take("hosts", None, [25], 0, 60) == [IPv4Network("172.16.0.0/25")]
    assert due()[5:] == (128, 128, 0)  # not measured yet
    networks.measured([Measured(IPv4Network("172.16.0.0/25"), 51, 74, 2)])
    assert due()[5:] == (74, 51, 2)
    (block,) = lease(ledger, CLIENT, 1, 26)
    assert due()[5:] == (115, 115, 2)  # 51, and all 64
    one(ledger, CLIENT.renew(block, usage=(30, 20, 3)))
    assert due()[5:] == (74, 71, 5)  # the 115 were not known to be used
    one(ledger, CLIENT.renew(block, usage=(40, 35, 3)))
    networks.measured([Measured(IPv4Network("172.16.0.0/25"), 52, 52, 2)])
    one(ledger, CLIENT.renew(block, usage=(40, 10, 3)))
    assert due()[5:] == (87, 62, 5)  # 52 + 35 at once
    one(ledger, CLIENT.renew(block, usage=(40, None, None)))
    assert due()[5:] == (92, 92, 2)
    one(ledger, CLIENT.release(block))
    assert due()[5:] == (92, 52, 2)
    pass_time(database, 4000)
    ledger.sweep(10, 0)
    obtain(ledger)
    assert due()[5:] == (0, 0, 0)  # another lease


def test_what_is_reported_of_much(database: Database) -> None:
    """65534 at most: 65535 would be: not reported."""
    ledger, large = database.ledger(), IPv4Network("172.16.0.0/14")
    obtain(ledger, large, t1=0)
    for n, length in enumerate((16, 17)):
        lease(ledger, Client.number(n), 1, length)
    one(ledger, Client.number(1).renew("172.17.0.0/17", usage=(32000, 31000, 30000)))
    Networks(ledger).take("hosts", None, [15], 0, 0)
    Networks(ledger).measured([Measured(IPv4Network("172.18.0.0/15"), 131000, 131000, 60000)])
    (due,) = Upstreams(ledger).due(1)
    assert due[5:] == (65534, 65534, 65534)
    assert database.sql("select in_use, high_water from report.upstreams") == [(65536 + 31000 + 131072, 131072 + 31000)]


# ------------------------------------------------------------------------------------------------ refusals, RELEASE


def test_a_refusal_stops_all_at_once(database: Database) -> None:
    ledger = database.ledger()
    obtain(ledger, BLOCK, OTHER)
    (block,) = lease(ledger, CLIENT, 1, 26)
    one(ledger, Client.number(2).offer(1, 26))
    Networks(ledger).take("hosts", None, [26], 0, 60)
    one(ledger, CLIENT.renew(block, usage=(1, 1, 1)))
    database.sql("select deleg.lease_takeback('default', %s)", IPv4Network(block))
    assert Upstreams(ledger).refused(0, UPSTREAM, [BLOCK, IPv4Network("10.0.0.0/8")], 60) == [BLOCK]
    assert database.blocks() == {
        "172.16.0.0/26": "quarantined",
        "172.16.0.64/26": "quarantined",
        "172.16.0.128/26": "quarantined",
        "172.16.0.192/26": "free",
        "172.16.4.0/24": "free",
    }
    assert database.sql("select from deleg.usage") == []
    assert one(ledger, CLIENT.renew(block)).result is Result.REFUSED
    assert prefixes(one(ledger, Client.number(3).offer(1, 26))) == ["172.16.4.0/26"]
    assert Upstreams(ledger).leased() == [Leased(0, OTHER, UPSTREAM)]
    assert database.violations() == []
    pass_time(database, 3600)
    assert ledger.sweep(100, 60).origins_removed == 1
    assert Upstreams(ledger).refused(0, UPSTREAM, [BLOCK], 60) == []


def test_what_is_refused_is_nobodys_as_long_as_somebody_may_have_it(database: Database) -> None:
    """Also where upstream leases it to us once more: who has it may not hear of that, nor do its hosts."""
    ledger = database.ledger()
    upstreams = Upstreams(ledger)
    obtain(ledger, lease_time=1000)
    (long,) = lease(ledger, CLIENT, 1, 26, lease_time=86400)
    (short,) = lease(ledger, Client.number(2), 1, 26, lease_time=20)
    assert Networks(ledger).take("hosts", None, [26], 0, 60) == [IPv4Network("172.16.0.128/26")]
    assert upstreams.refused(0, UPSTREAM, [BLOCK], 60) == [BLOCK]
    left, local = seconds_left(database), "172.16.0.128/26"
    for prefix, seconds in {long: 1000, local: 1000, short: 60}.items():
        assert left[prefix] in (seconds - 1, seconds)
    assert obtain(ledger, lease_time=5000) == ["renewed"]
    pass_time(database, 60)
    ledger.sweep(100, 60)
    stranger = Client.number(3)
    assert lease(ledger, stranger, 1, 26, 26) == [short, "172.16.0.192/26"]
    assert one(ledger, stranger.offer(2, 26)).result is Result.EXHAUSTED
    assert one(ledger, CLIENT.renew(long)).result is Result.REFUSED
    assert database.violations() == []
    pass_time(database, 940)
    ledger.sweep(100, 60)
    assert [database.blocks()[prefix] for prefix in (long, local)] == ["free", "free"]
    assert database.violations() == []


def test_who_holds_some_of_what_is_refused_is_told(database: Database) -> None:
    """By FORCERENEW (RFC 6656 5.4); only who leased it, and until the holder has heard NAK, or somebody else may get it."""
    ledger = database.ledger()
    obtain(ledger, BLOCK, OTHER)
    blocks = [lease(ledger, Client.number(n), 1, 26)[0] for n in (1, 2, 3)]
    (kept,) = lease(ledger, Client.number(3), 2, 24)
    assert kept.startswith("172.16.4.")
    one(ledger, Client.number(4).offer(1, 26))
    assert Upstreams(ledger).refused(0, UPSTREAM, [BLOCK], 60) == [BLOCK]
    told = ledger.takeback_due((SERVER,), (), True, 50, 5, 60.0)
    assert sorted(str(block.prefix) for order in told for block in order.blocks) == sorted(blocks)
    assert [reason for (reason,) in database.sql("select reason from deleg.takebacks")] == ["refused by 192.0.2.1"] * 3

    def left() -> list[str]:
        assert database.violations() == []
        return [prefix for (prefix,) in database.sql("select prefix::text from deleg.takebacks t order by t.prefix")]

    assert one(ledger, Client.number(1).renew(blocks[0])).result is Result.REFUSED
    # This one's answer is an ACK, which does not say it.
    assert one(ledger, Client.number(3).renew(blocks[2], kept)).result is Result.ACKNOWLEDGED
    assert left() == blocks[1:]
    assert one(ledger, Client.number(3).renew(blocks[2])).result is Result.REFUSED
    assert left() == blocks[1:2]
    stranger = one(ledger, Client.number(1).release(blocks[1]))
    assert (stranger.result, left()) == (Result.NOTHING, blocks[1:2])
    pass_time(database, 86400)
    ledger.sweep(100, 60)
    assert left() == []


def test_who_gives_up_what_was_refused_is_told_no_more(database: Database) -> None:
    ledger = database.ledger()
    obtain(ledger, BLOCK, OTHER)
    (block,) = lease(ledger, CLIENT, 1, 26)
    Upstreams(ledger).refused(0, UPSTREAM, [BLOCK], 60)
    assert one(ledger, CLIENT.release(block)).result is Result.NOTHING
    assert database.sql("select from deleg.takebacks") == []
    assert database.blocks()[block] == "quarantined"
    assert database.violations() == []


def test_what_is_wholly_free_is_given_back_after_a_while(database: Database) -> None:
    ledger = database.ledger()
    upstreams = Upstreams(ledger)
    obtain(ledger, BLOCK, OTHER)
    assert upstreams.give_back(60, 10) == []
    (block,) = lease(ledger, CLIENT, 1, 26)
    pass_time(database, 60)
    assert upstreams.give_back(60, 10) == [Leased(0, OTHER, UPSTREAM)]
    assert one(ledger, Client.number(2).offer(1, 24, longest=24)).result is Result.EXHAUSTED
    assert upstreams.due(10) == []
    upstreams.released(0, OTHER)
    upstreams.released(0, BLOCK)
    assert upstreams.leased() == [Leased(0, BLOCK, UPSTREAM)]
    one(ledger, CLIENT.release(block, quarantine=0))
    ledger.sweep(10, 0)
    assert upstreams.give_back(60, 10) == []
    pass_time(database, 60)
    assert upstreams.give_back(60, 10) == [Leased(0, BLOCK, UPSTREAM)]
    assert database.violations() == []


def test_until_something_is_due(database: Database) -> None:
    """Never later than it is: who rests until then misses neither a renewal nor a RELEASE."""
    ledger = database.ledger()
    upstreams = Upstreams(ledger)

    def due_in(after: float = 3600.0) -> int:
        return round(upstreams.due_in(after))

    assert due_in() == 3600
    obtain(ledger, BLOCK, lease_time=1000, t1=600)
    assert (due_in(), due_in(60.0), due_in(0.0)) == (600, 60, 0)
    (block,) = lease(ledger, CLIENT, 1, 26)
    assert due_in(0.0) == 600
    pass_time(database, 590)
    assert due_in(0.0) == 10
    pass_time(database, 10)
    assert due_in(0.0) == 0
    assert len(upstreams.due(10)) == 1
    assert due_in(0.0) in (137, 138)  # half of what is left until T2
    one(ledger, CLIENT.release(block, quarantine=0))
    ledger.sweep(10, 0)
    assert due_in(0.0) in (137, 138)  # not while an answer is awaited
    obtain(ledger, BLOCK, lease_time=1000, t1=600)
    assert due_in(60.0) == 60
    database.sql("update deleg.origins set closing = true where kind = 'upstream'")
    assert due_in(60.0) == 0
    assert len(upstreams.give_back(60, 10)) == 1
    assert due_in(60.0) == 10  # when another server would relieve the one that has it
    upstreams.released(0, BLOCK)
    assert due_in(60.0) == 3600


def test_a_server_that_dies_before_its_release_is_relieved(database: Database) -> None:
    ledgers = [database.ledger() for _ in range(4)]
    blocks = list(IPv4Network("172.16.0.0/20").subnets(new_prefix=24))
    obtain(ledgers[0], *blocks)
    for _ in range(2):
        found = together(*(partial(Upstreams(ledger).give_back, 0.0, 5) for ledger in ledgers))
        found += [Upstreams(ledgers[0]).give_back(0.0, 100)]
        assert sorted(leased.prefix for some in found for leased in some) == blocks
        pass_time(database, 10)
    assert database.violations() == []


def test_an_acknowledgement_that_crosses_the_release(database: Database) -> None:
    """It does not bring back what may be another's already. When it comes later, it does: then upstream knows of no RELEASE."""
    ledger = database.ledger()
    upstreams = Upstreams(ledger)
    obtain(ledger)
    assert len(upstreams.give_back(0, 10)) == 1
    assert obtain(ledger) == ["renewed"]
    assert one(ledger, CLIENT.offer(1, 24)).result is Result.EXHAUSTED
    pass_time(database, 10)
    assert obtain(ledger) == ["renewed"]
    assert prefixes(one(ledger, CLIENT.offer(2, 24))) == [str(BLOCK)]
    upstreams.released(0, BLOCK)
    assert database.blocks() == {str(BLOCK): "offered"}
    assert database.violations() == []


def test_what_was_given_back_is_not_renewed(database: Database) -> None:
    """An answer to a renewal that comes after the RELEASE; without it, upstream had another client by then."""
    ledger = database.ledger()
    upstreams = Upstreams(ledger)
    obtain(ledger, BLOCK, OTHER)
    upstreams.give_back(0, 1)
    upstreams.released(0, BLOCK)
    flagged = [(OTHER, False), (BLOCK, False)]
    kept = upstreams.acknowledged(0, UPSTREAM, 3600, 1800, 3000, flagged, None, renewal=True)
    assert kept == [Kept(BLOCK, "gone"), Kept(OTHER, "renewed")]
    assert database.blocks() == {str(OTHER): "free"}
    assert database.violations() == []


def test_nothing_is_given_back_while_its_renewal_is_not_answered(database: Database) -> None:
    ledger = database.ledger()
    upstreams = Upstreams(ledger)
    obtain(ledger, t1=0)
    assert len(upstreams.due(10)) == 1
    assert upstreams.give_back(0, 10) == []
    obtain(ledger)
    assert len(upstreams.give_back(0, 10)) == 1


# ------------------------------------------------------------------------------------------------ FORCERENEW, claims, identity


def test_a_forcerenew_makes_it_due(database: Database) -> None:
    ledger = database.ledger()
    upstreams = Upstreams(ledger)
    obtain(ledger, BLOCK, OTHER)
    assert upstreams.renew_now(UPSTREAM + 1, [BLOCK]) == 0
    assert upstreams.due(10) == []
    assert upstreams.renew_now(UPSTREAM, [BLOCK, IPv4Network("172.16.0.0/20")]) == 1
    assert [due.prefix for due in upstreams.due(10)] == [BLOCK]
    upstreams.refused(0, UPSTREAM, [BLOCK], 60)
    upstreams.give_back(0, 10)
    assert upstreams.renew_now(UPSTREAM, [BLOCK, OTHER]) == 0


def test_by_what_a_forcerenew_is_checked(database: Database) -> None:
    upstreams = Upstreams(database.ledger())
    assert upstreams.secret(UPSTREAM) == (None, 0)
    assert upstreams.replayed(UPSTREAM, 5)
    assert not upstreams.replayed(UPSTREAM, 5)
    assert upstreams.replayed(UPSTREAM, 0xEB7A_F123_0000_0000)  # an NTP time: 64 bits, all of them (RFC 3118 2)
    assert not upstreams.replayed(UPSTREAM, 6)
    assert upstreams.secret(UPSTREAM) == (None, 0xEB7A_F123_0000_0000)
    for nonce, replay in ((bytes(16), 0), (None, 9), (bytes(16), 9), (bytes(range(16)), 0)):
        upstreams.acknowledged(0, UPSTREAM, 60, 30, 50, [], nonce)
        assert upstreams.secret(UPSTREAM) == (nonce or bytes(16), replay)
        upstreams.replayed(UPSTREAM, 9)
    assert upstreams.secret(UPSTREAM + 1) == (None, 0)


def test_claims(database: Database) -> None:
    upstreams = Upstreams(database.ledger())
    assert upstreams.claim("listing", "one", 60)
    assert not upstreams.claim("listing", "two", 60)
    assert upstreams.claim("listing", "one", 0)
    assert upstreams.claim("listing", "two", 60)
    upstreams.unclaim("listing", "one")
    assert not upstreams.claim("listing", "one", 60)
    upstreams.unclaim("listing", "two")
    assert upstreams.claim("listing", "one", 60)


def test_a_claim_is_of_one_server(database: Database) -> None:
    ledgers = [database.ledger() for _ in range(4)]
    for n in range(20):
        found = together(*(partial(Upstreams(ledger).claim, f"work {n}", str(ledger), 60.0) for ledger in ledgers))
        assert sorted(found) == [False, False, False, True]


def test_the_identity_is_the_ledgers(database: Database) -> None:
    """RFC 4361 6.1: type 255, an IAID of four octets, a DUID; RFC 6355: of type 4, a UUID."""
    first, second = (Upstreams(database.ledger()).identity() for _ in range(2))
    assert first == second
    assert (first[0], first[5:7], len(first)) == (255, b"\0\4", 23)
    assert uuid.UUID(bytes=first[7:]).version == 4


# ------------------------------------------------------------------------------------------------ NOTIFY


def told(ledger: Ledger) -> set[str]:
    """Wait for a while for the ledger to tell of a change."""
    select.select([ledger.fileno()], [], [], 0.3)
    return ledger.notified()


def test_who_listens_is_told(database: Database) -> None:
    ledger, listener = database.ledger(), database.ledger()
    networks, block = Networks(ledger), IPv4Network("172.16.0.128/26")

    def takeback(block: str) -> None:
        database.sql("select deleg.lease_takeback('default', %s::cidr)", block)

    listener.listen()
    assert listener.notified() == {NETWORKS, SWEEP}  # of what was before, nobody knows
    assert listener.notified() == set()
    reserving = replace(CLIENT.offer(5, 28), sizes=(Size(0, 28, 28, False, "test"),))
    relay = replace(CLIENT.accept(5), blocks=(Wanted.of(IPv4Network("172.16.0.64/28"), False, False),))
    changes: list[tuple[str, Callable[[], object], bool | set[str]]] = [
        ("obtained", lambda: obtain(ledger, lease_time=10000), True),
        ("offered", lambda: one(ledger, CLIENT.offer(1, 28, 28, named="172.16.0.192/28")), False),
        ("leased", lambda: one(ledger, CLIENT.accept(1, "172.16.0.192/28")), False),
        ("renewed", lambda: one(ledger, CLIENT.renew("172.16.0.192/28")), False),
        ("released", lambda: one(ledger, CLIENT.release("172.16.0.192/28", quarantine=0)), False),
        ("taken", lambda: networks.take("hosts", None, [26], 0, 60), True),
        ("not taken", lambda: networks.take("hosts", None, [26], 0, 60), False),
        ("measured", lambda: networks.measured([Measured(block, 1, 1, 1)]), False),
        ("drained", lambda: networks.drain([block], "test"), True),
        ("reopened", lambda: networks.reopen([block]), True),
        ("not reopened", lambda: networks.reopen([block]), False),
        ("drained again", lambda: networks.drain([block], "test"), True),
        ("ended", lambda: networks.end([block], 0, "test"), True),
        ("swept", lambda: ledger.sweep(10, 0), True),
        ("swept again", lambda: ledger.sweep(10, 0), False),
        (
            "reserved: offer",
            lambda: one(ledger, replace(reserving, sizes=(reserving.sizes[0]._replace(named="172.16.0.64/28"),))),
            False,
        ),
        ("reserved", lambda: one(ledger, relay), True),
        ("reserved: released", lambda: one(ledger, CLIENT.release("172.16.0.64/28", quarantine=0)), True),
        ("leased again", lambda: lease(ledger, CLIENT, 6, 28), False),
        ("not asked back", lambda: takeback("172.16.0.0/28"), False),
        (
            "asked back",
            lambda: takeback(next(b for b, state in database.blocks().items() if state == "leased")),
            {SWEEP},
        ),
        ("given up", lambda: obtain(ledger, deprecated=True), {NETWORKS, SWEEP}),
        ("refused", lambda: Upstreams(ledger).refused(0, UPSTREAM, [BLOCK], 60), {NETWORKS, SWEEP}),
    ]
    for what, change, tells in changes:
        change()
        assert told(listener) == (({NETWORKS} if tells else set()) if isinstance(tells, bool) else tells), what


def test_a_change_that_is_rolled_back_is_not_told(database: Database) -> None:
    listener, connection = database.ledger(), database.connect()
    listener.listen()
    listener.notified()
    with connection.transaction(force_rollback=True):
        connection.execute("select deleg._tell_networks()")
    assert told(listener) == set()


def test_listening_survives_a_lost_connection(database: Database) -> None:
    listener = Ledger(database.dsn("kea_deleg_hook"), 30.0)
    with pytest.raises(LedgerUnavailable, match="not connected"):
        listener.fileno()
    listener.listen()  # when there is a connection
    listener.connect()
    assert listener.notified() == {NETWORKS, SWEEP}
    database.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'kea_deleg_hook'")
    with pytest.raises(LedgerUnavailable):
        until(lambda: told(listener) == {"never"})
    assert not listener.connected
    listener.connect()
    assert listener.notified() == {NETWORKS, SWEEP}
    obtain(database.ledger())
    assert told(listener) == {NETWORKS}
    listener.close()


def test_what_is_told_during_a_call_is_not_lost(database: Database) -> None:
    listener = database.ledger()
    listener.listen()
    listener.notified()
    obtain(listener)
    listener.directory()
    assert listener.notified() == {NETWORKS}
