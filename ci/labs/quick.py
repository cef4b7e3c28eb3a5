# SPDX-License-Identifier: MPL-2.0
"""Leases of seconds: what else has to be short where a subnet is leased for `--lease-time` SECONDS.

A lease is then renewed, ended and taken back while one watches.
"""

from __future__ import annotations

from typing import Any, TypeVar

from ci.labs.topology import Station

N = TypeVar("N", int, float)


def parameters(station: Station, lease_time: int) -> dict[str, Any]:
    """The hook's parameters: an offer, a quarantine or a sweep that took its usual seconds would outlive the lease."""
    given: dict[str, Any] = {
        "lease-time": lease_time,
        "min-lease-time": max(1, lease_time // 10),  # what is delegated on has what is left of the lessor's own lease
        "offer-time": _between(1, lease_time // 10, 30),
        "quarantine-time": _between(1, lease_time // 20, 60),
        "sweep-interval": _between(0.1, lease_time / 100, 2.0),
        "view-interval": _between(0.1, lease_time / 100, 5.0),
        "takeback-delay": _between(0.2, lease_time / 20, 4.0),
        "takeback-grace": _between(1, lease_time // 4, 60),
        # A server that is away for half of such a lease, seconds, must find its lessees still holding theirs.
        "t1-percent": 0.3,
        "t2-percent": 0.875,
    }
    if station.upstreams:
        given["offer-wait"] = _between(0.1, lease_time / 100, 0.5)
        given["release-after"] = _between(0.5, lease_time / 10, 60.0)
    return given


def network(lease_time: int) -> dict[str, Any]:
    """The parameters of one of the `networks`."""
    return {"hold-time": _between(0.5, lease_time / 10, 30.0)}


def dhcp4(lease_time: int) -> dict[str, Any]:
    """What is in "Dhcp4": hosts lease for a quarter of the time, and Kea notices within a second that a lease has ended."""
    return {
        "valid-lifetime": max(2, lease_time // 4),
        "expired-leases-processing": {"reclaim-timer-wait-time": 1},
        "decline-probation-period": max(2, lease_time // 2),
    }


def _between(low: N, value: N, high: N) -> N:
    return max(low, min(value, high))
