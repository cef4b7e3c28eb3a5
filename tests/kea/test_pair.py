# SPDX-License-Identifier: MPL-2.0
"""A high availability pair of Kea on one ledger: the same subnets on both, whoever grows, dies, comes back or is configured anew."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from ipaddress import IPv4Network
from types import TracebackType
from typing import Any, Self

import pytest

from ci.labs import Lab
from ci.labs.control import CommandError
from ci.labs.server import kea_version
from ci.labs.topology import REFUSALS_COUNT
from tests.kea.conftest import MakeLab
from tests.kea.hosts import Host, Hosts
from tests.kea.site import Log
from tests.kea.test_topologies import PAIR, hosts_of, rows
from tests.kea.waiting import wait_until

LEASE = 24  # seconds that subnets are leased for; hosts a quarter of it
HOSTS_LEASE = LEASE / 4
TOGETHER = 1.0  # seconds from when one of the pair has a subnet, or has it no longer, to when the other one follows
PAUSE = 0.05  # seconds between two looks
FIRST, MORE = 60, 240  # hosts: one block is enough, then it isn't
SERVED = 12.0  # seconds until many at once are served
ALONE = 12.0  # seconds until a partner knows that it is alone (2 s without an answer), and has answered everybody
RENEWED = 0.5 * LEASE  # seconds until a server that is alone has renewed what the other had leased: T1 is 0.3
BACK = 20.0  # seconds until a server that comes back has synchronised its leases and serves
EMPTY = 40.0  # seconds until all blocks are withdrawn after the last host has gone
MAY_END = "SUBNET_DELEG_PAIR_MAY_END"
REFUSED = r"DHCP4_PACKET_NAK|DHCP4_SUBNET_SELECTION_FAILED"
"""What Kea says to a packet for which it has no subnet."""

Subnets = dict[int, str]


def subnets(lab: Lab, server: str) -> Subnets:
    """The subnets of hosts in a running Kea, by their ids."""
    ((network),) = lab.servers[server].command("config-get")["Dhcp4"]["shared-networks"]
    return {one["id"]: one["subnet"] for one in network["subnet4"]}


class Watch:
    """When each of a pair had which subnet first, and last, while the context lasts (monotonic seconds)."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._open = lab, True
        self.first: dict[str, dict[int, float]] = {server: {} for server in PAIR}
        self.last: dict[str, dict[int, float]] = {server: {} for server in PAIR}
        self.slow: dict[str, float] = dict.fromkeys(PAIR, 0.0)  # the longest that a look took
        self._threads = [threading.Thread(target=self._run, args=(server,)) for server in PAIR]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        for thread in self._threads:
            thread.join()

    def apart(self) -> list[str]:
        """Where one of the pair had a subnet, or had it no longer, long before the other."""
        tolerated = TOGETHER + PAUSE + max(self.slow.values())
        found = []
        for name, seen in (("began", self.first), ("ended", self.last)):
            one, other = (seen[server] for server in PAIR)
            for number in one.keys() | other.keys():
                times = one.get(number), other.get(number)
                if None in times or abs((times[0] or 0.0) - (times[1] or 0.0)) > tolerated:
                    found.append(f"{number} {name} at {times}")
        return found

    def _run(self, server: str) -> None:
        while self._open:
            begin = time.monotonic()
            with contextlib.suppress(OSError, CommandError, ValueError):  # it is down
                for number in subnets(self._lab, server):
                    self.first[server].setdefault(number, time.monotonic())
                    self.last[server][number] = time.monotonic()
            self.slow[server] = max(self.slow[server], time.monotonic() - begin)
            time.sleep(PAUSE)


@pytest.fixture(params=["hot-standby", "load-balancing"])
def pair(request: pytest.FixtureRequest, make_lab: MakeLab) -> Lab:
    return make_lab("ha", ha=request.param, lease_time=LEASE, severities={"kea-dhcp4.bad-packets": "DEBUG"})


def same(lab: Lab) -> Subnets:
    """What both have. Raises `AssertionError` where it does not become the same, as named in the ledger."""

    def agreed() -> Subnets | None:
        ledger = {
            network for (network,) in rows(lab, "edge", "select subnet from report.subnets where state = 'local'")
        }
        one, other = (subnets(lab, server) for server in PAIR)
        return one if one == other and set(one.values()) == ledger else None

    found = wait_until(agreed, TOGETHER, pause=PAUSE)
    assert found is not None
    assert all(number == int(IPv4Network(text).network_address) for number, text in found.items())
    return found


def test_both_have_the_same_subnets_within_a_second(pair: Lab) -> None:
    with hosts_of(pair, "edge1") as hosts:
        with Watch(pair) as watch:
            hosts.arrive(FIRST, SERVED)
            hosts.arrive(MORE, SERVED)
            assert len(same(pair)) >= 2
            servers = {lease.server for lease in hosts.leases}
            assert len(servers) == (1 if pair_mode(pair) == "hot-standby" else 2)
            hosts.renew()
            hosts.check()
            hosts.leave()
            wait_until(lambda: not any(subnets(pair, server) for server in PAIR), EMPTY, pause=0.2)
        assert watch.apart() == []
        assert len(watch.first["edge1"]) >= 2
        assert states(pair) == {pair_mode(pair)}  # it is a pair still, whoever had a subnet first


def states(lab: Lab) -> set[str]:
    """What each of a pair says of itself; where it is one, the name of its mode."""
    found = (lab.servers[server].command("status-get")["high-availability"][0]["ha-servers"] for server in PAIR)
    return {str(servers["local"]["state"]) for servers in found}


def pair_mode(lab: Lab) -> str:
    return str(lab.servers["edge1"].command("status-get")["high-availability"][0]["ha-mode"])


def test_it_is_said_where_refused_leases_may_end_the_pair(pair: Lab) -> None:
    edge = pair.servers["edge1"]
    log = Log(edge.log)
    told = json.loads(edge.config.read_text())
    edge.command("config-set", told)
    assert log.lines(MAY_END) == []
    for library in told["Dhcp4"]["hooks-libraries"]:
        for one in library.get("parameters", {}).get("high-availability", []):
            one.pop("max-rejected-lease-updates", None)
    edge.command("config-set", told)
    assert len(log.lines(MAY_END)) == (kea_version() >= REFUSALS_COUNT)


def test_who_is_left_does_all_the_work_until_the_other_is_back(pair: Lab) -> None:
    with hosts_of(pair, "edge1") as hosts:
        first = hosts.arrive(FIRST, SERVED)
        addresses = held(first)
        before = same(pair)
        assert states(pair) == {pair_mode(pair)}
        log = Log(pair.servers["edge2"].log)
        pair.kill("edge1")
        hosts.renew(first, ALONE)
        hosts.arrive(MORE, SERVED)
        assert before.keys() < subnets(pair, "edge2").keys()
        log.wait("SUBNET_DELEG_ORIGIN_RENEWED", RENEWED)
        assert held(first) == addresses
        hosts.check()
        comes_back(pair, hosts)
        assert same(pair)
        hosts.renew(seconds=ALONE)
        assert held(first) == addresses
        is_configured_anew(pair, hosts)
        assert held(first) == addresses
        hosts.arrive(FIRST, SERVED)
        hosts.check()


def comes_back(lab: Lab, hosts: Hosts) -> None:
    """Start the first one again while hosts ask without pause: it knows their subnets from its first packet on."""
    log = Log(lab.servers["edge1"].log)
    before = subnets(lab, "edge2")
    lab.start("edge1", wait=False)
    with Restless(hosts):
        known = wait_until(lambda: answered(lab, "edge1"), BACK, pause=PAUSE)
        assert known in (before, subnets(lab, "edge2"))
        lab.servers["edge1"].wait(lab.process("edge1"), BACK)
        time.sleep(1.0)
    assert log.lines(REFUSED) == []


def is_configured_anew(lab: Lab, hosts: Hosts) -> None:
    """Have the first one load its configuration while hosts ask without pause."""
    log = Log(lab.servers["edge1"].log)
    before = subnets(lab, "edge1")
    with Restless(hosts):
        lab.servers["edge1"].command("config-reload")
        assert answered(lab, "edge1") in (before, subnets(lab, "edge2"))
        lab.servers["edge1"].wait(lab.process("edge1"), BACK)
        time.sleep(1.0)
    assert log.lines(REFUSED) == []


def answered(lab: Lab, server: str) -> Subnets | None:
    """The subnets of a server; None while it does not answer."""
    try:
        return subnets(lab, server)
    except (OSError, CommandError, ValueError):
        return None


def held(hosts: list[Host]) -> list[Any]:
    return [host.lease and host.lease.address for host in hosts]


class Restless:
    """Some hosts that renew, at both servers, again and again while the context lasts; neither may refuse any."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts, self._some, self._open = hosts, hosts.present()[:20], True
        self._thread = threading.Thread(target=self._run)
        self._failure: AssertionError | None = None
        self._naks = 0

    def __enter__(self) -> Self:
        self._naks = self._hosts.heard["NAK"]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._thread.join()
        if error is None:
            if self._failure is not None:
                raise self._failure
            assert self._hosts.heard["NAK"] == self._naks

    def _run(self) -> None:
        try:
            while self._open:
                self._hosts.renew(self._some, ALONE)
        except AssertionError as failure:
            self._failure = failure
