# SPDX-License-Identifier: MPL-2.0
"""A lab: cluster, servers, clients and hosts of one topology, what was started for it, and how it is ended.

A lab's directory, /tmp/ksd-NAME, holds everything of it (unix sockets need the path short). `lab.json` there names each
process and namespace before the next is made, so that `down` works after any failure, from any process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ci.labs import interruption, network, quick
from ci.labs.cluster import Cluster
from ci.labs.process import Process, run
from ci.labs.server import COMMAND, Server, hook_directory, merge
from ci.labs.topology import BACKBONE, CLIENT, HOSTS_LINKS, HaMode, Station, relay
from ci.labs.topology import topology as topology_named

ROOT = Path("/tmp")
PREFIX = "ksd-"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
CLUSTER = "main"  # the name of the cluster's process; no server is called so
DATABASE = "deleg"  # the database of the ledger `main`; that of another ledger has its name behind
SEVERITIES = {"kea-dhcp4": "INFO", "kea-dhcp4.subnet-deleg-hooks": "INFO"}


class LabError(RuntimeError):
    """A lab cannot be brought up, or there is none of that name; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class ClientPlace:
    """Where a client can be run: a namespace, its interface and its address, from which every server is reached."""

    netns: str
    address: IPv4Address
    interface: str = network.INTERFACE


@dataclass(frozen=True, slots=True)
class HostsPlace(ClientPlace):
    """Where hosts can be run, relayed or on the link itself: a client's place, the server that serves them, and its address there.

    Of a high availability pair each has a place, of one namespace.
    """

    server: str = field(kw_only=True)
    server_address: IPv4Address = field(kw_only=True)


class Lab:
    """A lab of `topology` under `name`.

    `up` (or entering it) brings it up, `down` (or leaving it) ends what it started.

    `pools` are added to the first ledger, by default what the topology says. `parameters` are the hook's in each server (its dsn is
    set), over them those that `servers` has under a server's name; `kea` is merged into "Dhcp4", `severities` are of loggers. `edges`
    is how many a `chain` has, `ha` the mode of an `ha`. With a `lease_time` in seconds all that takes its time is short.
    An `owned` lab belongs to this process: where this process dies, the next `sweep` ends it. To make a cluster and its ledgers takes
    seconds of CPU time: where `made` is a directory, it is done once, kept there, and copied from then on.
    """

    def __init__(
        self,
        topology: str,
        *,
        name: str = "lab",
        pools: Sequence[IPv4Network] | None = None,
        edges: int = 1,
        ha: str = HaMode.HOT_STANDBY,
        lease_time: int | None = None,
        parameters: Mapping[str, object] | None = None,
        servers: Mapping[str, Mapping[str, object]] | None = None,
        kea: Mapping[str, object] | None = None,
        severities: Mapping[str, str] | None = None,
        owned: bool = True,
        made: Path | None = None,
    ) -> None:
        if not NAME.fullmatch(name):
            raise LabError(f"lab name {name!r}: give 1 to 24 lower-case letters, digits and hyphens")
        try:
            self._topology = topology_named(topology, edges, HaMode(ha))
        except ValueError as error:
            raise LabError(str(error)) from None
        known = [station.name for station in self._topology.stations]
        if unknown := set(servers or {}) - set(known):
            raise LabError(f"no server {', '.join(sorted(unknown))} in {topology}: there are {', '.join(known)}")
        self.topology, self.name = topology, name
        self.pools = tuple(self._topology.pools if pools is None else pools)
        self.directory = ROOT / f"{PREFIX}{name}"
        self.hooks = self.directory / "hooks"
        self.cluster = Cluster(self.directory / "pg")
        self.ledgers = {ledger: self.cluster.dsn(_database(ledger)) for ledger in self._topology.ledgers}
        self.clients = [ClientPlace(self._netns("c1"), CLIENT)]
        self.hosts = [self._hosts(station) for station in self._topology.stations if station.hosts]
        self._edges, self._ha, self._lease_time = edges, HaMode(ha), lease_time
        self._parameters, self._kea = dict(parameters or {}), dict(kea or {})
        self._of_servers = {server: dict(given) for server, given in (servers or {}).items()}
        self._severities = {**SEVERITIES, **(severities or {})}
        self.servers = {station.name: self._server(station) for station in self._topology.stations}
        self._owner = Process.of(os.getpid()) if owned else None
        self._made = None if made is None else made / "-".join(self.ledgers)
        self._processes: dict[str, Process] = {}
        self._namespaces: list[str] = []

    # -- as a whole

    def up(self) -> Self:
        """Bring everything up and wait until each server serves.

        On any failure nothing is left, and `LabError` says why.
        """
        if os.geteuid():
            raise LabError("a lab makes network namespaces: run it as root")
        try:
            self.directory.mkdir(mode=0o755)
        except FileExistsError:
            raise LabError(f"there is a lab in {self.directory}: `ci/lab down --name {self.name}` ends it") from None
        try:
            self._build()
        except BaseException as error:
            self.down()
            if isinstance(error, (RuntimeError, OSError)):
                raise LabError(str(error)) from error
            raise
        return self

    def down(self) -> list[str]:
        """End exactly what was started, servers first, and remove the directory.

        Returns what did not end in good order: a process that had ended before, or crashed, or had to be killed.
        """
        with interruption.put_off():
            names = sorted(self._processes, key=lambda name: name not in self.servers)
            problems = [problem for name in names if (problem := self._end(name, self._processes.pop(name)))]
            for netns in self._namespaces:
                network.delete(netns)
            self._namespaces.clear()
            shutil.rmtree(self.directory, ignore_errors=True)
        return problems

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        problems = self.down()
        if problems and error is None:
            raise LabError("; ".join(problems))

    @classmethod
    def load(cls, name: str) -> Self:
        """The lab of that name, whoever brought it up. Raises `LabError` where there is none."""
        path = ROOT / f"{PREFIX}{name}" / "lab.json"
        try:
            if {path.stat().st_uid, path.parent.stat().st_uid} != {os.geteuid()}:  # anybody can write to /tmp
                raise LabError(f"no lab {name!r} of ours: {path} is somebody else's")
            state = json.loads(path.read_text())
        except FileNotFoundError:
            raise LabError(f"no lab {name!r}: there is no {path}") from None
        pools = [IPv4Network(pool) for pool in state["pools"]]
        lab = cls(state["topology"], name=name, pools=pools, owned=False, **state["options"])
        lab._owner = Process(*state["owner"]) if state["owner"] else None
        lab._processes = {key: Process(*value) for key, value in state["processes"].items()}
        lab._namespaces = state["namespaces"]
        return lab

    @staticmethod
    def exists(name: str) -> bool:
        """Whether there is a lab of that name to `load`."""
        return (ROOT / f"{PREFIX}{name}" / "lab.json").exists()

    @classmethod
    def sweep(cls) -> None:
        """End the labs whose owning process died without ending them."""
        for path in ROOT.glob(f"{PREFIX}*/lab.json"):
            with contextlib.suppress(LabError):  # ended by its own process meanwhile
                lab = cls.load(path.parent.name.removeprefix(PREFIX))
                if lab._owner is not None and not lab._owner.alive:
                    lab.down()

    def describe(self) -> dict[str, object]:
        """The lab as `ci/lab up` prints it."""
        return {
            "topology": self.topology,
            "lab": str(self.directory),
            "ledgers": self.ledgers,
            "servers": [server.describe(self._processes.get(name)) for name, server in self.servers.items()],
            "clients": [
                {"netns": place.netns, "interface": place.interface, "address": str(place.address)}
                for place in self.clients
            ],
            "hosts": [
                {
                    "netns": place.netns,
                    "interface": place.interface,
                    "address": str(place.address),
                    "server": place.server,
                    "server_address": str(place.server_address),
                }
                for place in self.hosts
            ],
        }

    # -- one server

    def start(self, name: str, wait: bool = True) -> Process:
        """Start the server `name` (again), and by default wait until it serves."""
        server = self.servers[name]
        process = self._started(name, server.start(self.hooks))
        if wait:
            server.wait(process)
        return process

    def stop(self, name: str) -> None:
        """End the server `name` in good order. Raises `LabError` where it does not end so."""
        problem = self._end(name, self._processes[name])
        self._ended(name)
        if problem:
            raise LabError(problem)

    def kill(self, name: str) -> None:
        """End the server `name`, or the cluster (`main`), as a power cut would: the whole of it with SIGKILL."""
        self._processes[name].destroy()
        self._ended(name)

    def is_up(self, name: str) -> bool:
        """Whether the server `name` runs."""
        return name in self._processes and self._processes[name].alive

    def process(self, name: str) -> Process:
        """The process of a server, or of the cluster (`main`). Raises `KeyError` where it has been ended."""
        return self._processes[name]

    def start_ledger(self, wait: bool = True) -> Process:
        """Start the cluster (again)."""
        process = self._started(CLUSTER, self.cluster.start())
        if wait:
            self.cluster.wait(process)
        return process

    def stop_ledger(self) -> None:
        """End the cluster in good order; servers see their connections close."""
        self.cluster.stop(self._processes[CLUSTER])
        self._ended(CLUSTER)

    # -- the ledgers: each method's default is the first, which has the pools

    def sql(self, *statements: str, ledger: str | None = None) -> str:
        """Run SQL in a ledger as the superuser and return psql's bare output."""
        return self.cluster.execute(_database(ledger or self._first), *statements)

    @property
    def ledger_is_up(self) -> bool:
        """Whether the cluster runs."""
        return CLUSTER in self._processes and self._processes[CLUSTER].alive

    def logs(self) -> list[Path]:
        """The log of the cluster, and the logs and early output of the servers."""
        servers = self.servers.values()
        return [self.cluster.log, *(path for server in servers for path in (server.console, server.log))]

    def violations(self) -> list[str]:
        """What `ledger_check()` finds wrong in any ledger: a line per violated invariant."""
        check = "select * from deleg.ledger_check()"
        return [f"{ledger}: {line}" for ledger in self.ledgers for line in self.sql(check, ledger=ledger).splitlines()]

    def cli(self, *arguments: str, ledger: str | None = None) -> str:
        """Run `kea-subnet-deleg` on a ledger as its owner and return what it prints."""
        environment = {"KEA_SUBNET_DELEG_DSN": self.ledgers[ledger or self._first]}
        return run(str(COMMAND), *arguments, environment=environment)

    @property
    def _first(self) -> str:
        return next(iter(self.ledgers))

    # -- the parts

    def _build(self) -> None:
        self._save()
        hook_directory(self.hooks)
        copied = self._made if self._made is not None and self._made.exists() else None
        self.cluster.create(copied)
        cluster = self.start_ledger(wait=False)
        self._connect()
        for server in self.servers.values():
            server.prepare(self.hooks)
        self.cluster.wait(cluster)
        if copied is None:
            self._make_ledgers()
        self._add_pools()
        started = [(server, self.start(name, wait=False)) for name, server in self.servers.items()]
        for server, process in started:
            server.wait(process)
        interruption.check()

    def _connect(self) -> None:
        for number, plugs in enumerate(self._links()):
            switch = self._netns(f"br{number or ''}") if len(plugs) > 2 else None
            for netns in [*(plug.netns for plug in plugs), *([switch] if switch else [])]:
                if netns not in self._namespaces:
                    self._namespaces.append(netns)
                    self._save()
                    network.add(netns)
            network.link(plugs, switch)

    def _links(self) -> list[list[network.Plug]]:
        """Who is on which link: the backbone first, then those with hosts."""
        backbone = [network.Plug(s.netns, _interface(s.address, BACKBONE)) for s in self.servers.values()]
        backbone += [network.Plug(place.netns, _interface(place.address, BACKBONE)) for place in self.clients]
        links: dict[str, list[network.Plug]] = {}
        for place in self.hosts:
            subnet = next(subnet for subnet in HOSTS_LINKS if place.address in subnet)
            plugs = links.setdefault(place.netns, [network.Plug(place.netns, _interface(place.address, subnet))])
            address = _interface(place.server_address, subnet)
            plugs.append(network.Plug(self.servers[place.server].netns, address, network.HOSTS_INTERFACE))
        return [backbone, *links.values()]

    def _make_ledgers(self) -> None:
        for ledger in self.ledgers:
            self.cluster.execute("postgres", f"create database {_database(ledger)}")
            self.cli("ledger", "init", ledger=ledger)
        if self._made is not None:
            self.stop_ledger()
            self.cluster.keep(self._made)
            self.start_ledger()

    def _add_pools(self) -> None:
        for pool in self.pools:
            self.cli("pool", "add", str(pool))

    def _server(self, station: Station) -> Server:
        return Server(
            name=station.name,
            netns=self._netns(station.name),
            address=self._topology.address(station.name),
            ledger=station.ledger,
            directory=self.directory / station.name,
            serves=self._serves(station),
            parameters={
                "dsn": self.cluster.dsn(_database(station.ledger), "kea_deleg_hook"),
                **self._part(station),
                **self._parameters,
                **self._of_servers.get(station.name, {}),
            },
            companions=self._topology.companions(station),
            overrides=self._kea,
            severities=self._severities,
        )

    def _serves(self, station: Station) -> dict[str, Any]:
        given = self._topology.dhcp4(station)
        return given if self._lease_time is None else merge(given, quick.dhcp4(self._lease_time))

    def _part(self, station: Station) -> dict[str, Any]:
        """The hook's parameters for a station's part in the topology."""
        given = self._topology.parameters(station)
        if self._lease_time is None:
            return given
        if "networks" in given:
            given["networks"] = [{**one, **quick.network(self._lease_time)} for one in given["networks"]]
        return {**given, **quick.parameters(station, self._lease_time)}

    def _hosts(self, station: Station) -> HostsPlace:
        address = self._topology.hosts_address(station)
        return HostsPlace(self._netns(f"h{station.hosts}"), relay(station), server=station.name, server_address=address)

    def _netns(self, part: str) -> str:
        return f"{PREFIX}{self.name}-{part}"

    def _started(self, name: str, process: Process) -> Process:
        self._processes[name] = process
        self._save()
        return process

    def _end(self, name: str, process: Process) -> str:
        """End a process in good order; return what was not in order about it, or nothing."""
        if name == CLUSTER:
            worked, expected = self.cluster.discard(process), signal.SIGQUIT
        else:
            worked, expected = process.end(signal.SIGTERM), signal.SIGTERM
        if worked is None:
            return f"{name} of lab {self.name} had ended by itself, exit code {process.exit_code}"
        if worked != expected or process.exit_code:
            return f"{name} of lab {self.name} ended by {worked.name} only, exit code {process.exit_code}"
        return ""

    def _ended(self, name: str) -> None:
        del self._processes[name]
        self._save()

    def _save(self) -> None:
        """Record what has been made so far, whole or not at all."""

        def plain(process: Process) -> list[int]:
            return [process.pid, process.started]

        state: dict[str, Any] = {
            "topology": self.topology,
            "pools": [str(pool) for pool in self.pools],
            "options": {
                "edges": self._edges,
                "ha": self._ha,
                "lease_time": self._lease_time,
                "parameters": self._parameters,
                "servers": self._of_servers,
                "kea": self._kea,
                "severities": self._severities,
            },
            "owner": plain(self._owner) if self._owner else None,
            "processes": {name: plain(process) for name, process in self._processes.items()},
            "namespaces": self._namespaces,
        }
        fresh = self.directory / "lab.json.new"
        fresh.write_text(json.dumps(state, indent=2) + "\n")
        fresh.rename(self.directory / "lab.json")


def _database(ledger: str) -> str:
    return DATABASE if ledger == "main" else f"{DATABASE}_{ledger}"


def _interface(address: IPv4Address, subnet: IPv4Network) -> IPv4Interface:
    return IPv4Interface(f"{address}/{subnet.prefixlen}")
