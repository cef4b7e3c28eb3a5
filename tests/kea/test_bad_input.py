# SPDX-License-Identifier: MPL-2.0
"""Bad input gets no answer, changes nothing, is counted, and disturbs nobody else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.client.codec import Block, Type, information
from tests.client.rfc6656 import Client, Patience, Reply
from tests.kea.malformed import Bad, malformed, not_for_us, well_formed_but_silent
from tests.kea.ordinary import serves
from tests.kea.site import Site
from tests.kea.waiting import wait_until

AT_ONCE = 20  # bad messages between two good ones
BRIEF = Patience(0.3, 1)
ASIDE = ("leases-committed", "leases-released")  # of the ordinary clients in between


def chunks(messages: Iterable[Bad]) -> Iterator[list[Bad]]:
    remaining = iter(messages)
    return iter(lambda: list(itertools.islice(remaining, AT_ONCE)), [])


def changes(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - count for name, count in before.items() if name not in ASIDE and after[name] != count}


def answered(site: Site, group: Iterable[Bad]) -> list[str]:
    """Which of the messages an answer has come to."""
    xids = {stray.data[4:8] for stray in site.endpoint.strays}
    return [why for why, data in group if data[4:8] in xids]


def ledger(site: Site) -> str:
    return site.lab.sql("select * from deleg.blocks order by prefix", "select count(*) from deleg.events")


def served_rightly(site: Site) -> None:
    """A delegation from beginning to end, and an ordinary lease."""
    client = site.client()
    ack = client.acquire(28)
    (block,) = ack.blocks
    assert block.network.prefixlen == 28
    assert [held.network for held in client.listing(ack.server)] == [block.network]
    client.release(ack.server, block)
    wait_until(lambda: site.lab.sql(f"select state from deleg.blocks where prefix = '{block.network}'") != "leased\n")  # noqa: S608
    serves(site.endpoint, site.servers[0])


def test_malformed_messages_get_no_answer(single: Site) -> None:
    assert sum(1 for _ in malformed(bytes(4))) >= 200
    log = single.log()
    for group in chunks(malformed(single.endpoint.address.packed)):
        before, blocks = single.counters(), ledger(single)
        for _, data in group:
            single.endpoint.send(data, single.servers[0])
        expected = {"received": len(group), "malformed": len(group)}
        try:
            wait_until(lambda before=before, expected=expected: changes(before, single.counters()) == expected, 3)  # type: ignore[misc]
        except AssertionError:
            seen, why = changes(before, single.counters()), answered(single, group)
            pytest.fail(f"{seen} for {len(group)} of {[why for why, _ in group]}; answered: {why}")
        assert ledger(single) == blocks
        assert not single.endpoint.strays, answered(single, group)
        served_rightly(single)
    single.endpoint.silence(0.3)
    # A line for each, which names who sent it and what is wrong.
    lines = log.lines("SUBNET_DELEG_MALFORMED")
    assert len(lines) == sum(1 for _ in malformed(bytes(4)))
    assert all(str(single.endpoint.address) in line and "DEBUG" in line for line in lines)


@pytest.mark.parametrize(
    ("messages", "counted"),
    [(well_formed_but_silent, ("received", "silent")), (not_for_us, ())],
    ids=["silent", "not for us"],
)
def test_other_messages_get_no_answer(
    single: Site, messages: Callable[[bytes], Iterator[Bad]], counted: tuple[str, ...]
) -> None:
    group = list(messages(single.endpoint.address.packed))
    before, blocks = single.counters(), ledger(single)
    for _, data in group:
        single.endpoint.send(data, single.servers[0])
    serves(single.endpoint, single.servers[0])
    expected = dict.fromkeys(counted, len(group))
    wait_until(lambda: changes(before, single.counters()) == expected, 3)
    assert not single.endpoint.strays, answered(single, group)
    assert ledger(single) == blocks
    served_rightly(single)


# ----------------------------------------------------------------------------------- blocks that are not the client's to ask


@pytest.fixture
def offered(single: Site) -> tuple[Client, Reply]:
    client = single.client()
    (offer,) = client.discover(24)
    return client, offer


def neighbour(network: IPv4Network) -> IPv4Network:
    return IPv4Network((int(network.network_address) ^ 256, network.prefixlen))


CHANGED: dict[str, Callable[[IPv4Network], Block]] = {
    "the next block": lambda network: Block(neighbour(network)),
    "longer by a bit": lambda network: Block(next(network.subnets())),
    "shorter by a bit": lambda network: Block(network.supernet()),
    "flag h": lambda network: Block(network, hierarchical=False),
    "flag d": lambda network: Block(network, deprecate=True),
    "space that nobody has": lambda _: Block(IPv4Network("192.0.2.0/24")),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_request_changed_by_a_bit_takes_nothing(single: Site, offered: tuple[Client, Reply], change: str) -> None:
    client, offer = offered
    blocks = ledger(single)
    asked = CHANGED[change](offer.blocks[0].network)
    reply = client.request(offer, [asked])
    assert reply is not None
    assert reply.type is Type.NAK
    assert ledger(single) == blocks
    again = client.request(offer)  # what was offered is still to be had
    assert again is not None
    assert (again.type, again.blocks) == (Type.ACK, offer.blocks)


def test_a_request_for_another_client_s_offer_takes_nothing(single: Site, offered: tuple[Client, Reply]) -> None:
    _, offer = offered
    blocks = ledger(single)
    thief = single.client()
    query = thief.build(Type.REQUEST, information(*offer.blocks), server=offer.server, xid=offer.message.xid)
    replies = thief.exchange(query, want=1, patience=BRIEF)
    assert [reply.type for reply in replies] in ([], [Type.NAK])
    assert ledger(single) == blocks


def test_another_client_s_lease_is_neither_renewed_nor_released(single: Site) -> None:
    server: IPv4Address = single.servers[0]
    ack = single.client().acquire(24)
    blocks = ledger(single)
    thief = single.client(patience=BRIEF)
    assert thief.renew(server, ack.blocks[0].using(1, 1)) is None
    thief.release(server, *ack.blocks)
    served_rightly(single)  # so the RELEASE before has been dealt with
    held = single.lab.sql(f"select state from deleg.blocks where prefix = '{ack.blocks[0].network}'")  # noqa: S608
    assert held == "leased\n"
    assert blocks.splitlines()[0] in ledger(single)
    assert thief.listing(server) == []


def test_a_release_of_half_a_lease_releases_nothing(single: Site) -> None:
    client = single.client()
    ack = client.acquire(24)
    half = Block(next(ack.blocks[0].network.subnets()))
    client.release(ack.server, half)
    client.release(ack.server, Block(ack.blocks[0].network.supernet()))
    assert client.listing(ack.server) == [ack.blocks[0].bare()]
