# SPDX-License-Identifier: MPL-2.0
"""One /16 is typed in at the root of a chain, and nothing anywhere else: servers below obtain, use, renew and give back by themselves."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from ci.labs import HostsPlace, Lab
from tests.kea.conftest import MakeLab
from tests.kea.hosts import Addresses, Hosts
from tests.kea.leasefile import given_twice, history, leases
from tests.kea.perfdhcp import flood, flooding
from tests.kea.site import Log
from tests.kea.waiting import wait_until

POOL = IPv4Network("10.64.0.0/16")
BLOCK = IPv4Network("10.64.0.0/24").num_addresses
LEASE = 30  # seconds that subnets are leased for; they are renewed after 9, rebound after 26
RENEWAL = 0.3 * LEASE
BUSY = 10.0  # seconds that a busy machine may take for what takes none
SERVED = 60.0  # seconds until the last host has an address
NOTICE = 2  # seconds before a lease ends that the log says so, at least
CLOSING = 5.0  # seconds before a lease ends from which on hosts of its block get no more time, at most
WHOLE = 60.0  # seconds until all space has come back from two levels below, once the hosts' leases have ended
UNSERVED = "DHCP4_SUBNET_SELECTION_FAILED"  # what Kea says where it has no subnet for a host
MANY = 3000
SOME = 600

# Hosts of perfdhcp are gone when their leases have ended: Kea's own pace, 100 of them at a time, would make that half a minute.
LONG = {"valid-lifetime": LEASE, "expired-leases-processing": {"max-reclaim-leases": 1000}}


def place(lab: Lab, server: str) -> HostsPlace:
    return next(place for place in lab.hosts if place.server == server)


def rows(lab: Lab, ledger: str, query: str) -> list[list[Any]]:
    """What a ledger answers, row by row."""
    found = lab.sql(f"select json_agg(to_json(r)) from ({query}) r", ledger=ledger)  # noqa: S608  # ours
    return [list(row.values()) for row in json.loads(found.strip() or "[]")]


def delegated(lab: Lab, lessor: str, lessee: str | None = None) -> dict[IPv4Network, int]:
    """The subnets that a ledger has as leased, to one lessee or to all, each with its use as reported (0: none yet)."""
    query = "select subnet, coalesce(in_use, 0) from report.subnets where state = 'leased'"
    if lessee is not None:
        ((identity,),) = rows(lab, lessee, "select encode(deleg.identity(), 'hex')")
        query += f" and lessee_identity = '\\x{identity}'"
    return {IPv4Network(subnet): in_use for subnet, in_use in rows(lab, lessor, query)}


def obtained(lab: Lab, lessee: str) -> set[IPv4Network]:
    return {IPv4Network(prefix) for (prefix,) in rows(lab, lessee, "select prefix from report.upstreams")}


def short(lab: Lab, lessee: str) -> list[list[Any]]:
    """What of that ends within half a lease."""
    return rows(lab, lessee, f"select prefix from deleg.origins where expires < now() + interval '{LEASE / 2} seconds'")  # noqa: S608


def served(lab: Lab, edge: str) -> set[IPv4Network]:
    """The subnets of hosts in a running Kea."""
    ((network),) = lab.servers[edge].command("config-get")["Dhcp4"]["shared-networks"]
    return {IPv4Network(subnet["subnet"]) for subnet in network["subnet4"]}


def counted(blocks: Iterable[IPv4Network], addresses: Iterable[IPv4Address]) -> dict[IPv4Network, int]:
    """How many of the addresses are in each block; each must be in one."""
    counts = dict.fromkeys(blocks, 0)
    for subnet, count in Counter(IPv4Network((int(address) & ~0xFF, 24)) for address in addresses).items():
        counts[next(block for block in counts if subnet.subnet_of(block))] += count
    return counts


def misjudged(lab: Lab, lessor: str, addresses: Iterable[IPv4Address]) -> dict[IPv4Network, tuple[int | None, int]]:
    """What a lessor thinks is in use of a block that it leases, and what is, where these differ. A block that is not needed may go."""
    found = delegated(lab, lessor)
    return {block: (found[block], count) for block, count in counted(found, addresses).items() if found[block] != count}


def whole(lab: Lab) -> bool:
    """Whether the pool is one free block, and no ledger below has anything."""
    found = {ledger: rows(lab, ledger, "select prefix, state from deleg.blocks") for ledger in lab.ledgers}
    origins = {ledger: rows(lab, ledger, "select prefix from deleg.origins") for ledger in lab.ledgers}
    below = [ledger for ledger in lab.ledgers if ledger != "root"]
    return found["root"] == [[str(POOL), "free"]] and not any(found[name] or origins[name] for name in below)


def assert_sound(lab: Lab, lessors: Mapping[str, str]) -> None:
    """No ledger violates an invariant, and who has obtained space has it leased from who has leased it to nobody else.

    `lessors` are who each of those below the root asks.
    """
    assert not lab.violations()
    for lessee, lessor in lessors.items():
        held = obtained(lab, lessee)
        leased = set(delegated(lab, lessor, lessee))
        stray = (held & obtained(lab, lessee)) - leased
        assert not stray, f"{lessee} has {stray}, which {lessor} has not leased to it: {leased}"
    blocks = {
        name: {
            IPv4Network(prefix)
            for (prefix,) in rows(lab, name, "select prefix from deleg.blocks where state = 'local'")
        }
        for name in lessors
    }
    every = sorted(block for found in blocks.values() for block in found)
    assert not [pair for pair in itertools.pairwise(every) if pair[0].overlaps(pair[1])], blocks


CHAIN = {"region": "root", "edge": "region"}
TWO_EDGES = {"region": "root", "edge1": "region", "edge2": "region"}


def within(seconds: float, what: Callable[[], object], expected: object) -> None:
    """Wait until `what` is as expected."""
    deadline = time.monotonic() + seconds
    while (found := what()) != expected:
        assert time.monotonic() < deadline, f"after {seconds} s {found}, not {expected}"
        time.sleep(0.2)


def test_three_thousand_hosts_come_and_go(make_lab: MakeLab) -> None:
    lab = make_lab("chain", lease_time=LEASE, kea=LONG)
    assert whole(lab)
    edge = lab.servers["edge"]
    seen = flood(place(lab, "edge"), MANY, SERVED, rate=MANY // 6)  # it fails where one has none, or two have the same
    with flooding(place(lab, "edge"), MANY, rate=MANY // 10):  # they keep what they have
        database = leases(edge)
        assert {row.client: address for address, row in database.items()} == seen
        assert not given_twice(edge)
        # one renewal later a lessor knows what is in use of each block that it has leased; the root one of the region's later
        for lessor in ("region", "root"):
            within(RENEWAL + BUSY, lambda lessor=lessor: misjudged(lab, lessor, database), {})  # type: ignore[misc]
        assert set(leases(edge)) == set(database)
        assert_sound(lab, CHAIN)
    wait_until(lambda: not leases(edge), LEASE + BUSY, 1.0)  # nobody says good-bye
    wait_until(lambda: whole(lab), WHOLE, 0.5)
    assert served(lab, "edge") == set()
    assert not given_twice(edge)


def test_no_host_notices_that_a_server_was_killed(make_lab: MakeLab) -> None:
    options = {"kea": {"valid-lifetime": LEASE // 2}, "severities": {"kea-dhcp4.packets": "DEBUG"}}
    lab = make_lab("chain", lease_time=LEASE, **options)
    with Hosts.relayed([place(lab, "edge")]) as hosts:
        log = Log(lab.servers["edge"].log)
        hosts.arrive(SOME, SERVED)
        assert log.lines(UNSERVED)  # the first one, for whom everything was obtained
        lab.kill("region")
        time.sleep(LEASE / 2)
        lab.start("region")
        assert_sound(lab, CHAIN)
        hosts.arrive(SOME, SERVED)  # more than there is room for
        assert_sound(lab, CHAIN)
        within(RENEWAL + BUSY, lambda: short(lab, "edge"), [])
        hosts.renew()  # who came while their block had not been renewed yet has an address for a few seconds

        before = served(lab, "edge")
        lab.kill("edge")
        log = Log(lab.servers["edge"].log)
        lab.start("edge")
        hosts.renew()
        assert before <= served(lab, "edge")
        assert log.lines("DHCP4_PACKET_RECEIVED")
        assert not log.lines(UNSERVED)

        lab.kill("root")
        time.sleep(LEASE / 6)
        lab.start("root")
        hosts.renew()
        hosts.check()
        assert_sound(lab, CHAIN)
        within(3 * RENEWAL, lambda: sum(delegated(lab, "root").values()), 2 * SOME)

        hosts.leave()
        wait_until(lambda: whole(lab), WHOLE, 0.5)
        hosts.check()
        assert not given_twice(lab.servers["edge"])


def test_edges_hold_as_their_hosts_are_and_serve_to_the_end_without_upstream(make_lab: MakeLab) -> None:
    lab = make_lab("chain", edges=2, lease_time=LEASE, parameters={"policy": "proportional"})
    addresses, shares = Addresses(), {"edge1": 0.2, "edge2": 0.8}
    with ExitStack() as stack:
        hosts = {name: stack.enter_context(Hosts.relayed([place(lab, name)], addresses)) for name in shares}
        for name, share in shares.items():
            hosts[name].begin(int(2 * SOME * share))
        for one in hosts.values():
            one.served(one.all, SERVED)
        time.sleep(2 * RENEWAL)
        held = {name: sum(block.num_addresses for block in delegated(lab, "region", name)) for name in shares}
        delegation = sum(held.values())
        apart = {name: held[name] - share * delegation for name, share in shares.items()}
        assert all(abs(much) <= BLOCK for much in apart.values()), f"{held}, off by {apart}"
        assert_sound(lab, TWO_EDGES)
        for one in hosts.values():
            one.check()

        logs = {name: Log(lab.servers[name].log) for name in shares}
        lab.kill("region")
        since = time.time()
        ends = {name: end_of(lab, name) for name in shares}
        for name, end in ends.items():
            watch_the_end(lab, name, logs[name], end, since)
        assert not addresses.duplicates


def end_of(lab: Lab, edge: str) -> dict[IPv4Network, float]:
    """When the lease of each subnet that an edge has from its upstream ends (seconds since the epoch)."""
    query = "select prefix, extract(epoch from until) from report.upstreams"
    return {IPv4Network(prefix): float(until) for prefix, until in rows(lab, edge, query)}


def watch_the_end(lab: Lab, edge: str, log: Log, ends: Mapping[IPv4Network, float], silent_since: float) -> None:
    """An edge serves from what it has until that ends, nobody longer, says so before, and has nothing then."""
    wait_until(lambda: not served(lab, edge), LEASE + BUSY, 0.2)
    assert time.time() >= max(ends.values())
    wait_until(lambda: not rows(lab, edge, "select prefix from deleg.origins"), BUSY)
    last = {row.address: row.until for row in history(lab.servers[edge]) if row.since >= silent_since and row.holds}
    assert last
    for address, until in last.items():
        end = next(end for block, end in ends.items() if address in block)
        assert end - CLOSING <= until <= end, f"{address} of {edge} until {until}, its block until {end}"
    for block, end in ends.items():
        said = [line for line in log.lines("SUBNET_DELEG_UPSTREAM_SILENT") if f" {block} " in line]
        when, seconds = stated(said[0])
        assert seconds >= NOTICE
        assert abs(when + seconds - end) < BUSY / 5, f"{said[0]}, and the end was at {datetime.fromtimestamp(end)}"
    assert log.lines("SUBNET_DELEG_NETWORK_WITHDRAWN hosts: .*: its lease ended")


def stated(line: str) -> tuple[float, int]:
    """When a line was logged, and in how many seconds a lease ends by it."""
    found = re.fullmatch(r"(\S+ \S+) .* ends in (\d+) s", line)
    assert found, line
    return datetime.fromisoformat(found[1]).timestamp(), int(found[2])
