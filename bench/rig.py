# SPDX-License-Identifier: MPL-2.0
"""The two rigs, both labs.

`Rig`: one server and one client; the server is exchanged from run to run, each time on a fresh database. A run has the machine to
itself: the other side's server is stopped meanwhile, and the cluster has just made a checkpoint.
`Instances`: several servers on one ledger.
"""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from ci.labs import Lab, control, network
from ci.labs.cluster import binaries
from ci.labs.lab import DATABASE
from ci.labs.process import Process, run, start, tail

POOL = IPv4Network("10.0.0.0/8")
WIDE_POOL = IPv4Network("16.0.0.0/4")  # for many runs on one ledger: four million /26
SERVER = "s1"
DHCP6 = "/usr/sbin/kea-dhcp6"
DHCP6_SCHEMA = Path("/usr/share/kea/scripts/pgsql/dhcpdb_create.pgsql")
LEASES6 = "kea"  # database
LEASE_TIME = 604800  # seconds, on both sides
READY = 30.0  # seconds until a server has to serve
WARN = {"kea-dhcp4": "WARN", "kea-dhcp4.subnet-deleg-hooks": "WARN"}


class Leases(enum.StrEnum):
    """Where kea-dhcp6 has its leases: in a database of the rig's cluster, or in its memory alone."""

    POSTGRESQL = "PostgreSQL"
    MEMORY = "memory"


class Rig(Lab):
    """A lab of topology `single`, of which each figure starts the server it measures; it delegates from `pool`."""

    def __init__(self, pool: IPv4Network = POOL) -> None:
        super().__init__("single", name=f"bench-{os.getpid()}", pools=[pool], severities=WARN)
        self._directory6 = self.directory / "kea6"

    @property
    def client_netns(self) -> str:
        """The namespace that load comes from."""
        return self.clients[0].netns

    def up(self) -> Rig:
        """As a lab, but with no server running, and an empty ledger and lease database to copy."""
        super().up()
        try:
            self.stop(SERVER)
            self.cluster.execute("postgres", f"create database {pristine(LEASES6)}")
            schema = ("-Xq", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", str(DHCP6_SCHEMA))
            run(str(binaries() / "psql"), *schema, self.cluster.dsn(pristine(LEASES6)))
            self.cluster.execute("postgres", f"alter database {DATABASE} rename to {pristine(DATABASE)}")
            self._directory6.mkdir(mode=0o750)
            self._await_link_local()
        except BaseException:
            self.down()
            raise
        return self

    @contextmanager
    def kea4(self, policy: str) -> Iterator[Process]:
        """Run kea-dhcp4 with our hook and that policy on a fresh ledger."""
        self._renew(DATABASE)
        server = self.servers[SERVER]
        server = self.servers[SERVER] = replace(server, parameters={**server.parameters, "policy": policy})
        server.write(server.configuration(self.hooks))
        process = self.start(SERVER)
        try:
            yield process
        finally:
            self.stop(SERVER)

    @contextmanager
    def kea6(self, leases: Leases, threads: int) -> Iterator[Process]:
        """Run kea-dhcp6 that delegates prefixes, with no leases yet; 0 threads: multi-threading off."""
        if leases is Leases.POSTGRESQL:
            self._renew(LEASES6)
        configuration, console = self._directory6 / "kea-dhcp6.conf", self._directory6 / "console.log"
        configuration.write_text(json.dumps(self._configuration6(leases, threads)))
        places = ("PIDFILE", "LOCKFILE", "LOG_FILE", "CONTROL_SOCKET", "DHCP_DATA")
        own = {f"KEA_{place}_DIR": str(self._directory6) for place in places}
        command = [*network.inside(self.servers[SERVER].netns), DHCP6, "-c", str(configuration)]
        process = self._started("kea6", start(command, console, own))
        try:
            self._await6(process, console)
            yield process
        finally:
            self.stop("kea6")

    @property
    def postmaster(self) -> int:
        """The pid of the cluster."""
        return self.process("main").pid

    def _renew(self, database: str) -> None:
        for statement in (
            f"drop database if exists {database}",
            f"create database {database} template {pristine(database)}",
            "checkpoint",
        ):
            self.cluster.execute("postgres", statement)

    def _configuration6(self, leases: Leases, threads: int) -> dict[str, object]:
        multi = {"enable-multi-threading": threads > 0}
        output = {"output": str(self._directory6 / "kea-dhcp6.log"), "maxsize": 0}
        pool = {"prefix": "2001:db8:8000::", "prefix-len": 33, "delegated-len": 56}
        subnet = {"id": 1, "subnet": "2001:db8::/32", "interface": network.INTERFACE, "pd-pools": [pool]}
        database: dict[str, object] = {"type": "memfile", "persist": False}
        if leases is Leases.POSTGRESQL:
            database = {"type": "postgresql", "name": LEASES6, "host": str(self.cluster.directory), "user": "postgres"}
        return {
            "Dhcp6": {
                "interfaces-config": {"interfaces": [network.INTERFACE]},
                "control-socket": {"socket-type": "unix", "socket-name": str(self._socket6)},
                "server-id": {"type": "EN", "enterprise-id": 32473, "identifier": "01", "persist": False},
                "lease-database": database,
                "valid-lifetime": LEASE_TIME,
                "preferred-lifetime": LEASE_TIME,
                "multi-threading": multi | ({"thread-pool-size": threads, "packet-queue-size": 64} if threads else {}),
                "subnet6": [subnet],
                "loggers": [{"name": "kea-dhcp6", "severity": "WARN", "output_options": [output]}],
            }
        }

    @property
    def _socket6(self) -> Path:
        return self._directory6 / "control.sock"

    def _await6(self, process: Process, console: Path) -> None:
        deadline = time.monotonic() + READY
        while True:
            try:
                control.command(self._socket6, "status-get")
            except (OSError, ValueError, control.CommandError) as error:
                if not process.alive or time.monotonic() > deadline:
                    raise RuntimeError(f"kea-dhcp6 does not serve: {error}\n{tail(console)}") from None
                time.sleep(0.05)
            else:
                return

    def _await_link_local(self) -> None:
        """Wait until duplicate address detection lets kea-dhcp6 and perfdhcp use their link-local addresses."""
        deadline = time.monotonic() + READY
        for netns in (self.servers[SERVER].netns, self.client_netns):
            show = ("ip", "-6", "address", "show", "dev", network.INTERFACE, "scope", "link")
            command = [*network.inside(netns), *show]
            while "fe80:" not in run(*command, "-tentative"):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{netns} has no IPv6 link-local address: B1 needs IPv6 for its peer")
                time.sleep(0.1)


class Instances(Lab):
    """A lab of four servers on one ledger, of which any number runs."""

    def __init__(self, policy: str) -> None:
        name = f"bench-{os.getpid()}"
        super().__init__("four", name=name, pools=[WIDE_POOL], parameters={"policy": policy}, severities=WARN)

    def up(self) -> Instances:
        """As a lab, without servers."""
        super().up()
        try:
            self.only(0)
        except BaseException:
            self.down()
            raise
        return self

    def only(self, number: int) -> list[str]:
        """Have the first `number` servers run and no other; return their names."""
        names = list(self.servers)
        for name in names[number:]:
            if self.is_up(name):
                self.stop(name)
        for name in names[:number]:
            if not self.is_up(name):
                self.start(name)
        return names[:number]


def pristine(database: str) -> str:
    """The name of the database that `database` is copied from."""
    return f"{database}_pristine"


def run_load(netns: str, *arguments: str, seconds: float) -> str:
    """Run bench/load.py inside a namespace, for not much longer than `seconds`; return what it prints."""
    program = Path(__file__).with_name("load.py")
    command = [*network.inside(netns), sys.executable, str(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + READY)
    if done.returncode:
        raise RuntimeError(f"bench/load.py failed ({done.returncode}): {done.stderr.strip()}")
    return done.stdout
