# SPDX-License-Identifier: MPL-2.0
"""The partitions of the events: made ahead, dropped when their time is over, and nothing that I5 needs goes with them, but who is named by none."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from itertools import pairwise
from typing import Any, Final, LiteralString

import psycopg
import pytest

from ci.labs.cluster import Cluster
from kea_subnet_deleg.ledger import Ledger, LedgerError, Note, Result, Upstreams
from tests.conftest import TEMPLATE, Database
from tests.ledger.scene import DAY, Client, do, lease, one, prefixes, say

WEEKS: Final = 8
"""Weeks before this one that the ledger of these tests has partitions of."""
AHEAD: Final = 4
"""Weeks after this one that every ledger has them of."""


@pytest.fixture
def fresh(cluster: Cluster) -> Iterator[Database]:
    """A ledger of its own that has just been made."""
    cluster.execute("postgres", "drop database if exists aged", f"create database aged template {TEMPLATE}")
    with Database(cluster, "aged") as database:
        yield database
    cluster.execute("postgres", "drop database aged")


@pytest.fixture
def aged(fresh: Database) -> Database:
    """A ledger of its own that is eight weeks old: a partition for each of them."""
    remake(fresh, WEEKS)
    return fresh


def remake(database: Database, weeks: int) -> None:
    """Make the partitions anew, as if the first had been made so many weeks ago. Events are lost."""
    for part in parts(database):
        database.sql(psycopg.sql.SQL("drop table deleg.{}").format(psycopg.sql.Identifier(part)).as_string(None))
    database.sql("select deleg._make_events(null, now() - make_interval(days => 7 * %s))", weeks)
    for _ in range(weeks + AHEAD):
        database.sql("select deleg._make_events(max(ends), max(ends)) from deleg._event_parts()")


def parts(database: Database) -> list[str]:
    return [part for (part,) in database.sql("select part from deleg._event_parts() order by ends")]


def live(database: Database, ledger: Ledger, chance: random.Random, weeks_ago: int) -> None:
    """Let clients do this and that, so many weeks ago: after it happened, its events are moved into the past.

    Each week somebody comes for the first time, and somebody else was there for the last time.
    """
    ((last, now),) = database.sql("select coalesce(max(seq), 0), now() from deleg.events")
    for _ in range(12):
        client, xid = Client.number(weeks_ago + chance.randrange(6)), chance.getrandbits(32)
        (offer,) = do(ledger, client.offer(xid, *(chance.randint(23, 28) for _ in range(chance.randint(1, 2)))))
        if offer.result is Result.OFFERED and chance.random() < 0.8:
            do(ledger, client.accept(xid, *prefixes(offer)[: chance.randint(1, 2)]))
        (listed,) = do(ledger, client.listing())
        do(ledger, client.renew(*prefixes(listed)[:1], verdict=chance.choice(("full", "deprecate", "refuse"))))
        do(ledger, client.release(*prefixes(listed)[1:3], quarantine=chance.choice((0, 60))))
        ledger.sweep(10, 0)
    database.sql("update deleg.blocks set expires = now() where state = 'quarantined'")
    while ledger.sweep(10, 0):
        pass
    database.sql("update deleg.events set at = at - make_interval(days => %s) where seq > %s", 7 * weeks_ago, last)
    database.sql(
        "update deleg.lessees set named = named - make_interval(days => %s) where named > %s", 7 * weeks_ago, now
    )


def last_words(database: Database) -> dict[str, Any]:
    """Return what the history of each block of the table ends with, by its prefix."""
    return {
        prefix: event
        for prefix, *event in database.sql(
            "select b.prefix::text, h.* from deleg.blocks b cross join lateral ("
            " select seq, kind, state, draining, expires, reason, detail from deleg.history(b.space, b.prefix) order by seq desc limit 1) as h"
        )
    }


NAMELESS: LiteralString = (
    "select lessee from deleg.lessees l where named < %s and not exists (select from deleg.events e where e.lessee = l.lessee)"
    " and not exists (select from deleg.blocks b where b.lessee = l.lessee)"
)
"""The lessees that nothing names any more, or has named since."""


def dangling(database: Database) -> list[Any]:
    """Return the events, of those that are kept, whose lessee is not known any more."""
    return database.sql(
        "select * from deleg.events e where lessee is not null and lessee not in (select lessee from deleg.lessees)"
    )


@pytest.mark.parametrize("seed", range(4))
def test_old_partitions_go_and_the_events_still_replay_to_the_table(aged: Database, seed: int) -> None:
    aged.pool("10.64.0.0/18")
    aged.pool("10.65.0.0/24")
    aged.sql("update deleg.events set at = at - make_interval(days => %s)", 7 * WEEKS)
    ledger, chance = aged.ledger(), random.Random(seed)
    for weeks_ago in range(WEEKS - 1, -1, -1):
        live(aged, ledger, chance, weeks_ago)
    assert aged.violations() == []
    words = last_words(aged)
    assert set(words) == set(aged.blocks())
    before = parts(aged)
    for days in (45, 25, 3):
        aged.sql("select deleg.history_keep(%s)", days)
        while (done := ledger.keep_events()) is not None:
            assert done.split()[0] in ("folded", "took", "dropped", "summarized", "forgot")
            assert aged.violations() == []
            assert dangling(aged) == []
        assert last_words(aged) == words
        oldest = aged.sql("select min(at) < now() - make_interval(days => %s) from deleg.events", days + 8)
        assert oldest == [(False,)]
        # Those are forgotten whom nothing has named since the beginning of the oldest week.
        week = min(parts(aged))[-8:]
        assert aged.sql(NAMELESS, week) == []
    assert aged.sql("select count(*) < %s from deleg.lessees", WEEKS + 5) == [(True,)]
    assert parts(aged) == before[-AHEAD - 2 :] or parts(aged) == before[-AHEAD - 1 :]
    ((kept, gone),) = aged.sql(
        "select count(*) filter (where state is not null), count(*) filter (where state is null) from deleg.events_kept"
    )
    assert kept > 0
    assert gone < kept + 200
    live(aged, ledger, chance, 0)
    assert aged.violations() == []


def test_a_partition_that_just_goes_would_be_seen(aged: Database) -> None:
    aged.pool("10.64.0.0/20")
    aged.sql("update deleg.events set at = at - make_interval(days => %s)", 7 * WEEKS)
    assert aged.violations() == []
    aged.sql(psycopg.sql.SQL("drop table deleg.{}").format(psycopg.sql.Identifier(parts(aged)[0])).as_string(None))
    assert [violation[0] for violation in aged.violations()] == ["I5"]


def test_a_step_folds_no_more_pages_than_it_may(aged: Database) -> None:
    aged.sql(
        "insert into deleg.events (at, space, kind, prefix, state, draining)"
        " select now() - make_interval(days => %s), 0, 'created', set_masklen('10.0.0.0'::inet + n * 16::bigint, 28)::cidr, 'free', false"
        "   from generate_series(0, 2999) as n",
        7 * WEEKS,
    )
    aged.sql("select deleg.history_keep(30)")
    folded = [0]
    while aged.sql("select deleg.keep_events(3) like 'folded %'") == [(True,)]:
        folded += [aged.sql("select count(*) from deleg.events_kept")[0][0]]
    assert folded[-1] == 3000
    assert len(folded) > 5
    assert max(after - before for before, after in pairwise(folded)) < 3 * 120  # events of a page


def test_kept_for_ever(aged: Database) -> None:
    aged.sql("insert into deleg.events (at, space, kind) select now() - make_interval(days => %s), 0, 'x'", 7 * WEEKS)
    before = parts(aged)
    aged.sql("select deleg.history_keep(null)")
    assert aged.ledger().keep_events() == "summarized 1 pages"
    assert aged.ledger().keep_events() is None
    assert parts(aged) == before
    aged.sql("select deleg.history_keep(400)")
    assert aged.ledger().keep_events() is None


def test_nobody_is_made_to_wait_and_one_does_it(aged: Database) -> None:
    """Who reads the events is in the way of a partition that goes. So it stays, until the next time, and the clients go on."""
    aged.pool("10.64.0.0/20")
    aged.sql("select deleg.history_keep(30)")
    ledger, reader = aged.ledger(), aged.connect()
    with reader.transaction():
        reader.execute("select count(*) from deleg.events")
        assert ledger.keep_events() is None
        assert len(parts(aged)) == WEEKS + 1 + AHEAD
        assert lease(ledger, Client.number(1), 1, 24)
    keeper = aged.connect("kea_deleg_hook")
    with keeper.transaction():
        assert keeper.execute("select deleg.keep_events()").fetchall() == [("took out " + oldest(WEEKS, aged),)]
        assert ledger.keep_events() is None
    assert (ledger.keep_events() or "").startswith("dropped")


def oldest(weeks: int, database: Database) -> str:
    """Return the name of the partition of so many weeks ago."""
    name: str = database.sql(
        "select 'events_' || to_char(date_trunc('week', now() - make_interval(days => 7 * %s), 'UTC') at time zone 'UTC', 'YYYYMMDD')",
        weeks,
    )[0][0]
    return name


def test_an_event_that_no_partition_is_for(aged: Database) -> None:
    """Where nobody made partitions for too long: nothing fails, and what there is becomes the partition that was missing."""
    for part in parts(aged)[WEEKS:]:
        aged.sql(psycopg.sql.SQL("drop table deleg.{}").format(psycopg.sql.Identifier(part)).as_string(None))
    aged.pool("10.64.0.0/20")
    aged.sql("insert into deleg.events (at, space, kind) values (now() + interval '9 days', 0, 'early')")
    ledger = aged.ledger()
    assert lease(ledger, Client.number(1), 1, 24)
    count = aged.sql("select count(*) from deleg.events_default")
    assert count > [(3,)]
    while ledger.keep_events() is not None:
        assert aged.violations() == []
    assert aged.sql("select count(*) from deleg.events_default") == [(0,)]
    assert aged.sql("select count(*) from deleg.events") == count
    assert lease(ledger, Client.number(2), 1, 24)
    assert aged.sql("select count(*) from deleg.events_default") == [(0,)]
    assert aged.violations() == []


def test_an_event_of_a_wrong_clock_stays_in_the_default_partition(aged: Database) -> None:
    """From before all that is kept; also when the default partition becomes another."""
    aged.sql("select deleg.history_keep(30)")
    while aged.ledger().keep_events() is not None:
        pass
    for part in parts(aged)[-AHEAD:]:
        aged.sql(psycopg.sql.SQL("drop table deleg.{}").format(psycopg.sql.Identifier(part)).as_string(None))
    aged.sql(
        "insert into deleg.events (at, space, kind) values ('2001-01-01', 0, 'early'), (now() + interval '8 days', 0, 'late')"
    )
    while aged.ledger().keep_events() is not None:
        pass
    assert aged.sql("select kind from deleg.events_default") == [("early",)]
    assert aged.sql("select kind from deleg.events order by seq") == [("early",), ("late",)]


def test_what_ended_is_summarized_whole_and_what_goes_on_but_for_its_last_pages(aged: Database) -> None:
    """A range without a filter is read by every query, however few events there are in all."""
    ledger = aged.ledger()
    now, ended = (aged.sql("select part from deleg._event_parts() where ends > now() - make_interval(weeks => %s)"
                           " order by ends", weeks)[0][0] for weeks in (0, 1))  # fmt: skip
    for weeks in (0, 1):
        aged.sql("insert into deleg.events (at, space, kind, prefix) select now() - make_interval(weeks => %s), 0, 'test',"
                 " set_masklen('10.0.0.0'::inet + n, 32)::cidr from generate_series(1, 9000) as n", weeks)  # fmt: skip
    while ledger.keep_events() is not None:
        pass
    assert left(aged, ended) == 0
    assert left(aged, now) == 1


def left(database: Database, part: str) -> int:
    """How many ranges of a partition had no filter; now they have."""
    return int(database.sql("select brin_summarize_new_values(indexrelid::regclass) from pg_index where indrelid ="
                            " ('deleg.' || %s)::regclass", part)[0][0])  # fmt: skip


@pytest.mark.parametrize("made", ["with the ledger", "by the servers"])
def test_an_event_is_not_put_into_the_index_while_its_pages_are_not_full(fresh: Database, made: str) -> None:
    """It would cost more than the event; by itself PostgreSQL does it on the first pages of each partition."""
    if made == "by the servers":
        remake(fresh, 0)
    for weeks in range(AHEAD * 2):  # the last ones have no partition, but that by default
        fresh.sql(
            "insert into deleg.events (at, space, kind) values (now() + make_interval(days => %s), 0, 'expired')",
            7 * weeks,
        )
    found = fresh.sql(
        "select tableoid::regclass::text, brin_summarize_range(deleg._events_index(tableoid), 0)"
        " from (select distinct tableoid from deleg.events) as parts"
    )
    assert "deleg.events_default" in dict(found)
    assert len(found) > AHEAD
    assert {summarized for _, summarized in found} == {1}


def test_every_partition_has_the_indexes(aged: Database) -> None:
    found = aged.sql(
        "select t.relname::text, array_agg(am.amname::text order by amname) from pg_inherits join pg_class t on t.oid = inhrelid"
        " join pg_index on indrelid = t.oid join pg_class i on i.oid = indexrelid join pg_am am on am.oid = i.relam"
        " where inhparent = 'deleg.events'::regclass group by 1"
    )
    assert sorted(name for name, _ in found) == sorted([*parts(aged), "events_default"])
    assert all(kinds == ["brin"] for _, kinds in found)


def test_history_of_a_prefix(database: Database) -> None:
    database.pool("10.64.0.0/23")
    ledger = database.ledger()
    assert lease(ledger, Client.number(1), 1, 24) == ["10.64.0.0/24"]
    do(ledger, Client.number(1).release("10.64.0.0/24", quarantine=0))
    ledger.sweep(10, 0)

    def kinds(prefix: str, covering: bool) -> list[str]:
        rows = database.sql("select kind from deleg.history(0, %s, %s)", IPv4Network(prefix), covering)
        return [kind for (kind,) in rows]

    both = ["offered", "leased", "quarantined", "free"]
    assert kinds("10.64.0.0/24", False) == both
    assert kinds("10.64.0.0/23", False) == ["created", "offered", "free"]
    assert kinds("10.64.0.77/32", True) == ["created", *both]
    assert kinds("10.64.1.0/24", False) == ["created", "removed"]


@contextmanager
def _refused(text: str) -> Iterator[None]:
    with pytest.raises(LedgerError, match=text):
        yield


def test_the_days_that_events_are_kept(database: Database) -> None:
    with database.admin() as admin:
        assert admin.history_kept() == 400
        admin.history_keep(None)
        assert admin.history_kept() is None
        with _refused("history_days"):
            admin.history_keep(0)
        admin.history_keep(400)


SHORT: Final = 21
"""Days that events are kept in the tests of lessees."""
LONG_AGO: Final = 60
"""Days, so long that no event of then is kept."""
QUARANTINE: Final = 90 * DAY
UPSTREAM: Final = 0xC0000201  # 192.0.2.1


def offered(ledger: Ledger, client: Client) -> None:
    one(ledger, client.offer(2, 26))


def offered_in_vain(ledger: Ledger, client: Client) -> None:
    one(ledger, client.offer(2, 26, hold=0))
    assert ledger.sweep(10, 0).offers == 1


def taken_elsewhere(ledger: Ledger, client: Client) -> None:
    one(ledger, client.offer(2, 26))
    one(ledger, client.reclaim(2))


def leased(ledger: Ledger, client: Client) -> None:
    lease(ledger, client, 2, 26)


def released(ledger: Ledger, client: Client) -> None:
    one(ledger, client.release(*lease(ledger, client, 2, 26), quarantine=0))
    assert ledger.sweep(10, 0).quarantines == 1


def in_quarantine(ledger: Ledger, client: Client) -> None:
    one(ledger, client.release(*lease(ledger, client, 2, 26), quarantine=QUARANTINE))


def expired(ledger: Ledger, client: Client) -> None:
    lease(ledger, client, 2, 26, lease_time=1)
    time.sleep(1.1)
    assert ledger.sweep(10, QUARANTINE).leases == 1


def refused_a_renewal(ledger: Ledger, client: Client) -> None:
    held = lease(ledger, client, 2, 26)
    assert one(ledger, client.renew(*held, verdict="refuse", quarantine=QUARANTINE)).result is Result.REFUSED


def refused_by_upstream(ledger: Ledger, client: Client) -> None:
    upstreams, origin = Upstreams(ledger), IPv4Network("10.65.0.0/24")
    upstreams.acknowledged(0, UPSTREAM, 7 * DAY, DAY, 2 * DAY, [(origin, False)], None)
    (offer,) = prefixes(one(ledger, client.offer(2, 26, named="10.65.0.0/26")))
    one(ledger, client.accept(2, offer))
    assert upstreams.refused(0, UPSTREAM, [origin], QUARANTINE) == [origin]


def refused(ledger: Ledger, client: Client) -> None:
    one(ledger, Note(client.space, client.identity, 0, "refused", "it is a test"))


def forget(database: Database) -> list[bytes]:
    """Let the servers do what they do when events have gone; return who is known then."""
    database.sql("insert into deleg.progress (what, pages) values ('lessees', 0)")
    while database.sql("select deleg._forget_lessees(10)") != [(None,)]:
        pass
    return [identity for (identity,) in database.sql("select identity from deleg.lessees order by lessee")]


@pytest.fixture
def three_weeks(aged: Database) -> Database:
    """A ledger that has events of three weeks, and some space."""
    aged.pool("10.64.0.0/20")
    aged.sql("select deleg.history_keep(%s)", SHORT)
    while aged.ledger().keep_events():
        pass
    return aged


def pass_by(database: Database, days: int) -> None:
    """Let time pass by, for who is named and for the events."""
    database.sql("update deleg.lessees set named = named - make_interval(days => %s)", days)
    database.sql("update deleg.events set at = at - make_interval(days => %s)", days)


@pytest.mark.parametrize(
    ("last", "stays"),
    [
        (offered, True),
        (offered_in_vain, False),
        (taken_elsewhere, False),
        (leased, True),
        (released, False),
        (in_quarantine, True),
        (expired, True),
        (refused_a_renewal, True),
        (refused_by_upstream, True),
        (refused, False),
    ],
)
def test_a_lessee_is_known_as_long_as_something_names_it(
    three_weeks: Database, last: Callable[[Ledger, Client], None], stays: bool
) -> None:
    ledger, client = three_weeks.ledger(), Client.number(1)
    released(ledger, client)
    pass_by(three_weeks, LONG_AGO)
    last(ledger, client)
    assert forget(three_weeks) == [client.identity]
    assert three_weeks.violations() == []
    pass_by(three_weeks, LONG_AGO)
    assert forget(three_weeks) == ([client.identity] if stays else [])
    assert three_weeks.violations() == []


def test_who_was_forgotten_may_come_again(three_weeks: Database) -> None:
    ledger, client = three_weeks.ledger(), Client.number(1)
    released(ledger, client)
    pass_by(three_weeks, LONG_AGO)
    assert forget(three_weeks) == []
    (held,) = lease(ledger, client, 2, 26)
    assert one(ledger, client.renew(held)).result is Result.ACKNOWLEDGED
    assert three_weeks.violations() == []


def test_nobody_is_forgotten_under_the_hands_of_who_serves_it(three_weeks: Database) -> None:
    """Another server has a message of the client in hand. Nor does the one wait for the other."""
    ledger, client = three_weeks.ledger(), Client.number(1)
    released(ledger, client)
    pass_by(three_weeks, LONG_AGO)
    other = three_weeks.connect("kea_deleg_hook")
    with other.transaction():
        say(other, client.offer(3, 26))
        assert forget(three_weeks) == [client.identity]
    assert forget(three_weeks) == [client.identity]
    assert three_weeks.violations() == []


@pytest.mark.parametrize(
    "why",
    [
        "update deleg.domain set restored_until = now() + interval '1 day'",
        "update deleg.blocks set due = now() - interval '2 hours' where state = 'leased'",
    ],
)
def test_nobody_is_forgotten_while_more_may_be_in_quarantine_than_was_known(
    three_weeks: Database, why: LiteralString
) -> None:
    """After the ledger was restored, or while the sweep has not ended what is due."""
    ledger = three_weeks.ledger()
    for last, number in ((released, 1), (leased, 2)):
        last(ledger, Client.number(number))
    pass_by(three_weeks, LONG_AGO)
    three_weeks.sql(why)
    assert len(forget(three_weeks)) == 2
    three_weeks.sql("update deleg.domain set restored_until = null")
    while ledger.sweep(10, 0).more:
        pass
    ledger.sweep(10, 0)
    assert three_weeks.sql("select what from deleg.progress where what = 'lessees'") == [("lessees",)]
    three_weeks.sql("delete from deleg.progress")
    assert forget(three_weeks) == [Client.number(2).identity]


def test_nobody_is_forgotten_where_the_events_have_no_beginning(database: Database) -> None:
    """Of a ledger that is not older than its events are kept, or that keeps them for ever."""
    database.pool("10.64.0.0/20")
    released(database.ledger(), Client.number(1))
    pass_by(database, LONG_AGO)
    assert forget(database) == [Client.number(1).identity]
