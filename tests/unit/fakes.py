# SPDX-License-Identifier: MPL-2.0
"""Stand-ins for Kea, and the packets it would hand over; the ledger has none."""

from __future__ import annotations

import math
import queue
import select
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from kea_subnet_deleg.policy import Limits, Policy, Thresholds
from kea_subnet_deleg.roles.admission import Admission, RateLimit
from kea_subnet_deleg.roles.authentication import AuthenticationKey, Authenticator
from kea_subnet_deleg.roles.deciding import Terms, Views
from kea_subnet_deleg.roles.delegating import Batches, Surroundings
from kea_subnet_deleg.roles.packets import Inbound, Outbound
from kea_subnet_deleg.roles.replies import Replies, Times
from kea_subnet_deleg.roles.shortages import Shortages
from kea_subnet_deleg.runtime.bridge import Severity
from kea_subnet_deleg.runtime.journal import KeaJournal
from kea_subnet_deleg.runtime.policies import make_policies
from tests.client.codec import Allocation, Code, Message, Type

SERVER = IPv4Address("10.0.0.1")
RELAY = IPv4Address("10.0.0.200")


def message(
    kind: Type,
    allocation: Allocation | bytes | None,
    *,
    client: int = 1,
    xid: int = 1,
    server: IPv4Address | None = None,
    extra: Sequence[tuple[int, bytes]] = (),
) -> Message:
    """Return a message of the client with this number, written by the tests' own codec."""
    options = list(extra)
    if server is not None:
        options.append((Code.SERVER_IDENTIFIER, server.packed))
    if allocation is not None:
        options.append((Code.SUBNET_ALLOCATION, allocation if isinstance(allocation, bytes) else allocation.encode()))
    return Message(kind, xid, b"\2" + client.to_bytes(5, "big"), giaddr=RELAY, hops=1, options=tuple(options))


def inbound(data: Message | bytes) -> Inbound:
    """Return the packet that Kea hands over when the relay sends a message to the server."""
    octets = data if isinstance(data, bytes) else data.encode()
    return Inbound(octets, 2, int(RELAY), 67, int(SERVER), 67, int(SERVER), time.monotonic())


@dataclass
class FakeKea:
    """Kea as the service sees it: what is put into `packets` comes in, None ends it; what it says and sends is kept."""

    packets: queue.SimpleQueue[list[Inbound] | None] = field(default_factory=queue.SimpleQueue)
    sent: list[Outbound] = field(default_factory=list)
    lines: list[tuple[Severity, str, str]] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    status: str = ""
    statuses: list[str] = field(default_factory=list)
    debug: bool = True
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    addresses: list[dict[str, Any]] = field(default_factory=list)
    silent: bool = False
    rests: list[tuple[float, int | None]] = field(default_factory=list)

    def receive(self, limit: int, timeout: float) -> list[Inbound] | None:  # noqa: ARG002  # as Kea has it
        try:
            packets = self.packets.get(timeout=min(timeout, 1.0))
        except queue.Empty:
            return []
        if packets is None:
            self.packets.put(None)  # for whoever else waits
        return packets

    def send(self, replies: Sequence[Outbound]) -> int:
        self.sent += replies
        return len(replies)

    def log(self, severity: Severity, identifier: str, text: str) -> None:
        self.lines.append((severity, identifier, text))

    def log_enabled(self, severity: Severity) -> bool:
        return self.debug or severity is not Severity.DEBUG

    def count(self, counter: str, n: int = 1) -> None:
        self.counters[counter] += n

    def register_messages(self, names: Mapping[str, str]) -> None:
        self.messages |= names

    def publish_status(self, json_text: str) -> None:
        self.status = json_text
        self.statuses.append(json_text)

    def ask(self, request: Mapping[str, Any], timeout: float = 5.0) -> dict[str, Any]:  # noqa: ARG002  # as Kea has it
        self.asked.append(request)
        match request["op"]:
            case "addresses":
                return {"addresses": self.addresses, "lease-database": "memfile"}
            case "usage":
                return {"subnets": {}, "unserved": {}, "parts": 1}
            case _:
                return {"added": [], "opened": [], "closed": [], "withdrawn": [], "failed": {}, "unknown-networks": []}

    def moved(self) -> int | None:
        return None

    def rest(self, descriptors: Sequence[int], timeout: float, tolerance: int | None = None) -> None:
        self.rests.append((timeout, tolerance))
        watched = select.poll()
        for descriptor in descriptors:
            watched.register(descriptor, select.POLLIN)
        watched.poll(math.ceil(timeout * 1000))

    def serving(self) -> bool:
        return not self.silent

    def logged(self, identifier: str) -> list[str]:
        return [text for _, name, text in self.lines if name == identifier]


LIMITS = Limits(24, 1, 30)


def terms(lease: int = 7200, limits: Limits = LIMITS, policy: str = "best-fit") -> Terms:
    """Return terms that leave the clients free."""
    return Terms(lease, 60, 0xFFFFFFFF, 30, 60, limits, policy)


def surroundings(
    ledger: Batches,
    views: Views,
    kea: FakeKea,
    own: dict[int, int],
    *,
    keys: Sequence[AuthenticationKey] = (),
    allow: Sequence[Admission] = (),
    rate: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    policies: Mapping[str, Policy] | None = None,
    shortages: Shortages | None = None,
    times: Times | None = None,
) -> Surroundings:
    """Return what the delegating role is handed, all of it real but Kea."""
    authenticator = Authenticator(keys, lambda: time.time_ns() // 1000)
    return Surroundings(
        ledger,
        make_policies(Thresholds()) if policies is None else policies,
        views,
        KeaJournal(kea),
        Replies(times or Times(), authenticator),
        authenticator,
        allow,
        RateLimit(rate, clock),
        Shortages() if shortages is None else shortages,
        own,
        clock,
    )
