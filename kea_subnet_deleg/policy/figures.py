# SPDX-License-Identifier: MPL-2.0
"""What the proportional policy decides by: what a lessee holds and uses beside what all others do, and what is left."""

from __future__ import annotations

from kea_subnet_deleg.policy.protocol import Lessee, View


class Figures:
    """What is decided by, in addresses, made consistent: nobody uses more than it holds, nothing is negative.

    What was never reported counts as unused here. Else a lessee could get more by not reporting, and hoard.

    Attributes
    ----------
    held, used : int
        Of the lessee.
    others_held, others_used : int
        Of all others.
    size, free : int
        Of the space; `size` is 0 where nothing is known of it.
    free_fraction : float
        What is free of the space. All, where nothing is known of it: the ledger knows better what is left.
    """

    __slots__ = ("free", "free_fraction", "held", "others_held", "others_used", "size", "used")

    def __init__(self, lessee: Lessee, view: View) -> None:
        own, everyone = lessee.holding, view.everyone
        self.held: int = own.held
        self.used: int = min(own.used, own.held)
        self.others_held: int = max(0, everyone.held - own.held)
        self.others_used: int = max(0, min(everyone.used - own.used, self.others_held))
        self.size: int = view.size
        self.free: int = min(view.free, view.size)
        self.free_fraction: float = self.free / self.size if self.size else 1.0

    @property
    def newcomer(self) -> bool:
        """Whether the lessee holds nothing."""
        return self.held == 0

    @property
    def utilisation(self) -> float:
        """The fraction of what the lessee holds that it uses."""
        return self.used / self.held if self.held else 0.0

    @property
    def others_utilisation(self) -> float:
        """The same of all others."""
        return self.others_used / self.others_held if self.others_held else 0.0

    @property
    def share(self) -> float:
        """The lessee's part of all use; 0 where nothing is used."""
        return self.used / (self.used + self.others_used) if self.used else 0.0

    @property
    def fair(self) -> int:
        """The addresses that are the lessee's share of the space (seed [0077])."""
        return self.size * self.used // (self.used + self.others_used) if self.used else 0

    def halvings(self, most: int) -> int:
        """How often the others' utilisation must be halved to be no more than the lessee's: 0 if it is not, `most` at most.

        Compared in whole per cent, so that one host more or less does not make 45% against 90% two halvings.
        """
        own, others = _per_cent(self.used, self.held), _per_cent(self.others_used, self.others_held)
        halvings = 0
        while halvings < most and others > own << halvings:
            halvings += 1
        return halvings

    def numbers(self, asked: int) -> dict[str, float | str]:
        """Return what the event log tells; `asked` is a prefix length."""
        return {
            "asked": asked,
            "utilisation": round(self.utilisation, 4) if self.used else "unknown",
            "others-utilisation": round(self.others_utilisation, 4) if self.others_used else "unknown",
            "share": round(self.share, 4) if self.used else 0.0,
            "free": round(self.free_fraction, 4) if self.size else "unknown",
        }


def addresses(prefix_length: int) -> int:
    """Return how many addresses a block of this prefix length has."""
    return 1 << 32 - prefix_length


def prefix_length(addresses: int) -> int:
    """Return the prefix length of the largest block of no more than so many addresses, 32 for none."""
    return min(32, 33 - addresses.bit_length())


def _per_cent(used: int, held: int) -> int:
    """Return the utilisation in whole per cent, rounded; 0 of nothing."""
    return (200 * used + held) // (2 * held) if held else 0
