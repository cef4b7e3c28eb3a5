# SPDX-License-Identifier: MPL-2.0
"""perfdhcp, Kea's own load generator, as a flood of hosts behind a relay.

Its hosts neither renew nor leave. One that is not answered, or is refused what it was offered, is not sent again by itself (also not
in its scenario `avalanche`, where it asks for the same for ever); so all of them begin again and again until each was served.
"""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address

from ci.labs import HostsPlace, network

RATE = 300  # hosts that begin per second
SLACK = 10.0  # seconds that a round may take beyond its period
FOREVER = 3600  # seconds
INCOMPLETE = 3  # exit code: some exchanges were not completed
_LEASE = re.compile(r"^([0-9a-f]+),(\d+\.\d+\.\d+\.\d+),$", re.MULTILINE)
_ACKNOWLEDGED = "***Leases for REQUEST-ACK***"  # the last list printed; before it comes that of OFFERs


def flood(place: HostsPlace, hosts: int, seconds: float, rate: int = RATE) -> dict[str, IPv4Address]:
    """Have so many hosts obtain an address; return what each, by its client identifier, was acknowledged last.

    Raises `AssertionError` where not all have one within `seconds`, or two the same.
    """
    deadline = time.monotonic() + seconds
    leases: dict[str, IPv4Address] = {}
    while len(leases) < hosts:
        assert time.monotonic() < deadline, f"{len(leases)} of {hosts} hosts have an address after {seconds} s"
        leases |= _round(place, hosts, rate)
    twice = [str(address) for address, count in Counter(leases.values()).items() if count > 1]
    assert not twice, f"{len(twice)} addresses given twice, for example {twice[:3]}"
    return leases


@contextlib.contextmanager
def flooding(place: HostsPlace, hosts: int, rate: int = RATE) -> Iterator[None]:
    """Have each of so many hosts begin again and again meanwhile: each has its lease renewed every hosts / rate seconds."""
    child = subprocess.Popen(
        _command(place, hosts, rate, FOREVER), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
        assert child.poll() is None, f"perfdhcp has ended: {child.returncode}"
    finally:
        child.terminate()
        child.wait(SLACK)


def _command(place: HostsPlace, hosts: int, rate: int, period: int, *more: str) -> list[str]:
    return [
        *network.inside(place.netns),
        *("perfdhcp", "-4", "-R", str(hosts), "-r", str(rate), "-p", str(period), *more),
        *("-l", place.interface, str(place.server_address)),
    ]


def _round(place: HostsPlace, hosts: int, rate: int) -> dict[str, IPv4Address]:
    """Have each host begin once, or a little more often, and return what was acknowledged."""
    period = math.ceil(hosts / rate) + 1
    command = _command(place, hosts, rate, period, "-x", "l")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=period + SLACK)
    said = f"{' '.join(command)}: {done.returncode}, {(done.stderr or done.stdout)[-500:]}"
    assert done.returncode in {0, INCOMPLETE}, said
    _, marker, list_of_leases = done.stdout.partition(_ACKNOWLEDGED)
    assert marker, said
    return {client: IPv4Address(address) for client, address in _LEASE.findall(list_of_leases)}
