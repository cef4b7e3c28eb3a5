# SPDX-License-Identifier: MPL-2.0
"""Demand as records show it, generated from a seed: it swings with the day, few want most of it, and what was taken is given back.

Pure: the same seed gives the same demand.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from typing import Final, NamedTuple

DAY: Final = 1440  # minutes
SKEW: Final = 1.1  # exponent of Zipf's law by which lessees differ
SWING: Final = 0.4  # by how much demand is above and below its mean in the course of a day


class BlockRequest(NamedTuple):
    """Lessee `lessee` wants a block of a prefix length from turn `begins` to turn `ends`."""

    begins: int
    ends: int
    lessee: int
    prefix_length: int


@dataclass(frozen=True, slots=True)
class BlockDemand:
    """Requests for blocks that grow until `beyond` times the `addresses` there are would be in use at once, in `days` or so.

    A lessee has its usual size; the first ones, who ask most, that of the largest blocks. Seven of ten blocks are given back after
    some hours, the others after two days. A turn has `minutes`; in it blocks are first given back, then taken.
    """

    addresses: int
    lessees: int
    days: float
    beyond: float = 1.2
    minutes: int = 20

    def generate(self, seed: int) -> list[BlockRequest]:
        """Return the requests in their order."""
        random_ = random.Random(seed)
        weights = zipf(self.lessees)
        everybody = range(self.lessees)
        sample = [self._block(random_, random_.choices(everybody, weights)[0]) for _ in range(4000)]
        typical = sum(min(minutes, DAY) << 32 - length for length, minutes in sample) / len(sample)
        requests: list[BlockRequest] = []
        live: Counter[int] = Counter()  # addresses that are given back in a turn
        in_use = turn = 0
        while in_use <= self.beyond * self.addresses:
            in_use -= live[turn]
            minute = turn * self.minutes
            share = 0.2 + minute / DAY / self.days
            rate = share * self.addresses / typical * day_curve(minute, peak=14)
            for _ in range(poisson(random_, rate * self.minutes)):
                lessee = random_.choices(everybody, weights)[0]
                length, minutes = self._block(random_, lessee)
                ends = turn + max(1, round(minutes / self.minutes))
                requests.append(BlockRequest(turn, ends, lessee, length))
                in_use += 1 << 32 - length
                live[ends] += 1 << 32 - length
            turn += 1
        return requests

    def _block(self, random_: random.Random, lessee: int) -> tuple[int, int]:
        """Return a block's prefix length and for how many minutes it is wanted."""
        usual = 24 + min(3, int(4 * lessee / self.lessees + random_.random()))
        length = min(28, usual + random_.choices((-1, 0, 1, 2), (1, 5, 3, 1))[0])
        hours = random_.lognormvariate(math.log(3), 1) if random_.random() < 0.7 else random_.expovariate(1 / 48)
        return length, max(10, round(60 * hours))


class Session(NamedTuple):
    """A host of lessee `lessee` that wants an address from minute `begins` to minute `ends`."""

    begins: int
    ends: int
    lessee: int


class _Profile(NamedTuple):
    """A network's hosts at its busiest, and its day: an office's or a home's, moved by some hours."""

    most: float
    home: bool
    shift: float

    def expected(self, minute: int) -> float:
        """Return how many hosts are there in a minute, as expected."""
        hour = (minute / 60 - self.shift) % 24
        if self.home:
            return self.most * (0.6 + 0.4 * math.cos(2 * math.pi * (hour - 21) / 24))
        return self.most * (0.05 + 0.95 * (_step(hour - 8) - _step(hour - 17.5)))


@dataclass(frozen=True, slots=True)
class HostDemand:
    """Hosts of `lessees` networks over `minutes` from the minute `start` of a day on (before midnight where it is negative).

    `load` of the addresses is in use when most are, all networks together. Every other network is an office's, the others are homes';
    each is up to two hours earlier or later than the rest (time zones).
    """

    addresses: int
    lessees: int
    load: float
    start: int
    minutes: int
    stay: float = 90.0  # minutes, mean

    def peaks(self, seed: int) -> list[float]:
        """Return how many hosts each network has at its own busiest, as expected."""
        return [profile.most for profile in self._profiles(seed)]

    def generate(self, seed: int) -> list[Session]:
        """Return the sessions in the order in which they begin. Their minute 0 is `start`."""
        random_ = random.Random(f"hosts {seed}")
        profiles = self._profiles(seed)
        sessions = []
        for minute in range(self.minutes):
            for lessee, profile in enumerate(profiles):
                # At the beginning those that are there already. From then on as many come as leave and as there will be more of.
                now, soon = profile.expected(self.start + minute), profile.expected(self.start + minute + 1)
                mean = now if minute == 0 else max(0.0, now / self.stay + soon - now)
                for _ in range(poisson(random_, mean)):
                    stay = max(2, round(random_.expovariate(1 / self.stay)))
                    sessions.append(Session(minute, minute + stay, lessee))
        return sessions

    def _profiles(self, seed: int) -> list[_Profile]:
        random_ = random.Random(seed)
        weights = zipf(self.lessees)
        random_.shuffle(weights)
        profiles = [_Profile(weight, number % 2 == 1, random_.uniform(-2, 2)) for number, weight in enumerate(weights)]
        busiest = max(sum(profile.expected(minute) for profile in profiles) for minute in range(0, DAY, 10))
        scale = self.load * self.addresses / busiest
        return [profile._replace(most=profile.most * scale) for profile in profiles]


def _step(hours: float) -> float:
    """From 0 to 1 within an hour or two around 0."""
    return 1 / (1 + math.exp(-3 * hours))


def day_curve(minute: int, peak: float) -> float:
    """Return by which factor demand is above its mean in a minute, where it peaks at the hour `peak`."""
    return 1 + SWING * math.cos(2 * math.pi * (minute / DAY - peak / 24))


def zipf(count: int) -> list[float]:
    """Return the shares of so many lessees, the largest first; their sum is 1."""
    weights = [1 / (rank + 1) ** SKEW for rank in range(count)]
    return [weight / sum(weights) for weight in weights]


def poisson(random_: random.Random, mean: float) -> int:
    """Return a number with Poisson's distribution: by its arrivals, or by the normal distribution where these were many."""
    if mean > 50:
        return max(0, round(random_.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), random_.random(), 0
    while product > limit:
        product *= random_.random()
        count += 1
    return count
