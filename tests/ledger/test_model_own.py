# SPDX-License-Identifier: MPL-2.0
"""test_model.py's machine, with upstream servers that lease to this domain, and networks that it serves itself."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from kea_subnet_deleg.ledger import Measured, Networks, Upstreams
from tests.conftest import Database
from tests.ledger.model_own import FOR_EVER, Domain
from tests.ledger.test_model import HOLD, ORIGINS, SERVERS, SPACES, LedgerMachine, connections, run, spaces

UPSTREAMS = (0xC0000201, 0x0A0000C8)  # the second is where all clients are
LEASED = tuple(map(IPv4Network, ("172.16.0.0/24", "172.16.1.0/26", "172.16.0.0/23", "10.0.4.0/23", "192.168.1.0/24")))
NETWORKS = ("hosts", "guests")

servers = st.sampled_from(UPSTREAMS)
network_names = st.sampled_from(NETWORKS)
blocks_with_flags = st.dictionaries(
    st.sampled_from(LEASED), st.sampled_from((False, False, True)), min_size=1, max_size=3
)
prefixes = st.lists(st.sampled_from((*LEASED, ORIGINS[0])), min_size=1, max_size=3, unique=True)


class DomainMachine(LedgerMachine):
    """Leases from upstream have no end, until the machine says that they have ended."""

    models: tuple[Domain, ...]

    def new_models(self) -> tuple[Domain, ...]:
        return tuple(Domain(frozenset(SERVERS), space=space) for space in range(len(SPACES)))

    def upstreams(self, at: int) -> Upstreams:
        return Upstreams(self.ledgers[at])

    def networks(self, at: int) -> Networks:
        return Networks(self.ledgers[at])

    # ------------------------------------------------------------------------------------------------ upstream

    @rule(
        at=connections, space=spaces, server=servers, due=st.booleans(), rebind=st.booleans(), blocks=blocks_with_flags
    )
    def acknowledged(
        self, at: int, space: int, server: int, due: bool, rebind: bool, blocks: dict[IPv4Network, bool]
    ) -> None:
        self.close_batch()
        expected = self.models[space].acknowledged(server, due, rebind, blocks)
        self.learn_pools(space)
        t1, t2 = 0 if due else FOR_EVER, 0 if rebind else FOR_EVER
        asked = list(blocks.items())
        assert self.upstreams(at).acknowledged(space, server, FOR_EVER, t1, t2, asked, None) == expected

    @rule(at=connections, space=spaces, server=servers, blocks=blocks_with_flags)
    def listed(self, at: int, space: int, server: int, blocks: dict[IPv4Network, bool]) -> None:
        self.close_batch()
        expected = self.models[space].listed(server, blocks)
        assert self.upstreams(at).listed(space, server, FOR_EVER, list(blocks.items())) == expected

    @precondition(lambda self: self.leased())
    @rule(at=connections, space=spaces, blocks=prefixes)
    def refused(self, at: int, space: int, blocks: list[IPv4Network]) -> None:
        self.close_batch()
        expected = self.models[space].refused(blocks)
        assert set(self.upstreams(at).refused(space, UPSTREAMS[0], blocks, HOLD)) == expected

    @precondition(lambda self: self.leased())
    @rule(at=connections)
    def due(self, at: int) -> None:
        self.close_batch()
        expected = set().union(*(model.due() for model in self.models))
        assert not expected or self.upstreams(at).due_in(HOLD) == 0
        found = self.upstreams(at).due(100)
        assert (set(found), len(found)) == (expected, len(expected))

    @precondition(lambda self: self.leased())
    @rule(at=connections, server=servers, blocks=prefixes)
    def renew_now(self, at: int, server: int, blocks: list[IPv4Network]) -> None:
        self.close_batch()
        expected = sum(model.renew_now(server, blocks) for model in self.models)
        assert self.upstreams(at).renew_now(server, blocks) == expected

    @precondition(lambda self: self.leased())
    @rule(at=connections, at_once=st.booleans(), sent=st.booleans())
    def give_back(self, at: int, at_once: bool, sent: bool) -> None:
        """`sent`: the RELEASEs are, or the server dies before."""
        self.close_batch()
        after = 0 if at_once else HOLD
        model = next((m for m in self.models if any(m.may_go(prefix, at_once) for prefix in m.origins)), self.models[0])
        due_in = self.upstreams(at).due_in(after)
        found = self.upstreams(at).give_back(after, 100)
        assert found == model.releases(at_once)
        assert not found or due_in == 0
        for leased in found if sent else ():
            model.released(leased.prefix)
            self.upstreams(at).released(leased.space, leased.prefix)

    @precondition(lambda self: self.leased())
    @rule(at=connections, space=spaces, prefix=st.sampled_from(LEASED))
    def released(self, at: int, space: int, prefix: IPv4Network) -> None:
        """A server that was relieved of its RELEASE says so late."""
        self.close_batch()
        self.models[space].released(prefix)
        self.upstreams(at).released(space, prefix)

    @precondition(lambda self: self.leased())
    @rule(ends=st.booleans(), data=st.data())
    def time_passes_upstream(self, ends: bool, data: st.DataObject) -> None:
        """The lease on an origin ends, or it is time for its next message."""
        self.close_batch()
        space, prefix = data.draw(st.sampled_from(self.leased()))
        model = self.models[space]
        if ends and not model.origins[prefix].ended:
            model.lease_ends(prefix)
            self.database.sql(
                "with o as (update deleg.origins set expires = now() - interval '1 s' where space = %s and prefix = %s"
                "           returning space, prefix)"
                " update deleg.blocks b set expires = now() - interval '1 s' from o where b.space = o.space"
                "    and b.origin = o.prefix and b.state in ('local', 'leased', 'reserved')",
                space,
                prefix,
            )
        else:
            model.origins[prefix].due = True
            self.database.sql(
                "update deleg.origins set next_try = now() where space = %s and prefix = %s", space, prefix
            )

    # ------------------------------------------------------------------------------------------------ networks

    @rule(
        at=connections,
        network=network_names,
        pool=st.sampled_from((None, None, "default", "sales", "?")),
        lengths=st.lists(st.integers(22, 30), min_size=1, max_size=3),
        faster=st.sampled_from((0, 0, 0, 1)),
    )
    def network_take(self, at: int, network: str, pool: str | None, lengths: list[int], faster: int) -> None:
        self.close_batch()
        count = len(self.models[0].open_of(network)) + faster
        expected = self.models[0].network_take(network, pool, lengths, count)
        assert self.networks(at).take(network, pool, lengths, count, 1) == expected

    @precondition(lambda self: self.spaces_with("local"))
    @rule(at=connections, what=st.sampled_from(("drain", "drain", "reopen", "end", "end")), data=st.data())
    def network_shrinks(self, at: int, what: str, data: st.DataObject) -> None:
        self.close_batch()
        model = self.models[0]
        blocks = self.some(data, self.anything(0))
        blocks += self.some(data, [block for block, held in model.held.items() if held.state == "local"])
        blocks = list(dict.fromkeys(blocks))
        match what:
            case "drain":
                model.network_drain(blocks)
                self.networks(at).drain(blocks, "model")
            case "reopen":
                assert set(self.networks(at).reopen(blocks)) == model.network_reopen(blocks)
            case _:
                model.network_end(blocks)
                self.networks(at).end(blocks, HOLD, "model")

    @precondition(lambda self: self.spaces_with("local", "reserved"))
    @rule(at=connections, figures=st.tuples(*[st.integers(0, 40)] * 3), data=st.data())
    def network_measured(self, at: int, figures: tuple[int, int, int], data: st.DataObject) -> None:
        self.close_batch()
        served = [block for block, held in self.models[0].held.items() if held.state in ("local", "reserved")]
        rows = [Measured(block, *figures) for block in [*self.some(data, served), IPv4Network("203.0.113.0/28")]]
        self.models[0].network_measured(rows)
        self.networks(at).measured(rows)

    @precondition(lambda self: self.spaces_with("local", "reserved", "quarantined"))
    @rule(at=connections, network=network_names)
    def network_served(self, at: int, network: str) -> None:
        self.close_batch()
        found = self.networks(at).served([network])
        assert all(block.network == network and block.age >= 0 for block in found.local)
        local = [
            (b.prefix, b.state, b.draining, b.closing, b.remaining == 0, (b.high_water, b.in_use, b.unusable))
            for b in found.local
        ]
        reserved = [(b.prefix, b.server, b.ended) for b in found.reserved]
        assert all(block.relay == UPSTREAMS[1] for block in found.reserved)
        assert (local, reserved) == self.models[0].served(network)

    # ------------------------------------------------------------------------------------------------ the comparison

    def leased(self) -> list[tuple[int, IPv4Network]]:
        """Return the origins that are leased to us."""
        return [
            (space, prefix)
            for space, model in enumerate(self.models)
            for prefix, origin in model.origins.items()
            if origin.server is not None
        ]

    def learn_pools(self, space: int) -> None:
        """Nothing to learn: the pool `default` is there from the beginning."""
        assert "default" in self.models[space].pools

    def others(self) -> tuple[dict[object, object], ...]:
        rows = self.database.sql(
            "select space, prefix, upstream - '0.0.0.0'::inet, closing, removing, giving_back, expires <= now(),"
            " coalesce(next_try <= now(), false), tries, high_water from deleg.origins"
        )
        return (*super().others(), {(space, prefix): tuple(rest) for space, prefix, *rest in rows})

    def model_others(self) -> tuple[dict[object, object], ...]:
        origins: dict[object, object] = {
            (space, prefix): (o.server, o.closing, o.removing, o.giving_back, o.ended, o.due, o.tries, o.high_water)
            for space, model in enumerate(self.models)
            for prefix, o in model.origins.items()
        }
        return (*super().model_others(), origins)


@pytest.fixture
def machine(database: Database) -> Iterator[type[DomainMachine]]:
    with database.admin() as admin:
        DomainMachine.database = database
        DomainMachine.ledgers = tuple(database.ledger() for _ in SERVERS)
        DomainMachine.admin = admin
        yield DomainMachine


@pytest.mark.no_cover  # it would take a quarter longer, and shows nothing that others do not
def test_the_ledger_does_what_the_model_does(machine: type[DomainMachine]) -> None:
    run(machine, 90)
