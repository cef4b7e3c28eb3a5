# SPDX-License-Identifier: MPL-2.0
"""Whether what a requesting server says is what RFC 2131, 3203, 4361 and 6656 allow a client, and what it was told before.

The counterpart of `verdict`: that judges servers by one query and its reply, this judges a client by all that it was offered.
Every rule raises `Violation` with its source.
"""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from tests.client.codec import (
    UNREPORTED,
    ZERO,
    Allocation,
    Block,
    Code,
    Information,
    Message,
    Type,
    insist,
)
from tests.client.endpoint import EVERYONE, SERVER_PORT
from tests.client.verdict import BROADCAST, IP_AND_UDP, LEGAL_SIZE, is_listing, is_renewal

TABLE = "RFC 2131 table 5"
MOST_HOPS = 16  # RFC 1542 4.1.1
DUID_IDENTIFIER = 255  # type of a client identifier made of IAID and DUID, RFC 4361 6.1
FORBIDDEN = {
    Code.REQUESTED_ADDRESS: "RFC 6656 4.2, an address",
    Code.RENEWAL_TIME: "RFC 2132 9.11, a server's",
    Code.REBINDING_TIME: "RFC 2132 9.12, a server's",
    Code.RELAY_INFORMATION: "RFC 3046 2.0, a relay's",
    Code.OVERLOAD: "nothing here is so long",
}


class Kind(enum.Enum):
    """What a client's message is for."""

    DISCOVER = "asks for new subnets"
    LISTING = "asks what it holds"
    REQUEST = "takes an offer"
    RENEW = "renews or rebinds"
    RELEASE = "gives back"


@dataclass(frozen=True, slots=True)
class Query:
    """A client's message as a server heard it: the octets, who sent it, which address it was sent to, when (monotonic seconds)."""

    message: Message
    data: bytes
    source: tuple[IPv4Address, int]
    destination: IPv4Address
    received: float

    @property
    def kind(self) -> Kind:
        """What it is for. Raises `Violation` where no client may say it."""
        if self.message.type is Type.DISCOVER:
            return Kind.LISTING if is_listing(self.message) else Kind.DISCOVER
        if self.message.type is Type.REQUEST:
            return Kind.RENEW if is_renewal(self.message) else Kind.REQUEST
        insist(self.message.type is Type.RELEASE, "RFC 6656", f"{self.message.type.name} of subnets")
        return Kind.RELEASE

    @property
    def allocation(self) -> Allocation:
        return self.message.allocation

    @property
    def blocks(self) -> tuple[Block, ...]:
        return self.allocation.blocks

    @property
    def networks(self) -> list[IPv4Network]:
        """The subnets it names."""
        return [block.network for block in self.blocks]

    @property
    def lengths(self) -> list[int]:
        """The prefix lengths it asks for."""
        return [request.prefix for request in self.allocation.requests]

    def __str__(self) -> str:
        named = f" of {self.message.server}" if self.message.server else ""
        return f"{self.message.type.name} {self.message.xid:08x}{named}: {self.allocation}"


class Conduct:
    """Judges one client at several servers, which say here what they told it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._identifier: bytes | None = None
        self._hardware: bytes | None = None
        self._offered: dict[tuple[IPv4Address, int], list[Information]] = {}
        self._pages: dict[IPv4Address, list[Information]] = {}
        self._granted: dict[IPv4Address, dict[IPv4Network, Block]] = {}
        self._secs: dict[int, int] = {}  # of the last DISCOVER with an xid
        self._said: dict[int, tuple[Kind, bytes | None]] = {}  # by xid

    # -- what servers said

    def told(self, server: IPv4Address, reply: Message) -> None:
        """Take note of what `server` says to the client now."""
        if not reply.instances(Code.SUBNET_ALLOCATION):
            return
        with self._lock:
            information = list(reply.allocation.information)
            if reply.type is Type.OFFER and any(one.client for one in information):
                self._pages.setdefault(server, []).append(information[-1])
                self._grant(server, information)
            elif reply.type is Type.OFFER:
                self._offered.setdefault((server, reply.xid), []).extend(information)
            elif reply.type is Type.ACK:
                self._grant(server, information)

    def _grant(self, server: IPv4Address, information: list[Information]) -> None:
        held = self._granted.setdefault(server, {})
        held.update({block.network: block for one in information for block in one.blocks})

    # -- what the client says

    def judge(self, query: Query, server: IPv4Address) -> None:
        """Raise `Violation` unless `query`, heard by `server`, is in order."""
        with self._lock:
            kind, message, allocation = query.kind, query.message, query.allocation
            _judge_header(query, server)
            self._judge_options(kind, message, len(query.data))
            self._judge_xid(kind, message)
            _judge_allocation(kind, allocation)
            match kind:
                case Kind.LISTING:
                    self._judge_listing(allocation, server)
                case Kind.DISCOVER:
                    _judge_discover(allocation)
                    self._secs[message.xid] = message.secs
                case Kind.REQUEST:
                    self._judge_request(message, allocation)
                case Kind.RENEW:
                    self._judge_held(allocation, [block for held in self._granted.values() for block in held.values()])
                case Kind.RELEASE:
                    self._judge_release(query, allocation, server)

    def _judge_options(self, kind: Kind, message: Message, size: int) -> None:
        counts = {code: len(message.instances(code)) for code, _ in message.options}
        repeated = [code for code, n in counts.items() if n > 1 and code != Code.SUBNET_ALLOCATION]
        insist(not repeated, "RFC 3396 5", f"options {repeated} more than once")
        insist(size + IP_AND_UDP <= LEGAL_SIZE, "RFC 2131 2", f"a datagram of {size + IP_AND_UDP} octets")
        for code, rule in FORBIDDEN.items():
            insist(code not in counts, rule, f"option {int(code)} in {kind.name}")
        names_server = kind in (Kind.REQUEST, Kind.RELEASE)
        insist((message.server is not None) == names_server, TABLE, f"option 54 {message.server} in {kind.name}")
        allowed = kind in (Kind.DISCOVER, Kind.REQUEST, Kind.RENEW)
        insist(allowed or Code.LEASE_TIME not in counts, TABLE, f"option 51 in {kind.name}")
        largest = message.option(Code.MAXIMUM_SIZE)
        insist(
            largest is None or int.from_bytes(largest, "big") >= LEGAL_SIZE, "RFC 2132 9.10", f"option 57 {largest!r}"
        )
        insist(kind is not Kind.RELEASE or largest is None, TABLE, "option 57 in RELEASE")
        self._judge_identity(message)

    def _judge_identity(self, message: Message) -> None:
        identifier = message.option(Code.CLIENT_IDENTIFIER) or b""
        insist(identifier[:1] == bytes((DUID_IDENTIFIER,)) and len(identifier) >= 8, "RFC 4361 6.1", f"{identifier!r}")
        known = self._identifier, self._hardware
        self._identifier, self._hardware = self._identifier or identifier, self._hardware or message.chaddr
        same = known in ((None, None), (identifier, message.chaddr))
        insist(same, "RFC 2131 4.2, 4361 6.1", f"another identity: {identifier.hex()}, {message.chaddr.hex()}")

    def _judge_xid(self, kind: Kind, message: Message) -> None:
        """An xid tells one request from another; only the REQUEST has that of the OFFER, thus of the DISCOVER (RFC 2131 4.4.1)."""
        if kind is Kind.REQUEST:
            return  # judged with its offer
        # `secs` and option 51 may differ in a retransmission
        content = kind, message.option(Code.SUBNET_ALLOCATION)
        known = self._said.setdefault(message.xid, content)
        insist(known == content, "RFC 2131 4.1", f"xid {message.xid:08x} of another message: {known[0].name}")

    def _judge_listing(self, allocation: Allocation, server: IPv4Address) -> None:
        insist(len(allocation.requests) == 1, "RFC 6656 6.1", f"{len(allocation.requests)} requests")
        insist(allocation.requests[0].prefix == 0, "RFC 6656 3.1", f"prefix {allocation.requests[0].prefix}")
        if allocation.information:
            insist(len(allocation.information) == 1, "RFC 6656 6.3", "more than the last Subnet-Information")
            (echo,) = allocation.information
            insist(echo.client and echo.server, "RFC 6656 6.3", f"flags c and s of {echo}")
            insist(echo in self._pages.get(server, ()), "RFC 6656 6.3", f"{echo} is no page's last of this server")

    def _judge_request(self, message: Message, allocation: Allocation) -> None:
        assert message.server is not None
        offered = self._offered.get((message.server, message.xid), [])
        insist(bool(offered), "RFC 2131 table 5", f"xid {message.xid:08x} is of no offer of {message.server}")
        insist(
            message.secs == self._secs.get(message.xid), "RFC 2131 4.4.1", f"secs {message.secs}, not the DISCOVER's"
        )
        for one in allocation.information:
            unchanged = any(
                (one.client, one.server) == (other.client, other.server) and set(one.blocks) <= set(other.blocks)
                for other in offered
            )
            insist(unchanged, "RFC 6656 3.2, 4.3", f"{one} is not as it was offered: {', '.join(map(str, offered))}")

    def _judge_release(self, query: Query, allocation: Allocation, server: IPv4Address) -> None:
        insist(query.destination != EVERYONE, "RFC 2131 4.4.4", "a broadcast RELEASE")
        insist(query.message.server == server, TABLE, f"RELEASE for {query.message.server} to {server}")
        insist(query.message.secs == 0, TABLE, f"secs {query.message.secs}")
        known = [*self._granted.get(server, {}).values()]
        self._judge_held(allocation, known)

    def _judge_held(self, allocation: Allocation, held: list[Block]) -> None:
        known = {(block.network, block.hierarchical) for block in held}
        for one in allocation.information:
            insist(not one.client and not one.server, "RFC 6656 3.2", f"flags c, s: {one}")
        networks = [block.network for block in allocation.blocks]
        insist(len(set(networks)) == len(networks), "RFC 6656 5.1", f"a subnet twice: {allocation}")
        for block in allocation.blocks:
            insist((block.network, block.hierarchical) in known, "RFC 6656 5.1, 5.3", f"{block} was never leased so")
            insist(not block.deprecate, "RFC 6656 3.2.1", f"flag d from a client: {block}")
            _judge_statistics(block)


def _judge_header(query: Query, server: IPv4Address) -> None:
    message, source = query.message, query.source
    insist(message.op == 1, TABLE, f"op {message.op}")
    insist((message.htype, len(message.chaddr)) == (1, 6), TABLE, f"htype {message.htype}, {message.chaddr.hex()}")
    insist(message.hops <= MOST_HOPS, "RFC 1542 4.1.1", f"hops {message.hops}")
    insist(message.flags in (0, BROADCAST), "RFC 2131 figure 2", f"flags {message.flags:#06x}")
    for field in ("ciaddr", "yiaddr", "siaddr"):
        insist(getattr(message, field) == ZERO, "RFC 6656 4.2", f"{field} {getattr(message, field)}")
    insist(message.giaddr == source[0], "PROTOCOL, a relay's part", f"giaddr {message.giaddr} sent by {source[0]}")
    insist(source[1] == SERVER_PORT, "RFC 1542 4.1.1", f"from port {source[1]}")
    insist(query.destination in (server, EVERYONE), "RFC 2131 4.1", f"to {query.destination}")


def _judge_allocation(kind: Kind, allocation: Allocation) -> None:
    insist(allocation.flags == 0, "RFC 6656 3", f"flags octet {allocation.flags:#04x}")
    insist(not allocation.unknown, "RFC 6656 3", f"undefined suboptions {allocation.unknown}")
    insist(not allocation.lease_times, "RFC 6656 3.4", "Suggested-Lease-Time of a client")
    for request in allocation.requests:
        insist(request.undefined == 0, "RFC 6656 3.1", f"undefined flags {request.undefined:#04x}")
    for one in allocation.information:
        insist(one.undefined == 0, "RFC 6656 3.2", f"undefined flags {one.undefined:#04x}")
    for block in allocation.blocks:
        insist(block.undefined == 0, "RFC 6656 3.2.1", f"undefined flags {block.undefined:#04x} in {block}")
    if kind in (Kind.DISCOVER, Kind.LISTING):
        insist(bool(allocation.requests), "RFC 6656 4.1", "no Subnet-Request")
    else:
        insist(not allocation.requests, "RFC 6656 4.3, 5.3", f"Subnet-Request in {kind.name}")
        insist(bool(allocation.blocks), "RFC 6656 4.3, 5.1, 5.3", f"no Subnet-Information in {kind.name}")


def _judge_discover(allocation: Allocation) -> None:
    insist(not allocation.information or len(allocation.requests) == 1, "RFC 6656 3.1", f"{allocation}")
    for one in allocation.information:
        insist(not one.client and not one.server, "RFC 6656 3.2", f"flags c, s: {one}")


def _judge_statistics(block: Block) -> None:
    """At most the three fields there are, each a number of addresses of this subnet, none in use that was not at its high water."""
    source = "RFC 6656 3.2.1.1"
    insist(len(block.statistics) <= 3, source, f"{len(block.statistics)} fields: {block}")
    for value in block.statistics:
        insist(value == UNREPORTED or value <= block.network.num_addresses, source, f"{value} addresses: {block}")
    high_water, in_use, _ = (*block.statistics, UNREPORTED, UNREPORTED, UNREPORTED)[:3]
    if UNREPORTED not in (high_water, in_use):
        insist(in_use <= high_water, source, f"more in use than ever: {block}")
