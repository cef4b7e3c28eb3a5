# SPDX-License-Identifier: MPL-2.0
"""What the parts of the requesting role share: terms, ledger, journal, the ways to upstreams, and what is to be sent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import Final, Protocol

from kea_subnet_deleg.ledger.upstreams import Due, Kept, Leased
from kea_subnet_deleg.roles.authentication import Credentials
from kea_subnet_deleg.roles.packets import Outbound
from kea_subnet_deleg.roles.upstream import Path, Route, Speaker, Upstream
from kea_subnet_deleg.wire import (
    Authentication,
    AuthenticationKind,
    Message,
    SubnetBlock,
    UnusableAuthentication,
    renewals_that_fit,
)

SPACE: Final = 0
"""The address space that upstreams are asked for: the default one."""
INFINITE: Final = 0xFFFFFFFF
MEMORY: Final = 120.0
"""Seconds for which a message may be under way, and an answer to one is waited for."""
T1: Final = 0.6
T2: Final = 0.875
"""When a lease is renewed and rebound, where the server does not say (seed [0131]; RFC 2131 section 4.4.5): shares of its time."""
FUZZ: Final = 0.01
"""By how much of them T1 and T2 are sooner or later at random: who began together shall not go on asking at the same moment (there)."""


class Journal(Protocol):
    """Where the role says what it did. Identifiers and counters are those of runtime/messages.py and hook/counters.def."""

    def debug(self, identifier: str, text: str) -> None:
        """Log for whoever looks closely."""

    def info(self, identifier: str, text: str) -> None:
        """Log what an operator wants to find later."""

    def warn(self, identifier: str, text: str) -> None:
        """Log what an operator wants to know now."""

    def count(self, counter: str, n: int = 1) -> None:
        """Add to a counter."""


class UpstreamStore(Protocol):
    """What the role needs of the ledger. Each is one transaction and raises LedgerUnavailable where the ledger does not answer."""

    def identity(self) -> bytes:
        """Return the client identifier of this domain."""

    def claim(self, what: str, who: str, seconds: float) -> bool:
        """Whether nobody else of the domain does this for so long."""

    def unclaim(self, what: str, who: str) -> None:
        """End a claim."""

    def acknowledged(
        self,
        space: int,
        server: int,
        lease_time: int,
        t1: int,
        t2: int,
        blocks: Sequence[tuple[IPv4Network, bool]],
        nonce: bytes | None,
        *,
        renewal: bool = False,
        host_lease_time: int | None = None,
    ) -> list[Kept]:
        """Record what a server leased to us, or renewed; with each block its flag d. Times in seconds from now."""

    def refused(self, space: int, server: int, prefixes: Sequence[IPv4Network], quarantine: int) -> list[IPv4Network]:
        """Stop using blocks at once; return which were ours."""

    def due(self, limit: int) -> list[Due]:
        """Return what is to be renewed now."""

    def give_back(self, after: float, limit: int) -> list[Leased]:
        """Return what is to be released now."""

    def due_in(self, after: float) -> float:
        """Return for how many seconds the two above have nothing, as far as can be told; 0: they may have."""

    def released(self, space: int, prefix: IPv4Network) -> None:
        """Note that a block was released."""

    def listed(
        self, space: int, server: int, lease_time: int, blocks: Sequence[tuple[IPv4Network, bool]]
    ) -> list[Kept]:
        """Adopt what a server says we hold and the ledger does not know."""

    def renew_now(self, server: int, prefixes: Sequence[IPv4Network]) -> int:
        """Make the renewal of blocks due; return of how many."""

    def secret(self, server: int) -> tuple[bytes | None, int]:
        """Return the nonce agreed with a server, and the last replay counter it used."""

    def replayed(self, server: int, replay: int) -> bool:
        """Whether this counter is above all before; it is the last one then."""

    def leased(self) -> list[Leased]:
        """Return all that is leased from upstreams."""


@dataclass(frozen=True, slots=True)
class RequestingTerms:
    """How we ask. Times in seconds.

    `lease_time`: what is asked for, None for nothing; `offer_wait`: for further offers after the first; `quarantine`: how long a
    refused block rests; `release_after`: how long one is unused before it goes back; `request_length`: nothing smaller is asked for.
    """

    upstreams: tuple[Upstream, ...]
    lease_time: int | None
    offer_wait: float
    quarantine: int
    release_after: float
    request_length: int | None


class Station:
    """The requesting role's hands: what its parts have in common.

    `outbox` is what is to be sent. It outlives an exception: what is noted as sent in the ledger is sent, if later.
    """

    def __init__(
        self,
        terms: RequestingTerms,
        store: UpstreamStore,
        journal: Journal,
        paths: Callable[[Upstream], Path | None],
        clock: Callable[[], float],
        random: Random,
        who: str,
        replay: Callable[[], int],
    ) -> None:
        self.terms = terms
        self.store = store
        self.journal = journal
        self.random = random
        self.who = who
        self.outbox: list[Outbound] = []
        keys = {upstream.address: upstream.key for upstream in terms.upstreams}
        known = {server: key for server, key in keys.items() if server is not None and key is not None}
        self.credentials = Credentials(known, replay, only=bool(known) and all(keys.values()))
        self._clock = clock
        self._paths = paths
        self._released: dict[IPv4Network, float] = {}
        self._speaker: Speaker | None = None

    @property
    def speaker(self) -> Speaker:
        """Who we are; asked of the ledger once."""
        if self._speaker is None:
            self._speaker = Speaker.of(self.store.identity(), self.terms.lease_time, self.credentials)
        return self._speaker

    @property
    def blocks_per_message(self) -> int:
        """Blocks that a renewal or release has at most."""
        return renewals_that_fit(self.speaker.requester, authenticated=bool(self.credentials))

    def new_xid(self) -> int:
        """Return an xid for a new request."""
        return self.random.getrandbits(32)

    def routes(self) -> list[Route]:
        """Return the ways to all upstreams that can be reached now, one for each destination."""
        found: dict[Path, Route] = {}
        for upstream in self.terms.upstreams:
            path = self._path(upstream)
            if path is not None and path not in found:
                found[path] = Route(path, upstream.preference)
        return list(found.values())

    def route_to(self, server: int) -> Route | None:
        """Return the way to a server by its address, be it among the upstreams or not."""
        path = self._path(Upstream(server))
        return None if path is None else Route(path)

    def _path(self, upstream: Upstream) -> Path | None:
        path = self._paths(upstream)
        return None if path is None or path.source == path.destination else path  # not ourselves

    def send(self, messages: Iterable[Outbound]) -> None:
        """Have messages sent."""
        before = len(self.outbox)
        self.outbox += messages
        if len(self.outbox) > before:
            self.journal.count("requests-sent", len(self.outbox) - before)

    def keep(
        self,
        space: int,
        message: Message,
        lease_time: int,
        elapsed: float,
        blocks: Sequence[tuple[IPv4Network, bool]],
        *,
        suggested: int | None,
        renewal: bool = False,
    ) -> list[Kept]:
        """Record what an ACK leases, with each block its flag d, and give back at once what can't be kept.

        `elapsed`: seconds since our REQUEST was first sent, from where the lease is counted (RFC 2131 section 4.4.1). `suggested`: its
        Suggested-Lease-Time (RFC 6656 section 3.4); nobody can lease for 0 seconds, which is as none.
        """
        server = message.server_identifier or 0
        fuzz = 1 + self.random.uniform(-FUZZ, FUZZ)
        times = lease_times(lease_time, message.renewal_time, message.rebinding_time, int(elapsed), fuzz)
        kept = self.store.acknowledged(
            space, server, *times, blocks, _nonce(message), renewal=renewal, host_lease_time=suggested or None
        )
        self.return_overlaps(server, kept)
        return kept

    def return_overlaps(self, server: int, kept: Iterable[Kept]) -> None:
        """Give back what the ledger refuses: it overlaps our space, or no host can have it.

        Not what is in use under another server's name.
        """
        overlaps = [one.prefix for one in kept if one.result == "overlaps"]
        if not overlaps:
            return
        held = {lease.prefix for lease in self.store.leased()}
        returned = [prefix for prefix in overlaps if prefix not in held]
        for prefix in returned:
            text = f"{prefix} from {address(server)} goes back: it overlaps space that we have, or no host can have it"
            self.journal.warn("SUBNET_DELEG_OVERLAP", text)
        self.release(server, returned)

    def release(self, server: int, prefixes: Sequence[IPv4Network]) -> bool:
        """Tell a server that we need blocks of it no longer; whether it can be reached (RFC 6656 section 5.3)."""
        route = self.route_to(server)
        if route is None:
            return False
        most = self.blocks_per_message
        for start in range(0, len(prefixes), most):
            blocks = [SubnetBlock.of(prefix, hierarchical=True) for prefix in prefixes[start : start + most]]
            self.send([self.speaker.release(route.path, self.new_xid(), server, blocks)])
        now = self._clock()
        self._released = {prefix: when for prefix, when in self._released.items() if when >= now - MEMORY}
        self._released.update(dict.fromkeys(prefixes, now))
        return True

    def asked_again(self, prefixes: Iterable[IPv4Network], since: float) -> None:
        """Note that blocks were asked for since a moment. If they went back before it, a list that has them may be of after it."""
        for prefix in prefixes:
            if not self.was_released(prefix, since):
                self._released.pop(prefix, None)

    def was_released(self, prefix: IPv4Network, since: float) -> bool:
        """Whether a block was given back since `since`, or in that second: what a server says of it may be older."""
        return self._released.get(prefix, -math.inf) >= since


def lease_times(lease: int, t1: int | None, t2: int | None, elapsed: int, fuzz: float = 1.0) -> tuple[int, int, int]:
    """Return lease time, T1 and T2 from now on, in seconds; ours where the server's are missing or not in order.

    `elapsed` seconds of them are over. T1 and T2 are multiplied by `fuzz`. An infinite lease is never renewed.
    """
    if lease == INFINITE:
        return INFINITE, INFINITE, INFINITE
    first = math.floor(lease * T1) if t1 is None else t1
    second = math.floor(lease * T2) if t2 is None else t2
    if not 0 < first <= second <= lease:
        first, second = math.floor(lease * T1), math.floor(lease * T2)
    first, second = (min(lease, round(time * fuzz)) for time in (first, second))
    return max(1, lease - elapsed), max(0, first - elapsed), max(0, second - elapsed)


def address(server: int) -> str:
    """Return a server's address as text."""
    return str(IPv4Address(server))


def _nonce(message: Message) -> bytes | None:
    """Return the nonce that an ACK gives, to check FORCERENEWs with (RFC 6704 section 3.1.4)."""
    try:
        given = Authentication.of(message)
    except UnusableAuthentication:
        return None
    return given.octets if given is not None and given.kind is AuthenticationKind.NONCE else None
