# SPDX-License-Identifier: MPL-2.0
"""Which offer to take (seed FIG. 5; RFC 6656 sections 4.2 and 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import pairwise
from typing import Final

from kea_subnet_deleg.wire import LONGEST_PREFIX, Message, SubnetAllocation, SubnetBlock, SubnetInformation

MOST_AT_ONCE: Final = 8
"""Subnets asked for in one DISCOVER: the client SHOULD limit them (RFC 6656 section 4.1)."""


class UnusableOffer(ValueError):
    """An offer that is not taken; the text says why."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server offers: its identifier, the lease time in seconds, its Subnet-Informations as they came, our preference for it."""

    server: int
    lease_time: int
    information: tuple[SubnetInformation, ...]
    preference: int = 0

    @property
    def blocks(self) -> tuple[SubnetBlock, ...]:
        """All blocks of it."""
        return tuple(block for information in self.information for block in information.blocks)

    @property
    def has_more(self) -> bool:
        """Flag s: the server would like us to ask for more."""
        return any(information.server for information in self.information)


def sizes_to_ask(wanted: Sequence[int], request_length: int | None) -> tuple[int, ...]:
    """Return the prefix lengths to ask for where blocks of the lengths `wanted` are missing, the largest blocks first.

    Nothing smaller than a /`request_length` is asked for: as many of those as hold what is wanted. At most 8 in all.
    """
    lengths = sorted(min(length, LONGEST_PREFIX) for length in wanted)
    if request_length is not None:
        large = [length for length in lengths if length <= request_length]
        small = sum(_size(length) for length in lengths[len(large) :])
        lengths = large + [request_length] * -(-small // _size(request_length))
    return tuple(lengths[:MOST_AT_ONCE])


def read_offer(message: Message, allocation: SubnetAllocation, asked: Sequence[int], preference: int) -> Offer:
    """Return what an OFFER says in answer to a DISCOVER for the prefix lengths `asked`, 0 for any.

    A block may be larger than was asked for (section 3.1); `choose` prefers what fits. Raises UnusableOffer for an offer that
    section 4.2 forbids, that lets us only relay (flag h), or that has more blocks than were asked for.
    """
    if message.server_identifier is None or not message.lease_time:
        raise UnusableOffer("it lacks the server identifier or the lease time")
    if allocation.requests or any(information.client for information in allocation.information):
        raise UnusableOffer("it is no offer of new subnets")
    offer = Offer(message.server_identifier, message.lease_time, allocation.information, preference)
    if not offer.blocks:
        raise UnusableOffer("it has no subnet")
    if any(not block.hierarchical or block.deprecate for block in offer.blocks):
        raise UnusableOffer("its subnets are not to be allocated from")
    networks = sorted(block.network for block in offer.blocks)
    if any(one.overlaps(other) for one, other in pairwise(networks)):
        raise UnusableOffer("its subnets overlap")
    if len(networks) > len(asked):
        raise UnusableOffer(f"it has more subnets than were asked for: {', '.join(map(str, networks))}")
    return offer


def choose(offers: Iterable[Offer], asked: Sequence[int]) -> Offer:
    """Return the best of some offers: by fit, then lease time, then preference, then the lowest address of the server."""
    return max(offers, key=lambda offer: (*_fit(offer, asked), offer.lease_time, offer.preference, -offer.server))


def covered(wanted: Iterable[int], networks: Iterable[IPv4Network]) -> list[int]:
    """Return which of the prefix lengths `wanted` the blocks can hold, each in a part of its own, the largest first.

    Sizes are powers of two and placed from the largest down, so what is left of a block holds any size that it has addresses for.
    """
    left = sorted((network.num_addresses for network in networks), reverse=True)
    placed = []
    for length in sorted(wanted):
        fitting = [room for room in left if room >= _size(length)]
        if fitting:
            smallest = min(fitting)
            left[left.index(smallest)] -= _size(length)
            placed.append(length)
    return placed


def _fit(offer: Offer, asked: Sequence[int]) -> tuple[bool, int, int, int]:
    """Return how well an offer fits, more is better: all wanted, addresses in whole wanted blocks, addresses of use, and less waste."""
    sizes = [length for length in asked if length]
    placed = covered(sizes, (block.network for block in offer.blocks))
    offered = sum(block.network.num_addresses for block in offer.blocks)
    useful = min(offered, sum(map(_size, sizes)))
    return len(placed) == len(sizes), sum(map(_size, placed)), useful, useful - offered


def _size(length: int) -> int:
    return 1 << 32 - length
