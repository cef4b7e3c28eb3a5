# SPDX-License-Identifier: MPL-2.0
"""The ledger as a few dictionaries: what test_model.py holds the real one against. One space, no clock: what is due is marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from kea_subnet_deleg.ledger import Granted, Outcome, Renewal, Result, Size

HELD = ("leased", "reserved")
Usage = tuple[int | None, int | None, int | None]


@dataclass
class Held:
    """A block that is not free. `due`: its time is over, and the next sweep sees it."""

    state: str
    client: bytes
    xid: int
    slot: int
    hierarchical: bool
    lease_time: int
    draining: bool = False
    due: bool = False
    usage: Usage | None = None


@dataclass
class Origin:
    """A pool."""

    max_lease: int | None = None
    closing: bool = False

    def within(self, seconds: int) -> int:
        return seconds if self.max_lease is None else min(seconds, self.max_lease)


@dataclass
class Model:
    """All of the ledger. Methods do what the ledger's of the same name do, and return what it must answer."""

    domain: set[int]
    origins: dict[IPv4Network, Origin] = field(default_factory=dict)
    free: set[IPv4Network] = field(default_factory=set)
    held: dict[IPv4Network, Held] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------ free blocks

    def origin(self, block: IPv4Network) -> IPv4Network:
        return next(origin for origin in self.origins if block.subnet_of(origin))

    def best_fit(self, wanted: int, longest: int) -> IPv4Network | None:
        open_blocks = [block for block in self.free if not self.origins[self.origin(block)].closing]
        fitting = [block for block in open_blocks if block.prefixlen <= wanted]
        if fitting:
            return min(fitting, key=lambda block: (-block.prefixlen, block))
        smaller = [block for block in open_blocks if wanted < block.prefixlen <= longest]
        return min(smaller, key=lambda block: (block.prefixlen, block), default=None)

    def take(self, wanted: int, longest: int) -> IPv4Network | None:
        found = self.best_fit(wanted, longest)
        if found is None:
            return None
        taken = IPv4Network((found.network_address, max(found.prefixlen, wanted)))
        self.free.remove(found)
        self.free.update(found.address_exclude(taken) if taken != found else ())
        return taken

    def give_back(self, block: IPv4Network) -> None:
        self.held.pop(block)
        origin = self.origin(block)
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

    def offer(self, client: bytes, xid: int, lease_time: int, sizes: Iterable[Size]) -> Outcome:
        known = self.of(client, "offered", *HELD, xid=xid)
        if not known:
            for size in sizes:
                block = self.take(size.wanted, size.longest)
                if block is not None:
                    granted = self.origins[self.origin(block)].within(lease_time)
                    self.held[block] = Held("offered", client, xid, size.slot, size.hierarchical, granted)
                    known.append(block)
            for block in known:
                self.held[block].lease_time = min(self.held[b].lease_time for b in known)
        if not known:
            return Outcome(Result.NOTHING)
        known.sort(key=lambda block: self.held[block].slot)
        blocks = tuple(_granted(block, self.held[block], deprecate=False) for block in known)
        return Outcome(Result.OFFERED, min(self.held[block].lease_time for block in known), blocks)

    def accept(self, client: bytes, xid: int, named: Sequence[tuple[IPv4Network, bool]]) -> Outcome:
        mine = self.of(client, "offered", *HELD, xid=xid)
        if not named or any(b not in mine or self.held[b].hierarchical != hierarchical for b, hierarchical in named):
            return Outcome(Result.REFUSED)
        kept = list(dict.fromkeys(block for block, _ in named))
        lease_time = min(self.origins[self.origin(b)].within(self.held[b].lease_time) for b in kept)
        for block in kept:
            held = self.held[block]
            held.state = "leased" if held.hierarchical else "reserved"
            held.lease_time, held.due = lease_time, False
        for block in self.of(client, "offered", xid=xid):
            self.give_back(block)
        granted = tuple(_granted(b, self.held[b], deprecate=self.held[b].draining) for b in kept)
        return Outcome(Result.ACKNOWLEDGED, lease_time, granted)

    def renew(self, client: bytes, items: Sequence[Renewal]) -> Outcome:
        renewed: list[Granted] = []
        refused: list[Granted] = []
        times = []
        for item in items:
            block = IPv4Network(item.block)
            held = self.held.get(block)
            if held is None or held.client != client or held.state == "offered":
                continue
            if held.state == "quarantined" or item.verdict == "refuse":
                refused.append(_granted(block, held, deprecate=False))
                if held.state != "quarantined":
                    self.quarantine(block)
                continue
            origin = self.origins[self.origin(block)]
            held.draining = held.draining or item.verdict == "deprecate" or origin.closing
            held.due = False
            counts = (item.high_water, item.in_use, item.unusable)
            held.usage = counts if counts != (None, None, None) else held.usage
            times.append(origin.within(item.lease_time))
            renewed.append(_granted(block, held, deprecate=held.draining))
        if not renewed:
            return Outcome(Result.REFUSED, None, tuple(refused)) if refused else Outcome(Result.NOTHING)
        for granted in renewed:
            self.held[granted.prefix].lease_time = min(times)
        return Outcome(Result.ACKNOWLEDGED, min(times), tuple(renewed))

    def release(self, client: bytes, named: int | None, blocks: Iterable[IPv4Network]) -> Outcome:
        if named is not None and named not in self.domain:
            return Outcome(Result.NOTHING)
        mine = sorted(set(blocks) & set(self.of(client, *HELD)))
        for block in mine:
            self.quarantine(block)
        released = tuple(_granted(block, self.held[block], deprecate=False) for block in mine)
        return Outcome(Result.RELEASED if mine else Result.NOTHING, None, released)

    def reclaim(self, client: bytes, xid: int, named: int) -> Outcome:
        spare = [] if named in self.domain else self.of(client, "offered", xid=xid)
        for block in spare:
            self.give_back(block)
        return Outcome(Result.RECLAIMED if spare else Result.NOTHING)

    def listing(self, client: bytes, after: IPv4Network | None, limit: int) -> Outcome:
        blocks = [block for block in self.of(client, *HELD) if after is None or block > after]
        if not blocks:
            return Outcome(Result.NOTHING)
        page = []
        for block in blocks[:limit]:
            held = self.held[block]
            page.append(_granted(block, held, deprecate=held.draining or self.origins[self.origin(block)].closing))
        return Outcome(Result.LISTED, None, tuple(page), more=len(blocks) > limit)

    # ------------------------------------------------------------------------------------------------ time, operators

    def quarantine(self, block: IPv4Network, due: bool = False) -> None:
        held = self.held[block]
        held.state, held.draining, held.due, held.usage = "quarantined", False, due, None

    def sweep(self, quarantine: int) -> tuple[int, int, int, int]:
        offers = leases = quarantines = 0
        for block, held in [(block, held) for block, held in self.held.items() if held.due]:
            match held.state:
                case "offered":
                    self.give_back(block)
                    offers += 1
                case "quarantined":
                    self.give_back(block)
                    quarantines += 1
                case _:
                    self.quarantine(block, due=quarantine == 0)
                    leases += 1
        empty = [o for o, origin in self.origins.items() if origin.closing and not self.blocks_out(o)]
        for origin in empty:
            self.remove(origin)
        return offers, leases, quarantines, len(empty)

    def blocks_out(self, origin: IPv4Network) -> int:
        return sum(block.subnet_of(origin) for block in self.held)

    def remove(self, origin: IPv4Network) -> None:
        self.free = {block for block in self.free if not block.subnet_of(origin)}
        del self.origins[origin]

    def pool_add(self, prefix: IPv4Network, max_lease: int | None) -> bool:
        if any(prefix.overlaps(origin) for origin in self.origins):
            return False
        self.origins[prefix] = Origin(max_lease)
        self.free.add(prefix)
        return True

    def pool_remove(self, prefix: IPv4Network) -> int | None:
        if prefix not in self.origins:
            return None
        self.origins[prefix].closing = True
        out = self.blocks_out(prefix)
        if not out:
            self.remove(prefix)
        return out

    def deprecate(self, block: IPv4Network) -> bool:
        held = self.held.get(block)
        if held is None or held.state not in HELD or held.draining:
            return False
        held.draining = True
        return True


def _granted(block: IPv4Network, held: Held, *, deprecate: bool) -> Granted:
    return Granted(int(block.network_address), block.prefixlen, held.hierarchical, deprecate)
