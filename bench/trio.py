# SPDX-License-Identifier: MPL-2.0
"""Three servers of ordinary DHCP on one link: with our hook, without any, and with one that calls Python for each packet."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

from ci.labs import Lab
from ci.labs.process import run
from ci.labs.topology import CLIENT

from bench.rig import READY, WARN

HOOK, PLAIN, PYTHON = "s1", "s2", "s3"
SIDES: Final = (HOOK, PLAIN, PYTHON)
POOL: Final = IPv4Network("10.0.0.0/8")
NETWORK: Final = "ordinary"
PREFIX_LENGTH: Final = 16  # of its one block: more addresses than clients come, so that it need not grow
TERMS: Final = {"name": NETWORK, "prefix-length": PREFIX_LENGTH, "min-blocks": 1}
# Leases in memory alone: what is measured is the server, not the disk.
MEMFILE: Final = {"type": "memfile", "persist": False}
SOURCE: Final = Path(__file__).with_name("python_hook")
BUILD: Final = Path(__file__).parents[1] / "build" / "bench-python-hook"
LIBRARY: Final = "libdhcp_bench_python.so"


class Trio(Lab):
    """The three, all up. The network that the first one manages has one block; the others have it in their configuration.

    Without `python` there are but two.
    """

    def __init__(self, *, python: bool = True) -> None:
        self.sides = SIDES if python else SIDES[:2]
        parameters = {HOOK: {"networks": [TERMS]}}
        kea = {"lease-database": MEMFILE, "shared-networks": [_network([])]}
        name = f"bench-{os.getpid()}"
        super().__init__("four", name=name, pools=[POOL], servers=parameters, kea=kea, severities=WARN)

    def up(self) -> Trio:
        """As a lab, and then the other two with the subnet that the first one has, and with their own hooks."""
        library = built() if PYTHON in self.sides else None
        super().up()
        try:
            for name in set(self.servers) - set(self.sides):
                self.stop(name)
            subnets = {"shared-networks": [_network(self._managed())]}
            self._configure(PLAIN, {**subnets, "hooks-libraries": []})
            if library:
                (self.hooks / LIBRARY).symlink_to(library)
                code = (SOURCE / "look.py").read_text()
                hook = {"library": str(self.hooks / LIBRARY), "parameters": {"code": code}}
                self._configure(PYTHON, {**subnets, "hooks-libraries": [hook]})
        except BaseException:
            self.down()
            raise
        return self

    def restart(self, threads: int) -> None:
        """Start all anew, with so many threads for packets; 0: multi-threading off."""
        for name in self.sides:
            multi = {"enable-multi-threading": threads > 0} | (
                {"thread-pool-size": threads, "packet-queue-size": 64} if threads else {}
            )
            self._configure(name, {**self.servers[name].overrides, "multi-threading": multi})
            self.stop(name)
            self.start(name)
        self._managed()

    def check(self) -> None:
        """Raise RuntimeError where the hook that calls Python has failed."""
        said = self.servers[PYTHON].console.read_text()
        if "Error" in said:  # PyErr_Print
            raise RuntimeError(f"the hook that calls Python failed: {said[-500:]}")

    def _configure(self, name: str, overrides: Mapping[str, Any]) -> None:
        server = self.servers[name]
        server = self.servers[name] = replace(server, overrides={**server.overrides, **overrides})
        server.write(server.configuration(self.hooks))

    def _managed(self) -> list[dict[str, Any]]:
        """The subnets of the network that the first one manages, when there is one."""
        deadline = time.monotonic() + READY
        while True:
            (shared,) = self.servers[HOOK].command("config-get")["Dhcp4"]["shared-networks"]
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
    """The shared network of all three. Its hosts are told apart from others by their relay."""
    return {"name": NETWORK, "relay": {"ip-addresses": [str(CLIENT)]}, "subnet4": subnets}


def built() -> Path:
    """Build the hook that calls Python, where it has changed; return the library. Raises RuntimeError with the compiler's words."""
    generator = () if (BUILD / "CMakeCache.txt").exists() else ("-G", "Ninja")
    run("cmake", "-S", str(SOURCE), "-B", str(BUILD), *generator, "-DCMAKE_MESSAGE_LOG_LEVEL=WARNING")
    run("cmake", "--build", str(BUILD))
    return BUILD / LIBRARY
