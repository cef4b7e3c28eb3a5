# SPDX-License-Identifier: MPL-2.0
"""The model of what this domain leases from others, and of the blocks that it serves itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from kea_subnet_deleg.ledger import Due, Kept, Leased, Measured, Phase
from tests.ledger.model import HELD, Held, Model, Origin, Pool, Takeback

FOR_EVER = 0xFFFFFFFF


@dataclass
class Domain(Model):
    """One space of the ledger, and what upstream servers and our own networks do to it."""

    space: int = 0

    # ------------------------------------------------------------------------------------------------ upstream

    def acknowledged(self, server: int, due: bool, rebind: bool, blocks: Mapping[IPv4Network, bool]) -> list[Kept]:
        """Take an ACK without end; `due`: T1 is zero, `rebind`: T2 is."""
        return [
            Kept(block, self.keep(server, due, rebind, block, deprecated))
            for block, deprecated in sorted(blocks.items())
        ]

    def listed(self, server: int, blocks: Mapping[IPv4Network, bool]) -> list[Kept]:
        kept = []
        for block, deprecated in blocks.items():
            known = block in self.origins and self.origins[block].server is not None
            kept.append(Kept(block, "known" if known else self.keep(server, True, False, block, deprecated)))
        return kept

    def keep(self, server: int, due: bool, rebind: bool, block: IPv4Network, deprecated: bool) -> str:
        origin = self.origins.get(block)
        if origin is None and not self.overlaps(block):
            pool = self.pools.setdefault("default", Pool(0))
            self.origins[block] = Origin(pool, server=server, due=due, rebind=rebind, closing=deprecated)
            self.free.add(block)
            return "added"
        if origin is None or origin.server is None:
            return "overlaps"
        crossed = origin.giving_back and not origin.due and not origin.ended
        if origin.ended:
            origin.ended, origin.high_water = False, None
            for held in self.local(block):
                held.due = False
        origin.server, origin.rebind, origin.tries, origin.giving_back = server, rebind, 0, crossed
        origin.due = due and not crossed
        if deprecated:
            for held_block in () if origin.closing else self.within(block, *HELD):
                asked = self.takebacks.get(held_block)
                if asked is None or asked.attempts < 0:
                    self.takebacks[held_block] = Takeback()  # its holder is to hear of it now
            origin.closing = True
        elif origin.closing and not origin.removing and not crossed:
            origin.closing = False
            for held in self.within(block, *HELD).values():
                held.draining = held.draining and not held.asked_back
        return "renewed"

    def within(self, origin: IPv4Network, *states: str) -> dict[IPv4Network, Held]:
        return {b: held for b, held in self.held.items() if b.subnet_of(origin) and held.state in states}

    def local(self, origin: IPv4Network) -> Iterable[Held]:
        return self.within(origin, "local").values()

    def refused(self, blocks: Iterable[IPv4Network]) -> set[IPv4Network]:
        ours = {b for b in blocks if b in self.origins and self.origins[b].server is not None}
        for prefix in ours:
            origin = self.origins[prefix]
            origin.ended, origin.closing, origin.giving_back = True, True, False
            for block, held in self.within(prefix, "offered", "local", *HELD).items():
                leased = held.state in HELD
                self.quarantine(block)
                if leased:
                    self.takebacks[block] = Takeback()  # its holder is to hear of it now
        return ours

    def lease_ends(self, prefix: IPv4Network) -> None:
        self.origins[prefix].ended = True
        for held in self.within(prefix, "local", *HELD).values():
            held.due = True

    def due(self) -> set[Due]:
        """Return the renewals to be sent."""
        found = set()
        for prefix, origin in self.origins.items():
            if origin.server is None or not origin.due or origin.ended or origin.giving_back:
                continue
            self.note_high_water(prefix)
            origin.due, origin.tries = False, origin.tries + 1
            blocks = self.within(prefix, "local", *HELD)
            in_use = sum(b.num_addresses if used(held) is None else used(held) or 0 for b, held in blocks.items())
            unusable = sum((held.usage or (0, 0, 0))[2] or 0 for held in blocks.values())
            phase = Phase.REBIND if origin.rebind else Phase.RENEW
            high_water = max(origin.high_water or 0, in_use)
            found.add(Due(self.space, prefix, origin.server, phase, FOR_EVER, high_water, in_use, unusable))
        return found

    def note_high_water(self, prefix: IPv4Network) -> None:
        """What was in use of an origin at once: what is known to be, and of each of its blocks the most that was."""
        origin = self.origins[prefix]
        blocks = self.within(prefix, "local", *HELD).values()
        known = [number for held in blocks if (number := used(held)) is not None]
        peaks = [held.usage[0] for held in blocks if held.usage is not None and held.usage[0] is not None]
        figures = [origin.high_water, sum(known) if known else None, *peaks]
        origin.high_water = max((figure for figure in figures if figure is not None), default=None)

    def may_go(self, prefix: IPv4Network, at_once: bool) -> bool:
        origin = self.origins[prefix]
        return (
            origin.server is not None
            and not origin.ended
            and (origin.due or (not origin.giving_back and not origin.tries))
            and prefix in self.free
            and (at_once or origin.closing)
        )

    def releases(self, at_once: bool) -> list[Leased]:
        """Return what is to be released; `at_once`: also what has not been free for long."""
        going = sorted(prefix for prefix in self.origins if self.may_go(prefix, at_once))
        leased = []
        for prefix in going:
            origin = self.origins[prefix]
            origin.closing, origin.giving_back, origin.due = True, True, False
            assert origin.server is not None
            leased.append(Leased(self.space, prefix, origin.server))
        return leased

    def released(self, prefix: IPv4Network) -> None:
        if prefix in self.origins and self.origins[prefix].giving_back and prefix in self.free:
            self.remove(prefix)

    def renew_now(self, server: int, blocks: Iterable[IPv4Network]) -> int:
        ours = [
            origin
            for prefix, origin in self.origins.items()
            if prefix in blocks and origin.server == server and not origin.ended and not origin.giving_back
        ]
        for origin in ours:
            origin.due = True
        return len(ours)

    # ------------------------------------------------------------------------------------------------ networks

    def open_of(self, network: str) -> list[IPv4Network]:
        return [b for b, h in self.held.items() if h.state == "local" and h.network == network and not h.draining]

    def network_take(
        self, network: str, pool: str | None, lengths: Sequence[int], count: int
    ) -> list[IPv4Network] | None:
        if len(self.open_of(network)) != count:
            return None
        pools = [p.number for name, p in self.pools.items() if (name == pool if pool else not p.tags)]
        taken = []
        for length in lengths:
            blocks = [
                b
                for b in self.open_blocks(self.pools_open_to(b"", pools, 1 << 32 - length))
                if b.prefixlen <= length and not self.origin(b).ended
            ]
            found = min(blocks, key=lambda b: (-b.prefixlen, b), default=None)
            if found is None:
                continue
            block = IPv4Network((found.network_address, length))
            self.free.remove(found)
            self.free.update(found.address_exclude(block) if block != found else ())
            self.held[block] = Held("local", b"", 0, 0, False, 0, 0, network=network)
            taken.append(block)
        return taken

    def network_drain(self, blocks: Iterable[IPv4Network]) -> None:
        for block in blocks:
            if block in self.held and self.held[block].state == "local":
                self.held[block].draining = True

    def network_reopen(self, blocks: Iterable[IPv4Network]) -> set[IPv4Network]:
        opened = {b for b in self.draining(blocks) if not self.origin(b).closing}
        for block in opened:
            self.held[block].draining = False
        return opened

    def network_end(self, blocks: Iterable[IPv4Network]) -> None:
        for block in self.draining(blocks):
            self.quarantine(block)

    def draining(self, blocks: Iterable[IPv4Network]) -> list[IPv4Network]:
        return [b for b in blocks if b in self.held and self.held[b].state == "local" and self.held[b].draining]

    def network_measured(self, rows: Iterable[Measured]) -> None:
        changed = set()
        for block, in_use, peak, unusable in rows:
            held = self.held.get(block)
            if held is None or held.state not in ("local", "reserved"):
                continue
            most, before, useless = held.usage or (None, None, None)
            figures = (max(most or 0, in_use, peak), in_use, unusable)
            if (most, before, useless) != figures:
                held.usage = figures
                changed.add(self.origin_prefix(block))
        for prefix in changed:
            if self.origins[prefix].server is not None:
                self.note_high_water(prefix)

    def served(self, network: str) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
        """Return what is served, as far as a model without a clock knows."""
        local: list[tuple[object, ...]] = []
        reserved: list[tuple[object, ...]] = []
        for block, held in sorted(self.held.items()):
            origin = self.origin(block)
            if held.network == network:
                usage = held.usage or (None, None, None)
                local.append((block, held.state, held.draining, origin.closing, origin.ended, usage))
            elif not held.network and not held.hierarchical and held.state in ("reserved", "quarantined"):
                reserved.append((block, held.server, held.state == "quarantined"))
        return local, reserved


def used(held: Held) -> int | None:
    """What is in use as far as is known: the figure, or the high water where there is none."""
    high_water, in_use, _ = held.usage or (None, None, None)
    return high_water if in_use is None else in_use
