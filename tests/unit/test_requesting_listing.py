# SPDX-License-Identifier: MPL-2.0
"""After a start without memory: what do we hold? (RFC 6656 section 6)."""

from __future__ import annotations

import pytest

from kea_subnet_deleg.ledger import LedgerUnavailable
from kea_subnet_deleg.ledger.upstreams import Leased
from tests.client.codec import Allocation, Code, Information, Message, Request, Type
from tests.unit.requesting_scene import (
    TO_A,
    TO_B,
    TO_LAN,
    A,
    B,
    Scene,
    Sent,
    ack,
    answer,
    blocks,
    information,
    network,
    offer,
    read,
    to,
)


@pytest.fixture
def scene() -> Scene:
    return Scene(TO_A)


def start(scene: Scene) -> list[Sent]:
    return [*read(scene.role.start()), *(scene.turn() if scene.role.due <= scene.now else [])]


def page(query: Message, *texts: str, more: bool = False, lease_time: int | None = 300) -> Message:
    return answer(Type.OFFER, query, A, information(*texts, client=True, server=more), lease_time)


def test_each_upstream_known_by_address_is_asked() -> None:
    scene = Scene(TO_A, TO_B, TO_LAN)
    sent = start(scene)
    assert to(sent) == [A, B]
    for _, said in sent:
        assert said.type is Type.DISCOVER
        assert said.option(Code.SUBNET_ALLOCATION) == bytes.fromhex("00 01020200")
    assert scene.store.claims.keys() == {"listing:192.0.2.10", "listing:192.0.2.11"}


def test_one_instance_asks(scene: Scene) -> None:
    scene.store.claims["listing:192.0.2.10"] = ("two", scene.now + 60.0)
    assert start(scene) == []


def test_what_the_ledger_does_not_know_is_adopted(scene: Scene) -> None:
    scene.store.known = {"10.0.2.0/24"}
    ((_, asked),) = start(scene)
    assert scene.hear(page(asked, "10.0.1.0/24", "10.0.2.0/24")) == []
    assert scene.store.lists == [(int(A), 300, [("10.0.1.0/24", False), ("10.0.2.0/24", False)])]
    assert scene.obtained == 1
    assert len(scene.logged("OBTAINED")) == 1
    assert scene.run(60.0) == []


def test_a_list_of_several_pages(scene: Scene) -> None:
    ((_, asked),) = start(scene)
    ((packet, second),) = scene.hear(page(asked, "10.0.1.0/24", "10.0.2.0/24", more=True))
    assert to([(packet, second)]) == [A]
    last = Information(blocks("10.0.1.0/24", "10.0.2.0/24"), True, True)
    assert second.allocation == Allocation((Request(0, False, True),), (last,))
    assert second.xid != asked.xid
    ((_, third),) = scene.hear(page(second, "10.0.3.0/24", more=True))
    assert scene.hear(page(third, "10.0.4.0/24")) == []
    assert [text for _, _, listed in scene.store.lists for text, _ in listed] == [f"10.0.{n}.0/24" for n in range(1, 5)]


def test_the_last_subnet_information_is_echoed(scene: Scene) -> None:
    ((_, asked),) = start(scene)
    first, last = Information(blocks("10.0.1.0/24"), True), Information(blocks("10.0.2.0/24"), True, True)
    ((_, second),) = scene.hear(answer(Type.OFFER, asked, A, Allocation(information=(first, last)), 300))
    assert second.allocation.information == (last,)


def test_a_server_that_lists_the_same_for_ever(scene: Scene) -> None:
    ((_, asked),) = start(scene)
    ((_, second),) = scene.hear(page(asked, "10.0.1.0/24", more=True))
    assert scene.hear(page(second, "10.0.1.0/24", more=True)) == []


def test_to_be_given_up(scene: Scene) -> None:
    ((_, asked),) = start(scene)
    listed = information("10.0.2.0/24", client=True, deprecate=True)  # RFC 6656 section 8.2
    scene.hear(answer(Type.OFFER, asked, A, listed, 300))
    assert scene.store.lists == [(int(A), 300, [("10.0.2.0/24", True)])]


def test_what_we_relay_from_is_not_adopted(scene: Scene) -> None:
    ((_, asked),) = start(scene)
    relaying = Information(blocks("10.0.1.0/24", hierarchical=False), True)
    scene.hear(answer(Type.OFFER, asked, A, Allocation(information=(relaying,)), 300))
    assert scene.store.lists == []


def test_what_overlaps_is_given_back(scene: Scene) -> None:
    scene.store.overlapping = {"10.0.1.0/24", "10.0.2.0/24"}
    scene.store.leases = [Leased(0, network("10.0.2.0/24"), int(B))]  # in use under another name of the same upstream
    ((_, asked),) = start(scene)
    ((_, said),) = scene.hear(page(asked, "10.0.1.0/24", "10.0.2.0/24"))
    assert (said.type, said.server) == (Type.RELEASE, A)
    assert said.allocation == information("10.0.1.0/24")
    assert scene.obtained == 0


def test_a_list_that_is_older_than_a_release(scene: Scene) -> None:
    ((_, asked),) = start(scene)
    scene.store.unused = [Leased(0, network("10.0.1.0/24"), int(A))]
    assert [said.type for _, said in scene.at(1.0)] == [Type.RELEASE]
    scene.hear(page(asked, "10.0.1.0/24", "10.0.2.0/24"))
    assert scene.store.lists == [(int(A), 300, [("10.0.2.0/24", False)])]


def test_what_went_back_was_leased_to_us_once_more_and_its_ack_lost(scene: Scene) -> None:
    scene.store.unused = [Leased(0, network("10.0.1.0/24"), int(A))]
    assert [said.type for _, said in scene.at(0.0)] == [Type.RELEASE]
    scene.at(5.0)
    ((_, asked),) = scene.want(24)
    ((_, requested),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    assert requested.type is Type.REQUEST
    scene.role.want(())
    said = [message for _, message, _ in scene.run(until=90.0)]
    listing = next(
        message for message in said if message.allocation.requests and message.allocation.requests[0].information
    )
    scene.hear(page(listing, "10.0.1.0/24"))
    assert scene.store.lists == [(int(A), 300, [("10.0.1.0/24", False)])]


def test_an_ack_of_what_a_list_told_before_and_went_back_since(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, requested),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.store.unused = [Leased(0, network("10.0.1.0/24"), int(A))]
    assert [said.type for _, said in scene.at(1.0)] == [Type.RELEASE]
    ((_, again),) = scene.hear(ack(requested, A))
    assert (again.type, again.allocation) == (Type.RELEASE, information("10.0.1.0/24"))
    assert scene.store.acknowledgements == []
    assert scene.store.claims == {}


def test_silence_is_an_answer(scene: Scene) -> None:
    start(scene)
    sent = [round(when, 1) for when, _, _ in scene.run(200.0)]
    assert sent == [4.0, 12.0]


def test_a_page_that_does_not_come_is_asked_for_again(scene: Scene) -> None:
    ((_, asked),) = start(scene)
    ((_, second),) = scene.hear(page(asked, "10.0.1.0/24", more=True))
    ((_, again),) = scene.at(4.0)
    assert again == second


def test_an_offer_of_new_subnets_is_no_list(scene: Scene) -> None:
    ((_, asked),) = start(scene)
    scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.hear(page(asked, "10.0.1.0/24", lease_time=None))
    assert scene.store.lists == []
    assert scene.kea.counters["answers-ignored"] == 2


def test_a_lease_that_ends_this_second(scene: Scene) -> None:
    ((_, asked),) = start(scene)
    scene.hear(page(asked, "10.0.1.0/24", lease_time=0))
    assert scene.store.lists[0][1] == 1


def test_the_ledger_fails_while_a_page_is_adopted(scene: Scene) -> None:
    ((_, asked),) = start(scene)
    scene.store.down = True
    with pytest.raises(LedgerUnavailable):
        scene.hear(page(asked, "10.0.1.0/24"))
    scene.store.down = False
    ((_, again),) = scene.at(4.0)
    scene.hear(page(again, "10.0.1.0/24"))
    assert len(scene.store.lists) == 1


def test_the_ledger_fails_at_the_start(scene: Scene) -> None:
    scene.store.down = True
    with pytest.raises(LedgerUnavailable):
        scene.role.start()
    scene.store.down = False
    assert len(scene.turn()) == 1


def lose_an_ack(scene: Scene) -> list[tuple[float, Message]]:
    """Let a REQUEST be given up; return what is sent from then on, in minutes, for three hours in which nobody answers."""
    ((_, asked),) = scene.want(24)
    scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.run(59.9)
    scene.role.want(())
    listings = [
        (when, message) for when, message, _ in scene.run(3 * 3600.0) if message.allocation.requests[0].information
    ]
    first = {message.xid: (round((when - 60.0) / 60.0, 1), message) for when, message in reversed(listings)}
    return sorted(first.values(), key=lambda pair: pair[0])


def test_a_server_that_may_have_leased_to_us_is_asked_until_it_was_heard(scene: Scene) -> None:
    """It committed our REQUEST, and then was gone for an hour."""
    assert [when for when, _ in lose_an_ack(scene)] == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0]


def test_what_was_heard_is_not_asked_again(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    scene.hear(offer(asked, A, "10.0.1.0/24"))
    *_, (_, listing, _) = scene.run(61.0)
    scene.role.want(())
    scene.hear(page(listing, "10.0.1.0/24"))
    assert len(scene.store.lists) == 1
    assert scene.run(3600.0) == []


def test_who_asks_for_another_instance_has_not_heard_of_what_came_later(scene: Scene) -> None:
    scene.store.claims["listing:192.0.2.10"] = ("two", scene.now + 90.0)
    assert [when for when, _ in lose_an_ack(scene)] == [1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0]


def test_a_list_and_an_acquisition_at_once(scene: Scene) -> None:
    ((_, listing),) = start(scene)
    ((_, asked),) = scene.want(24)
    assert listing.xid != asked.xid
    assert len(scene.hear(offer(asked, A, "10.0.3.0/24"))) == 1
    scene.hear(page(listing, "10.0.1.0/24"))
    assert len(scene.store.lists) == 1
