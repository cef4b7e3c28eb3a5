# SPDX-License-Identifier: MPL-2.0
"""A lab: cluster, servers and clients of one topology, what was started for it, and how it is ended.

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
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ci.labs import network
from ci.labs.cluster import Cluster
from ci.labs.process import Process, run
from ci.labs.server import Server, hook_directory

ROOT = Path("/tmp")
PREFIX = "ksd-"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
LEDGER, DATABASE = "main", "deleg"
DEFAULT_POOLS = (IPv4Network("10.64.0.0/10"),)
LINK = IPv4Network("198.51.100.0/24")  # TEST-NET-2 (RFC 5737); each lab is an internet of its own
CLIENT = LINK[100]
HOSTS = 32  # ordinary addresses that each server serves
SEVERITIES = {"kea-dhcp4": "INFO", "kea-dhcp4.subnet-deleg-hooks": "INFO"}

TOPOLOGIES = {"single": 1, "shared": 2}  # number of servers; all of them share one ledger and one link with the client


class LabError(RuntimeError):
    """A lab cannot be brought up, or there is none of that name; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class ClientPlace:
    """Where a client can be run: a namespace, its interface and its address, from which every server is reached."""

    netns: str
    address: IPv4Address
    interface: str = network.INTERFACE


class Lab:
    """A lab of `topology` under `name`.

    `up` (or entering it) brings it up, `down` (or leaving it) ends what it started.

    `pools` are added to the ledger, `parameters` are the hook's (its dsn is set), `kea` is merged into "Dhcp4",
    `severities` are of loggers.
    An `owned` lab belongs to this process: where this process dies, the next `sweep` ends it.
    """

    def __init__(
        self,
        topology: str,
        *,
        name: str = "lab",
        pools: Sequence[IPv4Network] = DEFAULT_POOLS,
        parameters: Mapping[str, object] | None = None,
        kea: Mapping[str, object] | None = None,
        severities: Mapping[str, str] | None = None,
        owned: bool = True,
    ) -> None:
        if topology not in TOPOLOGIES:
            raise LabError(f"no topology {topology!r}: there are {', '.join(TOPOLOGIES)}")
        if not NAME.fullmatch(name):
            raise LabError(f"lab name {name!r}: give 1 to 24 lower-case letters, digits and hyphens")
        self.topology, self.name, self.pools = topology, name, tuple(pools)
        self.directory = ROOT / f"{PREFIX}{name}"
        self.hooks = self.directory / "hooks"
        self.cluster = Cluster(self.directory / "pg")
        self.ledgers = {LEDGER: self.cluster.dsn(DATABASE)}
        self.clients = [ClientPlace(self._netns("c1"), CLIENT)]
        self._parameters, self._kea = dict(parameters or {}), dict(kea or {})
        self._severities = {**SEVERITIES, **(severities or {})}
        self.servers = {server.name: server for server in map(self._server, range(TOPOLOGIES[topology]))}
        self._owner = Process.of(os.getpid()) if owned else None
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
        with _undisturbed():
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

    def process(self, name: str) -> Process:
        """The process of a server, or of the cluster (`main`). Raises `KeyError` where it has been ended."""
        return self._processes[name]

    def start_ledger(self, wait: bool = True) -> Process:
        """Start the cluster (again)."""
        process = self._started(LEDGER, self.cluster.start())
        if wait:
            self.cluster.wait(process)
        return process

    def stop_ledger(self) -> None:
        """End the cluster in good order; servers see their connections close."""
        self.cluster.stop(self._processes[LEDGER])
        self._ended(LEDGER)

    # -- the ledger

    def sql(self, *statements: str) -> str:
        """Run SQL in the ledger as the superuser and return psql's bare output."""
        return self.cluster.execute(DATABASE, *statements)

    @property
    def ledger_is_up(self) -> bool:
        """Whether the cluster runs."""
        return LEDGER in self._processes and self._processes[LEDGER].alive

    def logs(self) -> list[Path]:
        """The log of the cluster, and the logs and early output of the servers."""
        servers = self.servers.values()
        return [self.cluster.log, *(path for server in servers for path in (server.console, server.log))]

    def violations(self) -> list[str]:
        """What `ledger_check()` finds wrong: a line per violated invariant."""
        return self.sql("select * from deleg.ledger_check()").splitlines()

    def cli(self, *arguments: str) -> str:
        """Run `kea-subnet-deleg` on this lab's ledger as its owner and return what it prints."""
        return run(*_command(), *arguments, environment={"KEA_SUBNET_DELEG_DSN": self.ledgers[LEDGER]})

    # -- the parts

    def _build(self) -> None:
        self._save()
        hook_directory(self.hooks, [*_command(), "hook", "path"])
        self.cluster.create()
        cluster = self.start_ledger(wait=False)
        self._connect()
        for server in self.servers.values():
            server.prepare(self.hooks)
        self.cluster.wait(cluster)
        self._fill_ledger()
        started = [(server, self.start(name, wait=False)) for name, server in self.servers.items()]
        for server, process in started:
            server.wait(process)

    def _connect(self) -> None:
        stations = [IPv4Interface(f"{s.address}/{LINK.prefixlen}") for s in self.servers.values()]
        places = dict(zip([s.netns for s in self.servers.values()], stations, strict=True))
        places |= {place.netns: IPv4Interface(f"{place.address}/{LINK.prefixlen}") for place in self.clients}
        switch = self._netns("br")
        for netns in [*places, *([switch] if len(places) > 2 else [])]:
            self._namespaces.append(netns)
            self._save()
            network.add(netns)
        if len(places) > 2:
            network.bridge(switch, *places)
        else:
            network.cable(*places)
        for netns, value in places.items():
            network.address(netns, value)

    def _fill_ledger(self) -> None:
        self.cluster.execute("postgres", f"create database {DATABASE}")
        self.cli("ledger", "init")
        for pool in self.pools:
            self.cli("pool", "add", str(pool))

    def _server(self, index: int) -> Server:
        name = f"s{index + 1}"
        first = LINK[128 + HOSTS * index]
        return Server(
            name=name,
            netns=self._netns(name),
            address=LINK[1 + index],
            ledger=LEDGER,
            directory=self.directory / name,
            link=LINK,
            pool=(first, first + HOSTS - 1),
            parameters={"dsn": self.cluster.dsn(DATABASE, "kea_deleg_hook"), **self._parameters},
            overrides=self._kea,
            severities=self._severities,
        )

    def _netns(self, part: str) -> str:
        return f"{PREFIX}{self.name}-{part}"

    def _started(self, name: str, process: Process) -> Process:
        self._processes[name] = process
        self._save()
        return process

    def _end(self, name: str, process: Process) -> str:
        """End a process in good order; return what was not in order about it, or nothing."""
        if name in self.servers:
            worked, expected = process.end(signal.SIGTERM), signal.SIGTERM
        else:
            worked, expected = self.cluster.stop(process), signal.SIGINT
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
            "options": {"parameters": self._parameters, "kea": self._kea, "severities": self._severities},
            "owner": plain(self._owner) if self._owner else None,
            "processes": {name: plain(process) for name, process in self._processes.items()},
            "namespaces": self._namespaces,
        }
        fresh = self.directory / "lab.json.new"
        fresh.write_text(json.dumps(state, indent=2) + "\n")
        fresh.rename(self.directory / "lab.json")


def _command() -> list[str]:
    return [str(Path(sys.prefix) / "bin" / "kea-subnet-deleg")]


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM from interrupting what must be finished.

    (Python handles signals in its main thread alone.)
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
