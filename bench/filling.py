# SPDX-License-Identifier: MPL-2.0
"""How a ledger is filled for measuring: blocks of three sizes that tile their origins, a tenth as many lessees, figures of use.

Space is filled from 10.0.0.0 on in cells of a /21, all alike: sixteen blocks are leased (eight /26, six /25, two /24), a /24 is free.
Behind the last cell of a /8 its rest is free, in blocks as large as can be. All is inserted as the ledger's own functions would,
triggers included, so that events and whatever is counted come of themselves; only much more at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Final

LEASED: Final = ((26, range(0, 512, 64)), (25, (512, 640, 768, 896, 1536, 1664)), (24, (1024, 1280)))
"""Of a cell: prefix lengths of the blocks that are leased, and where they begin."""
FREE: Final = 1792
"""Where the free /24 begins. The block beside it is leased, so they are not to be merged."""
BLOCKS: Final = sum(len(places) for _, places in LEASED)
"""Leased, of a cell."""
CELL: Final = 21
"""Prefix length."""
CELLS: Final = 1 << CELL - 8
"""Of an origin."""
SHARE: Final = 10
"""Blocks that each lessee holds."""

_LESSEES: Final = """
    insert into deleg.lessees (space, identity, address, port, relayed, hardware)
    select 0, '\\x01'::bytea || substr(int8send(n), 3), '198.51.100.100', 67, true, '\\x01'::bytea || substr(int8send(n), 3)
      from generate_series(1, {lessees}) as n
"""
_EMPTY: Final = "delete from deleg.blocks where origin = '{origin}' and state = 'free'"
# `n` numbers the leased blocks of the whole ledger: neighbours have different lessees, and leases end on different days.
_BLOCKS: Final = """
    insert into deleg.blocks (space, prefix, origin, pool, state, hierarchical, lessee, xid, slot, server, lease_time, since, renewed,
                              expires, due, reason)
    select 0, set_masklen('{origin}'::inet + cell * 2048 + at, length)::cidr, '{origin}', p.pool, 'leased', true,
           l.first + n % {lessees}, n / {lessees}, 0, '198.51.100.1', 604800, now(), now(), ends, ends, 'accepted'
      from generate_series(0, {cells} - 1) as cell
     cross join (values {places}) as places (number, at, length)
     cross join lateral (select ({before} + cell) * {blocks} + number as n) as numbered
     cross join lateral (select now() + interval '1 day' + n % 518400 * interval '1 second' as ends) as ending
     cross join (select pool from deleg.pools where space = 0 and name = 'default') as p
     cross join (select min(lessee) as first from deleg.lessees) as l
"""
_FREE: Final = """
    insert into deleg.blocks (space, prefix, origin, pool, state, reason)
    select 0, prefix, '{origin}', pool, 'free', 'split'
      from (select set_masklen('{origin}'::inet + cell * 2048 + {free}, 24)::cidr as prefix from generate_series(0, {cells} - 1) as cell
            union all select unnest(array[{rest}]::cidr[])) as b
     cross join (select pool from deleg.pools where space = 0 and name = 'default') as p
"""
_USAGE: Final = """
    insert into deleg.usage (space, prefix, lessee, high_water, in_use, unusable)
    select space, prefix, lessee, least(in_use + 3, size), in_use, 0
      from (select *, (1 << 32 - masklen(prefix)) as size,
                   abs(hashtext(prefix::text)) % (1 << 32 - masklen(prefix)) as in_use from deleg.blocks where state = 'leased') as b
"""


def identity_of(number: int) -> bytes:
    """The client identifier of a lessee of a filled ledger, from 1."""
    return b"\1" + number.to_bytes(6, "big")


def fill(execute: Callable[..., str], cells: int) -> int:
    """Fill an empty ledger, of which 10.0.0.0/8 is the one pool, with `cells` cells; return how many blocks are leased then.

    `execute` runs SQL statements in it as the superuser.
    """
    lessees = max(1, cells * BLOCKS // SHARE)
    execute(_LESSEES.format(lessees=lessees))
    places = [(at, length) for length, beginnings in LEASED for at in beginnings]
    for number, before in enumerate(range(0, cells, CELLS)):
        origin, here = f"{10 + number}.0.0.0/8", min(CELLS, cells - before)
        if number:
            execute(f"select deleg.pool_add('default', '{origin}', 'default')")
        values = {
            "origin": origin,
            "cells": here,
            "before": before,
            "blocks": BLOCKS,
            "lessees": lessees,
            "places": ", ".join(f"({n}, {at}, {length})" for n, (at, length) in enumerate(places)),
            "free": FREE,
            "rest": ", ".join(f"'{block}'" for block in rest(10 + number, here)),
        }
        execute(*(statement.format_map(values) for statement in (_EMPTY, _BLOCKS, _FREE)))
    execute(_USAGE, "vacuum (analyze)")
    return cells * BLOCKS


def rest(octet: int, cells: int) -> Iterator[str]:
    """What of a /8 is behind its first `cells` cells, in blocks as large as can be."""
    while cells < CELLS:
        together = cells & -cells  # none larger could begin here
        yield f"{IPv4Address((octet << 24) + (cells << 32 - CELL))}/{CELL + 1 - together.bit_length()}"
        cells += together
