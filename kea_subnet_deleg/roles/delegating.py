# SPDX-License-Identifier: MPL-2.0
"""The delegating server: answers who asks for subnets (seed FIG. 7 and 9B; RFC 6656 sections 4 to 6).

The way of a batch: decode each message, decide it by the policy, one call to the ledger for all, encode the answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from kea_subnet_deleg.ledger import (
    Accept,
    Granted,
    Listing,
    Offer,
    Operation,
    OperationFailed,
    Outcome,
    Reclaim,
    Release,
    Renew,
    Renewal,
    Result,
    Size,
)
from kea_subnet_deleg.policy import Grant, Holding, Lessee, Policy, Reported, View, Wish
from kea_subnet_deleg.roles.packets import Inbound, Outbound
from kea_subnet_deleg.wire import (
    BOOTREQUEST,
    MalformedMessage,
    MalformedOption,
    Message,
    MessageType,
    SubnetAllocation,
    SubnetBlock,
    SubnetInformation,
    Usage,
    allocation_room,
    destination,
    reply,
)

BLOCKS_PER_SUBOPTION: Final = 36
"""Blocks that fit a Subnet-Information of 255 octets without statistics."""
LONGEST_IDENTITY: Final = 255
"""Octets of a client identifier that the ledger keeps; more take two options 61 (RFC 3396), and no client does that."""
_BLOCK_SIZE: Final = 7
_SUBOPTION_HEADER: Final = 3
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
    """The figures policies decide by; they may be seconds old."""

    def view(self, space: int) -> View:
        """Return what all lessees of a space hold and use, and what is free."""

    def holding(self, space: int, identity: bytes) -> Holding:
        """Return what one lessee holds and uses."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms we lease. All in seconds; a client may ask for a lease between the shortest and the longest."""

    lease_time: int
    shortest_lease: int
    longest_lease: int
    offer_hold: int
    quarantine: int

    def lease_for(self, asked: int | None) -> int:
        """Return the lease time for a client that asked for `asked` seconds (option 51), or for none (None)."""
        return self.lease_time if asked is None else min(max(asked, self.shortest_lease), self.longest_lease)


class _Task(NamedTuple):
    """A message that needs the ledger."""

    packet: Inbound
    message: Message
    operation: Operation


class Delegating:
    """The delegating side of one server.

    Parameters
    ----------
    ledger, policy, views, journal
        Where blocks are recorded, who decides, by which figures, and where it is told.
    terms : Terms
        Lease times.
    own_addresses : set of int
        Server identifiers of this server, host-order integers; grows as packets come in on further addresses.
    space : int
        The address space served.
    """

    def __init__(
        self,
        ledger: Batches,
        policy: Policy,
        views: Views,
        journal: Journal,
        terms: Terms,
        own_addresses: set[int],
        space: int = 0,
    ) -> None:
        self._ledger = ledger
        self._policy = policy
        self._views = views
        self._journal = journal
        self._terms = terms
        self._own = own_addresses
        self._space = space

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
        except (MalformedMessage, MalformedOption) as error:
            self._malformed(packet, str(error))
            return None
        if len(message.client_identifier) > LONGEST_IDENTITY:
            self._malformed(packet, f"a client identifier of {len(message.client_identifier)} octets")
            return None
        operation: Operation | None = None
        if message.op == BOOTREQUEST:
            match message.type:
                case MessageType.DISCOVER:
                    operation = self._discover(packet, message, allocation)
                case MessageType.REQUEST if allocation.requests:
                    self._malformed(packet, "a REQUEST with a Subnet-Request (RFC 6656 section 4.3)")
                    return None
                case MessageType.RELEASE if allocation.requests:
                    self._malformed(packet, "a RELEASE with a Subnet-Request (RFC 6656 section 5.3)")
                    return None
                case MessageType.REQUEST if allocation.information:
                    operation = self._request(packet, message, allocation)
                case MessageType.RELEASE if allocation.information:
                    operation = self._release(message, allocation)
        if operation is None:
            self._journal.count("silent")
            return None
        return _Task(packet, message, operation)

    def _malformed(self, packet: Inbound, why: str) -> None:
        self._journal.count("malformed")
        self._journal.debug("SUBNET_DELEG_MALFORMED", f"from {_address(packet.source)}: {why}")

    def _lessee(self, message: Message) -> Lessee:
        identity = message.client_identifier
        return Lessee(identity, self._views.holding(self._space, identity))

    def _discover(self, packet: Inbound, message: Message, allocation: SubnetAllocation) -> Operation | None:
        room = _blocks_that_fit(message)
        if any(request.information for request in allocation.requests):
            # Only a block with both c and s asks for the page behind it (RFC 6656 section 6.4); the last such counts.
            pages = [info.blocks[-1] for info in allocation.information if info.client and info.server]
            after = pages[-1].network if pages else None
            return Listing(self._space, message.client_identifier, message.xid, after, room)
        lessee = self._lessee(message)
        view = self._views.view(self._space)
        sizes = []
        for slot, request in enumerate(allocation.requests[:room]):
            decision = self._policy.grant(Wish(request.prefix_length), lessee, view)
            if isinstance(decision, Grant):
                sizes.append(
                    Size(
                        slot,
                        decision.prefix_length,
                        decision.longest,
                        request.hierarchical,
                        decision.reason,
                        decision.numbers,
                    )
                )
            else:
                self._journal.debug(
                    "SUBNET_DELEG_NOT_OFFERED",
                    f"to {_client(lessee.identity)}, which asked for /{request.prefix_length}: {decision.reason}",
                )
        if not sizes:
            return None
        return Offer(
            self._space,
            lessee.identity,
            message.xid,
            message.giaddr or message.ciaddr or packet.source,
            packet.local_address,
            self._terms.lease_for(message.lease_time),
            self._terms.offer_hold,
            tuple(sizes),
        )

    def _request(self, packet: Inbound, message: Message, allocation: SubnetAllocation) -> Operation | None:
        named = message.server_identifier
        if named is None:
            return self._renewal(packet, message, allocation)
        if named not in self._own and named != packet.local_address:
            self._journal.count("foreign-server")
            return Reclaim(self._space, message.client_identifier, message.xid, named)
        # No field may differ from the offer (RFC 6656 section 4.3); ours has neither c nor s nor d.
        blocks = _blocks(allocation)
        altered = any(info.client or info.server for info in allocation.information)
        altered = altered or any(block.deprecate for block in blocks)
        return Accept(
            self._space,
            message.client_identifier,
            message.xid,
            named,
            tuple((block.network, block.hierarchical) for block in blocks[: _blocks_that_fit(message)]),
            altered,
        )

    def _renewal(self, packet: Inbound, message: Message, allocation: SubnetAllocation) -> Operation:
        lessee = self._lessee(message)
        view = self._views.view(self._space)
        lease_time = self._terms.lease_for(message.lease_time)
        items = []
        for block in _blocks(allocation)[: _blocks_that_fit(message)]:
            usage = block.usage or _NO_USAGE
            counts = (usage.high_water, usage.in_use, usage.unusable)
            verdict = self._policy.renew(Reported(block.network.prefixlen, *counts), lessee, view)
            items.append(
                Renewal(str(block.network), verdict.verdict.value, lease_time, *counts, verdict.reason, verdict.numbers)
            )
        return Renew(
            self._space, lessee.identity, message.xid, packet.local_address, self._terms.quarantine, tuple(items)
        )

    def _release(self, message: Message, allocation: SubnetAllocation) -> Operation:
        return Release(
            self._space,
            message.client_identifier,
            message.xid,
            message.server_identifier,
            self._terms.quarantine,
            tuple(block.network for block in _blocks(allocation)),
        )

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
        kind = _ANSWERS.get((type(task.operation), outcome.result))
        self._tell(task, outcome)
        if kind is None:
            self._journal.count("silent")
            return []
        self._journal.count("nak" if kind is MessageType.NAK else "answered")
        return [self._encode(task, kind, outcome)]

    def _encode(self, task: _Task, kind: MessageType, outcome: Outcome) -> Outbound:
        packet, message, operation = task
        server = operation.server if isinstance(operation, Accept) else packet.local_address
        blocks = outcome.blocks
        if kind is MessageType.NAK and not blocks and isinstance(operation, Accept):
            blocks = tuple(
                Granted(int(network.network_address), network.prefixlen, hierarchical, False)
                for network, hierarchical in operation.blocks
            )
        allocation = _allocation(blocks, listing=isinstance(operation, Listing), more=outcome.more)
        data = reply(message, kind, server, allocation, outcome.lease_time)
        # A NAK too: RFC 2131 section 4.1 broadcasts those because the client's address may be wrong. It is not in question here.
        address, port = destination(message, packet.source, packet.source_port)
        return Outbound(data, packet.interface, packet.local_address, address, port, message.chaddr)

    def _tell(self, task: _Task, outcome: Outcome) -> None:
        """Log what changed hands, one line a block."""
        identifier = _LINES.get((type(task.operation), outcome.result))
        if identifier is None:
            return
        client = _client(task.operation.identity)
        log = self._journal.debug if outcome.result is Result.OFFERED else self._journal.info
        for block in outcome.blocks:
            if outcome.lease_time is None:  # released or refused
                log(identifier, f"{block.prefix} of {client}")
                continue
            deprecated = ", to be given up" if block.deprecate else ""
            log(identifier, f"{block.prefix} to {client} for {outcome.lease_time} s{deprecated}")


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


def _blocks(allocation: SubnetAllocation) -> list[SubnetBlock]:
    return [block for information in allocation.information for block in information.blocks]


def _blocks_that_fit(message: Message) -> int:
    """Return how many blocks a reply to `message` can carry, at least one."""
    octets = allocation_room(message) - 1
    whole, rest = divmod(octets, _SUBOPTION_HEADER + BLOCKS_PER_SUBOPTION * _BLOCK_SIZE)
    return max(1, whole * BLOCKS_PER_SUBOPTION + max(0, rest - _SUBOPTION_HEADER) // _BLOCK_SIZE)


def _allocation(blocks: Sequence[Granted], listing: bool, more: bool) -> SubnetAllocation | None:
    """Return option 220 for a reply: as few Subnet-Informations as hold the blocks, `s` in the last where there is more."""
    if not blocks:
        return None
    information = [
        SubnetInformation(
            tuple(
                SubnetBlock(block.prefix, block.deprecate, block.hierarchical)
                for block in blocks[start : start + BLOCKS_PER_SUBOPTION]
            ),
            client=listing,
        )
        for start in range(0, len(blocks), BLOCKS_PER_SUBOPTION)
    ]
    if more:
        information[-1] = replace(information[-1], server=True)
    return SubnetAllocation(information=tuple(information))


def _address(value: int) -> str:
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def _client(identity: bytes) -> str:
    """Return a client identifier as Kea's log writes it."""
    return identity.hex(":")
