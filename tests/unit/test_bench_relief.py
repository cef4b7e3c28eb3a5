# SPDX-License-Identifier: MPL-2.0
"""What B8 makes of what hosts say that came when a network was exhausted."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest

from bench.relief import episode

OLD, NEW = IPv4Network("10.0.0.0/27"), IPv4Network("10.0.0.32/27")


def host(address: object, served: float, unanswered: float | None = None) -> dict[str, Any]:
    return {"number": 1, "address": str(address), "served": served, "unanswered": unanswered}


def test_relief_is_from_the_first_question_in_vain_to_the_first_address_of_a_new_block() -> None:
    hosts = [host(OLD[5], 100.0), host(NEW[5], 100.5, 100.2), host(NEW[6], 100.4, 100.3), host(OLD[6], 100.1)]
    found = episode(hosts, [OLD])
    assert found is not None
    assert found.relief == pytest.approx(0.2)
    assert found.noticed == pytest.approx([0.3, 0.1])
    assert (found.hosts, found.capacity) == (4, 29)


def test_an_address_that_became_free_in_an_old_block_is_no_relief() -> None:
    found = episode([host(OLD[5], 100.3, 100.2), host(NEW[6], 101.0, 100.3)], [OLD])
    assert found is not None
    assert found.relief == pytest.approx(0.8)


def test_a_network_that_had_an_address_for_each_was_not_exhausted() -> None:
    assert episode([host(OLD[5], 100.0), host(NEW[5], 100.1)], [OLD]) is None


def test_relief_must_come_from_a_new_block() -> None:
    with pytest.raises(RuntimeError, match="new block"):
        episode([host(OLD[5], 100.3, 100.2)], [OLD])
