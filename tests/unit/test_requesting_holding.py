# SPDX-License-Identifier: MPL-2.0
"""Keeping leases: renewals with usage, rebinding, NAK, flag d, FORCERENEW, RELEASE (seed FIG. 9A, [0076-85]; RFC 6656 section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

import pytest

from kea_subnet_deleg.ledger import LedgerUnavailable
from kea_subnet_deleg.ledger.upstreams import Leased, Phase
from kea_subnet_deleg.roles.authentication import AuthenticationKey, Authenticator, ServerKey
from kea_subnet_deleg.roles.requesting import Upstream
from kea_subnet_deleg.wire import SubnetBlock, forcerenew
from tests.client.codec import ZERO, Allocation, Code, Message, Type, decode
from tests.unit.requesting_scene import (
    EVERYBODY,
    IDENTITY,
    OWN,
    TO_A,
    TO_B,
    TO_LAN,
    A,
    B,
    C,
    Scene,
    Sent,
    ack,
    answer,
    due,
    inbound,
    information,
    nak,
    network,
    read,
    to,
)

NONCE = bytes(range(16, 32))


@pytest.fixture
def scene() -> Scene:
    scene = Scene(TO_A, TO_B)
    assert scene.turn() == []
    return scene


def second(scene: Scene) -> list[Sent]:
    """The next second's turn."""
    return scene.at(round(scene.now - 1000.0) + 1.0)


def renewals(scene: Scene, *texts: str, phase: Phase = Phase.RENEW, server: IPv4Address = A) -> list[Sent]:
    scene.store.renewals += [due(text, server, phase) for text in texts]
    scene.store.leases += [Leased(0, network(text), int(server)) for text in texts]
    return second(scene)


# ------------------------------------------------------------------------------------------------------------ renewing


def test_what_is_due_is_asked_once_a_second(scene: Scene) -> None:
    assert scene.role.due == 1001.0


@pytest.mark.parametrize(("seconds", "rest"), [(0.5, 1.0), (3.0, 3.0), (3600.0, 5.0)])
def test_while_nothing_is_due_it_rests(scene: Scene, seconds: float, rest: float) -> None:
    """Not for long: what is freed meanwhile nobody tells."""
    scene.store.rest = seconds
    scene.store.renewals.append(due("10.0.1.0/24"))
    assert second(scene) == []
    assert scene.role.due == scene.now + rest
    scene.store.rest = 0.0
    assert scene.at(scene.now - 1000.0 + rest - 0.1) == []
    assert len(scene.at(scene.now - 1000.0 + 0.1)) == 1


def test_when_the_ledger_changes_it_looks_but_not_each_time(scene: Scene) -> None:
    scene.store.rest = 3600.0
    second(scene)
    looked = scene.now
    scene.role.changed()
    assert scene.role.due == looked + 1.0
    scene.at(looked - 1000.0 + 3.0)
    scene.role.changed()
    assert scene.role.due == scene.now + 1.0
    scene.at(scene.now - 1000.0 + 0.5)
    scene.role.hurry()
    assert scene.role.due <= scene.now


def test_a_renewal_goes_to_who_leased_it_with_the_usage(scene: Scene) -> None:
    ((packet, said),) = renewals(scene, "10.0.1.0/25")
    assert IPv4Address(packet.destination) == A
    assert (said.type, said.server, said.giaddr, said.ciaddr, said.hops) == (Type.REQUEST, None, OWN, ZERO, 1)
    assert said.option(Code.CLIENT_IDENTIFIER) == IDENTITY
    assert said.option(Code.FORCERENEW_NONCE_CAPABLE) == b"\1"
    # The worked example of the seed, [0079] and [0133]: 74 at most, 51 in use, none unusable.
    assert said.option(Code.SUBNET_ALLOCATION) == bytes.fromhex("00 02 0e 00 0a000100 19 02 06 004a 0033 0000")


def test_a_renewal_is_acknowledged(scene: Scene) -> None:
    scene.store.known = {"10.0.1.0/24"}
    ((_, said),) = renewals(scene, "10.0.1.0/24")
    assert scene.hear(ack(said, A, lease_time=7200)) == []
    assert scene.store.acknowledgements == [(0, int(A), 7200, 4320, 6300, [("10.0.1.0/24", False)], None)]
    assert scene.logged("ORIGIN_RENEWED") == ["10.0.1.0/24 by 192.0.2.10 for 7200 s"]
    assert scene.obtained == 0


def test_a_renewal_says_anew_how_long_hosts_leases_are_to_last(scene: Scene) -> None:
    scene.store.known = {"10.0.1.0/24"}
    for suggested, kept in ((900,), 900), ((), None):
        ((_, said),) = renewals(scene, "10.0.1.0/24")
        scene.hear(ack(said, A, Allocation(information=said.allocation.information, lease_times=suggested)))
        assert scene.store.host_lease_times.pop() == kept


def test_to_be_given_up(scene: Scene) -> None:
    scene.store.known = {"10.0.1.0/24"}
    ((_, said),) = renewals(scene, "10.0.1.0/24")
    scene.hear(ack(said, A, information("10.0.1.0/24", deprecate=True)))
    assert scene.store.acknowledgements[0][5] == [("10.0.1.0/24", True)]
    assert scene.logged("ORIGIN_RENEWED")[0].endswith(", to be given up")


def test_blocks_of_one_server_go_into_one_message(scene: Scene) -> None:
    scene.store.renewals = [due("10.0.1.0/24"), due("10.0.3.0/24", B), due("10.0.2.0/24")]
    sent = second(scene)
    assert to(sent) == [A, B]
    assert [str(block.network) for block in sent[0][1].allocation.blocks] == ["10.0.1.0/24", "10.0.2.0/24"]
    assert sent[0][1].xid != sent[1][1].xid


def test_as_many_as_everybody_takes_go_into_one_message(scene: Scene) -> None:
    sent = renewals(scene, *(f"10.0.{n}.0/24" for n in range(40)))
    assert [len(said.allocation.blocks) for _, said in sent] == [19, 19, 2]
    assert all(len(packet.data) + 28 <= 576 for packet, _ in sent)


def test_more_than_fit_one_turn_follow_at_once(scene: Scene) -> None:
    scene.store.renewals = [due(f"10.{n // 256}.{n % 256}.0/24") for n in range(300)]
    assert sum(len(said.allocation.blocks) for _, said in second(scene)) == 200
    assert scene.role.due <= scene.now
    assert sum(len(said.allocation.blocks) for _, said in scene.turn()) == 100


def test_flags_of_an_answer_are_told_apart_block_by_block(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24", "10.0.2.0/24")
    mixed = information("10.0.1.0/24", deprecate=True).information + information("10.0.2.0/24").information
    scene.hear(ack(said, A, type(said.allocation)(information=mixed)))
    assert scene.store.acknowledgements[0][5] == [("10.0.1.0/24", True), ("10.0.2.0/24", False)]


def test_what_an_ack_leaves_out_is_asked_for_alone(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24", "10.0.2.0/24")
    ((packet, alone),) = scene.hear(ack(said, A, information("10.0.2.0/24")))
    assert IPv4Address(packet.destination) == A
    assert [str(block.network) for block in alone.allocation.blocks] == ["10.0.1.0/24"]
    assert alone.allocation.blocks[0].statistics == (74, 51, 0)
    assert alone.xid != said.xid
    scene.hear(nak(alone, A, "10.0.1.0/24"))
    assert scene.store.refusals == [(int(A), ["10.0.1.0/24"], 30)]


def test_that_is_done_once(scene: Scene) -> None:
    ((_, said),) = renewals(scene, *(f"10.0.{n}.0/24" for n in range(4)))
    ((_, alone),) = scene.hear(ack(said, A, information("10.0.2.0/24")))
    assert scene.hear(ack(alone, A, information("10.0.1.0/24"))) == []


def test_an_answer_of_another_server(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24")
    scene.hear(ack(said, B))
    scene.hear(nak(said, B, "10.0.1.0/24"))
    assert scene.store.acknowledgements == []
    assert scene.store.refusals == []
    assert scene.kea.counters["answers-ignored"] == 2


def test_an_answer_about_other_blocks(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24")
    scene.hear(ack(said, A, information("10.0.2.0/24", "10.0.1.0/25")))
    scene.hear(nak(said, A, "10.0.2.0/24"))
    assert scene.store.acknowledgements == []
    assert scene.store.refusals == []


@pytest.mark.parametrize("lease_time", [None, 0])
def test_an_ack_without_lease_time(scene: Scene, lease_time: int | None) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24")
    scene.hear(ack(said, A, lease_time=lease_time))
    assert scene.store.acknowledgements == []


def test_an_answer_counts_once(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24")
    scene.hear(ack(said, A))
    scene.hear(nak(said, A, "10.0.1.0/24"))
    assert scene.store.refusals == []


def test_an_answer_that_is_minutes_late(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24")
    scene.at(130.0)
    scene.hear(ack(said, A))
    assert scene.store.acknowledgements == []


def test_an_ack_that_the_ledger_could_not_take_may_come_again(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24")
    scene.store.down = True
    with pytest.raises(LedgerUnavailable):
        scene.hear(ack(said, A))
    scene.store.down = False
    scene.hear(ack(said, A))
    assert len(scene.store.acknowledgements) == 1


def test_a_server_that_is_no_upstream_any_more_is_asked_by_its_address(scene: Scene) -> None:
    assert to(renewals(scene, "10.0.1.0/24", server=C)) == [C]


def test_a_server_that_cannot_be_reached_now(scene: Scene) -> None:
    scene.unreachable = {A}
    assert renewals(scene, "10.0.1.0/24") == []


def test_what_is_not_ours_any_more_when_the_ack_comes_goes_back(scene: Scene) -> None:
    """It ended, or another instance released it, while the renewal was under way."""
    ((_, said),) = renewals(scene, "10.0.1.0/24", "10.0.2.0/24")
    scene.store.leases = [Leased(0, network("10.0.2.0/24"), int(A))]
    ((_, released),) = scene.hear(ack(said, A))
    assert (released.type, released.allocation) == (Type.RELEASE, information("10.0.1.0/24"))
    assert scene.store.acknowledgements[0][5] == [("10.0.2.0/24", False)]


def test_what_goes_back_the_moment_the_ack_is_written_down(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24", "10.0.2.0/24")
    scene.store.vanished = {"10.0.2.0/24"}
    ((_, released),) = scene.hear(ack(said, A))
    assert (released.type, released.allocation) == (Type.RELEASE, information("10.0.2.0/24"))
    assert [text.split()[0] for text in scene.logged("ORIGIN_RENEWED")] == ["10.0.1.0/24"]


# --------------------------------------------------------------------------------------------------------------- NAK


def test_nak_stops_the_blocks_it_names_at_once(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24", "10.0.2.0/24")
    scene.hear(nak(said, A, "10.0.2.0/24", "10.0.9.0/24"))
    assert scene.store.refusals == [(int(A), ["10.0.2.0/24"], 30)]
    assert scene.logged("ORIGIN_LOST") == ["10.0.2.0/24: 192.0.2.10 refuses to renew it; it is used no longer"]


def test_an_ack_that_nak_overtook(scene: Scene) -> None:
    ((_, first),) = renewals(scene, "10.0.1.0/24")
    ((_, again),) = renewals(scene, "10.0.1.0/24")
    scene.hear(nak(again, A, "10.0.1.0/24"))
    scene.hear(ack(first, A))
    assert scene.store.acknowledgements == []


def test_nak_without_blocks_names_none(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24")
    scene.hear(answer(Type.NAK, said, A, None, None))
    assert scene.store.refusals == []


def test_nak_of_an_xid_that_is_not_ours(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24")
    forged = nak(said, A, "10.0.1.0/24")
    scene.hear(Message(Type.NAK, said.xid ^ 1, forged.chaddr, op=2, giaddr=OWN, options=forged.options))
    assert scene.store.refusals == []


# ----------------------------------------------------------------------------------------------------------- rebinding


def test_rebinding_asks_everybody_by_one_request() -> None:
    scene = Scene(TO_A, TO_B, TO_LAN)
    scene.turn()
    sent = renewals(scene, "10.0.1.0/24", phase=Phase.REBIND)
    assert to(sent) == [A, B, EVERYBODY]
    assert len({said.xid for _, said in sent}) == 1
    assert {said.server for _, said in sent} == {None}


def test_rebinding_asks_who_leased_it_too(scene: Scene) -> None:
    assert to(renewals(scene, "10.0.1.0/24", phase=Phase.REBIND, server=C)) == [A, B, C]


def test_whoever_acknowledges_a_rebinding_is_the_server_from_then_on(scene: Scene) -> None:
    sent = renewals(scene, "10.0.1.0/24", phase=Phase.REBIND)
    scene.hear(ack(sent[1][1], B))
    scene.hear(ack(sent[0][1], A))
    assert [call[1] for call in scene.store.acknowledgements] == [int(B)]


def test_nak_of_an_upstream_to_a_rebinding(scene: Scene) -> None:
    """Another server of the domain that leased it, with the same ledger, may say so."""
    sent = renewals(scene, "10.0.1.0/24", phase=Phase.REBIND)
    scene.hear(nak(sent[1][1], B, "10.0.1.0/24"))
    assert scene.store.refusals == [(int(B), ["10.0.1.0/24"], 30)]


def test_nak_of_somebody_who_heard_a_rebinding() -> None:
    scene = Scene(TO_A, TO_LAN)
    scene.turn()
    sent = renewals(scene, "10.0.1.0/24", phase=Phase.REBIND)
    scene.hear(nak(sent[1][1], C, "10.0.1.0/24"))
    assert scene.store.refusals == []


def test_it_is_said_in_good_time_that_a_lease_ends(scene: Scene) -> None:
    for remaining in (120, 119, 61, 60, 30, 10):
        scene.store.renewals = [due("10.0.1.0/24", A, Phase.REBIND, remaining)]
        second(scene)
    assert scene.logged("UPSTREAM_SILENT") == [
        "192.0.2.10 does not answer: 10.0.1.0/24 ends in 120 s",
        "192.0.2.10 does not answer: 10.0.1.0/24 ends in 60 s",
    ]


def test_it_is_said_anew_after_an_answer(scene: Scene) -> None:
    for remaining in (120, 60):
        scene.store.renewals = [due("10.0.1.0/24", A, Phase.REBIND, remaining)]
        sent = second(scene)
    scene.store.leases = [Leased(0, network("10.0.1.0/24"), int(A))]
    scene.hear(ack(sent[0][1], A))
    scene.store.renewals = [due("10.0.1.0/24", A, Phase.REBIND, 50)]
    second(scene)
    assert len(scene.logged("UPSTREAM_SILENT")) == 3


def test_what_is_renewed_and_what_is_rebound_go_apart(scene: Scene) -> None:
    scene.store.renewals = [due("10.0.1.0/24"), due("10.0.2.0/24", phase=Phase.REBIND)]
    assert [(to([sent])[0], str(sent[1].allocation.blocks[0].network)) for sent in second(scene)] == [
        (A, "10.0.2.0/24"),
        (B, "10.0.2.0/24"),
        (A, "10.0.1.0/24"),
    ]


# --------------------------------------------------------------------------------------------------------- giving back


def test_what_is_unused_is_released(scene: Scene) -> None:
    scene.store.unused = [Leased(0, network(text), int(A)) for text in ("10.0.1.0/24", "10.0.2.0/26")]
    ((packet, said),) = second(scene)
    assert IPv4Address(packet.destination) == A
    assert (said.type, said.server, said.giaddr, said.ciaddr) == (Type.RELEASE, A, OWN, ZERO)
    assert said.option(Code.CLIENT_IDENTIFIER) == IDENTITY
    assert said.option(Code.LEASE_TIME) is None
    assert said.allocation == information("10.0.1.0/24", "10.0.2.0/26")
    assert scene.store.gone == ["10.0.1.0/24", "10.0.2.0/26"]
    assert scene.logged("GIVEN_BACK") == ["10.0.1.0/24 to 192.0.2.10", "10.0.2.0/26 to 192.0.2.10"]


def test_an_answer_to_a_renewal_after_the_release_renews_nothing(scene: Scene) -> None:
    ((_, said),) = renewals(scene, "10.0.1.0/24")
    scene.store.unused = [Leased(0, network("10.0.1.0/24"), int(A))]
    second(scene)
    assert scene.hear(ack(said, A)) == []
    assert scene.store.acknowledgements == []


def test_each_server_gets_its_own_back(scene: Scene) -> None:
    scene.store.unused = [Leased(0, network("10.0.1.0/24"), int(B)), Leased(0, network("10.0.2.0/24"), int(A))]
    assert [(said.server, str(said.allocation.blocks[0].network)) for _, said in second(scene)] == [
        (A, "10.0.2.0/24"),
        (B, "10.0.1.0/24"),
    ]


def test_what_cannot_be_told_is_not_released(scene: Scene) -> None:
    scene.unreachable = {A}
    scene.store.unused = [Leased(0, network("10.0.1.0/24"), int(A))]
    assert second(scene) == []
    assert scene.store.gone == []


def test_a_release_goes_out_though_the_ledger_fails_after_it(scene: Scene) -> None:
    scene.store.unused = [Leased(0, network("10.0.1.0/24"), int(A))]
    released = scene.store.released

    def fail(space: int, prefix: IPv4Network) -> None:
        raise LedgerUnavailable(f"{space} {prefix}")

    scene.store.released = fail  # type: ignore[method-assign]
    with pytest.raises(LedgerUnavailable):
        second(scene)
    scene.store.released = released  # type: ignore[method-assign]
    assert [said.type for _, said in scene.turn()] == [Type.RELEASE]


# ----------------------------------------------------------------------------------------------------------- FORCERENEW


def demand(
    *texts: str,
    server: IPv4Address = A,
    nonce: bytes | None = NONCE,
    replay: int = 5,
    identity: bytes = IDENTITY,
    keys: Sequence[AuthenticationKey] = (),
) -> bytes:
    """What our delegating side sends to who renews (roles/takeback.py)."""
    authentication, key = Authenticator(keys, lambda: 1).for_forcerenew(identity, nonce, replay)
    return forcerenew(
        xid=99,
        htype=1,
        chaddr=hardware(),
        client_identifier=identity,
        server_identifier=int(server),
        blocks=[SubnetBlock.of(network(text), hierarchical=True) for text in texts],
        authentication=authentication,
        key=key,
        giaddr=int(OWN),
    )


def via(relay: IPv4Address, data: bytes) -> bytes:
    """The same message with another giaddr: what makes it authentic leaves that out (RFC 3118 section 3)."""
    return data[:24] + relay.packed + data[28:]


def hardware() -> bytes:
    return Scene().want(24)[0][1].chaddr


@pytest.fixture
def holder(scene: Scene) -> Scene:
    scene.store.secrets = {int(A): (NONCE, 4)}
    scene.store.leases = [Leased(0, network("10.0.1.0/24"), int(A)), Leased(0, network("10.0.2.0/24"), int(A))]
    return scene


def forced(scene: Scene, data: bytes) -> list[Sent]:
    here = inbound(decode(data))._replace(destination=int(OWN), local_address=int(OWN))
    return read(scene.role.take(here._replace(data=data)))


def test_an_authentic_one_has_what_it_names_renewed_at_once(holder: Scene) -> None:
    ((packet, said),) = forced(holder, demand("10.0.2.0/24"))
    assert IPv4Address(packet.destination) == A
    assert (said.type, said.server) == (Type.REQUEST, None)
    assert [str(block.network) for block in said.allocation.blocks] == ["10.0.2.0/24"]
    assert said.allocation.blocks[0].statistics == (74, 51, 0)
    assert holder.store.secrets[int(A)] == (NONCE, 5)
    assert holder.kea.counters["forcerenew-refused"] == 0
    assert holder.kea.counters["answers-taken"] == 1


def test_one_that_names_no_relay(holder: Scene) -> None:
    """It is unicast to its client (RFC 3203 section 2.2)."""
    ((_, said),) = forced(holder, via(ZERO, demand("10.0.2.0/24")))
    assert [str(block.network) for block in said.allocation.blocks] == ["10.0.2.0/24"]
    assert said.giaddr == OWN


def test_one_for_another_relay(holder: Scene) -> None:
    assert forced(holder, via(B, demand("10.0.2.0/24"))) == []
    assert holder.kea.counters["forcerenew-refused"] == 0
    assert holder.kea.counters["answers-ignored"] == 1


@pytest.mark.parametrize(
    "data",
    [
        demand("10.0.2.0/24", nonce=None),
        via(ZERO, demand("10.0.2.0/24", nonce=None)),
        via(ZERO, demand("10.0.2.0/24", nonce=bytes(16))),
        demand("10.0.2.0/24", nonce=bytes(16)),
        demand("10.0.2.0/24", replay=4),
        demand("10.0.2.0/24").replace(bytes.fromhex("0a000200"), bytes.fromhex("0a000100")),
    ],
    ids=[
        "unsigned",
        "unsigned, no relay",
        "another nonce, no relay",
        "another nonce",
        "a replay",
        "changed on the way",
    ],
)
def test_others_are_dropped(holder: Scene, data: bytes) -> None:
    assert forced(holder, data) == []
    assert holder.store.forced == []
    assert holder.store.secrets[int(A)] == (NONCE, 4)
    assert holder.kea.counters["forcerenew-refused"] == 1
    assert len(holder.logged("FORCERENEW_REFUSED")) == 1


def test_the_same_one_twice(holder: Scene) -> None:
    data = demand("10.0.2.0/24")
    assert len(forced(holder, data)) == 1
    assert forced(holder, data) == []
    assert holder.kea.counters["forcerenew-refused"] == 1


def test_by_a_key(scene: Scene) -> None:
    """Of any server that has the same one: they are one domain. A replay, and what has another one, is dropped."""
    keys = {A: ServerKey(7, bytes(16)), B: ServerKey(7, bytes(16)), C: ServerKey(7, bytes(15) + b"x")}
    scene = Scene(*(Upstream(int(server), key=key) for server, key in keys.items()))
    scene.store.leases = [Leased(0, network("10.0.1.0/24"), int(A)), Leased(0, network("10.0.2.0/24"), int(B))]
    for server, replay, asked in ((A, 5, 1), (A, 4, 0), (B, 1, 1), (C, 9, 0)):
        shared = [AuthenticationKey(7, keys[server].key, IDENTITY)]
        data = demand("10.0.1.0/24", server=server, replay=replay, keys=shared)
        assert len(forced(scene, data)) == asked, (server, replay)
    assert scene.store.forced[0] == (int(A), ["10.0.1.0/24"])


def test_one_for_another_client(holder: Scene) -> None:
    assert forced(holder, demand("10.0.2.0/24", identity=b"\0somebody")) == []
    assert holder.kea.counters["forcerenew-refused"] == 0
    assert holder.kea.counters["answers-ignored"] == 1


def test_one_about_what_is_not_ours(holder: Scene) -> None:
    assert forced(holder, demand("10.0.9.0/24")) == []
    assert holder.kea.counters["answers-ignored"] == 1


def test_one_before_there_was_any_nonce(scene: Scene) -> None:
    assert forced(scene, demand("10.0.1.0/24")) == []
    assert scene.kea.counters["forcerenew-refused"] == 1


def test_another_server_that_leased_to_us_too_may_speak(holder: Scene) -> None:
    """They have one nonce for us, and each its own leases; the one that leased what is named is dead."""
    holder.store.secrets = {int(A): (NONCE, 4), int(B): (NONCE, 4)}
    holder.store.leases = [Leased(0, network("10.0.1.0/24"), int(A)), Leased(0, network("10.0.2.0/24"), int(B))]
    data = demand("10.0.1.0/24", "10.0.2.0/24", server=B)
    sent = forced(holder, data)
    assert {str(block.network) for _, said in sent for block in said.allocation.blocks} == {
        "10.0.1.0/24",
        "10.0.2.0/24",
    }
    assert holder.store.secrets == {int(A): (NONCE, 5), int(B): (NONCE, 5)}
    assert forced(holder, data) == []
    holder.store.secrets[int(B)] = (NONCE, 0)  # not heard yet: what another has said is a replay all the same
    assert forced(holder, data) == []
    assert holder.kea.counters["forcerenew-refused"] == 2


def test_another_server_with_the_same_ledger_may_speak(holder: Scene) -> None:
    holder.store.secrets = {int(A): (NONCE, 4), int(B): (bytes(16), 0)}
    ((packet, _),) = forced(holder, demand("10.0.2.0/24", server=C))
    assert IPv4Address(packet.destination) == A
