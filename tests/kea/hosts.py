# SPDX-License-Identifier: MPL-2.0
"""DHCP hosts, hundreds at once: each obtains an address as RFC 2131 has it, keeps it by renewing, gives it back or declines it.

Independent of Kea and of the package. What no server may do is noted where it happens: an address that two hosts hold, a lease that
ended though its host did all it could.
"""

from __future__ import annotations

import contextlib
import enum
import heapq
import itertools
import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from types import TracebackType
from typing import Self

from ci.labs import HostsPlace
from tests.client.codec import ZERO, Code, Message, Type, Violation, decode, insist
from tests.kea.transport import OnLink, Relayed, Transport

RETRANSMIT = (1.0, 2.0, 4.0, 8.0)
"""Seconds until a message is sent again; the last one repeats. RFC 2131 4.1 has 4, 8, 16 ... for one host; these are in a hurry."""
WINDOW = 64
"""Most hosts that wait for an answer at one moment: more would only fill the server's socket."""
PACE = 1000.0
"""Messages per second that hosts send because they are told to at one moment: more would be lost, and RELEASEs are not sent again."""
PARAMETERS = bytes((1, 3, 51, 54, 58, 59))
REQUEST_TRIES = 4
"""REQUESTs for an offer until a host begins anew (RFC 2131 3.1.5)."""
RENEWAL_SHARE, LEAST_RENEWAL_PAUSE = 0.5, 0.3
"""When a host renews: at half of its lease (RFC 2131 4.4.5), then again after half of what is left, but not sooner than so many seconds."""


class State(enum.Enum):
    """RFC 2131 figure 5, as far as a host here goes."""

    WAITING = enum.auto()  # to begin, until others have been served
    SELECTING = enum.auto()
    REQUESTING = enum.auto()
    BOUND = enum.auto()
    RENEWING = enum.auto()
    GONE = enum.auto()


@dataclass(frozen=True, slots=True)
class Lease:
    """What a host was acknowledged: with its mask, for how many seconds since which moment (monotonic), by whom."""

    interface: IPv4Interface
    lifetime: int
    since: float
    server: IPv4Address
    router: IPv4Address | None

    @property
    def address(self) -> IPv4Address:
        return self.interface.ip

    @property
    def ends(self) -> float:
        return self.since + self.lifetime


@dataclass(frozen=True, slots=True)
class Loss:
    """A lease that its host wanted to keep and could not: why, and when (monotonic)."""

    host: Host
    lease: Lease
    why: str
    when: float


class Host:
    """One host, told apart by its hardware address. Its `lease` is None until it is served, and again once it has lost it."""

    __slots__ = (
        "acknowledged",
        "due",
        "hardware",
        "lease",
        "number",
        "offer",
        "sent",
        "since",
        "state",
        "tries",
        "waited",
        "xid",
    )

    def __init__(self, number: int) -> None:
        self.number, self.hardware = number, bytes((2, 0)) + number.to_bytes(4, "big")
        self.state, self.lease, self.offer = State.WAITING, None, None
        self.xid = self.tries = self.acknowledged = 0
        self.due = self.sent = 0.0
        self.since = time.monotonic()  # when it began to want an address
        self.waited = 0.0  # seconds until it had one

    lease: Lease | None
    offer: Message | None

    def __repr__(self) -> str:
        return f"host {self.number} ({self.state.name}, {self.lease.address if self.lease else 'no address'})"


class Addresses:
    """Which host has which address, of any number of crowds; `duplicates` says where two had the same at one moment."""

    def __init__(self) -> None:
        self.duplicates: list[str] = []
        self._holders: dict[IPv4Address, Host] = {}
        self._lock = threading.Lock()

    def taken(self, host: Host, lease: Lease) -> None:
        """Note that `host` was acknowledged `lease`."""
        with self._lock:
            other = self._holders.get(lease.address, host)
            # a host stops using an address before it ends its lease, never after
            if (
                other is not host
                and other.lease
                and other.lease.address == lease.address
                and other.lease.ends > lease.since
            ):
                self.duplicates.append(f"{lease.address} is {other!r}'s and was given to {host!r}")
            self._holders[lease.address] = host


class Hosts:
    """Hosts at one place of a lab, behind a relay there (`Hosts.relayed`) or on the link itself (`Hosts.on_link`).

    A context manager, in which a thread sends what is due and hears the answers. With `keep`, as by default, hosts renew by themselves.
    """

    def __init__(
        self,
        transport: Transport,
        addresses: Addresses | None = None,
        *,
        first: int = 1,
        keep: bool = True,
        retransmit: Sequence[float] = RETRANSMIT,
    ) -> None:
        self.addresses = addresses or Addresses()
        self.keep, self.retransmit = keep, tuple(retransmit)
        self.all: list[Host] = []
        self.lost: list[Loss] = []
        self.naks = 0
        self.heard: Counter[str] = Counter()  # answers by type
        self._transport, self._numbers = transport, itertools.count(first)
        self._random = random.Random(first)
        self._xids: dict[int, Host] = {}
        self._due: list[tuple[float, int, Host]] = []  # a heap; an entry counts where the host's own `due` is the same
        self._order = itertools.count()  # of entries for the same moment
        self._waiting: list[Host] = []  # to begin, the next one last
        self._asking: set[Host] = set()  # who waits for an answer to DISCOVER or REQUEST
        self._changed = threading.Condition()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._open, self._error = True, None
        self._thread = threading.Thread(target=self._run, name="hosts", daemon=True)

    _error: Exception | None

    @classmethod
    def relayed(cls, places: Sequence[HostsPlace], addresses: Addresses | None = None, **options: object) -> Self:
        """Hosts behind a relay at `places`, which are one namespace: the relay passes all on to the server of each."""
        here, servers = places[0], [place.server_address for place in places]
        transport = Relayed(here.netns, here.interface, here.address, servers)
        return cls(transport, addresses, **options)  # type: ignore[arg-type]

    @classmethod
    def on_link(cls, place: HostsPlace, addresses: Addresses | None = None, **options: object) -> Self:
        """Hosts on the server's own link, without an address until they have one: they broadcast."""
        return cls(OnLink(place.netns, place.interface), addresses, **options)  # type: ignore[arg-type]

    # -- what hosts do

    def begin(self, count: int) -> list[Host]:
        """Have so many new hosts want an address, and return at once."""
        fresh = [Host(next(self._numbers)) for _ in range(count)]
        with self._changed:
            self.all += fresh
            self._waiting[:0] = reversed(fresh)
        self._wake.send(b"\0")
        return fresh

    def arrive(self, count: int, seconds: float = 60.0) -> list[Host]:
        """Have so many new hosts obtain an address. Raises `AssertionError` where one has none within `seconds`."""
        fresh = self.begin(count)
        self.served(fresh, seconds)
        return fresh

    def served(self, hosts: Collection[Host], seconds: float) -> None:
        """Wait until each of `hosts` has an address. Raises `AssertionError` where one has none within `seconds`."""
        self._until(lambda: [host for host in hosts if host.lease is None], seconds, "without an address")

    def renew(self, hosts: Iterable[Host] | None = None, seconds: float = 20.0) -> None:
        """Have hosts renew now, and wait until each has been answered, be it by a NAK. Raises `AssertionError` where one is not."""
        asked = self.present(hosts)
        with self._changed:
            before = {host: host.acknowledged for host in asked}
            lost = len(self.lost)
            now = time.monotonic()
            for number, host in enumerate(asked):
                self._enter(host, State.RENEWING, now + number / PACE)
        self._wake.send(b"\0")

        def unanswered() -> list[Host]:
            refused = {loss.host for loss in self.lost[lost:]}
            return [host for host in asked if host.acknowledged == before[host] and host not in refused]

        self._until(unanswered, seconds, "renewals unanswered")

    def leave(self, hosts: Iterable[Host] | None = None) -> None:
        """Have hosts give their addresses back (RELEASE), all of them by default."""
        self._part(hosts, Type.RELEASE)

    def decline(self, hosts: Iterable[Host]) -> None:
        """Have hosts say that somebody else uses their address (DECLINE); they don't ask for another."""
        self._part(hosts, Type.DECLINE)

    def vanish(self, hosts: Iterable[Host] | None = None) -> None:
        """Switch hosts off: nobody is told."""
        for host in self.present(hosts):
            with self._changed:
                self._dismiss(host)

    # -- what is to be seen

    def present(self, hosts: Iterable[Host] | None = None) -> list[Host]:
        """Those of `hosts`, or of all, that have an address."""
        with self._changed:
            return [host for host in (self.all if hosts is None else hosts) if host.lease is not None]

    @property
    def leases(self) -> list[Lease]:
        """What hosts hold now."""
        return [host.lease for host in self.present() if host.lease is not None]

    def check(self) -> None:
        """Raise `AssertionError` where something happened that no server may let happen, or a message was not as RFC 2131 has it."""
        if self._error is not None:
            raise AssertionError("the hosts' thread has ended") from self._error
        duplicates, lost = self.addresses.duplicates, self.lost
        assert not duplicates, f"{len(duplicates)} addresses given twice, for example {duplicates[:3]}"
        assert not lost, f"{len(lost)} leases lost, for example {lost[:3]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._wake.send(b"\0")
        self._thread.join()
        self._transport.close()
        self._wake.close()
        self._woken.close()
        if kind is None and self._error is not None:
            raise self._error

    # -- the thread

    def _run(self) -> None:
        try:
            while self._open:
                with self._changed:
                    pause = self._act(time.monotonic())
                ready, _, _ = select.select([self._transport.fileno(), self._woken.fileno()], [], [], pause)
                if self._woken.fileno() in ready:
                    self._woken.recv(4096)
                if self._transport.fileno() in ready:
                    self._hear()
        except Exception as error:  # `check` and the end of the context raise it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _act(self, now: float) -> float:
        """Send what is due; return the seconds until something is."""
        while self._waiting and len(self._asking) < WINDOW:
            self._enter(self._waiting.pop(), State.SELECTING, now)
        while self._due and self._due[0][0] <= now:
            due, _, host = heapq.heappop(self._due)
            if due == host.due:
                self._next(host, now)
        return max(0.0, min(1.0, self._due[0][0] - now)) if self._due else 1.0

    def _next(self, host: Host, now: float) -> None:
        """Do what a host's state asks for at its moment."""
        match host.state:
            case State.SELECTING | State.REQUESTING:
                if host.state is State.REQUESTING and host.tries >= REQUEST_TRIES:
                    self._enter(host, State.SELECTING, now)
                else:
                    self._ask(host, now)
            case State.BOUND if self.keep:
                self._enter(host, State.RENEWING, now)
            case State.RENEWING:
                assert host.lease is not None
                if host.lease.ends <= now:
                    self._lose(host, "expired", now)
                else:
                    self._ask(host, now)
            case _:
                pass

    def _enter(self, host: Host, state: State, now: float) -> None:
        """Put a host into a state in which it asks, from this moment on."""
        host.state, host.tries = state, 0
        if state in (State.SELECTING, State.RENEWING):
            self._xids.pop(host.xid, None)
            host.xid = self._random.getrandbits(32)
            self._xids[host.xid] = host
        if state is not State.RENEWING:
            self._asking.add(host)
        self._schedule(host, now)

    def _ask(self, host: Host, now: float) -> None:
        pause = self.retransmit[min(host.tries, len(self.retransmit) - 1)] * self._random.uniform(0.9, 1.1)
        if host.state is State.RENEWING and host.lease is not None:
            left = host.lease.ends - now
            pause = max(LEAST_RENEWAL_PAUSE, min(pause, left / 2)) if left > LEAST_RENEWAL_PAUSE else left
        if host.tries == 0:
            host.sent = now
        host.tries += 1
        self._transport.send(self._message(host))
        self._schedule(host, now + pause)

    def _schedule(self, host: Host, due: float) -> None:
        host.due = due
        heapq.heappush(self._due, (due, next(self._order), host))

    def _message(self, host: Host) -> Message:
        if host.state is State.SELECTING:
            return self._build(host, Type.DISCOVER)
        if host.state is State.REQUESTING:
            assert host.offer is not None
            named = (Code.SERVER_IDENTIFIER, host.offer.option(Code.SERVER_IDENTIFIER) or b"")
            return self._build(host, Type.REQUEST, (Code.REQUESTED_ADDRESS, host.offer.yiaddr.packed), named)
        assert host.lease is not None
        return self._build(host, Type.REQUEST, ciaddr=host.lease.address)

    def _build(self, host: Host, kind: Type, *options: tuple[int, bytes], ciaddr: IPv4Address = ZERO) -> Message:
        relay = self._transport.relay
        return Message(
            kind,
            host.xid,
            host.hardware,
            hops=0 if relay == ZERO else 1,
            giaddr=relay,
            ciaddr=ciaddr,
            options=((Code.PARAMETER_LIST, PARAMETERS), (Code.CLIENT_IDENTIFIER, b"\x01" + host.hardware), *options),
        )

    def _hear(self) -> None:
        for data in self._transport.receive():
            answer = decode(data)
            now = time.monotonic()
            with self._changed:
                self.heard[answer.type.name] += 1
                host = self._xids.get(answer.xid)
                if host is not None and host.hardware == answer.chaddr:
                    self._take(host, answer, now)
                    self._changed.notify_all()

    def _take(self, host: Host, answer: Message, now: float) -> None:
        match (host.state, answer.type):
            case (State.SELECTING, Type.OFFER):
                insist(answer.yiaddr != ZERO and answer.server is not None, "RFC 2131 table 3", f"{answer}")
                host.offer = answer
                self._enter(host, State.REQUESTING, now)
            case (State.REQUESTING | State.RENEWING, Type.ACK):
                self._bind(host, answer, now)
            case (State.REQUESTING, Type.NAK):
                self.naks += 1
                self._enter(host, State.SELECTING, now)
            case (State.RENEWING, Type.NAK):
                self.naks += 1
                self._lose(host, "refused", now)
            case _:
                pass  # an answer to what was sent twice, or of another server

    def _bind(self, host: Host, answer: Message, now: float) -> None:
        lease = _lease(answer, host.sent)
        wanted = host.lease.address if host.state is State.RENEWING and host.lease else host.offer and host.offer.yiaddr
        insist(
            lease.address == wanted, "RFC 2131 3.1", f"{lease.address} acknowledged to {host!r}, who asked for {wanted}"
        )
        self.addresses.taken(host, lease)
        if host.lease is None:
            host.waited = now - host.since
        host.lease, host.offer, host.state = lease, None, State.BOUND
        host.acknowledged += 1
        self._asking.discard(host)
        self._schedule(host, host.sent + lease.lifetime * RENEWAL_SHARE)

    def _lose(self, host: Host, why: str, now: float) -> None:
        """Note that a lease has ended against its host's will; the host begins anew (RFC 2131 4.4.5)."""
        assert host.lease is not None
        self.lost.append(Loss(host, host.lease, why, now))
        host.lease, host.since = None, now
        self._enter(host, State.SELECTING, now)

    def _dismiss(self, host: Host) -> None:
        self._xids.pop(host.xid, None)
        self._asking.discard(host)
        with contextlib.suppress(ValueError):
            self._waiting.remove(host)
        host.state, host.lease, host.due = State.GONE, None, 0.0

    def _part(self, hosts: Iterable[Host] | None, kind: Type) -> None:
        for host in self.present(hosts):
            with self._changed:
                lease = host.lease
                if lease is None:
                    continue
                named = (Code.SERVER_IDENTIFIER, lease.server.packed)
                if kind is Type.RELEASE:
                    farewell = self._build(host, kind, named, ciaddr=lease.address)
                else:
                    farewell = self._build(host, kind, named, (Code.REQUESTED_ADDRESS, lease.address.packed))
                self._dismiss(host)  # it has stopped using the address before the server hears of it
                self._transport.send(farewell, lease.server)
            time.sleep(1 / PACE)

    def _until(self, missing: Callable[[], Sequence[Host]], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        with self._changed:
            while found := missing():
                if self._error is not None:
                    raise AssertionError("the hosts' thread has ended") from self._error
                left = deadline - time.monotonic()
                assert left > 0, f"{what} after {seconds} s: {len(found)}, for example {found[:3]}"
                self._changed.wait(min(left, 1.0))


def _lease(answer: Message, since: float) -> Lease:
    """What an ACK says. Raises `Violation` where it can't be used by a host."""
    mask, router, server = answer.option(1), answer.option(3), answer.server
    insist(answer.lease_time is not None and server is not None, "RFC 2131 table 3", f"{answer}")
    if mask is None or answer.lease_time is None or server is None:
        raise Violation(f"RFC 2132 3.3: no subnet mask in {answer}")
    interface = IPv4Interface(f"{answer.yiaddr}/{IPv4Address(mask)}")
    network = interface.network
    insist(
        interface.ip not in (network.network_address, network.broadcast_address),
        "RFC 1122 3.2.1.3",
        f"{interface} for a host",
    )
    gateway = IPv4Address(router[:4]) if router else None
    insist(
        gateway is None or (gateway in network and gateway != interface.ip),
        "RFC 2132 3.5",
        f"router {gateway} for {interface}",
    )
    return Lease(interface, answer.lease_time, since, server, gateway)
