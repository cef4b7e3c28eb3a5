# SPDX-License-Identifier: MPL-2.0
"""Servers of ordinary DHCP on one link: with our hook, without any, with one that calls Python for each packet, again without any."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

from ci.labs import ClientPlace, Lab
from ci.labs.process import run
from ci.labs.server import Server
from ci.labs.topology import CLIENT

from bench.rig import READY, WARN

HOOK, PLAIN, PYTHON, AGAIN = "hook", "none", "python", "none again"
SIDES: Final = (HOOK, PLAIN, PYTHON, AGAIN)
POOL: Final = IPv4Network("10.0.0.0/8")
NETWORK: Final = "ordinary"
PREFIX_LENGTH: Final = 16  # of its one block: more addresses than clients come, so that it need not grow
RELAYS: Final = (CLIENT, CLIENT + 1)
TERMS: Final = {"name": NETWORK, "prefix-length": PREFIX_LENGTH, "min-blocks": 1}
# Leases in memory alone: what is measured is the server, not the disk.
MEMFILE: Final = {"type": "memfile", "persist": False}
SOURCE: Final = Path(__file__).with_name("python_hook")
BUILD: Final = Path(__file__).parents[1] / "build" / "bench-python-hook"
LIBRARY: Final = "libdhcp_bench_python.so"


class Alike(Lab):
    """Some of them, with our hook at least, of which none runs yet.

    The network that the one with our hook manages has one block; the others have it in their configuration.
    """

    def __init__(self, sides: Sequence[str] = SIDES) -> None:
        self.sides = tuple(sides)
        self._turn = 0
        self._subnets: list[dict[str, Any]] = []
        kea = {"lease-database": MEMFILE, "shared-networks": [_network([])]}
        name = f"bench-{os.getpid()}"
        parameters = {"networks": [TERMS]}
        super().__init__("four", name=name, pools=[POOL], parameters=parameters, kea=kea, severities=WARN)
        self._all_alike = dict(self.servers)
        # Two of the servers can be loaded at once, each by hosts behind a relay of its own.
        self.clients.append(ClientPlace(self._netns("c2"), RELAYS[1]))

    def up(self) -> Alike:
        """As a lab; then the network has its block, and the servers are stopped."""
        library = built() if PYTHON in self.sides else None
        super().up()
        try:
            self._subnets = self._managed()
            for name in self.servers:
                self.stop(name)
            if library:
                (self.hooks / LIBRARY).symlink_to(library)
        except BaseException:
            self.down()
            raise
        return self

    def at(self, side: str) -> Server:
        """The server that is this one now."""
        return self.servers[self._place(side)]

    def pid(self, side: str) -> int:
        """Its process."""
        return self.process(self._place(side)).pid

    def restart(self, threads: int, turn: int) -> None:
        """Start all anew, with so many threads for packets; 0: multi-threading off.

        In each turn each is in another's place: namespace, address, order of start. Servers that are alike in all else differ by some
        percent.
        """
        for side in self.sides:
            if self.is_up(self._place(side)):
                self.stop(self._place(side))
        self._turn = turn
        multi = {"enable-multi-threading": threads > 0} | (
            {"thread-pool-size": threads, "packet-queue-size": 64} if threads else {}
        )
        for side in self.sides:
            place = self._place(side)
            own: dict[str, Any] = {}
            if side != HOOK:
                own = {"shared-networks": [_network(self._subnets)], "hooks-libraries": self._libraries(side)}
            overrides = {**self._all_alike[place].overrides, **own, "multi-threading": multi}
            server = self.servers[place] = replace(self._all_alike[place], overrides=overrides)
            server.write(server.configuration(self.hooks))
        for name in sorted(map(self._place, self.sides)):
            self.start(name)
        self._managed()

    def check(self) -> None:
        """Raise RuntimeError where the hook that calls Python has failed."""
        said = self.at(PYTHON).console.read_text()
        if "Error" in said:  # PyErr_Print
            raise RuntimeError(f"the hook that calls Python failed: {said[-500:]}")

    def _place(self, side: str) -> str:
        return list(self.servers)[(self.sides.index(side) + self._turn) % len(self.sides)]

    def _libraries(self, side: str) -> list[dict[str, Any]]:
        if side != PYTHON:
            return []
        code = (SOURCE / "look.py").read_text()
        return [{"library": str(self.hooks / LIBRARY), "parameters": {"code": code}}]

    def _managed(self) -> list[dict[str, Any]]:
        """The subnets of the network that the first one manages, when there is one."""
        deadline = time.monotonic() + READY
        while True:
            (shared,) = self.at(HOOK).command("config-get")["Dhcp4"]["shared-networks"]
            if shared["subnet4"]:
                keys = (
                    "id",
                    "subnet",
                    "pools",
                    "option-data",
                    "valid-lifetime",
                    "min-valid-lifetime",
                    "max-valid-lifetime",
                )
                return [{key: subnet[key] for key in keys if key in subnet} for subnet in shared["subnet4"]]
            if time.monotonic() > deadline:
                raise RuntimeError("the network that the hook manages has no block")
            time.sleep(0.1)


def _network(subnets: list[dict[str, Any]]) -> dict[str, Any]:
    """The shared network of all of them. Its hosts are told apart from others by their relays."""
    return {"name": NETWORK, "relay": {"ip-addresses": [str(relay) for relay in RELAYS]}, "subnet4": subnets}


def built() -> Path:
    """Build the hook that calls Python, where it has changed; return the library. Raises RuntimeError with the compiler's words."""
    generator = () if (BUILD / "CMakeCache.txt").exists() else ("-G", "Ninja")
    run("cmake", "-S", str(SOURCE), "-B", str(BUILD), *generator, "-DCMAKE_MESSAGE_LOG_LEVEL=WARNING")
    run("cmake", "--build", str(BUILD))
    return BUILD / LIBRARY
