# SPDX-License-Identifier: MPL-2.0
"""Keeping Kea's subnets as the ledger has them. What Kea will not take is told once, with the remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from kea_subnet_deleg.roles.subnets import Subnet
from kea_subnet_deleg.roles.usage import Asks

REFRESH: Final = 30.0
"""Seconds after which Kea is told everything again, also if nothing changed."""
RETRY: Final = 5.0
"""The same while Kea refuses a subnet or does not know a network."""
SAME_END: Final = 2.0
"""Seconds that the end of a lease may seem to move by, without a renewal: the ledger counts whole ones."""


class Journal(Protocol):
    """Where a role says what it did, under the identifiers of runtime/messages.py."""

    def info(self, identifier: str, text: str) -> None:
        """Log what an operator wants to find later."""

    def warn(self, identifier: str, text: str) -> None:
        """Log what an operator wants to know now."""

    def error(self, identifier: str, text: str) -> None:
        """Log what an operator should look into."""


class Serving:
    """What Kea was told to serve, and what it made of it.

    Parameters
    ----------
    networks : sequence of str
        The shared networks of Kea that we look after.
    clock : callable
        Monotonic seconds.

    Attributes
    ----------
    refused : mapping
        Why Kea did not take a subnet, by subnet-id.
    unknown : frozenset of str
        Networks that Kea's configuration does not have.
    """

    def __init__(self, networks: Sequence[str], kea: Asks, journal: Journal, clock: Callable[[], float]) -> None:
        self._networks = list(networks)
        self._kea = kea
        self._journal = journal
        self._clock = clock
        self._told: dict[int, Subnet] | None = None
        self._ends: dict[int, float | None] = {}
        self._told_at = 0.0
        self.refused: Mapping[int, str] = {}
        self.unknown: frozenset[str] = frozenset()

    def request(self, subnets: Sequence[Subnet], elsewhere: Sequence[int]) -> dict[str, Any]:
        """Return the request that makes Kea serve these and nothing else of ours. `elsewhere`: as `served_elsewhere` has them."""
        return {"op": "serve", "networks": self._networks, "subnets": list(subnets), "elsewhere": list(elsewhere)}

    def forget(self) -> None:
        """Tell Kea everything at the next opportunity: it lost what it had."""
        self._told = None

    def serve(self, subnets: Sequence[Subnet], elsewhere: Sequence[int]) -> None:
        """Make Kea serve these and nothing else of ours, unless it does already.

        A lease that goes on as before is no change, a renewed one is: Kea must know how long hosts may have addresses ([0109]).
        """
        now = self._clock()
        told = {int(subnet["id"]): {key: subnet[key] for key in subnet if key != "remaining"} for subnet in subnets}
        ends = {int(subnet["id"]): now + subnet["remaining"] if "remaining" in subnet else None for subnet in subnets}
        pause = RETRY if self.refused or self.unknown else REFRESH
        if told == self._told and now - self._told_at < pause and not self._renewed(ends):
            return
        self._told = None  # until it is known that Kea did it
        answer = self._kea.ask(self.request(subnets, elsewhere))
        self._told, self._ends, self._told_at = told, ends, now
        self._note_unknown(frozenset(answer["unknown-networks"]))
        self._note_refused({int(key): why for key, why in answer["failed"].items()}, told)

    def _renewed(self, ends: Mapping[int, float | None]) -> bool:
        """Whether the lease of a subnet ends at another time than Kea was told."""
        for key, end in ends.items():
            before = self._ends.get(key)
            if end is None or before is None:
                if end is not before:
                    return True
            elif abs(end - before) > SAME_END:
                return True
        return False

    def _note_refused(self, refused: Mapping[int, str], told: Mapping[int, Subnet]) -> None:
        for key, why in refused.items():
            network = told[key].get("network")
            if network is not None and network not in self.unknown and self.refused.get(key) != why:
                self._journal.warn(
                    "SUBNET_DELEG_NETWORK_STUCK",
                    f"{network}: does not grow, for Kea does not serve {told[key]['subnet']} (id {key}): {why}. Remove from Kea's "
                    "configuration what overlaps it or has its id, or from the pools the space that is not theirs to give",
                )
        self.refused = refused

    def _note_unknown(self, unknown: frozenset[str]) -> None:
        for name in sorted(unknown - self.unknown):
            self._journal.error(
                "SUBNET_DELEG_NETWORK_STUCK",
                f'{name}: gets no addresses, for it is in our parameter "networks" but not in Kea\'s configuration. Add a shared '
                'network of that name to "shared-networks" (its "subnet4" may be empty), or remove it from "networks"',
            )
        self.unknown = unknown
