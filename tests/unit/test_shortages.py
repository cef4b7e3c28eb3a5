# SPDX-License-Identifier: MPL-2.0
"""What could not be given, kept until it can."""

from __future__ import annotations

from kea_subnet_deleg.roles.shortages import MEMORY, MOST_KEPT, PATIENCE, Shortage, Shortages
from tests.client.codec import Allocation, Request, Type
from tests.unit.fakes import inbound, message

PACKET = inbound(message(Type.DISCOVER, Allocation((Request(24),))))
OTHER = inbound(message(Type.DISCOVER, Allocation((Request(26),))))


class Clock:
    """Monotonic seconds, by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_all_want_is_wanted_and_of_each_what_it_asked_last() -> None:
    shortages = Shortages()
    shortages.note(0, (1, 2), 256, b"one")
    shortages.note(0, (1, 2), 64, b"two")
    shortages.note(0, (1, 2), 128, b"one")  # again, for less
    shortages.note(0, (3,), 4, b"one")
    assert shortages
    assert shortages.take() == [Shortage(0, (1, 2), 192), Shortage(0, (3,), 4)]
    assert not shortages
    assert shortages.take() == []


def test_who_asks_seldom_is_remembered_when_another_asks() -> None:
    """RFC 2131 4.1: from the fifth time on, a client asks again every 64 seconds."""
    clock = Clock()
    shortages = Shortages(clock)
    shortages.note(0, (1,), 256, b"one")
    assert shortages.take() == [Shortage(0, (1,), 256)]
    clock.now += MEMORY
    shortages.note(0, (1,), 64, b"two")
    assert shortages.take() == [Shortage(0, (1,), 320)]
    clock.now += 0.1
    shortages.note(0, (1,), 64, b"two")
    assert shortages.take() == [Shortage(0, (1,), 64)]


def test_who_was_served_wants_nothing() -> None:
    shortages = Shortages()
    assert not shortages.remembered
    shortages.note(0, (1,), 256, b"one")
    shortages.note(0, (1,), 64, b"two")
    shortages.note(0, (2,), 16, b"one")
    shortages.served(b"one")
    assert shortages.remembered
    assert shortages.take() == [Shortage(0, (1,), 64)]
    shortages.served(b"two")
    assert not shortages.remembered


def test_one_that_was_taken_too_early_comes_again_with_what_is_wanted_then() -> None:
    shortages = Shortages()
    shortages.note(0, (1,), 256, b"one")
    (taken,) = shortages.take()
    shortages.again(taken)
    shortages.note(0, (1,), 64, b"two")
    assert shortages.take() == [Shortage(0, (1,), 320)]
    shortages.again(taken)
    shortages.served(b"one")
    shortages.served(b"two")
    assert shortages.take() == []


def test_no_more_wants_are_remembered_than_that() -> None:
    shortages = Shortages()
    for number in range(MOST_KEPT + 10):
        shortages.note(0, (1,), 4, b"%d" % number)
    assert shortages.take() == [Shortage(0, (1,), 4 * MOST_KEPT)]


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
    shortages = Shortages(Clock(), is_peers=lambda packet: packet.source == PACKET.source)
    shortages.keep(b"one", PACKET, [24])
    assert shortages.lacking() == ()
    shortages.keep(b"two", PACKET._replace(source=PACKET.source + 1), [24])
    assert shortages.lacking() == (24,)


def test_nothing_is_kept_where_nobody_is_asked_and_where_nothing_is_asked_for() -> None:
    shortages = Shortages(keeps=False)
    shortages.keep(b"one", PACKET, [24])
    assert shortages.kept() == []
    shortages = Shortages(Clock())
    shortages.keep(b"one", PACKET, [])
    assert shortages.kept() == []
