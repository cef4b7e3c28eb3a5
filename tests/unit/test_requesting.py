# SPDX-License-Identifier: MPL-2.0
"""Obtaining subnets from upstreams: DISCOVER, the choice, REQUEST, ACK, and what may go wrong between them (seed FIG. 5, [0058-73])."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from kea_subnet_deleg.ledger import LedgerError, LedgerUnavailable
from kea_subnet_deleg.ledger.upstreams import Due, Leased
from kea_subnet_deleg.roles.requesting import Path, Upstream
from tests.client.codec import ZERO, Allocation, Block, Code, Information, Message, Request, Type
from tests.unit.requesting_scene import (
    EVERYBODY,
    IDENTITY,
    INFINITE,
    LAN,
    OWN,
    OWN_ON_LAN,
    TO_A,
    TO_B,
    TO_LAN,
    A,
    B,
    C,
    Scene,
    ack,
    answer,
    blocks,
    due,
    inbound,
    information,
    nak,
    network,
    offer,
    to,
)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def two() -> Scene:
    return Scene(TO_A, TO_B)


# ------------------------------------------------------------------------------------------------------------ DISCOVER


def test_nothing_is_asked_while_nothing_is_wanted(scene: Scene) -> None:
    assert scene.turn() == []
    assert not scene.role.wanting
    assert scene.store.claims == {}


def test_discover_is_what_a_relay_would_send(scene: Scene) -> None:
    ((packet, said),) = scene.want(24)
    assert (packet.source, packet.interface, packet.destination, packet.destination_port) == (int(OWN), 2, int(A), 67)
    assert (said.type, said.op, said.hops, said.secs, said.flags) == (Type.DISCOVER, 1, 1, 0, 0)
    assert (said.giaddr, said.ciaddr) == (OWN, ZERO)
    assert said.option(Code.CLIENT_IDENTIFIER) == IDENTITY
    assert said.option(Code.FORCERENEW_NONCE_CAPABLE) == b"\1"
    assert said.option(Code.LEASE_TIME) is None
    assert said.server is None
    assert said.option(Code.SUBNET_ALLOCATION) == bytes.fromhex("00 01020118")
    assert scene.role.wanting
    assert scene.kea.counters["requests-sent"] == 1


def test_all_servers_of_a_domain_have_one_locally_administered_address(scene: Scene) -> None:
    ((_, said),) = scene.want(24)
    ((_, other),) = Scene(TO_B).want(20)
    assert said.chaddr == other.chaddr
    assert len(said.chaddr) == 6
    assert said.chaddr[0] == 0x02
    assert said.xid != 0


def test_several_sizes_in_one_discover_and_a_lease_time() -> None:
    ((_, said),) = Scene(lease_time=600).want(26, 24, 26)
    assert said.allocation == Allocation((Request(24), Request(26), Request(26)))
    assert said.lease_time == 600


def test_at_most_eight_at_once_the_largest_first(scene: Scene) -> None:
    ((_, said),) = scene.want(28, 20, *[24] * 9)
    assert [request.prefix for request in said.allocation.requests] == [20, *[24] * 7]


def test_larger_blocks_are_asked_for_where_configured() -> None:
    ((_, said),) = Scene(request_length=22).want(24, 24, 20)
    assert [request.prefix for request in said.allocation.requests] == [20, 22]


def test_every_upstream_is_asked_once_with_one_xid() -> None:
    scene = Scene(TO_A, TO_B, TO_LAN, Upstream(int(A), preference=3))
    sent = scene.want(24)
    assert to(sent) == [A, B, EVERYBODY]
    assert len({said.xid for _, said in sent}) == 1
    assert [said.giaddr for _, said in sent] == [OWN, OWN, OWN_ON_LAN]
    assert sent[2][0].interface == 3
    assert sent[2][0].hardware == b"\xff" * 6


def test_our_own_address_among_the_upstreams_is_left_out() -> None:
    scene = Scene(Upstream(int(OWN)), TO_A)
    assert scene._path(Upstream(int(OWN))) == Path(int(OWN), 2, int(OWN))
    assert to(scene.want(24)) == [A]


def test_nobody_can_be_reached(scene: Scene) -> None:
    scene.unreachable = {A}
    assert scene.want(24) == []
    assert scene.store.claims == {}
    assert len(scene.logged("NOTHING_OBTAINED")) == 1
    assert scene.role.refused
    scene.unreachable = set()
    sent = scene.at(4.0)
    assert to(sent) == [A]
    assert scene.role.refused
    ((_, said),) = scene.hear(offer(sent[0][1], A, "10.0.1.0/24"))
    scene.hear(ack(said, A))
    assert not scene.role.refused


# ----------------------------------------------------------------------------------------------------------- the claim


def test_one_instance_of_a_domain_asks(scene: Scene) -> None:
    scene.store.claims["acquire"] = ("two", scene.now + 3.0)
    assert scene.want(24) == []
    assert scene.at(2.0) == []
    assert len(scene.at(3.0)) == 1
    assert scene.store.claims["acquire"] == ("one", scene.now + 15.0)


def test_the_claim_lasts_as_long_as_the_acquisition(scene: Scene) -> None:
    scene.want(24)
    for second in range(1, 12):
        scene.at(second)
        holder, until = scene.store.claims["acquire"]
        assert holder == "one"
        assert until >= scene.now + 10.0


def test_an_acquisition_ends_where_another_instance_took_over(scene: Scene) -> None:
    scene.want(24)
    scene.store.claims["acquire"] = ("two", scene.now + 100.0)
    scene.at(5.0)
    assert scene.run(20.0) == []


def test_a_request_is_brought_to_its_end_though_another_instance_took_over(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, requested),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.store.claims["acquire"] = ("two", scene.now + 100.0)
    scene.at(5.0)
    scene.hear(ack(requested, A))
    assert len(scene.store.acknowledgements) == 1


def test_the_claim_ends_with_the_acquisition(scene: Scene) -> None:
    scene.lease("10.0.1.0/24")
    assert scene.store.claims == {}


# -------------------------------------------------------------------------------------------------- OFFER, REQUEST, ACK


def test_a_lease_is_obtained(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((packet, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))  # the only one asked: no need to wait
    assert IPv4Address(packet.destination) == A
    assert (said.type, said.xid, said.server, said.giaddr) == (Type.REQUEST, asked.xid, A, OWN)
    assert said.allocation == information("10.0.1.0/24")
    assert scene.store.acknowledgements == []
    assert scene.hear(ack(said, A)) == []
    assert scene.store.acknowledgements == [(0, int(A), 3600, 2160, 3150, [("10.0.1.0/24", False)], None)]
    assert scene.obtained == 1
    assert scene.logged("OBTAINED") == ["10.0.1.0/24 from 192.0.2.10 for 3600 s"]
    assert scene.kea.counters["answers-taken"] == 2


def test_renewal_times_are_those_of_the_ack(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    times = [(int(Code.RENEWAL_TIME), (100).to_bytes(4, "big")), (int(Code.REBINDING_TIME), (200).to_bytes(4, "big"))]
    scene.hear(ack(said, A, extra=times))
    assert scene.store.acknowledgements[0][2:5] == (3600, 100, 200)


def test_renewal_times_out_of_order_are_not_believed(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    times = [(int(Code.RENEWAL_TIME), (300).to_bytes(4, "big")), (int(Code.REBINDING_TIME), (200).to_bytes(4, "big"))]
    scene.hear(ack(said, A, extra=times))
    assert scene.store.acknowledgements[0][2:5] == (3600, 2160, 3150)


@pytest.mark.parametrize(("suggested", "kept"), [((), None), ((900,), 900), ((0,), None), ((INFINITE,), INFINITE)])
def test_how_long_hosts_leases_are_to_last(scene: Scene, suggested: tuple[int, ...], kept: int | None) -> None:
    """RFC 6656 section 3.4. Nobody can lease an address for 0 seconds."""
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.hear(ack(said, A, replace(said.allocation, lease_times=suggested)))
    assert scene.store.host_lease_times == [kept]


def test_a_lease_for_ever(scene: Scene) -> None:
    scene.lease("10.0.1.0/24", lease_time=INFINITE)
    assert scene.store.acknowledgements[0][2:5] == (INFINITE, INFINITE, INFINITE)


def test_a_lease_is_counted_from_when_it_was_requested(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24", lease_time=100))
    scene.now += 7.9
    scene.hear(ack(said, A, lease_time=100))
    assert scene.store.acknowledgements[0][2:5] == (93, 53, 80)


def test_a_lease_is_not_counted_from_the_discover(scene: Scene) -> None:
    scene.want(24)
    ((_, asked),) = scene.at(4.0)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24", lease_time=100))
    scene.hear(ack(said, A, lease_time=100))
    assert scene.store.acknowledgements[0][2:5] == (100, 60, 87)


def test_the_nonce_of_an_ack_is_kept(scene: Scene) -> None:
    scene.lease("10.0.1.0/24", nonce=bytes(range(16)))
    assert scene.store.acknowledgements[0][6] == bytes(range(16))


def test_an_ack_may_leave_blocks_out_and_adds_none(scene: Scene) -> None:
    ((_, asked),) = scene.want(24, 24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24", "10.0.2.0/24"))
    scene.hear(ack(said, A, information("10.0.2.0/24", "10.0.9.0/24")))
    assert scene.store.acknowledgements[0][5] == [("10.0.2.0/24", False)]


def test_an_ack_of_nothing_that_was_asked_for_is_none(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.hear(ack(said, A, information("10.0.9.0/24")))
    scene.hear(ack(said, A, Allocation(information=(Information(blocks("10.0.1.0/24", hierarchical=False)),))))
    assert scene.store.acknowledgements == []
    assert scene.kea.counters["answers-ignored"] == 2


def test_an_ack_without_lease_time_is_of_that_offered(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24", lease_time=600))
    scene.hear(ack(said, A, lease_time=None))
    assert [call[2] for call in scene.store.acknowledgements] == [600]


def test_an_ack_for_no_time_is_none(scene: Scene) -> None:
    """As in OFFERs and renewals: nobody can lease for 0 seconds. The REQUEST is sent again."""
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    assert scene.hear(ack(said, A, lease_time=0)) == []
    assert scene.store.acknowledgements == []
    assert scene.kea.counters["answers-ignored"] == 1
    ((_, again),) = scene.at(4.0)
    assert again == said
    scene.hear(ack(again, A, lease_time=600))
    assert [call[2] for call in scene.store.acknowledgements] == [596]


def test_what_overlaps_our_space_is_given_back_at_once(scene: Scene) -> None:
    scene.store.overlapping = {"10.0.1.0/24"}
    ((_, asked),) = scene.want(24, 24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24", "10.0.2.0/24"))
    ((packet, released),) = scene.hear(ack(said, A))
    assert IPv4Address(packet.destination) == A
    assert (released.type, released.server, released.giaddr) == (Type.RELEASE, A, OWN)
    assert released.allocation == information("10.0.1.0/24")
    assert released.xid != said.xid
    assert scene.obtained == 1
    assert scene.logged("OVERLAP") == [
        "10.0.1.0/24 from 192.0.2.10 goes back: it overlaps space that we have, or no host can have it"
    ]


def test_what_is_in_use_is_not_given_back_though_it_seems_to_overlap(scene: Scene) -> None:
    scene.store.overlapping = {"10.0.1.0/24"}
    scene.store.leases = [Leased(0, network("10.0.1.0/24"), int(B))]
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    assert scene.hear(ack(said, A)) == []


def test_request_has_the_offer_as_it_came(scene: Scene) -> None:
    ((_, asked),) = scene.want(24, 26)
    offered = Allocation(
        information=(Information(blocks("10.0.1.0/24")), Information(blocks("10.0.2.0/26"), False, True))
    )
    ((_, said),) = scene.hear(answer(Type.OFFER, asked, A, offered, 3600))
    assert said.allocation == offered


# ---------------------------------------------------------------------------------------------------------- the choice


def request_after(scene: Scene, *offers: Message) -> list[Message]:
    for one in offers:
        sent = scene.hear(one)
    return [said for _, said in sent]


def test_the_others_are_waited_for(two: Scene) -> None:
    asked = two.want(24)[0][1]
    two.hear(offer(asked, A, "10.0.1.0/24"))
    assert two.at(0.4) == []
    requests = two.at(0.5)
    assert to(requests) == [A, B]
    assert {said.server for _, said in requests} == {A}


def test_all_have_answered(two: Scene) -> None:
    asked = two.want(24)[0][1]
    assert two.hear(offer(asked, A, "10.0.1.0/24")) == []
    assert to(two.hear(offer(asked, B, "10.0.2.0/24"))) == [A, B]


def test_a_server_that_calls_itself_otherwise_has_answered(two: Scene) -> None:
    asked = two.want(24)[0][1]
    assert two.hear(offer(asked, C, "10.0.1.0/24"), source=A) == []
    said = two.hear(offer(asked, B, "10.0.2.0/25"))
    assert [message.server for _, message in said] == [C, C]


def test_an_offer_that_cannot_be_used_is_an_answer_too(two: Scene) -> None:
    asked = two.want(24)[0][1]
    two.hear(offer(asked, A, "10.0.1.0/24"))
    assert len(two.hear(offer(asked, B, "10.0.0.0/16"))) == 2


def test_whoever_hears_a_broadcast_is_waited_for() -> None:
    scene = Scene(TO_A, TO_LAN)
    asked, on_lan = (said for _, said in scene.want(24))
    assert scene.hear(offer(asked, A, "10.0.1.0/24")) == []
    assert scene.hear(offer(on_lan, C, "10.0.2.0/24", lease_time=7200)) == []
    requests = scene.at(0.5)
    assert to(requests) == [A, EVERYBODY]
    assert {said.server for _, said in requests} == {C}
    assert [said.giaddr for _, said in requests] == [OWN, OWN_ON_LAN]
    scene.hear(ack(requests[1][1], C))
    assert scene.store.acknowledgements[0][1] == int(C)


@pytest.mark.parametrize(
    ("of_a", "of_b", "chosen"),
    [
        (("10.0.1.0/25",), ("10.0.2.0/24",), B),  # what was wanted rather than less
        (("10.0.1.0/25", "10.0.1.128/25"), ("10.0.2.0/24",), B),  # whole blocks rather than halves
        (("10.0.1.0/26",), ("10.0.2.0/25",), B),  # more rather than less
        (("10.0.1.0/24",), ("10.0.2.0/24", "10.0.3.0/25"), B),  # all rather than some
        (("10.0.1.0/24",), ("10.0.2.0/24",), A),  # the lowest address
    ],
)
def test_the_best_fit_is_chosen(two: Scene, of_a: tuple[str, ...], of_b: tuple[str, ...], chosen: IPv4Address) -> None:
    asked = two.want(24, 25)[0][1]
    said = request_after(two, offer(asked, A, *of_a), offer(asked, B, *of_b))
    assert said[0].server == chosen


def test_then_the_longest_lease() -> None:
    scene = Scene(Upstream(int(A), preference=9), TO_B)
    asked = scene.want(24)[0][1]
    said = request_after(
        scene, offer(asked, A, "10.0.1.0/24", lease_time=600), offer(asked, B, "10.0.2.0/24", lease_time=601)
    )
    assert said[0].server == B


def test_then_the_preference() -> None:
    scene = Scene(TO_A, Upstream(int(B), preference=1))
    asked = scene.want(24)[0][1]
    said = request_after(scene, offer(asked, A, "10.0.1.0/24"), offer(asked, B, "10.0.2.0/24"))
    assert said[0].server == B


def test_preference_of_whoever_hears_a_broadcast() -> None:
    scene = Scene(TO_A, Upstream(interface=LAN, preference=5))
    asked, on_lan = (said for _, said in scene.want(24))
    scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.hear(offer(on_lan, C, "10.0.2.0/24"))
    assert scene.at(0.5)[0][1].server == C


def unusable(asked: Message) -> dict[str, Message]:
    """Offers that are not taken, by what is wrong with them."""
    good = information("10.0.1.0/24")
    with_request = Allocation((Request(24),), good.information)
    relaying = Allocation(information=(Information(blocks("10.0.1.0/24", hierarchical=False)),))
    return {
        "more than asked": offer(asked, A, "10.0.1.0/24", "10.0.2.0/24"),
        "not h": answer(Type.OFFER, asked, A, relaying, 3600),
        "d": answer(Type.OFFER, asked, A, information("10.0.1.0/24", deprecate=True), 3600),
        "no lease time": answer(Type.OFFER, asked, A, good, None),
        "no time": answer(Type.OFFER, asked, A, good, 0),
        "a listing": answer(Type.OFFER, asked, A, information("10.0.1.0/24", client=True), 3600),
        "a request": answer(Type.OFFER, asked, A, with_request, 3600),
        "no block": answer(Type.OFFER, asked, A, Allocation(names=("x",)), 3600),
        "no option 220": answer(Type.OFFER, asked, A, None, 3600),
    }


@pytest.mark.parametrize("kind", unusable(Message(Type.DISCOVER, 1, b"\2")))
def test_unusable_offers(scene: Scene, kind: str) -> None:
    ((_, asked),) = scene.want(24)
    assert scene.hear(unusable(asked)[kind]) == []
    assert scene.kea.counters["answers-ignored"] == 1
    assert len(scene.logged("OFFER_IGNORED")) == 1
    assert len(scene.hear(offer(asked, A, "10.0.1.0/24"))) == 1


def test_what_fits_is_taken_rather_than_what_is_larger_than_asked_for(two: Scene) -> None:
    asked = two.want(24)[0][1]
    two.hear(offer(asked, A, "10.0.0.0/23"))
    requests = request_after(two, offer(asked, B, "10.9.0.0/24"))
    assert {said.server for said in requests} == {B}


def test_what_is_larger_than_asked_for_is_taken_where_nothing_else_is_offered(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    (said,) = request_after(scene, offer(asked, A, "10.0.0.0/23"))
    assert said.server == A
    assert said.allocation is not None
    assert said.allocation.blocks == (Block(network("10.0.0.0/23")),)


def test_blocks_of_an_offer_that_overlap(scene: Scene) -> None:
    ((_, asked),) = scene.want(24, 24)
    assert scene.hear(offer(asked, A, "10.0.1.0/24", "10.0.1.0/25")) == []


def test_the_first_of_several_offers_of_a_server_counts(two: Scene) -> None:
    asked = two.want(24)[0][1]
    said = request_after(
        two,
        offer(asked, A, "10.0.1.0/24"),
        offer(asked, A, "10.0.7.0/24", lease_time=9999),
        offer(asked, B, "10.0.2.0/25"),
    )
    assert said[0].allocation == information("10.0.1.0/24")


# ------------------------------------------------------------------------------------------------- whose answer it is


def strangers(asked: Message) -> dict[str, tuple[Message, IPv4Address | None]]:
    """Messages that are not answers to us, by what is wrong with them."""
    good = information("10.0.1.0/24")

    def with_options(*options: tuple[int, bytes], **fields: object) -> Message:
        base: dict[str, object] = {"op": 2, "giaddr": asked.giaddr}
        return Message(Type.OFFER, asked.xid, asked.chaddr, options=options, **(base | fields))  # type: ignore[arg-type]

    server = (int(Code.SERVER_IDENTIFIER), A.packed)
    lease = (int(Code.LEASE_TIME), bytes((0, 0, 14, 16)))
    option = (int(Code.SUBNET_ALLOCATION), good.encode())
    other = (int(Code.CLIENT_IDENTIFIER), b"\0somebody")
    return {
        "a request": (with_options(server, lease, option, op=1), None),
        "no server identifier": (with_options(lease, option), None),
        "another client": (with_options(server, lease, option, other), None),
        "another xid": (Message(Type.OFFER, asked.xid ^ 1, asked.chaddr, op=2, giaddr=asked.giaddr, options=(server, lease, option)), None),
        "another hardware": (Message(Type.OFFER, asked.xid, b"\2other", op=2, giaddr=asked.giaddr, options=(server, lease, option)), None),
        "an ACK before its time": (answer(Type.ACK, asked, A, good, 3600), None),
        "a NAK before its time": (answer(Type.NAK, asked, A, good, None), None),
    }  # fmt: skip


@pytest.mark.parametrize("kind", strangers(Message(Type.DISCOVER, 1, b"\2")))
def test_what_is_no_answer_to_us_is_met_with_silence(scene: Scene, kind: str) -> None:
    ((_, asked),) = scene.want(24)
    message, source = strangers(asked)[kind]
    assert scene.hear(message, source) == []
    assert scene.kea.counters["answers-ignored"] == 1
    assert scene.kea.counters["answers-taken"] == 0


def test_an_answer_to_another_relay(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    packet = inbound(offer(asked, A, "10.0.1.0/24"))
    elsewhere = packet._replace(destination=int(B), local_address=int(B))
    assert scene.role.take(elsewhere) == []
    assert scene.kea.counters["answers-ignored"] == 1


def test_a_server_that_does_not_echo_option_61(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    full = offer(asked, A, "10.0.1.0/24")
    bare = tuple(option for option in full.options if option[0] != Code.CLIENT_IDENTIFIER)
    assert len(scene.hear(Message(Type.OFFER, asked.xid, asked.chaddr, op=2, giaddr=OWN, options=bare))) == 1


@pytest.mark.parametrize("data", [b"", bytes(300), b"\2" + bytes(400)])
def test_rubbish(scene: Scene, data: bytes) -> None:
    packet = inbound(Message(Type.OFFER, 1, b"\2", op=2, giaddr=OWN))._replace(data=data)
    assert scene.role.take(packet) == []
    assert scene.kea.counters["malformed"] == 1


def test_an_ack_of_a_server_that_was_not_chosen(two: Scene) -> None:
    asked = two.want(24)[0][1]
    (said, _) = request_after(two, offer(asked, A, "10.0.1.0/24"), offer(asked, B, "10.0.2.0/25"))
    two.hear(ack(said, B))
    two.hear(nak(said, B, "10.0.1.0/24"))
    assert two.store.acknowledgements == []
    two.hear(ack(said, A))
    assert len(two.store.acknowledgements) == 1


def test_a_late_offer_changes_nothing(two: Scene) -> None:
    asked = two.want(24)[0][1]
    two.hear(offer(asked, A, "10.0.1.0/24"))
    said = two.at(0.5)[0][1]
    assert two.hear(offer(asked, B, "10.0.2.0/24", lease_time=9999)) == []
    two.hear(ack(said, A))
    assert len(two.store.acknowledgements) == 1


# --------------------------------------------------------------------------------------------------------------- flag s


@pytest.mark.parametrize("where", ["offer", "ack"])
def test_what_a_server_has_more_is_asked_for(two: Scene, where: str) -> None:
    asked = two.want(24)[0][1]
    offers = offer(asked, A, "10.0.1.0/24", more=where == "offer"), offer(asked, B, "10.0.2.0/25")
    said, _ = request_after(two, *offers)
    more = information("10.0.1.0/24", server=where == "ack")
    ((packet, further),) = two.hear(ack(said, A, more))
    assert IPv4Address(packet.destination) == A  # alone
    assert further.type is Type.DISCOVER
    assert further.xid != said.xid
    assert further.allocation == Allocation((Request(0),))
    two.role.want(())  # what was wanted has come; what is pushed comes all the same
    ((_, second),) = two.hear(offer(further, A, "10.8.0.0/16"))
    assert to(two.hear(ack(second, A))) == []
    assert [block for call in two.store.acknowledgements for block, _ in call[5]] == ["10.0.1.0/24", "10.8.0.0/16"]
    assert two.store.claims == {}
    assert two.obtained == 2


def test_of_a_server_that_never_has_enough(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    rounds = 0
    while True:
        ((_, said),) = scene.hear(offer(asked, A, f"10.0.{rounds}.0/24", more=True))
        sent = scene.hear(ack(said, A))
        rounds += 1
        if not sent:
            break
        ((_, asked),) = sent
    assert rounds == 5
    assert scene.store.claims == {}


def test_who_announced_more_and_is_silent_then(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24", more=True))
    scene.hear(ack(said, A))
    scene.role.want(())
    times = [when for when, message, _ in scene.run(40.0) if message.type is Type.DISCOVER]
    assert len(times) == 1
    assert scene.store.claims == {}
    assert scene.logged("NOTHING_OBTAINED") == []


def test_more_of_a_server_found_by_broadcast_is_asked_of_it_alone() -> None:
    scene = Scene(TO_LAN)
    ((_, asked),) = scene.want(24)
    scene.hear(offer(asked, C, "10.0.1.0/24", more=True))
    ((_, said),) = scene.at(0.5)
    assert to(scene.hear(ack(said, C))) == [C]


# ------------------------------------------------------------------------------------------------ what may go wrong


def test_nak_starts_anew_after_a_pause(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    assert scene.hear(nak(said, A, "10.0.1.0/24")) == []
    assert scene.store.claims == {}
    assert scene.at(3.9) == []
    ((_, again),) = scene.at(4.0)
    assert again.type is Type.DISCOVER
    assert again.xid != asked.xid


def test_an_ack_that_the_ledger_could_not_take_is_asked_for_again(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.store.down = True
    with pytest.raises(LedgerUnavailable):
        scene.hear(ack(said, A))
    scene.store.down = False
    ((_, again),) = scene.at(4.0)
    assert again == said
    scene.hear(ack(again, A))
    assert len(scene.store.acknowledgements) == 1
    assert scene.obtained == 1


def test_what_was_to_be_sent_when_the_ledger_failed_is_sent_later(scene: Scene) -> None:
    scene.store.overlapping = {"10.0.1.0/24"}
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    unclaim = scene.store.unclaim

    def fail(what: str, who: str) -> None:
        raise LedgerUnavailable(f"{what} {who}")

    scene.store.unclaim = fail  # type: ignore[method-assign]
    with pytest.raises(LedgerUnavailable):
        scene.hear(ack(said, A))
    scene.store.unclaim = unclaim  # type: ignore[method-assign]
    assert [said.type for _, said in scene.turn()] == [Type.RELEASE]


def test_what_fails_alone_does_not_keep_the_rest_from_being_done(scene: Scene) -> None:
    def fail(limit: int) -> list[Due]:
        raise LedgerError(f"a defect, {limit}")

    scene.store.due = fail  # type: ignore[method-assign]
    scene.role.want((24,))
    assert len(scene.turn()) == 1
    assert scene.role.due <= scene.now
    with pytest.raises(LedgerError, match="defect"):
        scene.turn()


def test_a_ledger_that_is_down_when_something_is_wanted(scene: Scene) -> None:
    scene.store.down = True
    scene.role.want((24,))
    with pytest.raises(LedgerUnavailable):
        scene.turn()
    assert scene.role.due <= scene.now
    scene.store.down = False
    assert len(scene.turn()) == 1


# -------------------------------------------------------------------------------------------- who does not acknowledge


def leave_unanswered(scene: Scene) -> Message:
    """Let A offer what is best, and not acknowledge it; return the next DISCOVER."""
    asked = scene.want(24)[0][1]
    scene.hear(offer(asked, A, "10.0.1.0/24", lease_time=7200))
    if scene.role.due > scene.now:
        scene.at(0.5)
    return next_discover(scene, asked, 70.0)


def next_discover(scene: Scene, before: Message, until: float) -> Message:
    """Let time pass until another acquisition begins, and return its first message."""
    while scene.now < 1000.0 + until:
        for _, message, _ in scene.run(scene.now - 1000.0 + 0.05):
            if (
                message.type is Type.DISCOVER
                and message.xid != before.xid
                and not message.allocation.requests[0].information
            ):
                return message
    raise AssertionError(f"no DISCOVER by {until} s")


def chosen(sent: list[Message]) -> set[IPv4Address | None]:
    assert {said.type for said in sent} == {Type.REQUEST}
    return {said.server for said in sent}


def test_of_who_left_a_request_unanswered_nothing_is_taken_where_another_offers(two: Scene) -> None:
    """Else it would be asked for ever: it offers better."""
    again = leave_unanswered(two)
    said = request_after(two, offer(again, A, "10.0.1.0/24", lease_time=7200), offer(again, B, "10.0.2.0/25"))
    assert chosen(said) == {B}
    two.hear(ack(said[0], B))
    assert two.store.acknowledgements[0][1] == int(B)
    more = next_discover(two, again, 80.0)  # that of another does not help it
    said = request_after(two, offer(more, A, "10.0.3.0/24", lease_time=7200), offer(more, B, "10.0.4.0/25"))
    assert chosen(said) == {B}


def test_others_are_given_longer_than_usual(two: Scene) -> None:
    again = leave_unanswered(two)
    began = two.now - 1000.0
    assert two.hear(offer(again, A, "10.0.1.0/24", lease_time=7200)) == []
    assert two.at(began + 3.0) == []
    assert chosen(request_after(two, offer(again, B, "10.0.2.0/24"))) == {B}


def test_it_is_taken_where_nobody_else_offers_anything(two: Scene) -> None:
    again = leave_unanswered(two)
    began = two.now - 1000.0
    assert two.hear(offer(again, A, "10.0.1.0/24", lease_time=7200)) == []
    assert two.at(began + 3.9) == []
    assert chosen([said for _, said in two.at(began + 4.0)]) == {A}


def test_it_is_taken_at_once_where_there_is_nobody_else(scene: Scene) -> None:
    again = leave_unanswered(scene)
    assert chosen(request_after(scene, offer(again, A, "10.0.1.0/24"))) == {A}


def test_whoever_is_heard_first_on_a_link_has_the_usual_time_for_others() -> None:
    scene = Scene(TO_A, TO_LAN)
    again = leave_unanswered(scene)
    began = scene.now - 1000.0
    scene.hear(offer(again, A, "10.0.1.0/24", lease_time=7200))
    on_lan = replace(again, giaddr=OWN_ON_LAN)
    scene.at(began + 1.0)
    assert scene.hear(offer(on_lan, C, "10.0.2.0/25")) == []
    assert chosen([said for _, said in scene.at(began + 1.5)]) == {C}


def test_who_acknowledges_what_is_requested_is_trusted_again(two: Scene) -> None:
    again = leave_unanswered(two)
    began = two.now - 1000.0
    two.hear(offer(again, A, "10.0.1.0/24", lease_time=7200))
    two.hear(ack(two.at(began + 4.0)[0][1], A))
    assert len(two.store.acknowledgements) == 1
    more = next_discover(two, again, 80.0)
    said = request_after(two, offer(more, A, "10.0.3.0/24", lease_time=7200), offer(more, B, "10.0.4.0/24"))
    assert chosen(said) == {A}


@pytest.mark.parametrize(("heeded", "taken"), [(True, A), (False, B)])
def test_who_renews_is_trusted_again(two: Scene, heeded: bool, taken: IPv4Address) -> None:
    again = leave_unanswered(two)
    two.store.known = {"10.0.9.0/24"}
    two.store.leases = [Leased(0, network("10.0.9.0/24"), int(A))]
    two.store.renewals = [due("10.0.9.0/24")]
    renewal = next(said for _, said in two.at(two.now - 1000.0 + 1.0) if said.type is Type.REQUEST)
    two.hear(ack(renewal, A, lease_time=3600 if heeded else 0))
    said = request_after(two, offer(again, A, "10.0.1.0/24", lease_time=7200), offer(again, B, "10.0.2.0/24"))
    assert chosen(said) == {taken}


# -------------------------------------------------------------------------------------------------------- what is left


def test_a_partial_grant_is_taken_and_the_rest_asked_for(scene: Scene) -> None:
    ((_, asked),) = scene.want(24, 24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.hear(ack(said, A))
    scene.role.want((24,))
    ((_, again),) = scene.at(0.2)
    assert again.allocation == Allocation((Request(24),))


def test_smaller_blocks_than_wanted_are_taken_and_more_is_asked_for_with_backoff(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/25"))
    scene.hear(ack(said, A))
    assert scene.obtained == 1
    assert scene.at(3.9) == []
    assert len(scene.at(4.0)) == 1
    assert scene.logged("NOTHING_OBTAINED") == []


def test_what_came_is_given_time_to_be_taken(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/24"))
    scene.hear(ack(said, A))
    assert scene.want(24) == []  # said once more, by who has not taken it yet
    scene.role.want(())
    assert scene.at(5.0) == []
    assert not scene.role.wanting


def test_what_is_wanted_next_is_asked_for_at_once(scene: Scene) -> None:
    scene.lease("10.0.1.0/24")
    assert len(scene.want(24)) == 1


def test_what_clients_want_beside_our_own_waits_for_its_turn(scene: Scene) -> None:
    assert len(scene.want(24)) == 1
    scene.role.want((24,), (26,))
    assert scene.at(3.9) == []  # what is under way goes on
    ((_, again),) = scene.at(4.0)
    assert again.allocation == Allocation((Request(24),))
    scene.role.want((24, 25), (26,))  # more of our own
    ((_, more),) = scene.at(4.1)
    assert more.allocation == Allocation((Request(24), Request(25), Request(26)))


def test_clients_alone_are_asked_for_soon(scene: Scene) -> None:
    scene.role.want((), (24,))
    assert len(scene.turn()) == 1
    scene.role.want((), (24, 26))
    ((_, more),) = scene.at(1.0)
    assert more.allocation == Allocation((Request(24), Request(26)))


def test_servers_in_a_ring_that_have_nothing_come_to_rest() -> None:
    """Each asks the next one for what it lacks and for what the one before lacks, and gets nothing."""
    ring = [Scene(TO_A, randomness=random.Random(number)) for number in range(3)]
    kept: list[dict[int, float]] = [{} for _ in ring]  # of each, the lengths that its client asked for, and until when
    wanted: list[tuple[int, ...]] = [()] * len(ring)
    asked = [0] * len(ring)
    for tick in range(10 * 1200):
        seconds = tick / 10
        for number, scene in enumerate(ring):
            scene.now = scene.store.now = 1000.0 + seconds
            clients = wanted[number] if any(until > seconds for until in kept[number].values()) else ()
            scene.role.want((24,) if number == 0 else (), clients)
            for _, message in scene.turn() if scene.role.due <= scene.now else []:
                behind = (number + 1) % len(ring)
                wanted[behind] = tuple(request.prefix for request in message.allocation.requests)
                kept[behind] = {0: seconds + 8.0}
                asked[number] += tick >= 10 * 600
    assert max(asked) <= 3 * 600 / 64 + 3  # in ten minutes, and three messages each time; it was 146


def test_what_nobody_takes_is_not_heaped_up(scene: Scene) -> None:
    """Whoever wants, and does not see what came, or cannot use it, gets one in eight seconds in the end."""
    scene.role.want((24,))
    granted = 0
    while scene.now < 1020.0:
        for _, said in scene.turn() if scene.role.due <= scene.now else []:
            ((_, requested),) = scene.hear(offer(said, A, f"10.0.{granted}.0/24"))
            scene.hear(ack(requested, A))
            granted += 1
        scene.now = scene.store.now = scene.now + 0.05
    assert 6 <= granted <= 8


def test_blocks_named_by_the_offer_alone_are_requested(scene: Scene) -> None:
    ((_, asked),) = scene.want(24)
    ((_, said),) = scene.hear(offer(asked, A, "10.0.1.0/26"))
    assert said.allocation.blocks == (Block(network("10.0.1.0/26")),)
