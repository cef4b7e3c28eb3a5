# SPDX-License-Identifier: MPL-2.0
"""Who may ask at all, and how often: what RFC 6656 section 10 calls hoarding is stopped here and in the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

BURST_SECONDS: Final = 5.0
"""Of its rate, what a client may save up: an exchange is several messages at once."""
MOST_CLIENTS: Final = 65536
"""Clients whose rate is remembered; when there are more, those that have not asked for longest are forgotten."""


@dataclass(frozen=True, slots=True)
class Admission:
    """One line of the allow-list: a request fits if all that is not None here fits.

    `client_id`: option 61 or htype and chaddr; `network`: where its relay is, or itself; `circuit_id`, `remote_id`: of option 82.
    """

    client_id: bytes | None = None
    network: IPv4Network | None = None
    circuit_id: bytes | None = None
    remote_id: bytes | None = None

    def fits(self, client_id: bytes, address: int, circuit_id: bytes | None, remote_id: bytes | None) -> bool:
        """Whether a request is meant; `address` is a host-order integer."""
        return (
            (self.client_id is None or self.client_id == client_id)
            and (self.network is None or IPv4Address(address) in self.network)
            and (self.circuit_id is None or self.circuit_id == circuit_id)
            and (self.remote_id is None or self.remote_id == remote_id)
        )


def admitted(
    allow: Sequence[Admission], client_id: bytes, address: int, circuit_id: bytes | None, remote_id: bytes | None
) -> bool:
    """Whether a request may be served: some line fits it, or there are none."""
    return not allow or any(line.fits(client_id, address, circuit_id, remote_id) for line in allow)


class RateLimit:
    """So many messages a second of each client, with a burst; a token bucket each. For use by several threads.

    Parameters
    ----------
    rate : float or None
        Messages per second; None for no limit.
    clock : callable
        Monotonic seconds.
    burst : float
        Messages that a client may save up; by default those of some seconds.
    most : int
        Clients that are remembered at once.
    """

    def __init__(
        self, rate: float | None, clock: Callable[[], float], burst: float | None = None, most: int = MOST_CLIENTS
    ) -> None:
        self._rate = rate
        self._burst = max(1.0, (rate or 0.0) * BURST_SECONDS) if burst is None else burst
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._buckets: dict[bytes, tuple[float, float]] = {}

    def take(self, client_id: bytes) -> bool:
        """Whether one more message of this client is within its rate."""
        if self._rate is None:
            return True
        with self._lock:
            return self._take(client_id, self._rate)

    def _take(self, client_id: bytes, rate: float) -> bool:
        now = self._clock()
        tokens, then = self._buckets.pop(client_id, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * rate)
        allowed = tokens >= 1.0
        # Put back last: the dict's order is that of the last message.
        self._buckets[client_id] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        return allowed
