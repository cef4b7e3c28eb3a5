# SPDX-License-Identifier: MPL-2.0
"""What a client's message asks of the ledger, and what the ledger made of it.

Each operation knows how it is written as a deleg.message, which is what deleg.apply() reads: PostgreSQL's own form of composite types.
IPv4 addresses are host-order integers, as on the packet's way.
"""

from __future__ import annotations

import enum
import json
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network
from typing import Any, Final, NamedTuple, cast


@lru_cache(maxsize=4096)  # servers and relays are few
def _address(value: int) -> str:
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


# Without a look for circles, of which there are none, and without spaces; `dict` for a policy's own kind of mapping.
_ENCODER: Final = json.JSONEncoder(check_circular=False, separators=(",", ":"), default=dict)


@lru_cache(maxsize=256)  # reasons are few, and so are the blocks that are asked for by name
def _json(text: str | None) -> str:
    return _ENCODER.encode(text)


def _numbers(numbers: Mapping[str, object] | None) -> str:
    """Return the numbers of a decision as JSON. One by one: the encoder takes longer to begin than for all of them."""
    if numbers is None:
        return "null"
    return "{" + ",".join([f"{_json(name)}:{_value(value)}" for name, value in numbers.items()]) + "}"


def _value(value: object) -> str:
    kind = type(value)
    if kind is float and math.isfinite(cast(float, value)):
        return repr(value)
    if kind is int:
        return str(value)
    return _json(cast(str, value)) if kind is str else _ENCODER.encode(value)


def _or_null(value: int | None) -> str:
    return "null" if value is None else str(value)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _optional(value: int | None) -> str:
    return "" if value is None else str(value)


MESSAGE_FIELDS: Final = (
    "op", "space", "identity", "xid", "server", "contact", "lease_time", "asked", "hold", "pools", "max_blocks", "max_addresses",
    "shortest", "sizes", "blocks", "held", "through", "quarantine", "named", "after", "limit", "kind", "reason", "detail",
)  # fmt: skip
"""What the type deleg.message has, in its order."""


def _template(op: str, *fields: str) -> str:
    """Return what `%` makes a deleg.message of, from space, identity, xid and the values of `fields`; all others are null."""
    given = ("space", "identity", "xid", *fields)
    if given != tuple(name for name in MESSAGE_FIELDS if name in given):
        raise ValueError(f"not in the order of deleg.message: {fields}")
    return "(" + ",".join([op, *("%s" if name in given else "" for name in MESSAGE_FIELDS[1:])]) + ")"


def _quoted(text: str) -> str:
    """Return a field of a composite type in quotes, as it is read whatever is in it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'


class Size(NamedTuple):
    """One block wanted, as the policy decided it (RFC 6656 section 3.1).

    `slot`: which Subnet-Request of the message it answers. `wanted` and `longest`: prefix lengths, the one to give and the
    longest (smallest block) that may be given instead where nothing of that size is free. `reason` and `detail` are for the
    event log: why, and the numbers it was decided by; a `push` among them sets flag s in the offer. `named`: the block (CIDR) that
    the client would like, taken if it is free.
    """

    slot: int
    wanted: int
    longest: int
    hierarchical: bool
    reason: str
    detail: Mapping[str, float | str | bool] | None = None
    named: str | None = None


# What was written last, by the number of the object, which is kept with it: the same one is often given to many.
_SIZES: Final[dict[int, tuple[Size, str]]] = {}
_SIZES_KEPT: Final = 256


def _size_json(size: Size) -> str:
    known = _SIZES.get(id(size))
    if known is not None:
        return known[1]
    slot, wanted, longest, hierarchical, reason, detail, named = size
    text = f"[{slot},{wanted},{longest},{_flag(hierarchical)},{_json(reason)},{_numbers(detail)},{_json(named)}]"
    if len(_SIZES) >= _SIZES_KEPT:
        _SIZES.clear()
    _SIZES[id(size)] = size, text
    return text


# Operations and outcomes are not frozen, see wire.Message. (An __init__ that is written out, too, would have to be so in all of them:
# mypyc takes that of a base class for theirs.) And the base class has no metaclass of ABC, with which isinstance() is a call in Python:
# that all have their values is mypy's to see.
@dataclass(slots=True)
class Operation:
    """Something one client asks. `identity` is its client identifier, `xid` its transaction."""

    space: int
    identity: bytes
    xid: int

    def to_record(self) -> str:
        """Return the operation as a deleg.message."""
        return _TEMPLATES[type(self)] % (self.space, self.identity.hex(), self.xid, *self._values())

    @abstractmethod
    def _values(self) -> tuple[object, ...]:
        """Return what the template has behind space, identity and xid, as PostgreSQL reads it."""


def cidr(network: int, prefix_length: int) -> str:
    """Return a prefix as PostgreSQL and the log write it."""
    return f"{network >> 24}.{network >> 16 & 255}.{network >> 8 & 255}.{network & 255}/{prefix_length}"


class Wanted(NamedTuple):
    """A block that a REQUEST names, with flags h and s: changed by so much as that, it was not offered.

    `network` is a host-order integer.
    """

    network: int
    prefix_length: int
    hierarchical: bool
    more: bool

    @classmethod
    def of(cls, prefix: IPv4Network, hierarchical: bool, more: bool) -> Wanted:
        """Return the block that is `prefix`."""
        return cls(int(prefix.network_address), prefix.prefixlen, hierarchical, more)

    @property
    def prefix(self) -> IPv4Network:
        """The block as a prefix."""
        return IPv4Network((self.network, self.prefix_length))


class Contact(NamedTuple):
    """Where a client was answered: address (host-order integer), port, whether as a relay (giaddr), hardware type and address.

    `nonce`: 16 octets to agree on for FORCERENEW if there are none yet, None where the client can't use one (RFC 6704).
    """

    address: int
    port: int
    relayed: bool
    hardware: bytes
    nonce: bytes | None = None

    def to_record(self) -> str:
        """Return the contact as a deleg.contact, quoted as a field of another type."""
        nonce = "" if self.nonce is None else self.nonce.hex()
        return f'"({_address(self.address)},{self.port},{_flag(self.relayed)},{self.hardware.hex()},{nonce})"'


@dataclass(slots=True)
class Offer(Operation):
    """Hold blocks for a DISCOVER.

    `lease_time`: the server's default; `asked`: what the client asked for, within limits, or None; `hold`: all in seconds. `pools`: the
    pools in question, by number. `max_blocks`, `max_addresses`: what one lessee may hold at most. `shortest`: seconds for which what it
    is offered must be leased to ourselves.
    """

    server: int
    contact: Contact
    lease_time: int
    asked: int | None
    hold: int
    pools: tuple[int, ...]
    max_blocks: int | None
    max_addresses: int | None
    sizes: tuple[Size, ...]
    shortest: int = 1

    def _values(self) -> tuple[object, ...]:
        sizes = ",".join([_size_json(size) for size in self.sizes])
        return (
            _address(self.server),
            self.contact.to_record(),
            self.lease_time,
            _optional(self.asked),
            self.hold,
            f'"{{{",".join(map(str, self.pools))}}}"',
            _optional(self.max_blocks),
            _optional(self.max_addresses),
            self.shortest,
            _quoted(f"[{sizes}]"),
        )


@dataclass(slots=True)
class Accept(Operation):
    """Lease the blocks that a REQUEST to us names.

    `altered`: so was another field of the offer, and all is refused. `held`: the outcome is to say how much the client holds
    and uses then.
    """

    server: int
    contact: Contact
    blocks: tuple[Wanted, ...]
    altered: bool = False
    held: bool = True

    def _values(self) -> tuple[object, ...]:
        blocks = ",".join(
            [
                f'["{cidr(network, prefix_length)}",{_flag(hierarchical)},{_flag(more)}]'
                for network, prefix_length, hierarchical, more in (() if self.altered else self.blocks)
            ]
        )
        return (
            _address(self.server),
            self.contact.to_record(),
            _quoted(f"[{blocks}]"),
            _flag(self.held),
        )


class Renewal(NamedTuple):
    """One block (CIDR) of a renewal and the policy's verdict on it: "full", "deprecate" or "refuse".

    `asked`: the lease time in seconds that the client asked for, within limits, or None; the three counts in addresses, None where the
    client reported none.
    """

    block: str
    verdict: str
    asked: int | None
    high_water: int | None
    in_use: int | None
    unusable: int | None
    reason: str
    detail: Mapping[str, float | str] | None = None


@dataclass(slots=True)
class Renew(Operation):
    """Renew what a REQUEST without server identifier names.

    `lease_time`: the server's default; `quarantine`: how long a refused block is held back; both in seconds. `through`: if our own
    lease on the space wears off, it is to be renewed first; the outcome is POSTPONED then.
    """

    server: int
    contact: Contact
    lease_time: int
    quarantine: int
    blocks: tuple[Renewal, ...]
    through: bool = False

    def _values(self) -> tuple[object, ...]:
        blocks = ",".join(
            [
                f'["{block}",{_json(verdict)},{_or_null(asked)},{_or_null(high_water)},{_or_null(in_use)},{_or_null(unusable)},'
                f"{_json(reason)},{_numbers(detail)}]"
                for block, verdict, asked, high_water, in_use, unusable, reason, detail in self.blocks
            ]
        )
        return (
            _address(self.server),
            self.contact.to_record(),
            self.lease_time,
            _quoted(f"[{blocks}]"),
            _flag(self.through),
            self.quarantine,
        )


@dataclass(slots=True)
class Release(Operation):
    """Take back what a RELEASE names. `quarantine`: seconds until it may be leased again.

    `named` is the server identifier in it. RFC 2131 table 5 demands one, the examples of RFC 6656 have none; any server of the
    domain may take it, whichever of them is named.
    """

    named: int | None
    quarantine: int
    blocks: tuple[IPv4Network, ...]

    def _values(self) -> tuple[object, ...]:
        blocks = _quoted(_ENCODER.encode([str(block) for block in self.blocks]))
        named = "" if self.named is None else _address(self.named)
        return (blocks, self.quarantine, named)


@dataclass(slots=True)
class Reclaim(Operation):
    """The client chose another server, `named`: if it is none of this domain, what we offered is free again."""

    named: int

    def _values(self) -> tuple[object, ...]:
        return (_address(self.named),)


@dataclass(slots=True)
class Listing(Operation):
    """List what the client holds, `limit` blocks from behind `after` (RFC 6656 section 6)."""

    after: IPv4Network | None
    limit: int

    def _values(self) -> tuple[object, ...]:
        after = "" if self.after is None else self.after
        return (after, self.limit)


@dataclass(slots=True)
class Note(Operation):
    """Record a decision that leaves the client without an answer: its kind, reason, and the numbers it was made from."""

    kind: str
    reason: str
    detail: Mapping[str, float | str | bool] | None = None

    def _values(self) -> tuple[object, ...]:
        detail = "" if self.detail is None else _quoted(_numbers(self.detail))
        return (_quoted(self.kind), _quoted(self.reason), detail)


_TEMPLATES: Final[Mapping[type[Operation], str]] = {
    Offer: _template(
        "offer",
        "server",
        "contact",
        "lease_time",
        "asked",
        "hold",
        "pools",
        "max_blocks",
        "max_addresses",
        "shortest",
        "sizes",
    ),
    Accept: _template("accept", "server", "contact", "blocks", "held"),
    Renew: _template("renew", "server", "contact", "lease_time", "blocks", "through", "quarantine"),
    Release: _template("release", "blocks", "quarantine", "named"),
    Reclaim: _template("reclaim", "named"),
    Listing: _template("list", "after", "limit"),
    Note: _template("note", "kind", "reason", "detail"),
}


class Result(enum.Enum):
    """What came of an operation. NOTHING: nothing to say and nothing changed. LIMITED: the client holds all it may already.

    POSTPONED: to be done once more, when our own lease was renewed.
    """

    NOTHING = "nothing"
    LIMITED = "limited"
    EXHAUSTED = "exhausted"
    OFFERED = "offered"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    RELEASED = "released"
    RECLAIMED = "reclaimed"
    LISTED = "listed"
    POSTPONED = "postponed"

    # Members are singletons; what enum has instead is a Python call for each look into a dictionary.
    __hash__ = object.__hash__


_RESULTS: Final[Mapping[str, Result]] = {result.value: result for result in Result}


class Granted(NamedTuple):
    """A block in an outcome: network (host-order integer), prefix length, RFC 6656 flags h and d."""

    network: int
    prefix_length: int
    hierarchical: bool
    deprecate: bool

    @property
    def prefix(self) -> IPv4Network:
        """The block as a prefix."""
        return IPv4Network((self.network, self.prefix_length))


@dataclass(init=False, slots=True)
class Outcome:
    """What came of one operation.

    `lease_time` in seconds; `more`: a listing goes on behind its last block, or there is more on offer (flag s in both); `nonce`: that
    agreed on with this client, where it asked for one; `held` and `used`: addresses that it holds now, offers included, and uses by
    its last reports, where that was asked for.
    """

    result: Result
    lease_time: int | None = None
    blocks: tuple[Granted, ...] = ()
    more: bool = False
    nonce: bytes | None = None
    held: int = 0
    used: int = 0

    def __init__(
        self,
        result: Result,
        lease_time: int | None = None,
        blocks: tuple[Granted, ...] = (),
        more: bool = False,
        nonce: bytes | None = None,
        held: int = 0,
        used: int = 0,
    ) -> None:
        self.result = result
        self.lease_time = lease_time
        self.blocks = blocks
        self.more = more
        self.nonce = nonce
        self.held = held
        self.used = used

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outcome:
        """Read one element of what deleg.apply() returns."""
        get = value.get
        nonce = get("nonce")
        return cls(
            _RESULTS[value["outcome"]],
            get("lease_time"),
            tuple(map(Granted._make, get("blocks", ()))),
            get("more", False),
            bytes.fromhex(nonce) if nonce else None,
            get("held", 0),
            get("used", 0),
        )


@dataclass(slots=True)
class OperationFailed:
    """The one operation of a batch that failed alone; the ledger is as if it had not been tried."""

    error: str


def batch_to_array(operations: Sequence[Operation]) -> str:
    """Return a batch as deleg.apply() reads it: an array of deleg.message."""
    records = [operation.to_record().replace("\\", "\\\\").replace('"', '\\"') for operation in operations]
    return '{"' + '","'.join(records) + '"}' if records else "{}"
