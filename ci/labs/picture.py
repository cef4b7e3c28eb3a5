# SPDX-License-Identifier: MPL-2.0
"""The picture of who holds what: each pool, whom its subnets are leased to, what those made of them, down to the networks of hosts.

It is drawn from the ledgers of a lab, each of which knows its own part alone: what one says is leased is looked for in the ledger of
the lessee, and shown where it is missing there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from rich.text import Text
from rich.tree import Tree

from ci.labs.lab import Lab

BAR = 20  # characters
ORIGINS = """
    select origin::text as prefix, kind, closing, size, free, extract(epoch from expires - now())::integer as remaining
      from report.pools order by origin"""
BLOCKS = """
    select subnet::text as prefix, origin::text, state, draining, encode(lessee_identity, 'hex') as identity, lessee, network,
           addresses, in_use, extract(epoch from until - now())::integer as remaining
      from report.subnets order by subnet"""
IDENTITY = "select encode(identity, 'hex') as identity from deleg.domain"


@dataclass(frozen=True, slots=True)
class Part:
    """What one ledger knows: who it is among its lessors, its origins, and its blocks that are not free."""

    name: str
    identity: str
    origins: Sequence[dict[str, Any]]
    blocks: Sequence[dict[str, Any]]


@dataclass(slots=True)
class Picture:
    """The parts of one moment, or nearly so, and which origins have been drawn."""

    parts: Sequence[Part]
    drawn: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, lab: Lab) -> Picture:
        """Ask every ledger of a lab. Raises `RuntimeError` where the cluster is down."""

        def rows(ledger: str, query: str) -> list[dict[str, Any]]:
            found = lab.sql(f"select coalesce(json_agg(r), '[]') from ({query}) r", ledger=ledger)  # noqa: S608  # ours
            asked: list[dict[str, Any]] = json.loads(found)
            return asked

        return cls(
            [
                Part(ledger, rows(ledger, IDENTITY)[0]["identity"], rows(ledger, ORIGINS), rows(ledger, BLOCKS))
                for ledger in lab.ledgers
            ]
        )

    def tree(self) -> Tree:
        """Draw it: first what hangs from a pool that was typed in, then what nobody here has leased."""
        self.drawn.clear()
        root = Tree(Text("who holds what", style="bold"), guide_style="dim")
        for part in self.parts:
            for origin in part.origins:
                if origin["kind"] != "upstream":
                    self._origin(root, part, origin, f"typed in at {part.name}")
        for part in self.parts:
            for origin in part.origins:
                if (part.name, origin["prefix"]) not in self.drawn:
                    self._origin(root, part, origin, f"{part.name}, of a lessor that does not know", "red")
        return root

    def _origin(self, above: Tree, part: Part, origin: dict[str, Any], title: str, style: str = "") -> None:
        self.drawn.add((part.name, origin["prefix"]))
        node = above.add(
            _line(
                origin["prefix"],
                title,
                f"{origin['size']:,} addresses, {origin['free']:,} free",
                _left(origin["remaining"]),
                "closing" if origin["closing"] else "",
                style=style or "bold",
            )
        )
        for block in part.blocks:
            if block["origin"] == origin["prefix"]:
                self._block(node, block)

    def _block(self, above: Tree, block: dict[str, Any]) -> None:
        lessee = next((part for part in self.parts if block["identity"] == part.identity), None)
        draining = "draining" if block["draining"] else ""
        if block["state"] == "local":
            served = f"network {block['network']}"
            above.add(_line(block["prefix"], served, _used(block), _left(block["remaining"]), draining, style="green"))
        elif lessee is None or block["state"] not in ("leased", "reserved"):
            who = f"{block['state']}" + (f", {lessee.name if lessee else block['lessee']}" if block["lessee"] else "")
            above.add(_line(block["prefix"], who, _left(block["remaining"]), draining, style="yellow"))
        else:
            self._leased(above, block, lessee)

    def _leased(self, above: Tree, block: dict[str, Any], lessee: Part) -> None:
        """A block of one part that is an origin of another, or should be."""
        origin = next((origin for origin in lessee.origins if origin["prefix"] == block["prefix"]), None)
        if origin is None:
            above.add(
                _line(block["prefix"], f"{lessee.name}, which does not know", _left(block["remaining"]), style="red")
            )
        else:
            reported = "" if block["in_use"] is None else f"{block['in_use']:,} in use as reported"
            self._origin(above, lessee, origin, f"{lessee.name}{', ' + reported if reported else ''}")


def picture(lab: Lab) -> Tree:
    """The picture of a lab as it is now. Raises `RuntimeError` where its cluster is down."""
    return Picture.of(lab).tree()


def _line(prefix: str, *words: str, style: str) -> Text:
    return Text.assemble((f"{IPv4Network(prefix)!s:<18} ", style), "; ".join(word for word in words if word))


def _left(seconds: int | None) -> str:
    return "" if seconds is None else f"{max(0, seconds)} s left"


def _used(block: dict[str, Any]) -> str:
    if block["in_use"] is None:
        return f"{block['addresses']:,} addresses"
    full = round(BAR * min(1.0, block["in_use"] / block["addresses"]))
    return f"[{'#' * full}{'.' * (BAR - full)}] {block['in_use']:,} of {block['addresses']:,} in use"
