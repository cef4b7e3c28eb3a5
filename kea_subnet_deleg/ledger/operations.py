# SPDX-License-Identifier: MPL-2.0
"""What a client's message asks of the ledger, and what the ledger made of it.

Each operation knows how deleg.apply() wants it said. IPv4 addresses are host-order integers, as on the packet's way.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, NamedTuple


def _address(value: int) -> str:
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


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


@dataclass(frozen=True, slots=True)
class Operation:
    """Something one client asks. `identity` is its client identifier, `xid` its transaction."""

    space: int
    identity: bytes
    xid: int

    def to_json(self) -> dict[str, Any]:
        """Return the operation as deleg.apply() reads it."""
        return {"space": self.space, "identity": self.identity.hex(), "xid": self.xid}


class Contact(NamedTuple):
    """Where a client was answered: address (host-order integer), port, whether as a relay (giaddr), hardware type and address.

    `nonce`: 16 octets to agree on for FORCERENEW if there are none yet, None where the client can't use one (RFC 6704).
    """

    address: int
    port: int
    relayed: bool
    hardware: bytes
    nonce: bytes | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the contact as deleg._contact() reads it."""
        return {
            "address": _address(self.address),
            "port": self.port,
            "relayed": self.relayed,
            "hardware": self.hardware.hex(),
            "nonce": None if self.nonce is None else self.nonce.hex(),
        }


@dataclass(frozen=True, slots=True)
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

    def to_json(self) -> dict[str, Any]:
        return Operation.to_json(self) | {
            "op": "offer",
            "server": _address(self.server),
            "contact": self.contact.to_json(),
            "lease_time": self.lease_time,
            "asked": self.asked,
            "hold": self.hold,
            "pools": self.pools,
            "max_blocks": self.max_blocks,
            "max_addresses": self.max_addresses,
            "sizes": self.sizes,
            "shortest": self.shortest,
        }


@dataclass(frozen=True, slots=True)
class Accept(Operation):
    """Lease the blocks that a REQUEST to us names, each with flags h and s: changed by so much as that, it was not offered.

    `altered`: so was another field of the offer, and all is refused. `held`: the outcome is to say how much the client holds then.
    """

    server: int
    contact: Contact
    blocks: tuple[tuple[IPv4Network, bool, bool], ...]
    altered: bool = False
    held: bool = True

    def to_json(self) -> dict[str, Any]:
        blocks = [] if self.altered else [(str(block), hierarchical, more) for block, hierarchical, more in self.blocks]
        return Operation.to_json(self) | {
            "op": "accept",
            "server": _address(self.server),
            "contact": self.contact.to_json(),
            "held": self.held,
            "blocks": blocks,
        }


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


@dataclass(frozen=True, slots=True)
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

    def to_json(self) -> dict[str, Any]:
        return Operation.to_json(self) | {
            "op": "renew",
            "server": _address(self.server),
            "contact": self.contact.to_json(),
            "lease_time": self.lease_time,
            "quarantine": self.quarantine,
            "blocks": self.blocks,
            "through": self.through,
        }


@dataclass(frozen=True, slots=True)
class Release(Operation):
    """Take back what a RELEASE names. `quarantine`: seconds until it may be leased again.

    `named` is the server identifier in it. RFC 2131 table 5 demands one, the examples of RFC 6656 have none; any server of the
    domain may take it, whichever of them is named.
    """

    named: int | None
    quarantine: int
    blocks: tuple[IPv4Network, ...]

    def to_json(self) -> dict[str, Any]:
        return Operation.to_json(self) | {
            "op": "release",
            "named": None if self.named is None else _address(self.named),
            "quarantine": self.quarantine,
            "blocks": [str(block) for block in self.blocks],
        }


@dataclass(frozen=True, slots=True)
class Reclaim(Operation):
    """The client chose another server, `named`: if it is none of this domain, what we offered is free again."""

    named: int

    def to_json(self) -> dict[str, Any]:
        return Operation.to_json(self) | {"op": "reclaim", "named": _address(self.named)}


@dataclass(frozen=True, slots=True)
class Listing(Operation):
    """List what the client holds, `limit` blocks from behind `after` (RFC 6656 section 6)."""

    after: IPv4Network | None
    limit: int

    def to_json(self) -> dict[str, Any]:
        after = None if self.after is None else str(self.after)
        return Operation.to_json(self) | {"op": "list", "after": after, "limit": self.limit}


@dataclass(frozen=True, slots=True)
class Note(Operation):
    """Record a decision that leaves the client without an answer: its kind, reason, and the numbers it was made from."""

    kind: str
    reason: str
    detail: Mapping[str, float | str | bool] | None = None

    def to_json(self) -> dict[str, Any]:
        return Operation.to_json(self) | {"op": "note", "kind": self.kind, "reason": self.reason, "detail": self.detail}


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one operation.

    `lease_time` in seconds; `more`: a listing goes on behind its last block, or there is more on offer (flag s in both); `nonce`: that
    agreed on with this client, where it asked for one; `held`: addresses that it holds now, offers included.
    """

    result: Result
    lease_time: int | None = None
    blocks: tuple[Granted, ...] = ()
    more: bool = False
    nonce: bytes | None = None
    held: int = 0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outcome:
        """Read one element of what deleg.apply() returns."""
        return cls(
            Result(value["outcome"]),
            value.get("lease_time"),
            tuple(Granted(*block) for block in value.get("blocks", ())),
            value.get("more", False),
            bytes.fromhex(value["nonce"]) if value.get("nonce") else None,
            value.get("held", 0),
        )


@dataclass(frozen=True, slots=True)
class OperationFailed:
    """The one operation of a batch that failed alone; the ledger is as if it had not been tried."""

    error: str


def batch_to_json(operations: Sequence[Operation]) -> list[dict[str, Any]]:
    """Return a batch as deleg.apply() reads it."""
    return [operation.to_json() for operation in operations]
