# SPDX-License-Identifier: MPL-2.0
"""Subnets that come and go in a running Kea: served at once, shut, withdrawn, put back; no lease beyond the block's; their figures."""

from __future__ import annotations

import contextlib
import copy
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from ci.labs.process import Process
from tests.client.codec import Code, Type, decode
from tests.client.namespace import run_inside
from tests.kea.asking import AskFailed, Asking, make_driver, subnet
from tests.kea.conftest import MakeSite
from tests.kea.ordinary import Host
from tests.kea.site import Site
from tests.kea.waiting import wait_until

LIFETIME = 600  # seconds, of hosts' leases
FIRST, SECOND = "10.0.1.0/28", "10.0.2.0/28"
MULTI_THREADED = {"multi-threading": {"enable-multi-threading": True, "thread-pool-size": 3, "packet-queue-size": 64}}
OTHERS_LEASES = """
    insert into lease4 (address, valid_lifetime, expire, subnet_id, state, hostname)
    select '10.0.1.0'::inet - '0.0.0.0' + n, 600, date_trunc('second', now()) + interval '600 s', '10.0.1.0'::inet - '0.0.0.0', n % 2, ''
    from generate_series(8, 11) n
"""
LEASE_SCHEMA = "/usr/share/kea/scripts/pgsql/dhcpdb_create.pgsql"
NOTHING = {"assigned": 0, "declined": 0, "peak": 0, "failures": 0}
HOST_NAME = 12  # RFC 2132 3.14
NAMES_PORT = 53001  # where Kea's DNS server listens
BRIEFLY = (0.4,)  # seconds of patience where no answer is expected


def number(text: str) -> int:
    return int(IPv4Network(text).network_address)


def configuration(**more: Any) -> dict[str, Any]:
    """Dhcp4 with a shared network that has no subnet, for the relay that the client is."""
    return {
        "subnet4": [],
        "shared-networks": [{"name": "hosts", "relay": {"ip-addresses": ["198.51.100.100"]}}],
        "valid-lifetime": LIFETIME,
        "min-valid-lifetime": LIFETIME // 2,
        "max-valid-lifetime": LIFETIME * 2,
        "cache-max-age": 0,  # Kea 3.0 prolongs no lease that is as young as those here
        "expired-leases-processing": {"reclaim-timer-wait-time": 1},
        **more,
    }


class Driven:
    """A site, and how its server is asked."""

    def __init__(self, site: Site, directory: Path) -> None:
        self.site, self._directory = site, directory

    @property
    def asking(self) -> Asking:
        return Asking(self._directory, self.site.lab.process("s1").pid)

    def host(self) -> Host:
        return Host(self.site.endpoint, self.site.servers[0])

    def statistics(self, name: str) -> dict[str, int]:
        return {key: samples[0][0] for key, samples in self.site.command("statistic-get-all").items() if name in key}

    def loaded(self) -> dict[str, Any]:
        """What the server was started with."""
        loaded: dict[str, Any] = json.loads(self.site.lab.servers["s1"].config.read_text())
        return loaded

    def configured(self) -> list[str]:
        """The subnets in Kea's configuration, as `subnet`, then the network's name."""
        dhcp4 = self.site.command("config-get")["Dhcp4"]
        shared = [(one, network["name"]) for network in dhcp4["shared-networks"] for one in network["subnet4"]]
        return sorted([f"{one['subnet']} {name}" for one, name in shared] + [one["subnet"] for one in dhcp4["subnet4"]])


def make(make_site: MakeSite, directory: Path, **options: Any) -> Driven:
    driver = make_driver(directory)
    (driver / "configured.json").write_text("")  # nothing
    kea = options.pop("kea", configuration())
    parameters = {"python-path": str(driver), "serve-reserved": "none"}
    return Driven(make_site("single", kea=kea, parameters=parameters, **options), driver)


@pytest.fixture(scope="module", params=[{}, MULTI_THREADED], ids=["", "threads"])
def prepared(
    make_module_site: MakeSite, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Driven:
    return make(make_module_site, tmp_path_factory.mktemp("driver"), kea=configuration(**request.param))


@pytest.fixture
def driven(prepared: Driven) -> Iterator[Driven]:
    """The module's server, serving nothing, and in the end serving nothing again."""
    prepared.asking.serve()
    prepared.asking.usage()
    yield prepared
    prepared.asking.serve()
    assert prepared.configured() == []
    assert prepared.statistics("subnet[") == {}
    assert prepared.site.counters()["exceptions"] == 0


def renewal(host: Host, address: IPv4Address, *options: tuple[int, bytes]) -> bytes | None:
    return host.ask(host.message(Type.REQUEST, *options, ciaddr=address), (1.0, 1.0))


def granted(host: Host, answer: bytes | None) -> int:
    """The lifetime in an ACK."""
    assert answer is not None, f"no answer for {host.identity}"
    message = decode(answer)
    assert message.type is Type.ACK, message
    return int.from_bytes(message.option(Code.LEASE_TIME) or b"", "big")


def test_from_none_to_one(driven: Driven) -> None:
    host = driven.host()
    assert host.ask(host.message(Type.DISCOVER), BRIEFLY) is None
    answer = driven.asking.serve(subnet(FIRST))
    assert answer == {
        "added": [number(FIRST)],
        "opened": [],
        "closed": [],
        "withdrawn": [],
        "failed": {},
        "unknown-networks": [],
    }
    assert driven.configured() == [f"{FIRST} hosts"]
    offer = host.ask(host.message(Type.DISCOVER))
    assert offer is not None
    assert decode(offer).option(3) == IPv4Address("10.0.1.1").packed  # routers
    assert host.lease() in IPv4Network(FIRST)
    assert driven.statistics(f"subnet[{number(FIRST)}].assigned") == {f"subnet[{number(FIRST)}].assigned-addresses": 1}


def test_the_same_list_changes_nothing(driven: Driven) -> None:
    driven.asking.serve(subnet(FIRST), subnet(SECOND, remaining=1000))
    log = driven.site.log()
    answer = driven.asking.serve(subnet(SECOND, remaining=1000), subnet(FIRST))
    assert not any(answer.values())
    assert log.lines("DHCPSRV_CFGMGR") == []


def test_another_definition_is_another_subnet(driven: Driven) -> None:
    driven.asking.serve(subnet(FIRST))
    host = driven.host()
    address = host.lease()
    changed = subnet(FIRST, routers="10.0.1.14", pool="10.0.1.2-10.0.1.13")
    answer = driven.asking.serve(changed)
    assert (answer["added"], answer["withdrawn"]) == ([number(FIRST)], [])
    renewed = renewal(host, address)
    assert renewed is not None
    assert decode(renewed).option(3) == IPv4Address("10.0.1.14").packed  # its lease is still there
    assert driven.asking.usage(number(FIRST))["subnets"][str(number(FIRST))]["assigned"] == 1


def test_closed_for_new_hosts_and_old_ones(driven: Driven) -> None:
    driven.asking.serve(subnet(FIRST))
    host = driven.host()
    address = host.lease()
    answer = driven.asking.serve(subnet(FIRST, open=False), subnet(SECOND))
    assert (answer["added"], answer["closed"]) == ([number(SECOND)], [number(FIRST)])
    refused = renewal(host, address)
    assert refused is not None
    assert decode(refused).type is Type.NAK
    assert driven.host().lease() in IPv4Network(SECOND)
    assert host.lease() in IPv4Network(SECOND)
    answer = driven.asking.serve(subnet(FIRST), subnet(SECOND, open=False))
    assert (answer["opened"], answer["closed"]) == ([number(FIRST)], [number(SECOND)])
    assert driven.host().lease() in IPv4Network(FIRST)


def decline(driven: Driven, host: Host, address: IPv4Address) -> None:
    named = (Code.SERVER_IDENTIFIER, driven.site.servers[0].packed)
    host.ask(host.message(Type.DECLINE, (Code.REQUESTED_ADDRESS, address.packed), named), BRIEFLY)


def test_withdrawn_with_its_leases(driven: Driven) -> None:
    driven.asking.serve(subnet(FIRST))
    hosts = [driven.host() for _ in range(5)]
    addresses = [host.lease() for host in hosts]
    decline(driven, hosts[0], addresses[0])
    usage = driven.asking.usage(number(FIRST))["subnets"][str(number(FIRST))]
    assert (usage["assigned"], usage["declined"]) == (5, 1)
    before = driven.site.command("statistic-get", {"name": "declined-addresses"})["declined-addresses"][0][0]
    assert driven.asking.serve()["withdrawn"] == [number(FIRST)]
    after = driven.site.command("statistic-get", {"name": "declined-addresses"})["declined-addresses"][0][0]
    assert (before, after) == (1, 0)
    assert renewal(hosts[1], addresses[1]) is None or decode(renewal(hosts[1], addresses[1]) or b"").type is Type.NAK
    driven.asking.serve(subnet(FIRST))
    usage = driven.asking.usage(number(FIRST))["subnets"][str(number(FIRST))]
    assert (usage["assigned"], usage["declined"]) == (0, 0)
    assert {driven.host().lease() for _ in range(12)} >= set(addresses)  # a pool of 13, all of it unused


def test_a_reserved_subnet_by_its_relay(driven: Driven) -> None:
    high = "203.0.113.0/28"
    relayed = subnet(FIRST, None, relay=["192.0.2.1"]), subnet(high, None, relay=["192.0.2.2"])
    assert driven.asking.serve(*relayed, networks=())["added"] == [number(FIRST), number(high)]
    assert driven.configured() == [FIRST, high]
    dhcp4 = driven.site.command("config-get")["Dhcp4"]
    assert [one["relay"]["ip-addresses"] for one in dhcp4["subnet4"]] == [["192.0.2.1"], ["192.0.2.2"]]


def test_hosts_of_a_relay_that_the_configuration_names_stay_where_they_are(driven: Driven) -> None:
    """Whoever reserves something through it; it has the hosts alone that its own addresses relay."""
    driven.asking.serve(subnet(SECOND), subnet(FIRST, None, relay=["198.51.100.100", "192.0.2.1"]))
    assert driven.host().lease() in IPv4Network(SECOND)
    dhcp4 = driven.site.command("config-get")["Dhcp4"]
    assert [one["relay"]["ip-addresses"] for one in dhcp4["subnet4"]] == [["192.0.2.1"]]


def test_it_is_said_where_a_relay_s_hosts_are_another_subnet_s_from_now_on(make_site: MakeSite, tmp_path: Path) -> None:
    driven = make(make_site, tmp_path, kea={"subnet4": [{"id": 1, "subnet": "198.51.100.0/24"}]})
    log = driven.site.log()
    driven.asking.serve(subnet(FIRST, None, relay=["198.51.100.100"]), networks=())
    assert driven.host().lease() in IPv4Network(FIRST)
    (line,) = log.lines("SUBNET_DELEG_RELAY_COVERED")
    assert "198.51.100.100" in line
    assert FIRST in line
    assert "198.51.100.0/24" in line


def test_leases_of_what_may_be_served_again_stay(driven: Driven) -> None:
    """A network's name mistyped, and corrected: nobody else may get its hosts' addresses meanwhile."""
    driven.asking.serve(subnet(FIRST))
    hosts = [driven.host() for _ in range(3)]
    addresses = [host.lease() for host in hosts]
    driven.asking.serve(networks=("hostz",))
    assert f"{FIRST} hosts" not in driven.configured()
    driven.asking.serve(subnet(FIRST))
    assert not {driven.host().lease() for _ in range(3)} & set(addresses)
    assert [granted(host, renewal(host, address)) for host, address in zip(hosts, addresses, strict=True)] == [
        LIFETIME
    ] * 3
    ends = driven.asking.ask(op="ends", ids=[number(FIRST), number(SECOND)])["subnets"]
    assert ends[str(number(SECOND))] == 0
    assert LIFETIME - 3 <= ends[str(number(FIRST))] <= LIFETIME


def test_lifetimes_of_the_network_unless_given(driven: Driven) -> None:
    driven.asking.serve(subnet(FIRST, remaining=100_000))
    host = driven.host()
    address = host.lease()
    assert granted(host, renewal(host, address)) == LIFETIME
    assert granted(host, renewal(host, address, (Code.LEASE_TIME, bytes(3) + b"\1"))) == LIFETIME // 2
    assert granted(host, renewal(host, address, (Code.LEASE_TIME, b"\1\0\0\0"))) == LIFETIME * 2
    driven.asking.serve(subnet(FIRST, lifetime=77))
    assert granted(host, renewal(host, address)) == 77
    driven.asking.serve(subnet(FIRST, lifetime=77, remaining=60))
    assert 60 - 5 <= granted(host, renewal(host, address)) <= 60 - 2
    driven.asking.serve(subnet(FIRST))
    assert granted(host, renewal(host, address)) == LIFETIME


@pytest.mark.parametrize(
    ("longest", "least", "usual", "most"), [(100, 100, 100, 100), (450, 300, 450, 450), (900, 300, 600, 900)]
)
def test_no_lease_is_longer_than_suggested(driven: Driven, longest: int, least: int, usual: int, most: int) -> None:
    host = driven.host()
    driven.asking.serve(subnet(FIRST))
    address = host.lease()
    driven.asking.serve(subnet(FIRST, longest=longest))
    for asked, expected in (
        ((), usual),
        (((Code.LEASE_TIME, b"\0\0\0\1"),), least),
        (((Code.LEASE_TIME, b"\1\0\0\0"),), most),
    ):
        assert granted(host, renewal(host, address, *asked)) == expected
    driven.asking.serve(subnet(FIRST, longest=longest, lifetime=500))
    assert granted(host, renewal(host, address)) == min(longest, 500)
    driven.asking.serve(subnet(FIRST, longest=longest, remaining=60))
    assert 60 - 5 <= granted(host, renewal(host, address)) <= 60 - 2


def test_no_lease_outlives_the_block(driven: Driven) -> None:
    """Lowered and closed by Kea alone: nobody says anything after the first request."""
    remaining = 8.0
    asked = time.monotonic()
    driven.asking.serve(subnet(FIRST, remaining=remaining))
    log = driven.site.log()
    host = driven.host()
    address = host.lease()
    lifetimes = []
    while True:
        answer = renewal(host, address, (Code.LEASE_TIME, b"\xff\xff\xff\xff"))
        moment = time.monotonic()
        if answer is None or decode(answer).type is Type.NAK:
            break
        lifetimes.append(granted(host, answer))
        assert moment - asked + lifetimes[-1] <= remaining + 0.1
        time.sleep(0.05)
    assert remaining - 3.5 <= moment - asked <= remaining - 1.0
    assert set(lifetimes) >= {1, 2, 3, 4, 5}
    log.wait("SUBNET_DELEG_SUBNET_ENDS")
    assert driven.asking.serve(subnet(FIRST, remaining=100_000))["opened"] == [number(FIRST)]
    assert driven.host().lease() in IPv4Network(FIRST)


def test_no_lease_outlives_the_block_by_a_class_either(make_site: MakeSite, tmp_path: Path) -> None:
    """A lifetime of a class goes before that of the subnet, in Kea."""
    long = {"name": "long", "test": "member('ALL')", "valid-lifetime": 86400}
    driven = make(make_site, tmp_path, kea=configuration(**{"client-classes": [long]}))
    driven.asking.serve(subnet(FIRST, remaining=4000), subnet(SECOND, None, relay=["192.0.2.1"]))
    host = driven.host()
    address = host.lease()
    assert 3990 <= granted(host, renewal(host, address)) <= 4000
    driven.asking.serve(subnet(FIRST, remaining=4000, longest=3000))
    assert granted(host, renewal(host, address)) == 3000
    driven.asking.serve(subnet(FIRST))
    assert granted(host, renewal(host, address)) == 86400


def test_lifetimes_of_classes_that_may_come_while_kea_runs(make_site: MakeSite, tmp_path: Path) -> None:
    """By commands of Kea's hook for that, which Kea has since 3.0; before, here, it is another one of Kea's by its name."""
    driven = make(make_site, tmp_path, severities={"kea-dhcp4.callouts": "DEBUG"})
    hooks = driven.site.lab.hooks
    if not (hooks / "libdhcp_class_cmds.so").exists():
        (hooks / "libdhcp_class_cmds.so").symlink_to((hooks / "libdhcp_lease_cmds.so").resolve())
    for name, guarded in (("libdhcp_lease_cmds.so", False), ("libdhcp_class_cmds.so", True)):
        loaded, log = driven.loaded(), driven.site.log()
        loaded["Dhcp4"]["hooks-libraries"].append({"library": str(hooks / name)})
        driven.site.command("config-set", loaded)
        assert bool(log.lines("HOOKS_CALLOUT_REGISTRATION .*lease4_renew")) == guarded


class Names:
    """What Kea tells its DNS server, which is this. A context manager."""

    def __init__(self, netns: str) -> None:
        self._socket = run_inside(netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._socket.bind(("127.0.0.1", NAMES_PORT))

    def __enter__(self) -> Names:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self, seconds: float) -> tuple[str, str] | None:
        """The next change, as "add" or "remove" and an address; None where none comes in time."""
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(65535)
        except TimeoutError:
            return None
        change = json.loads(data[2:])  # behind its length
        assert (change["forward-change"], change["reverse-change"]) == (True, True)
        return ("add", "remove")[change["change-type"]], change["ip-address"]


def test_names_of_hosts_leave_dns_with_their_block(make_site: MakeSite, tmp_path: Path) -> None:
    """Not by more at once than Kea has room for, which would end all updates of names."""
    names = {"enable-updates": True, "server-port": NAMES_PORT, "max-queue-size": 4}
    driven = make(make_site, tmp_path, kea=configuration(**{"dhcp-ddns": names}))
    with Names(driven.site.lab.servers["s1"].netns) as dns:
        driven.asking.serve(subnet(FIRST))
        hosts = range(13)  # all that there is room for
        added = {("add", str(driven.host().lease((HOST_NAME, b"host-%d" % host)))) for host in hosts}
        assert {dns.heard(5.0) for _ in hosts} == added
        driven.asking.serve()
        assert {dns.heard(5.0) for _ in hosts} == {("remove", address) for _, address in added}
        driven.asking.serve(subnet(FIRST))
        address = driven.host().lease((HOST_NAME, b"guest"))
        assert dns.heard(5.0) == ("add", str(address))
        driven.asking.serve(elsewhere=(number(FIRST),))  # another server goes on: the name stays
        wait_until(lambda: driven.statistics(f"subnet[{number(FIRST)}]") == {})
        assert dns.heard(0.5) is None


def test_usage(driven: Driven) -> None:
    driven.asking.serve(subnet(FIRST))
    asked = str(number(FIRST))
    assert driven.asking.usage(number(FIRST))["subnets"][asked] == NOTHING
    hosts = [driven.host() for _ in range(13)]  # all of the pool
    addresses = [host.lease() for host in hosts]
    assert driven.asking.usage(number(FIRST))["subnets"][asked]["peak"] == 13
    for host, address in zip(hosts[:9], addresses, strict=False):
        host.release(address)
    wait_until(
        lambda: driven.statistics(f"subnet[{asked}].assigned-addresses") == {f"subnet[{asked}].assigned-addresses": 4}
    )
    usage = driven.asking.usage(number(FIRST))["subnets"][asked]
    assert (usage["assigned"], usage["peak"]) == (4, 13)
    usage = driven.asking.usage(number(FIRST))["subnets"][asked]
    assert (usage["assigned"], usage["peak"], usage["failures"]) == (4, 4, 0)
    for _ in range(9):
        driven.host().lease()
    # Kea 2.6 lets nobody have what was released before that second is over: the first of them may have had to ask twice.
    assert driven.asking.usage(number(FIRST))["subnets"][asked]["peak"] == 13
    refused = driven.host()
    assert refused.ask(refused.message(Type.DISCOVER), BRIEFLY) is None
    answer = driven.asking.usage(number(FIRST))
    assert answer["subnets"][asked] == {"assigned": 13, "declined": 0, "peak": 13, "failures": 1}
    assert driven.asking.usage(number(FIRST))["subnets"][asked]["failures"] == 0


def test_leases_are_counted_where_statistics_were_reset(driven: Driven) -> None:
    asking, site = driven.asking, driven.site
    asking.serve(subnet(FIRST), subnet(SECOND, None, relay=["192.0.2.1"]))
    hosts = [driven.host() for _ in range(3)]
    addresses = [host.lease() for host in hosts]
    decline(driven, hosts[0], addresses[0])
    first, second = str(number(FIRST)), str(number(SECOND))

    def missed() -> dict[str, Any]:
        return asking.missed(number(FIRST), number(SECOND))

    none = {"assigned": 0, "declined": 0}
    assert missed() == {first: none, second: none}
    for command in ("statistic-reset-all", "statistic-remove-all"):
        site.command(command)
        assert asking.usage(number(FIRST))["subnets"][first]["assigned"] == 0
        assert missed() == {first: {"assigned": 3, "declined": 1}, second: none}


def test_whether_usage_has_moved(driven: Driven) -> None:
    """At once for a host that found no subnet, within a second else; and not of itself."""
    asking = driven.asking
    asking.usage()
    host = driven.host()
    assert host.ask(host.message(Type.DISCOVER), BRIEFLY) is None
    assert asking.moved() is None
    asking.serve(subnet(FIRST))
    asking.usage(number(FIRST))
    assert asking.moved() == 0
    address = host.lease()
    wait_until(lambda: asking.moved() != 0, 2.0)
    asking.usage(number(FIRST))
    host.release(address)
    wait_until(lambda: asking.moved() != 0, 2.0)
    assigned = f"subnet[{number(FIRST)}].assigned-addresses"
    # Kea 2.6 counts it down not with the RELEASE, but when it reclaims the lease.
    wait_until(lambda: driven.statistics(assigned) == {assigned: 0})
    assert asking.usage(number(FIRST))["subnets"][str(number(FIRST))]["assigned"] == 0
    time.sleep(1.5)
    assert asking.moved() == 0
    for _ in range(14):  # one more than there are addresses
        one = driven.host()
        one.ask(one.message(Type.DISCOVER), BRIEFLY)
    wait_until(lambda: asking.moved() != 0, 2.0)


@pytest.mark.parametrize("threads", [False, True])
def test_a_rest_ends_when_more_moves_than_it_tolerates(make_site: MakeSite, tmp_path: Path, threads: bool) -> None:
    """On a server of its own: where somebody has removed statistics, as a test above does, any packet ends it."""
    mode = {**MULTI_THREADED["multi-threading"], "enable-multi-threading": threads}
    driven = make(make_site, tmp_path, kea=configuration(**{"multi-threading": mode}))
    asking = driven.asking
    asking.serve(subnet(FIRST))
    asking.usage(number(FIRST))
    assert asking.rest(1.5, 0) >= 1.5
    with ThreadPoolExecutor() as pool:
        resting = pool.submit(asking.rest, 15.0, 0)
        driven.host().lease()
        assert resting.result() < 15.0
        assert asking.rest(15.0, 0) < 15.0  # also where it had moved before
        assert asking.rest(1.5, None) >= 1.5
        asking.usage(number(FIRST))
        driven.host().lease()
        # With threads Kea's figures can't be looked at between two packets: then any packet is a reason. So it is where no packet
        # comes for half a second after one, as on a busy machine.
        assert any(rest_among_packets(driven, pool) >= 3.0 for _ in range(5)) == (not threads)


def rest_among_packets(driven: Driven, pool: ThreadPoolExecutor) -> float:
    """How many seconds a rest of three takes that tolerates one address, while a host asks and takes nothing."""
    host = driven.host()
    resting = pool.submit(driven.asking.rest, 3.0, 1)
    while not resting.done():
        host.ask(host.message(Type.DISCOVER))
        time.sleep(0.05)
    return resting.result()


def test_usage_moves_when_a_lease_ends_while_nobody_says_anything(driven: Driven) -> None:
    asking = driven.asking
    asking.serve(subnet(FIRST, lifetime=3))
    host = driven.host()
    host.lease()
    usage = asking.usage(number(FIRST))
    assert usage["subnets"][str(number(FIRST))]["assigned"] == 1
    assert asking.moved() == 0
    wait_until(lambda: asking.moved() != 0)
    assert asking.usage(number(FIRST))["subnets"][str(number(FIRST))]["assigned"] == 0


def share_leases(driven: Driven) -> dict[str, Any]:
    """Have the server keep its leases in PostgreSQL, and serve one subnet; return its configuration."""
    lab = driven.site.lab
    lab.cluster.execute("postgres", "create database leases")
    lab.cluster.execute("leases", f"\\i {LEASE_SCHEMA}")
    shared = driven.loaded()
    shared["Dhcp4"]["lease-database"] = {
        "type": "postgresql",
        "name": "leases",
        "host": str(lab.cluster.directory),
        "user": "postgres",
        "password": "",
    }
    backend = lab.hooks / "libdhcp_pgsql.so"
    if backend.exists():  # in Kea 3.0 it is a hook, in those before a part of Kea
        shared["Dhcp4"]["hooks-libraries"].append({"library": str(backend)})
    driven.asking.configured(json.dumps({"networks": ["hosts"], "subnets": [subnet(FIRST)]}))
    driven.site.command("config-set", shared)
    assert driven.asking.ask(op="addresses")["lease-database"] == "postgresql"
    return shared


def test_leases_that_another_server_goes_on_giving_stay(make_site: MakeSite, tmp_path: Path) -> None:
    """In a lease database of both: who serves a block no more deletes its leases only where the block has ended."""
    driven = make(make_site, tmp_path)
    shared = share_leases(driven)
    asking, cluster = driven.asking, driven.site.lab.cluster
    driven.host().lease()
    cluster.execute("leases", OTHERS_LEASES)

    def remaining() -> int:
        assert f"{FIRST} hosts" not in driven.configured()
        # Leases go bit by bit, and the statistics after them.
        wait_until(lambda: driven.statistics(f"subnet[{number(FIRST)}]") == {})
        return int(cluster.execute("leases", "select count(*) from lease4"))

    asking.serve(networks=())  # the network is not ours to look after any more
    assert remaining() == 5
    asking.serve(subnet(FIRST))
    asking.serve(elsewhere=(number(FIRST),))  # a relay reserved it of another server, as it were
    assert remaining() == 5
    asking.serve(subnet(FIRST))
    asking.configured("")  # the same by a reload: nothing is ours to serve
    driven.site.command("config-set", shared)
    asking.serve(networks=())
    assert remaining() == 5
    asking.serve(subnet(FIRST))
    asking.serve()
    assert remaining() == 0


def test_many_leases_in_a_database_are_deleted_bit_by_bit(make_site: MakeSite, tmp_path: Path) -> None:
    """Hosts of other subnets are served meanwhile."""
    driven = make(make_site, tmp_path)
    share_leases(driven)
    asking, cluster = driven.asking, driven.site.lab.cluster
    large = "10.0.16.0/20"
    asking.serve(subnet(large), subnet(SECOND))
    cluster.execute(
        "leases",
        f"""
        insert into lease4 (address, valid_lifetime, expire, subnet_id, state, hostname)
        select {number(large)} + n, 600, date_trunc('second', now()) + interval '600 s', {number(large)}, 0, ''
        from generate_series(2, 1501) n
        """,  # noqa: S608  # ours
    )

    def remaining() -> int:
        return int(cluster.execute("leases", f"select count(*) from lease4 where subnet_id = {number(large)}"))  # noqa: S608  # ours

    assert asking.serve(subnet(SECOND))["withdrawn"] == [number(large)]
    assert remaining() > 0
    assert driven.host().lease() in IPv4Network(SECOND)
    wait_until(lambda: remaining() == 0, 60.0)
    wait_until(lambda: driven.statistics(f"subnet[{number(large)}]") == {})


def test_usage_of_a_lease_database_that_others_have_too(make_site: MakeSite, tmp_path: Path) -> None:
    """Kea counts what it leased itself; the database knows of all."""
    driven = make(make_site, tmp_path)
    lab = driven.site.lab
    share_leases(driven)
    driven.host().lease()
    lab.cluster.execute("leases", OTHERS_LEASES)
    one = str(number(FIRST))
    own = driven.asking.usage(number(FIRST))["subnets"][one]
    assert (own["assigned"], own["declined"], own["peak"]) == (1, 0, 1)
    assert driven.asking.missed(number(FIRST)) == {one: {"assigned": 4, "declined": 2}}
    driven.asking.serve(subnet(SECOND))
    assert lab.cluster.execute("leases", "select count(*) from lease4").strip() == "0"
    none = {"assigned": 0, "declined": 0}
    assert driven.asking.missed(number(FIRST), number(SECOND)) == {one: none, str(number(SECOND)): none}
    # Leases that are there already when a subnet comes are counted at once.
    lab.cluster.execute("leases", OTHERS_LEASES)
    driven.asking.serve(subnet(FIRST))
    own = driven.asking.usage(number(FIRST))["subnets"][one]
    assert (own["assigned"], own["declined"], own["peak"]) == (4, 2, 4)


def test_unserved(driven: Driven) -> None:
    driven.asking.serve(networks=("hosts", "nowhere"))
    host = driven.host()
    for _ in range(3):
        assert host.ask(host.message(Type.DISCOVER), BRIEFLY) is None
    assert driven.asking.usage()["unserved"] == {"hosts": 3}
    assert driven.asking.usage()["unserved"] == {}
    driven.asking.serve(subnet(FIRST))
    address = host.lease()
    assert driven.asking.usage()["unserved"] == {}
    driven.asking.serve(subnet(FIRST, open=False))
    renewal(host, address)
    assert driven.asking.usage()["unserved"]["hosts"] >= 1


def test_unknown_networks_and_other_failures(driven: Driven) -> None:
    log = driven.site.log()
    wrong = [
        subnet(FIRST),
        subnet("10.0.1.0/24"),  # the same id
    ]
    with pytest.raises(AskFailed, match="KeaRefused: subnet-id 167772416 occurs twice"):
        driven.asking.serve(*wrong)
    for _ in range(2):
        answer = driven.asking.serve(
            subnet(FIRST),
            subnet("10.0.0.0/16"),
            subnet("10.7.0.0/28", "elsewhere"),
            subnet("10.8.0.0/28", pool="10.9.0.1-10.9.0.2"),
            networks=("hosts", "elsewhere"),
        )
        failed = answer["failed"]
        assert set(failed) == {str(number(text)) for text in ("10.0.1.0/28", "10.7.0.0/28", "10.8.0.0/28")}
        assert "overlaps subnet 10.0.0.0/16" in failed[str(number(FIRST))]
        assert "no shared network elsewhere" in failed[str(number("10.7.0.0/28"))]
        assert answer["unknown-networks"] == ["elsewhere"]
    assert len(log.lines("SUBNET_DELEG_SUBNET_FAILED")) == 3
    assert len(log.lines("SUBNET_DELEG_NETWORK_UNKNOWN")) == 1
    with pytest.raises(AskFailed, match="there is no operation"):
        driven.asking.ask(op="dance")
    with pytest.raises(AskFailed, match='no "op"'):
        driven.asking.ask()


def test_addresses(driven: Driven) -> None:
    assert driven.asking.ask(op="addresses") == {
        "addresses": [{"address": str(driven.site.servers[0]), "interface": "eth0", "index": 2}],
        "lease-database": "memfile",
    }


def test_reload_and_restart(driven: Driven) -> None:
    """A host that never stops renewing is never refused: the subnet is back before the first packet."""
    wanted = [subnet(FIRST, remaining=3000), subnet(SECOND, open=False)]
    served = {"networks": ["hosts"], "subnets": wanted}
    driven.asking.serve(*wanted)
    host = driven.host()
    address = host.lease()
    answers: list[Type] = []
    ending = threading.Event()

    def renew() -> None:
        while not ending.is_set():
            answer = host.ask(host.message(Type.REQUEST, ciaddr=address), (0.02,))
            if answer is not None:
                answers.append(decode(answer).type)

    def renewed() -> None:
        count = len(answers)
        wait_until(lambda: len(answers) > count + 5)

    with contextlib.ExitStack() as stack:
        thread = threading.Thread(target=renew)
        thread.start()
        stack.callback(thread.join)
        stack.callback(ending.set)
        driven.asking.configured(json.dumps(served))
        for _ in range(3):
            driven.site.command("config-reload")
            renewed()
        driven.site.command("config-test", driven.loaded())
        renewed()
        changed = copy.deepcopy(driven.loaded())
        changed["Dhcp4"]["valid-lifetime"] = LIFETIME + 1
        driven.site.command("config-set", changed)
        renewed()
        assert granted(host, renewal(again(host), address)) == LIFETIME + 1
        driven.asking.configured(None)  # the ledger does not answer
        driven.site.command("config-reload")
        renewed()
        if "libreload" in driven.site.command("list-commands"):
            driven.site.command("libreload")
            renewed()
        driven.asking.configured(json.dumps(served))
        driven.site.lab.stop("s1")
        driven.site.lab.start("s1")
        renewed()
    assert set(answers) == {Type.ACK}
    assert driven.configured() == [f"{FIRST} hosts", f"{SECOND} hosts"]
    usage = driven.asking.usage(number(FIRST))["subnets"][str(number(FIRST))]
    assert (usage["assigned"], usage["peak"]) == (1, 1)
    driven.asking.configured("")
    driven.site.command("config-reload")
    assert driven.configured() == []
    assert driven.asking.usage()["subnets"] == {}


def again(like: Host) -> Host:
    """The same host, with transactions of its own."""
    other = Host(like.endpoint, like.server, like.identity)
    other._xid ^= 0x5555
    return other


def test_an_operators_subnets_are_left_alone(make_site: MakeSite, tmp_path: Path) -> None:
    """Not even where a configuration that was got from Kea, subnets of ours in it, is set again."""
    own = {"id": 5, "subnet": "10.5.0.0/29", "pools": [{"pool": "10.5.0.2 - 10.5.0.3"}]}
    network = {"name": "hosts", "relay": {"ip-addresses": ["198.51.100.100"]}, "subnet4": [own]}
    driven = make(make_site, tmp_path, kea=configuration(**{"shared-networks": [network]}))
    driven.asking.usage()
    assert [driven.host().lease() in IPv4Network("10.5.0.0/29") for _ in range(2)] == [True, True]
    answer = driven.asking.serve(subnet("10.5.0.0/24", first=20), subnet(FIRST))
    assert (answer["added"], list(answer["failed"])) == ([number(FIRST)], [str(number("10.5.0.0/24"))])
    assert driven.host().lease() in IPv4Network(FIRST)
    got = driven.site.command("config-get")
    got.pop("hash", None)
    driven.asking.configured(json.dumps({"networks": ["hosts"], "subnets": [subnet(FIRST)]}))
    driven.site.command("config-set", got)
    assert driven.configured() == [f"{FIRST} hosts", "10.5.0.0/29 hosts"]
    assert driven.asking.serve()["withdrawn"] == [number(FIRST)]
    assert driven.configured() == ["10.5.0.0/29 hosts"]
    # Its hosts are not served by us, nor by anyone: they are counted.
    host = driven.host()
    assert host.ask(host.message(Type.DISCOVER), BRIEFLY) is None
    assert driven.asking.usage()["unserved"] == {"hosts": 1}


def test_what_a_file_says_of_our_subnets_is_of_another_day(make_site: MakeSite, tmp_path: Path) -> None:
    """Written by config-write as one of a pair, which is no more: by that, nobody would get an address. It is made anew, with its leases."""
    driven = make(make_site, tmp_path)
    driven.asking.serve(subnet(FIRST))
    host = driven.host()
    address = host.lease()
    written = driven.site.command("config-get")
    written.pop("hash", None)
    (network,) = written["Dhcp4"]["shared-networks"]
    (ours,) = network["subnet4"]
    ours["pools"] = [{"pool": pool["pool"], "client-class": "HA_server2"} for pool in ours["pools"]]
    ours["valid-lifetime"] = ours["min-valid-lifetime"] = ours["max-valid-lifetime"] = 77
    driven.asking.configured(json.dumps({"networks": ["hosts"], "subnets": [subnet(FIRST)]}))
    for _ in range(2):
        driven.site.command("config-set", written)
        assert driven.configured() == [f"{FIRST} hosts"]
        assert granted(again(host), renewal(again(host), address)) == LIFETIME
        assert driven.host().lease() in IPv4Network(FIRST)
    (now,) = driven.site.command("config-get")["Dhcp4"]["shared-networks"][0]["subnet4"]
    assert not any(key.startswith("client-class") and pool[key] for pool in now["pools"] for key in pool)
    assert driven.asking.serve(subnet(FIRST))["added"] == []  # it stays as it is now


def test_who_asks_while_the_hook_is_unloaded_is_told_so(driven: Driven) -> None:
    """Neither waits for the other: the main thread, which ends the service, and a thread of it that asks the main thread."""
    ending = threading.Event()
    heard: list[str] = []

    def ask() -> None:
        while not ending.is_set():
            try:
                driven.asking.ask(op="addresses")
            except AskFailed as error:
                heard.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    log = driven.site.log()
    for thread in threads:
        thread.start()
    slowest = 0.0
    for _ in range(10):
        begin = time.monotonic()
        driven.site.command("config-reload")
        slowest = max(slowest, time.monotonic() - begin)
    ending.set()
    for thread in threads:
        thread.join()
    assert slowest < 3.0
    assert all("the hook is being unloaded" in text for text in heard)
    assert log.lines("STOP_SLOW") == []


def test_a_server_that_crashed_is_as_before(driven: Driven) -> None:
    served = {"networks": ["hosts"], "subnets": [subnet(FIRST)]}
    driven.asking.serve(subnet(FIRST))
    host = driven.host()
    address = host.lease()
    driven.asking.configured(json.dumps(served))
    driven.site.lab.kill("s1")
    process: Process = driven.site.lab.start("s1")
    assert process.alive
    assert granted(host, renewal(host, address)) == LIFETIME
    log = driven.site.log()
    assert log.lines("DHCPSRV_LEASE_SANITY_FAIL") == []
    driven.asking.configured("")


@pytest.mark.parametrize("mark", [True, [1]])
def test_a_subnet_that_bears_our_mark_as_no_map_is_an_operators(make_site: MakeSite, tmp_path: Path, mark: Any) -> None:
    theirs = {"id": 1, "subnet": "10.9.0.0/24", "user-context": {"subnet-deleg": mark}}
    driven = make(make_site, tmp_path, kea=configuration(subnet4=[theirs]))
    driven.asking.serve(subnet(FIRST), subnet(SECOND))
    driven.asking.serve(subnet(FIRST))
    assert driven.configured() == [f"{FIRST} hosts", "10.9.0.0/24"]
    assert driven.host().lease() in IPv4Network(FIRST)
