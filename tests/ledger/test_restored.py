# SPDX-License-Identifier: MPL-2.0
"""A ledger of a backup: what was leased, renewed, released and obtained since is not in it, and nothing of that may be leased twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from kea_subnet_deleg.ledger import LedgerError, Listing, Networks, Result, Upstreams
from kea_subnet_deleg.policy import Proportional
from kea_subnet_deleg.roles.delegating import Delegating
from kea_subnet_deleg.runtime.views import LedgerViews
from tests.client.codec import Block, Type, decode, information
from tests.conftest import Database
from tests.ledger.scene import DAY, SERVER, Client, lease, one, prefixes, say
from tests.ledger.test_concurrency import until, waits_for_lock
from tests.unit.fakes import FakeKea, inbound, message, surroundings, terms

LONGEST = 7 * DAY
UPSTREAM = 0xC0000201  # 192.0.2.1
HOLDER, NEWCOMER = Client.number(1), Client.number(9)
HELD, OFFERED, RELEASED = "10.64.0.0/26", "10.64.0.64/26", "10.64.0.128/26"


@pytest.fixture
def restored(database: Database) -> Database:
    """A ledger in which one block was leased for a day, one offered, one released, the rest free; then it was restored."""
    database.pool("10.64.0.0/22")
    ledger = database.ledger()
    assert lease(ledger, HOLDER, 1, 26) == [HELD]
    one(ledger, Client.number(2).offer(2, 26))
    assert lease(ledger, Client.number(3), 3, 26) == [RELEASED]
    assert one(ledger, Client.number(3).release(RELEASED)).result is Result.RELEASED
    with database.admin() as admin:
        assert admin.restored(LONGEST) == (5, 1, 0)
    return database


def ends(database: Database) -> dict[str, int]:
    """Return in how many whole hours each block's state ends."""
    return {
        str(prefix): round(seconds / 3600)
        for prefix, seconds in database.sql("select prefix, extract(epoch from expires - now()) from deleg.blocks")
    }


def later(database: Database) -> None:
    """Have as much time pass as somebody may hold something for whom the backup does not know."""
    database.sql("update deleg.blocks set expires = now(), due = now() where state = 'quarantined'")
    database.sql("update deleg.domain set restored_until = now()")


def test_nothing_is_leased_that_somebody_may_hold(restored: Database) -> None:
    ledger = restored.ledger()
    assert restored.blocks() == {
        HELD: "leased",
        **dict.fromkeys((OFFERED, RELEASED, "10.64.0.192/26", "10.64.1.0/24", "10.64.2.0/23"), "quarantined"),
    }
    assert set(ends(restored).values()) == {LONGEST // 3600}
    assert one(ledger, NEWCOMER.offer(9, 30)).result is Result.EXHAUSTED
    assert ledger.sweep(100, 60).quarantines == 0
    assert restored.violations() == []
    later(restored)
    while ledger.sweep(100, 60):
        pass
    assert restored.blocks() == {
        HELD: "leased",
        OFFERED: "free",
        "10.64.0.128/25": "free",
        "10.64.1.0/24": "free",
        "10.64.2.0/23": "free",
    }
    assert lease(ledger, NEWCOMER, 10, 26) == [OFFERED]
    assert restored.violations() == []


def test_what_the_backup_knows_goes_on(restored: Database) -> None:
    """Its holder may have renewed since, for as long as can be; it renews again as ever."""
    ledger = restored.ledger()
    outcome = one(ledger, HOLDER.renew(HELD))
    assert (outcome.result, outcome.lease_time) == (Result.ACKNOWLEDGED, DAY)
    assert one(ledger, HOLDER.release(HELD)).result is Result.RELEASED


@pytest.mark.parametrize("block", [OFFERED, RELEASED, "10.64.1.0/24"])
def test_who_holds_what_the_backup_does_not_know_is_not_told_to_stop(restored: Database, block: str) -> None:
    """It may be so: nothing is said, and nobody else gets it while it can last."""
    ledger = restored.ledger()
    for client in (Client.number(2), Client.number(3), NEWCOMER):
        assert one(ledger, client.renew(block)).result is Result.NOTHING
        assert one(ledger, client.release(block)).result is Result.NOTHING
    assert restored.blocks()[block] == "quarantined"


def test_what_may_have_been_given_back_is_not_listed(restored: Database) -> None:
    """RFC 6656 6: a client that lost its memory would take it for its own. Once it was renewed, it is known to be."""
    ledger = restored.ledger()
    listing = Listing(0, HOLDER.identity, 1, None, 10)
    assert one(ledger, listing).result is Result.NOTHING
    assert one(ledger, HOLDER.renew(HELD)).result is Result.ACKNOWLEDGED
    assert prefixes(one(ledger, listing)) == [HELD]


@pytest.mark.parametrize("lease_time", [DAY, 30 * DAY])
def test_it_is_listed_when_that_is_over(database: Database, lease_time: int) -> None:
    database.pool("10.64.0.0/22")
    ledger = database.ledger()
    assert lease(ledger, HOLDER, 1, 26, lease_time=lease_time) == [HELD]
    with database.admin() as admin:
        admin.restored(LONGEST)
    listing = Listing(0, HOLDER.identity, 1, None, 10)
    assert one(ledger, listing).result is Result.NOTHING
    database.sql("update deleg.domain set restored_until = now()")
    assert prefixes(one(ledger, listing)) == [HELD]


def test_nobody_is_asked_back_meanwhile(restored: Database) -> None:
    """What is withheld counts as on its way back."""
    assert restored.ledger().takeback_least_used(0, [2], 512, 10, 0) == 0


def test_what_is_withheld_is_no_scarcity(restored: Database) -> None:
    """By proportional, an unused block would be asked back when nothing is free."""
    ledger, views = restored.ledger(), LedgerViews()
    for known in (False, True):
        if known:
            restored.sql("update deleg.domain set restored_until = now()")
        views.read(ledger)
        assert views.directory.restored is not known
        role = Delegating(
            replace(terms(), policy="proportional"),
            surroundings(ledger, views, FakeKea(), {SERVER: 2}, policies={"proportional": Proportional()}),
        )
        block = Block(IPv4Network(HELD), hierarchical=True).using(10, 1, 0)
        (answer,) = role.handle([inbound(message(Type.REQUEST, information(block), client=1, xid=1))])
        (renewed,) = decode(answer.data).allocation.blocks
        assert renewed.deprecate is known


def test_what_upstream_says_we_hold_may_be_leased_of(restored: Database) -> None:
    """It was obtained after the backup, and so may have been leased."""
    ledger = restored.ledger()
    (found,) = Upstreams(ledger).listed(0, UPSTREAM, DAY, [(IPv4Network("10.96.0.0/24"), False)])
    assert found[1] == "added"
    assert restored.blocks()["10.96.0.0/24"] == "quarantined"
    assert ends(restored)["10.96.0.0/24"] == 24  # not longer than our own lease
    later(restored)
    (found,) = Upstreams(ledger).listed(0, UPSTREAM, DAY, [(IPv4Network("10.97.0.0/24"), False)])
    assert restored.blocks()["10.97.0.0/24"] == "free"


ORIGIN = IPv4Network("10.96.0.0/24")


def obtained(database: Database, seconds: int) -> Upstreams:
    """Lease an origin for so many seconds, and a /26 of it to a client, as a backup has it that is restored now."""
    ledger = database.ledger()
    upstreams = Upstreams(ledger)
    upstreams.acknowledged(0, UPSTREAM, DAY, DAY // 2, DAY - 1, [(ORIGIN, False)], None)
    assert lease(ledger, HOLDER, 1, 26) == ["10.96.0.0/26"]
    database.sql("update deleg.origins set expires = now() + make_interval(secs => %s)", seconds)
    database.sql(
        "update deleg.blocks set expires = now() + make_interval(secs => %s), due = now() + make_interval(secs => %s)"
        " where state = 'leased'", seconds, seconds,
    )  # fmt: skip
    with database.admin() as admin:
        admin.restored(LONGEST)
    return upstreams


def test_what_our_own_lease_is_renewed_for_may_be_held_as_long(database: Database) -> None:
    """By the backup it ended in an hour; it was renewed since, and so was what is held of it."""
    upstreams = obtained(database, 3600)
    assert set(ends(database).values()) == {1}
    assert [due.prefix for due in upstreams.due(10)] == [ORIGIN]
    upstreams.acknowledged(0, UPSTREAM, 3 * DAY, DAY, 2 * DAY, [(ORIGIN, False)], None)
    assert set(ends(database).values()) == {72}
    upstreams.acknowledged(0, UPSTREAM, 30 * DAY, DAY, 2 * DAY, [(ORIGIN, False)], None)
    assert set(ends(database).values()) == {LONGEST // 3600}
    assert database.violations() == []
    ledger = database.ledger()
    assert one(ledger, HOLDER.renew("10.96.0.0/26")).lease_time == DAY  # now it is known
    upstreams.acknowledged(0, UPSTREAM, 30 * DAY, DAY, 2 * DAY, [(ORIGIN, False)], None)
    assert ends(database)["10.96.0.0/26"] == 24


def test_our_own_lease_ended_by_the_backup(database: Database) -> None:
    """It was renewed since: upstream says so. Until then nobody is told to stop, and nothing is leased of it."""
    upstreams, ledger = obtained(database, -1), database.ledger()
    assert set(database.blocks().values()) == {"quarantined"}
    assert one(ledger, HOLDER.renew("10.96.0.0/26")).result is Result.NOTHING
    assert [kept.result for kept in upstreams.listed(0, UPSTREAM, DAY, [(ORIGIN, False)])] == ["added"]
    assert set(database.blocks().values()) == {"quarantined"}
    assert set(ends(database).values()) == {24}
    assert one(ledger, HOLDER.renew("10.96.0.0/26")).result is Result.NOTHING
    assert one(ledger, NEWCOMER.offer(9, 26)).result is Result.EXHAUSTED
    assert database.violations() == []


def test_our_own_lease_ended_and_was_swept_before_upstream_was_heard(database: Database) -> None:
    upstreams, ledger = obtained(database, -1), database.ledger()
    while ledger.sweep(100, 60):
        pass
    assert database.blocks() == {}
    assert [kept.result for kept in upstreams.listed(0, UPSTREAM, DAY, [(ORIGIN, False)])] == ["added"]
    assert database.blocks() == {str(ORIGIN): "quarantined"}


@pytest.mark.parametrize("ended", ["by the backup", "since"])
@pytest.mark.parametrize("heard", ["listed", "acknowledged"])
def test_what_was_swept_before_upstream_was_heard_is_withheld_again(database: Database, ended: str, heard: str) -> None:
    """A network had some of it: while that is in quarantine the origin stays, and the rest is free, though somebody may hold it."""
    ledger = database.ledger()
    upstreams = Upstreams(ledger)
    upstreams.acknowledged(0, UPSTREAM, DAY, DAY // 2, DAY - 1, [(ORIGIN, False)], None)
    assert Networks(ledger).take("hosts", None, [26], 0, 60) == [IPv4Network("10.96.0.0/26")]
    assert lease(ledger, HOLDER, 1, 26) == ["10.96.0.64/26"]

    def end() -> None:
        database.sql("update deleg.origins set expires = now()")
        database.sql("update deleg.blocks set expires = now(), due = now() where expires is not null")

    if ended == "by the backup":
        end()
    with database.admin() as admin:
        admin.restored(LONGEST)
    if ended == "since":
        end()
    while ledger.sweep(100, 2 * DAY):
        pass
    served, was_leased, rest = "10.96.0.0/26", "10.96.0.64/26", "10.96.0.128/25"
    assert (database.blocks()[served], database.blocks()[rest]) == ("quarantined", "free")
    if heard == "listed":
        assert [kept.result for kept in upstreams.listed(0, UPSTREAM, DAY, [(ORIGIN, False)])] == ["added"]
    else:
        kept = upstreams.acknowledged(0, UPSTREAM, DAY, DAY // 2, DAY - 1, [(ORIGIN, False)], None)
        assert [block.result for block in kept] == ["renewed"]
    assert set(database.blocks().values()) == {"quarantined"}
    # What is in quarantine for longer anyway stays there.
    assert ends(database) == {served: 48, was_leased: 24 if ended == "by the backup" else 48, rest: 24}
    assert one(ledger, NEWCOMER.offer(9, 26)).result is Result.EXHAUSTED
    assert database.violations() == []
    later(database)
    while ledger.sweep(100, 60):
        pass
    assert database.blocks() == {str(ORIGIN): "free"}
    assert lease(ledger, NEWCOMER, 10, 26) == [served]
    assert database.violations() == []


def test_an_ack_waits_for_who_has_some_of_what_is_kept_and_waits_for_the_space(database: Database) -> None:
    """Not for the row with the space in hand: then both would wait for each other."""
    upstreams = obtained(database, 3600)
    connection = database.connect()
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            say(connection, HOLDER.renew("10.96.0.0/26"))
            answer = pool.submit(upstreams.acknowledged, 0, UPSTREAM, 3 * DAY, DAY, 2 * DAY, [(ORIGIN, False)], None)
            until(lambda: waits_for_lock(database) == 1)
            say(connection, NEWCOMER.offer(9, 26))
        assert [kept.result for kept in answer.result(10)] == ["renewed"]
    assert database.deadlocks() == 0
    left = ends(database)
    assert left.pop("10.96.0.0/26") == 1  # what was said just before
    assert set(left.values()) == {72}


def test_what_overlaps_is_not_given_back(database: Database) -> None:
    """It was given back and obtained in another size since, and somebody may hold some of it."""
    upstreams = obtained(database, 3600)
    larger = IPv4Network("10.96.0.0/20")
    assert [kept.result for kept in upstreams.listed(0, UPSTREAM, DAY, [(larger, False)])] == ["known"]
    later(database)
    assert [kept.result for kept in upstreams.listed(0, UPSTREAM, DAY, [(larger, False)])] == ["overlaps"]


def test_a_network_block_can_be_put_away(database: Database) -> None:
    """As docs/install.md has it, where the network may have given it back since."""
    database.pool("10.64.0.0/24")
    assert Networks(database.ledger()).take("hosts", None, [26], 0, 1) == [IPv4Network(HELD)]
    with database.admin() as admin:
        assert admin.restored(LONGEST).served == 1
    database.sql("select deleg.network_drain('{10.64.0.0/26}', 'restored')")
    database.sql("select deleg.network_end('{10.64.0.0/26}', 604800, 'restored')")
    assert set(database.blocks().values()) == {"quarantined"}
    assert set(ends(database).values()) == {LONGEST // 3600}
    assert database.violations() == []


@pytest.mark.parametrize("longest", [0, 4294967295])
def test_how_long_a_lease_can_be_has_to_be_told(database: Database, longest: int) -> None:
    with (
        database.admin() as admin,
        pytest.raises(LedgerError, match=f"the longest lease is {longest}, must be from 1 to 4294967294"),
    ):
        admin.restored(longest)
