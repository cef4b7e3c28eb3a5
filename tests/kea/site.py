# SPDX-License-Identifier: MPL-2.0
"""A lab as a test sees it: clients to make, servers to ask, logs to read."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from ci.labs import Lab
from tests.client.endpoint import Endpoint
from tests.client.rfc6656 import NORMAL, Client, Identity, Patience


@dataclass(frozen=True, slots=True)
class Site:
    """A lab that is up, and the endpoint in its client's namespace that acts as a relay."""

    lab: Lab
    endpoint: Endpoint

    @property
    def servers(self) -> list[IPv4Address]:
        return [server.address for server in self.lab.servers.values()]

    def client(
        self, identity: Identity | None = None, patience: Patience = NORMAL, endpoint: Endpoint | None = None
    ) -> Client:
        """A client that asks every server; without an identity one that no server has heard of."""
        return Client(endpoint or self.endpoint, identity or Identity.fresh(), self.servers, patience)

    def direct(self) -> Endpoint:
        """Another endpoint at the same place: a host with an address, port 68. The caller closes it."""
        place = self.lab.clients[0]
        return Endpoint.direct(place.netns, place.interface, place.address)

    def unnumbered(self) -> Endpoint:
        """Another endpoint at the same place: a host without an address. The caller closes it."""
        place = self.lab.clients[0]
        return Endpoint.unnumbered(place.netns, place.interface)

    def command(self, name: str, arguments: Mapping[str, object] | None = None, server: str = "s1") -> Any:
        """A control command's answer from one server."""
        return self.lab.servers[server].command(name, arguments)

    def counters(self, server: str = "s1") -> dict[str, int]:
        """The hook's counters in one server."""
        return self.lab.servers[server].counters()

    def log(self, server: str = "s1") -> Log:
        """One server's log from now on."""
        return Log(self.lab.servers[server].log)


class Log:
    """A log file, read from where it ended when this was made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = path.stat().st_size

    def lines(self, pattern: str = "") -> list[str]:
        """The new lines in which the regular expression `pattern` is found."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            text = file.read().decode(errors="replace")
        return [line for line in text.splitlines() if re.search(pattern, line)]

    def wait(self, pattern: str, seconds: float = 10.0) -> str:
        """Wait for a new line in which `pattern` is found and return it. Raises `AssertionError` where none comes."""
        deadline = time.monotonic() + seconds
        while not (found := self.lines(pattern)):
            assert time.monotonic() < deadline, f"no line like {pattern!r} in {self.path} within {seconds} s"
            time.sleep(0.05)
        return found[0]
