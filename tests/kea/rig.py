# SPDX-License-Identifier: MPL-2.0
"""A real Kea with the hook between two scripted upstreams and hosts: each test begins with an empty ledger and an empty server."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from ci.labs import HostsPlace, Lab
from ci.labs.process import run
from ci.labs.server import merge
from tests.client.conduct import Conduct, Kind
from tests.client.endpoint import Endpoint
from tests.client.rfc6656 import Client, Identity
from tests.client.upstream import Upstream
from tests.kea.hosts import Hosts
from tests.kea.site import Log
from tests.kea.waiting import wait_until

SERVER, DATABASE, EMPTY = "s1", "deleg", "pristine"
RELAY, ONE, OTHER = (IPv4Address("198.51.100.0") + number for number in (101, 102, 103))
POOL, OTHER_POOL = IPv4Network("10.200.0.0/16"), IPv4Network("10.201.0.0/16")  # what each upstream gives out
LENGTH = 28  # of the network's blocks: 13 hosts each, one address is the router's
PARAMETERS: Mapping[str, object] = {
    "offer-wait": 0.2,
    "release-after": 600.0,
    "min-lease-time": 1,
    "quarantine-time": 1,
    "sweep-interval": 0.1,
    "view-interval": 0.1,
    "upstreams": [{"address": str(ONE)}],
}
DHCP4: Mapping[str, object] = {
    "subnet4": [],
    "shared-networks": [{"name": "hosts", "relay": {"ip-addresses": [str(RELAY)]}, "subnet4": []}],
    "expired-leases-processing": {"reclaim-timer-wait-time": 1},
    "decline-probation-period": 600,
}


class Rig:
    """The server `s1` of a lab, stopped, with `one` and `other` to ask and an address that hosts are relayed from.

    A lab is made ready by `prepare`; `start` configures the server and starts it; `close` stops it, and raises what went wrong unseen.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab, self.conduct = lab, Conduct()
        self.server = lab.servers[SERVER].address
        place = lab.clients[0]
        self.one, self.other = (
            Upstream(place.netns, place.interface, address, self.conduct, pool=pool, broadcasts=True)
            for address, pool in ((ONE, POOL), (OTHER, OTHER_POOL))
        )
        self.empty()

    @staticmethod
    def prepare(lab: Lab) -> None:
        """Stop the server, keep a copy of its empty ledger, and give the client's namespace the addresses that are needed there."""
        lab.stop(SERVER)
        lab.cluster.execute("postgres", f"create database {EMPTY} template {DATABASE}")
        place = lab.clients[0]
        for address in (RELAY, ONE, OTHER):
            run(
                "nsenter",
                f"--net=/run/netns/{place.netns}",
                "--",
                "ip",
                "address",
                "add",
                f"{address}/24",
                "dev",
                place.interface,
            )

    # -- the server

    def empty(self) -> None:
        """Have the ledger as it was made, its client identifier included, and no lease of hosts. The server is stopped."""
        self.lab.cluster.execute(
            "postgres",
            f"drop database if exists {DATABASE} with (force)",
            f"create database {DATABASE} template {EMPTY}",
        )
        for path in self.lab.servers[SERVER].directory.glob("leases4.csv*"):
            path.unlink()

    def start(
        self,
        *,
        blocks: int | None = None,
        kea: Mapping[str, object] | None = None,
        pools: Sequence[str] = (),
        **parameters: object,
    ) -> None:
        """Start the server with these parameters of the hook over the usual ones, and `kea` merged into "Dhcp4".

        `blocks`: what its network has at least (`min-blocks`), None for no network.
        """
        server = self.lab.servers[SERVER]
        for pool in pools:
            self.lab.cli("pool", "add", pool)
        configuration = server.configuration(self.lab.hooks)
        configuration["Dhcp4"] = merge(merge(configuration["Dhcp4"], DHCP4), kea or {})
        hook = configuration["Dhcp4"]["hooks-libraries"][0]
        given = {key.replace("_", "-"): value for key, value in parameters.items()}
        hook["parameters"] = {**hook["parameters"], **PARAMETERS, **given}
        if blocks is not None:
            network = {"name": "hosts", "prefix-length": LENGTH, "hold-time": 0.5, "min-blocks": blocks}
            hook["parameters"]["networks"] = [network]
        server.write(configuration)
        self.lab.start(SERVER)

    def stop(self) -> None:
        self.lab.stop(SERVER)

    def close(self) -> None:
        """Stop the server. Raises what the upstreams found wrong with what they heard, and what it says of exceptions."""
        exceptions = self.lab.servers[SERVER].counters()["exceptions"]
        self.stop()
        self.one.check()
        self.other.check()
        assert exceptions == 0, f"{exceptions} exceptions"

    def log(self) -> Log:
        """The server's log from now on."""
        return Log(self.lab.servers[SERVER].log)

    def counters(self) -> dict[str, int]:
        return self.lab.servers[SERVER].counters()

    # -- what it has

    def origins(self) -> dict[IPv4Network, dict[str, Any]]:
        """What is leased to it, by the ledger."""
        found = self.lab.sql(
            "select coalesce(json_object_agg(prefix, to_json(o)), '{}') from deleg.origins o where kind = 'upstream'"
        )
        return {IPv4Network(prefix): row for prefix, row in json.loads(found).items()}

    def obtained(self, *networks: IPv4Network | str, seconds: float = 3.0) -> None:
        """Wait until exactly these are leased to it."""
        expected = {IPv4Network(network) for network in networks}
        wait_until(lambda: set(self.origins()) == expected, seconds)

    def suggested(self) -> set[int | None]:
        """For how many seconds its upstreams would have hosts' leases last."""
        found = self.lab.sql("select coalesce(json_agg(host_lease_time), '[]') from report.upstreams")
        return set(json.loads(found))

    # -- who wants something of it

    def hosts(self) -> Hosts:
        """Hosts behind a relay. Not while there is an `endpoint`: both have port 67."""
        place = self.lab.clients[0]
        there = HostsPlace(place.netns, RELAY, place.interface, server=SERVER, server_address=self.server)
        return Hosts.relayed([there])

    def endpoint(self) -> Endpoint:
        """A place for lessees."""
        place = self.lab.clients[0]
        return Endpoint.relay(place.netns, place.interface, place.address)

    def lessee(self, endpoint: Endpoint) -> Client:
        return Client(endpoint, Identity.fresh(), [self.server])


def quiet(upstream: Upstream, seconds: float) -> None:
    """Raise `AssertionError` if anything is heard within so many seconds, but for what is asked of a server that has nothing to list."""
    spoken = [kind for kind in Kind if kind is not Kind.LISTING]
    before = len(upstream.queries(*spoken))
    time.sleep(seconds)
    assert len(upstream.queries(*spoken)) == before, f"heard after all: {upstream.history()}"
