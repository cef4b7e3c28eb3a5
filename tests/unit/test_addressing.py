# SPDX-License-Identifier: MPL-2.0
"""Networks that grow and shrink over an in-memory Kea and ledger (tests/unit/networks.py), turn by turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from kea_subnet_deleg.ledger.networks import LocalBlock, Measured, ReservedBlock, Served
from kea_subnet_deleg.policy.growth import NetworkTerms, Router
from kea_subnet_deleg.roles.addressing import ReservedTerms
from kea_subnet_deleg.roles.subnets import served_subnets
from kea_subnet_deleg.roles.usage import subnet_id
from kea_subnet_deleg.runtime.messages import MESSAGES
from tests.unit.networks import SERVER, Down, Held, Kea, Site

HOSTS = 253  # of a /24 with a router


def block(n: int) -> IPv4Network:
    return IPv4Network(f"10.0.{n}.0/24")


@pytest.fixture
def site() -> Site:
    """A network that holds nothing yet, and 20 free blocks."""
    site = Site()
    site.store.add(20)
    return site


class TestGrowing:
    def test_nothing_is_taken_before_a_host_asks(self, site: Site) -> None:
        site.run(10.0)
        assert site.kea.subnets == {}
        assert "take" not in site.store.calls

    def test_the_first_host_is_served_when_it_asks_again(self, site: Site) -> None:
        site.turn()
        assert site.addressing.due - site.now <= 0.5
        site.kea.arrive(1)
        site.now = site.addressing.due
        assert site.turn() == ()
        assert site.open() == ["10.0.1.0/24"]
        assert site.kea.arrive(1) == 1
        (line,) = site.logged("NETWORK_GREW")
        assert line.startswith("hosts: 10.0.1.0/24: hosts found no address; 0 of 0 addresses")

    def test_what_is_left_of_a_lease_counts_from_when_the_ledger_was_asked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site = Site(NetworkTerms("hosts", valid_lifetime=600))
        ends = site.now + 900
        site.store.add(1, ends=ends)
        site.kea.arrive(1)
        site.turn()
        site.addressing._known = None
        served = site.store.served

        def slowly(networks: Sequence[str]) -> Served:
            answer = served(networks)
            site.now += 4  # until it arrives
            return answer

        monkeypatch.setattr(site.store, "served", slowly)
        for _ in range(2):  # when it was asked, and when it need not be
            site.now += 1
            (told,) = site.addressing._as_told(site.now).local
            assert told.remaining == ends - site.now

    def test_what_kea_is_told(self, site: Site) -> None:
        site.kea.arrive(1)
        site.turn()
        (subnet,) = site.kea.requests("serve")[-1]["subnets"]
        assert subnet == {
            "id": int(IPv4Address("10.0.1.0")),
            "subnet": "10.0.1.0/24",
            "pool": "10.0.1.2-10.0.1.254",
            "routers": "10.0.1.1",
            "network": "hosts",
            "open": True,
        }

    @pytest.mark.parametrize(
        ("length", "router", "pool", "routers"),
        [
            (24, Router.LAST, "10.0.1.1-10.0.1.253", "10.0.1.254"),
            (24, Router.NONE, "10.0.1.1-10.0.1.254", None),
            (29, Router.FIRST, "10.0.1.2-10.0.1.6", "10.0.1.1"),
            (30, Router.FIRST, "10.0.1.2-10.0.1.2", "10.0.1.1"),
        ],
    )
    def test_the_pool_has_all_but_network_broadcast_and_router(
        self, length: int, router: Router, pool: str, routers: str | None
    ) -> None:
        site = Site(NetworkTerms("hosts", length, router=router, valid_lifetime=600))
        site.store.add(1, length, ends=site.now + 99)
        site.kea.arrive(1)
        site.turn()
        (subnet,) = site.kea.requests("serve")[-1]["subnets"]
        assert (subnet["pool"], subnet.get("routers")) == (pool, routers)
        assert (subnet["lifetime"], subnet["remaining"]) == (600, 99)

    def test_how_long_who_leased_it_would_have_hosts_leases_last(self) -> None:
        local = LocalBlock(block(1), "hosts", "local", False, False, 0.0, 3600, 0, 0, 0, 900)
        reserved = ReservedBlock(block(2), 1, None, SERVER, False, 600)
        terms = {"hosts": NetworkTerms("hosts", valid_lifetime=7200)}
        subnets = served_subnets(terms, ReservedTerms(), {SERVER}, Served([local], [reserved]))
        assert [(subnet.get("lifetime"), subnet["longest"]) for subnet in subnets] == [(7200, 900), (None, 600)]

    @pytest.mark.no_cover  # it would take four times as long
    @pytest.mark.parametrize("per_second", [5, 100, 500])
    def test_three_thousand_hosts_get_addresses(self, site: Site, per_second: int) -> None:
        """Each asks, and again after four seconds, as clients do."""
        waiting: list[tuple[float, int]] = [(site.now + n / per_second, 0) for n in range(3000)]
        served, before = 0, site.now
        while waiting:
            site.run(min(0.05, site.addressing.due - site.now))
            asking = [host for host in waiting if host[0] <= site.now]
            waiting = [host for host in waiting if host[0] > site.now]
            got = site.kea.arrive(len(asking))
            served += got
            waiting += [(host[0] + 4.0, host[1] + 1) for host in asking[got:]]
            assert all(tries <= 1 for _, tries in waiting)
        assert served == site.kea.in_use() == 3000
        assert site.now - before < 3000 / per_second + 5.0
        site.run(10.0)
        assert len(site.open()) >= math.ceil(3000 / 0.8 / HOSTS)

    def test_a_network_that_fills_is_looked_at_often(self, site: Site) -> None:
        site.kea.arrive(1)
        site.turn()
        assert site.addressing.due - site.now == pytest.approx(0.2)
        site.kea.arrive(10)
        site.run(20.0)
        assert site.addressing.due - site.now == pytest.approx(1.0)
        site.kea.arrive(130)
        site.run(1.0)
        assert site.addressing.due - site.now == pytest.approx(0.2)
        site.run(15.0)
        assert site.addressing.due - site.now == pytest.approx(1.0)

    def test_min_blocks_from_the_start(self) -> None:
        site = Site(NetworkTerms("hosts", min_blocks=3))
        site.store.add(5)
        site.turn()
        assert len(site.open()) == 3

    def test_two_networks_do_not_mix(self) -> None:
        site = Site(NetworkTerms("hosts"), NetworkTerms("phones", 26))
        site.kea.networks.add("phones")
        site.store.add(2)
        site.store.add(3, 26, first=10)
        site.kea.arrive(1)
        site.kea.arrive(60, "phones")
        site.turn()
        assert site.open() == ["10.0.1.0/24"]
        assert site.open("phones") == ["10.0.10.0/26", "10.0.11.0/26"]

    def test_another_server_was_faster(self, site: Site) -> None:
        site.kea.arrive(1)
        site.store.faster = 1
        assert site.turn() == ()
        assert site.logged("NETWORK_GREW") == []
        assert site.addressing.due - site.now == pytest.approx(0.2)
        site.now = site.addressing.due
        site.turn()
        assert site.open() == ["10.0.1.0/24"]  # the other's, which serves here as well
        site.run(5.0)
        assert len(site.store.held) == 1

    def test_blocks_of_another_server_are_served_at_once(self, site: Site) -> None:
        site.turn()
        site.store.held[block(7)] = Held("hosts", site.now)
        site.turn()
        assert site.open() == ["10.0.7.0/24"]


class TestNothingFree:
    def test_what_is_missing_is_asked_for_until_it_comes(self) -> None:
        site = Site()
        site.kea.arrive(1)
        assert site.turn() == (24,)
        site.run(4.0)
        assert site.logged("NETWORK_FULL") == []  # an upstream would have been faster
        site.run(2.0)
        (line,) = site.logged("NETWORK_FULL")
        assert "1 more of /24 wanted (hosts found no address), but nothing is free" in line
        site.run(54.0)
        assert site.missing == (24,)  # the host asks again after 64 s at the latest
        assert len(site.logged("NETWORK_FULL")) == 1
        site.store.add(1)
        assert site.turn() == ()
        assert site.open() == ["10.0.1.0/24"]

    def test_nobody_waits_for_ever(self) -> None:
        site = Site()
        site.kea.arrive(1)
        site.run(70.0)
        assert site.missing == ()

    def test_smaller_blocks_are_better_than_nothing(self) -> None:
        site = Site()
        site.store.add(3, 26)
        site.kea.arrive(1)
        assert site.turn() == (24,)
        assert site.open() == []  # not before others have been asked for a whole one
        site.run(3.0)
        assert site.open() == ["10.0.1.0/26", "10.0.2.0/26", "10.0.3.0/26"]
        assert site.missing == ()

    def test_what_upstream_cannot_help_with_is_not_asked_for(self) -> None:
        """What comes from there is of another pool than this network takes of: it would be asked for, and go back, for ever."""
        site = Site(NetworkTerms("hosts", pool="lab"))
        site.kea.arrive(1)
        assert site.turn() == ()
        assert site.addressing.lacking == {"lab"}

    def test_as_many_as_are_missing(self) -> None:
        site = Site()
        site.store.add(2)
        site.kea.arrive(300)
        assert site.turn() == ()
        site.kea.arrive(500)
        assert site.turn() == (24,)

    def test_it_is_said_again_after_it_changed(self) -> None:
        site = Site()
        for n in (1, 2):
            site.kea.arrive(1 if n == 1 else 300)
            site.run(10.0)
            assert len(site.logged("NETWORK_FULL")) == n
            site.store.add(1, first=n)
            site.run(1.0)

    def test_max_blocks(self) -> None:
        site = Site(NetworkTerms("hosts", max_blocks=1))
        site.store.add(5)
        site.kea.arrive(400)
        site.turn()
        for _ in range(10):
            site.kea.arrive(400)
            site.run(2.0)
        assert len(site.open()) == 1
        assert site.missing == ()
        assert "max-blocks is 1" in site.logged("NETWORK_FULL")[0]
        assert len(site.logged("NETWORK_FULL")) == 1


class TestShrinking:
    def fill(self, site: Site, hosts: int) -> None:
        while hosts:
            hosts -= site.kea.arrive(hosts)
            site.run(1.0)
        site.settle()

    def test_when_the_hosts_leave_everything_is_given_back(self, site: Site) -> None:
        self.fill(site, 1500)
        grown = len(site.open())
        assert grown >= 6
        site.kea.leave(1490)
        site.run(60.0, site.kea.move)
        assert len(site.open()) == 1
        assert site.kea.in_use() == 10
        site.kea.leave(10)
        site.run(120.0)
        assert site.kea.subnets == {}
        assert len(site.store.free) == 20
        lines = site.logged("NETWORK_WITHDRAWN")
        assert len(lines) == len(site.logged("NETWORK_DRAINS")) == len(site.logged("NETWORK_GREW"))
        site.run(300.0)
        assert len(site.logged("NETWORK_WITHDRAWN")) == len(lines)

    def test_hosts_keep_their_addresses_until_they_renew(self, site: Site) -> None:
        self.fill(site, 500)
        site.kea.leave(400)
        before = site.kea.in_use()
        site.run(60.0)
        closed = [subnet for subnet in site.kea.of("hosts") if not subnet.told["open"]]
        assert sum(subnet.assigned for subnet in closed) < before
        assert site.kea.in_use() == before  # none was withdrawn that had any
        site.kea.move()
        site.run(10.0)
        assert site.kea.in_use() == before

    def test_a_network_that_fills_again_reopens_before_it_takes(self, site: Site) -> None:
        self.fill(site, 700)
        blocks = set(site.kea.served())
        site.kea.leave(600)
        for subnet in site.kea.of("hosts"):
            subnet.assigned = 25  # everywhere some, so that none ends
        site.run(60.0)
        left = len(site.open())
        assert left < len(blocks)
        taken = site.store.calls.count("take")
        site.kea.arrive(200)
        site.run(3.0)
        assert len(site.open()) > left
        assert site.store.calls.count("take") == taken
        assert set(site.open()) <= blocks
        assert site.logged("NETWORK_REOPENED")

    def test_an_ended_block_stays_closed_in_kea_until_its_quarantine_is_over(self, site: Site) -> None:
        self.fill(site, 1)
        site.kea.leave(1)
        site.run(40.0)
        assert site.store.held[block(1)].state == "quarantined"
        assert site.kea.served() == {"10.0.1.0/24": False}
        site.run(60.0)
        assert site.kea.served() == {}

    def test_steady_use_changes_nothing(self, site: Site) -> None:
        self.fill(site, 900)
        lines = list(site.journal.lines)
        site.run(600.0)
        assert site.journal.lines == lines

    def test_right_after_a_start_the_ledger_is_believed(self, site: Site) -> None:
        """A partner of a pair begins with no leases, and gets them from the other."""
        self.fill(site, 500)
        partner, drained = Kea(), len(site.logged("NETWORK_DRAINS"))
        site.addressing = site.server(partner)
        site.run(25.0)
        assert sum(held.in_use or 0 for held in site.store.held.values()) == 500
        for key, subnet in site.kea.subnets.items():
            partner.subnets[key].assigned = subnet.assigned
        site.run(30.0)
        assert len(site.logged("NETWORK_DRAINS")) == drained


class TestStatisticsThatWereReset:
    """What nobody seems to use any more is counted before it is taken away."""

    def test_a_network_keeps_its_blocks_until_its_hosts_leave(self, site: Site) -> None:
        site.kea.arrive(1)
        site.turn()
        site.kea.arrive(100)
        site.settle()
        for arriving in (10, 5):
            site.kea.reset()
            site.run(200.0)
            assert site.open() == ["10.0.1.0/24"]
            site.kea.arrive(arriving)
        site.run(200.0)
        assert site.logged("NETWORK_DRAINS") == []
        assert site.store.held[block(1)].in_use == 115
        site.kea.subnets[subnet_id(block(1))].assigned = -110  # so Kea counts what was there before
        site.run(200.0)
        assert site.kea.subnets == {}

    def test_a_full_block_grows(self, site: Site) -> None:
        """Hosts find no address in what nearly nobody seems to use: then the leases are counted."""
        site.kea.arrive(1)
        site.turn()
        site.kea.arrive(100)
        site.settle()
        before = len(site.open())
        site.kea.reset()
        for subnet in site.kea.subnets.values():
            subnet.uncounted, subnet.assigned, subnet.failures = 250, 3, 2
        site.run(10.0)
        assert len(site.open()) > before

    def test_a_block_that_drains_does_not_end_under_its_hosts(self, site: Site) -> None:
        site.kea.arrive(1)
        site.turn()
        site.kea.arrive(100)
        site.settle()
        site.store.held[block(1)].closing = True  # it must not be reopened
        site.run(5.0)
        assert site.kea.served()["10.0.1.0/24"] is False
        site.kea.reset()
        site.run(60.0)
        assert site.store.held[block(1)].state == "local"
        site.kea.subnets[subnet_id(block(1))].uncounted = 0
        site.run(60.0)
        assert site.store.held.get(block(1)) is None or site.store.held[block(1)].state == "quarantined"


class TestGoing:
    def test_an_origin_that_closes(self, site: Site) -> None:
        site.kea.arrive(1)
        site.turn()
        site.kea.arrive(100)
        site.settle()
        site.store.held[block(1)].closing = True
        site.turn()
        assert site.kea.served()["10.0.1.0/24"] is False
        assert len(site.open()) == 1
        assert "its origin is given back" in site.logged("NETWORK_DRAINS")[-1]
        site.kea.move()
        site.run(5.0)
        assert site.store.held[block(1)].state == "quarantined"
        assert site.kea.in_use() == 100

    def test_a_lease_that_is_not_renewed_is_replaced_in_time(self) -> None:
        site = Site()
        site.store.add(1, ends=site.now + 1000)
        site.kea.arrive(1)
        site.turn()
        site.kea.arrive(50)
        site.run(890.0)
        assert not site.missing
        site.run(20.0)
        assert site.turn() == (24,)
        assert site.open() == ["10.0.1.0/24"]  # better than nothing
        assert "50 of its addresses are in use" in site.logged("NETWORK_ENDING")[0]
        site.store.add(1, first=2, ends=site.now + 90)  # no longer than the one it is for
        site.run(5.0)
        assert site.turn() == (24,)
        site.store.add(1, first=3)
        site.run(2.0)
        assert site.kea.served() == {"10.0.1.0/24": False, "10.0.3.0/24": True}
        assert len(site.logged("NETWORK_ENDING")) == 1

    def test_without_a_replacement_it_serves_to_its_end(self) -> None:
        site = Site()
        site.store.add(1, ends=site.now + 100)
        site.kea.arrive(1)
        site.turn()
        site.kea.arrive(50)
        site.run(99.0)
        assert site.open() == ["10.0.1.0/24"]
        site.run(1.0)
        assert site.open() == []
        site.store.held.clear()  # the sweep
        site.run(1.0)
        assert site.kea.served() == {}
        assert len(site.logged("NETWORK_WITHDRAWN")) == 1

    def test_a_renewed_lease_is_told_to_kea(self) -> None:
        site = Site()
        site.store.add(1, ends=site.now + 100)
        site.kea.arrive(1)
        site.turn()
        site.kea.arrive(1)
        site.run(20.0)
        told = len(site.kea.requests("serve"))
        site.store.held[block(1)].ends = site.now + 100
        site.run(1.0)
        assert len(site.kea.requests("serve")) == told + 1
        (subnet,) = site.kea.subnets.values()
        assert 98 <= subnet.told["remaining"] <= 100


class TestStillness:
    """Where neither hosts nor the ledger change anything, a turn costs next to nothing."""

    @pytest.fixture
    def still(self, site: Site) -> Site:
        """A network with one block and one host, long after that came."""
        site.kea.arrive(1)
        site.run(1.0)
        site.kea.arrive(1)
        site.settle()
        site.kea.asked.clear()
        site.store.calls.clear()
        return site

    def test_the_ledger_is_read_when_it_tells_of_a_change_and_now_and_then(self, still: Site) -> None:
        still.run(25.0)
        assert still.store.calls.count("served") <= 1
        still.run(65.0)
        assert 2 <= still.store.calls.count("served") <= 4

    def test_what_the_ledger_tells_of_is_seen_at_once(self, still: Site) -> None:
        still.store.held[block(1)].closing = True
        still.turn()
        assert still.store.held[block(1)].draining

    def test_kea_is_asked_every_five_seconds(self, still: Site) -> None:
        still.run(30.0)
        assert 4 <= len(still.kea.requests("usage")) <= 7

    def test_how_much_may_move_until_then_is_told(self, still: Site) -> None:
        still.run(6.0)
        assert still.addressing.tolerance == 100  # 202 may be in use before it grows, and one is
        assert 0.0 < still.addressing.still_until - still.now <= 5.0
        still.kea.arrive(150)
        still.now = still.addressing.due
        still.turn()
        assert still.addressing.tolerance is None

    def test_hosts_are_seen_at_the_next_turn(self, still: Site) -> None:
        still.turn()
        still.kea.arrive(HOSTS + 20)
        still.now = still.addressing.due
        still.turn()
        assert len(still.open()) == 2

    def test_few_hosts_of_many_that_fit_are_no_reason_to_look(self, still: Site) -> None:
        def one_comes() -> None:
            still.kea.arrive(1)

        still.run(20.0, one_comes)
        assert 10 <= still.kea.in_use() <= 40
        assert len(still.kea.requests("usage")) <= 6

    def test_half_of_what_is_left_until_it_grows_is(self, still: Site) -> None:
        still.run(6.0)
        still.kea.asked.clear()
        still.turn()
        assert still.kea.asked == []
        still.kea.arrive(110)  # 202 may be in use before it grows, and one is
        still.now = still.addressing.due
        still.turn()
        assert len(still.kea.requests("usage")) == 1

    def test_a_rate_that_fills_it_soon_is_followed(self, still: Site) -> None:
        def thirty_come() -> None:
            still.kea.arrive(30)

        still.run(5.0, thirty_come)
        assert still.addressing.due - still.now == pytest.approx(0.2)
        assert len(still.open()) > 1

    def test_a_network_without_a_block_waits_for_its_first_host(self, site: Site) -> None:
        site.run(2.0)
        site.store.calls.clear()
        site.kea.asked.clear()
        site.run(10.0)
        assert site.store.calls == []
        assert len(site.kea.requests("usage")) <= 3
        site.kea.arrive(1)
        site.now = site.addressing.due
        site.turn()
        assert len(site.open()) == 1

    def test_leases_end_although_nobody_tells(self) -> None:
        site = Site(NetworkTerms("hosts", hold_time=5))
        site.store.add(2, ends=site.now + 300)
        site.kea.arrive(1)
        site.run(1.0)
        site.kea.arrive(1)
        site.run(285.0)
        assert len(site.logged("NETWORK_ENDING")) == 1

    def test_what_was_read_gets_older(self) -> None:
        served = Served(
            [
                LocalBlock(block(1), "hosts", "local", False, False, 10.0, 100, 1, 2, 0),
                LocalBlock(block(2), "hosts", "local", True, False, 20.0, None, 1, 2, 0),
            ],
            [ReservedBlock(block(3), 1, 50, SERVER, ended=False)],
        )
        later = served.later(2.6)
        assert [(one.age, one.remaining) for one in later.local] == [(12.6, 97), (22.6, None)]
        assert [one.remaining for one in later.reserved] == [47]

    def test_a_turn_that_failed_reads_the_ledger_again(self, still: Site) -> None:
        still.store.held[block(1)].closing = True
        still.store.fail_on = "drain"
        with pytest.raises(Down):
            still.turn()
        still.store.fail_on = ""
        still.turn()
        assert still.store.held[block(1)].draining


class TestReserved:
    def reserved(self, n: int, *, server: int = SERVER, remaining: int | None = None, ended: bool = False) -> Any:
        return ReservedBlock(block(n), int(IPv4Address("192.0.2.99")), remaining, server, ended)

    def test_it_is_served_for_hosts_behind_its_router(self) -> None:
        site = Site(reserved=ReservedTerms(12))
        site.store.reserved = [self.reserved(1, remaining=3600)]
        site.turn()
        (subnet,) = site.kea.subnets.values()
        assert subnet.told == {
            "id": int(IPv4Address("10.0.1.0")),
            "subnet": "10.0.1.0/24",
            "pool": "10.0.1.13-10.0.1.254",
            "routers": "10.0.1.1",
            "relay": ["192.0.2.99"],
            "remaining": 3600,
            "open": True,
        }

    @pytest.mark.parametrize(("serve", "served"), [("own", [1]), ("all", [1, 2]), ("none", [])])
    def test_whose_are_served(self, serve: str, served: list[int]) -> None:
        site = Site(reserved=ReservedTerms(1, serve))
        site.store.reserved = [self.reserved(1), self.reserved(2, server=SERVER + 1)]
        site.turn()
        assert sorted(site.kea.subnets) == [int(block(n).network_address) for n in served]

    def test_released_it_is_closed_and_then_withdrawn(self) -> None:
        site = Site()
        site.store.reserved = [self.reserved(1)]
        site.turn()
        site.store.reserved = [self.reserved(1, ended=True)]
        site.turn()
        assert [subnet.told["open"] for subnet in site.kea.subnets.values()] == [False]
        site.store.reserved = []
        site.turn()
        assert site.kea.subnets == {}

    def test_released_it_is_said_for_how_long_its_hosts_have_addresses(self) -> None:
        """Of ours, once; when its quarantine is over Kea forgets it, whoever has to wait for longer."""
        site = Site()
        site.store.reserved = [self.reserved(1), self.reserved(2), self.reserved(3, server=SERVER + 1)]
        site.turn()
        ended = [block._replace(ended=True, pending=True, age=0.0, rest=3) for block in site.store.reserved]
        site.store.reserved = ended
        site.kea.ends = {int(block(1).network_address): 700}
        site.turn()
        assert site.store.hosts_left == {block(1): 700, block(2): 0}
        assert len(site.kea.subnets) == 2
        site.store.hosts_left.clear()
        site.run(2.5)
        assert len(site.kea.subnets) == 2
        site.run(1.5)  # the ledger was read once more meanwhile
        assert site.kea.subnets == {}
        assert site.store.hosts_left == {}

    def test_where_all_addresses_are_kept_there_is_nothing_to_serve(self) -> None:
        site = Site(reserved=ReservedTerms(254))
        site.store.reserved = [self.reserved(1)]
        site.turn()
        assert site.kea.subnets == {}
        assert site.store.reports == []

    def test_its_usage_is_recorded(self) -> None:
        site = Site()
        site.store.reserved = [self.reserved(1)]
        site.turn()
        for subnet in site.kea.subnets.values():
            subnet.lease(3)
        site.run(1.0)
        assert site.store.reports[-1] == [Measured(block(1), 3, 3, 0)]

    def test_no_router_is_told_where_no_address_is_kept(self) -> None:
        site = Site(reserved=ReservedTerms(0))
        site.store.reserved = [self.reserved(1)]
        site.turn()
        (subnet,) = site.kea.subnets.values()
        assert "routers" not in subnet.told
        assert subnet.told["pool"] == "10.0.1.1-10.0.1.254"


class TestKea:
    def test_it_is_told_only_what_changed_and_from_time_to_time_everything(self, site: Site) -> None:
        site.kea.arrive(1)
        site.turn()
        site.kea.arrive(1)
        site.kea.asked.clear()
        site.run(25.0)
        assert site.kea.requests("serve") == []
        site.run(10.0)
        assert len(site.kea.requests("serve")) == 1

    def test_the_list_is_there_before_the_first_packet(self, site: Site) -> None:
        site.store.held[block(1)] = Held("hosts", 0.0)
        site.store.held[block(2)] = Held("hosts", 0.0, draining=True)
        site.store.held[block(3)] = Held("hosts", 0.0, state="quarantined")
        site.store.held[block(4)] = Held("others", 0.0)
        site.kea.fail_on = "serve"
        request = site.addressing.configured()
        assert (request["op"], request["networks"]) == ("serve", ["hosts"])
        assert [(subnet["subnet"], subnet["open"]) for subnet in request["subnets"]] == [
            ("10.0.1.0/24", True),
            ("10.0.2.0/24", False),
            ("10.0.3.0/24", False),
        ]
        assert request["elsewhere"] == []
        assert site.kea.asked == []

    def test_kea_knows_which_blocks_have_not_ended(self, site: Site) -> None:
        """They are another server's, whose leases may be in the same database."""
        site.store.held[block(1)] = Held("hosts", 0.0)
        site.store.reserved = [
            ReservedBlock(block(3), 1, None, SERVER, ended=False),
            ReservedBlock(block(4), 1, None, SERVER + 1, ended=False),
            ReservedBlock(block(5), 1, None, SERVER + 1, ended=True),
        ]
        others = [subnet_id(block(4)), subnet_id(block(5))]
        assert site.addressing.configured()["elsewhere"] == others
        site.turn()
        assert [request["elsewhere"] for request in site.kea.requests("serve")] == [others]

    def test_a_subnet_it_refuses_is_no_capacity_and_stops_growth(self, site: Site) -> None:
        site.kea.static = [IPv4Network("10.0.1.0/25")]
        site.kea.arrive(1)
        for _ in range(20):
            site.run(1.0)
            site.kea.arrive(1)
        assert len(site.store.held) == 1
        assert site.missing == ()
        (line,) = site.logged("NETWORK_STUCK")
        assert line.startswith(
            "hosts: does not grow, for Kea does not serve 10.0.1.0/24 (id 167772416): overlaps. Remove"
        )
        site.kea.static = []
        site.run(6.0)
        assert site.open() == ["10.0.1.0/24"]
        site.kea.arrive(250)
        site.run(2.0)
        assert len(site.open()) > 1

    def test_a_refused_block_that_drains_ends(self, site: Site) -> None:
        site.kea.static = [IPv4Network("10.0.0.0/8")]
        site.store.held[block(1)] = Held("hosts", site.now, draining=True, in_use=0)
        site.run(5.0)
        assert site.store.held[block(1)].state == "quarantined"

    def test_a_network_it_does_not_know_gets_nothing(self, site: Site) -> None:
        site.kea.networks = set()
        site.store.held[block(9)] = Held("hosts", site.now)
        site.kea.unserved["hosts"] = 5
        site.run(20.0)
        assert "take" not in site.store.calls
        (line,) = site.logged("NETWORK_STUCK")
        assert line.startswith('hosts: gets no addresses, for it is in our parameter "networks"')
        assert [severity for severity, name, _ in site.journal.lines if name.endswith("STUCK")] == ["error"]
        site.kea.networks = {"hosts"}
        site.run(6.0)
        assert site.open() == ["10.0.9.0/24"]


class TestFailures:
    @pytest.mark.parametrize("call", ["served", "measured", "take"])
    def test_the_ledger_fails_half_way(self, site: Site, call: str) -> None:
        site.kea.arrive(1)
        site.turn()
        site.kea.arrive(250)
        site.store.fail_on = call
        with pytest.raises(Down):
            site.turn()
        assert site.addressing.due > site.now
        site.store.fail_on = ""
        site.turn()
        assert len(site.open()) == 2
        assert site.store.held[block(1)].in_use == 250

    @pytest.mark.parametrize("call", ["drain", "end", "reopen"])
    def test_the_ledger_fails_while_blocks_go(self, site: Site, call: str) -> None:
        site.kea.arrive(1)
        site.turn()
        site.kea.arrive(250)
        site.run(40.0)
        site.kea.leave(200)
        site.store.fail_on = call
        failures = 0
        for _ in range(100):
            site.now += 1.0
            try:
                site.turn()
            except Down:
                failures += 1
            if len(site.open()) == 1 and call == "reopen":
                site.kea.arrive(190)
        assert failures
        site.store.fail_on = ""
        site.run(60.0, site.kea.move)
        assert (len(site.open()) == 1) is (call != "reopen")

    @pytest.mark.parametrize("op", ["serve", "usage"])
    def test_kea_does_not_answer(self, site: Site, op: str) -> None:
        site.turn()
        site.kea.arrive(1)
        site.kea.fail_on = op
        with pytest.raises(Down):
            site.turn()
        site.kea.fail_on = ""
        site.turn()
        assert site.open() == ["10.0.1.0/24"]
        assert len(site.store.held) == 1

    def test_what_hosts_met_is_not_forgotten(self, site: Site) -> None:
        site.turn()
        site.kea.arrive(1)
        site.store.fail_on = "take"
        with pytest.raises(Down):
            site.turn()
        site.store.fail_on = ""
        site.turn()
        assert site.open() == ["10.0.1.0/24"]


def test_every_line_is_explained() -> None:
    for name in ("GREW", "DRAINS", "WITHDRAWN", "FULL", "REOPENED", "ENDING", "STUCK"):
        assert f"SUBNET_DELEG_NETWORK_{name}" in MESSAGES
