# SPDX-License-Identifier: MPL-2.0
"""The blocks that this domain serves addresses of itself: for its networks (seed [0107]), and for relays that reserved them ([0117]).

All in the default space. A network's blocks are `local`; `open` are those of them that do not drain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import NamedTuple, TypeVar

from kea_subnet_deleg.ledger.ledger import Ledger


class LocalBlock(NamedTuple):
    """A block of a network.

    `state`: "local", or "quarantined" when it has ended. `draining`: no new addresses. `closing`: its origin is to be given up.
    `age`: seconds in this state, or draining. `remaining`: seconds of our own lease on it, None for ever. Counts as last measured, None
    where they never were. `longest`: seconds that its upstream would have hosts' leases last at most (RFC 6656 3.4), None for any.
    `rest`: seconds that it is in quarantine for; nobody gets it before somebody who was told something else can't have it any more.
    """

    prefix: IPv4Network
    network: str
    state: str
    draining: bool
    closing: bool
    age: float
    remaining: int | None
    in_use: int | None
    high_water: int | None
    unusable: int | None
    longest: int | None = None
    rest: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether its quarantine is over, as far as it was not prolonged."""
        return self.state != "local" and self.rest is not None and self.age >= self.rest


class ReservedBlock(NamedTuple):
    """A block that a relay reserved. Host-order integers: `relay`, where it was last answered, 0 by broadcast; `server`, by whom.

    `remaining`: seconds of its lease, None for ever. `ended`: in quarantine. `longest`, `age`, `rest`: as those of a LocalBlock.
    `pending`: it was released, and its server is to say how long its hosts have addresses yet.
    """

    prefix: IPv4Network
    relay: int
    remaining: int | None
    server: int
    ended: bool
    longest: int | None = None
    age: float = 0.0
    rest: int | None = None
    pending: bool = False

    @property
    def is_over(self) -> bool:
        """Whether its quarantine is over, as far as it was not prolonged."""
        return self.ended and not self.pending and self.rest is not None and self.age >= self.rest


class Served(NamedTuple):
    """What this domain serves, each in address order."""

    local: list[LocalBlock]
    reserved: list[ReservedBlock]

    def later(self, seconds: float) -> Served:
        """Return the same as it is after so many seconds, if nothing changes but what time changes."""
        return Served(_later(self.local, seconds), _later(self.reserved, seconds))


_Block = TypeVar("_Block", LocalBlock, ReservedBlock)


def _later(blocks: Iterable[_Block], seconds: float) -> list[_Block]:
    aged = [block._replace(age=block.age + seconds, remaining=_left(block.remaining, seconds)) for block in blocks]
    return [block for block in aged if not block.is_over]


def _left(remaining: int | None, seconds: float) -> int | None:
    return None if remaining is None else round(remaining - seconds)


class Measured(NamedTuple):
    """What is in use of a block, the most at once since the last such measurement, and what can't be used: addresses."""

    prefix: IPv4Network
    in_use: int
    peak: int
    unusable: int


class Networks:
    """The blocks that are served here, on one connection. Each method is one transaction and raises LedgerUnavailable, LedgerError."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def served(self, networks: Sequence[str]) -> Served:
        """Return the blocks of these networks, those in quarantine among them, and all that relays reserved."""
        value = self._ledger.run("network_served", networks=list(networks))[0][0]
        return Served(
            [LocalBlock(IPv4Network(prefix), *rest) for prefix, *rest in value["local"]],
            [
                ReservedBlock(IPv4Network(prefix), relay or 0, remaining, server or 0, *rest)
                for prefix, relay, remaining, server, *rest in value["reserved"]
            ],
        )

    def take(
        self, network: str, pool: str | None, lengths: Sequence[int], open_blocks: int, shortest: int
    ) -> list[IPv4Network] | None:
        """Give a network a free block of each of these prefix lengths; fewer, or none, where no more is free.

        `pool`: its name, None for all without tags. `shortest`: seconds that our own lease on them must have left. None where the
        network has more or less than `open_blocks` open blocks by now: another server did something about it.
        """
        taken: list[IPv4Network] | None = self._ledger.run(
            "network_take",
            network=network,
            pool=pool,
            lengths=list(lengths),
            open_blocks=open_blocks,
            shortest=shortest,
        )[0][0]
        return taken

    def drain(self, prefixes: Iterable[IPv4Network], reason: str) -> None:
        """Let no more addresses be assigned from these."""
        self._ledger.run("network_drain", prefixes=list(prefixes), reason=reason)

    def reopen(self, prefixes: Iterable[IPv4Network]) -> list[IPv4Network]:
        """Keep blocks that drain after all, but of an origin that is to be given up. Returns those that this call opened."""
        return [prefix for (prefix,) in self._ledger.run("network_reopen", prefixes=list(prefixes))]

    def end(self, prefixes: Iterable[IPv4Network], quarantine: int, reason: str) -> None:
        """Put blocks that have drained into quarantine, for so many seconds; after that they are free."""
        self._ledger.run("network_end", prefixes=list(prefixes), quarantine=quarantine, reason=reason)

    def measured(self, rows: Sequence[Measured]) -> None:
        """Write down what is in use of blocks that are served here, and with it the high water of their origins.

        Without effect on a block that is neither local nor reserved, or is being changed this moment.
        """
        self._ledger.run(
            "network_measured",
            prefixes=[row.prefix for row in rows],
            in_use=[row.in_use for row in rows],
            peak=[row.peak for row in rows],
            unusable=[row.unusable for row in rows],
        )

    def left(self, rows: Mapping[IPv4Network, int]) -> None:
        """Say for how many seconds yet the last lease of a host lasts in blocks that their relays released."""
        self._ledger.run("network_left", prefixes=list(rows), seconds=list(rows.values()))

    def keep_days(self) -> bool:
        """Keep what is in use of the next thousand blocks, as the last of today and maybe the most (seed [0129]), for 400 days.

        False: that was the end; the next call begins anew.
        """
        more: bool = self._ledger.run("keep_days")[0][0]
        return more
