# SPDX-License-Identifier: MPL-2.0
"""What could not be given, kept until it can."""

from __future__ import annotations

from kea_subnet_deleg.roles.shortages import MOST_KEPT, PATIENCE, Shortage, Shortages
from tests.client.codec import Allocation, Request, Type
from tests.unit.fakes import inbound, message

PACKET = inbound(message(Type.DISCOVER, Allocation((Request(24),))))
OTHER = inbound(message(Type.DISCOVER, Allocation((Request(26),))))


class Clock:
    """Monotonic seconds, by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_largest_of_several_counts_once() -> None:
    shortages = Shortages()
    shortages.note(0, (1, 2), 256)
    shortages.note(0, (1, 2), 64)
    shortages.note(0, (3,), 4)
    assert shortages
    assert shortages.take() == [Shortage(0, (1, 2), 256), Shortage(0, (3,), 4)]
    assert not shortages
    assert shortages.take() == []


def test_a_request_is_kept_once_for_each_client_until_it_is_taken() -> None:
    woken: list[bool] = []
    shortages = Shortages(Clock(), lambda: woken.append(True))
    shortages.keep(b"one", PACKET, [24, 28])
    shortages.keep(b"two", PACKET, [26])
    shortages.keep(b"one", OTHER, [25])
    assert len(woken) == 3
    assert shortages.lacking() == (25, 26)
    assert shortages.kept() == [OTHER, PACKET]
    assert shortages.kept() == []
    assert shortages.lacking() == ()


def test_a_request_is_forgotten_when_its_time_is_over() -> None:
    clock = Clock()
    shortages = Shortages(clock)
    shortages.keep(b"one", PACKET, [24])
    clock.now += PATIENCE
    shortages.keep(b"two", OTHER, [26])
    assert shortages.lacking() == (24, 26)
    clock.now += 0.1
    assert shortages.lacking() == (26,)
    assert shortages.kept() == [OTHER]


def test_no_more_are_kept_than_that() -> None:
    shortages = Shortages(Clock())
    for number in range(MOST_KEPT + 10):
        shortages.keep(b"%d" % number, PACKET, [24])
    assert len(shortages.lacking()) == MOST_KEPT
    shortages.keep(b"0", OTHER, [30])  # who is kept already may ask anew
    assert shortages.lacking()[-1] == 30


def test_nothing_is_obtained_for_those_whom_we_ask() -> None:
    shortages = Shortages(Clock(), peers={PACKET.source})
    shortages.keep(b"one", PACKET, [24])
    assert shortages.lacking() == ()
    shortages.keep(b"two", PACKET._replace(source=PACKET.source + 1), [24])
    assert shortages.lacking() == (24,)


def test_nothing_is_kept_where_nobody_is_asked_and_where_nothing_is_asked_for() -> None:
    shortages = Shortages()
    shortages.keep(b"one", PACKET, [24])
    assert shortages.kept() == []
    shortages = Shortages(Clock())
    shortages.keep(b"one", PACKET, [])
    assert shortages.kept() == []
