# SPDX-License-Identifier: MPL-2.0
"""The delegating server: answers who asks for subnets (seed FIG. 7 and 9B; RFC 6656 sections 4 to 6).

The way of a batch: decode each message, see whether it may be served, decide it by the policy, one call to the ledger for all,
encode the answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from kea_subnet_deleg.ledger import (
    Accept,
    Contact,
    Directory,
    Granted,
    Listing,
    Note,
    Offer,
    Operation,
    OperationFailed,
    Outcome,
    PoolTerms,
    Reclaim,
    Release,
    Renew,
    Renewal,
    Result,
    Size,
)
from kea_subnet_deleg.policy import BestFit, Holding, Lessee, Limits, Numbers, Policy, Refusal, Reported, View, Wish
from kea_subnet_deleg.roles.admission import Admission, RateLimit, admitted
from kea_subnet_deleg.roles.authentication import Authenticator, can_use_nonce
from kea_subnet_deleg.roles.packets import Inbound, Outbound
from kea_subnet_deleg.roles.replies import Content, Replies, blocks_that_fit
from kea_subnet_deleg.roles.shortages import Shortages
from kea_subnet_deleg.wire import (
    BOOTREQUEST,
    MalformedMessage,
    MalformedOption,
    Message,
    MessageType,
    SubnetAllocation,
    SubnetBlock,
    Usage,
    VssKind,
    destination,
)

LONGEST_IDENTITY: Final = 255
"""Octets of a client identifier that the ledger keeps; more take two options 61 (RFC 3396), and no client does that."""
NONCE_SIZE: Final = 16
_NO_USAGE: Final = Usage()


class Journal(Protocol):
    """Where a role says what it did. Identifiers and counters are those of runtime/messages.py and hook/counters.def."""

    def debug(self, identifier: str, text: str) -> None:
        """Log for whoever looks closely; dropped unless debugging."""

    def info(self, identifier: str, text: str) -> None:
        """Log what an operator wants to find later."""

    def error(self, identifier: str, text: str) -> None:
        """Log what an operator should look into."""

    def count(self, counter: str) -> None:
        """Add one to a counter."""


class Batches(Protocol):
    """What the role needs of the ledger."""

    def apply(self, operations: Sequence[Operation]) -> Sequence[Outcome | OperationFailed]:
        """Do all in one transaction, and return when it is on disk."""


class Views(Protocol):
    """The ledger as of some seconds ago: what to decide by."""

    @property
    def directory(self) -> Directory:
        """Spaces, pools and servers."""

    def view(self, space: int, pools: tuple[PoolTerms, ...]) -> View:
        """Return what all lessees of a space hold and use, and what is free of some pools."""

    def holding(self, space: int, identity: bytes) -> Holding:
        """Return what one lessee holds and uses."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms we lease, where a pool says nothing else. Times in seconds, sizes as prefix lengths.

    A client may ask for a lease between the shortest and the longest. `hierarchical`: whether the lessee allocates from the subnet
    (flag h) or relays to us; None as the client asks. `policy` is a name.
    """

    lease_time: int
    shortest_lease: int
    longest_lease: int
    offer_hold: int
    quarantine: int
    limits: Limits
    policy: str
    hierarchical: bool | None = None
    max_blocks: int | None = None
    max_addresses: int | None = None

    def clamp(self, asked: int | None) -> int | None:
        """Return the lease time a client asked for (option 51), within our limits."""
        return None if asked is None else min(max(asked, self.shortest_lease), self.longest_lease)


class _Client(NamedTuple):
    """Who asks, in which space, and what it holds."""

    space: int
    lessee: Lessee


class _Task(NamedTuple):
    """A message that needs the ledger."""

    packet: Inbound
    message: Message
    operation: Operation


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the role is handed: where blocks are recorded, who decides and by which figures, who may ask, and where it is told.

    `policies` by name; `own` has the server identifiers of this server (host-order integers), and grows as packets come in on further
    addresses. `domain`: the client identifier by which this domain itself asks for subnets, None while it is not known.
    `through`: a renewal of space that is itself leased may wait until that is renewed; `shortages` keeps it.
    """

    ledger: Batches
    policies: Mapping[str, Policy]
    views: Views
    journal: Journal
    replies: Replies
    authenticator: Authenticator
    allow: Sequence[Admission]
    rate: RateLimit
    shortages: Shortages
    own: Mapping[int, int]
    clock: Callable[[], float]
    domain: Callable[[], bytes | None] = lambda: None
    through: bool = False


class Delegating:
    """The delegating side of one server."""

    def __init__(self, terms: Terms, surroundings: Surroundings) -> None:
        self._terms = terms
        self._ledger = surroundings.ledger
        self._policies = surroundings.policies
        self._views = surroundings.views
        self._journal = surroundings.journal
        self._replies = surroundings.replies
        self._authenticator = surroundings.authenticator
        self._allow = surroundings.allow
        self._rate = surroundings.rate
        self._shortages = surroundings.shortages
        self._own = surroundings.own
        self._domain = surroundings.domain
        self._through = surroundings.through
        self._notes = RateLimit(1 / NOTE_INTERVAL, surroundings.clock, burst=1.0)

    def handle(self, packets: Iterable[Inbound]) -> list[Outbound]:
        """Answer a batch of messages. When this returns, what the answers say is committed.

        Raises LedgerUnavailable, and then none of them may be answered: the clients will ask again.
        """
        tasks = [task for packet in packets if (task := self._read(packet)) is not None]
        if not tasks:
            return []
        outcomes = self._ledger.apply([task.operation for task in tasks])
        return [answer for task, outcome in zip(tasks, outcomes, strict=True) for answer in self._answer(task, outcome)]

    # ------------------------------------------------------------------------------------------------- what is asked

    def _read(self, packet: Inbound) -> _Task | None:
        """Decode one message and decide what it asks of the ledger; None where it is to be met with silence."""
        try:
            message = Message.decode(packet.data)
            allocation = SubnetAllocation.decode(message.subnet_allocation_parts)
            _check_content(message, allocation)
        except (MalformedMessage, MalformedOption) as error:
            self._journal.count("malformed")
            self._journal.debug("SUBNET_DELEG_MALFORMED", f"from {_address(packet.source)}: {error}")
            return None
        operation: Operation | None = None
        if message.op == BOOTREQUEST and message.type in _SERVED:
            operation = self._operation(packet, message, allocation)
        if operation is None:
            self._journal.count("silent")
            return None
        return _Task(packet, message, operation)

    def _operation(self, packet: Inbound, message: Message, allocation: SubnetAllocation) -> Operation | None:
        identity = message.client_identifier
        if identity == self._domain():
            return None  # ourselves, by a peer or a broadcast: a domain leases nothing to itself (seed [0053])
        vss = message.vss
        name = None if vss is None or vss.kind is VssKind.GLOBAL else str(vss)
        space = self._views.directory.space_of(identity, name, message.link_address)
        if space is None:
            return self._not_served(0, message, "not-admitted", f"no space is selected by the VPN {name}")
        refusal = self._refusal(packet, message)
        if refusal is not None:
            return self._not_served(space, message, *refusal)
        client = _Client(space, Lessee(identity, self._views.holding(space, identity)))
        match message.type:
            case MessageType.DISCOVER:
                return self._discover(packet, message, allocation, client)
            case MessageType.REQUEST if allocation.information:
                return self._request(packet, message, allocation, client)
            case MessageType.RELEASE if allocation.information:
                return Release(
                    space,
                    identity,
                    message.xid,
                    message.server_identifier,
                    self._terms.quarantine,
                    tuple(block.network for block in _blocks(allocation)),
                )
        return None

    def _refusal(self, packet: Inbound, message: Message) -> tuple[str, str] | None:
        """Return the counter and the reason where a message is not served at all, None where it is (RFC 6656 section 10)."""
        identity = message.client_identifier
        if self._allow:
            relay = message.relay
            address = message.giaddr or message.ciaddr or packet.source
            if not admitted(self._allow, identity, address, relay.circuit_id, relay.remote_id):
                return "not-admitted", "not on the allow-list"
        fault = self._authenticator.fault(message, packet.data)
        if fault is not None:
            return "not-authentic", fault
        if not self._rate.take(identity):
            return "limited", "asks more often than one client may"
        return None

    def _not_served(
        self, space: int, message: Message, kind: str, reason: str, numbers: Numbers | None = None
    ) -> Note | None:
        """Count a refusal, and return the operation that puts it into the event log, None where it is there already."""
        identity = message.client_identifier
        if kind in _COUNTED:
            self._journal.count(kind)
        self._journal.debug("SUBNET_DELEG_NOT_SERVED", f"{message.type.name} of {_client(identity)}: {reason}")
        if not self._notes.take(kind.encode() + identity):
            return None
        return Note(space, identity, message.xid, kind, reason, numbers)

    def _discover(
        self, packet: Inbound, message: Message, allocation: SubnetAllocation, client: _Client
    ) -> Operation | None:
        room = blocks_that_fit(message)
        # Only a block with both c and s asks for the page behind it (RFC 6656 section 6.4); the last such counts.
        pages = [info.blocks[-1].network for info in allocation.information if info.client and info.server]
        if pages or any(request.information for request in allocation.requests):
            return Listing(client.space, client.lessee.identity, message.xid, pages[-1] if pages else None, room)
        if self._shortages.own:
            self._keep(packet, message, allocation, self._terms.limits)
            return self._not_served(client.space, message, "refused", "this domain lacks space itself")
        pools = self._views.directory.pools_for(client.space, allocation.name)
        if not pools:
            self._keep(packet, message, allocation, self._terms.limits)
            return self._not_served(client.space, message, "refused", "no pool serves this request")
        view = self._view(client.space, pools)
        decided = [
            self._size(slot, request.prefix_length, request.hierarchical, client, pools, view)
            for slot, request in enumerate(allocation.requests[:room])
        ]
        sizes = [decision for decision in decided if isinstance(decision, Size)]
        if not sizes:
            refusal = next((decision for decision in decided if isinstance(decision, Refusal)), None)
            if refusal is None:
                return None
            self._keep(packet, message, allocation, self._policy_of(pools[0])[1])
            return self._not_served(client.space, message, "refused", refusal.reason, refusal.numbers)
        if len(sizes) == len(allocation.requests) == 1:
            sizes[0] = sizes[0]._replace(named=_named(allocation, sizes[0].wanted))
        return Offer(
            client.space,
            client.lessee.identity,
            message.xid,
            self._server_identifier(packet, message),
            self._contact(packet, message),
            self._terms.lease_time,
            self._terms.clamp(message.lease_time),
            self._terms.offer_hold,
            tuple(pool.number for pool in pools),
            self._terms.max_blocks,
            self._terms.max_addresses,
            tuple(sizes),
        )

    def _view(self, space: int, pools: tuple[PoolTerms, ...]) -> View:
        """Return what to decide by.

        A server that obtains space as it is asked for has little that is free, ever. As long as its upstreams give, that is no
        scarcity: how much there is counts as not known.
        """
        view = self._views.view(space, pools)
        if self._shortages.refused or not any(pool.leased for pool in pools):
            return view
        return replace(view, size=0)

    def _keep(self, packet: Inbound, message: Message, allocation: SubnetAllocation, limits: Limits) -> None:
        """Keep a request that there is nothing for, for when something was obtained of others (seed [0113])."""
        asked = [request.prefix_length or limits.default for request in allocation.requests]
        lengths = [max(length, limits.largest) for length in asked if length <= limits.smallest]
        self._shortages.keep(message.client_identifier, packet, lengths)

    def _size(
        self,
        slot: int,
        asked: int,
        hierarchical: bool,
        client: _Client,
        pools: tuple[PoolTerms, ...],
        view: View,
    ) -> Size | Refusal:
        """Return what the policy gives for one Subnet-Request, or why it gives nothing."""
        policy, limits = self._policy_of(pools[0])
        decision = policy.grant(Wish(asked), client.lessee, view, limits)
        if isinstance(decision, Refusal):
            self._journal.debug(
                "SUBNET_DELEG_NOT_OFFERED",
                f"to {_client(client.lessee.identity)}, which asked for /{asked}: {decision.reason} {decision.numbers}",
            )
            return decision
        numbers: dict[str, float | str | bool] = dict(decision.numbers or {})
        if decision.push:
            numbers.setdefault("push", "yes")
        if self._terms.hierarchical is not None:
            hierarchical = self._terms.hierarchical
        return Size(slot, decision.prefix_length, decision.longest, hierarchical, decision.reason, numbers or None)

    def _policy_of(self, pool: PoolTerms | None) -> tuple[Policy, Limits]:
        """Return the policy and the sizes of a pool, where it has its own."""
        limits = self._terms.limits
        name = self._terms.policy
        if pool is not None:
            name = pool.policy or name
            limits = Limits(
                pool.default_length or limits.default,
                pool.largest_length or limits.largest,
                pool.smallest_length or limits.smallest,
            )
        # A pool's policy that this server lacks (an entry point installed elsewhere) must not leave its clients unserved.
        return self._policies.get(name) or self._policies[self._terms.policy], limits

    def _request(
        self, packet: Inbound, message: Message, allocation: SubnetAllocation, client: _Client
    ) -> Operation | None:
        named = message.server_identifier
        if named is None:
            return self._renewal(packet, message, allocation, client)
        ours = named in self._own or named in (packet.local_address, message.server_identifier_override)
        if not ours:
            self._journal.count("foreign-server")
            if named in self._views.directory.servers:
                return None  # of our domain: what it offered is what we offered
            return Reclaim(client.space, client.lessee.identity, message.xid, named)
        # No field may differ from the offer (RFC 6656 section 4.3), which has neither c nor d. The ledger compares the rest.
        wanted = [
            (block.network, block.hierarchical, info.server) for info in allocation.information for block in info.blocks
        ]
        altered = any(info.client for info in allocation.information)
        altered = altered or any(block.deprecate for block in _blocks(allocation))
        # Best fit never asks a client to ask for more, so it need not be known what that holds.
        pool = self._views.directory.pool_of(client.space, wanted[0][0])
        pushes = not isinstance(self._policy_of(pool)[0], BestFit)
        return Accept(
            client.space,
            client.lessee.identity,
            message.xid,
            named,
            self._contact(packet, message),
            tuple(wanted[: blocks_that_fit(message)]),
            altered,
            pushes,
        )

    def _renewal(self, packet: Inbound, message: Message, allocation: SubnetAllocation, client: _Client) -> Operation:
        directory = self._views.directory
        items = []
        for block in _blocks(allocation)[: blocks_that_fit(message)]:
            usage = block.usage or _NO_USAGE
            counts = (usage.high_water, usage.in_use, usage.unusable)
            pool = directory.pool_of(client.space, block.network)
            policy, limits = self._policy_of(pool)
            view = self._view(client.space, () if pool is None else (pool,))
            verdict = policy.renew(Reported(block.network.prefixlen, *counts), client.lessee, view, limits)
            items.append(
                Renewal(
                    str(block.network),
                    verdict.verdict.value,
                    self._terms.clamp(message.lease_time),
                    *counts,
                    verdict.reason,
                    verdict.numbers,
                )
            )
        return Renew(
            client.space,
            client.lessee.identity,
            message.xid,
            self._server_identifier(packet, message),
            self._contact(packet, message),
            self._terms.lease_time,
            self._terms.quarantine,
            tuple(items),
            self._through,
        )

    @staticmethod
    def _server_identifier(packet: Inbound, message: Message) -> int:
        """Return what we are called in the reply: as the relay wants it (RFC 5107 section 4), else our address."""
        return message.server_identifier_override or packet.local_address

    @staticmethod
    def _contact(packet: Inbound, message: Message) -> Contact:
        """Return where this client is answered, and a nonce to agree on if it can use one (RFC 6704 section 3.1.3)."""
        address, port = destination(message, packet.source, packet.source_port)
        nonce = os.urandom(NONCE_SIZE) if can_use_nonce(message) else None
        return Contact(address, port, message.giaddr != 0, bytes((message.htype,)) + message.chaddr, nonce)

    # ---------------------------------------------------------------------------------------------- what is answered

    def _answer(self, task: _Task, outcome: Outcome | OperationFailed) -> list[Outbound]:
        """Return the answer to one message, or none."""
        if isinstance(outcome, OperationFailed):
            self._journal.count("conflicts")
            self._journal.error(
                "SUBNET_DELEG_OPERATION_FAILED",
                f"{task.message.type.name} of {_client(task.operation.identity)}: {outcome.error}",
            )
            return []
        if outcome.result is Result.POSTPONED:
            self._shortages.postpone(task.packet)
            return []
        kind = _ANSWERS.get((type(task.operation), outcome.result))
        self._tell(task, outcome)
        if kind is None:
            self._journal.count("limited" if outcome.result is Result.LIMITED else "silent")
            return []
        self._journal.count("nak" if kind is MessageType.NAK else "answered")
        operation = task.operation
        server = operation.server if isinstance(operation, (Offer, Accept, Renew)) else task.packet.local_address
        content = self._content(task, kind, outcome)
        return [self._replies.encode(task.packet, task.message, kind, server, content)]

    def _content(self, task: _Task, kind: MessageType, outcome: Outcome) -> Content:
        operation = task.operation
        blocks: Sequence[Granted] = outcome.blocks
        more = outcome.more
        if isinstance(operation, Accept):
            if kind is MessageType.NAK:
                blocks = [
                    Granted(int(network.network_address), network.prefixlen, hierarchical, False)
                    for network, hierarchical, _ in operation.blocks
                ]
            else:
                more = operation.held and self._push(operation, outcome)
        return Content(blocks, outcome.lease_time, isinstance(operation, Listing), more, outcome.nonce)

    def _push(self, operation: Accept, outcome: Outcome) -> bool:
        """Whether the ACK tells the client to ask for more (seed [0072]), by what it holds now."""
        pool = self._views.directory.pool_of(operation.space, outcome.blocks[0].prefix)
        if pool is None:
            return False
        policy, limits = self._policy_of(pool)
        granted = sum(1 << 32 - block.prefix_length for block in outcome.blocks)
        known = self._views.holding(operation.space, operation.identity)
        lessee = Lessee(operation.identity, replace(known, held=max(0, outcome.held - granted)))
        return policy.push(lessee, granted, self._view(operation.space, (pool,)), limits)

    def _tell(self, task: _Task, outcome: Outcome) -> None:
        """Log what changed hands, one line a block; note a shortage."""
        operation = task.operation
        if outcome.result is Result.EXHAUSTED and isinstance(operation, Offer):
            addresses = sum(1 << 32 - size.wanted for size in operation.sizes)
            self._shortages.note(operation.space, operation.pools, addresses)
            self._shortages.keep(operation.identity, task.packet, [size.wanted for size in operation.sizes])
        identifier = _LINES.get((type(operation), outcome.result))
        if identifier is None:
            return
        client = _client(operation.identity)
        log = self._journal.debug if outcome.result is Result.OFFERED else self._journal.info
        for block in outcome.blocks:
            if outcome.lease_time is None:  # released or refused
                log(identifier, f"{block.prefix} of {client}")
                continue
            deprecated = ", to be given up" if block.deprecate else ""
            log(identifier, f"{block.prefix} to {client} for {outcome.lease_time} s{deprecated}")


NOTE_INTERVAL: Final = 60.0
"""Seconds for which the same refusal of the same client is not told to the event log again."""

_COUNTED: Final = frozenset({"not-admitted", "not-authentic", "limited"})
"""Kinds of refusal that have a counter of their own."""
_SERVED: Final = frozenset({MessageType.DISCOVER, MessageType.REQUEST, MessageType.RELEASE})

_ANSWERS: Final[dict[tuple[type[Operation], Result], MessageType]] = {
    (Offer, Result.OFFERED): MessageType.OFFER,
    (Listing, Result.LISTED): MessageType.OFFER,
    (Accept, Result.ACKNOWLEDGED): MessageType.ACK,
    (Accept, Result.REFUSED): MessageType.NAK,
    (Renew, Result.ACKNOWLEDGED): MessageType.ACK,
    (Renew, Result.REFUSED): MessageType.NAK,
}

_LINES: Final[dict[tuple[type[Operation], Result], str]] = {
    (Offer, Result.OFFERED): "SUBNET_DELEG_OFFERED",
    (Accept, Result.ACKNOWLEDGED): "SUBNET_DELEG_LEASED",
    (Renew, Result.ACKNOWLEDGED): "SUBNET_DELEG_RENEWED",
    (Renew, Result.REFUSED): "SUBNET_DELEG_RENEWAL_REFUSED",
    (Release, Result.RELEASED): "SUBNET_DELEG_RELEASED",
}


def _check_content(message: Message, allocation: SubnetAllocation) -> None:
    """Raise MalformedMessage for what RFC 6656 forbids a client beyond the form of option 220."""
    if allocation.requests and message.type in (MessageType.REQUEST, MessageType.RELEASE):
        raise MalformedMessage(f"a {message.type.name} with a Subnet-Request (RFC 6656 sections 4.3, 5.3)")
    if len(message.client_identifier) > LONGEST_IDENTITY:
        raise MalformedMessage(f"a client identifier of {len(message.client_identifier)} octets")


def _named(allocation: SubnetAllocation, wanted: int) -> str | None:
    """Return the block that a DISCOVER asks for by name (RFC 6656 section 3.1), unless it is larger than what is given."""
    for info in allocation.information:
        for block in info.blocks:
            if not info.client and block.network.prefixlen >= wanted:
                return str(block.network)
    return None


def _blocks(allocation: SubnetAllocation) -> list[SubnetBlock]:
    return [block for information in allocation.information for block in information.blocks]


def _address(value: int) -> str:
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def _client(identity: bytes) -> str:
    """Return a client identifier as Kea's log writes it."""
    return identity.hex(":")
