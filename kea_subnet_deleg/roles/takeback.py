# SPDX-License-Identifier: MPL-2.0
"""Taking subnets back: telling their holders to renew now (RFC 6656 section 5.4; seed [0085], [0105], [0113]).

What becomes of such a renewal is decided like any other's: deprecated, refused, or renewed after all.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kea_subnet_deleg.ledger import ForceRenew, Ledger
from kea_subnet_deleg.roles.authentication import Authenticator
from kea_subnet_deleg.roles.delegating import Journal
from kea_subnet_deleg.roles.packets import Outbound
from kea_subnet_deleg.roles.shortages import Shortages
from kea_subnet_deleg.wire import SubnetBlock, forcerenew

AT_ONCE: Final = 50
"""FORCERENEWs sent in one turn, and leases asked back for one shortage, at most."""


@dataclass(frozen=True, slots=True)
class TakebackTerms:
    """How holders are told. `delay` and `grace` in seconds: until a FORCERENEW is repeated, and how long a renewal gives peace.

    `on_shortage`: also where an operator did not ask for it; `unauthenticated`: also holders that can't check who sent it.
    """

    attempts: int
    delay: float
    grace: int
    on_shortage: bool
    unauthenticated: bool


class Takeback:
    """Asks back what is needed elsewhere, on a thread of its own.

    Parameters
    ----------
    own : mapping
        The server identifiers of this server (host-order integers), each with the index of the interface it is heard on.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        terms: TakebackTerms,
        shortages: Shortages,
        authenticator: Authenticator,
        journal: Journal,
        own: Mapping[int, int],
        clock: Callable[[], float],
    ) -> None:
        self._terms = terms
        self._shortages = shortages
        self._authenticator = authenticator
        self._journal = journal
        self._own = own
        self._clock = clock
        self._looked: dict[tuple[int, ...], float] = {}

    def turn(self, ledger: Ledger) -> list[Outbound]:
        """Choose whom to ask for what is short, and return the FORCERENEWs that are due. Raises LedgerUnavailable, LedgerError."""
        terms = self._terms
        for shortage in self._shortages.take():
            if terms.on_shortage and not self._is_time(shortage.pools):
                self._shortages.again(shortage)
            elif terms.on_shortage:
                chosen = ledger.takeback_least_used(
                    shortage.space, shortage.pools, shortage.addresses, AT_ONCE, terms.grace
                )
                if chosen:
                    self._journal.info(
                        "SUBNET_DELEG_SHORTAGE",
                        f"{shortage.addresses} addresses; {chosen} leases are to be renewed now",
                    )
        own = dict(self._own)
        if not own:
            return []  # not heard on any interface yet
        due = ledger.takeback_due(
            own, self._authenticator.clients, terms.unauthenticated, AT_ONCE, terms.attempts, terms.delay
        )
        return [self._message(order, own) for order in due]

    def _is_time(self, pools: tuple[int, ...]) -> bool:
        """Whether to look for little used leases: not again before those chosen last could answer, for it means reading all leases."""
        now = self._clock()
        if now - self._looked.get(pools, -self._terms.delay) < self._terms.delay:
            return False
        self._looked[pools] = now
        return True

    def _message(self, order: ForceRenew, own: Mapping[int, int]) -> Outbound:
        """Return the FORCERENEW, from the server that the lease is from if that is us, else from the first address we have."""
        server = order.server if order.server in own else next(iter(own))
        authentication, key = self._authenticator.for_forcerenew(order.identity, order.nonce, order.replay)
        data = forcerenew(
            xid=secrets.randbits(32),
            htype=order.hardware[0],
            chaddr=order.hardware[1:],
            client_identifier=None if order.identity == order.hardware else order.identity,
            server_identifier=server,
            blocks=[SubnetBlock.of(block.prefix, hierarchical=block.hierarchical) for block in order.blocks],
            authentication=authentication,
            key=key,
            ciaddr=0 if order.relayed else order.address,
            giaddr=order.address if order.relayed else 0,
        )
        self._journal.count("forcerenew-sent")
        for block in order.blocks:
            self._journal.info(
                "SUBNET_DELEG_FORCERENEW", f"{block.prefix}, attempt {order.attempt}, to {order.identity.hex(':')}"
            )
        return Outbound(data, own[server], server, order.address, order.port, order.hardware[1:])
