# SPDX-License-Identifier: MPL-2.0
"""The agent's thread on a real PostgreSQL: its turns, what wakes it, and what it survives. Roles are stood in for."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from kea_subnet_deleg.ledger import Ledger, LedgerError, LedgerUnavailable
from kea_subnet_deleg.roles.packets import Inbound, Outbound
from kea_subnet_deleg.roles.shortages import Shortages
from kea_subnet_deleg.runtime.agent import LACK_PATIENCE, UPSTREAM_PATIENCE, Agent, Roles
from kea_subnet_deleg.runtime.bridge import KeaUnloads
from kea_subnet_deleg.runtime.connection import Keeper
from kea_subnet_deleg.runtime.journal import KeaJournal
from tests.client.codec import Allocation, Request, Type
from tests.conftest import TIMEOUT, Database
from tests.unit.fakes import FakeKea, inbound, message

DISCOVER = inbound(message(Type.DISCOVER, Allocation((Request(24),))))
SENT = Outbound(b"", 1, 2, 3, 67, b"")
NEVER = float("inf")


@dataclass
class Asking:
    """The requesting role: it keeps what it is told."""

    due: float = NEVER
    wanting: bool = False
    refused: bool = False
    started: int = 0
    wants: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    taken: list[Inbound] = field(default_factory=list)
    turns: int = 0
    hurried: int = 0
    changes: int = 0
    on_take: Callable[[], None] = lambda: None

    def start(self) -> Sequence[Outbound]:
        self.started += 1
        return [SENT]

    def want(self, own: Sequence[int], clients: Sequence[int]) -> None:
        if not self.wants or self.wants[-1] != (tuple(own), tuple(clients)):
            self.wants.append((tuple(own), tuple(clients)))

    def hurry(self) -> None:
        self.hurried += 1

    def changed(self) -> None:
        self.changes += 1

    def take(self, packet: Inbound) -> Sequence[Outbound]:
        self.taken.append(packet)
        self.on_take()
        return [SENT]

    def turn(self) -> Sequence[Outbound]:
        self.turns += 1
        self.due = NEVER
        return [SENT]


@dataclass
class Growing:
    """The addressing role: it lacks what it is told to, and fails as often as it is told to."""

    due: float = 0.0
    still_until: float = 0.0
    tolerance: int | None = None
    missing: tuple[int, ...] = ()
    failures: list[Exception] = field(default_factory=list)
    turns: int = 0
    news: list[bool] = field(default_factory=list)
    on_turn: list[Callable[[], object]] = field(default_factory=list)

    @property
    def lacking(self) -> frozenset[str | None]:
        return frozenset({None} if self.missing else ())

    def turn(self, *, news: bool) -> tuple[int, ...]:
        self.turns += 1
        self.news.append(news)
        self.due = time.monotonic() + 60
        if self.on_turn:
            self.on_turn.pop()()
        if self.failures:
            raise self.failures.pop()
        return self.missing


@dataclass
class Answering:
    """The delegating role."""

    handled: list[Inbound] = field(default_factory=list)

    def handle(self, packets: Sequence[Inbound]) -> Sequence[Outbound]:
        self.handled += packets
        return [SENT] * len(packets)


@dataclass
class Scene:
    """An agent and what it is made of."""

    database: Database
    kea: FakeKea = field(default_factory=FakeKea)
    asking: Asking = field(default_factory=Asking)
    growing: Growing = field(default_factory=Growing)
    answering: Answering = field(default_factory=Answering)
    prepared: list[bool] = field(default_factory=list)
    refreshed: list[bool] = field(default_factory=list)
    lacked: list[tuple[int, ...]] = field(default_factory=list)
    dsn: str = ""

    def __post_init__(self) -> None:
        self.shortages = Shortages(time.monotonic, self.wake)
        self.ledger = ledger = Ledger(self.dsn or self.database.dsn(), TIMEOUT)
        journal = KeaJournal(self.kea)
        self.agent = Agent(
            self.kea,
            journal,
            ledger,
            Keeper("agent", ledger, 0.5, journal, time.monotonic),
            Roles(self.asking, self.growing, self.answering),
            self.shortages,
            lambda _: self.prepared.append(True),
            lambda _: self.refreshed.append(True),
            time.monotonic,
            self.lacked.append,
        )

    def wake(self) -> None:
        self.agent.wake()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.agent.run)
        thread.start()
        try:
            yield
        finally:
            self.agent.stop()
            thread.join(10)
            assert not thread.is_alive()


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(database)


def test_it_prepares_starts_and_grows_once_the_ledger_is_there(scene: Scene) -> None:
    with scene.running():
        until(lambda: scene.growing.turns)
    assert (scene.prepared, scene.asking.started, scene.kea.sent) == ([True], 1, [SENT])
    assert scene.asking.wants == [((), ())]


def test_what_the_ledger_tells_beside_an_answer_ends_the_wait(scene: Scene) -> None:
    """It was read with that, and the connection is not readable any more."""

    def told_meanwhile() -> None:
        scene.database.sql("select deleg._tell_networks()")
        time.sleep(0.1)
        scene.ledger.directory()

    scene.growing.on_turn = [told_meanwhile]
    with scene.running():
        until(lambda: scene.growing.turns == 2, 5.0)  # due in a minute
        time.sleep(0.3)
    assert scene.growing.news == [True, True]


def test_a_server_that_is_told_to_be_silent_asks_nobody(scene: Scene) -> None:
    scene.kea.silent = True
    scene.asking.due = 0.0
    scene.growing.missing = (24,)
    scene.shortages.keep(b"one", DISCOVER, [22])
    with scene.running():
        until(lambda: scene.growing.turns)
        scene.agent.obtained()
        scene.agent.wake()
        time.sleep(0.3)
        assert (scene.asking.started, scene.asking.turns, scene.kea.sent, scene.asking.wants) == (0, 0, [], [])
        scene.growing.missing = ()
        scene.kea.silent = False
        until(lambda: scene.asking.turns)
    assert scene.asking.started == 1
    assert scene.answering.handled == [DISCOVER]


def test_what_networks_and_clients_lack_is_wanted(scene: Scene) -> None:
    scene.growing.missing = (24,)
    with scene.running():
        until(lambda: scene.asking.wants)
        assert scene.shortages.own
        scene.shortages.keep(b"one", DISCOVER, [22])  # wakes it
        until(lambda: scene.asking.wants[-1] == ((24,), (22,)))
        assert not scene.shortages.refused
        scene.asking.refused = True
        scene.agent.wake()
        until(lambda: scene.shortages.refused)
    assert scene.answering.handled == []


def test_what_was_obtained_serves_networks_first_and_then_who_asked(scene: Scene) -> None:
    scene.growing.missing = (24,)
    scene.asking.on_take = scene.agent.obtained
    with scene.running():
        until(lambda: scene.asking.wants)
        scene.shortages.keep(b"one", DISCOVER, [22])
        scene.agent.give([DISCOVER])  # as if it were an answer: not enough yet
        until(lambda: scene.asking.taken)
        assert scene.answering.handled == []
        scene.growing.missing = ()
        scene.agent.give([DISCOVER])
        until(lambda: scene.answering.handled)
    assert not scene.shortages.own
    assert scene.refreshed == [True]
    assert scene.answering.handled == [DISCOVER]
    assert scene.asking.wants[-1] == ((), ())


def test_a_renewal_waits_for_our_own(scene: Scene) -> None:
    with scene.running():
        until(lambda: scene.growing.turns)
        began = time.monotonic()
        scene.shortages.postpone(DISCOVER)
        until(lambda: scene.asking.hurried)
        scene.agent.give([DISCOVER])
        until(lambda: scene.answering.handled)
    assert time.monotonic() - began < UPSTREAM_PATIENCE
    assert (scene.asking.hurried, scene.answering.handled) == (1, [DISCOVER])
    assert not scene.shortages.has_postponed


def test_a_renewal_does_not_wait_for_ever(scene: Scene) -> None:
    with scene.running():
        until(lambda: scene.growing.turns)
        began = time.monotonic()
        scene.shortages.postpone(DISCOVER)
        until(lambda: scene.answering.handled)
        assert time.monotonic() - began >= UPSTREAM_PATIENCE
        scene.shortages.postpone(DISCOVER)
        until(lambda: len(scene.answering.handled) == 2)
    assert scene.asking.hurried == 2


def test_what_networks_lack_for_a_while_is_told(scene: Scene) -> None:
    scene.growing.missing = (24, 24)
    with scene.running():
        until(lambda: scene.growing.turns)
        assert scene.lacked == []  # an upstream may help at once
        time.sleep(LACK_PATIENCE)
        scene.growing.due = 0.0
        scene.agent.wake()
        until(lambda: scene.lacked)
    assert scene.lacked[0] == (24, 24)


def test_it_turns_when_a_role_is_due(scene: Scene) -> None:
    with scene.running():
        until(lambda: scene.growing.turns)
        scene.asking.due = time.monotonic() + 0.2
        scene.agent.wake()
        until(lambda: scene.asking.turns)


def test_while_little_moves_it_rests(scene: Scene) -> None:
    """Until then whoever counts what moves wakes it; the role is not asked each time that it is due."""
    now = time.monotonic()
    scene.growing.still_until, scene.growing.tolerance = now + 3.0, 7
    with scene.running():
        until(lambda: scene.kea.rests)
        seconds, tolerance = scene.kea.rests[0]
        assert (2.0 < seconds < 4.0, tolerance) == (True, 7)
        scene.growing.tolerance = None
        scene.growing.due = 0.0
        scene.agent.wake()
        until(lambda: len(scene.kea.rests) >= 2 and scene.growing.turns >= 2)
    assert {tolerance for _, tolerance in scene.kea.rests[1:]} == {None}


def test_news_in_the_ledger_wakes_it(scene: Scene, database: Database) -> None:
    with scene.running():
        until(lambda: scene.growing.turns)
        before, changes = scene.growing.turns, scene.asking.changes
        with psycopg.connect(database.dsn(), autocommit=True) as connection:
            connection.execute("select pg_notify('kea_subnet_deleg', 'networks')")
        until(lambda: scene.growing.turns > before and scene.asking.changes > changes, 3.0)


def test_while_the_ledger_is_away_what_is_due_does_not_keep_it_awake(database: Database) -> None:
    scene = Scene(database, dsn=f"{database.dsn()} port=1")
    scene.asking.due = scene.growing.due = 0.0
    with scene.running():
        until(lambda: scene.kea.logged("SUBNET_DELEG_LEDGER_DOWN"))
        time.sleep(1.0)
    assert len(scene.kea.rests) < 6  # an attempt after 0.25 s, and then each 0.5 s


def count_waits(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows with each turn."""
    waits: list[None] = []
    wait = agent._wait

    def counted() -> None:
        waits.append(None)
        wait()

    monkeypatch.setattr(agent, "_wait", counted)
    return waits


def test_where_nothing_grows_news_and_a_lost_ledger_do_not_keep_it_awake(
    scene: Scene, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.agent._roles = Roles(None, None, scene.answering)
    waits = count_waits(scene.agent, monkeypatch)
    with scene.running():
        until(lambda: scene.agent._listening)
        database.sql("select pg_notify('kea_subnet_deleg', 'networks')")
        time.sleep(0.3)
        assert len(waits) < 10
        database.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        )
        until(lambda: len(scene.kea.logged("SUBNET_DELEG_LEDGER_CONNECTED")) >= 2)  # though nobody wakes it
        assert len(waits) < 20


def test_news_do_not_keep_it_awake_while_it_rests(
    scene: Scene, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = count_waits(scene.agent, monkeypatch)
    scene.growing.failures = [LedgerError("not yet")]
    with scene.running():
        until(lambda: scene.kea.logged("SUBNET_DELEG_AGENT_FAILED"))
        database.sql("select pg_notify('kea_subnet_deleg', 'networks')")
        time.sleep(0.3)
        assert (scene.growing.turns, len(waits) < 10) == (1, True)
        until(lambda: scene.growing.turns == 2)
    assert scene.growing.news == [True, True]


def test_the_addressing_role_is_told_whether_there_is_news(scene: Scene, database: Database) -> None:
    scene.growing.failures = [LedgerError("what it was told is lost with this turn")]
    with scene.running():
        until(lambda: scene.growing.turns >= 2)
        scene.growing.due = 0.0
        scene.agent.wake()
        until(lambda: scene.growing.turns >= 3)
        with psycopg.connect(database.dsn(), autocommit=True) as connection:
            connection.execute("select pg_notify('kea_subnet_deleg', 'networks')")
        until(lambda: scene.growing.turns >= 4, 3.0)
    assert scene.growing.news[:4] == [True, True, False, True]


@pytest.mark.parametrize(
    ("failure", "identifier"),
    [
        (ValueError("a defect"), "SUBNET_DELEG_EXCEPTION"),
        (LedgerUnavailable("gone"), "SUBNET_DELEG_LEDGER_DOWN"),
    ],
)
def test_a_failure_does_not_end_it(scene: Scene, failure: Exception, identifier: str) -> None:
    scene.growing.failures = [failure]
    with scene.running():
        until(lambda: scene.kea.logged(identifier))
        scene.growing.due = 0.0
        until(lambda: scene.growing.turns >= 2)


def test_that_the_hook_is_being_unloaded_is_no_failure(scene: Scene) -> None:
    scene.growing.failures = [KeaUnloads("the hook is being unloaded")]
    with scene.running():
        until(lambda: scene.growing.turns)
        scene.growing.due = 0.0
        until(lambda: scene.growing.turns >= 2)
    assert not scene.kea.logged("SUBNET_DELEG_AGENT_FAILED")
    assert scene.kea.counters["exceptions"] == 0


def test_the_ledger_is_lost_and_comes_back(scene: Scene, database: Database) -> None:
    with scene.running():
        until(lambda: scene.growing.turns)
        with psycopg.connect(database.dsn(), autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            )
        before = scene.growing.turns  # none of which can be another one yet: it is not due for a minute
        scene.agent.wake()
        until(lambda: len(scene.kea.logged("SUBNET_DELEG_LEDGER_CONNECTED")) >= 2)
        until(lambda: scene.growing.turns > before)
        with psycopg.connect(database.dsn(), autocommit=True) as connection:  # it listens again
            turns = scene.growing.turns
            connection.execute("select pg_notify('kea_subnet_deleg', 'networks')")
        until(lambda: scene.growing.turns > turns, 3.0)
    assert scene.prepared == [True]


def test_a_generation_leaves_no_descriptor_behind(database: Database) -> None:
    def generation() -> None:
        scene = Scene(database)
        with scene.running():
            until(lambda: scene.growing.turns)
        scene.agent.wake()  # by a worker that has not ended yet

    generation()
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        generation()
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_it_stops_while_there_is_no_ledger(database: Database, tmp_path: Path) -> None:
    scene = Scene(database, dsn=f"host={tmp_path}")
    with scene.running():
        until(lambda: scene.kea.logged("SUBNET_DELEG_LEDGER_DOWN"))
        scene.agent.give([DISCOVER])
    assert scene.prepared == []
