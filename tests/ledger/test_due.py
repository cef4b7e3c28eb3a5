# SPDX-License-Identifier: MPL-2.0
"""When there is something to sweep: never later than is said, so that who rests until then misses nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import LiteralString

import pytest

from kea_subnet_deleg.ledger import Ledger
from tests.conftest import Database
from tests.ledger.scene import Client, lease, one
from tests.ledger.test_upstreams import obtain

POOL = "10.64.0.0/22"
BLOCK = "10.64.0.0/26"
HOUR, FOR_EVER = 3600, 0xFFFFFFFF
CLIENT = Client.number(1)


def offer(ledger: Ledger, hold: int, lease_time: int = 600) -> None:
    assert one(ledger, CLIENT.offer(1, 26, hold=hold, lease_time=lease_time)).blocks


def leased(ledger: Ledger, lease_time: int) -> None:
    lease(ledger, CLIENT, 1, 26, lease_time=lease_time)


CASES: list[tuple[str, Callable[[Ledger], object], LiteralString | None, int]] = [
    ("nothing is held", lambda _: None, None, HOUR),
    ("an offer", lambda ledger: offer(ledger, 40), None, 40),
    ("an offer that is over", lambda ledger: offer(ledger, 0), None, 0),
    ("a lease that ends before its offer would have", lambda ledger: leased(ledger, 30), None, 30),
    ("a lease", lambda ledger: leased(ledger, 600), "delete from deleg.holds", 600),
    ("a lease for ever", lambda ledger: leased(ledger, FOR_EVER), "delete from deleg.holds", HOUR),
    (
        "a lease that ended",
        lambda ledger: leased(ledger, 600),
        "update deleg.blocks set expires = now() - interval '1 minute' where state = 'leased'",
        0,
    ),
    (
        "a quarantine",
        lambda ledger: (lease(ledger, CLIENT, 1, 26), one(ledger, CLIENT.release(BLOCK, quarantine=20))),
        None,
        20,
    ),
    (
        "a lease that is asked back",
        lambda ledger: leased(ledger, 600),
        "select deleg.lease_takeback('default', '10.64.0.0/26')",
        0,
    ),
    (
        "a lease that was asked back",
        lambda ledger: leased(ledger, 600),
        "insert into deleg.takebacks (space, prefix, reason, server, attempts, next_at)"
        " select space, prefix, 'test', server, 1, now() + interval '8 seconds' from deleg.blocks where state = 'leased'",
        8,
    ),
    (
        "a pool that is being removed",
        lambda ledger: leased(ledger, 600),
        "select deleg.pool_remove('default', '10.64.0.0/22')",
        0,
    ),
    (
        "a pool that stays",
        lambda ledger: leased(ledger, 600),
        "select deleg.pool_remove('default', '10.64.0.0/22'), deleg.pool_keep('default', '10.64.0.0/22')",
        60,  # the hold of the offer
    ),
    ("a lease of ours, until it is renewed", lambda ledger: obtain(ledger, lease_time=100), None, 60),
    (
        "a lease of ours that ended",
        lambda ledger: obtain(ledger, lease_time=100),
        "update deleg.origins set expires = now() where kind = 'upstream'",
        0,
    ),
]


@pytest.mark.parametrize(("what", "do", "then", "expected"), CASES, ids=[case[0] for case in CASES])
def test_when_there_is_something_to_sweep(
    database: Database, what: str, do: Callable[[Ledger], object], then: LiteralString | None, expected: int
) -> None:
    database.pool(POOL)
    ledger = database.ledger()
    do(ledger)
    if then is not None:
        database.connect().execute(then)
    assert expected - 5 < ledger.due_in() <= expected, what
    assert database.violations() == []
