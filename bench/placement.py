# SPDX-License-Identifier: MPL-2.0
"""Where a block is put, by the rules that ours is compared with. Blocks are prefixes, so each lies within one free prefix.

Addresses are host-order integers.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network
from typing import NamedTuple

from bench.demand import BlockRequest


class Free(NamedTuple):
    """A free prefix that has no free buddy."""

    address: int
    length: int


Choice = Callable[[Sequence[Free], int], int]
"""From the free prefixes that hold a block of a length, to the address that it is put at."""


def first_fit(fitting: Sequence[Free], _length: int) -> int:
    """The lowest address."""
    return min(free.address for free in fitting)


def best_fit(fitting: Sequence[Free], _length: int) -> int:
    """The lowest address in the smallest free prefix."""
    return min(fitting, key=lambda free: (-free.length, free.address)).address


class AnyFit:
    """Any place where it can be, each as likely as the others."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, fitting: Sequence[Free], length: int) -> int:
        weights = [1 << length - free.length for free in fitting]
        free = self._random.choices(fitting, weights)[0]
        return free.address + (self._random.randrange(1 << length - free.length) << 32 - length)


class Space:
    """Address space of several prefixes, of which blocks are taken by one rule. Buddies are merged at once."""

    def __init__(self, origins: Iterable[IPv4Network], choose: Choice) -> None:
        self._choose = choose
        self._origins = {Free(int(origin.network_address), origin.prefixlen) for origin in origins}
        self._free = set(self._origins)

    def take(self, length: int) -> IPv4Network | None:
        """Take a block of a prefix length; return None where there is no place for it."""
        fitting = [free for free in self._free if free.length <= length]
        if not fitting:
            return None
        address = self._choose(fitting, length)
        whole = next(free for free in fitting if free.address >> 32 - free.length == address >> 32 - free.length)
        self._free.remove(whole)
        for further in range(whole.length + 1, length + 1):  # the other half, at each halving
            bit = 1 << 32 - further
            self._free.add(Free((address ^ bit) & ~(bit - 1), further))
        return IPv4Network((address, length))

    def give_back(self, given: IPv4Network) -> None:
        """Give a block back."""
        block = Free(int(given.network_address), given.prefixlen)
        while block not in self._origins:
            bit = 1 << 32 - block.length
            buddy = Free(block.address ^ bit, block.length)
            if buddy not in self._free:
                break
            self._free.remove(buddy)
            block = Free(block.address & ~bit, block.length - 1)
        self._free.add(block)


def clairvoyant(requests: Sequence[BlockRequest], addresses: int) -> int:
    """Return how many requests nobody could serve more of: those before the first with which more is wanted than there is.

    As if blocks already given could be moved about: of what had to be known beforehand nothing is left out.
    """
    in_use = now = 0
    ends: Counter[int] = Counter()
    for number, request in enumerate(requests):
        while now < request.begins:
            now += 1
            in_use -= ends[now]
        in_use += 1 << 32 - request.prefix_length
        if in_use > addresses:
            return number
        ends[request.ends] += 1 << 32 - request.prefix_length
    return len(requests)
