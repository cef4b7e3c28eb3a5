# SPDX-License-Identifier: MPL-2.0
"""Who may ask, how often, and what could not be given."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from kea_subnet_deleg.roles.admission import Admission, RateLimit, admitted
from kea_subnet_deleg.roles.shortages import Shortage, Shortages

ROUTER, OTHER = b"\1\2\0\0\0\0\1", b"\1\2\0\0\0\0\2"
INSIDE, OUTSIDE = int(IPv4Address("10.1.2.3")), int(IPv4Address("11.1.2.3"))
NETWORK = Admission(network=IPv4Network("10.0.0.0/8"))


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        (Admission(), True),
        (Admission(client_id=ROUTER), True),
        (Admission(client_id=OTHER), False),
        (Admission(client_id=ROUTER[:-1]), False),
        (NETWORK, True),
        (Admission(network=IPv4Network("10.1.2.3/32")), True),
        (Admission(network=IPv4Network("11.0.0.0/8")), False),
        (Admission(circuit_id=b"lan7"), True),
        (Admission(circuit_id=b"lan"), False),
        (Admission(remote_id=b"r"), False),
        (Admission(ROUTER, IPv4Network("10.0.0.0/8"), b"lan7"), True),
        (Admission(ROUTER, IPv4Network("10.0.0.0/8"), b"lan8"), False),
        (Admission(ROUTER, IPv4Network("11.0.0.0/8"), b"lan7"), False),
    ],
)
def test_a_line_fits_where_all_of_it_does(line: Admission, fits: bool) -> None:
    assert line.fits(ROUTER, INSIDE, b"lan7", None) is fits
    assert admitted((line,), ROUTER, INSIDE, b"lan7", None) is fits


def test_one_line_is_enough_and_no_list_admits_all() -> None:
    lines = (NETWORK, Admission(client_id=OTHER))
    assert admitted(lines, ROUTER, INSIDE, None, None)
    assert admitted(lines, OTHER, OUTSIDE, None, None)
    assert not admitted(lines, ROUTER, OUTSIDE, None, None)
    assert admitted((), ROUTER, OUTSIDE, None, None)


class Clock:
    """Monotonic seconds, by hand."""

    now = 50.0

    def __call__(self) -> float:
        return self.now


def taken(limit: RateLimit, client: bytes, tries: int) -> int:
    return sum(limit.take(client) for _ in range(tries))


@pytest.mark.parametrize(("rate", "burst"), [(2.0, 10), (10.0, 50), (0.5, 2), (0.01, 1)])
def test_a_burst_and_then_the_rate(rate: float, burst: int) -> None:
    clock = Clock()
    limit = RateLimit(rate, clock)
    assert taken(limit, ROUTER, 1000) == burst
    for _ in range(20):
        clock.now += 1 / rate + 1e-9
        assert taken(limit, ROUTER, 100) == 1
    assert taken(limit, OTHER, 1000) == burst  # each has its own
    clock.now += 1e6
    assert taken(limit, ROUTER, 1000) == burst  # no more is saved up


def test_asking_in_vain_does_not_put_it_off() -> None:
    clock = Clock()
    limit = RateLimit(1.0, clock, burst=1.0)
    assert taken(limit, ROUTER, 1) == 1
    for _ in range(9):
        clock.now += 0.1
        assert taken(limit, ROUTER, 50) == 0
    clock.now += 0.1 + 1e-9
    assert taken(limit, ROUTER, 50) == 1


def test_no_rate_no_limit() -> None:
    assert taken(RateLimit(None, Clock()), ROUTER, 1000) == 1000


def test_only_so_many_clients_are_remembered() -> None:
    """Those go first that have not asked for longest: who hoards is among those that have."""
    limit = RateLimit(1.0, Clock(), burst=1.0, most=3)
    assert taken(limit, ROUTER, 2) == 1
    for n in range(100):
        assert taken(limit, b"%d" % n, 2) == 1
        assert taken(limit, ROUTER, 1) == 0
    assert len(limit._buckets) == 3


def test_shortages_are_told_once_and_what_is_asked_last_counts() -> None:
    shortages = Shortages()
    assert not shortages
    assert shortages.take() == []
    for addresses in (256, 16, 1024):
        shortages.note(0, (2, 3), addresses)
    shortages.note(0, (2,), 64)
    shortages.note(1, (2, 3), 8)
    assert shortages
    assert sorted(shortages.take()) == [Shortage(0, (2,), 64), Shortage(0, (2, 3), 1024), Shortage(1, (2, 3), 8)]
    assert not shortages
    assert shortages.take() == []
