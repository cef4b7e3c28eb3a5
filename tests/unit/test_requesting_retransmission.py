# SPDX-License-Identifier: MPL-2.0
"""When things are said again: RFC 2131 section 4.1, the pause between acquisitions, and what a change of what is wanted does to it."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from tests.client.codec import Message, Type
from tests.unit.requesting_scene import TO_A, TO_B, TO_LAN, A, B, C, Scene, ack, information, offer, to


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_discover_is_sent_again_after_4_and_8_seconds(scene: Scene) -> None:
    ((_, first),) = scene.want(24)
    sent = scene.run(27.0)
    assert [round(when, 1) for when, _, _ in sent] == [4.0, 12.0]
    assert {message.xid for _, message, _ in sent} == {first.xid}
    assert [message.secs for _, message, _ in sent] == [4, 12]


def test_each_time_is_spread_by_a_second() -> None:
    first_waits, second_waits = set(), set()
    for seed in range(60):
        scene = Scene(randomness=random.Random(seed))
        scene.want(24)
        first, second = (when for when, _, _ in scene.run(14.5, step=0.001)[:2])
        assert 3.0 <= first <= 5.01
        assert 7.0 <= second - first <= 9.01
        first_waits.add(round(first, 1))
        second_waits.add(round(second - first, 1))
    assert len(first_waits) > 10
    assert len(second_waits) > 10


def test_a_request_is_sent_again_and_given_up_after_a_minute(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    sent = [(round(when, 1), message) for when, message, _ in scene.run(63.0)]
    requests = [(when, message) for when, message in sent if message.type is Type.REQUEST]
    assert [when for when, _ in requests] == [4.0, 12.0, 28.0]
    assert all(message == said for _, message in requests)
    # Then it is seen whether the server leased to us all the same.
    assert [(when, message.allocation.requests[0].information) for when, message in sent[3:]] == [(60.0, True)]
    assert scene.store.claims.keys() == {"listing:192.0.2.10"}


def test_every_server_asked_hears_each_request_again() -> None:
    scene = Scene(TO_A, TO_B, TO_LAN)
    asked = scene.want(24)[0][1]
    scene.hear(offer(asked, A, "10.0.1.0/24"))
    assert len(scene.at(0.5)) == 3
    assert len(scene.at(4.5)) == 3


def test_an_ack_to_a_retransmitted_request_counts_from_the_first(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    scene.hear(offer(asked, A, "10.0.1.0/24"))
    ((_, again),) = scene.at(4.0)
    scene.hear(ack(again, A))
    assert scene.store.acknowledgements[0][2] == 3596


def test_acquisitions_that_bring_nothing_come_less_and_less(scene: Scene) -> None:
    scene.want(24)
    sent = scene.run(700.0)
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    for when, message, _ in sent:
        starts.setdefault(message.xid, when)
        ends[message.xid] = when
    pauses = [round(starts[two] - (ends[one] + 16.0)) for one, two in pairwise(starts)]
    assert pauses[:6] == [4, 8, 16, 32, 64, 64]
    assert scene.logged("NOTHING_OBTAINED")[0] == "wanted: /24; nobody answers; it is asked for again"
    assert 2 <= len(scene.logged("NOTHING_OBTAINED")) <= 3  # once in five minutes
    assert scene.kea.counters["nothing-obtained"] >= 7


def test_the_first_pause_is_of_4_seconds(scene: Scene) -> None:
    ((_, first),) = scene.want(24)
    when = next(when for when, message, _ in scene.run(40.0) if message.xid != first.xid)
    assert round(when, 1) == 32.0


def test_something_new_is_asked_for_after_a_second(scene: Scene) -> None:
    ((_, first),) = scene.want(24)
    assert scene.want(24, 20) == []
    assert scene.at(0.9) == []
    ((_, second),) = scene.at(1.0)
    assert second.xid != first.xid
    assert [request.prefix for request in second.allocation.requests] == [20, 24]
    assert scene.hear(offer(first, A, "10.0.1.0/24")) == []  # too late


def test_something_new_ends_the_pause(scene: Scene) -> None:
    scene.want(24)
    scene.run(28.5)
    assert scene.store.claims == {}
    assert scene.want(24, 20) == []
    assert [round(when, 1) for when, _, _ in scene.run(30.0)] == [29.0]


def test_less_is_nothing_new(scene: Scene) -> None:
    scene.want(24, 20)
    assert scene.want(24) == []
    assert [round(when, 1) for when, _, _ in scene.run(11.0)] == [4.0]
    assert scene.role.wanting


def test_an_offer_is_not_let_go_for_something_new() -> None:
    two = Scene(TO_A, TO_B)
    asked = two.want(24)[0][1]
    two.hear(offer(asked, A, "10.0.1.0/24"))
    two.want(24, 20)
    assert {said.type for _, said in two.at(1.0)} == {Type.REQUEST}


def test_what_is_wanted_no_longer_is_not_asked_for_again(scene: Scene) -> None:
    scene.want(24)
    assert scene.want() == []
    assert scene.store.claims == {}
    assert scene.run(100.0) == []
    assert scene.logged("NOTHING_OBTAINED") == []


def test_what_was_requested_is_obtained_though_it_is_wanted_no_longer(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.want()
    scene.hear(ack(said, A))
    assert scene.obtained == 1


def test_what_comes_and_goes_is_asked_for_once_a_second_at_most(scene: Scene) -> None:
    sent: list[float] = []
    while scene.now < 1010.0:
        for lengths in ((24,), ()):
            sent += [scene.now for _ in scene.want(*lengths)]
            scene.now = scene.store.now = scene.now + 0.05
    assert len(sent) <= 11
    assert all(later - earlier >= 0.99 for earlier, later in pairwise(sent))


def test_success_forgets_the_failures_before(scene: Scene) -> None:
    scene.want(24)
    scene.run(200.0)
    asked: Message | None = None
    while asked is None:
        for _, message, _ in scene.run(scene.now - 1000.0 + 1.0):
            asked = message
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.hear(ack(said, A))
    start = scene.now
    again = next(iter(scene.run(start - 1000.0 + 2.0)))
    assert again[0] + 1000.0 - start <= 0.3
    waits = [when for when, message, _ in scene.run(start - 1000.0 + 60.0) if message.xid != again[1].xid]
    assert round(waits[0] - again[0]) == 32  # as at the beginning


def test_lan_servers_and_others_are_all_told_again() -> None:
    scene = Scene(TO_LAN, TO_B)
    assert len(scene.want(24)) == 2
    assert to(scene.at(4.0))[1] == B
    ((_, asked), _) = scene.at(12.0)
    scene.hear(offer(asked, C, "10.0.1.0/24"))
    requests = scene.at(12.5)
    assert {message.secs for _, message in requests} == {12}  # as in the DISCOVER (RFC 2131 section 4.3.1)
    scene.hear(ack(requests[0][1], C, information("10.0.1.0/24")))
    assert scene.obtained == 1
