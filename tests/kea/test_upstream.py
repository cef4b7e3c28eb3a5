# SPDX-License-Identifier: MPL-2.0
"""What a server says to its upstreams and makes of their answers, with upstreams that do as they are told (RFC 6656 as a client).

Each message of it is judged by tests.client.conduct as it is heard.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import IPv4Network

import pytest

from ci.labs import Lab
from tests.client.authentication import Key, signed
from tests.client.codec import ZERO, Allocation, Block, Code, Request, Type, information
from tests.client.conduct import Kind, Query
from tests.client.endpoint import EVERYONE, Endpoint
from tests.client.rfc6656 import Client, Identity, Patience
from tests.client.upstream import Answer, Answering, Upstream, silence, subnets
from tests.kea.conftest import MakeLab
from tests.kea.garbage import garbage
from tests.kea.hosts import Host
from tests.kea.rig import LENGTH, ONE, OTHER, OTHER_POOL, POOL, SERVER, Rig, quiet
from tests.kea.waiting import wait_until

USABLE = 13  # hosts in a block of the network
BOTH = [{"address": str(ONE)}, {"address": str(OTHER), "preference": 10}]
FEW = 1.5  # seconds in which whatever is to follow at once has followed
ONCE = Patience(4.0, 1)
LATE = 1.3  # seconds that a renewal may be late: what is due is looked at once a second
FIRST, SPREAD = 4.0, 1.0  # RFC 2131 4.1: the first retransmission after 4 s, each with a second more or less


@pytest.fixture(scope="module")
def place(make_module_lab: MakeLab) -> Lab:
    lab = make_module_lab("single", pools=())
    Rig.prepare(lab)
    return lab


@pytest.fixture
def rig(place: Lab) -> Iterator[Rig]:
    rig = Rig(place)
    with ExitStack() as stack:
        stack.enter_context(rig.one)
        stack.enter_context(rig.other)
        yield rig
        rig.close()


def several(answering: Answering, times: int = 2) -> Answering:
    """The same answers more than once, as a network may deliver them."""
    return lambda query: [answer for answer in answering(query) for _ in range(times)]


def once(first: Answering, then: Answering) -> Answering:
    """Answer the first query one way, all later ones another way."""
    answers = itertools.chain([first], itertools.repeat(then))

    def answer(query: Query) -> Iterable[Answer]:
        return next(answers)(query)

    return answer


def is_of(network: IPv4Network, since: float = 0.0, until: float = math.inf) -> Callable[[Query], bool]:
    """Whether a message names this one, and was heard between these moments."""
    return lambda query: network in query.networks and since < query.received < until


# ------------------------------------------------------------------------------------------------------------ obtaining


def test_a_network_grows_reports_its_hosts_and_goes_back(rig: Rig) -> None:
    one = rig.one
    one.lease_time, one.t1, one.t2 = 30, 3, 25
    one.answers = {kind: several(answering) for kind, answering in one.answers.items()}
    one.extra = ((1, bytes((255, 255, 255, 0))), (3, ONE.packed), (Code.RELAY_INFORMATION, b"\1\4port"))
    rig.start(blocks=0, release_after=0.5)
    with rig.hosts() as hosts:
        hosts.arrive(10)
        hosts.arrive(20)
        assert all(lease.interface.network in rig.origins() for lease in hosts.leases)
        assert len(rig.origins()) >= 3
        declined = [host.lease for host in hosts.all[:2] if host.lease is not None]
        hosts.decline(hosts.all[:2])
        hosts.leave(hosts.all[2:6])
        left = tally(lease.interface.network for lease in hosts.leases)  # a further block may stand by, and go back
        time.sleep(1.2)  # what changes is measured once a second
        assert all(host.lease is None for host in hosts.all[:6])
        since = time.monotonic()
        for network, in_use in left.items():
            query = one.wait(Kind.RENEW, 5, where=is_of(network, since))
            (block,) = [block for block in query.blocks if block.network == network]
            high_water, reported, unusable = block.statistics
            assert (reported, high_water >= in_use) == (in_use, True), query
            assert unusable in (0, 2)
        assert totals(rig, since) == (24, 2)
        assert max(high_waters(one)) == USABLE
        left_at = time.monotonic()
        hosts.leave()
        (kept,) = {lease.interface.network for lease in declined}
        wait_until(lambda: set(rig.origins()) == {kept}, 15)  # in which two addresses are unusable
        hosts.check()
    early = [q.networks for q in one.queries(Kind.RELEASE) if q.received < left_at and set(q.networks) & set(left)]
    assert not early


def tally(networks: Iterable[IPv4Network]) -> dict[IPv4Network, int]:
    found: dict[IPv4Network, int] = {}
    for network in networks:
        found[network] = found.get(network, 0) + 1
    return found


def tally_of(hosts: Iterable[Host]) -> dict[IPv4Network, int]:
    return tally(host.lease.interface.network for host in hosts if host.lease is not None)


def totals(rig: Rig, since: float) -> tuple[int, int]:
    """In use and unusable of all blocks, by the first renewal of each since then."""
    seen: dict[IPv4Network, tuple[int, ...]] = {}
    for query in rig.one.queries(Kind.RENEW):
        if query.received > since:
            for block in query.blocks:
                seen.setdefault(block.network, block.statistics)
    return sum(statistics[1] for statistics in seen.values()), sum(statistics[2] for statistics in seen.values())


def high_waters(upstream: Upstream) -> list[int]:
    return [block.statistics[0] for query in upstream.queries(Kind.RENEW) for block in query.blocks]


def test_the_best_of_two_offers_is_taken_and_both_are_told(rig: Rig) -> None:
    """By fit, then lease time, then preference."""
    one, other = rig.one, rig.other
    rig.start(upstreams=BOTH)

    def exchange(first: tuple[str, int], second: tuple[str, int]) -> tuple[Query, Query]:
        for upstream, (network, lease_time) in ((one, first), (other, second)):
            upstream.lease_time = lease_time
            upstream.answers[Kind.DISCOVER] = lambda q, u=upstream, n=network: [u.offering(q, n)]  # type: ignore[misc]
        n = len(one.queries(Kind.REQUEST)) + 1
        rig.lessee(endpoint).acquire(24)
        return one.wait(Kind.REQUEST, count=n), other.wait(Kind.REQUEST, count=n)

    with rig.endpoint() as endpoint:
        fit = exchange(("10.200.0.0/25", 90), ("10.201.0.0/24", 60))
        longer = exchange(("10.200.1.0/24", 90), ("10.201.1.0/24", 60))
        preferred = exchange(("10.200.2.0/24", 90), ("10.201.2.0/24", 90))
    chosen = [{query.message.server for query in told} for told in (fit, longer, preferred)]
    assert chosen == [{OTHER}, {ONE}, {OTHER}]
    rig.obtained("10.201.0.0/24", "10.200.1.0/24", "10.201.2.0/24")
    assert [query.lengths for query in one.queries(Kind.DISCOVER)] == [[24]] * 3
    assert {query.destination for query in (*fit, *longer)} == {ONE, OTHER}


def test_whoever_hears_a_broadcast_may_offer(rig: Rig) -> None:
    one, other = rig.one, rig.other
    one.lease_time, other.lease_time, other.t1, other.t2 = 20, 30, 2, 25
    other.echoes = False
    raw = {"interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "raw"}}
    rig.start(blocks=1, kea=raw, upstreams=[{"interface": "eth0"}])
    requests = [upstream.wait(Kind.REQUEST) for upstream in (one, other)]
    assert {(query.destination, query.message.server) for query in requests} == {(EVERYONE, OTHER)}
    assert {query.destination for query in one.queries(Kind.DISCOVER)} == {EVERYONE}
    rig.obtained(f"{OTHER_POOL.network_address}/{LENGTH}")
    assert other.wait(Kind.RENEW).destination == OTHER  # by unicast (RFC 2131 4.4.5)
    assert not one.queries(Kind.RENEW)


def test_nothing_is_obtained_for_whom_those_that_we_ask_have_heard(rig: Rig) -> None:
    """Servers that broadcast on one link would else ask on each other's behalf, again and again (seed [0053])."""
    raw = {"interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "raw"}}
    rig.start(kea=raw, upstreams=[{"interface": "eth0"}])
    place = rig.lab.clients[0]
    with Endpoint.unnumbered(place.netns, place.interface) as endpoint:
        client = rig.lessee(endpoint)
        client.unanswered(client.build(Type.DISCOVER, Allocation((Request(24),))), FEW)
    assert rig.one.queries(Kind.DISCOVER) == []
    with rig.endpoint() as endpoint:  # who asks us alone
        rig.lessee(endpoint).acquire(24)
    assert rig.one.wait(Kind.DISCOVER).lengths == [24]


def test_renewals_of_a_client_with_a_key_that_wait_for_our_own_are_all_answered(rig: Rig) -> None:
    """What was kept meanwhile is no replay, though what came later has a higher counter (RFC 3118 section 2)."""
    rig.one.lease_time, rig.one.t1, rig.one.t2 = 40, 30, 35
    key = Key(7, bytes(range(100, 116)))
    identity = Identity.fresh()
    known = {"id": key.number, "key": key.secret.hex(), "client-id": (identity.identifier or b"").hex(":")}
    rig.start(auth_keys=[known])
    with rig.endpoint() as endpoint:
        # One client; each of these hears the answer to its own message alone.
        clients = [Client(endpoint, identity.with_key(key), [rig.server]) for _ in range(3)]
        held = [block for client in clients for block in client.acquire(28).blocks]
        time.sleep(5.0)  # until so much of our own lease is over that it is to be renewed first
        queries = [
            client.build(Type.REQUEST, information(block), bound=True)
            for client, block in zip(clients, held, strict=True)
        ]
        with ThreadPoolExecutor(len(clients)) as pool:
            renewed = list(
                pool.map(lambda client, query: client.exchange(query, want=1, patience=ONCE), clients, queries)
            )
        assert [[reply.type for reply in replies] for replies in renewed] == [[Type.ACK]] * 3
        assert {block.network for block in held} == {network for (reply,) in renewed for network in reply.networks}
    assert rig.one.queries(Kind.RENEW)
    assert rig.counters()["not-authentic"] == 0


def test_hosts_leases_last_no_longer_than_suggested(rig: Rig) -> None:
    """RFC 6656 section 3.4: nor those that our clients give, if they do as they are told; the last ACK is what counts."""
    one = rig.one
    one.lease_time, one.t1, one.t2, one.suggested = 60, 2, 50, 45
    rig.start(blocks=1, kea={"valid-lifetime": 600, "max-valid-lifetime": 1200})
    (block,) = one.wait(Kind.REQUEST).networks
    rig.obtained(block)
    with rig.hosts() as hosts:
        for suggested in 45, 20, None:
            one.suggested = suggested
            wait_until(lambda: rig.suggested() == {one.suggested}, 5.0)
            time.sleep(FEW)  # until Kea knows
            hosts.arrive(1)
            (lifetime,) = [lease.lifetime for lease in hosts.leases[-1:]]
            assert lifetime == suggested or (suggested is None and 45 < lifetime <= 60)  # as long as our own lease
    with rig.endpoint() as endpoint:
        for suggested in None, 45:
            one.suggested = suggested
            wait_until(lambda: rig.suggested() == {one.suggested}, 5.0)
            time.sleep(FEW)
            ack = Client(endpoint, Identity.fresh(), [rig.server]).acquire(29)
            assert ack.allocation.lease_times == (() if suggested is None else (suggested,))


def test_a_subnet_larger_than_asked_for_is_taken(rig: Rig) -> None:
    """A server should allocate what was asked for, "and possibly more" (RFC 6656 section 3.1)."""
    one, larger = rig.one, IPv4Network((int(POOL.network_address), LENGTH - 1))
    one.answers[Kind.DISCOVER] = once(lambda query: [one.offering(query, larger)], silence)
    rig.start(blocks=1)
    assert one.wait(Kind.REQUEST).networks == [larger]
    rig.obtained(larger)
    with rig.hosts() as hosts:
        hosts.arrive(3)
        assert {lease.interface.network for lease in hosts.leases} == {next(larger.subnets())}


def test_flag_s_is_followed_but_not_for_ever(rig: Rig) -> None:
    one, other = rig.one, rig.other
    fresh = POOL.subnets(new_prefix=LENGTH)
    one.answers[Kind.DISCOVER] = lambda query: [one.offering(query, next(fresh))]
    one.answers[Kind.REQUEST] = lambda query: [one.reply(query, Type.ACK, subnets(*query.networks, more=True))]
    other.answers[Kind.DISCOVER] = silence
    rig.start(blocks=1, upstreams=BOTH)
    one.wait(Kind.REQUEST, count=2)
    wait_until(lambda: len(one.heard) == len(one.heard) and idle(one, FEW), 10)
    first, *follows = one.queries(Kind.DISCOVER)
    assert first.lengths == [LENGTH]
    assert {tuple(query.lengths) for query in follows} == {(0,)}
    assert 1 <= len(follows) <= 8
    assert [query.lengths for query in other.queries(Kind.DISCOVER)] == [[LENGTH]]
    assert len(rig.origins()) == 1 + len(follows)


def idle(upstream: Upstream, seconds: float) -> bool:
    """Whether nothing is heard for so long."""
    before = len(upstream.heard)
    time.sleep(seconds)
    return len(upstream.heard) == before


def test_offers_that_are_none_are_ignored(rig: Rig) -> None:
    one = rig.one

    def answers(query: Query) -> Iterator[Answer]:
        numbers = itertools.count(1)

        def fresh(length: int = LENGTH) -> IPv4Network:
            return IPv4Network((int(POOL.network_address) + (next(numbers) << 8), length))

        good = one.offering(query, *(fresh() for _ in query.lengths))
        yield one.offering(query, *(fresh() for _ in range(3)))  # more than asked
        both = fresh(LENGTH)
        yield one.offering(query, both, next(both.subnets()))  # one in the other
        yield one.offering(query, Block(fresh(), hierarchical=False))  # we would only relay
        yield one.offering(query, Block(fresh(), deprecate=True))
        yield one.reply(query, Type.OFFER, subnets(fresh(), listed=True))  # a listing
        yield one.reply(query, Type.OFFER, subnets(fresh()) + Allocation(query.allocation.requests))
        yield one.reply(query, Type.OFFER, None)
        for without in (Code.LEASE_TIME, Code.SERVER_IDENTIFIER, Code.SUBNET_ALLOCATION):
            offer = one.offering(query, fresh())
            yield dataclasses.replace(offer, options=tuple(o for o in offer.options if o[0] != without))
        fine = one.offering(query, fresh())
        yield dataclasses.replace(fine, xid=query.message.xid ^ 1)
        yield dataclasses.replace(fine, chaddr=b"\2\0\0\0\0\1")
        yield dataclasses.replace(fine, giaddr=ZERO)
        yield dataclasses.replace(fine, op=1)
        somebody = tuple((c, b"\0somebody" if c == Code.CLIENT_IDENTIFIER else v) for c, v in fine.options)
        yield dataclasses.replace(fine, options=somebody)
        yield dataclasses.replace(fine, type=Type.ACK)  # of nothing
        yield dataclasses.replace(fine, type=Type.NAK)
        time.sleep(0.3)  # longer than offers are waited for
        accepted.extend(good.allocation.blocks)
        yield good

    accepted: list[Block] = []
    one.answers[Kind.DISCOVER] = once(answers, silence)
    rig.start(blocks=2)
    request = one.wait(Kind.REQUEST)
    assert list(request.blocks) == accepted
    rig.obtained(*request.networks)
    assert len(one.queries(Kind.REQUEST, Kind.RELEASE)) == 1


def test_space_that_we_have_is_not_leased_again(rig: Rig) -> None:
    """What overlaps the pool is not accepted, or given back at once, whether it is in use there or smaller than what is offered."""
    one = rig.one
    offered = [IPv4Network("10.9.0.64/28"), IPv4Network("10.9.1.64/28")]
    one.answers[Kind.DISCOVER] = once(lambda query: [one.offering(query, *offered)], silence)
    rig.start(blocks=3, pools=["10.9.0.64/28", "10.9.1.64/30"])
    assert one.wait(Kind.DISCOVER).lengths == [LENGTH] * 2
    time.sleep(FEW)
    if one.queries(Kind.REQUEST):
        assert one.wait(Kind.RELEASE, FEW).networks == offered
    assert not rig.origins()
    assert not one.queries(Kind.RENEW)


def test_what_is_not_acknowledged_is_not_ours(rig: Rig) -> None:
    one = rig.one

    def acknowledge(query: Query) -> Iterator[Answer]:
        """The first block, and one that nobody asked for."""
        yield one.reply(query, Type.ACK, subnets(query.networks[0], "10.66.0.0/28"))

    one.answers[Kind.REQUEST] = once(acknowledge, one.acknowledge)
    rig.start(blocks=2)
    first = one.wait(Kind.REQUEST)
    assert len(first.blocks) == 2
    second = one.wait(Kind.REQUEST, count=2)  # what is still missing
    assert [query.lengths for query in one.queries(Kind.DISCOVER)] == [[LENGTH] * 2, [LENGTH]]
    rig.obtained(first.networks[0], *second.networks)
    assert not one.queries(Kind.RELEASE)


def test_who_is_refused_begins_anew(rig: Rig) -> None:
    one = rig.one

    def refuse(query: Query) -> Iterator[Answer]:
        yield one.reply(query, Type.NAK, None)

    one.answers[Kind.REQUEST] = once(refuse, one.acknowledge)
    rig.start(blocks=1)
    refused = one.wait(Kind.REQUEST)
    again = one.wait(Kind.REQUEST, FIRST + SPREAD + 1, count=2)
    assert again.message.xid != refused.message.xid
    assert again.received - refused.received >= 1  # in no hurry
    rig.obtained(*again.networks)


def test_silence_is_met_with_patience(rig: Rig) -> None:
    """Retransmissions after 4 s, 8 s, each with a second more or less (RFC 2131 4.1), of DISCOVERs, listings and REQUESTs."""
    one = rig.one
    one.answers[Kind.DISCOVER] = once(silence, once(silence, one.offer))
    one.answers[Kind.REQUEST] = once(silence, one.acknowledge)
    rig.start(blocks=1)
    one.wait(Kind.REQUEST, 4 * FIRST, count=1)
    one.wait(Kind.REQUEST, 2 * FIRST, count=2)
    for kind, waits in ((Kind.DISCOVER, (4, 8)), (Kind.LISTING, (4, 8)), (Kind.REQUEST, (4,))):
        queries = one.queries(kind)
        assert len({query.message.xid for query in queries}) == 1
        gaps = [later.received - earlier.received for earlier, later in itertools.pairwise(queries)]
        assert [abs(gap - wait) <= SPREAD + 0.3 for gap, wait in zip(gaps, waits, strict=True)] == [True] * len(
            waits
        ), gaps
    elapsed = [query.message.secs for query in one.queries(Kind.DISCOVER)]
    assert elapsed == sorted(set(elapsed))
    assert elapsed[0] == 0
    rig.obtained(*one.queries(Kind.REQUEST)[0].networks)


def test_who_offers_and_never_acknowledges_does_not_keep_others_from_it(rig: Rig) -> None:
    """Its REQUEST is given up after a minute (RFC 2131 3.1, item 5); from then on it comes last, though it offers for longer."""
    one, other = rig.one, rig.other
    one.lease_time, other.lease_time = 600, 300
    one.answers[Kind.REQUEST] = silence
    rig.start(blocks=1, upstreams=BOTH)
    assert one.wait(Kind.REQUEST).message.server == ONE
    assert other.wait(Kind.REQUEST, 80.0, where=lambda query: query.message.server == OTHER)
    one.wait(Kind.REQUEST, 2.0, count=5)  # it hears of that, too
    assert [query.message.server for query in one.queries(Kind.REQUEST)] == [ONE] * 4 + [OTHER]
    rig.obtained(*other.queries(Kind.REQUEST)[-1].networks)


# -------------------------------------------------------------------------------------------------------------- keeping


def test_leases_are_renewed_at_t1_and_rebound_at_t2(rig: Rig) -> None:
    """By default at 60% and 87.5% of the lease, else when the upstream says, if that makes sense; rebound with all upstreams."""
    one, other = rig.one, rig.other
    leases = [("10.200.0.0/28", 10, None, None), ("10.200.1.0/28", 12, 3, 6), ("10.200.2.0/28", 10, 20, 5)]

    def offer(query: Query) -> Iterator[Answer]:
        """These, one by one; another block may be asked for where a lease is near its end."""
        if leases:
            network, one.lease_time, one.t1, one.t2 = leases.pop(0)
            yield one.offering(query, network)

    one.answers[Kind.DISCOVER] = offer
    one.answers[Kind.RENEW] = silence
    other.answers[Kind.DISCOVER] = silence
    other.lease_time, other.t1, other.t2 = 30, 2, 20
    log = rig.log()
    rig.start(blocks=3, upstreams=BOTH)
    one.wait(Kind.REQUEST, count=3)
    default, given, senseless = one.queries(Kind.REQUEST)
    for request, t1, t2 in ((given, 3.0, 6.0), (default, 6.0, 8.75), (senseless, 6.0, 8.75)):
        (network,) = request.networks
        rebound = other.wait(Kind.RENEW, 10, where=is_of(network))
        assert -1 <= rebound.received - request.received - t2 <= LATE
        one.wait(
            Kind.RENEW, 1, where=is_of(network, rebound.received - 0.3, rebound.received + 0.3)
        )  # who leased it is asked, too
        renewals = [query for query in one.queries(Kind.RENEW) if network in query.networks]
        assert -0.2 <= renewals[0].received - request.received - t1 <= LATE
        assert len([query for query in renewals if query.received < rebound.received - 0.3]) >= 1
    assert log.lines("SUBNET_DELEG_UPSTREAM_SILENT")
    # From then on it is the other's, which is asked alone.
    (network,) = given.networks
    moved = other.wait(Kind.RENEW, 5, count=2, where=is_of(network))
    assert not [
        query
        for query in one.queries(Kind.RENEW)
        if query.received > moved.received - 0.5 and network in query.networks
    ]
    rig.obtained(*default.networks, *given.networks, *senseless.networks)


def test_a_server_that_is_told_to_be_silent_asks_nobody(rig: Rig) -> None:
    """It would not hear the answers: it neither asks for what it lacks nor renews, until it may again."""
    one, server = rig.one, rig.lab.servers[SERVER]
    one.lease_time, one.t1, one.t2 = 60, 2, 30
    rig.start(blocks=1)
    (network,) = one.wait(Kind.REQUEST).networks
    rig.obtained(network)
    server.command("dhcp-disable")
    time.sleep(0.2)  # what was being sent
    assert idle(one, one.t1 + 2 * LATE)
    server.command("dhcp-enable")
    assert one.wait(Kind.RENEW, 2 * LATE).networks == [network]


def test_what_is_to_be_given_up_drains_and_is_released_when_empty(rig: Rig) -> None:
    one = rig.one
    one.lease_time, one.t1, one.t2 = 30, 2, 25
    rig.start(blocks=0, kea={"valid-lifetime": 6})
    with rig.hosts() as hosts:
        early = hosts.arrive(3)
        (old,) = tally_of(early)

        def renew(query: Query) -> Iterator[Answer]:
            blocks = [dataclasses.replace(block.bare(), deprecate=block.network == old) for block in query.blocks]
            yield one.reply(query, Type.ACK, information(*blocks))

        one.answers[Kind.RENEW] = renew
        one.wait(Kind.RENEW)
        wait_until(lambda: rig.origins()[old]["closing"])
        time.sleep(0.3)
        late = hosts.arrive(3)
        assert old not in tally_of(late)
        wait_until(lambda: len(hosts.lost) == hosts.naks == 3)  # the first three renew at 3 s, in vain
        hosts.served(early, 5)
        assert old not in tally_of(early)
        release = one.wait(Kind.RELEASE, 12)
        assert release.networks == [old]
        assert (
            release.received >= max(loss.lease.ends for loss in hosts.lost) - 0.5
        )  # they might have used them so long
        assert old not in rig.origins()
        assert len(hosts.present()) == 6


def test_what_is_refused_is_used_no_longer(rig: Rig) -> None:
    one = rig.one
    one.lease_time, one.t1, one.t2 = 30, 2, 25
    rig.start(blocks=0)
    with rig.hosts() as hosts:
        early = hosts.arrive(3)
        (old,) = tally_of(early)
        one.answers[Kind.RENEW] = once(lambda query: [one.reply(query, Type.NAK, subnets(*query.networks))], one.renew)
        one.wait(Kind.RENEW)
        wait_until(lambda: rig.origins()[old]["closing"], 4)
        time.sleep(1.0)  # until Kea knows
        hosts.renew(early)
        assert len(hosts.lost) == 3
        hosts.served(early, 10)  # they begin anew
        assert old not in tally_of(early)
        assert old not in {network for query in one.queries(Kind.RELEASE) for network in query.networks}


def test_who_holds_some_of_what_is_refused_is_told_at_once(rig: Rig) -> None:
    """And does not go on until its own next renewal."""
    one = rig.one
    one.lease_time, one.t1, one.t2 = 600, 3, 500
    one.answers[Kind.RENEW] = once(lambda query: [one.reply(query, Type.NAK, subnets(*query.networks))], one.renew)
    rig.start()
    with rig.endpoint() as endpoint:
        client = Client(endpoint, Identity.fresh().nonce_capable(), [rig.server])
        held = client.acquire(26)
        one.wait(Kind.RENEW)
        told = client.forcerenew(FEW)
        assert told is not None
        assert told.networks == held.networks
        answer = client.renew(told.server, held.blocks[0])
        assert answer is not None
        assert (answer.type, answer.networks) == (Type.NAK, held.networks)
        assert client.listing(held.server, Patience(FEW, 1)) == []


def test_who_was_not_asked_is_not_believed(rig: Rig) -> None:
    """Before T2 only the server that leased a subnet renews or refuses it (RFC 2131 4.4.5)."""
    one, other = rig.one, rig.other
    one.lease_time, one.t1, one.t2 = 30, 2, 25
    other.lease_time = 5

    def intrude(query: Query) -> Iterator[Answer]:
        for kind in (Type.NAK, Type.ACK):
            other.send(other.reply(query, kind, subnets(*query.networks)), rig.server)
        yield from ()

    one.answers[Kind.RENEW] = once(intrude, one.renew)
    rig.start(blocks=1, upstreams=BOTH[:1])
    request = one.wait(Kind.REQUEST)
    ends = rig.origins()
    one.wait(Kind.RENEW)
    time.sleep(0.5)
    assert {network: row["expires"] for network, row in rig.origins().items()} == {
        network: row["expires"] for network, row in ends.items()
    }
    rig.obtained(*request.networks)


def test_a_forcerenew_has_to_be_authentic(rig: Rig) -> None:
    one = rig.one
    one.nonce = secrets.token_bytes(16)
    one.lease_time = 600
    rig.start(blocks=2)
    rig.obtained(*one.wait(Kind.REQUEST).networks)
    first, second = one.wait(Kind.REQUEST).networks
    genuine = one.forcerenew(first, nonce=one.nonce, replay=100)
    changed = dataclasses.replace(genuine, options=tuple((c, subnets(second).encode() if c == Code.SUBNET_ALLOCATION else v) for c, v in genuine.options))  # fmt: skip
    for forged in (
        one.forcerenew(first, nonce=None),
        one.forcerenew(first, nonce=secrets.token_bytes(16), replay=101),
        one.forcerenew("10.99.0.0/28", nonce=one.nonce, replay=50),  # authentic, but not ours
        changed,
        genuine.encode()[:-60],
    ):
        one.send(forged, rig.server)
    quiet(one, FEW)
    sent = time.monotonic()
    one.send(genuine, rig.server)
    renewal = one.wait(Kind.RENEW, 1.0)
    assert renewal.networks == [first]
    assert renewal.received - sent < 1.0
    for replayed in (
        genuine,
        one.forcerenew(second, nonce=one.nonce, replay=100),
        one.forcerenew(second, nonce=one.nonce, replay=7),
    ):
        one.send(replayed, rig.server)
    quiet(one, FEW)
    one.send(one.forcerenew(first, second, nonce=one.nonce, replay=200), rig.server)
    wait_until(lambda: sum(len(query.networks) for query in one.queries(Kind.RENEW)) == 3, 1.0)


def test_a_forcerenew_may_name_no_relay(rig: Rig) -> None:
    """It is unicast to its client (RFC 3203 section 2.2): who made it need not have copied giaddr, as who answers has to."""
    one = rig.one
    one.nonce = secrets.token_bytes(16)
    one.lease_time = 600
    rig.start(blocks=1)
    (block,) = one.wait(Kind.REQUEST).networks
    rig.obtained(block)
    for forged in (one.forcerenew(block, nonce=None), one.forcerenew(block, nonce=secrets.token_bytes(16))):
        one.send(dataclasses.replace(forged, giaddr=ZERO), rig.server)
    quiet(one, FEW)

    def renew(query: Query) -> Iterator[Answer]:
        yield dataclasses.replace(one.reply(query, Type.ACK, subnets(*query.networks)), giaddr=ZERO)

    one.answers[Kind.RENEW] = renew
    expires = rig.origins()[block]["expires"]
    one.send(dataclasses.replace(one.forcerenew(block, nonce=one.nonce), giaddr=ZERO), rig.server)
    assert one.wait(Kind.RENEW, 1.0).networks == [block]
    time.sleep(0.5)
    assert rig.origins()[block]["expires"] == expires
    counters = rig.counters()
    assert [counters[name] for name in ("answered", "nak", "silent")] == [0] * 3  # the delegating side does not heed it


def test_who_has_a_key_signs_and_believes_what_is_signed(rig: Rig) -> None:
    """RFC 3118 section 5.5. That all we hear is signed, with counters that rise, `one` insists on."""
    one, other_key = rig.one, Key(8, bytes(range(16)))
    one.key = key = Key(7, bytes(range(100, 116)))
    one.lease_time, one.t1, one.t2 = 60, 2, 10
    rig.start(blocks=1, upstreams=[{"address": str(ONE), "auth-key": {"id": key.number, "key": key.secret.hex()}}])
    one.wait(Kind.LISTING)
    (block,) = one.wait(Kind.REQUEST).networks
    rig.obtained(block)

    def lie(query: Query) -> Iterator[Answer]:
        one.key = None
        refusal = one.reply(query, Type.NAK, subnets(block))
        one.key = key
        yield from (
            refusal,
            signed(refusal, other_key),
            dataclasses.replace(signed(refusal, key), xid=query.message.xid ^ 1),
        )
        yield dataclasses.replace(signed(refusal, key), flags=1)

    one.answers[Kind.RENEW] = once(lie, one.renew)
    ends = rig.origins()[block]["expires"]
    first = one.wait(Kind.RENEW)
    one.t1, one.t2 = 30, 50
    renewed = one.wait(Kind.RENEW, 6.0, count=2)
    wait_until(lambda: rig.origins()[block]["expires"] > ends, 2.0)
    assert renewed.networks == first.networks == [block]
    assert rig.counters()["not-authentic"] >= 3

    wanted = one.forcerenew(block, nonce=None)
    genuine = signed(wanted, key)
    for forged in wanted, signed(wanted, other_key), dataclasses.replace(genuine, hops=0, flags=1):
        one.send(forged, rig.server)
    quiet(one, 1.0)
    one.send(genuine, rig.server)
    assert one.wait(Kind.RENEW, 1.0, count=3).networks == [block]
    one.send(signed(wanted, key), rig.server)
    one.wait(Kind.RENEW, 1.0, count=4)
    one.send(genuine, rig.server)  # older than what came since
    quiet(one, 1.0)
    one.answers[Kind.RENEW] = lambda query: [one.reply(query, Type.ACK, subnets(Block(block, deprecate=True)))]
    one.send(signed(wanted, key), rig.server)
    assert one.wait(Kind.RELEASE, 10.0).networks == [block]


def test_of_who_has_a_key_what_is_not_signed_is_not_taken(rig: Rig) -> None:
    key = {"id": 7, "key": bytes(range(100, 116)).hex()}
    log = rig.log()
    rig.start(blocks=1, upstreams=[{"address": str(ONE), "auth-key": key}, {"address": str(OTHER)}])
    rig.one.wait(Kind.DISCOVER)
    assert rig.other.wait(Kind.REQUEST).message.server == OTHER
    (block,) = rig.other.queries(Kind.REQUEST)[0].networks
    rig.obtained(block)
    warnings = log.lines("SUBNET_DELEG_UPSTREAM_NOT_AUTHENTIC")
    assert len(warnings) == 1
    assert "not signed by key 7" in warnings[0]


def test_what_an_emptied_ledger_has_forgotten_is_adopted(rig: Rig) -> None:
    one = rig.one
    one.lease_time = 600
    held = [IPv4Network(f"10.200.{number}.0/{LENGTH}") for number in range(5)]

    def listing(query: Query) -> Iterator[Answer]:
        """Two at a time, in order; after the last one that the client names (RFC 6656 6.4)."""
        after = query.networks
        rest = held[held.index(after[-1]) + 1 :] if after else held
        pages.append([*rest[:2]])
        yield one.reply(query, Type.OFFER, subnets(*rest[:2], more=len(rest) > 2, listed=True))

    pages: list[list[IPv4Network]] = []
    one.answers[Kind.DISCOVER] = silence
    rig.start(blocks=0)
    one.wait(Kind.LISTING)
    rig.stop()
    rig.empty()
    one.answers[Kind.LISTING] = listing
    one.lease_time = 100
    began = time.monotonic()
    rig.start(blocks=0)
    rig.obtained(*held)
    assert pages == [held[0:2], held[2:4], held[4:5]]
    wait_until(lambda: renewed(one, began) == set(held), 4)  # at once: nobody knows how long they last
    with rig.hosts() as hosts:
        hosts.arrive(USABLE + 1)
        assert set(tally_of(hosts.all)) <= set(held)
        hosts.check()
    assert not one.queries(Kind.REQUEST, Kind.RELEASE)


def renewed(upstream: Upstream, since: float) -> set[IPv4Network]:
    return {network for query in upstream.queries(Kind.RENEW) if query.received > since for network in query.networks}


def test_garbage_does_not_disturb(rig: Rig) -> None:
    one = rig.one
    sent: list[bytes] = []

    def after(kind: Type, then: Answering) -> Answering:
        def answer(query: Query) -> Iterator[Answer]:
            good = one.reply(query, kind, query.allocation if query.blocks else subnets("10.200.0.0/28"))
            for bad in garbage(good):
                sent.append(bad)
                yield bad
                if len(sent) % 50 == 0:
                    time.sleep(0.02)  # a socket holds only so many
            yield from then(query)

        return answer

    one.lease_time, one.t1, one.t2 = 30, 2, 25
    one.nonce = secrets.token_bytes(16)
    one.answers[Kind.DISCOVER] = once(after(Type.OFFER, one.offer), one.offer)
    one.answers[Kind.REQUEST] = once(after(Type.ACK, one.acknowledge), one.acknowledge)
    one.answers[Kind.RENEW] = once(after(Type.NAK, after(Type.ACK, one.renew)), one.renew)
    rig.start(blocks=1)
    request = one.wait(Kind.REQUEST)
    rig.obtained(*request.networks)
    one.wait(Kind.RENEW)
    for bad in garbage(one.forcerenew(*request.networks, nonce=one.nonce)):
        sent.append(bad)
        one.send(bad, rig.server)
    one.wait(Kind.RENEW, 6, count=2)
    assert len(one.queries(Kind.DISCOVER)) == 1
    assert len(one.queries(Kind.REQUEST)) == 1
    assert len(sent) > 5 * 100
    rig.obtained(*request.networks)
    counters = rig.counters()
    assert counters["exceptions"] == 0
    assert counters["malformed"] > 3 * 100
