# SPDX-License-Identifier: MPL-2.0
"""The worker, the keeper, the timers and the service on a real PostgreSQL, with nothing but Kea stood in for."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from kea_subnet_deleg.ledger import (
    Directory,
    Ledger,
    LedgerError,
    LedgerUnavailable,
    LedgerUnusable,
    OperationFailed,
    Outcome,
    Release,
)
from kea_subnet_deleg.ledger import ledger as ledger_module
from kea_subnet_deleg.ledger.ledger import SCHEMA_VERSION
from kea_subnet_deleg.ledger.operations import MESSAGE_FIELDS
from kea_subnet_deleg.ledger.upstreams import Upstreams
from kea_subnet_deleg.policy import BestFit, Holding, View
from kea_subnet_deleg.roles.delegating import Delegating
from kea_subnet_deleg.runtime import service
from kea_subnet_deleg.runtime import watchdog as watchdog_module
from kea_subnet_deleg.runtime import worker as worker_module
from kea_subnet_deleg.runtime.bridge import Severity
from kea_subnet_deleg.runtime.connection import FIRST_DELAY, GOOD_AFTER, Keeper
from kea_subnet_deleg.runtime.journal import Failures, KeaJournal
from kea_subnet_deleg.runtime.messages import MESSAGES
from kea_subnet_deleg.runtime.timers import Task, Timers
from kea_subnet_deleg.runtime.views import LedgerViews
from kea_subnet_deleg.runtime.watchdog import Watchdog
from kea_subnet_deleg.runtime.worker import Shift, Worker
from tests.client.codec import Allocation, Block, Request, Type, decode, information
from tests.conftest import TIMEOUT, Database
from tests.kea.processes import stopped
from tests.ledger.scene import Client, do, lease
from tests.unit.fakes import SERVER, FakeKea, inbound, message, surroundings, terms

UPSTREAM = 0xC0000201  # 192.0.2.1
DISCOVER = inbound(message(Type.DISCOVER, Allocation((Request(24),))))


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


@pytest.fixture
def kea() -> FakeKea:
    return FakeKea()


# ------------------------------------------------------------------------------------------------ the keeper


class Clock:
    """Monotonic seconds, by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pauses_grow_and_one_reason_is_logged_once(kea: FakeKea, tmp_path: Path) -> None:
    clock = Clock()
    keeper = Keeper("worker", Ledger(f"host={tmp_path}", TIMEOUT), 2.0, KeaJournal(kea), clock)
    pauses = []
    for _ in range(8):
        assert not keeper.ready()
        pauses.append(keeper.wait(60.0))
        assert not keeper.ready()  # too early: not tried
        clock.now += pauses[-1]
    for pause, nominal in zip(pauses, [FIRST_DELAY, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0], strict=True):
        assert nominal * 0.75 <= pause <= nominal * 1.25
    assert len(kea.logged("SUBNET_DELEG_LEDGER_DOWN")) == 1
    keeper.lost(LedgerUnavailable("another reason"))
    assert len(kea.logged("SUBNET_DELEG_LEDGER_DOWN")) == 2
    assert keeper.wait(0.01) == 0.05


def test_connecting_resets_the_pauses(kea: FakeKea, database: Database) -> None:
    clock = Clock()
    ledger = Ledger(database.dsn("kea_deleg_hook"), TIMEOUT)
    keeper = Keeper("worker", ledger, 10.0, KeaJournal(kea), clock)
    for _ in range(5):
        keeper.lost(LedgerUnavailable("gone"))
    assert not keeper.ready()
    clock.now += 10.0
    assert keeper.ready()
    assert keeper.wait(1.0) == 1.0
    ledger.close()
    keeper.lost(LedgerUnavailable("gone"))
    assert keeper.wait(60.0) <= FIRST_DELAY * 1.25
    assert len(kea.logged("SUBNET_DELEG_LEDGER_CONNECTED")) == 1


def test_a_connection_that_is_good_for_nothing_does_not_reset_them(kea: FakeKea, database: Database) -> None:
    """Where PostgreSQL answers and refuses, as long as its disk is full or a right is missing: one line, not two for each message."""
    clock, changes = Clock(), list[bool]()
    ledger = database.ledger()
    keeper = Keeper("worker", ledger, 10.0, KeaJournal(kea), clock, lambda: changes.append(keeper.good))
    clock.now += 1.0
    pauses = []
    database.sql("revoke execute on function deleg.totals() from kea_deleg_hook")
    try:
        for _ in range(8):
            assert keeper.ready()
            with pytest.raises(LedgerUnavailable, match="permission denied for function totals") as error:
                ledger.totals()
            keeper.lost(error.value)
            pauses.append(keeper.wait(60.0))
            clock.now += pauses[-1]
    finally:
        database.sql("grant execute on function deleg.totals() to kea_deleg_hook")
    assert pauses[-1] >= 7.5
    assert (len(kea.logged("SUBNET_DELEG_LEDGER_DOWN")), kea.logged("SUBNET_DELEG_LEDGER_CONNECTED")) == (1, [])
    for _ in range(2):
        assert keeper.ready()
        assert not keeper.good
    assert ledger.totals() == []
    assert keeper.ready()
    assert keeper.good
    assert kea.logged("SUBNET_DELEG_LEDGER_CONNECTED") == ["for the worker"]
    assert changes == [False, True]
    ledger.close()
    keeper.lost(LedgerUnavailable("gone"))
    assert keeper.wait(60.0) <= FIRST_DELAY * 1.25


def test_in_time_a_connection_is_good_though_nothing_was_asked(kea: FakeKea, database: Database) -> None:
    clock = Clock()
    ledger = database.ledger()
    keeper = Keeper("worker", ledger, 10.0, KeaJournal(kea), clock)
    ledger.close()
    keeper.lost(LedgerUnusable("the disk is full"))
    clock.now += 1.0
    assert keeper.ready()
    clock.now += GOOD_AFTER - 1.0
    assert (keeper.ready(), keeper.good) == (True, False)
    clock.now += 1.0
    assert (keeper.ready(), keeper.good) == (True, True)


def test_what_fails_again_and_again_is_logged_once_a_minute(kea: FakeKea) -> None:
    clock = Clock()
    failures = Failures(KeaJournal(kea), clock)
    for seconds in range(61):
        clock.now = 100.0 + seconds
        failures.tell("sweep", "SUBNET_DELEG_TIMER_FAILED", "no")
        if seconds in (10, 11):
            failures.tell("view", "SUBNET_DELEG_TIMER_FAILED", "no, neither")
    assert kea.logged("SUBNET_DELEG_TIMER_FAILED") == ["no", "no, neither", "no"]
    failures.tell("sweep", "SUBNET_DELEG_TIMER_FAILED", "for another reason")
    assert kea.logged("SUBNET_DELEG_TIMER_FAILED")[-1] == "for another reason"


# ------------------------------------------------------------------------------------------------ the ledger's connection


def test_no_ledger_in_the_database(database: Database) -> None:
    ledger = Ledger(database.cluster.dsn("postgres"), TIMEOUT)
    with pytest.raises(LedgerUnavailable, match=r"no ledger there: .*schema_version"):
        ledger.connect()
    assert not ledger.connected


@pytest.mark.parametrize(("version", "remedy"), [(99, "install"), (1, "run `kea-subnet-deleg ledger upgrade`")])
def test_a_schema_of_another_version(database: Database, version: int, remedy: str) -> None:
    database.sql("update deleg.schema_version set version = %s", version)
    try:
        with pytest.raises(LedgerUnavailable, match=f"has version {version}, needed is {SCHEMA_VERSION}: {remedy}"):
            Ledger(database.dsn("kea_deleg_hook"), TIMEOUT).connect()
    finally:
        database.sql("update deleg.schema_version set version = %s", SCHEMA_VERSION)


@pytest.mark.parametrize(
    "dsn", ["host=/nonexistent", "host=127.0.0.1 port=1", "host=/nonexistent connect_timeout=never", "nonsense"]
)
def test_a_dsn_that_leads_nowhere(dsn: str) -> None:
    with pytest.raises(LedgerUnavailable):
        Ledger(dsn, TIMEOUT).connect()


@pytest.mark.parametrize(("failures", "results"), [(2, ["offered", "offered"]), (4, ["offered", "offered"]), (99, [])])
def test_what_passes_is_tried_again(database: Database, failures: int, results: list[str]) -> None:
    """A serialization failure or a deadlock: thrice together, then one by one; what goes on failing is said to have failed."""
    database.pool("10.0.0.0/24")
    with failing(database, "lessees", failures) as ledger:
        outcomes = ledger.apply([Client.number(n).offer(1, 26) for n in (1, 2)])
        assert [o.result.value for o in outcomes if isinstance(o, Outcome)] == results
        assert [o.error for o in outcomes if isinstance(o, OperationFailed)] == ["try again"] * (2 - len(results))


def test_so_is_all_else_that_is_asked(database: Database) -> None:
    """Each is a transaction of its own, which was rolled back; also what has more patience."""
    block = IPv4Network("172.16.0.0/24")
    with failing(database, "claims", 2) as ledger:
        assert Upstreams(ledger).claim("listing", "one", 60)
    with failing(database, "origins", 2) as ledger:
        (kept,) = Upstreams(ledger).acknowledged(0, UPSTREAM, 60, 30, 50, [(block, False)], None)
        assert kept.result == "added"
    with failing(database, "claims", 99) as ledger, pytest.raises(LedgerError, match="try again"):
        Upstreams(ledger).claim("another", "one", 60)


@contextmanager
def failing(database: Database, table: LiteralString, failures: int) -> Iterator[Ledger]:
    """Have what is put into a table fail so many times, as by a deadlock, for the ledger that is yielded."""
    database.sql("create sequence public.failing")
    database.sql(
        "create function public.fail() returns trigger language plpgsql security definer as $$ begin"
        "  if nextval('public.failing') <= current_setting('test.failures')::integer then"
        "    raise exception 'try again' using errcode = 'serialization_failure';"
        "  end if; return new; end $$"
    )
    database.sql(
        "create trigger failing before insert on deleg." + table + " for each row execute function public.fail()"
    )
    ledger = Ledger(database.dsn("kea_deleg_hook") + f" options='-c test.failures={failures}'", TIMEOUT)
    try:
        ledger.connect()
        yield ledger
    finally:
        ledger.close()
        database.sql("drop function public.fail() cascade")
        database.sql("drop sequence public.failing")


def test_a_statement_that_takes_too_long(database: Database) -> None:
    """It is given up by PostgreSQL, the connection is dropped, nothing is committed."""
    database.pool("10.0.0.0/24")
    ledger = Ledger(database.dsn("kea_deleg_hook"), 0.2)
    ledger.connect()
    with database.connect().transaction() as transaction:
        transaction.connection.execute("select deleg._own_free_blocks(0)")
        started = time.monotonic()
        with pytest.raises(LedgerUnavailable, match="statement timeout"):
            ledger.apply([Client.number(1).offer(1, 24)])
        assert time.monotonic() - started < 5.0
    assert not ledger.connected
    assert database.blocks() == {"10.0.0.0/24": "free"}


def test_what_is_done_as_a_whole_may_take_longer(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What upstream servers say, of however many blocks: twelve times as long, for PostgreSQL and the watchdog. All else as ever."""
    monkeypatch.setattr(ledger_module, "GRACE", 0.0)
    ledger, connection, block = (
        Ledger(database.dsn("kea_deleg_hook"), 0.3),
        database.connect(),
        IPv4Network("172.16.0.0/24"),
    )
    ledger.connect()
    upstreams = Upstreams(ledger)
    said: list[Callable[[], object]] = [
        lambda: upstreams.acknowledged(0, UPSTREAM, 60, 30, 50, [(block, False)], None),
        lambda: upstreams.listed(0, UPSTREAM, 60, [(block, False)]),
        lambda: upstreams.refused(0, UPSTREAM, [block], 60),
    ]
    with ThreadPoolExecutor(1) as pool:
        for what in said:
            with connection.transaction():
                connection.execute("select deleg._own_free_blocks(0)")
                answer = pool.submit(what)
                time.sleep(0.6)
                ledger.abandon_overdue()
                assert not answer.done()
            assert answer.result(5.0)
    with connection.transaction():
        connection.execute("select deleg._own_free_blocks(0)")
        with pytest.raises(LedgerUnavailable, match="statement timeout"):
            ledger.apply([Client.number(1).offer(1, 24)])


def test_a_statement_is_abandoned_by_another_thread(database: Database) -> None:
    database.pool("10.0.0.0/24")
    ledger = database.ledger()
    with database.connect().transaction() as transaction:
        transaction.connection.execute("select deleg._own_free_blocks(0)")
        timer = threading.Timer(0.2, ledger.abandon)
        timer.start()
        with pytest.raises(LedgerUnavailable):
            ledger.apply([Client.number(1).offer(1, 24)])
        timer.join()


def hung(database: Database) -> AbstractContextManager[None]:
    """Stop the processes behind the hook's connections, none of which is in a transaction; those of new ones work."""
    until(
        lambda: (
            not database.sql("select pid from pg_stat_activity where usename = 'kea_deleg_hook' and state <> 'idle'")
        )
    )
    pids = [pid for (pid,) in database.sql("select pid from pg_stat_activity where usename = 'kea_deleg_hook'")]
    return stopped(pids)


def none_left(database: Database) -> bool:
    """Whether the processes behind the hook's connections have ended, also those that went on with what nobody waits for."""
    return not database.sql("select pid from pg_stat_activity where usename = 'kea_deleg_hook'")


def test_a_server_that_hangs_is_abandoned(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can't give the statement up itself. The watchdog cuts the connection once that is overdue, and leaves others alone."""
    monkeypatch.setattr(ledger_module, "GRACE", 0.3)
    monkeypatch.setattr(watchdog_module, "INTERVAL", 0.05)
    hangs, idle = Ledger(database.dsn("kea_deleg_hook"), 0.2), database.ledger()
    watchdog = Watchdog([hangs, idle])
    thread = threading.Thread(target=watchdog.run)
    thread.start()
    try:
        hangs.connect()
        with hung(database):
            started = time.monotonic()
            with pytest.raises(
                LedgerUnavailable, match=r"no answer within the statement timeout \(0.2 s\) and 0.3 s more"
            ):
                hangs.totals()
            assert 0.5 < time.monotonic() - started < 5.0
            assert not hangs.connected
            hangs.connect()
            assert hangs.totals() == []
        assert idle.totals() == []
        time.sleep(0.7)  # idle for longer than an answer may take
        assert hangs.totals() == []
    finally:
        watchdog.stop()
        thread.join(10)
        hangs.close()
        idle.close()
    assert not thread.is_alive()
    until(lambda: none_left(database))


def test_a_standby_is_no_ledger(database: Database) -> None:
    """A server that is read only is not the primary any more: unavailable, rather than an error in each message."""
    ledger = database.ledger()
    database.sql("alter role kea_deleg_hook set default_transaction_read_only = on")
    try:
        assert ledger.totals() == []  # for this connection, it began too late
        with pytest.raises(LedgerUnavailable, match="it is read-only"):
            ledger.connect()
        assert not ledger.connected
        ledger.connect(reading=True)  # what is to be served is in it, too
        assert ledger.run("network_served", networks=[]) != []
    finally:
        database.sql("alter role kea_deleg_hook reset default_transaction_read_only")


def test_an_error_is_one_line(database: Database) -> None:
    with pytest.raises(LedgerError) as error:
        database.ledger().sweep(-1, 0)
    assert not isinstance(error.value, LedgerUnavailable)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------ the worker


class Setting:
    """A worker on its thread."""

    def __init__(self, kea: FakeKea, ledger: Ledger, shift: Shift | None = None) -> None:
        self.kea = kea
        journal = KeaJournal(kea)
        self.own: dict[int, int] = {}
        self.ledger = ledger
        views = LedgerViews()
        self.role = Delegating(terms(600), surroundings(ledger, views, kea, self.own))
        keeper = Keeper("worker", ledger, 0.25, journal, time.monotonic)
        self.announced: list[int] = []
        self.worker = Worker(kea, journal, ledger, keeper, self.role, self.announce, views.read, self.own, 16, shift)
        self.thread = threading.Thread(target=self.worker.run)

    def announce(self, ledger: Ledger, address: int) -> None:
        ledger.server_seen(address, "one", "0")
        self.announced.append(address)

    def stop(self) -> None:
        self.kea.packets.put(None)
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def setting(kea: FakeKea, database: Database) -> Iterator[Setting]:
    database.pool("10.0.0.0/16")
    setting = Setting(kea, Ledger(database.dsn("kea_deleg_hook"), TIMEOUT))
    setting.thread.start()
    until(lambda: kea.logged("SUBNET_DELEG_LEDGER_CONNECTED"))
    yield setting
    setting.stop()
    assert not setting.ledger.connected


def test_few_messages_wait_for_the_worker_that_is_at_work(
    kea: FakeKea, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes meanwhile is of the same batch; with as many as are worth a transaction it does not wait."""
    monkeypatch.setattr(worker_module, "LONGEST_WAIT", 60.0)
    setting = Setting(kea, Ledger(database.dsn("kea_deleg_hook"), TIMEOUT))
    shift = setting.worker._shift
    with ThreadPoolExecutor(1) as pool:
        with shift:
            kea.packets.put([DISCOVER] * 16)
            assert len(pool.submit(setting.worker._receive).result(10) or ()) == 16
            kea.packets.put([DISCOVER])
            gathering = pool.submit(setting.worker._receive)
            until(kea.packets.empty)
            kea.packets.put([DISCOVER] * 2)
            until(kea.packets.empty)
            assert not gathering.done()
        assert len(gathering.result(10) or ()) == 3


def test_they_do_not_wait_for_one_that_hangs(kea: FakeKea, database: Database) -> None:
    setting = Setting(kea, Ledger(database.dsn("kea_deleg_hook"), TIMEOUT))
    kea.packets.put([DISCOVER])
    with ThreadPoolExecutor(1) as pool, setting.worker._shift:
        assert pool.submit(setting.worker._receive).result(10) == [DISCOVER]


def test_a_packet_is_answered_and_the_address_announced(kea: FakeKea, setting: Setting, database: Database) -> None:
    kea.packets.put([DISCOVER])
    until(lambda: kea.sent)
    assert setting.announced == [int(SERVER)]
    assert database.sql("select host(address) from deleg.servers") == [(str(SERVER),)]
    kea.packets.put([DISCOVER])
    until(lambda: len(kea.sent) == 2)
    assert kea.sent[0] == kea.sent[1]
    assert setting.announced == [int(SERVER)]


def test_an_exception_in_the_role_does_not_end_the_worker(
    kea: FakeKea, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(BestFit, "grant", lambda *_: 1 // 0)
        kea.packets.put([DISCOVER])
        until(lambda: kea.logged("SUBNET_DELEG_EXCEPTION"))
    assert kea.counters["exceptions"] == 1
    (line,) = kea.logged("SUBNET_DELEG_EXCEPTION")
    assert "Traceback" in line
    assert "ZeroDivisionError" in line
    assert kea.sent == []
    kea.packets.put([DISCOVER])
    until(lambda: kea.sent)
    assert setting.thread.is_alive()


def test_the_ledger_is_lost_and_comes_back(kea: FakeKea, setting: Setting, database: Database) -> None:
    """Packets meanwhile are dropped and counted; the same packet is then answered."""
    kea.packets.put([DISCOVER])
    until(lambda: kea.sent)
    database.sql("alter role kea_deleg_hook nologin")
    try:
        database.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'kea_deleg_hook'")
        kea.packets.put([DISCOVER, DISCOVER])
        until(lambda: kea.counters["ledger-down"] == 2)
        assert not setting.ledger.connected
        kea.packets.put([DISCOVER])
        until(lambda: kea.counters["ledger-down"] == 3)
        until(lambda: "log in" in kea.logged("SUBNET_DELEG_LEDGER_DOWN")[-1])
        told = len(kea.logged("SUBNET_DELEG_LEDGER_DOWN"))
        assert told <= 2  # maybe lost, then: may not log in
        time.sleep(0.6)
        assert len(kea.logged("SUBNET_DELEG_LEDGER_DOWN")) == told
    finally:
        database.sql("alter role kea_deleg_hook login")
    until(lambda: len(kea.logged("SUBNET_DELEG_LEDGER_CONNECTED")) == 2)  # though nobody asks
    kea.packets.put([DISCOVER])
    until(lambda: len(kea.sent) == 2)
    assert kea.sent[0] == kea.sent[1]
    assert kea.counters["exceptions"] == 0


@pytest.mark.usefixtures("setting")
def test_a_connection_that_was_closed_meanwhile_costs_no_packet(kea: FakeKea, database: Database) -> None:
    """PostgreSQL was restarted while nobody asked: the first message is answered."""
    gone = "select count(*) from pg_stat_activity where usename = 'kea_deleg_hook'"
    for number in range(1, 4):
        database.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'kea_deleg_hook'")
        until(lambda: database.sql(gone) == [(0,)])
        kea.packets.put([DISCOVER])
        until(lambda number=number: len(kea.sent) == number or kea.counters["ledger-down"])  # type: ignore[misc]
    assert kea.counters["ledger-down"] == 0
    assert kea.logged("SUBNET_DELEG_LEDGER_DOWN") == []
    first, *again = kea.logged("SUBNET_DELEG_LEDGER_CONNECTED")
    assert first == "for the worker"
    assert len(again) == 3
    assert all(re.match("for the worker, anew: .*(terminat|clos)", line) for line in again)


@pytest.fixture
def one_connection(database: Database) -> Iterator[None]:
    """The ledger takes one connection of the hook, and no other."""
    database.sql("alter role kea_deleg_hook connection limit 1")
    yield
    database.sql("alter role kea_deleg_hook login connection limit -1")


@pytest.fixture
def pair(kea: FakeKea, database: Database) -> Iterator[list[Setting]]:
    """Two workers of one server, to be started."""
    database.pool("10.0.0.0/16")
    shift = Shift()
    pair = [Setting(kea, Ledger(database.dsn("kea_deleg_hook"), TIMEOUT), shift) for _ in range(2)]
    yield pair
    for setting in pair:
        if setting.thread.ident is not None:
            setting.stop()


@pytest.mark.usefixtures("one_connection")
def test_one_without_the_ledger_leaves_packets_to_one_that_has_it(
    kea: FakeKea, database: Database, pair: list[Setting]
) -> None:
    first, second = pair
    first.thread.start()
    until(lambda: kea.logged("SUBNET_DELEG_LEDGER_CONNECTED"))
    second.thread.start()
    until(lambda: kea.logged("SUBNET_DELEG_LEDGER_DOWN"))
    for count in range(1, 21):
        kea.packets.put([DISCOVER])
        until(lambda count=count: len(kea.sent) == count or kea.counters["ledger-down"])  # type: ignore[misc]
    assert kea.counters["ledger-down"] == 0
    # When none has it any more, they go on dropping and counting; and then who gets it first serves.
    database.sql("alter role kea_deleg_hook nologin")
    database.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'kea_deleg_hook'")
    for count in range(1, 6):
        kea.packets.put([DISCOVER])
        until(lambda count=count: kea.counters["ledger-down"] == count)  # type: ignore[misc]
    database.sql("alter role kea_deleg_hook login")
    until(lambda: len(kea.logged("SUBNET_DELEG_LEDGER_CONNECTED")) == 2)
    until(lambda: first.worker._shift.connected)
    kea.packets.put([DISCOVER])
    until(lambda: len(kea.sent) == 21)
    assert kea.counters["ledger-down"] == 5


def test_what_one_without_the_ledger_took_another_answers(
    kea: FakeKea, pair: list[Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began to wait for packets while nobody had the ledger; when one comes, another has it."""
    first, second = pair
    shift = first.worker._shift
    monkeypatch.setattr(second.worker._keeper, "wait", lambda _: 10.0)
    with ThreadPoolExecutor(1) as pool:
        gathering = pool.submit(second.worker._receive)
        until(shift.gathering.locked)
        first.ledger.connect()
        shift.note(first.worker, connected=True)
        kea.packets.put([DISCOVER])
        assert gathering.result(10) == []
    first.thread.start()
    until(lambda: kea.sent)
    assert kea.counters["ledger-down"] == 0


def test_who_waits_for_packets_keeps_nobody_from_connecting(kea: FakeKea, pair: list[Setting]) -> None:
    """It got the ledger when the other had just seen that nobody has."""
    first, second = pair
    with first.worker._shift.gathering:
        second.thread.start()
        until(lambda: kea.logged("SUBNET_DELEG_LEDGER_CONNECTED"))


def test_the_ledger_is_not_there_at_the_start(kea: FakeKea, tmp_path: Path) -> None:
    setting = Setting(kea, Ledger(f"host={tmp_path}", TIMEOUT))
    setting.thread.start()
    kea.packets.put([DISCOVER])
    until(lambda: kea.counters["ledger-down"] == 1)
    setting.stop()
    assert kea.sent == []
    assert kea.logged("SUBNET_DELEG_LEDGER_DOWN")


def test_an_address_that_cant_be_announced(kea: FakeKea, setting: Setting, database: Database) -> None:
    """The ledger refuses; the packets are dropped, counted and logged, and it is tried again."""
    database.sql("alter table deleg.servers add constraint odd check (name <> 'one')")
    try:
        kea.packets.put([DISCOVER])
        until(lambda: kea.counters["conflicts"] == 1)
    finally:
        database.sql("alter table deleg.servers drop constraint odd")
    assert kea.logged("SUBNET_DELEG_OPERATION_FAILED")
    kea.packets.put([DISCOVER])
    until(lambda: kea.sent)
    assert setting.announced == [int(SERVER)]


# ------------------------------------------------------------------------------------------------ the timers


def test_tasks_run_at_their_intervals_whatever_they_raise(kea: FakeKea, database: Database) -> None:
    runs = {"good": 0, "bad": 0, "refused": 0, "slow": 0}

    def good(_: Ledger) -> None:
        runs["good"] += 1

    def bad(_: Ledger) -> None:
        runs["bad"] += 1
        raise ZeroDivisionError

    def refused(ledger: Ledger) -> None:
        runs["refused"] += 1
        ledger.sweep(-1, 0)

    def slow(_: Ledger) -> None:
        runs["slow"] += 1

    journal, ledger = KeaJournal(kea), Ledger(database.dsn("kea_deleg_hook"), TIMEOUT)
    keeper = Keeper("timers", ledger, 1.0, journal, time.monotonic)
    tasks = [Task("good", 0.05, good), Task("bad", 0.05, bad), Task("refused", 0.05, refused), Task("slow", 600, slow)]
    timers = Timers(tasks, ledger, keeper, journal, time.monotonic)
    thread = threading.Thread(target=timers.run)
    thread.start()
    until(lambda: runs["good"] >= 4)
    timers.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert not ledger.connected
    assert min(runs["bad"], runs["refused"]) >= 3
    assert runs["slow"] == 1
    assert kea.counters["exceptions"] == runs["bad"]
    assert "ZeroDivisionError" in kea.logged("SUBNET_DELEG_EXCEPTION")[0]
    assert kea.logged("SUBNET_DELEG_TIMER_FAILED")[0].startswith("refused: ")


@contextmanager
def at_work(kea: FakeKea, database: Database, *tasks: Task) -> Iterator[Timers]:
    journal, ledger = KeaJournal(kea), Ledger(database.dsn("kea_deleg_hook"), TIMEOUT)
    keeper = Keeper("timers", ledger, 1.0, journal, time.monotonic)
    timers = Timers(list(tasks), ledger, keeper, journal, time.monotonic)
    thread = threading.Thread(target=timers.run)
    thread.start()
    try:
        yield timers
    finally:
        timers.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_a_task_that_can_wait_does_until_something_comes_up(kea: FakeKea, database: Database) -> None:
    runs: list[float] = []
    beats: list[float] = []

    def can_wait(_: Ledger) -> float:
        runs.append(time.monotonic())
        return 600.0

    with at_work(kea, database, Task("waits", 0.3, can_wait), Task("beats", 0.05, beats.append)) as timers:  # type: ignore[arg-type]
        until(lambda: len(beats) > 10)
        assert len(runs) == 1
        for number in (2, 3):
            for _ in range(20):
                timers.hurry()
            until(lambda number=number: len(runs) == number)  # type: ignore[misc]
        beaten = len(beats)
        until(lambda: len(beats) > beaten + 10)
        assert len(runs) == 3
    assert runs[1] - runs[0] >= 0.3
    assert runs[2] - runs[1] >= 0.3


def test_what_comes_up_while_a_task_is_at_work_is_not_missed(kea: FakeKea, database: Database) -> None:
    begun, go_on, runs = threading.Event(), threading.Event(), []

    def works(_: Ledger) -> float:
        runs.append(True)
        begun.set()
        assert go_on.wait(10)
        return 600.0

    with at_work(kea, database, Task("works", 0.01, works)) as timers:
        assert begun.wait(10)
        timers.hurry()  # it has looked already, and will say that it can wait
        go_on.set()
        until(lambda: len(runs) == 2)


def test_tasks_that_need_no_ledger_run_without(kea: FakeKea, tmp_path: Path) -> None:
    runs: list[str] = []
    journal, ledger = KeaJournal(kea), Ledger(f"host={tmp_path}", TIMEOUT)
    keeper = Keeper("timers", ledger, 0.25, journal, time.monotonic)
    tasks = [
        Task("with", 0.01, lambda _: runs.append("with")),
        Task("without", 0.01, lambda _: runs.append("without"), needs_ledger=False),
    ]
    timers = Timers(tasks, ledger, keeper, journal, time.monotonic)
    thread = threading.Thread(target=timers.run)
    thread.start()
    until(lambda: len(runs) >= 3)
    timers.stop()
    thread.join(10)
    assert set(runs) == {"without"}


def test_a_task_that_loses_the_ledger(kea: FakeKea, database: Database) -> None:
    seen: list[int] = []

    def look(ledger: Ledger) -> None:
        seen.append(len(ledger.free_by_length()))

    journal, ledger = KeaJournal(kea), Ledger(database.dsn("kea_deleg_hook"), TIMEOUT)
    timers = Timers(
        [Task("look", 0.05, look)],
        ledger,
        Keeper("timers", ledger, 0.25, journal, time.monotonic),
        journal,
        time.monotonic,
    )
    thread = threading.Thread(target=timers.run)
    thread.start()
    until(lambda: seen)
    database.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'kea_deleg_hook'")
    until(lambda: len(kea.logged("SUBNET_DELEG_LEDGER_CONNECTED")) == 2)
    before = len(seen)
    until(lambda: len(seen) > before)
    timers.stop()
    thread.join(10)
    assert kea.counters["exceptions"] == 0


def test_a_lost_ledger_is_lost_once(kea: FakeKea, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tasks that are due wait for it, and the pause until the first attempt is the shortest."""
    runs: list[str] = []
    losses: list[str] = []

    def look(ledger: Ledger) -> None:
        runs.append("look")
        if len(runs) == 2:
            database.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'kea_deleg_hook'")
            until(lambda: database.sql("select from pg_stat_activity where usename = 'kea_deleg_hook'") == [])
        ledger.free_by_length()

    journal, ledger = KeaJournal(kea), Ledger(database.dsn("kea_deleg_hook"), TIMEOUT)
    keeper = Keeper("timers", ledger, 10.0, journal, time.monotonic)
    lost = keeper.lost

    def note(error: LedgerUnavailable) -> None:
        losses.append(str(error))
        lost(error)

    monkeypatch.setattr(keeper, "lost", note)
    timers = Timers([Task(str(n), 0.05, look) for n in range(5)], ledger, keeper, journal, time.monotonic)
    thread = threading.Thread(target=timers.run)
    thread.start()
    until(lambda: losses)
    before = len(runs)
    until(lambda: len(runs) > before)
    timers.stop()
    thread.join(10)
    assert len(losses) == 1


# ------------------------------------------------------------------------------------------------ views, operations


def test_the_views(database: Database) -> None:
    database.pool("10.0.0.0/22")
    ledger, views = database.ledger(), LedgerViews()
    first, second = Client.number(1), Client.number(2)
    lease(ledger, first, 1, 24)
    lease(ledger, second, 1, 25)
    do(ledger, first.renew("10.0.0.0/24", usage=(100, 70, 1)), second.renew("10.0.1.0/25", usage=(30, None, None)))
    assert views.directory == Directory()
    assert views.view(0, ()) == View()
    views.read(ledger)
    pools = views.directory.pools_for(0, None)
    assert [pool.name for pool in pools] == ["10.0.0.0/22"]
    assert views.view(0, pools) == View(Holding(384, 100), {25: 1, 23: 1}, 1024)
    assert views.view(7, ()) == View()
    asked = [(0, second.identity), (0, b"nobody"), (0, first.identity), (7, first.identity), (0, second.identity)]
    assert ledger.holdings(asked) == [(128, 30), (0, 0), (256, 70), (0, 0), (128, 30)]


def test_the_views_are_read_while_somebody_asks(database: Database) -> None:
    ledger, views = database.ledger(), LedgerViews()

    def known() -> int:
        return sum(1 for pool in views.directory.pools if pool.size)

    assert views.as_of is None
    assert views.keep(ledger)  # at first, in case somebody will
    assert (views.as_of is not None, known()) == (True, 0)
    database.pool("10.0.0.0/22")
    assert not views.freshen(ledger)  # not older than view-interval
    assert known() == 0
    assert views.keep(ledger)
    assert known() == 1
    database.pool("10.0.4.0/22")
    assert views.keep(ledger)  # nobody asked since: not read, and of no use from now on
    assert (views.as_of, known()) == (None, 1)
    assert not views.keep(ledger)
    assert views.freshen(ledger)
    assert (views.as_of is not None, known()) == (True, 2)
    assert not views.freshen(ledger)
    assert views.keep(ledger)
    assert views.as_of is not None


def test_an_operation_the_ledger_does_not_know(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = database.ledger()
    message = f'{{"(nonsense,0,78,1{"," * (len(MESSAGE_FIELDS) - 4)})"}}'
    monkeypatch.setattr(ledger_module, "batch_to_array", lambda _: message)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="unknown op"):
        ledger._apply([Release(0, b"x", 1, None, 1, ())])


# ------------------------------------------------------------------------------------------------ the service


@pytest.fixture
def running(kea: FakeKea, database: Database) -> Iterator[Database]:
    database.pool("10.0.0.0/16")
    parameters = {
        "dsn": database.dsn("kea_deleg_hook"),
        "server-name": "one",
        "offer-time": 1,
        "quarantine-time": 0,
        "sweep-interval": 0.1,
        "view-interval": 0.1,
    }
    assert service.configure(json.dumps(parameters)) is None
    service.start(kea)
    yield database
    assert service.stop(10.0)


def test_the_service_serves_sweeps_and_stops(kea: FakeKea, running: Database) -> None:
    until(lambda: kea.logged("SUBNET_DELEG_LEDGER_CONNECTED"))
    kea.packets.put([DISCOVER])
    until(lambda: kea.sent)
    offer = decode(kea.sent[0].data)
    kea.packets.put([inbound(message(Type.REQUEST, information(*offer.allocation.blocks), server=SERVER))])
    until(lambda: len(kea.sent) == 2)
    assert decode(kea.sent[1].data).type is Type.ACK
    kea.packets.put([inbound(message(Type.RELEASE, information(*offer.allocation.blocks), server=SERVER))])
    until(lambda: running.blocks() == {"10.0.0.0/16": "free"})
    until(lambda: kea.status and json.loads(kea.status)["server-identifiers"] == [str(SERVER)])
    status = json.loads(kea.status)
    assert (status["server-name"], status["ledger-connected"], status["timers-connected"]) == ("one", True, True)
    kea.packets.put(None)
    assert service.stop(10.0)
    assert kea.logged("SUBNET_DELEG_STOPPED")
    assert [thread for thread in threading.enumerate() if thread.name.startswith("deleg-")] == []


def lapsed(kea: FakeKea) -> bool:
    """Whether figures were read, and nobody asked since."""
    read = [json.loads(status)["figures-as-of"] for status in kea.statuses.copy()]
    return any(read) and read[-1] is None


def test_who_asks_after_a_silence_has_what_is_in_the_ledger_now(kea: FakeKea, running: Database) -> None:
    """Nothing was read meanwhile; the pool that its block is of is the newest."""
    until(lambda: lapsed(kea))
    running.sql("select deleg.pool_remove('default', '10.0.0.0/16')")
    running.pool("10.1.0.0/16")
    kea.packets.put([DISCOVER])
    until(lambda: kea.sent)
    assert [block.network for block in decode(kea.sent[0].data).allocation.blocks] == [IPv4Network("10.1.0.0/24")]
    until(lambda: lapsed(kea))
    kea.packets.put(None)


def test_what_is_asked_back_while_nothing_is_due_is_asked_for_at_once(
    kea: FakeKea, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger tells of it; else it would have to wait for half a minute, while nothing ends."""
    monkeypatch.setattr(service, "SWEEP_REST", 10**6)
    looks: list[float] = []
    hurried = threading.Event()
    due_in, hurry = Ledger.due_in, service._Service._hurry

    def look(ledger: Ledger) -> float:
        looks.append(due_in(ledger))
        return looks[-1]

    def hurrying(of: service._Service) -> None:
        hurry(of)
        hurried.set()

    monkeypatch.setattr(Ledger, "due_in", look)
    monkeypatch.setattr(service._Service, "_hurry", hurrying)
    kea.addresses = [{"address": str(SERVER), "interface": "eth0", "index": 2}]
    database.pool("10.0.0.0/16")
    client = Client.number(1, nonce=bytes(16))
    (block,) = lease(database.ledger(), client, 1, 24)
    database.sql("delete from deleg.holds")
    database.sql("update deleg.blocks set server = %s where state = 'leased'", SERVER)
    parameters = {"dsn": database.dsn("kea_deleg_hook"), "sweep-interval": 0.1}
    assert service.configure(json.dumps(parameters)) is None
    service.start(kea)
    assert hurried.wait(10)  # as it began to listen: nobody knows what was before
    until(lambda: looks)
    time.sleep(1.0)  # ten intervals: that was looked after
    assert (looks[-1], kea.sent) == (3600, [])
    database.sql("select deleg.lease_takeback('default', %s)", IPv4Network(block))
    until(lambda: kea.sent)
    assert decode(kea.sent[0].data).type is Type.FORCERENEW
    kea.packets.put(None)
    assert service.stop(10.0)


def test_who_waits_for_our_own_renewal_is_charged_once(kea: FakeKea, database: Database) -> None:
    """One message within five seconds is all that it may send. The agent, which answers it in the end, does not count it again."""
    ledger = database.ledger()
    origin = IPv4Network("10.0.0.0/24")
    Upstreams(ledger).acknowledged(0, int(SERVER) + 9, 7200, 3600, 6300, [(origin, False)], None)
    blocks = lease(ledger, Client.number(1), 1, 26)
    for table in ("blocks", "origins"):
        database.sql(f"update deleg.{table} set expires = expires - interval '1 hour' where expires is not null")  # noqa: S608
    parameters = {
        "dsn": database.dsn("kea_deleg_hook"),
        "max-requests-per-second": 0.2,
        "upstreams": [{"address": str(SERVER + 9)}],
    }
    assert service.configure(json.dumps(parameters)) is None
    service.start(kea)
    until(lambda: kea.logged("SUBNET_DELEG_LEDGER_CONNECTED"))
    renewal = message(Type.REQUEST, information(*(Block(IPv4Network(block)) for block in blocks)))
    kea.packets.put([inbound(renewal)])
    until(lambda: kea.sent)
    assert decode(kea.sent[0].data).type is Type.ACK
    assert kea.counters["limited"] == 0
    kea.packets.put([inbound(renewal)])
    until(lambda: kea.counters["limited"] == 1)
    kea.packets.put(None)
    assert service.stop(10.0)


def test_stopping_while_postgresql_holds_a_statement(kea: FakeKea, running: Database) -> None:
    """unload() must not wait for a lock in the ledger: the statement is cancelled, within the time given."""
    until(lambda: kea.logged("SUBNET_DELEG_LEDGER_CONNECTED"))
    connection = running.connect()
    with connection.transaction():
        connection.execute("select deleg._own_free_blocks(0)")
        kea.packets.put([DISCOVER])
        until(lambda: running.sql("select pid from pg_stat_activity where wait_event_type = 'Lock'"))
        kea.packets.put(None)
        started = time.monotonic()
        assert service.stop(2.0)
        assert time.monotonic() - started < 2.5
    assert kea.sent == []
    assert running.blocks() == {"10.0.0.0/16": "free"}
    until(lambda: none_left(running))


def test_stopping_while_postgresql_holds_two_threads(kea: FakeKea, running: Database) -> None:
    """One after the other they must not use up the time in which their connections are cut."""
    until(lambda: kea.logged("SUBNET_DELEG_LEDGER_CONNECTED"))
    connection = running.connect()
    with connection.transaction():
        connection.execute("select deleg._own_free_blocks(0)")
        for client, waiting in ((1, 1), (2, 2)):
            kea.packets.put([inbound(message(Type.DISCOVER, Allocation((Request(24),)), client=client))])
            until(
                lambda waiting=waiting: (  # type: ignore[misc]
                    len(running.sql("select pid from pg_stat_activity where wait_event_type = 'Lock'")) == waiting
                )
            )
        kea.packets.put(None)
        assert service.stop(2.0)
    until(lambda: none_left(running))


def test_postgresql_hangs_and_others_answer(kea: FakeKea, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads find their connections cut, and make new ones."""
    monkeypatch.setattr(ledger_module, "GRACE", 0.3)
    monkeypatch.setattr(watchdog_module, "INTERVAL", 0.1)
    database.pool("10.0.0.0/16")
    parameters = {"dsn": database.dsn("kea_deleg_hook"), "statement-timeout": 1.0}
    assert service.configure(json.dumps(parameters)) is None
    service.start(kea)
    try:
        until(lambda: len(kea.logged("SUBNET_DELEG_LEDGER_CONNECTED")) == 4)
        with hung(database):
            deadline = time.monotonic() + 20
            while (
                not kea.sent and time.monotonic() < deadline
            ):  # each worker's first is lost with its connection; the client asks again
                kea.packets.put([DISCOVER])
                time.sleep(0.5)
            assert kea.sent
    finally:
        kea.packets.put(None)
        assert service.stop(10.0)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("deleg-")] == []
    until(lambda: none_left(database))


def test_stop_without_start() -> None:
    assert service.stop(0.1)


def test_every_identifier_that_is_logged_is_declared() -> None:
    package = Path(service.__file__).parents[1]
    used = {
        name for path in package.rglob("*.py") for name in re.findall(r'"(SUBNET_DELEG_[A-Z_]+)"', path.read_text())
    }
    declared_in_hook = set(re.findall(r"SUBNET_DELEG_[A-Z_]+", (package.parent / "hook/messages.def").read_text()))
    assert used <= MESSAGES.keys() | declared_in_hook
    assert MESSAGES.keys() <= used
    assert all(text.endswith(".") for text in MESSAGES.values())
    assert Severity.DEBUG < Severity.INFO < Severity.WARN < Severity.ERROR < Severity.FATAL
