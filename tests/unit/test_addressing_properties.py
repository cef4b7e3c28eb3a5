# SPDX-License-Identifier: MPL-2.0
"""Networks through whatever happens: hosts come and go, Kea and the ledger fail, servers restart, space is taken away and comes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from ipaddress import IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st

from kea_subnet_deleg.policy.growth import NetworkTerms
from kea_subnet_deleg.roles.usage import subnet_id
from tests.unit.networks import Down, Site, Store

HOSTS_PER_BLOCK = 61  # of a /26 with a router
BLOCKS = 8

STEPS = st.one_of(
    st.tuples(st.just("pass"), st.floats(0.1, 40)),
    st.tuples(st.just("arrive"), st.integers(1, 150)),
    st.tuples(st.just("leave"), st.integers(1, 500)),
    st.tuples(st.just("decline"), st.integers(1, 5)),
    st.tuples(st.just("move"), st.just(0)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("close"), st.integers(0, BLOCKS)),
    st.tuples(st.just("ledger"), st.sampled_from(["served", "take", "drain", "reopen", "end", "measured", ""])),
    st.tuples(st.just("kea"), st.sampled_from(["serve", "usage", ""])),
)


class Watched(Store):
    """A ledger that sees to it that nothing in use is withdrawn."""

    site: Site

    def end(self, prefixes: Sequence[IPv4Network], quarantine: int, reason: str) -> None:
        for prefix in prefixes:
            subnet = self.site.kea.subnets.get(subnet_id(prefix))
            assert subnet is None or subnet.assigned == 0
        super().end(prefixes, quarantine, reason)


class World:
    """A site to which things happen."""

    def __init__(self) -> None:
        self.site = Site(NetworkTerms("hosts", 26, hold_time=20.0))
        store = Watched(lambda: self.site.now)
        store.site = self.site
        self.site.store = store
        self.site.addressing = self.site.server(self.site.kea)
        store.add(BLOCKS, 26)
        self.wait(1.0)

    def wait(self, seconds: float) -> None:
        """Let time pass in which the agent has a turn when it is due, and again a second after one that failed."""
        site, end = self.site, self.site.now + seconds
        while site.now < end:
            site.now = min(end, max(site.addressing.due, site.now + 0.05))
            site.store.sweep()
            with contextlib.suppress(Down):
                site.turn()

    def happen(self, what: str, value: float | str) -> None:
        site = self.site
        match what, value:
            case "pass", float(seconds):
                self.wait(seconds)
            case "arrive", int(hosts):
                site.kea.arrive(hosts)
            case "leave", int(hosts):
                site.kea.leave(hosts)
            case "decline", int(hosts):
                for subnet in site.kea.of("hosts")[:1]:
                    subnet.declined = min(subnet.assigned, subnet.declined + hosts)
            case "move", _:
                site.kea.move()
            case "restart", _:
                site.addressing = site.server(site.kea)
            case "close", int(n):
                for held in list(site.store.held.values())[n : n + 1]:
                    held.closing = True
            case "ledger", str(call):
                site.store.fail_on = call
            case "kea", str(op):
                site.kea.fail_on = op

    def calm(self) -> None:
        """Let everything work again, and hosts renew, for long enough."""
        self.site.kea.fail_on = self.site.store.fail_on = ""
        for subnet in self.site.kea.of("hosts"):
            subnet.declined = 0
        for _ in range(12):
            self.wait(15.0)
            self.site.kea.move()


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_it_comes_to_rest_where_it_should(steps: list[tuple[str, float | str]]) -> None:
    world = World()
    site = world.site
    for what, value in steps:
        world.happen(what, value)
    world.calm()
    hosts = site.kea.in_use()
    open_blocks = len(site.open())
    assert open_blocks * HOSTS_PER_BLOCK >= hosts
    assert hosts <= 0.8 * open_blocks * HOSTS_PER_BLOCK or site.missing
    assert not any(subnet.assigned for subnet in site.kea.of("hosts") if not subnet.told["open"]) or site.missing
    assert bool(hosts) == bool(open_blocks)
    said = list(site.journal.lines)
    world.wait(200.0)
    assert site.journal.lines == said
    assert len(site.open()) == open_blocks


@settings(max_examples=30, deadline=None)
@given(st.lists(STEPS, max_size=15), st.integers(1, 200))
def test_hosts_get_addresses_whatever_was_before(steps: list[tuple[str, float | str]], hosts: int) -> None:
    """As long as there is space: each at its third message, two and six seconds after the first, at the latest."""
    world = World()
    site = world.site
    for what, value in steps:
        world.happen(what, value)
    world.calm()
    site.kea.leave(10000)
    for prefix in [prefix for prefix, held in site.store.held.items() if held.closing]:
        del site.store.held[prefix]
        site.store.free[prefix] = None
    world.calm()
    left = hosts - site.kea.arrive(hosts)
    for pause in (2.0, 4.0):
        world.wait(pause)
        left -= site.kea.arrive(left)
    assert left == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 30), st.integers(-300, 150)), max_size=12))
def test_when_all_have_left_all_is_free(changes: list[tuple[float, int]]) -> None:
    world = World()
    for seconds, hosts in changes:
        if hosts > 0:
            world.site.kea.arrive(hosts)
        else:
            world.site.kea.leave(-hosts)
        world.wait(seconds)
    world.site.kea.leave(10000)
    world.wait(35.0)
    world.calm()
    assert len(world.site.store.free) == BLOCKS
    assert world.site.kea.subnets == {}
