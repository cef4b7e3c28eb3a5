# SPDX-License-Identifier: MPL-2.0
"""With 20,000 blocks, nothing that a client or the clock causes reads a whole table: cost stays flat as the ledger grows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import psycopg
import pytest

from kea_subnet_deleg.ledger import Note, Operation
from kea_subnet_deleg.ledger._files import QUERIES
from kea_subnet_deleg.ledger.operations import batch_to_array
from tests.conftest import Database
from tests.ledger.scene import CONTACT, SERVER, Client, do

LARGEST = ("blocks", "events", "lessees", "usage", "usage_days")
LARGE = (*LARGEST, "takebacks", "origins")
Plans = Callable[..., list[str]]
FORGET = "delete from pg_statistic where starelid::regclass::text like 'deleg.%'"


@pytest.fixture
def statistics(request: pytest.FixtureRequest) -> str:
    """What the planner knows. It is nothing in the first minute of a ledger, and a plan lives as long as its connection."""
    return str(getattr(request, "param", "analyzed"))


def _offer_256(database: Database) -> None:
    """So many that an index of a few columns has two levels where the primary key has one, and so few that nobody seems to hold any."""
    database.sql("insert into deleg.origins (space, prefix, pool) values (0, '192.168.0.0/16', 1)")
    database.sql(
        "insert into deleg.blocks (space, prefix, origin, pool, state) values (0, '192.168.0.0/16', '192.168.0.0/16', 1, 'free')"
    )
    ledger = database.ledger()
    for first in (1000, 1128):
        do(ledger, *(Client.number(n).offer(1, 30, pools=(1,)) for n in range(first, first + 128)))


EARLY: dict[str, Callable[[Database], object]] = {
    "planned while empty": lambda _: None,
    "vacuumed while empty": lambda database: database.sql("vacuum"),
    "analyzed while empty": lambda database: database.sql("vacuum analyze"),
    "planned in the first second": _offer_256,
}
"""What was done before the first plans were made."""
KNOWN = ("analyzed", "never analyzed", "outdated")
HOWEVER = pytest.mark.parametrize("statistics", [*KNOWN, *EARLY], indirect=True)
NOTHING_KNOWN = pytest.mark.parametrize("statistics", KNOWN, indirect=True)


@pytest.fixture
def _unseen(database: Database) -> Iterator[None]:
    """PostgreSQL learns about the tables what a test tells it, not what it sees in the middle of one."""
    autovacuum = (
        "do $$ declare t regclass; begin for t in select oid from pg_class where relnamespace = 'deleg'::regnamespace and relkind = 'r'"
        " loop execute format('alter table %%s %s (autovacuum_enabled%s)', t); end loop; end $$"
    )
    database.sql(autovacuum % ("set", " = false"))
    yield
    database.sql(autovacuum % ("reset", ""))


@pytest.fixture
def plans(database: Database, statistics: str, _unseen: None) -> Plans:
    """A function that runs a query of the project and returns the plan of each statement within it."""
    database.sql(FORGET)
    connection = database.connect()
    if statistics in EARLY:
        EARLY[statistics](database)
        _plan_all(connection)
    _fill(database, statistics)
    # Plans made for the values of the first calls may differ from the one that is kept: see both.
    for setting in (
        "load 'auto_explain'",
        "set auto_explain.log_min_duration = 0",
        "set auto_explain.log_nested_statements = on",
        "set auto_explain.log_level = notice",
        "set auto_explain.log_analyze = on",
        "set auto_explain.log_buffers = on",
        "set auto_explain.log_timing = off",
    ):
        connection.execute(setting)
    notices: list[str] = []
    connection.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary or ""))

    outdated = statistics == "outdated"

    def run(query: str, **parameters: object) -> list[str]:
        nonlocal outdated
        if outdated:
            _outdate(database)
            outdated = False
        notices.clear()
        with connection.transaction(force_rollback=True):
            connection.execute(QUERIES[query], parameters)
        return notices.copy()

    return run


def _plan_all(connection: psycopg.Connection[Any]) -> None:
    """Have what clients' messages do planned."""
    with connection.transaction(force_rollback=True):
        connection.execute("insert into deleg.origins (space, prefix, pool) values (0, '10.0.0.0/24', 1)")
        connection.execute(
            "insert into deleg.blocks (space, prefix, origin, pool, state) values (0, '10.0.0.0/24', '10.0.0.0/24', 1, 'free')"
        )
        for operations in MESSAGES.values():
            connection.execute(QUERIES["apply"], {"batch": batch_to_array(operations)})
    connection.execute("select setval(pg_get_serial_sequence('deleg.pools', 'pool'), 1)")  # sequences know no rollback


def _fill(database: Database, statistics: str) -> None:
    """20,000 blocks of /24 in two pools among 4,000 lessees, a fifth of them free, some due, and 2,000 asked back."""
    database.sql("insert into deleg.pools (space, name) values (0, 'even'), (0, 'odd')")
    database.sql("insert into deleg.origins (space, prefix, pool) values (0, '10.0.0.0/10', 2), (0, '10.64.0.0/10', 3)")
    database.sql("insert into deleg.lessees (space, identity, address, port, relayed, hardware, nonce)"
                 " select 0, decode(lpad(to_hex(n), 14, '0'), 'hex'), '10.0.0.200', 67, true, '\\x01020000000001', '\\x00112233445566778899aabbccddeeff'"
                 " from generate_series(1, 4000) as n")  # fmt: skip
    database.sql(
        "insert into deleg.blocks (space, prefix, origin, pool, state, hierarchical, lessee, xid, slot, lease_time, server, renewed,"
        " expires) select 0, set_masklen(lower + (n / 2) * 256::bigint, 24)::cidr, set_masklen(lower, 10)::cidr, 2 + n % 2,"
        "        state::deleg.block_state, case when held then true end, case when held then lessee end, case when held then n end,"
        "        case when held then 0 end, case when held then 86400 end, case when held then '10.0.0.1'::inet end,"
        "        now() - interval '1 hour', case when held then now() + make_interval(secs => n - 40) end"
        "   from (select n, n % 5 > 0 as held, case when n % 5 = 0 then 'free' else 'leased' end as state,"
        "                case when n % 2 = 0 then '10.0.0.0'::inet else '10.64.0.0'::inet end as lower,"
        "                (select lessee from deleg.lessees where identity = '\\x00000000000001') + n % 4000 as lessee from generate_series(0, 19999) as n) as x"
    )
    database.sql("insert into deleg.usage (space, prefix, lessee, in_use)"
                 " select space, prefix, lessee, 7 from deleg.blocks where lessee is not null")  # fmt: skip
    database.sql("insert into deleg.takebacks (space, prefix, reason, server, next_at)"
                 " select space, prefix, 'shortage', server, now() + make_interval(secs => slot + row_number() over () - 10)"
                 " from deleg.blocks where lessee is not null limit 2000")  # fmt: skip
    if statistics == "analyzed":
        analyze(database)


def _fill_own(database: Database, statistics: str) -> None:
    """100 origins of /20 leased from upstream, each with 8 leased and 4 local blocks of /24, and what else there is of it free."""
    database.sql(
        "insert into deleg.origins (space, prefix, pool, kind, upstream, lease_time, renew_at, rebind_at, next_try, expires)"
        " select 0, set_masklen('172.16.0.0'::inet + n * 4096::bigint, 20)::cidr, 1, 'upstream', '192.0.2.1', 3600, now(), 'infinity',"
        "        case when n < 10 then now() else now() + interval '1 hour' end,"
        "        case when n = 99 then now() else 'infinity' end from generate_series(0, 99) as n"
    )
    database.sql(
        "insert into deleg.blocks (space, prefix, origin, pool, state, hierarchical, lessee, xid, slot, lease_time, server, expires, network)"
        " select 0, set_masklen(o.prefix::inet + n * 256::bigint, 24)::cidr, o.prefix, 1, state::deleg.block_state,"
        "        case when state = 'leased' then true end, case when state = 'leased' then n + (select min(lessee) from deleg.lessees) end,"
        "        case when state = 'leased' then o.prefix::inet - '0.0.0.0'::inet end, case when state = 'leased' then 0 end,"
        "        case when state = 'leased' then 3600 end, case when state = 'leased' then '10.0.0.1'::inet end,"
        "        case when state <> 'free' then now() + interval '1 hour' end,"
        "        case when state = 'local' then 'network ' || n end"
        "   from deleg.origins o, (select n, case when n < 8 then 'leased' when n < 12 then 'local' else 'free' end as state"
        "                            from generate_series(0, 15) as n) as b where o.kind = 'upstream'"
    )
    database.sql(
        "insert into deleg.usage (space, prefix, in_use) select space, prefix, 7 from deleg.blocks where network is not null"
    )
    database.sql("insert into deleg.usage_days (space, prefix, day, in_use_first, in_use_last, most)"
                 " select space, prefix, current_date - n, 1, 2, 3 from deleg.blocks, generate_series(0, 1) as n")  # fmt: skip
    if statistics == "analyzed":
        analyze(database)


def _outdate(database: Database) -> None:
    """Have PostgreSQL believe that pages are nearly empty, as they were when it last looked, and that what is mostly empty is."""
    analyze(database)
    database.sql(FORGET)
    database.sql("update pg_class set reltuples = case when relname = any (%s) then 0 else reltuples / 30 end"
                 " where relnamespace = 'deleg'::regnamespace and relname = any (%s)", ["takebacks", "origins"], list(LARGE))  # fmt: skip


def analyze(database: Database) -> None:
    for table in (*LARGE, "pools"):
        database.sql(psycopg.sql.SQL("analyze deleg.{}").format(psycopg.sql.Identifier(table)).as_string(None))


def whole_reads(plans: list[str], tables: Sequence[str] = LARGE) -> list[str]:
    """Return the plans in which a large table, or a partition of it, is read from its beginning to its end."""
    return [plan for plan in plans if re.search(rf"Seq Scan on (deleg\.)?({'|'.join(tables)})(_\w+)?\b", plan)]


_SCAN = re.compile(rf"Scan .*\bon (?:deleg\.)?(?:{'|'.join(LARGE)})(?:_\w+)?\b.*actual rows=([\d.]+) loops=(\d+)")
_REMOVED = re.compile(r"Rows Removed by \w[\w ]*: (\d+)")


def rows_read(plans: list[str]) -> int:
    """Return how many rows of large tables a query looked at, with all within it, those among them that it had no use for."""
    read = 0.0
    for plan in plans:
        loops = 0
        for line in plan.splitlines():
            if "->" in line or "Scan" in line:
                found = _SCAN.search(line)
                loops = int(found[2]) if found else 0
                read += float(found[1]) * loops if found else 0
            elif removed := _REMOVED.search(line):
                read += int(removed[1]) * loops
    return round(read)


HOLDER = Client((2).to_bytes(7, "big"))  # the second lessee: it holds blocks n = 1, 4001, ...
HELD = ("10.64.0.0/24", "10.71.208.0/24")
OTHER = Client((3).to_bytes(7, "big"))  # the third: 10.0.1.0/24 is its
MESSAGES: dict[str, tuple[Operation, ...]] = {
    "offer": (Client.number(9).offer(1, 24, 26, 28),),
    "offer of a smaller block": (Client.number(9).offer(1, 16, 20),),
    "offer to who holds some": (HOLDER.offer(1, 24, 26),),
    "offer of a named block": (Client.number(9).offer(1, 24, named="10.0.10.64/26"),),
    "offer within limits": (
        HOLDER.offer(1, 24, max_blocks=100, max_addresses=100000),
        HOLDER.offer(2, 24, max_blocks=1),
    ),
    "nothing left": (Client.number(9).offer(1, 8, longest=8), HOLDER.offer(2, 8, longest=8)),
    "offer again": (Client.number(9).offer(1, 24), Client.number(9).offer(1, 24)),
    "accept, leaving one out": (Client.number(9).offer(1, 24, 24), Client.number(9).accept(1, "10.0.0.0/24")),
    "reclaim": (Client.number(9).offer(1, 26), Client.number(9).reclaim(1)),
    "renew": (HOLDER.renew(*HELD, usage=(9, 8, 7)),),
    "refuse": (HOLDER.renew(*HELD, verdict="refuse"),),
    "release": (HOLDER.release(*HELD, named=None),),
    "note": (Note(0, HOLDER.identity, 1, "refused", "test"), Note(0, b"nobody", 1, "refused", "test")),
    "offers together": (Client.number(9).offer(1, 24), Client.number(10).offer(1, 24), HOLDER.offer(1, 24)),
    "accepts together": (HOLDER.accept(1, HELD[0]), replace(OTHER.accept(2, "10.0.1.0/24"), held=True)),
    "renewals together": (HOLDER.renew(HELD[0], usage=(9, 8, 7)), OTHER.renew("10.0.1.0/24", usage=(9, 8, 7))),
    "list": (HOLDER.listing(), HOLDER.listing(after=HELD[0], limit=1)),
}


@HOWEVER
def test_the_clients_messages(plans: Plans) -> None:
    for name, operations in MESSAGES.items():
        for _ in range(7):  # from the sixth call on, PL/pgSQL may keep a generic plan
            found = plans("apply", batch=batch_to_array(operations))
            assert len(found) > 3, name
            assert whole_reads(found) == [], name
            assert rows_read(found) < 200, name


@HOWEVER
def test_what_was_offered_is_accepted(plans: Plans, database: Database) -> None:
    clients = [Client.number(9), Client.number(10)]
    offers = batch_to_array([client.offer(1, 24) for client in clients])
    ((outcomes,),) = database.connect().execute(QUERIES["apply"], {"batch": offers})
    blocks = [IPv4Network(tuple(outcome["blocks"][0][:2])) for outcome in outcomes]
    accepts = batch_to_array(
        # As by a policy that looks at what the client holds then.
        [replace(client.accept(1, str(block)), held=True) for client, block in zip(clients, blocks, strict=True)]
    )
    for _ in range(7):
        found = plans("apply", batch=accepts)
        assert any("_accept_many" in plan for plan in found)
        assert whole_reads(found) == []
        assert rows_read(found) < 200


TIMERS: dict[str, dict[str, object]] = {
    "sweep": {"limit": 100, "quarantine": 60},
    "takeback_due": {
        "own": ["10.0.0.1"],
        "keyed": [],
        "unauthenticated": False,
        "limit": 50,
        "attempts": 5,
        "delay": 4.0,
    },
    "takeback_least_used": {"space": 0, "pools": [2, 3], "addresses": 5000, "limit": 50, "grace": 60},
    "holdings": {"spaces": [0] * 64, "identities": [n.to_bytes(7, "big") for n in range(64)]},
}


@NOTHING_KNOWN
def test_the_sweep(plans: Plans) -> None:
    for _ in range(7):
        found = plans("sweep", **TIMERS["sweep"])
        assert len(found) > 20
        assert whole_reads(found) == []
        assert rows_read(found) < 100 * 100


@pytest.mark.parametrize("ended", ["renewed", "ended"])
def test_a_sweep_reads_no_more_where_thousands_are_due(plans: Plans, database: Database, ended: str) -> None:
    """16,000 leases were due: all of them were renewed since, or all have ended."""
    later = "1 hour" if ended == "renewed" else "-1 second"
    database.sql("update deleg.blocks set due = now() - interval '1 second', expires = now() + %s::interval"
                 " where state = 'leased'", later)  # fmt: skip
    for _ in range(7):
        found = plans("sweep", limit=10, quarantine=60)
        assert whole_reads(found) == []
        assert rows_read(found) < 10 * 30


@pytest.mark.parametrize("reserve", [0, 1000])
def test_a_reserve(plans: Plans, database: Database, reserve: int) -> None:
    database.sql("update deleg.pools set reserve = %s", reserve)
    for _ in range(7):
        found = plans("apply", batch=batch_to_array([Client.number(9).offer(1, 24, 26)]))
        assert whole_reads(found) == []


@NOTHING_KNOWN
def test_takeback(plans: Plans) -> None:
    for _ in range(7):
        found = plans("takeback_due", **TIMERS["takeback_due"])
        assert len(found) > 20
        assert whole_reads(found) == []
        assert rows_read(found) < 10 * 50  # ten are due
        found = plans("takeback_least_used", **TIMERS["takeback_least_used"])
        assert len(found) > 1
        assert whole_reads(found) == []
        assert rows_read(found) < 3 * 2000  # a sample of 2000 of 20000


@NOTHING_KNOWN
def test_what_others_are_to_ask_back_is_not_read(plans: Plans, database: Database, statistics: str) -> None:
    """2,000 are due, of a server that is at it."""
    database.sql("update deleg.takebacks set next_at = now()")
    if statistics == "analyzed":
        analyze(database)
    database.ledger().server_seen(SERVER, "one", "0")
    for _ in range(7):
        assert rows_read(plans("takeback_due", **TIMERS["takeback_due"] | {"own": ["10.0.0.2"]})) < 10
        assert rows_read(plans("takeback_due", **TIMERS["takeback_due"])) < 10 * 50


def test_renewals_after_thousands_were_asked_back_at_once(plans: Plans, database: Database) -> None:
    """PostgreSQL saw the table when nobody was asked for anything, as nearly always."""
    database.sql("create temporary table asked as select * from deleg.takebacks")
    database.sql("truncate deleg.takebacks")
    database.sql("vacuum analyze deleg.takebacks")
    renewals = batch_to_array(MESSAGES["renewals together"])
    found = plans("apply", batch=renewals)
    database.sql("insert into deleg.takebacks select * from asked")
    for _ in range(7):
        assert any("_renew_many" in plan for plan in found)
        assert rows_read(found) < 100
        found = plans("apply", batch=renewals)


BLOCKS = ["172.16.8.0/24", "172.16.9.0/24", "172.16.24.0/24", "10.0.0.0/24"]
ORIGINS = ["172.16.16.0/20", "172.16.32.0/20", "172.23.16.0/20"]
ROWS_READ = 3000
OWN: dict[str, dict[str, object]] = {
    "upstream_acknowledged": {
        "space": 0, "server": "192.0.2.1", "lease_time": 100, "t1": 60, "t2": 80, "prefixes": ORIGINS,
        "deprecated": [False, True, False], "nonce": bytes(16), "renewal": True, "host_lease_time": 600,
    },
    "upstream_refused": {"space": 0, "server": "192.0.2.1", "prefixes": ORIGINS, "quarantine": 60},
    "upstream_due": {"limit": 5},
    "upstream_give_back": {"after": 0.0, "limit": 10},
    "upstream_due_in": {"after": 60.0},
    "upstream_released": {"space": 0, "prefix": IPv4Network("172.16.16.0/20")},
    "upstream_listed": {
        "space": 0, "server": "192.0.2.1", "lease_time": 100, "prefixes": ORIGINS, "deprecated": [False, True, False],
    },
    "network_served": {"networks": ["network 8", "network 9"]},
    "network_take": {"network": "network 8", "pool": None, "lengths": [26, 24], "open_blocks": 100, "shortest": 60},
    "network_drain": {"prefixes": BLOCKS, "reason": "test"},
    "network_reopen": {"prefixes": BLOCKS},
    "network_end": {"prefixes": BLOCKS, "quarantine": 60, "reason": "test"},
    "network_abandon": {"network": "network 8", "block": None, "longest": 60},
    "network_measured": {"prefixes": BLOCKS, "in_use": [1, 2, 3, 4], "peak": [1, 2, 3, 4], "unusable": [0, 0, 0, 0]},
}  # fmt: skip


@NOTHING_KNOWN
@pytest.mark.parametrize("query", OWN)
def test_what_the_agent_asks(plans: Plans, database: Database, statistics: str, query: str) -> None:
    """And operators, of networks. Of the origins, too, only those in question are read; except to look for what is wholly free, which is along an index."""
    _fill_own(database, statistics)
    if query == "network_reopen":
        database.sql("update deleg.blocks set draining = true where state = 'local'")
    if query == "network_abandon":
        database.sql("update deleg.usage set reported = now() - interval '1 hour'")
    for _ in range(7):
        found = plans(query, **OWN[query])
        assert len(found) > 1
        assert whole_reads(found) == []
        assert rows_read(found) < ROWS_READ


@NOTHING_KNOWN
def test_a_refusal_takes_no_statement_more_for_what_is_leased(
    plans: Plans, database: Database, statistics: str
) -> None:
    """It comes at once, whatever there is."""
    _fill_own(database, statistics)
    refusal = OWN["upstream_refused"] | {"prefixes": ORIGINS[:1]}
    much = len(plans("upstream_refused", **refusal))
    database.sql(
        "delete from deleg.blocks where origin = %s and (state <> 'leased' or prefix > '172.16.17.0/24')",
        IPv4Network(ORIGINS[0]),
    )
    assert 0 < much <= len(plans("upstream_refused", **refusal)) + 3


@NOTHING_KNOWN
@pytest.mark.parametrize("query", ["upstream_acknowledged", "upstream_listed"])
def test_what_is_withheld_once_more_is_looked_up(plans: Plans, database: Database, statistics: str, query: str) -> None:
    """Of a restored ledger, the blocks of the origins that had ended are read, and no others."""
    _fill_own(database, statistics)
    database.sql("update deleg.domain set restored_until = now() + interval '7 days'")
    database.sql(
        "update deleg.origins set expires = now() - interval '1 second' where prefix = any (%s::cidr[])", ORIGINS
    )
    for _ in range(7):
        found = plans(query, **OWN[query])
        assert any("_withhold" in plan for plan in found)
        assert whole_reads(found) == []
        assert rows_read(found) < ROWS_READ


def test_offers_of_who_leases_to_us(plans: Plans, database: Database, statistics: str) -> None:
    _fill_own(database, statistics)
    beside = replace(Client.number(9).offer(1, 24, 26, 20), contact=CONTACT._replace(address=0xC0000201))
    for _ in range(7):
        found = plans("apply", batch=batch_to_array([beside]))
        assert len(found) > 3
        assert whole_reads(found) == []


@NOTHING_KNOWN
def test_the_figures_of_an_origin_are_its_own(plans: Plans, database: Database, statistics: str) -> None:
    """Its blocks are read, not those of the others."""
    _fill_own(database, statistics)
    for query in ("upstream_due", "network_measured"):
        for _ in range(3):
            found = plans(query, **OWN[query])
        assert 0 < buffers(found) < 1500, query


@NOTHING_KNOWN
def test_what_those_who_ask_hold(plans: Plans) -> None:
    for _ in range(7):
        found = plans("holdings", **TIMERS["holdings"])
        assert found
        assert whole_reads(found) == []
        assert 0 < rows_read(found) < 64 * 50


QUIET: dict[str, int] = {
    "totals": 1000,
    "free_by_length": 1000,
    "directory": 1000,
    "keep_tallies": 1000,
    "due_in": 10,
    "keep_days": 4 * 1000,
    "keep_events": 100,
}
"""What servers ask the clock for, without parameters: how many rows of large tables it may read."""


@NOTHING_KNOWN
@pytest.mark.parametrize("query", QUIET)
def test_what_the_timers_ask(plans: Plans, query: str) -> None:
    for _ in range(7):
        found = plans(query)
        assert whole_reads(found, LARGEST) == []
        assert rows_read(found) <= QUIET[query]


FORGETTING = """
    do $$ declare v_first text := (select part from deleg._event_parts() order by ends limit 1);
    begin
        execute format('alter table deleg.events detach partition deleg.%%I', v_first);
        execute format('alter table deleg.%%I rename to dropped_before', v_first);
        insert into deleg.progress (what, pages) values ('lessees', 0);
        for n in 1..7 loop
            perform deleg.keep_events();
        end loop;
    end $$
"""


@NOTHING_KNOWN
def test_who_is_named_by_nothing(plans: Plans, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 300 lessees; of each its own rows are read."""
    monkeypatch.setitem(QUERIES, "forgetting", FORGETTING)
    database.sql("update deleg.lessees set named = '2000-01-01'")
    database.sql("update deleg.blocks set due = expires, expires = 'infinity' where state = 'leased'")
    found = plans("forgetting")
    assert whole_reads(found, LARGEST) == []
    assert 7 * 300 < rows_read(found) <= 7 * 300 * 5


OPERATORS: dict[str, dict[str, object]] = {
    "lease_deprecate": {"space": "default", "prefix": IPv4Network(HELD[0])},
    "lease_takeback": {"space": "default", "prefix": IPv4Network(HELD[0])},
    "lease_keep": {"space": "default", "prefix": IPv4Network(HELD[0])},
    "history": {"prefix": IPv4Network(HELD[0]), "covering": False},
    "covering": {"prefix": IPv4Network("10.64.0.77/32"), "covering": True},
    "report": {"prefix": IPv4Network(HELD[0])},
}
ASKED = {
    "history": "select * from deleg.history(0, %(prefix)s, %(covering)s)",
    "covering": "select * from deleg.history(0, %(prefix)s, %(covering)s)",
    "report": "select * from report.subnets where space = 'default' and subnet = %(prefix)s",
}


@pytest.mark.parametrize("query", OPERATORS)
def test_what_operators_ask_about_one_prefix(plans: Plans, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUERIES, query, ASKED.get(query) or QUERIES[query])
    for _ in range(7):
        found = plans(query, **OPERATORS[query])
        assert whole_reads(found, LARGEST) == []
        assert len(found) > 0


def test_a_whole_read_would_be_seen(plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUERIES, "x", "select count(*) from deleg.blocks where state <> %(state)s")
    found = plans("x", state="quarantined")
    assert len(whole_reads(found)) == 1
    assert rows_read(found) == 20000


# ------------------------------------------------------------------------------------------------ 10^5 free blocks


def buffers(plans: list[str]) -> int:
    """Return the pages that a query touched, with all within it: the last plan is that of the query itself."""
    return max(int(n) for plan in plans[-1:] for n in re.findall(r"Buffers: shared hit=(\d+)", plan))


def _fill_free(database: Database, blocks: int) -> None:
    """So many free blocks of /28 in each of two pools, one of which keeps a reserve. Buddies among them are not merged, which makes no difference here."""
    database.empty()
    connection = database.connect()
    connection.execute("set session_replication_role = replica")  # no events: they would take the most time
    connection.execute("insert into deleg.pools (space, name) values (0, 'free')")
    connection.execute("insert into deleg.pools (space, name, reserve) values (0, 'reserved', 1000)")
    connection.execute(
        "insert into deleg.origins (space, prefix, pool) values (0, '10.0.0.0/8', 2), (0, '11.0.0.0/8', 3)"
    )
    connection.execute(
        "insert into deleg.blocks (space, prefix, origin, pool, state)"
        " select 0, set_masklen(lower + n * 16::bigint, 28)::cidr, set_masklen(lower, 8)::cidr, pool, 'free'"
        " from generate_series(0, %s) as n, (values ('10.0.0.0'::inet, 2), ('11.0.0.0'::inet, 3)) as p (lower, pool)",
        (blocks - 1,),
    )
    connection.execute("vacuum analyze deleg.blocks")
    connection.close()
    analyze(database)


def test_a_decision_touches_no_more_of_a_pool_of_100000_free_blocks(plans: Plans, database: Database) -> None:
    """As many pages as with 1,000, but for the levels of the indexes."""
    holder = Client.number(7)
    messages = {
        "new": (Client.number(9).offer(1, 28, 29, 30),),
        "larger than any": (Client.number(9).offer(1, 20),),
        "beside a reserve": (Client.number(9).offer(1, 28, pools=(3,)),),
        "named": (Client.number(9).offer(1, 28, named="10.0.3.16/28"),),
        "of the same origin": (holder.offer(1, 28), holder.offer(2, 28)),
        "and leased": (holder.offer(1, 28), holder.accept(1, "10.0.0.0/28")),
    }
    touched: dict[int, dict[str, int]] = {}
    for blocks in (1000, 100000):
        _fill_free(database, blocks)
        touched[blocks] = {}
        for name, operations in messages.items():
            for _ in range(3):  # the first call also reads the catalogues
                found = plans("apply", batch=batch_to_array(operations))
            touched[blocks][name] = buffers(found)
            assert whole_reads(found) == []
    for name in messages:
        assert touched[100000][name] < 1.5 * touched[1000][name] + 40, touched
