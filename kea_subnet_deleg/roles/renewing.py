# SPDX-License-Identifier: MPL-2.0
"""Renewals that are under way: which message asked what of whom (seed FIG. 9A; RFC 6656 section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from itertools import groupby

from kea_subnet_deleg.ledger.upstreams import Due, Phase
from kea_subnet_deleg.roles.station import MEMORY
from kea_subnet_deleg.wire import SubnetBlock, Usage


@dataclass(frozen=True, slots=True)
class Renewal:
    """One REQUEST that renews: its blocks that are not answered yet, all leased by `server`.

    `believed`: the addresses of servers whose NAK is believed. `again`: what an answer left out was asked once more, alone. `sent` in
    seconds of the monotonic clock.
    """

    xid: int
    space: int
    server: int
    phase: Phase
    blocks: Mapping[IPv4Network, Due]
    believed: frozenset[int]
    sent: float
    again: bool = False

    def concerns(self, server: int) -> bool:
        """Whether an ACK of `server` answers this: who rebinds takes that of anybody (RFC 2131 section 4.4.5)."""
        return self.phase is Phase.REBIND or server == self.server

    def information(self) -> list[SubnetBlock]:
        """Return its blocks with their usage, as they are reported (seed [0079])."""
        return [_block(due) for due in self.blocks.values()]


class Renewals:
    """The renewals under way, by xid."""

    def __init__(self) -> None:
        self._pending: dict[int, Renewal] = {}

    def add(self, renewal: Renewal) -> None:
        """Wait for the answer to one."""
        self._pending[renewal.xid] = renewal

    def find(self, xid: int) -> Renewal | None:
        """Return the one with this xid."""
        return self._pending.get(xid)

    def answered(self, renewal: Renewal, prefixes: Iterable[IPv4Network]) -> dict[IPv4Network, Due]:
        """Note that some blocks are settled; return the rest."""
        settled = set(prefixes)
        rest = {prefix: due for prefix, due in renewal.blocks.items() if prefix not in settled}
        self._pending.pop(renewal.xid, None)
        if rest:
            self._pending[renewal.xid] = replace(renewal, blocks=rest)
        return rest

    def drop(self, prefixes: Iterable[IPv4Network]) -> None:
        """Wait for no answer about these any more."""
        gone = set(prefixes)
        for renewal in list(self._pending.values()):
            if not gone.isdisjoint(renewal.blocks):
                self.answered(renewal, gone)

    def forget(self, now: float) -> None:
        """Wait no longer for what was sent long ago: the ledger says when to ask again, this is about answers that are very late."""
        old = [xid for xid, renewal in self._pending.items() if renewal.sent < now - MEMORY]
        for xid in old:
            del self._pending[xid]


def messages_of(due: Iterable[Due], most: int) -> Iterator[Sequence[Due]]:
    """Yield what goes into one message each: blocks of one server, in one phase, `most` at a time (seed [0132])."""

    def kind(one: Due) -> tuple[int, int, Phase]:
        return one.space, one.server, one.phase

    for _, group in groupby(sorted(due, key=lambda one: (*kind(one), one.prefix)), key=kind):
        together = list(group)
        for start in range(0, len(together), most):
            yield together[start : start + most]


def _block(due: Due) -> SubnetBlock:
    return SubnetBlock.of(due.prefix, hierarchical=True, usage=Usage(due.high_water, due.in_use, due.unusable))
