# SPDX-License-Identifier: MPL-2.0
"""What is leased to this domain from upstream servers (seed [0100]): each block of it is an origin of the ledger.

IPv4 addresses of servers are host-order integers, as on the packet's way.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from kea_subnet_deleg.ledger.ledger import Ledger


class Phase(enum.StrEnum):
    """Between T1 and T2 the server that leased it is asked; after T2 any (RFC 2131 4.4.5)."""

    RENEW = "renew"
    REBIND = "rebind"


class Due(NamedTuple):
    """An origin whose renewal is to be sent now. No other server gets it before its next try.

    `server`: who acknowledged it last; `remaining`: seconds until its lease ends, 4294967295 for ever. The counts are of addresses, as
    RFC 6656 3.2.1.1 has them: 65534 at most.
    """

    space: int
    prefix: IPv4Network
    server: int
    phase: Phase
    remaining: int
    high_water: int
    in_use: int
    unusable: int


class Kept(NamedTuple):
    """What became of a block that was acknowledged or listed.

    `result`: "added", "renewed", "known" (listed, and in the ledger already), "gone" (a renewal of what was given back meanwhile), or
    "overlaps": another origin has it or a part of it, or it is of no size that a block can have (/1 to /30); it is to be given back.
    """

    prefix: IPv4Network
    result: str


class Leased(NamedTuple):
    """An origin that is leased to us, and by which server."""

    space: int
    prefix: IPv4Network
    server: int


class Upstreams:
    """The leases of this domain, on one connection. Each method is one transaction and raises LedgerUnavailable, LedgerError."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def identity(self) -> bytes:
        """Return the client identifier that every server of this domain asks with: ff, IAID, DUID-UUID (RFC 4361, RFC 6355)."""
        return bytes(self._ledger.run("identity")[0][0])

    def claim(self, what: str, who: str, seconds: float) -> bool:
        """Return True where nobody else does `what` for so many seconds. Who has it already has it for longer."""
        return bool(self._ledger.run("claim", what=what, who=who, seconds=seconds)[0][0])

    def unclaim(self, what: str, who: str) -> None:
        """Give up a claim, if it is one's own."""
        self._ledger.run("unclaim", what=what, who=who)

    def acknowledged(
        self,
        space: int,
        server: int,
        lease_time: int,
        t1: int,
        t2: int,
        blocks: Sequence[tuple[IPv4Network, bool]],
        nonce: bytes | None,
        *,
        renewal: bool = False,
        host_lease_time: int | None = None,
    ) -> list[Kept]:
        """Write down an ACK: leases that are new, or renewed, each with its flag d.

        `lease_time`, `t1`, `t2`: seconds from now (RFC 2131 4.4.5 counts from when the request was sent; 4294967295: for ever). With
        flag d, nothing more is leased of it; without, it is again. What is leased of it beyond its new end is cut short, and asked for.
        `host_lease_time`: seconds that hosts' leases of it may last at most (RFC 6656 3.4), None for any.
        Of a `renewal`, what is not ours any more, since it was given back meanwhile, is not taken anew: its result is `gone`.
        """
        prefixes, deprecated = _columns(blocks)
        rows = self._ledger.run_whole(
            "upstream_acknowledged",
            space=space,
            server=_text(server),
            lease_time=lease_time,
            t1=t1,
            t2=t2,
            prefixes=prefixes,
            deprecated=deprecated,
            nonce=nonce,
            renewal=renewal,
            host_lease_time=host_lease_time,
        )
        return [Kept(*row) for row in rows]

    def refused(self, space: int, server: int, prefixes: Iterable[IPv4Network], quarantine: int) -> list[IPv4Network]:
        """Write down a NAK: all that is held of these goes into quarantine, for so many seconds, at once (seed [0081]).

        Returns those that were ours.
        """
        rows = self._ledger.run_whole(
            "upstream_refused", space=space, server=_text(server), prefixes=list(prefixes), quarantine=quarantine
        )
        return [prefix for (prefix,) in rows]

    def due(self, limit: int) -> list[Due]:
        """Return the renewals to send now, with what is in use; what nobody has reported on counts as used (seed [0124]).

        Each is due again after half of what remains of its phase, unless it is acknowledged.
        """
        rows = self._ledger.run("upstream_due", limit=limit)
        return [Due(space, prefix, server, Phase(phase), *rest) for space, prefix, server, phase, *rest in rows]

    def give_back(self, after: float, limit: int) -> list[Leased]:
        """Return what a RELEASE is to be sent for now, and let nothing more be taken of it (seed [0084]).

        That is what is wholly free for `after` seconds, or wholly free and to be given up (flag d, or an operator). What is not said to
        be `released` within 10 seconds is returned again, to whoever asks first.
        """
        return [Leased(*row) for row in self._ledger.run("upstream_give_back", after=after, limit=limit)]

    def due_in(self, after: float) -> float:
        """Return for how many seconds `due` and `give_back` with this `after` have nothing, an hour at most; 0: they may have.

        Unless something is freed meanwhile, or changed so that who listens is told.
        """
        return float(self._ledger.run("upstream_due_in", after=after)[0][0])

    def released(self, space: int, prefix: IPv4Network) -> None:
        """Say that the RELEASE was sent: the origin goes."""
        self._ledger.run("upstream_released", space=space, prefix=prefix)

    def listed(
        self, space: int, server: int, lease_time: int, blocks: Sequence[tuple[IPv4Network, bool]]
    ) -> list[Kept]:
        """Write down what a server says it leases to us, each with its flag d (RFC 6656 6).

        `lease_time`: seconds, the least that is left of any. What the ledger does not know is adopted, and due at once.
        """
        prefixes, deprecated = _columns(blocks)
        rows = self._ledger.run_whole(
            "upstream_listed",
            space=space,
            server=_text(server),
            lease_time=lease_time,
            prefixes=prefixes,
            deprecated=deprecated,
        )
        return [Kept(*row) for row in rows]

    def renew_now(self, server: int, prefixes: Iterable[IPv4Network]) -> int:
        """Have these renewed at once, for a FORCERENEW (RFC 6656 5.4). Returns how many are leased to us by this server."""
        rows = self._ledger.run("upstream_renew_now", server=_text(server), prefixes=list(prefixes))
        return int(rows[0][0])

    def secret(self, server: int) -> tuple[bytes | None, int]:
        """Return the nonce that a server gave us (RFC 6704), None if it did not, and the last replay detection value (RFC 3118)."""
        rows = self._ledger.run("upstream_secret", server=_text(server))
        return (rows[0][0], int(rows[0][1])) if rows else (None, 0)

    def replayed(self, server: int, replay: int) -> bool:
        """Return True where a replay detection value is higher than all before, and remember it."""
        return bool(self._ledger.run("upstream_replayed", server=_text(server), replay=replay)[0][0])

    def leased(self) -> list[Leased]:
        """Return all that is leased to us."""
        return [Leased(*row) for row in self._ledger.run("upstream_leased")]


def _text(address: int) -> str:
    return str(IPv4Address(address))


def _columns(blocks: Sequence[tuple[IPv4Network, bool]]) -> tuple[list[IPv4Network], list[bool]]:
    return [prefix for prefix, _ in blocks], [deprecated for _, deprecated in blocks]
