# SPDX-License-Identifier: MPL-2.0
"""One client of the ledger alone, without a server: blocks offered and accepted through `Ledger.apply`, as a server's worker does.

A program of its own, so that several do not wait for each other: `python -m bench.allocate DSN BATCH BATCHES SECONDS`. It connects,
has one batch allocated, says `ready`, waits for the end of its standard input, has BATCHES more allocated at most within SECONDS, and
prints one JSON object. With BATCH 1 the times of each allocation's two halves are in it.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence
from typing import Final

from kea_subnet_deleg.ledger import (
    Accept,
    Contact,
    Granted,
    Ledger,
    Offer,
    OperationFailed,
    Outcome,
    Result,
    Size,
    Wanted,
)

PREFIX_LENGTH: Final = 26
LEASE_TIME, HOLD = 604800, 60  # seconds
SERVER: Final = 0xC6336401  # 198.51.100.1
TIMEOUT: Final = 30.0  # seconds for a statement


def main(arguments: Sequence[str]) -> None:
    """Allocate, and print when it began and ended, how many blocks were allocated, and the latencies in seconds."""
    dsn, batch, batches, seconds = arguments[0], int(arguments[1]), int(arguments[2]), float(arguments[3])
    ledger = Ledger(dsn, TIMEOUT)
    ledger.connect()
    client = Client(ledger, batch)
    client.allocate()
    client.forget()
    print("ready", flush=True)
    sys.stdin.read()
    began = time.monotonic()
    while client.batches < batches and time.monotonic() < began + seconds:
        client.allocate()
    ended = time.monotonic()
    ledger.close()
    latencies = client.latencies if batch == 1 else []
    print(json.dumps({"began": began, "ended": ended, "allocated": batch * client.batches, "latencies": latencies}))


class Client:
    """`batch` newcomers at a time that each want one block."""

    def __init__(self, ledger: Ledger, batch: int) -> None:
        self.latencies: list[tuple[float, float]] = []  # seconds for the offers and for the leases of each batch
        self._ledger, self._batch = ledger, batch
        self._number = random.getrandbits(47)  # of the first newcomer: no other run has the same
        self.batches = 0
        self._pools = tuple(pool.number for pool in ledger.directory().pools)

    def forget(self) -> None:
        """Count from zero again."""
        self.batches = 0
        self.latencies.clear()

    def allocate(self) -> None:
        """Have one batch offered, then leased. Raises RuntimeError unless every client gets its block."""
        self._number += self._batch
        identities = [b"\1" + (self._number + n).to_bytes(6, "big") for n in range(self._batch)]
        began = time.monotonic()
        offers = self._ledger.apply([self._offer(identity) for identity in identities])
        blocks = [block_of(outcome, Result.OFFERED) for outcome in offers]
        offered = time.monotonic()
        accepts = [self._accept(*pair) for pair in zip(identities, blocks, strict=True)]
        leases = [block_of(outcome, Result.ACKNOWLEDGED) for outcome in self._ledger.apply(accepts)]
        self.batches += 1
        self.latencies.append((offered - began, time.monotonic() - offered))
        if leases != blocks:
            raise RuntimeError(f"offered {blocks}, leased {leases}")

    def _offer(self, identity: bytes) -> Offer:
        size = Size(0, PREFIX_LENGTH, PREFIX_LENGTH, True, "bench")
        contact = _contact(identity)
        xid = self._number & 0xFFFFFFFF
        return Offer(0, identity, xid, SERVER, contact, LEASE_TIME, None, HOLD, self._pools, None, None, (size,))

    def _accept(self, identity: bytes, block: Granted) -> Accept:
        wanted = Wanted(block.network, block.prefix_length, hierarchical=True, more=False)
        return Accept(0, identity, self._number & 0xFFFFFFFF, SERVER, _contact(identity), (wanted,))


def block_of(outcome: Outcome | OperationFailed, result: Result) -> Granted:
    """The one block of an outcome. Raises RuntimeError where it is another outcome."""
    if isinstance(outcome, OperationFailed) or outcome.result is not result or len(outcome.blocks) != 1:
        raise RuntimeError(f"the ledger did not say {result.value}: {outcome}")
    return outcome.blocks[0]


def _contact(identity: bytes) -> Contact:
    return Contact(SERVER + 99, 67, True, identity)


if __name__ == "__main__":
    main(sys.argv[1:])
