# SPDX-License-Identifier: MPL-2.0
"""`ci/demo`: two Kea servers that share one ledger delegate subnets to a client, offer it more, and take one back.

Each message and the ledger after each step. Then three in a chain, see demo_chain.py.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

import psycopg
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tests.client.codec import Code, Type, insist
from tests.client.endpoint import Endpoint, Passage
from tests.client.rfc6656 import Client, Identity, Patience, Reply, Silence

from ci.labs import demo_chain, interruption
from ci.labs.lab import Lab, LabError

T = TypeVar("T")
WIDTH = 132  # columns, where the terminal does not say
LISTEN = 0.5  # seconds in which a server that has to be silent would have answered
SETTLE = 5.0  # seconds within which a RELEASE, which nothing answers, has to be in the ledger

SUBNETS = """
    select subnet::text, state, lessee, host(server), round(extract(epoch from until - now()))::text || ' s',
           high_water::text, in_use::text, unusable::text
      from report.subnets order by subnet"""
POOLS = """
    select pool, origin::text, size::text, free::text, offered::text, leased::text, quarantined::text
      from report.pools order by origin"""


class Demo:
    """The demonstration on a lab that is up: each method is one step and raises `Violation` where it fails."""

    def __init__(self, lab: Lab, endpoint: Endpoint, console: Console) -> None:
        self.lab, self.endpoint, self.console = lab, endpoint, console
        self.names = {server.address: name for name, server in lab.servers.items()}
        self.client = Client(endpoint, Identity.number(1).nonce_capable(), list(self.names))
        self.passages: list[Passage] = []
        endpoint.trace = self.passages.append

    def run(self) -> None:
        """All steps, in order."""
        offers = self.step("The client wants a /24 and asks both servers", self.discover)
        first = self.step("It takes the first offer; the other server hears that too", lambda: self.request(offers))
        more = self.step(
            "The offer said s: there is more. It asks for that, of no particular size", lambda: self.follow(offers)
        )
        second = self.step("It takes what the server chose", lambda: self.request(more))
        self.step("It renews the first, and tells how it uses the subnet", lambda: self.renew(first))
        self.step("It has forgotten everything: what do I hold?", lambda: self.listing(first, second))
        self.step("The operator wants the second back: FORCERENEW, renewal, d, release", lambda: self.take_back(second))
        self.step("The client gives the first back", lambda: self.release(first))
        violations = self.lab.violations()
        insist(not violations, "ledger_check()", "\n".join(violations))
        self.console.print("ledger_check(): every invariant holds\n", style="green")

    def step(self, title: str, action: Callable[[], T]) -> T:
        """Do one step and show its messages and what it made of the ledger, also where it fails."""
        interruption.check()
        self.console.rule(title, align="left")
        self.passages.clear()
        try:
            return action()
        finally:
            self.show_messages()
            self.show_ledger()

    def discover(self) -> list[Reply]:
        offers = self.client.discover(24)
        insist(len(offers) == len(self.names), "ci/demo", f"{len(offers)} of {len(self.names)} servers made an OFFER")
        insist(len({offer.option for offer in offers}) == 1, "ci/demo", "the servers offer different subnets")
        insist(offers[0].blocks[0].network.prefixlen == 24, "ci/demo", f"offered {offers[0].allocation}")
        insist(offers[0].more, "seed [0065]", "most of the space is free, and nothing is pushed")
        self.expect_state(offers[0].blocks[0].network, "offered")
        return offers

    def follow(self, pushed: list[Reply]) -> list[Reply]:
        offers = self.client.follow(pushed[0])
        insist(len(offers) == len(self.names), "ci/demo", f"{len(offers)} of {len(self.names)} servers made an OFFER")
        insist(not offers[0].more, "seed [0067]", "what was pushed pushes again")
        self.expect_state(offers[0].blocks[0].network, "offered")
        return offers

    def request(self, offers: list[Reply]) -> Reply:
        acknowledged = self.client.request(offers[0])
        if acknowledged is None:
            raise Silence("nobody acknowledges the offer")
        self.insist_ack(acknowledged)
        insist(acknowledged.blocks == offers[0].blocks, "RFC 6656 4.4", f"acknowledged {acknowledged.allocation}")
        insist(acknowledged.server == offers[0].server, "RFC 2131 4.3.2", f"{acknowledged.server} acknowledges")
        self.endpoint.silence(LISTEN)
        self.expect_state(offers[0].blocks[0].network, "leased")
        return acknowledged

    def renew(self, held: Reply) -> None:
        block = held.blocks[0].using(high_water=10, in_use=7, unusable=2)
        renewed = self.client.renew(held.server, block)
        if renewed is None:
            raise Silence("the renewal is not answered")
        self.insist_ack(renewed)
        insist(renewed.blocks[0].network == block.network, "RFC 6656 5.2", f"renewed {renewed.allocation}")
        usage = self.query("select high_water, in_use, unusable from report.subnets where reported is not null")
        insist(usage == [block.statistics], "ci/demo", f"the ledger holds the usage {usage}")

    def listing(self, *held: Reply) -> None:
        expected = sorted(network for reply in held for network in reply.networks)
        for server in self.names:
            listed = [block.network for block in self.client.listing(server)]
            insist(listed == expected, "RFC 6656 6", f"{server} lists {listed}")

    def take_back(self, held: Reply) -> None:
        self.console.print(self.lab.cli("lease", "takeback", str(held.networks[0])).strip(), markup=False)
        order = self.client.forcerenew(SETTLE)  # which checks its digest by the nonce of the ACK
        if order is None:
            raise Silence("no FORCERENEW for what the operator wants back")
        insist(order.networks == held.networks, "RFC 6656 5.4", f"FORCERENEW of {order.allocation}")
        renewed = self.client.renew(order.server, order.blocks[0].using(high_water=3, in_use=0, unusable=0))
        if renewed is None:
            raise Silence("the renewal is not answered")
        self.insist_ack(renewed)
        insist(renewed.blocks[0].deprecate, "seed [0082]", f"asked back, and renewed without d: {renewed.allocation}")
        self.give_back(held)

    def give_back(self, held: Reply) -> None:
        self.client.release(held.server, *(block.bare() for block in held.blocks))
        self.expect_state(held.blocks[0].network, "quarantined", "free")

    def release(self, held: Reply) -> None:
        self.give_back(held)
        insist(
            not self.client.listing(held.server, Patience(LISTEN, 1)),
            "RFC 6656 6.2",
            "the subnet is listed after its release",
        )

    # -- what is seen

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.lab.ledgers["main"]) as connection:
            return connection.execute(sql.encode()).fetchall()

    def expect_state(self, network: IPv4Network, *states: str) -> None:
        """Wait until the block is in one of the states; `free` also where it has merged with its neighbours."""
        deadline = time.monotonic() + SETTLE
        while True:
            rows = self.query("select subnet, state from report.subnets")
            state = next((state for subnet, state in rows if subnet == network), "free")
            if state in states:
                return
            insist(
                time.monotonic() < deadline, "ci/demo", f"{network} is {state} in the ledger, not {' or '.join(states)}"
            )
            time.sleep(0.05)

    def show_messages(self) -> None:
        table = Table("from", "to", "message", "xid", "option 220", title="messages", title_justify="left")
        client = f"client {self.endpoint.address}"
        for passage in list(self.passages):
            peer = self.name(passage.peer)
            ends = (client, peer) if passage.sent else (peer, client)
            message = passage.message
            has = message.instances(Code.SUBNET_ALLOCATION)
            table.add_row(*ends, message.type.name, f"{message.xid:08x}", str(message.allocation) if has else "")
        self.console.print(table)

    def show_ledger(self) -> None:
        names = ("subnet", "state", "lessee", "server", "until", "high water", "in use", "unusable")
        self.show_rows("the ledger: subnets", names, self.query(SUBNETS))
        self.show_rows(
            "the ledger: pools",
            ("pool", "origin", "size", "free", "offered", "leased", "quarantined"),
            self.query(POOLS),
        )
        self.console.print()

    def show_rows(self, title: str, names: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
        table = Table(*names, title=title, title_justify="left")
        for row in rows:
            table.add_row(*(Text("" if value is None else str(value)) for value in row))
        self.console.print(table)

    def name(self, address: IPv4Address) -> str:
        return f"{self.names.get(address, '?')} {address}"

    @staticmethod
    def insist_ack(reply: Reply) -> None:
        insist(reply.type is Type.ACK, "ci/demo", f"{reply.type.name} from {reply.server}")


def show(name: str, console: Console) -> None:
    """Bring two servers up under `name`, run the demonstration, and end them. Raises `Violation` or `LabError`."""
    started = time.monotonic()
    with Lab("shared", name=name, parameters={"policy": "proportional"}) as lab:
        place = lab.clients[0]
        console.print(f"Two kea-dhcp4 and a PostgreSQL ledger are up ({time.monotonic() - started:.1f} s).\n")
        with Endpoint.relay(place.netns, place.interface, place.address) as endpoint:
            Demo(lab, endpoint, console).run()


def main() -> int:
    """Run the demonstration; return the exit code."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    interruption.expect()
    Lab.sweep()
    started = time.monotonic()
    name = f"demo-{os.getpid()}"
    try:
        show(name, console)
        demo_chain.show(name, console)
    except (LabError, AssertionError) as error:  # a Violation is one, too
        console.print(f"ci/demo: {error}", style="bold red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("ci/demo: interrupted; nothing is left running")
        return 130
    console.print(f"ci/demo: all as expected, {time.monotonic() - started:.1f} s", style="bold green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
