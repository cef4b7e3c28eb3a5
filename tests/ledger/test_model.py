# SPDX-License-Identifier: MPL-2.0
"""Hypothesis drives the real ledger through three connections and holds it against a model, after every step.

`KEA_SUBNET_DELEG_EXAMPLES=2000 pytest tests/ledger/test_model.py` looks longer, and elsewhere each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kea_subnet_deleg.ledger import (
    Accept,
    Admin,
    Ledger,
    LedgerError,
    Listing,
    Offer,
    Operation,
    OperationFailed,
    Outcome,
    Pool,
    Reclaim,
    Release,
    Renew,
    Renewal,
    Result,
    Size,
)
from tests.conftest import Database
from tests.ledger.model import HELD, Held, Model

SERVERS = (0x0A000001, 0x0A000002, 0x0A000003)  # of this domain, one for each connection
FOREIGN = 0x0A0000FE
CLIENTS = tuple(b"\1\2\0\0\0\0" + bytes((n,)) for n in range(4))
POOLS = tuple(map(IPv4Network, ("10.0.0.0/22", "10.0.4.0/22", "192.168.1.0/24", "10.9.0.128/26")))
LEASE_TIMES = (60, 3600, 604800, 0xFFFFFFFF)
HOLD = 3600  # seconds: no offer ends by itself while an example runs

connections = st.integers(0, 2)
clients = st.sampled_from(CLIENTS)
xids = st.integers(1, 3)
lengths = st.integers(21, 30)
lease_times = st.sampled_from(LEASE_TIMES)
counts = st.one_of(st.none(), st.integers(0, 65534))


@st.composite
def size_lists(draw: st.DrawFn) -> tuple[Size, ...]:
    return tuple(
        Size(slot, wanted := draw(lengths), draw(st.integers(wanted, 30)), draw(st.booleans()), "model")
        for slot in range(draw(st.integers(1, 3)))
    )


class LedgerMachine(RuleBasedStateMachine):
    """Messages are sent in batches: a rule adds one to the batch and may close it; other rules close it first."""

    database: Database
    ledgers: tuple[Ledger, ...]
    admin: Admin

    def __init__(self) -> None:
        super().__init__()
        self.database.empty()
        self.model = Model(set(SERVERS))
        self.batch: list[tuple[Operation, Outcome]] = []
        for ledger, server in zip(self.ledgers, SERVERS, strict=True):
            ledger.server_seen(server, "model", "0")
        self.add_pool(POOLS[0], None)

    # ------------------------------------------------------------------------------------------------ messages

    @rule(at=connections, client=clients, xid=xids, lease_time=lease_times, sizes=size_lists(), more=st.booleans())
    def offer(self, at: int, client: bytes, xid: int, lease_time: int, sizes: tuple[Size, ...], more: bool) -> None:
        operation = Offer(0, client, xid, 0x0A0000C8, SERVERS[at], lease_time, HOLD, sizes)
        expected = self.model.offer(client, xid, lease_time, sizes)
        self.send(at, operation, expected, more)

    @rule(at=connections, data=st.data(), more=st.booleans())
    def accept(self, at: int, data: st.DataObject, more: bool) -> None:
        client, xid = self.transaction(data, "offered", "offered", *HELD)
        offered = self.model.of(client, "offered", *HELD, xid=xid)
        named = [(block, self.model.held[block].hierarchical) for block in self.some(data, offered)]
        if data.draw(st.integers(0, 3)) == 0:  # altered, another's, or nobody's
            block = data.draw(st.sampled_from(self.anything()))
            hierarchical = data.draw(st.booleans())
            named.append(data.draw(st.sampled_from(((block, hierarchical), (_half(block), True)))))
        operation = Accept(0, client, xid, SERVERS[at], tuple(named))
        self.send(at, operation, self.model.accept(client, xid, named), more)

    @rule(at=connections, data=st.data(), more=st.booleans())
    def renew(self, at: int, data: st.DataObject, more: bool) -> None:
        client, _ = self.transaction(data, *HELD, "quarantined")
        blocks = self.some(data, self.model.of(client, *HELD, "quarantined"))
        if data.draw(st.integers(0, 3)) == 0:
            blocks = [*blocks, data.draw(st.sampled_from(self.anything()))]
        verdicts = st.sampled_from(("full", "full", "full", "deprecate", "refuse"))
        items = tuple(
            Renewal(
                str(block),
                data.draw(verdicts),
                data.draw(lease_times),
                data.draw(counts),
                data.draw(counts),
                data.draw(counts),
                "model",
            )
            for block in dict.fromkeys(blocks)
        )
        operation = Renew(0, client, 9, SERVERS[at], HOLD, items)
        self.send(at, operation, self.model.renew(client, items), more)

    @rule(
        at=connections,
        client=clients,
        named=st.sampled_from((None, SERVERS[0], SERVERS[2], FOREIGN)),
        data=st.data(),
        more=st.booleans(),
    )
    def release(self, at: int, client: bytes, named: int | None, data: st.DataObject, more: bool) -> None:
        blocks = self.some(data, self.model.of(client, *HELD))
        if data.draw(st.integers(0, 3)) == 0:
            blocks = [*blocks, data.draw(st.sampled_from(self.anything()))]
        operation = Release(0, client, 9, named, HOLD, tuple(blocks))
        self.send(at, operation, self.model.release(client, named, blocks), more)

    @rule(
        at=connections,
        client=clients,
        xid=xids,
        named=st.sampled_from((FOREIGN, FOREIGN, SERVERS[1])),
        more=st.booleans(),
    )
    def reclaim(self, at: int, client: bytes, xid: int, named: int, more: bool) -> None:
        self.send(at, Reclaim(0, client, xid, named), self.model.reclaim(client, xid, named), more)

    @rule(at=connections, client=clients, limit=st.integers(1, 3), data=st.data(), more=st.booleans())
    def listing(self, at: int, client: bytes, limit: int, data: st.DataObject, more: bool) -> None:
        after = data.draw(st.one_of(st.none(), st.sampled_from(self.anything())))
        self.send(at, Listing(0, client, 9, after, limit), self.model.listing(client, after, limit), more)

    # ------------------------------------------------------------------------------------------------ time, operators

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def time_passes(self, data: st.DataObject) -> None:
        self.close_batch()
        for block in self.some(data, sorted(self.model.held)):
            self.database.sql("update deleg.blocks set expires = now() - interval '1 s' where prefix = %s", block)
            self.model.held[block].due = True

    @rule(at=connections, quarantine=st.sampled_from((0, HOLD)))
    def sweep(self, at: int, quarantine: int) -> None:
        self.close_batch()
        assert tuple(self.ledgers[at].sweep(1000, quarantine)) == self.model.sweep(quarantine)

    @rule(prefix=st.sampled_from(POOLS), max_lease=st.sampled_from((None, 600, 86400)))
    def add_pool(self, prefix: IPv4Network, max_lease: int | None) -> None:
        self.close_batch()
        if self.model.pool_add(prefix, max_lease):
            self.admin.pool_add(Pool(prefix, str(prefix), max_lease))
        else:
            with pytest.raises(LedgerError, match="overlaps a pool"):
                self.admin.pool_add(Pool(prefix, str(prefix), max_lease))

    @rule(prefix=st.sampled_from(POOLS))
    def remove_pool(self, prefix: IPv4Network) -> None:
        self.close_batch()
        held = self.model.pool_remove(prefix)
        if held is None:
            with pytest.raises(LedgerError, match="no pool"):
                self.admin.pool_remove(prefix)
        else:
            assert self.admin.pool_remove(prefix) == held

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def deprecate(self, data: st.DataObject) -> None:
        self.close_batch()
        leased = sorted(block for block, held in self.model.held.items() if held.state in HELD)
        block = data.draw(st.sampled_from(leased or sorted(self.model.held)))
        assert self.admin.lease_deprecate(block) == self.model.deprecate(block)

    # ------------------------------------------------------------------------------------------------ the comparison

    @invariant()
    def same(self) -> None:
        if self.batch:
            return
        assert self.database.violations() == []
        assert self.table() == self.model_table()
        assert self.usage() == {block: held.usage for block, held in self.model.held.items() if held.usage}

    def teardown(self) -> None:
        self.close_batch()
        self.same()

    def send(self, at: int, operation: Operation, expected: Outcome, more: bool) -> None:
        """Add a message to the batch; unless there is more to come, send it by connection `at`."""
        self.batch.append((operation, expected))
        if not more:
            self.close_batch(at)

    def close_batch(self, at: int = 0) -> None:
        batch, self.batch = self.batch, []
        if batch:
            outcomes = self.ledgers[at].apply([operation for operation, _ in batch])
            assert [_comparable(outcome) for outcome in outcomes] == [expected for _, expected in batch]

    def transaction(self, data: st.DataObject, *states: str) -> tuple[bytes, int]:
        """Return a client and an xid, mostly of a block in one of these states."""
        known = sorted((held.client, held.xid) for held in self.model.held.values() if held.state in states)
        anyone = st.tuples(clients, xids)
        return data.draw(st.one_of(st.sampled_from(known), st.sampled_from(known), anyone) if known else anyone)

    def some(self, data: st.DataObject, blocks: list[IPv4Network]) -> list[IPv4Network]:
        """Return some of the blocks in some order, mostly at least one."""
        if not blocks:
            return []
        return data.draw(
            st.lists(st.sampled_from(blocks), unique=True, min_size=data.draw(st.integers(0, 1)), max_size=4)
        )

    def anything(self) -> list[IPv4Network]:
        return sorted({*self.model.held, *self.model.free, IPv4Network("203.0.113.0/28")})

    def table(self) -> dict[IPv4Network, tuple[object, ...]]:
        rows = self.database.sql(
            "select prefix, state::text, draining, identity, xid, slot, hierarchical, lease_time, expires <= now()"
            " from deleg.blocks left join deleg.lessees using (lessee)"
        )
        return {prefix: tuple(rest) for prefix, *rest in rows}

    def model_table(self) -> dict[IPv4Network, tuple[object, ...]]:
        model = self.model
        free: dict[IPv4Network, tuple[object, ...]] = {
            block: ("free", model.origins[model.origin(block)].closing, *(None,) * 6) for block in model.free
        }
        return free | {block: _row(held) for block, held in model.held.items()}

    def usage(self) -> dict[IPv4Network, tuple[int | None, ...]]:
        rows = self.database.sql("select prefix, high_water, in_use, unusable from deleg.usage")
        return {prefix: tuple(counts) for prefix, *counts in rows}


def _row(held: Held) -> tuple[object, ...]:
    return (
        held.state,
        held.draining,
        held.client,
        held.xid,
        held.slot,
        held.hierarchical,
        held.lease_time,
        held.due,
    )


def _half(block: IPv4Network) -> IPv4Network:
    """Return the block changed by a bit of its prefix length."""
    return IPv4Network((block.network_address, min(30, block.prefixlen + 1)))


def _comparable(outcome: Outcome | OperationFailed) -> Outcome:
    """Return an outcome without the seconds left in a listing, which pass while the test runs."""
    assert isinstance(outcome, Outcome), outcome
    return replace(outcome, lease_time=None) if outcome.result is Result.LISTED else outcome


@pytest.fixture
def machine(database: Database) -> Iterator[type[LedgerMachine]]:
    with database.admin() as admin:
        LedgerMachine.database = database
        LedgerMachine.ledgers = tuple(database.ledger() for _ in SERVERS)
        LedgerMachine.admin = admin
        yield LedgerMachine


def test_the_ledger_does_what_the_model_does(machine: type[LedgerMachine]) -> None:
    examples = os.environ.get("KEA_SUBNET_DELEG_EXAMPLES")
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(examples or 40),
            stateful_step_count=50,
            derandomize=not examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
