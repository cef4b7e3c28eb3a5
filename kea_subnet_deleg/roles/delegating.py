# SPDX-License-Identifier: MPL-2.0
"""The delegating server: answers who asks for subnets (seed FIG. 7 and 9B; RFC 6656 sections 4 to 6).

The way of a batch: decode each message, see whether it may be served, decide it by the policy, one call to the ledger for all,
encode the answers.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from kea_subnet_deleg.ledger import (
    Accept,
    Contact,
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
    Wanted,
    cidr,
)
from kea_subnet_deleg.ledger.directory import DEFAULT_SPACE
from kea_subnet_deleg.policy import (
    Holding,
    Lessee,
    Limits,
    Numbers,
    Policy,
    Refusal,
    Reported,
)
from kea_subnet_deleg.roles.admission import Admission, RateLimit, admitted
from kea_subnet_deleg.roles.authentication import Authenticator, can_use_nonce
from kea_subnet_deleg.roles.deciding import Deciding, Terms, Views
from kea_subnet_deleg.roles.packets import Inbound, Outbound
from kea_subnet_deleg.roles.replies import Content, Replies, blocks_that_fit
from kea_subnet_deleg.roles.shortages import Shortages
from kea_subnet_deleg.wire import (
    BOOTREQUEST,
    BROADCAST_ADDRESS,
    MalformedMessage,
    MalformedOption,
    Message,
    MessageType,
    SubnetAllocation,
    SubnetBlock,
    SubnetRequest,
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

    def writes_debug(self) -> bool:
        """Whether what `debug` is given is written: to be asked before a line is composed for each message."""

    def writes_info(self) -> bool:
        """Whether what `info` is given is written."""

    def count(self, counter: str, n: int = 1) -> None:
        """Add to a counter."""


class Batches(Protocol):
    """What the role needs of the ledger."""

    def apply(self, operations: Sequence[Operation]) -> Sequence[Outcome | OperationFailed]:
        """Do all in one transaction, and return when it is on disk."""

    def holdings(self, asked: Sequence[tuple[int, bytes]]) -> Sequence[tuple[int, int]]:
        """Return for each lessee, told by space and identity, the addresses that it holds and uses now, in the order asked."""


@dataclass(init=False, slots=True)
class _Heard:
    """A message that is listened to: in which space, and who asks, with what it holds where that matters.

    `refusal`: it is not served, which is to be put into the event log.
    """

    packet: Inbound
    message: Message
    allocation: SubnetAllocation
    space: int
    lessee: Lessee
    refusal: Note | None = None

    def __init__(
        self,
        packet: Inbound,
        message: Message,
        allocation: SubnetAllocation,
        space: int,
        lessee: Lessee,
        refusal: Note | None = None,
    ) -> None:
        self.packet = packet
        self.message = message
        self.allocation = allocation
        self.space = space
        self.lessee = lessee
        self.refusal = refusal


class _Task(NamedTuple):
    """A message that needs the ledger."""

    heard: _Heard
    operation: Operation


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the role is handed: where blocks are recorded, who decides and by which figures, who may ask, and where it is told.

    `policies` by name; `own` has the server identifiers of this server (host-order integers), and grows as packets come in on further
    addresses. `domain`: the client identifier by which this domain itself asks for subnets, None while it is not known.
    `through`: a renewal of space that is itself leased may wait until that is renewed; `shortages` keeps it. `again`: what this role
    is handed is what another one kept there, after it had looked whether to believe it.
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
    again: bool = False


class Delegating:
    """The delegating side of one server."""

    def __init__(self, terms: Terms, surroundings: Surroundings) -> None:
        self._terms = terms
        self._ledger = surroundings.ledger
        self._deciding = Deciding(terms, surroundings.policies, surroundings.views, surroundings.shortages)
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
        self._again = surroundings.again
        self._notes = RateLimit(1 / NOTE_INTERVAL, surroundings.clock, burst=1.0)
        # Of the batch in hand. What Kea is told or asked is told or asked once for all: each call lets go of the GIL, and another
        # thread takes it.
        self._counted: Counter[str] = Counter()
        self._debug = self._info = False

    def handle(self, packets: Iterable[Inbound]) -> list[Outbound]:
        """Answer a batch of messages. When this returns, what the answers say is committed.

        Raises LedgerUnavailable, and then none of them may be answered: the clients will ask again.
        """
        answers: list[Outbound] = []
        self.serve(packets, answers.extend)
        return answers

    def serve(self, packets: Iterable[Inbound], send: Callable[[list[Outbound]], object]) -> None:
        """As `handle`, but what is committed is sent at once, where the rest of the batch takes longer.

        Raises LedgerUnavailable: what was not sent until then may not be answered.
        """
        self._debug, self._info = self._journal.writes_debug(), self._journal.writes_info()
        try:
            for tasks in _transactions(self._tasks(packets)):
                outcomes = self._ledger.apply([task.operation for task in tasks])
                answers = map(self._answer, tasks, outcomes)
                send([answer for answer in answers if answer is not None])
        finally:
            for counter, n in self._counted.items():
                self._journal.count(counter, n)
            self._counted.clear()

    def _tasks(self, packets: Iterable[Inbound]) -> list[_Task]:
        heard = [one for packet in packets if (one := self._read(packet)) is not None]
        self._look_up(heard)
        tasks = []
        for one in heard:
            operation = one.refusal or self._operation(one)
            if operation is None:
                self._counted["silent"] += 1
            else:
                tasks.append(_Task(one, operation))
        return tasks

    # ------------------------------------------------------------------------------------------------- what is asked

    def _read(self, packet: Inbound) -> _Heard | None:
        """Decode one message and see whether it may be served; None where it is to be met with silence."""
        try:
            message = Message.decode(packet.data)
            allocation = SubnetAllocation.decode(message.subnet_allocation_parts)
            _check_content(message, allocation)
        except (MalformedMessage, MalformedOption) as error:
            self._counted["malformed"] += 1
            if self._debug:
                self._journal.debug("SUBNET_DELEG_MALFORMED", f"from {_address(packet.source)}: {error}")
            return None
        heard = None
        # From ourselves, by a peer or a broadcast: a domain leases nothing to itself (seed [0053]).
        if message.op == BOOTREQUEST and message.type in _SERVED and message.client_identifier != self._domain():
            heard = self._admit(packet, message, allocation)
        if heard is None:
            self._counted["silent"] += 1
        return heard

    def _admit(self, packet: Inbound, message: Message, allocation: SubnetAllocation) -> _Heard | None:
        """Find the space that a message is about, and see whether it is served; None where nothing is to be said or done."""
        identity = message.client_identifier
        name = _vpn(message)
        space = self._views.directory.space_of(identity, name, message.link_address)
        if space is None:
            space = 0
            shown = name if name is None or name.isprintable() else repr(name)
            refusal: tuple[str, str] | None = ("not-admitted", f"no space is selected by the VPN {shown}")
        else:
            refusal = self._refusal(packet, message)
        if refusal is None:
            return _Heard(packet, message, allocation, space, Lessee(identity))
        note = self._not_served(space, message, *refusal)
        return None if note is None else _Heard(packet, message, allocation, space, Lessee(identity), note)

    def _look_up(self, heard: Sequence[_Heard]) -> None:
        """Read what those hold who ask for what is decided by that, once for all of them.

        Who renews or releases past its relay, which alone tells its space, is in the one space in which it holds something. Of several
        none is known to be meant: it stays where it is, and has its relay's word again when it rebinds.
        """
        figures, behind_relays = self._views.figures, self._views.directory.behind_relays
        if not (figures or behind_relays):
            return
        looked = [
            (one, spaces)
            for one in heard
            if one.refusal is None and (spaces := _spaces_to_look_into(one, behind_relays, figures=figures))
        ]
        if not looked:
            return
        asked = [(space, one.lessee.identity) for one, spaces in looked for space in spaces]
        holdings = iter(self._ledger.holdings(asked))
        for one, spaces in looked:
            found = [(space, held, used) for space, (held, used) in zip(spaces, holdings, strict=False) if held]
            if len(found) > 1:
                found = [holding for holding in found if holding[0] == one.space]
            if found:
                one.space, held, used = found[0]
                one.lessee = Lessee(one.lessee.identity, Holding(held, used))

    def _operation(self, heard: _Heard) -> Operation | None:
        """Decide what a message asks of the ledger; None for nothing."""
        kind = heard.message.type
        if kind is _DISCOVER:
            return self._discover(heard)
        if not heard.allocation.information:
            return None
        if kind is _REQUEST:
            return self._request(heard)
        named = heard.message.server_identifier
        return Release(
            heard.space,
            heard.lessee.identity,
            heard.message.xid,
            heard.packet.local_address if named and named == heard.message.server_identifier_override else named,
            self._terms.quarantine,
            tuple(block.network for block in _blocks(heard.allocation)),
        )

    def _refusal(self, packet: Inbound, message: Message) -> tuple[str, str] | None:
        """Return the counter and the reason where a message is not served at all, None where it is (RFC 6656 section 10)."""
        identity = message.client_identifier
        if self._allow:
            relay = message.relay
            address = message.giaddr or message.ciaddr or packet.source
            if not admitted(self._allow, identity, address, relay.circuit_id, relay.remote_id):
                return "not-admitted", "not on the allow-list"
        fault = self._authenticator.fault(message, packet.data, again=self._again)
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
            self._counted[kind] += 1
        if self._debug:
            self._journal.debug("SUBNET_DELEG_NOT_SERVED", f"{message.type.name} of {_client(identity)}: {reason}")
        if not self._notes.take(kind.encode() + identity):
            return None
        return Note(space, identity, message.xid, kind, reason, numbers)

    def _discover(self, heard: _Heard) -> Operation | None:
        message, allocation, space, identity = heard.message, heard.allocation, heard.space, heard.lessee.identity
        # Only a block with both c and s asks for the page behind it (RFC 6656 section 6.4); the last such counts.
        pages = None
        if allocation.information:
            pages = [info.blocks[-1].network for info in allocation.information if info.client and info.server]
        if pages or not _wants_blocks(allocation):
            return Listing(space, identity, message.xid, pages[-1] if pages else None, blocks_that_fit(message))
        pools = self._views.directory.pools_for(space, allocation.name)
        if not pools:
            self._keep(heard, self._terms.limits)
            return self._not_served(space, message, "refused", "no pool serves this request")
        if self._shortages.own and space == DEFAULT_SPACE:
            pools = tuple(pool for pool in pools if not self._lack_ourselves(pool))
            if not pools:
                self._keep(heard, self._terms.limits)
                return self._not_served(space, message, "refused", "this domain lacks space itself")
        sizes = self._sizes(heard, pools)
        if isinstance(sizes, Refusal):
            self._keep(heard, self._deciding.choice(pools[0]).limits)
            return self._not_served(space, message, "refused", sizes.reason, sizes.numbers)
        if not sizes:
            return None
        return Offer(
            space,
            identity,
            message.xid,
            heard.packet.local_address,
            self._contact(heard),
            self._terms.lease_time,
            self._terms.clamp(message.lease_time),
            self._terms.offer_hold,
            tuple([pool.number for pool in pools]),
            self._terms.max_blocks,
            self._terms.max_addresses,
            sizes,
        )

    def _sizes(self, heard: _Heard, pools: tuple[PoolTerms, ...]) -> tuple[Size, ...] | Refusal:
        """Return what the policy gives for the Subnet-Requests of a message, or why it gives nothing."""
        requests = heard.allocation.requests
        deciding = self._deciding
        choice, view = deciding.choice(pools[0]), deciding.view(heard.space, pools)
        if len(requests) == 1:
            size = deciding.size(0, requests[0], heard.lessee, choice, view)
            if isinstance(size, Refusal):
                self._tell_refusal(heard, requests[0], size)
                return size
            named = _named(heard.allocation, size.wanted, size.longest) if heard.allocation.information else None
            return (size if named is None else size._replace(named=named),)
        room = blocks_that_fit(heard.message)
        decided = deciding.sizes(requests[:room], heard.lessee, choice, view)
        for request, decision in zip(requests, decided, strict=False):
            if isinstance(decision, Refusal):
                self._tell_refusal(heard, request, decision)
        sizes = tuple(decision for decision in decided if isinstance(decision, Size))
        refusals = (decision for decision in decided if isinstance(decision, Refusal))
        return sizes or next(refusals, sizes)

    def _tell_refusal(self, heard: _Heard, request: SubnetRequest, refusal: Refusal) -> None:
        if self._debug:
            self._journal.debug(
                "SUBNET_DELEG_NOT_OFFERED",
                f"to {_client(heard.lessee.identity)}, which asked for /{request.prefix_length}: {refusal.reason} {refusal.numbers}",
            )

    def _lack_ourselves(self, pool: PoolTerms) -> bool:
        """Whether networks of our own wait for space of this pool (of the default space)."""
        own = self._shortages.own
        return pool.name in own or (None in own and not pool.tags)

    def _keep(self, heard: _Heard, limits: Limits) -> None:
        """Keep a request that there is nothing for, for when something was obtained of others (seed [0113]), if that can help."""
        if not self._is_obtained_for(heard):
            return
        asked = [request.prefix_length or limits.default for request in heard.allocation.requests]
        lengths = [max(length, limits.largest) for length in asked if length <= limits.smallest]
        self._shortages.keep(heard.lessee.identity, heard.packet, lengths)

    def _request(self, heard: _Heard) -> Operation | None:
        message, allocation = heard.message, heard.allocation
        named = message.server_identifier
        if named is None:
            return self._renewal(heard)
        if named == message.server_identifier_override:
            # So its relay calls every server, and all hear what was offered by one of them (RFC 5107 section 4). What is of none of our
            # pools is another domain's, or of a pool that only another server of ours has heard of yet: it must keep its offer.
            if not self._is_ours(heard):
                self._counted["foreign-server"] += 1
                return None
            named = heard.packet.local_address
        if named not in self._own and named != heard.packet.local_address:
            self._counted["foreign-server"] += 1
            if named in self._views.directory.servers:
                return None  # of our domain: what it offered is what we offered
            return Reclaim(heard.space, heard.lessee.identity, message.xid, named)
        # No field may differ from the offer (RFC 6656 section 4.3), which has neither c nor d. The ledger compares the rest.
        wanted = []
        altered = False
        for info in allocation.information:
            altered = altered or info.client
            for block in info.blocks:
                altered = altered or block.deprecate
                wanted.append(Wanted(block.address, block.prefix_length, block.hierarchical, info.server))
        if len(wanted) > 1:
            del wanted[blocks_that_fit(message) :]
        pool = self._views.directory.pool_of(heard.space, wanted[0].network, wanted[0].prefix_length)
        return Accept(
            heard.space,
            heard.lessee.identity,
            message.xid,
            named,
            self._contact(heard),
            tuple(wanted),
            altered,
            self._deciding.asks_what_is_held(pool),
        )

    def _is_ours(self, heard: _Heard) -> bool:
        """Whether any block that a message names is of our pools."""
        pool_of = self._views.directory.pool_of
        return any(pool_of(heard.space, block.address, block.prefix_length) for block in _blocks(heard.allocation))

    def _renewal(self, heard: _Heard) -> Operation:
        message = heard.message
        asked = self._terms.clamp(message.lease_time)
        items = []
        blocks: Sequence[SubnetBlock] = _blocks(heard.allocation)
        if len(blocks) > 1:
            # What is named twice is renewed once, by what is said of it first.
            once: dict[tuple[int, int], SubnetBlock] = {}
            for block in blocks:
                once.setdefault((block.address, block.prefix_length), block)
            blocks = list(once.values())[: blocks_that_fit(message)]
        for block in blocks:
            usage = block.usage or _NO_USAGE
            counts = (usage.high_water, usage.in_use, usage.unusable)
            reported = Reported(block.prefix_length, *counts)
            verdict = self._deciding.verdict(heard.space, heard.lessee, block.address, reported)
            items.append(
                Renewal(
                    cidr(block.address, block.prefix_length),
                    verdict.verdict.value,
                    asked,
                    *counts,
                    verdict.reason,
                    verdict.numbers,
                )
            )
        return Renew(
            heard.space,
            heard.lessee.identity,
            message.xid,
            heard.packet.local_address,
            self._contact(heard),
            self._terms.lease_time,
            self._terms.quarantine,
            tuple(items),
            self._through,
        )

    @staticmethod
    def _server_identifier(heard: _Heard, operation: Operation) -> int:
        """Return what we are called in the reply: as the relay wants it (RFC 5107 section 4), else our address.

        The ledger has our address in any case: by it another server knows who sends FORCERENEW, and who serves what is reserved.
        """
        ours = operation.server if isinstance(operation, Accept) else heard.packet.local_address
        return heard.message.server_identifier_override or ours

    @staticmethod
    def _contact(heard: _Heard) -> Contact:
        """Return where this client is answered, and a nonce to agree on if it can use one (RFC 6704 section 3.1.3)."""
        packet, message = heard.packet, heard.message
        address, port = destination(message, packet.source, packet.source_port)
        nonce = os.urandom(NONCE_SIZE) if can_use_nonce(message) else None
        return Contact(address, port, message.giaddr != 0, bytes((message.htype,)) + message.chaddr, nonce)

    # ---------------------------------------------------------------------------------------------- what is answered

    def _answer(self, task: _Task, outcome: Outcome | OperationFailed) -> Outbound | None:
        """Return the answer to one message, or none."""
        heard, operation = task
        if isinstance(outcome, OperationFailed):
            self._counted["conflicts"] += 1
            self._journal.error(
                "SUBNET_DELEG_OPERATION_FAILED",
                f"{heard.message.type.name} of {_client(operation.identity)}: {outcome.error}",
            )
            return None
        if outcome.result is _POSTPONED:
            self._shortages.postpone(heard.packet)
            return None
        if outcome.result is _EXHAUSTED and isinstance(operation, Offer):
            self._note_shortage(heard, operation)
        elif outcome.result is _OFFERED and self._shortages.remembered:
            self._shortages.served(operation.identity)
        if self._info:
            self._tell(operation, outcome)
        kind = _ANSWERS[type(operation)].get(outcome.result)
        if kind is None:
            self._counted["limited" if outcome.result is Result.LIMITED else "silent"] += 1
            return None
        self._counted["nak" if kind is _NAK else "answered"] += 1
        content = self._content(task, kind, outcome)
        server = self._server_identifier(heard, operation)
        return self._replies.encode(heard.packet, heard.message, kind, server, content)

    def _content(self, task: _Task, kind: MessageType, outcome: Outcome) -> Content:
        operation = task.operation
        blocks: Sequence[Granted] = outcome.blocks
        more = outcome.more
        if isinstance(operation, Accept):
            if kind is _NAK:
                blocks = [
                    Granted(network, prefix_length, hierarchical, False)
                    for network, prefix_length, hierarchical, _ in operation.blocks
                ]
            else:
                more = operation.held and self._push(task.heard, outcome)
        message, space = task.heard.message, task.heard.space
        # What is offered again was asked for before, maybe by another relay, whose option 82 left more room.
        if isinstance(operation, Offer) and len(blocks) > 1:
            blocks = blocks[: blocks_that_fit(message)]
        directory = self._views.directory
        elsewhere = message.vss is not None and directory.space_of_vpn(_vpn(message)) != space
        longest = [directory.host_lease_time(space, *block[:2]) for block in blocks] if directory.suggests else []
        host_lease_time = min((seconds for seconds in longest if seconds is not None), default=None)
        return Content(
            blocks,
            outcome.lease_time,
            isinstance(operation, Listing),
            more,
            outcome.nonce,
            elsewhere,
            host_lease_time,
        )

    def _push(self, heard: _Heard, outcome: Outcome) -> bool:
        """Whether the ACK tells the client to ask for more (seed [0072]), by what it holds now."""
        pool = self._views.directory.pool_of(heard.space, *outcome.blocks[0][:2])
        if pool is None:
            return False
        granted = sum([1 << 32 - block[1] for block in outcome.blocks])
        return self._deciding.pushes(heard.lessee.identity, pool, granted, max(0, outcome.held - granted), outcome.used)

    def _note_shortage(self, heard: _Heard, operation: Offer) -> None:
        addresses = sum(1 << 32 - size.wanted for size in operation.sizes)
        self._shortages.note(operation.space, operation.pools, addresses, operation.identity)
        if self._is_obtained_for(heard):
            self._shortages.keep(operation.identity, heard.packet, [size.wanted for size in operation.sizes])

    def _is_obtained_for(self, heard: _Heard) -> bool:
        """Whether what is obtained of others, which is of the default space and without tags, would serve a request."""
        pools = self._views.directory.pools_for(heard.space, heard.allocation.name)
        return heard.space == DEFAULT_SPACE and not any(pool.tags for pool in pools)

    def _tell(self, operation: Operation, outcome: Outcome) -> None:
        """Log what changed hands, one line a block."""
        identifier = _LINES[type(operation)].get(outcome.result)
        if identifier is None:
            return
        offered = outcome.result is _OFFERED
        if offered and not self._debug:
            return
        client = _client(operation.identity)
        log = self._journal.debug if offered else self._journal.info
        for network, prefix_length, _, deprecate in outcome.blocks:
            block = cidr(network, prefix_length)
            if outcome.lease_time is None:  # released or refused
                log(identifier, f"{block} of {client}")
                continue
            deprecated = ", to be given up" if deprecate else ""
            log(identifier, f"{block} to {client} for {outcome.lease_time} s{deprecated}")


NOTE_INTERVAL: Final = 60.0
"""Seconds for which the same refusal of the same client is not told to the event log again."""

_COUNTED: Final = frozenset({"not-admitted", "not-authentic", "limited"})
"""Kinds of refusal that have a counter of their own."""
# Looking up a member of an enum costs more than comparing it.
_DISCOVER: Final = MessageType.DISCOVER
_REQUEST: Final = MessageType.REQUEST
_RELEASE: Final = MessageType.RELEASE
_NAK: Final = MessageType.NAK
_OFFERED: Final = Result.OFFERED
_EXHAUSTED: Final = Result.EXHAUSTED
_POSTPONED: Final = Result.POSTPONED
_SERVED: Final = (_DISCOVER, _REQUEST, _RELEASE)

_ANSWERS: Final[defaultdict[type[Operation], dict[Result, MessageType]]] = defaultdict(
    dict,
    {
        Offer: {Result.OFFERED: MessageType.OFFER},
        Listing: {Result.LISTED: MessageType.OFFER},
        Accept: {Result.ACKNOWLEDGED: MessageType.ACK, Result.REFUSED: MessageType.NAK},
        Renew: {Result.ACKNOWLEDGED: MessageType.ACK, Result.REFUSED: MessageType.NAK},
    },
)

_LINES: Final[defaultdict[type[Operation], dict[Result, str]]] = defaultdict(
    dict,
    {
        Offer: {Result.OFFERED: "SUBNET_DELEG_OFFERED"},
        Accept: {Result.ACKNOWLEDGED: "SUBNET_DELEG_LEASED"},
        Renew: {Result.ACKNOWLEDGED: "SUBNET_DELEG_RENEWED", Result.REFUSED: "SUBNET_DELEG_RENEWAL_REFUSED"},
        Release: {Result.RELEASED: "SUBNET_DELEG_RELEASED"},
    },
)


def _vpn(message: Message) -> str | None:
    """Return the VPN that a message names, None where it names none or the global one."""
    vss = message.vss
    return None if vss is None or vss.kind is VssKind.GLOBAL else str(vss)


def _wants_blocks(allocation: SubnetAllocation) -> bool:
    """Whether a DISCOVER asks for blocks, not for the list of what the client holds."""
    requests = allocation.requests
    return not (requests[0].information if len(requests) == 1 else any(request.information for request in requests))


def _asks(heard: _Heard) -> bool:
    """Whether a message asks for what is decided by figures, before the ledger is asked."""
    message = heard.message
    if message.type is _DISCOVER:
        return bool(heard.allocation.requests) and _wants_blocks(heard.allocation)
    return message.type is _REQUEST and message.server_identifier is None and bool(heard.allocation.information)


def _spaces_to_look_into(heard: _Heard, behind_relays: tuple[int, ...], *, figures: bool) -> tuple[int, ...]:
    """Return the spaces in which it matters what a client holds: none where it decides nothing."""
    if behind_relays and heard.space == DEFAULT_SPACE and _came_past_its_relay(heard.message):
        return (DEFAULT_SPACE, *behind_relays)
    return (heard.space,) if figures and _asks(heard) else ()


def _came_past_its_relay(message: Message) -> bool:
    """Whether a message renews or releases, as clients do directly (RFC 2131 sections 4.3.2, 4.4.4), and names no link and no VPN."""
    if message.link_address or message.vss is not None:
        return False
    return message.type is _RELEASE or (message.type is _REQUEST and message.server_identifier is None)


_NOT_FLUSHED: Final = (Offer, Listing, Note)
"""What deleg.apply() commits without waiting for the disk, if it is alone."""


def _transactions(tasks: list[_Task]) -> list[list[_Task]]:
    """Part a batch into transactions.

    What need not be on disk before it is answered goes first, alone: else whoever offers next, here or at another server, would
    wait for this one's disk. Not where somebody asks for both, so that each client's messages stay in order.
    """
    soon = [task for task in tasks if isinstance(task.operation, _NOT_FLUSHED)]
    if not soon or len(soon) == len(tasks):
        return [tasks] if tasks else []
    rest = [task for task in tasks if not isinstance(task.operation, _NOT_FLUSHED)]
    if {task.operation.identity for task in soon}.isdisjoint([task.operation.identity for task in rest]):
        return [soon, rest]
    return [tasks]


def _check_content(message: Message, allocation: SubnetAllocation) -> None:
    """Raise MalformedMessage for what RFC 6656 forbids a client beyond the form of option 220, and where nobody can be answered."""
    answered = message.giaddr or message.ciaddr
    if answered and (answered >> 24 == 0 or answered >> 28 == 14 or answered == BROADCAST_ADDRESS):
        raise MalformedMessage(f"to be answered at {_address(answered)}, which is no relay's and no client's")
    if allocation.requests and message.type is not _DISCOVER and message.type in (_REQUEST, _RELEASE):
        raise MalformedMessage(f"a {message.type.name} with a Subnet-Request (RFC 6656 sections 4.3, 5.3)")
    if len(message.client_identifier) > LONGEST_IDENTITY:
        raise MalformedMessage(f"a client identifier of {len(message.client_identifier)} octets")


def _named(allocation: SubnetAllocation, wanted: int, longest: int) -> str | None:
    """Return the block that a DISCOVER asks for by name (RFC 6656 section 3.1), unless it is larger or smaller than what is given."""
    for info in allocation.information:
        for block in info.blocks:
            if not info.client and wanted <= block.prefix_length <= longest:
                return cidr(block.address, block.prefix_length)
    return None


def _blocks(allocation: SubnetAllocation) -> list[SubnetBlock]:
    return [block for information in allocation.information for block in information.blocks]


def _address(value: int) -> str:
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def _client(identity: bytes) -> str:
    """Return a client identifier as Kea's log writes it."""
    return identity.hex(":")
