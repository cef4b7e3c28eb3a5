# SPDX-License-Identifier: MPL-2.0
"""The ledger at its full size: 10^6 blocks, 10^5 lessees, 10^8 events of a year, and how long its steps take there.

A program of its own, as it takes more than half an hour and 30 GB, as root after `ci/setup`:

    PYTHONPATH=. .venv/bin/python -m bench.scale [EVENTS] [CELLS]

It prints JSON. What servers do by the clock is done in steps, each a transaction of its own: no lock is held for longer than its step
takes, which is what is told here, in milliseconds.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from kea_subnet_deleg.ledger import Ledger
from kea_subnet_deleg.ledger.networks import Networks
from kea_subnet_deleg.runtime.service import SWEEP_LIMIT

from bench.allocate import TIMEOUT
from bench.filling import CELL, FREE, fill
from bench.ledgers import Ledgers
from bench.load import quantile

EVENTS, CELLS = 100_000_000, 62_500
LEDGER: Final = "scale"
WEEKS: Final = 52
KEPT: Final = 28  # days: what history is cut to at the end
DUE: Final = 50_000  # leases that end at the same moment
GONE: Final = 100_000  # lessees that nothing names any more when the events of their time have gone
ASKED: Final = 20  # prefixes whose history is read; of those that they are part of, a fifth
QUARANTINE: Final = 3600  # seconds: none ends of itself meanwhile

# All partitions from 52 weeks ago on, in place of those that a new ledger has.
_PARTS: Final = """
    do $$ declare v_part text; begin
        for v_part in select part from deleg._event_parts() loop execute format('drop table deleg.%I', v_part); end loop;
        perform deleg._make_events(null, now() - interval '{weeks} weeks');
        for i in 1..{weeks} + 4 loop perform deleg._make_events(max(ends), max(ends)) from deleg._event_parts(); end loop;
    end $$
"""
# Renewals, as most events are, of one week: of blocks all over the ledger.
_EVENTS: Final = """
    insert into deleg.events (at, space, kind, was, prefix, was_state, state, draining, lessee, server, expires, reason)
    select now() - interval '{week} weeks' + n * (interval '7 days' / {events}), 0, 'renewed', b.prefix, b.prefix, 'leased', 'leased',
           false, b.lessee, '198.51.100.1', b.expires, 'in full'
      from (select row_number() over () as n, prefix, lessee, expires
              from (select prefix, lessee, expires from deleg.blocks where lessee is not null limit {events}) as held) as b
"""
_LAPSE: Final = """
    update deleg.blocks set expires = now() - interval '1 second', due = now() - interval '1 second'
     where (space, prefix) in (
            select space, prefix from deleg.blocks where state = '{state}' order by hashtext(prefix::text) limit {due})
"""
# Who has been there for a moment, and not since.
_GONE: Final = """
    insert into deleg.lessees (space, identity, named)
    select 0, decode('0106' || lpad(to_hex(n), 12, '0'), 'hex'), now() - interval '{weeks} weeks' from generate_series(1, {gone}) as n
"""
_HISTORY: Final = "select count(*) from deleg.history(0, '{prefix}', {covering})"


def main(arguments: Sequence[str]) -> None:
    """Fill it, do what servers do by the clock until nothing is left, and print how long each step took."""
    events, cells = [int(given) for given in arguments] + [EVENTS, CELLS][len(arguments) :]
    with Ledgers() as ledgers:
        ledgers.copy(LEDGER)
        report = measure(ledgers, events, cells)
    print(json.dumps(report, indent=1))


def measure(ledgers: Ledgers, events: int, cells: int) -> dict[str, object]:
    """Return what was found. Raises RuntimeError where the ledger does not keep its invariants."""

    def sql(*statements: str) -> str:
        return ledgers.sql_of(LEDGER, *statements)

    report: dict[str, object] = {}
    sql(_PARTS.format(weeks=WEEKS))
    _tell(f"{fill(sql, cells)} blocks")
    began, each = time.monotonic(), events // WEEKS
    for week in range(WEEKS, 0, -1):
        for _ in range(0, each, 1_000_000):
            sql(_EVENTS.format(week=week, events=min(each, 1_000_000)))
    sql("analyze")
    report["events"] = int(sql("select count(*) from deleg.events"))
    report["bytes for an event"] = int(sql(
        "select sum(pg_total_relation_size(('deleg.' || part)::regclass)) from deleg._event_parts()"
    )) // int(str(report["events"]))  # fmt: skip
    _tell(f"{report['events']} events in {time.monotonic() - began:.0f} s")
    ledger = Ledger(ledgers.cluster.dsn(LEDGER, "kea_deleg_hook"), TIMEOUT)
    ledger.connect()
    report["events summarized"] = _steps(lambda: ledger.keep_events() is not None)
    report["history of one prefix"] = _history(ledgers, cells, covering=False)
    report["history of one prefix, and of those it is part of"] = _history(ledgers, cells, covering=True)
    report["a day's usage"] = _steps(Networks(ledger).keep_days)
    report["takeback on shortage"] = _steps(lambda: ledger.takeback_least_used(0, [1], 1 << 16, 50, 60) < 0)
    for state, what in (("leased", "leases"), ("quarantined", "quarantines")):
        sql("set session_replication_role = replica; " + _LAPSE.format(state=state, due=DUE))
        report[f"sweep of {DUE} {what} that ended"] = _steps(lambda: ledger.sweep(SWEEP_LIMIT, QUARANTINE).more)
    sql(_GONE.format(weeks=WEEKS, gone=GONE), f"select deleg.history_keep({KEPT})")
    report["retention"] = _kinds(ledger.keep_events)
    report["events kept"] = int(sql("select count(*) from deleg.events"))
    began = time.monotonic()
    if violations := sql("select * from deleg.ledger_check()"):
        raise RuntimeError(f"the ledger does not keep its invariants: {violations[:500]}")
    report["ledger_check, seconds"] = round(time.monotonic() - began, 1)
    ledger.close()
    return report


def _history(ledgers: Ledgers, cells: int, *, covering: bool) -> dict[str, float]:
    """What deleg.history() takes, of blocks all over the ledger; psql's start included."""
    chance, took = random.Random(1), []
    for _ in range(ASKED // 5 if covering else ASKED):
        address = IPv4Address("10.0.0.0") + (chance.randrange(cells) << 32 - CELL) + chance.choice((0, 512, 1024, FREE))
        query = _HISTORY.format(prefix=IPv4Network((int(address), 24)), covering=covering)
        began = time.monotonic()
        ledgers.sql_of(LEDGER, query)
        took.append(time.monotonic() - began)
    return _figures(took)


def _steps(step: Callable[[], bool]) -> dict[str, float]:
    """Take steps until the last says that there is no more, each timed."""
    took: list[float] = []
    more = True
    while more:
        began = time.monotonic()
        more = step()
        took.append(time.monotonic() - began)
    return _figures(took)


def _kinds(step: Callable[[], str | None]) -> dict[str, dict[str, float]]:
    """Take steps until the last says nothing, each timed, by the first word of what they say."""
    took: dict[str, list[float]] = defaultdict(list)
    said: str | None = ""
    while said is not None:
        began = time.monotonic()
        said = step()
        took[(said or "nothing").split()[0]].append(time.monotonic() - began)
    return {kind: _figures(times) for kind, times in took.items()}


def _figures(took: list[float]) -> dict[str, float]:
    ordered = sorted(1000 * seconds for seconds in took)
    return {
        "steps": len(ordered),
        **{f"p{share}": round(quantile(ordered, share / 100), 2) for share in (50, 99)},
        "longest": round(ordered[-1], 2),
        "beyond 50": sum(milliseconds > 50 for milliseconds in ordered),
    }


def _tell(text: str) -> None:
    print(f"bench.scale: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
