# SPDX-License-Identifier: MPL-2.0
"""Which pools a request is about, and so whose terms decide on it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from kea_subnet_deleg.ledger import Directory, Pool, PoolTerms, Selector
from tests.conftest import Database

EMPTY = PoolTerms(1, 0, "default")  # each new ledger has it
CAMPUS = PoolTerms(2, 0, "campus", policy="proportional", origins=(IPv4Network("10.64.0.0/10"),))
SALES = PoolTerms(3, 0, "sales", frozenset({"sales"}), origins=(IPv4Network("10.32.0.0/16"),))
GONE = PoolTerms(4, 0, "gone", frozenset({"gone"}))  # its address space was removed
BLUE = PoolTerms(5, 1, "default", origins=(IPv4Network("10.64.0.0/10"),))
DIRECTORY = Directory((EMPTY, CAMPUS, SALES, GONE, BLUE))


@pytest.mark.parametrize(
    ("space", "name", "pools"),
    [
        (0, None, (CAMPUS,)),
        (0, "purchase", (CAMPUS,)),
        (0, "sales", (SALES,)),
        (0, "gone", (CAMPUS,)),
        (1, "sales", (BLUE,)),
        (2, None, ()),
    ],
)
def test_pools_without_address_space_have_no_say(space: int, name: str | None, pools: tuple[PoolTerms, ...]) -> None:
    assert DIRECTORY.pools_for(space, name) == pools


# ------------------------------------------------------------------------------------------------ spaces


ROUTER = b"\1\2\0\0\0\0\1"
SELECTING = Directory(
    (CAMPUS, BLUE),
    (
        Selector(1, vss="blue"),
        Selector(2, network=IPv4Network("10.0.0.0/8")),
        Selector(3, network=IPv4Network("10.1.0.0/16")),
        Selector(4, identity=ROUTER),
    ),
)


@pytest.mark.parametrize(
    ("identity", "vss", "relay", "space"),
    [
        (b"x", None, "0.0.0.0", 0),
        (b"x", None, "192.0.2.1", 0),
        (b"x", "blue", "0.0.0.0", 1),
        (b"x", "blue", "10.1.0.1", 1),  # a VSS goes before where the relay is
        (b"x", "red", "10.1.0.1", None),  # and where it is unknown, nothing else decides (RFC 6607)
        (b"x", None, "10.2.0.1", 2),
        (b"x", None, "10.1.0.1", 3),  # the longest network
        (ROUTER, None, "10.1.0.1", 4),
        (ROUTER, "blue", "10.1.0.1", 4),
        (ROUTER, "red", "0.0.0.0", 4),
    ],
)
def test_the_space_of_a_request(identity: bytes, vss: str | None, relay: str, space: int | None) -> None:
    assert SELECTING.space_of(identity, vss, int(IPv4Address(relay))) == space


@pytest.mark.parametrize(
    ("space", "block", "pool"),
    [
        (0, "10.64.0.0/10", CAMPUS),
        (0, "10.127.255.252/30", CAMPUS),
        (0, "10.32.7.0/24", SALES),
        (0, "10.0.0.0/8", None),  # larger than the origin in it
        (0, "192.0.2.0/24", None),
        (1, "10.64.0.0/24", BLUE),
        (1, "10.32.0.0/24", None),
        (2, "10.64.0.0/24", None),
    ],
)
def test_the_pool_of_a_block(space: int, block: str, pool: PoolTerms | None) -> None:
    network = IPv4Network(block)
    assert DIRECTORY.pool_of(space, int(network.network_address), network.prefixlen) == pool


def test_how_long_hosts_leases_of_a_block_are_to_last() -> None:
    leased = {IPv4Network("10.0.1.0/24"): 900, IPv4Network("10.0.2.0/24"): 600}
    origins = (*leased, IPv4Network("10.0.3.0/24"))
    directory = Directory((PoolTerms(2, 0, "default", origins=origins, leased=True, host_lease_times=leased), BLUE))
    assert directory.suggests
    assert not DIRECTORY.suggests
    for block, seconds in {
        "10.0.1.0/24": 900,
        "10.0.2.128/26": 600,
        "10.0.3.0/26": None,
        "10.0.0.0/16": None,
        "192.0.2.0/24": None,
    }.items():
        network = IPv4Network(block)
        assert directory.host_lease_time(0, int(network.network_address), network.prefixlen) == seconds
        assert directory.host_lease_time(1, int(network.network_address), network.prefixlen) is None


def test_the_size_of_a_pool() -> None:
    assert (EMPTY.size, SALES.size) == (0, 65536)
    assert PoolTerms(9, 0, "two", origins=(IPv4Network("10.0.0.0/30"), IPv4Network("10.1.0.0/30"))).size == 8


def test_the_directory_of_a_ledger(database: Database) -> None:
    with database.admin() as admin:
        admin.space_add("blue")
        admin.space_select("blue", Selector(0, vss="vpn"))
        admin.space_select("blue", Selector(0, network=IPv4Network("10.1.0.0/16")))
        admin.space_select("blue", Selector(0, identity=ROUTER))
        terms = {
            "tags": ["sales"],
            "policy": "proportional",
            "default_length": 26,
            "largest_length": 25,
            "smallest_length": 27,
        }
        admin.pool_add(Pool(IPv4Network("10.0.0.0/16"), "a", space="blue", terms=terms))
        admin.pool_add(Pool(IPv4Network("10.2.0.0/16"), "a", space="blue"))
        admin.space_select("default", Selector(0, vss="vpn"))  # replaces what it said before
    database.ledger().server_seen(0x0A000001, "one", "0")
    found = database.ledger().directory()
    (blue,) = {selector.space for selector in found.selectors if selector.identity == ROUTER}
    origins = (IPv4Network("10.0.0.0/16"), IPv4Network("10.2.0.0/16"))
    (pool,) = found.pools_for(blue, "sales")
    assert pool == PoolTerms(pool.number, blue, "a", frozenset({"sales"}), "proportional", 26, 25, 27, origins)
    assert found.pools_for(blue, None) == ()
    assert found.servers == {0x0A000001}
    assert set(found.selectors) == {
        Selector(0, vss="vpn"),
        Selector(blue, network=IPv4Network("10.1.0.0/16")),
        Selector(blue, identity=ROUTER),
    }
