# SPDX-License-Identifier: MPL-2.0
"""The second part of `ci/demo`: a subnet is typed into the first of three Kea servers; hosts two levels below have addresses of it.

Then the hosts leave, and the subnet becomes whole again. A picture of who holds what after each step.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from tests.client.codec import insist
from tests.kea.hosts import Hosts

from ci.labs import interruption
from ci.labs.lab import Lab
from ci.labs.picture import picture

LEASE_TIME = 20  # seconds that subnets are leased for
REGION = 21  # prefix length of what the region asks for at least: it need not ask for each block of the edge
HOSTS = 300  # more than one /24 has addresses
SERVED = 15.0  # seconds within which all hosts have to have an address
WHOLE = 45.0  # seconds within which all space has to be back
SETTLE = 5.0  # seconds within which figures have to be right


class ChainDemo:
    """The demonstration on a `chain` that is up: each method is one step and raises `Violation` where it fails."""

    def __init__(self, lab: Lab, hosts: Hosts, console: Console) -> None:
        self.lab, self.hosts, self.console = lab, hosts, console
        (self.pool,) = lab.pools

    def run(self) -> None:
        """All steps, in order."""
        names = list(self.lab.servers)
        self.step(f"{self.pool} is typed in at {names[0]}; nothing anywhere else", self.begin)
        self.step(f"{HOSTS} hosts are switched on at {names[-1]}, which has nothing to give them", self.arrive)
        self.step("They stay: leases are renewed, with figures of what is in use, all the way up", self.stay)
        self.step("They leave: what they used goes back the way it came", self.leave)
        violations = self.lab.violations()
        insist(not violations, "ledger_check()", "\n".join(violations))
        self.console.print("ledger_check(): every invariant holds in every ledger\n", style="green")

    def step(self, title: str, action: Callable[[], str]) -> None:
        """Do one step, say how it went, and show who holds what, also where it fails."""
        interruption.check()
        self.console.rule(title, align="left")
        try:
            self.console.print(action(), highlight=False)
        finally:
            self.console.print(picture(self.lab))
            self.console.print()

    def begin(self) -> str:
        self.expect(lambda: self.whole, SETTLE, "there is nothing but one free pool")
        return "No subnet is in the configuration of any of them."

    def arrive(self) -> str:
        started = time.monotonic()
        self.hosts.arrive(HOSTS, SERVED)
        self.hosts.check()
        networks = {lease.interface.network for lease in self.hosts.leases}
        insist(all(network.subnet_of(self.pool) for network in networks), "ci/demo", f"addresses of {networks}")
        waited = max(host.waited for host in self.hosts.all)
        return (
            f"All have an address after {time.monotonic() - started:.1f} s, no two the same; "
            f"the one that waited longest did for {waited:.1f} s."
        )

    def stay(self) -> str:
        started = time.monotonic()
        self.expect(self.reported, LEASE_TIME, f"root knows of {HOSTS} addresses in use")
        self.hosts.check()
        return (
            f"After {time.monotonic() - started:.1f} s the root knows of all {HOSTS} addresses; no host lost its own."
        )

    def leave(self) -> str:
        started = time.monotonic()
        self.hosts.leave()
        self.expect(lambda: self.whole, WHOLE, "all space is back at root")
        return f"After {time.monotonic() - started:.1f} s it is one free block again."

    # -- what is seen

    @property
    def whole(self) -> bool:
        """Whether the pool is one free block and no ledger below has anything."""
        blocks = "select prefix, state from deleg.blocks"
        found = [self.lab.sql(blocks, ledger=ledger) for ledger in self.lab.ledgers]
        return found == [f"{self.pool}|free\n", *[""] * (len(found) - 1)]

    def reported(self) -> bool:
        """Whether the first ledger knows how many addresses are in use."""
        return self.lab.sql("select coalesce(sum(in_use), 0) from report.subnets").strip() == str(HOSTS)

    @staticmethod
    def expect(holds: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            insist(time.monotonic() < deadline, "ci/demo", f"not within {seconds:.0f} s: {what}")
            time.sleep(0.1)


def show(name: str, console: Console) -> None:
    """Bring a chain up under `name`, run the demonstration, and end it. Raises `Violation` or `LabError`."""
    started = time.monotonic()
    larger = {"region": {"request-prefix-length": REGION}}
    with Lab("chain", name=name, lease_time=LEASE_TIME, servers=larger) as lab:
        console.print(f"A chain of three kea-dhcp4 is up, each with a ledger ({time.monotonic() - started:.1f} s).\n")
        with Hosts.relayed(lab.hosts) as hosts:
            ChainDemo(lab, hosts, console).run()
