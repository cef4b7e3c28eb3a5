# SPDX-License-Identifier: MPL-2.0
"""Servers of which each asks each other for space: nobody goes in circles, whatever is short (seed [0053])."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Container
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from ci.labs import Lab
from tests.client.codec import Type
from tests.kea.conftest import MakeLab
from tests.kea.hosts import Addresses, Hosts
from tests.kea.test_topologies import POOL, rows
from tests.kea.waiting import wait_until
from tests.kea.wire import Said, Wire

SERVERS = ("s1", "s2", "s3")
SMALL = IPv4Network("10.64.0.0/26")
LEASE = 16  # seconds that subnets are leased for
RENEWAL = 0.4 * LEASE  # seconds until they are renewed
LENGTH = 28  # of the blocks that networks grow by where there is little
CROWD = 15  # hosts of each server: two blocks do, so that there is enough for two servers
NETWORK = {"name": "hosts", "prefix-length": LENGTH, "hold-time": 1, "low-water": 0.4}
ONE = IPv4Network("10.64.0.0/24")  # one block of a network
SERVED = 15.0  # seconds for hosts while there is space
SETTLED = 3.0  # seconds until who took more than needed has given it back
SHORT = 20.0  # seconds for which it is counted what is asked: the third retransmission waits for 17
LEAST_PAUSE = 3.0  # seconds from a first DISCOVER to the next (RFC 2131 4.1), from which on they become longer
FREED = 45.0  # seconds until space that became free has gone where it is wanted
WANTED, LISTED = f"request /{LENGTH}", "subnets c"  # how an option 220 begins that asks for space, or says what is held
MOST_SAID = 150  # messages in that time altogether: renewals and listings are few


class Lent(NamedTuple):
    """A subnet that a server holds from another one."""

    lessee: str
    lessor: str
    prefix: IPv4Network


def lent(lab: Lab) -> list[Lent]:
    """What the ledgers have as obtained from another server."""
    names = {str(server.address): name for name, server in lab.servers.items()}
    return [
        Lent(lessee, names[lessor], IPv4Network(prefix))
        for lessee in lab.ledgers
        for lessor, prefix in rows(lab, lessee, "select host(server) as server, prefix from report.upstreams")
    ]


def circles(lab: Lab) -> list[str]:
    """Where a subnet came, over others or directly, from who has it from its holder."""
    found, every = [], lent(lab)
    for first in every:
        place: Lent | None = first
        passed = {first.lessee}
        while place is not None and place.lessor not in passed:
            lessor = place.lessor
            passed.add(lessor)
            place = next((one for one in every if one.lessee == lessor and first.prefix.subnet_of(one.prefix)), None)
        if place is not None:
            found.append(f"{first} over {sorted(passed)}")
    return found


def leased_to_itself(lab: Lab) -> list[list[str]]:
    query = "select prefix from deleg.blocks join deleg.lessees using (lessee) where identity = deleg.identity()"
    return [prefix for ledger in lab.ledgers for prefix in rows(lab, ledger, query)]


def check(lab: Lab) -> None:
    assert circles(lab) == []
    assert leased_to_itself(lab) == []
    assert not [one for one in lent(lab) if one.lessee == "s1" and one.prefix.subnet_of(POOL)]
    assert lab.violations() == []


def together(lab: Lab, stack: ExitStack) -> dict[str, Hosts]:
    """Hosts of each server."""
    addresses = Addresses()
    places = {server: [place for place in lab.hosts if place.server == server] for server in SERVERS}
    return {
        server: stack.enter_context(Hosts.relayed(places[server], addresses, first=1 + 1000 * number))
        for number, server in enumerate(SERVERS)
    }


def test_all_grow_at_once_from_one_pool(make_lab: MakeLab) -> None:
    lab = make_lab("peers", lease_time=LEASE)
    with ExitStack() as stack:
        crowds = together(lab, stack)
        fresh = {server: hosts.begin(60) for server, hosts in crowds.items()}
        for server, hosts in crowds.items():
            hosts.served(fresh[server], SERVED)
            assert all(lease.interface.network.subnet_of(POOL) for lease in hosts.leases)
        check(lab)
        time.sleep(RENEWAL)
        check(lab)
        for hosts in crowds.values():
            hosts.check()


def test_where_there_is_too_little_they_ask_less_and_less_and_get_what_becomes_free(make_lab: MakeLab) -> None:
    lab = make_lab("peers", pools=[SMALL], lease_time=LEASE, parameters={"networks": [NETWORK]})
    with ExitStack() as stack:
        crowds = together(lab, stack)
        wire = stack.enter_context(Wire(lab))
        for hosts in crowds.values():
            hosts.begin(CROWD)
        wait_until(lambda: sum(len(hosts.present()) for hosts in crowds.values()) >= 2 * CROWD, SERVED)
        time.sleep(SETTLED)
        said = wire.count(SHORT)
        short = [server for server, hosts in crowds.items() if len(hosts.present()) < CROWD]
        assert short
        check(lab)
        assert_modest(said, {lab.servers[server].address for server in short})
        # One server's hosts leave: what they had is for the others.
        rich = max(SERVERS, key=lambda server: len(crowds[server].present()))
        crowds[rich].leave()
        for server in SERVERS:
            if server != rich:
                crowds[server].served(crowds[server].all, FREED)
        check(lab)
        for hosts in crowds.values():
            hosts.check()


def test_who_lacks_space_has_little_used_leases_renewed(make_lab: MakeLab) -> None:
    """For its own networks as for lessees (seed [0105]): an authentic FORCERENEW, which is heeded at once."""
    lab = make_lab("peers", pools=[ONE], lease_time=60, parameters={"takeback-grace": 0})
    holder, lacking = ([place for place in lab.hosts if place.server == name] for name in ("s2", "s1"))
    with Hosts.relayed(holder) as few, Hosts.relayed(lacking) as none:
        few.arrive(5, SERVED)
        none.begin(5)
        wait_until(lambda: lab.servers["s1"].counters()["forcerenew-sent"] >= 1, SERVED)
        renewed = "select count(*) from deleg.events where kind = 'renewed'"
        wait_until(lambda: int(lab.sql(renewed, ledger="s1")) >= 1, FREED)
        assert lab.servers["s2"].counters()["forcerenew-refused"] == 0
        assert lab.violations() == []
        few.check()


def assert_modest(said: Counter[Said], short: Container[IPv4Address]) -> None:
    """Who is short offers nothing, and each asks each other one at the pace of RFC 2131 4.1 at most.

    What is asked and answered about what is held already (RFC 6656 6) comes beside that.
    """
    offered = [one for one in said if one.type is Type.OFFER and not one.about.startswith(LISTED)]
    assert not [one for one in offered if one.source in short], said
    asked = Counter((one.source, one.destination) for one in said.elements() if one.about.startswith(WANTED))
    assert asked, said
    assert max(asked.values()) <= 1 + SHORT / LEAST_PAUSE, said
    assert said.total() <= MOST_SAID, said
