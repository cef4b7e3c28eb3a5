# SPDX-License-Identifier: MPL-2.0
"""Blocks of the ledger as subnets of Kea: which pool, which router, for how long (seed [0107], [0109], [0117-118])."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from kea_subnet_deleg.ledger.networks import LocalBlock, ReservedBlock, Served
from kea_subnet_deleg.policy.growth import NetworkTerms, Router
from kea_subnet_deleg.roles.usage import subnet_id

Subnet = dict[str, Any]
"""A subnet as the request `serve` has it."""


@dataclass(frozen=True, slots=True)
class ReservedTerms:
    """Reserved subnets: the first `kept` addresses are their routers'; `serve` is "own", "all" or "none" of them."""

    kept: int = 1
    serve: str = "own"


def served_subnets(
    terms: Mapping[str, NetworkTerms], reserved: ReservedTerms, own: Container[int], served: Served
) -> list[Subnet]:
    """Return all subnets that Kea is to have from us, by subnet-id. `terms` by name; `own`: our addresses (host-order integers)."""
    subnets = [
        subnet
        for block in served.local
        if block.network in terms and (subnet := _local(terms[block.network], block)) is not None
    ]
    servers = {router.server for router in served.reserved if reserved.serve != "none"}
    # Each is asked for once.
    ours = servers if reserved.serve == "all" else {server for server in servers if server in own}
    subnets += [
        subnet
        for router in served.reserved
        if router.server in ours and (subnet := _relayed(reserved, router)) is not None
    ]
    return sorted(subnets, key=lambda subnet: int(subnet["id"]))


def served_elsewhere(served: Served, subnets: Sequence[Subnet]) -> list[int]:
    """Return the subnet-ids of the other blocks. They have not ended: other servers may lease addresses of them, in our database."""
    ours = {int(subnet["id"]) for subnet in subnets}
    blocks: list[LocalBlock | ReservedBlock] = [*served.local, *served.reserved]
    return sorted({subnet_id(block.prefix) for block in blocks} - ours)


def _local(terms: NetworkTerms, block: LocalBlock) -> Subnet | None:
    """Return a network's block as a subnet; None if it has no address for a host."""
    hosts = _hosts(block.prefix)
    router: int | None = None
    if hosts and terms.router is Router.FIRST:
        router, hosts = hosts[0], hosts[1:]
    elif hosts and terms.router is Router.LAST:
        router, hosts = hosts[-1], hosts[:-1]
    is_open = block.state == "local" and not block.draining and _lasts(block.remaining)
    subnet = _subnet(block, hosts, router, is_open=is_open)
    if subnet is None:
        return None
    subnet["network"] = terms.name
    if terms.valid_lifetime is not None:
        subnet["lifetime"] = terms.valid_lifetime
    return subnet


def _relayed(terms: ReservedTerms, block: ReservedBlock) -> Subnet | None:
    """Return a reserved block as a subnet; None if all of its addresses are kept.

    Kea chooses it by its relay, and where that is not known, by a giaddr that is an address of it.
    """
    hosts = _hosts(block.prefix)
    # Hosts are told the first of the addresses that the router keeps for its interfaces.
    router = hosts[0] if hosts and terms.kept else None
    is_open = not block.ended and _lasts(block.remaining)
    subnet = _subnet(block, hosts[terms.kept :], router, is_open=is_open)
    if subnet is not None and block.relay:
        subnet["relay"] = [str(IPv4Address(block.relay))]
    return subnet


def _hosts(prefix: IPv4Network) -> range:
    """Return the addresses of a subnet that hosts may have: all but network and broadcast."""
    return range(int(prefix.network_address) + 1, int(prefix.broadcast_address))


def _lasts(remaining: int | None) -> bool:
    return remaining is None or remaining > 0


def _subnet(
    block: LocalBlock | ReservedBlock, pool: Sequence[int], router: int | None, *, is_open: bool
) -> Subnet | None:
    if not pool:
        return None
    subnet: Subnet = {
        "id": subnet_id(block.prefix),
        "subnet": str(block.prefix),
        "pool": f"{IPv4Address(pool[0])}-{IPv4Address(pool[-1])}",
        "open": is_open,
    }
    if router is not None:
        subnet["routers"] = str(IPv4Address(router))
    if block.remaining is not None:
        subnet["remaining"] = max(0, block.remaining)
    if block.longest is not None:
        subnet["longest"] = block.longest
    return subnet
