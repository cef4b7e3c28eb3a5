# SPDX-License-Identifier: MPL-2.0
"""Which pools a request is about, and so whose terms decide on it."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from kea_subnet_deleg.ledger import Directory, PoolTerms

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
