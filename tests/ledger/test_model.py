# SPDX-License-Identifier: MPL-2.0
"""Hypothesis drives the real ledger through three connections and holds it against a model of each of two spaces, after every step.

`KEA_SUBNET_DELEG_EXAMPLES=2000 pytest tests/ledger/test_model.py` looks longer, and elsewhere each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kea_subnet_deleg.ledger import (
    Accept,
    Admin,
    Contact,
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
    Wanted,
)
from tests.conftest import Database
from tests.ledger.model import HELD, OUT, Held, Model

SERVERS = (0x0A000001, 0x0A000002, 0x0A000003)  # of this domain, one for each connection
FOREIGN = 0x0A0000FE
CLIENTS = tuple(b"\1\2\0\0\0\0" + bytes((n,)) for n in range(4))
SPACES = ("default", "tenant")  # by number; their prefixes overlap
ORIGINS = tuple(map(IPv4Network, ("10.0.0.0/22", "10.0.4.0/22", "192.168.1.0/24", "10.9.0.128/26")))
TAGS = {"default": frozenset[str](), "sales": frozenset({"sales"})}
LEASE_TIMES = (600, 3600, 604800, 0xFFFFFFFF)  # a quarter of each is longer than an example takes
HOLD = 3600  # seconds: no offer ends by itself while an example runs
TERMS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"lease_time": 7200},
    {"reserve": 512, "members": frozenset(CLIENTS[:1])},
    {"reserve": 0},
)

_T = TypeVar("_T")

connections = st.integers(0, 2)
spaces = st.sampled_from((0, 0, 1))
clients = st.sampled_from(CLIENTS)
xids = st.integers(1, 3)
lengths = st.integers(22, 30)
lease_times = st.sampled_from(LEASE_TIMES)
asked_times = st.one_of(st.none(), lease_times)
counts = st.one_of(st.none(), st.integers(0, 300))
contacts = st.builds(
    Contact,
    st.just(0x0A0000C8),
    st.sampled_from((67, 1067)),
    st.booleans(),
    st.just(b"\1\2\3\4\5\6\7"),
    st.sampled_from((None, bytes(16), bytes(range(16)))),
)


details = st.sampled_from((None, {"share": 0.5}, {"push": "newcomer"}))


@st.composite
def size_lists(draw: st.DrawFn) -> tuple[Size, ...]:
    sizes = []
    for slot in range(draw(st.integers(1, 3))):
        wanted = draw(lengths)
        detail = draw(details)
        named = None
        if draw(st.integers(0, 3)) == 0:  # a client may name a block as small as it likes
            origin = draw(st.sampled_from(ORIGINS))
            length = draw(st.integers(max(wanted, origin.prefixlen), 30))
            spare = draw(st.integers(0, (1 << length - origin.prefixlen) - 1))
            named = str(IPv4Network((int(origin.network_address) + (spare << 32 - length), length)))
        sizes.append(Size(slot, wanted, draw(st.integers(wanted, 30)), draw(st.booleans()), "model", detail, named))
    return tuple(sizes)


class LedgerMachine(RuleBasedStateMachine):
    """Messages are sent in batches: a rule adds one to the batch and may close it; other rules close it first."""

    database: Database
    ledgers: tuple[Ledger, ...]
    admin: Admin

    def __init__(self) -> None:
        super().__init__()
        self.database.empty()
        self.database.sql("insert into deleg.spaces (space, name) values (1, 'tenant')")
        self.models = self.new_models()
        self.replays: dict[tuple[int, bytes], int] = {}
        self.batch: list[tuple[Operation, Outcome]] = []
        self.newcomers = 0
        for ledger, server in zip(self.ledgers, SERVERS, strict=True):
            ledger.server_seen(server, "model", "0")
        self.database.sql("update deleg.servers set last_seen = now() + interval '1 day'")  # however long it takes
        for space in range(len(SPACES)):
            self.do_add_pool(space, ORIGINS[0], "default", None, {})

    def new_models(self) -> tuple[Model, ...]:
        return tuple(Model(frozenset(SERVERS)) for _ in SPACES)

    # ------------------------------------------------------------------------------------------------ messages

    @rule(
        at=connections,
        space=spaces,
        client=clients,
        xid=xids,
        name=st.sampled_from((None, "sales", "?")),
        data=st.data(),
    )
    def offer(self, at: int, space: int, client: bytes, xid: int, name: str | None, data: st.DataObject) -> None:
        """DISCOVER, of the pools that serve the name, as a server finds them in the directory."""
        model = self.models[space]
        pools = tuple(pool.number for pool in self.ledgers[at].directory().pools_for(space, name))
        assert sorted(pools) == model.pools_for(name)
        if not pools:
            return
        operation = Offer(
            space,
            client,
            xid,
            SERVERS[at],
            data.draw(contacts),
            data.draw(lease_times),
            data.draw(asked_times),
            HOLD,
            pools,
            data.draw(st.sampled_from((None, None, None, 1, 3))),
            data.draw(st.sampled_from((None, None, None, 64, 600))),
            data.draw(size_lists()),
        )
        self.close_batch()  # messages of different clients in one batch are in no order: who comes first, gets the lowest block
        self.send(at, operation, model.offer(operation), data)

    @rule(
        at=connections,
        space=spaces,
        number=st.integers(2, 6),
        wanted=lengths,
        longest=lengths,
        hierarchical=st.booleans(),
        detail=details,
        contact=contacts,
        asked=asked_times,
        left=st.sets(st.integers(0, 5)),
    )
    def crowd(
        self,
        at: int,
        space: int,
        number: int,
        wanted: int,
        longest: int,
        hierarchical: bool,
        detail: dict[str, str | float | bool] | None,
        contact: Contact,
        asked: int | None,
        left: set[int],
    ) -> None:
        """Newcomers who want the same, in one batch, and in another their REQUESTs; some change their offer, which is refused."""
        self.close_batch()
        model, server = self.models[space], SERVERS[at]
        pools = tuple(pool.number for pool in model.pools.values())
        size = Size(0, wanted, max(wanted, longest), hierarchical, "model", detail)
        requests = []
        for n in range(number):
            self.newcomers += 1
            client = b"\2" + self.newcomers.to_bytes(4, "big")
            offer = Offer(space, client, 7, server, contact, 3600, asked, HOLD, pools, None, None, (size,))
            expected = model.offer(offer)
            self.batch.append((offer, expected))
            blocks = tuple(Wanted.of(g.prefix, g.hierarchical ^ (n in left), expected.more) for g in expected.blocks)
            requests.append(Accept(space, client, 7, server, contact, blocks))
        self.close_batch(at)
        self.batch = [(request, model.accept(request)) for request in requests]
        self.close_batch(at)

    @rule(
        at=connections,
        space=spaces,
        client=clients,
        xid=xids,
        lease_time=lease_times,
        sizes=size_lists(),
        data=st.data(),
    )
    def lease(
        self,
        at: int,
        space: int,
        client: bytes,
        xid: int,
        lease_time: int,
        sizes: tuple[Size, ...],
        data: st.DataObject,
    ) -> None:
        """DISCOVER, and a REQUEST of all that was offered."""
        model, server, contact = self.models[space], SERVERS[at], data.draw(contacts)
        pools = tuple(pool.number for pool in model.pools.values())
        operation = Offer(space, client, xid, server, contact, lease_time, None, HOLD, pools, None, None, sizes)
        self.close_batch()
        expected = model.offer(operation)
        self.batch.append((operation, expected))
        blocks = tuple(Wanted.of(granted.prefix, granted.hierarchical, False) for granted in expected.blocks)
        request = Accept(space, client, xid, server, contact, blocks)
        self.send(at, request, model.accept(request), data)

    @precondition(lambda self: self.spaces_with("offered"))
    @rule(at=connections, data=st.data())
    def accept(self, at: int, data: st.DataObject) -> None:
        space = data.draw(st.sampled_from(self.spaces_with("offered")))
        model = self.models[space]
        client, xid = self.transaction(space, data, "offered", "offered", *HELD)
        other_xid = data.draw(st.integers(0, 3)) == 0  # what is offered to this client is its own in any transaction
        offered = model.of(client, *OUT, xid=None if other_xid else xid)
        named = []
        for block in self.some(data, offered):
            more = data.draw(st.booleans()) and (model.held[block].push or data.draw(st.integers(0, 7)) == 0)
            named.append((block, model.held[block].hierarchical, more))
        if data.draw(st.integers(0, 3)) == 0:  # altered, another's, or nobody's
            block = data.draw(st.sampled_from(self.anything(space)))
            hierarchical = data.draw(st.booleans())
            named.append(data.draw(st.sampled_from(((block, hierarchical, False), (_half(block), True, False)))))
        operation = Accept(
            space, client, xid, SERVERS[at], data.draw(contacts), tuple(Wanted.of(*block) for block in named)
        )
        self.send(at, operation, model.accept(operation), data)

    @precondition(lambda self: self.spaces_with(*HELD, "quarantined"))
    @rule(at=connections, lease_time=lease_times, data=st.data())
    def renew(self, at: int, lease_time: int, data: st.DataObject) -> None:
        space = data.draw(st.sampled_from(self.spaces_with(*HELD, "quarantined")))
        model = self.models[space]
        client, _ = self.transaction(space, data, *HELD, "quarantined")
        blocks = self.some(data, model.of(client, *HELD, "quarantined"))
        if data.draw(st.integers(0, 3)) == 0:
            blocks = [*blocks, data.draw(st.sampled_from(self.anything(space)))]
        verdicts = st.sampled_from(("full", "full", "full", "deprecate", "refuse"))
        items = tuple(
            Renewal(
                str(block),
                data.draw(verdicts),
                data.draw(asked_times),
                data.draw(counts),
                data.draw(counts),
                data.draw(counts),
                "model",
                data.draw(st.sampled_from((None, {"used": 0.5}))),
            )
            for block in dict.fromkeys(blocks)
        )
        operation = Renew(space, client, 9, SERVERS[at], data.draw(contacts), lease_time, HOLD, items)
        self.send(at, operation, model.renew(operation), data)

    @precondition(lambda self: self.spaces_with(*HELD, "quarantined"))
    @rule(at=connections, named=st.sampled_from((None, SERVERS[0], SERVERS[2], FOREIGN)), data=st.data())
    def release(self, at: int, named: int | None, data: st.DataObject) -> None:
        space = data.draw(st.sampled_from(self.spaces_with(*HELD, "quarantined")))
        model = self.models[space]
        client, _ = self.transaction(space, data, *HELD, "quarantined")
        blocks = self.some(data, model.of(client, *HELD, "quarantined"))
        if data.draw(st.integers(0, 3)) == 0:
            blocks = [*blocks, data.draw(st.sampled_from(self.anything(space)))]
        operation = Release(space, client, 9, named, HOLD, tuple(blocks))
        self.send(at, operation, model.release(client, named, blocks), data)

    @precondition(lambda self: self.spaces_with("offered"))
    @rule(at=connections, named=st.sampled_from((FOREIGN, FOREIGN, SERVERS[1])), data=st.data())
    def reclaim(self, at: int, named: int, data: st.DataObject) -> None:
        space = data.draw(st.sampled_from(self.spaces_with("offered")))
        client, xid = self.transaction(space, data, "offered")
        expected = self.models[space].reclaim(client, xid, named)
        self.send(at, Reclaim(space, client, xid, named), expected, data)

    @precondition(lambda self: self.spaces_with(*HELD))
    @rule(at=connections, limit=st.integers(1, 3), data=st.data())
    def listing(self, at: int, limit: int, data: st.DataObject) -> None:
        space = data.draw(st.sampled_from(self.spaces_with(*HELD)))
        client, _ = self.transaction(space, data, *HELD)
        after = data.draw(st.one_of(st.none(), st.sampled_from(self.anything(space))))
        expected = self.models[space].listing(client, after, limit)
        self.send(at, Listing(space, client, 9, after, limit), expected, data)

    # ------------------------------------------------------------------------------------------------ time, operators

    @precondition(lambda self: self.spaces_with(*OUT, "quarantined"))
    @rule(data=st.data())
    def time_passes(self, data: st.DataObject) -> None:
        self.close_batch()
        space = data.draw(st.sampled_from(self.spaces_with(*OUT, "quarantined")))
        model = self.models[space]
        # What a network has ends with the lease of its origin, not by itself.
        for block in self.some(data, sorted(block for block, held in model.held.items() if held.state != "local")):
            self.database.sql(
                "update deleg.blocks set expires = now() - interval '1 s' where space = %s and prefix = %s",
                space,
                block,
            )
            # An offer ends when its hold does.
            self.database.sql(
                "insert into deleg.holds (ends, space, prefixes) values (now() - interval '1 s', %s, array[%s]::cidr[])",
                space,
                block,
            )
            model.held[block].due = True
        for block in self.some(data, sorted(model.takebacks)):
            self.database.sql(
                "update deleg.takebacks set next_at = now() where space = %s and prefix = %s", space, block
            )
            model.takebacks[block].due = True

    @precondition(
        lambda self: (
            any(held.due for model in self.models for held in model.held.values())
            or any(origin.closing for model in self.models for origin in model.origins.values())
        )
    )
    @rule(at=connections, quarantine=st.sampled_from((0, HOLD)))
    def sweep(self, at: int, quarantine: int) -> None:
        self.close_batch()
        expected = zip(*(model.sweep(quarantine) for model in self.models), strict=True)
        due_in = self.ledgers[at].due_in()
        swept = self.ledgers[at].sweep(1000, quarantine)
        assert tuple(swept) == tuple(map(sum, expected))
        assert due_in == 0 or not swept

    @rule(
        space=spaces,
        prefix=st.sampled_from(ORIGINS),
        name=st.sampled_from(tuple(TAGS)),
        max_lease=st.sampled_from((None, 600, 86400)),
        terms=st.sampled_from(TERMS),
    )
    def add_pool(
        self, space: int, prefix: IPv4Network, name: str, max_lease: int | None, terms: dict[str, Any]
    ) -> None:
        self.close_batch()
        if self.models[space].overlaps(prefix):
            with pytest.raises(LedgerError, match="overlaps a pool"):
                self.admin.pool_add(Pool(prefix, name, max_lease, SPACES[space]))
        else:
            self.do_add_pool(space, prefix, name, max_lease, terms)

    def do_add_pool(
        self, space: int, prefix: IPv4Network, name: str, max_lease: int | None, terms: dict[str, Any]
    ) -> None:
        terms = {"tags": TAGS[name], **terms}
        given = {key: sorted(value) if isinstance(value, frozenset) else value for key, value in terms.items()}
        if "members" in given:
            given["members"] = [f"\\x{member.hex()}" for member in given["members"]]
        self.admin.pool_add(Pool(prefix, name, max_lease, SPACES[space], given))
        (row,) = self.database.sql("select pool from deleg.pools where space = %s and name = %s", space, name)
        self.models[space].pool_add(prefix, row[0], name, max_lease, terms)

    @rule(space=spaces, prefix=st.sampled_from(ORIGINS))
    def remove_pool(self, space: int, prefix: IPv4Network) -> None:
        self.close_batch()
        held = self.models[space].pool_remove(prefix)
        if held is None:
            with pytest.raises(LedgerError, match="no pool"):
                self.admin.pool_remove(prefix, SPACES[space])
        else:
            assert self.admin.pool_remove(prefix, SPACES[space]) == held

    @rule(space=spaces, prefix=st.sampled_from(ORIGINS))
    def keep_pool(self, space: int, prefix: IPv4Network) -> None:
        self.close_batch()
        if self.models[space].pool_keep(prefix):
            self.admin.pool_keep(prefix, SPACES[space])
        else:
            with pytest.raises(LedgerError, match="is not being removed"):
                self.admin.pool_keep(prefix, SPACES[space])

    @precondition(lambda self: self.spaces_with(*HELD))
    @rule(what=st.sampled_from(("deprecate", "takeback", "keep")), data=st.data())
    def ask_back(self, what: str, data: st.DataObject) -> None:
        self.close_batch()
        space = data.draw(st.sampled_from(self.spaces_with(*HELD)))
        model = self.models[space]
        leased = sorted(block for block, held in model.held.items() if held.state in HELD)
        block = data.draw(
            st.one_of(st.sampled_from(leased), st.sampled_from(leased), st.sampled_from(sorted(model.held)))
        )
        if what == "takeback":
            assert self.admin.lease_takeback(block, SPACES[space]) == model.takeback(block)
        elif what == "deprecate":
            assert self.admin.lease_deprecate(block, SPACES[space]) == model.deprecate(block)
        elif (kept := model.keep_lease(block)) is None:
            with pytest.raises(LedgerError, match="asked back with its whole pool"):
                self.admin.lease_keep(block, SPACES[space])
        else:
            assert self.admin.lease_keep(block, SPACES[space]) == kept

    # ------------------------------------------------------------------------------------------------ takeback

    @precondition(lambda self: self.spaces_with(*HELD))
    @rule(
        at=connections,
        wanted=st.integers(1, 400),
        limit=st.integers(1, 3),
        everybody=st.sampled_from((True, True, True, False)),
        data=st.data(),
    )
    def shortage(self, at: int, wanted: int, limit: int, everybody: bool, data: st.DataObject) -> None:
        """`everybody`: without a grace in which those that renewed just now are spared, which all have."""
        self.close_batch()
        space = data.draw(st.sampled_from(self.spaces_with(*HELD)))
        model = self.models[space]
        pools = self.some(data, sorted(pool.number for pool in model.pools.values()))
        expected = model.takeback_least_used(pools, wanted, limit, everybody)
        assert self.ledgers[at].takeback_least_used(space, pools, wanted, limit, 0 if everybody else HOLD) == expected

    @precondition(lambda self: any(takeback.due for model in self.models for takeback in model.takebacks.values()))
    @rule(
        at=connections,
        keyed=st.sets(clients),
        unauthenticated=st.booleans(),
        attempts=st.integers(1, 3),
    )
    def forcerenew(self, at: int, keyed: set[bytes], unauthenticated: bool, attempts: int) -> None:
        self.close_batch()
        expected = {
            (space, client, block, number)
            for space, model in enumerate(self.models)
            for block, number in model.takeback_due((SERVERS[at],), keyed, unauthenticated, attempts).items()
            for client in (model.held[block].client,)
        }
        orders = self.ledgers[at].takeback_due((SERVERS[at],), keyed, unauthenticated, 100, attempts, 60.0)
        found = set()
        for order in orders:
            (block,) = order.blocks
            assert order.server == SERVERS[at]
            spaces_of_it = [
                space for space, client, prefix, _ in expected if (client, prefix) == (order.identity, block.prefix)
            ]
            found |= {(space, order.identity, block.prefix, order.attempt) for space in spaces_of_it}
        assert (found, len(orders)) == (expected, len(expected))
        counters = self.database.sql("select space, identity, replay from deleg.lessees where replay > 0")
        now = {(space, identity): replay for space, identity, replay in counters}
        for space, client, _, _ in expected:
            assert now[space, client] > self.replays.get((space, client), 0)
        self.replays = now

    # ------------------------------------------------------------------------------------------------ the comparison

    @invariant()
    def same(self) -> None:
        if self.batch:
            return
        assert self.database.violations() == []
        assert self.table() == self.model_table()
        assert self.others() == self.model_others()

    def teardown(self) -> None:
        self.close_batch()
        self.same()

    def send(self, at: int, operation: Operation, expected: Outcome, data: st.DataObject) -> None:
        """Add a message to the batch; unless there is more to come, send it by connection `at`."""
        self.batch.append((operation, expected))
        if data.draw(st.booleans()):
            self.close_batch(at)

    def close_batch(self, at: int = 0) -> None:
        batch, self.batch = self.batch, []
        for model in self.models:
            model.turn += 1
        if batch:
            outcomes = self.ledgers[at].apply([operation for operation, _ in batch])
            assert [_comparable(outcome) for outcome in outcomes] == [expected for _, expected in batch]

    def spaces_with(self, *states: str) -> list[int]:
        """Return the spaces that have a block in one of these states."""
        return [
            space
            for space, model in enumerate(self.models)
            if any(held.state in states for held in model.held.values())
        ]

    def transaction(self, space: int, data: st.DataObject, *states: str) -> tuple[bytes, int]:
        """Return a client and an xid, mostly of a block in one of these states."""
        held = self.models[space].held.values()
        known = sorted((block.client, block.xid) for block in held if block.state in states and block.client)
        anyone = st.tuples(clients, xids)
        return data.draw(st.one_of(st.sampled_from(known), st.sampled_from(known), anyone) if known else anyone)

    def some(self, data: st.DataObject, things: list[_T]) -> list[_T]:
        """Return some of the things in some order, mostly at least one."""
        if not things:
            return []
        return data.draw(
            st.lists(st.sampled_from(things), unique=True, min_size=data.draw(st.integers(0, 1)), max_size=4)
        )

    def anything(self, space: int) -> list[IPv4Network]:
        model = self.models[space]
        return sorted({*model.held, *model.free, IPv4Network("203.0.113.0/28")})

    def table(self) -> dict[tuple[int, IPv4Network], tuple[object, ...]]:
        rows = self.database.sql(
            "select b.space, prefix, state::text, draining, pool, network, expires <= now(), coalesce(detail ? 'push', false),"
            " identity, xid, slot, hierarchical, lease_time from deleg.blocks b left join deleg.lessees using (lessee)"
        )
        return {(space, prefix): tuple(rest) for space, prefix, *rest in rows}

    def model_table(self) -> dict[tuple[int, IPv4Network], tuple[object, ...]]:
        table: dict[tuple[int, IPv4Network], tuple[object, ...]] = {}
        for space, model in enumerate(self.models):
            for block in model.free:
                origin = model.origin(block)
                table[space, block] = ("free", origin.closing, origin.pool.number, None, None, False, *(None,) * 5)
            for block, held in model.held.items():
                table[space, block] = _row(held, model.origin(block).pool.number)
        return table

    def others(self) -> tuple[dict[object, object], ...]:
        """Return the usage, the takebacks and the nonces."""
        usage = self.database.sql("select space, prefix, high_water, in_use, unusable from deleg.usage")
        takebacks = self.database.sql("select space, prefix, attempts, next_at <= now() from deleg.takebacks")
        nonces = self.database.sql("select space, identity, nonce from deleg.lessees")
        return (
            {(space, prefix): tuple(counts) for space, prefix, *counts in usage},
            {(space, prefix): (attempts, due) for space, prefix, attempts, due in takebacks},
            {(space, identity): nonce for space, identity, nonce in nonces},
        )

    def model_others(self) -> tuple[dict[object, object], ...]:
        models = tuple(enumerate(self.models))
        return (
            {(space, block): held.usage for space, model in models for block, held in model.held.items() if held.usage},
            {(space, block): (t.attempts, t.due) for space, model in models for block, t in model.takebacks.items()},
            {(space, client): nonce for space, model in models for client, nonce in model.nonces.items()},
        )


def _row(held: Held, pool: int) -> tuple[object, ...]:
    transaction = (None, None) if held.state == "quarantined" else (held.xid, held.slot)
    return (
        held.state,
        held.draining,
        pool,
        held.network,
        held.due,
        # When the quarantine begins, the figures of the lease are gone.
        held.push and held.state != "quarantined",
        *(
            (held.client, *transaction, held.hierarchical, held.lease_time)
            if held.client
            else (None, None, None, None, None)
        ),
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


@pytest.mark.no_cover  # it would take a quarter longer, and shows nothing that others do not
def test_the_ledger_does_what_the_model_does(machine: type[LedgerMachine]) -> None:
    run(machine, 90)


def run(machine: type[LedgerMachine], usual: int) -> None:
    """Run so many examples, the same each time, unless the environment says how many."""
    examples = os.environ.get("KEA_SUBNET_DELEG_EXAMPLES")
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(examples or usual),
            stateful_step_count=50,
            derandomize=not examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
