# SPDX-License-Identifier: MPL-2.0
"""Many clients at once, and what their ACKs mean to the ledger."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType
from typing import Self

from tests.client.codec import Type, insist
from tests.client.rfc6656 import Client, Identity, Patience, Reply, Silence
from tests.kea.site import Site
from tests.kea.waiting import wait_until

HASTY = Patience(0.4, 3)  # 2.8 seconds for each message, then a client begins anew
LONGEST = 60.0  # seconds in which every client has to be served, whatever fails meanwhile


@dataclass(frozen=True, slots=True)
class Holding:
    """What a client was acknowledged: by which server, and who it is."""

    identity: Identity
    server: IPv4Address
    networks: tuple[IPv4Network, ...]


def acquire(client: Client, server: IPv4Address, length: int) -> Holding:
    """Hear every server's OFFER, take that of `server`, and return what it acknowledges. Raises `Violation`."""
    offers = {offer.server: offer for offer in client.discover(length)}
    if server not in offers:
        raise Silence(f"no OFFER from {server} for a /{length}, only from {list(offers)}")
    reply = client.request(offers[server])
    if reply is None:
        raise Silence(f"no ACK from {server} for {offers[server].allocation}")
    insist(reply.type is Type.ACK, "RFC 6656 4.4", f"{reply.type.name} for {offers[server].allocation}")
    return _holding(client, reply)


def _holding(client: Client, reply: Reply) -> Holding:
    return Holding(client.identity, reply.server, tuple(block.network for block in reply.blocks))


def at_once(site: Site, lengths: Sequence[int]) -> list[Holding]:
    """As many clients as there are `lengths`, all starting at one moment, each taking the next server's offer."""
    ready = threading.Barrier(len(lengths))
    servers = itertools.cycle(site.servers)

    def one(length: int, server: IPv4Address) -> Holding:
        ready.wait()
        return acquire(site.client(), server, length)

    with ThreadPoolExecutor(len(lengths)) as pool:
        futures = [pool.submit(one, length, next(servers)) for length in lengths]
        return [future.result() for future in futures]


def overlaps(networks: Iterable[IPv4Network]) -> list[tuple[IPv4Network, IPv4Network]]:
    """Neighbours in address order that overlap: none where no two of all do."""
    return [(one, other) for one, other in itertools.pairwise(sorted(networks)) if one.overlaps(other)]


def leased(site: Site) -> dict[IPv4Network, bytes]:
    """Who holds what, as the ledger has it."""
    rows = site.lab.sql(
        "select prefix, encode(identity, 'hex') from deleg.blocks join deleg.lessees using (lessee) "
        "where state in ('leased', 'reserved')"
    )
    pairs = (line.split("|") for line in rows.splitlines())
    return {IPv4Network(prefix): bytes.fromhex(identity) for prefix, identity in pairs}


def unrecorded(site: Site, holdings: Iterable[Holding]) -> list[str]:
    """What was acknowledged but is not in the ledger (I6)."""
    ledger = leased(site)
    return [
        f"{network} of {holding.identity.identifier!r} from {holding.server}"
        for holding in holdings
        for network in holding.networks
        if ledger.get(network) != holding.identity.identifier
    ]


class Load:
    """Clients that acquire without pause, one after the other in each of `threads` threads, while the context lasts.

    Each is a new one, and each has to be served in the end. `acknowledged` is what they were told, `failures` why one was not.
    With `give_back` each returns its subnet, for a load without end.
    """

    def __init__(self, site: Site, threads: int = 4, length: int = 28, give_back: bool = False) -> None:
        self.site, self.length, self.give_back = site, length, give_back
        self.acknowledged: list[Holding] = []
        self.failures: list[Exception] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), name=f"load {n}") for n in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int, seconds: float = LONGEST) -> None:
        """Wait until `count` more have been served. Raises `AssertionError` where one can't be, or time is over."""
        wanted = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= wanted or self.failures, seconds)
        assert not self.failures, self.failures

    def _run(self, number: int) -> None:
        servers = self.site.servers
        first = number % len(servers)  # the one that hears this thread's clients first, and mostly answers first
        while not self._stop.is_set():
            client = Client(self.site.endpoint, Identity.fresh(), servers[first:] + servers[:first], HASTY)
            try:
                reply = persist(client, self.length)
            except Exception as error:  # the test looks into `failures`
                self.failures.append(error)
                return
            self.acknowledged.append(_holding(client, reply))
            if self.give_back:
                client.release(reply.server, *(block.bare() for block in reply.blocks))


def persist(client: Client, length: int, seconds: float = LONGEST) -> Reply:
    """Acquire one subnet, beginning anew where a server has gone or forgotten, as a client does (RFC 2131 3.1.5)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        offers = client.discover(length, want=1)
        reply = client.request(offers[0]) if offers else None
        if reply is not None and reply.type is Type.ACK:
            return reply
    raise Silence(f"{client.identity.identifier!r} was not served within {seconds} s")
