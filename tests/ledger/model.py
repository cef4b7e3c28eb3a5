# SPDX-License-Identifier: MPL-2.0
"""The ledger as a few dictionaries: what test_model.py holds the real one against. No clock: what is due is marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from kea_subnet_deleg.ledger import Accept, Granted, Offer, Outcome, Renew, Result, Size

HELD = ("leased", "reserved")
OUT = ("offered", *HELD)
Usage = tuple[int | None, int | None, int | None]


@dataclass
class Held:
    """A block that is not free. `due`: its time is over, and the next sweep sees it. `renewed`: a turn of the model, or None.

    `client`: b"" for one that a network of ours has, or had. `asked_back`: it drains because its origin does.
    """

    state: str
    client: bytes
    xid: int
    slot: int
    hierarchical: bool
    lease_time: int
    server: int
    push: bool = False
    draining: bool = False
    due: bool = False
    renewed: int | None = None
    usage: Usage | None = None
    network: str | None = None
    asked_back: bool = False


@dataclass
class Pool:
    """On which terms its origins are leased."""

    number: int
    tags: frozenset[str] = frozenset()
    lease_time: int | None = None
    reserve: int = 0
    members: frozenset[bytes] = frozenset()


@dataclass
class Origin:
    """Address space of a pool.

    `server`: who leased it to us, None for an administrator's. That lease is without end until it has `ended`. `due`: it is time for its
    renewal, or its RELEASE.
    """

    pool: Pool
    max_lease: int | None = None
    closing: bool = False
    removing: bool = False
    server: int | None = None
    ended: bool = False
    rebind: bool = False
    due: bool = False
    tries: int = 0
    high_water: int | None = None
    giving_back: bool = False

    def within(self, seconds: int) -> int:
        return 0 if self.ended else seconds if self.max_lease is None else min(seconds, self.max_lease)


@dataclass
class Takeback:
    """A FORCERENEW to be sent when `due`, after `attempts` others; -1: they were in vain. `shortage`: nobody asked for it by name."""

    attempts: int = 0
    due: bool = True
    shortage: bool = False


@dataclass
class Model:
    """One space of the ledger. Methods do what the ledger's of the same name do, and return what it must answer."""

    domain: frozenset[int]
    pools: dict[str, Pool] = field(default_factory=dict)
    origins: dict[IPv4Network, Origin] = field(default_factory=dict)
    free: set[IPv4Network] = field(default_factory=set)
    held: dict[IPv4Network, Held] = field(default_factory=dict)
    nonces: dict[bytes, bytes | None] = field(default_factory=dict)  # of every lessee that there is
    takebacks: dict[IPv4Network, Takeback] = field(default_factory=dict)
    turn: int = 0

    # ------------------------------------------------------------------------------------------------ free blocks

    def origin(self, block: IPv4Network) -> Origin:
        return self.origins[self.origin_prefix(block)]

    def origin_prefix(self, block: IPv4Network) -> IPv4Network:
        return next(prefix for prefix in self.origins if block.subnet_of(prefix))

    def pools_for(self, name: str | None) -> list[int]:
        """Return the numbers of the pools that serve a Subnet-Name; those without address space serve nobody."""
        pools = [pool for pool in self.pools.values() if any(origin.pool is pool for origin in self.origins.values())]
        tagged = [pool for pool in pools if name in pool.tags]
        return sorted(pool.number for pool in tagged or [pool for pool in pools if not pool.tags])

    def open_blocks(self, pools: Sequence[int]) -> list[IPv4Network]:
        return [b for b in self.free if not self.origin(b).closing and self.origin(b).pool.number in pools]

    def pools_open_to(self, client: bytes, pools: Sequence[int], size: int) -> list[int]:
        return [
            pool.number
            for pool in self.pools.values()
            if pool.number in pools
            and (
                pool.reserve == 0
                or client in pool.members
                or pool.reserve + size <= addresses(self.open_blocks((pool.number,)))
            )
        ]

    def find_free(self, client: bytes, pools: Sequence[int], size: Size, contact: int) -> IPv4Network | None:
        """Return the block that holds the one named, else best fit, of an origin where the client is already first.

        Nothing of what the client leases to us, or of what has ended.
        """
        blocks = [b for b in self.open_blocks(pools) if not self.origin(b).ended and self.origin(b).server != contact]
        if size.named is not None:
            named = IPv4Network(size.named)
            for block in blocks:
                if named.subnet_of(block):
                    return block
        fitting = [block for block in blocks if block.prefixlen <= size.wanted]
        known = {self.origin_prefix(block) for block in self.of(client, *OUT)}
        near = [block for block in fitting if self.origin_prefix(block) in known]
        if near or fitting:
            return min(near or fitting, key=lambda block: (-block.prefixlen, block))
        smaller = [block for block in blocks if size.wanted < block.prefixlen <= size.longest]
        return min(smaller, key=lambda block: (block.prefixlen, block), default=None)

    def take(self, found: IPv4Network, size: Size) -> IPv4Network:
        taken = IPv4Network((found.network_address, max(found.prefixlen, size.wanted)))
        if size.named is not None and IPv4Network(size.named).subnet_of(found):
            taken = IPv4Network(size.named)
        self.free.remove(found)
        self.free.update(found.address_exclude(taken) if taken != found else ())
        return taken

    def give_back(self, block: IPv4Network) -> None:
        self.held.pop(block)
        origin = self.origin_prefix(block)
        while block != origin:
            parent = block.supernet()
            (buddy,) = parent.address_exclude(block)
            if buddy not in self.free:
                break
            self.free.remove(buddy)
            block = parent
        self.free.add(block)

    # ------------------------------------------------------------------------------------------------ messages

    def of(self, client: bytes, *states: str, xid: int | None = None) -> list[IPv4Network]:
        return sorted(
            block
            for block, held in self.held.items()
            if held.client == client and held.state in states and xid in (None, held.xid)
        )

    def offer(self, asks: Offer) -> Outcome:
        client, xid = asks.identity, asks.xid
        blocks = self.of(client, *OUT, xid=xid)
        for block in blocks:  # what is offered again is held again
            self.held[block].due = self.held[block].due and self.held[block].state != "offered"
        if not blocks:
            limited = False
            for size in asks.sizes:
                wanted = 1 << 32 - size.wanted
                mine = self.of(client, *OUT)
                if (asks.max_blocks is not None and len(mine) >= asks.max_blocks) or (
                    asks.max_addresses is not None and addresses(mine) + wanted > asks.max_addresses
                ):
                    limited = True
                    continue
                found = self.find_free(
                    client, self.pools_open_to(client, asks.pools, wanted), size, asks.contact.address
                )
                if found is None:
                    continue
                block = self.take(found, size)
                origin = self.origin(block)
                granted = origin.within(_first(asks.asked, origin.pool.lease_time, asks.lease_time))
                self.held[block] = Held("offered", client, xid, size.slot, size.hierarchical, granted, asks.server)
                self.held[block].push = "push" in (size.detail or {})
                self.nonces.setdefault(client, asks.contact.nonce)
                blocks.append(block)
            if not blocks:
                return Outcome(Result.LIMITED if limited else Result.EXHAUSTED)
            for block in blocks:
                self.held[block].lease_time = min(self.held[b].lease_time for b in blocks)
        blocks.sort(key=lambda block: self.held[block].slot)
        granted_blocks = tuple(_granted(block, self.held[block]) for block in blocks)
        least = min(self.held[block].lease_time for block in blocks)
        return Outcome(Result.OFFERED, least, granted_blocks, any(self.held[block].push for block in blocks))

    def accept(self, asks: Accept) -> Outcome:
        client = asks.identity
        mine = self.of(client, *OUT)
        pushed = {self.held[block].xid for block in mine if self.held[block].push}  # flag s is of a whole OFFER
        known = [
            asked.prefix
            for asked in asks.blocks
            if asked.prefix in mine
            and self.held[asked.prefix].hierarchical == asked.hierarchical
            and (self.held[asked.prefix].xid in pushed or not asked.more)
        ]
        # What is its own already, a NAK would have it give up.
        if not known or (len(known) < len(asks.blocks) and all(self.held[block].state == "offered" for block in known)):
            return Outcome(Result.REFUSED)
        kept = list(dict.fromkeys(known))
        lease_time = min(self.origin(b).within(self.held[b].lease_time) for b in kept)
        if lease_time < 1:
            return Outcome(Result.REFUSED)
        for block in kept:
            held = self.held[block]
            if held.state != "reserved":
                held.state, held.server = "leased" if held.hierarchical else "reserved", asks.server
            held.lease_time, held.due, held.renewed = lease_time, False, self.turn
            held.asked_back = held.draining and held.asked_back
        for xid in {self.held[block].xid for block in kept}:
            for block in self.of(client, "offered", xid=xid):
                self.give_back(block)
        granted = tuple(_granted(block, self.held[block]) for block in kept)  # without d: that is for renewals
        nonce = self.agree(client, asks.contact.nonce)
        return Outcome(
            Result.ACKNOWLEDGED,
            lease_time,
            granted,
            nonce=nonce,
            held=addresses(self.of(client, *OUT) if asks.held else ()),
            used=sum(map(self.used, self.of(client, *HELD))) if asks.held else 0,
        )

    def used(self, block: IPv4Network) -> int:
        """Return the addresses in use of a block, as far as is reported; 65534 is the most that can be, and never more than it has."""
        count = self._used(block) or 0
        return block.num_addresses if count == 65534 else min(count, block.num_addresses)

    def agree(self, client: bytes, nonce: bytes | None) -> bytes | None:
        """Return the nonce in force where the client can use one; the first it could use is kept."""
        if nonce is None:
            return None
        self.nonces[client] = self.nonces[client] or nonce
        return self.nonces[client]

    def renew(self, asks: Renew) -> Outcome:
        client = asks.identity
        mine = self.of(client, *HELD, "quarantined")
        mixed = any(
            item.verdict != "refuse" and IPv4Network(item.block) in self.of(client, *HELD) for item in asks.blocks
        )
        renewed: list[Granted] = []
        refused: list[Granted] = []
        times = []
        for item in asks.blocks:
            block = IPv4Network(item.block)
            if block not in mine:
                continue
            held, origin = self.held[block], self.origin(block)
            if held.state == "quarantined" or (item.verdict == "refuse" and not mixed) or origin.ended:
                refused.append(_granted(block, held))
                if held.state != "quarantined":
                    self.quarantine(block)
                elif not mixed:
                    self.takebacks.pop(block, None)
                continue
            held.asked_back = held.asked_back if held.draining else origin.closing  # why it drains first
            held.draining = held.draining or item.verdict != "full" or origin.closing
            held.due, held.renewed = False, self.turn
            if held.state != "reserved":  # it stays with who serves its hosts
                held.server = asks.server
            held.push = "push" in (item.detail or {})
            counts = (item.high_water, item.in_use, item.unusable)
            held.usage = counts if counts != (None, None, None) else held.usage
            self.takebacks.pop(block, None)
            times.append(origin.within(_first(item.asked, origin.pool.lease_time, asks.lease_time)))
            renewed.append(_granted(block, held, deprecate=held.draining))
        if not renewed:
            return Outcome(Result.REFUSED, None, tuple(refused)) if refused else Outcome(Result.NOTHING)
        for granted in renewed:
            self.held[granted.prefix].lease_time = min(times)
        nonce = self.agree(client, asks.contact.nonce)
        return Outcome(Result.ACKNOWLEDGED, min(times), tuple(renewed), nonce=nonce)

    def release(self, client: bytes, named: int | None, blocks: Iterable[IPv4Network]) -> Outcome:
        if named is not None and named not in self.domain:
            return Outcome(Result.NOTHING)
        mine = sorted(set(blocks) & set(self.of(client, *HELD)))
        for block in mine:
            self.quarantine(block)
        for block in set(blocks) & set(self.of(client, "quarantined")):
            self.takebacks.pop(block, None)
        released = tuple(_granted(block, self.held[block]) for block in mine)
        return Outcome(Result.RELEASED if mine else Result.NOTHING, None, released)

    def reclaim(self, client: bytes, xid: int, named: int) -> Outcome:
        spare = [] if named in self.domain else self.of(client, "offered", xid=xid)
        for block in spare:
            self.give_back(block)
        return Outcome(Result.RECLAIMED if spare else Result.NOTHING)

    def listing(self, client: bytes, after: IPv4Network | None, limit: int) -> Outcome:
        blocks = [b for b in self.of(client, *HELD) if not self.held[b].due and (after is None or b > after)]
        if not blocks:
            return Outcome(Result.NOTHING)
        page = []
        for block in blocks[:limit]:
            held = self.held[block]
            page.append(_granted(block, held, deprecate=held.draining or self.origin(block).closing))
        return Outcome(Result.LISTED, None, tuple(page), more=len(blocks) > limit)

    # ------------------------------------------------------------------------------------------------ time, operators

    def quarantine(self, block: IPv4Network, due: bool = False) -> None:
        held = self.held[block]
        held.state, held.draining, held.due, held.usage = "quarantined", False, due, None
        self.takebacks.pop(block, None)

    def sweep(self, quarantine: int) -> tuple[int, int, int, int, int, bool]:
        offers = leases = quarantines = 0
        for origin in self.origins.values():
            origin.closing = origin.closing or origin.ended
        takebacks = sum(takeback.due for takeback in self.takebacks.values())
        for block, held in [(block, held) for block, held in self.held.items() if held.due]:
            match held.state:
                case "offered":
                    self.give_back(block)
                    offers += 1
                case "quarantined":
                    self.takebacks.pop(block, None)
                    self.give_back(block)
                    quarantines += 1
                case _:
                    self.quarantine(block, due=quarantine == 0)
                    leases += 1
        empty = [
            prefix
            for prefix, origin in self.origins.items()
            if origin.closing and (origin.server is None or origin.ended) and not self.blocks_out(prefix)
        ]
        for prefix in empty:
            self.remove(prefix)
        return offers, leases, quarantines, len(empty), takebacks, False

    def blocks_out(self, origin: IPv4Network) -> int:
        return sum(block.subnet_of(origin) for block in self.held)

    def remove(self, origin: IPv4Network) -> None:
        self.free = {block for block in self.free if not block.subnet_of(origin)}
        del self.origins[origin]

    def overlaps(self, prefix: IPv4Network) -> bool:
        return any(prefix.overlaps(origin) for origin in self.origins)

    def pool_add(
        self, prefix: IPv4Network, number: int, name: str, max_lease: int | None, terms: Mapping[str, Any]
    ) -> None:
        """Add an origin that overlaps none to a pool, which the ledger gave a number."""
        pool = self.pools.setdefault(name, Pool(number))
        for term, value in terms.items():
            setattr(pool, term, value)
        self.origins[prefix] = Origin(pool, max_lease)
        self.free.add(prefix)

    def pool_remove(self, prefix: IPv4Network) -> int | None:
        if prefix not in self.origins:
            return None
        origin = self.origins[prefix]
        origin.closing = origin.removing = True
        out = self.blocks_out(prefix)
        if not out and (origin.server is None or origin.ended):
            self.remove(prefix)
        return out

    def pool_keep(self, prefix: IPv4Network) -> bool:
        """Take `pool_remove` back; False where that is not under way, or the RELEASE has just been sent."""
        origin = self.origins.get(prefix)
        if origin is None or not origin.removing or (origin.giving_back and not origin.due):
            return False
        origin.closing = origin.removing = origin.giving_back = False
        origin.due = origin.server is not None
        for block, held in self.held.items():
            if block.subnet_of(prefix) and held.state in HELD:
                held.draining = held.draining and not held.asked_back
        return True

    def deprecate(self, block: IPv4Network) -> bool:
        held = self.held.get(block)
        if held is None or held.state not in HELD or (held.draining and not held.asked_back):
            return False
        held.draining, held.asked_back = True, False
        return True

    # ------------------------------------------------------------------------------------------------ takeback

    def takeback(self, block: IPv4Network) -> bool:
        """Ask one lease back, for an operator: from the first attempt on."""
        held = self.held.get(block)
        if held is None or held.state not in HELD:
            return False
        held.draining, held.asked_back = True, False
        self.takebacks[block] = Takeback()
        return True

    def keep_lease(self, block: IPv4Network) -> bool | None:
        """Leave a lease that was asked back to its holder; None where its origin is closing."""
        held = self.held.get(block)
        if held is None or held.state not in HELD:
            return False
        if self.origin(block).closing:
            return None
        asked = held.draining or block in self.takebacks
        held.draining = False
        self.takebacks.pop(block, None)
        return asked

    def takeback_least_used(self, pools: Sequence[int], wanted: int, limit: int, everybody: bool) -> int:
        """Ask the least used leases back, of those used by half at most; return how many.

        They make up `wanted` addresses with what comes back already. Last are those of which no use was ever reported.
        """
        there = [
            block for block in self.held if self.origin(block).pool.number in pools and not self.origin(block).closing
        ]
        little = [
            block
            for block in there
            if self.held[block].state in HELD
            and not self.held[block].draining
            and block not in self.takebacks
            and (self._used(block) or 0) * 2 <= block.num_addresses
        ]
        little.sort(
            key=lambda block: (
                self._used(block) is None,
                (self._used(block) or 0) / block.num_addresses,
                self.held[block].renewed,
                block,
            )
        )
        before, chosen = sum(block.num_addresses for block in there if self._comes_back(block)), 0
        for block in little[:limit] if everybody else ():
            if before < wanted:
                self.takebacks[block] = Takeback(shortage=True)
                chosen += 1
            before += block.num_addresses
        return chosen

    def _used(self, block: IPv4Network) -> int | None:
        high_water, in_use, _ = self.held[block].usage or (None, None, None)
        return high_water if in_use is None else in_use

    def _comes_back(self, block: IPv4Network) -> bool:
        """All was renewed, and all began to drain, a moment ago."""
        held = self.held[block]
        asked = block in self.takebacks and 0 <= self.takebacks[block].attempts <= 2
        return held.state == "quarantined" or (held.state in (*HELD, "local") and (held.draining or asked))

    def takeback_due(
        self, own: Iterable[int], keyed: Iterable[bytes], unauthenticated: bool, attempts: int
    ) -> dict[IPv4Network, int]:
        """Return the blocks of which FORCERENEWs are due at a server, with the number of the attempt."""
        sent = {}
        for block, takeback in [(block, takeback) for block, takeback in self.takebacks.items() if takeback.due]:
            held = self.held[block]
            if held.server not in own:
                continue
            if takeback.attempts < 0:
                del self.takebacks[block]
                continue
            checkable = unauthenticated or held.client in keyed or self.nonces[held.client] is not None
            if not checkable or takeback.attempts >= attempts:
                if takeback.shortage:
                    takeback.attempts, takeback.due = -1, False
                else:
                    del self.takebacks[block]
                continue
            takeback.attempts, takeback.due = takeback.attempts + 1, False
            sent[block] = takeback.attempts
        return sent


def addresses(blocks: Iterable[IPv4Network]) -> int:
    return sum(block.num_addresses for block in blocks)


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _granted(block: IPv4Network, held: Held, *, deprecate: bool = False) -> Granted:
    return Granted(int(block.network_address), block.prefixlen, held.hierarchical, deprecate)
