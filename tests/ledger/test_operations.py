# SPDX-License-Identifier: MPL-2.0
"""Operations as PostgreSQL reads them: what one says is what deleg.apply() is handed."""

from __future__ import annotations

import enum
import json
from types import MappingProxyType
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kea_subnet_deleg.ledger import (
    Accept,
    Contact,
    Note,
    Offer,
    Operation,
    Release,
    Renew,
    Renewal,
    Result,
    Size,
    Wanted,
)
from kea_subnet_deleg.ledger.operations import MESSAGE_FIELDS, _numbers, batch_to_array
from tests.conftest import Database
from tests.ledger.scene import CONTACT, SERVER, Client, one, prefixes

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
"""What a column of PostgreSQL can hold."""


def read(database: Database, *operations: Operation) -> list[dict[str, Any]]:
    """Return what PostgreSQL reads, without what is null."""
    rows = database.sql(
        "select jsonb_strip_nulls(to_jsonb(m)) from unnest(%s::deleg.message[]) as m", batch_to_array(operations)
    )
    return [row for (row,) in rows]


NUMBERS = st.dictionaries(
    st.text(max_size=9),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=3,
    ),
    max_size=6,
)


@given(NUMBERS)
def test_the_numbers_of_a_decision_are_json(numbers: dict[str, Any]) -> None:
    """As the library writes them; and a policy of somebody else's may use what is like a number, or a mapping."""
    assert _numbers(numbers) == json.dumps(numbers, separators=(",", ":"))
    assert json.loads(_numbers(MappingProxyType({"port": Port.SERVER, "more": MappingProxyType({})}))) == {
        "port": 67,
        "more": {},
    }


class Port(enum.IntEnum):
    SERVER = 67


def test_the_fields_are_those_of_the_type(database: Database) -> None:
    found = database.sql(
        "select attname::text from pg_attribute a join pg_type t on t.typrelid = a.attrelid"
        " where t.oid = 'deleg.message'::regtype and not attisdropped order by attnum"
    )
    assert tuple(name for (name,) in found) == MESSAGE_FIELDS


def test_each_kind(database: Database) -> None:
    client = Client.number(1, space=3, nonce=bytes(range(16)))
    contact = {
        "address": "10.0.0.200",
        "port": 67,
        "relayed": True,
        "hardware": client.identity.hex(),
        "nonce": bytes(range(16)).hex(),
    }
    common = {"space": 3, "identity": client.identity.hex()}
    answered = {**common, "server": "10.0.0.1", "contact": contact}
    offer = client.offer(
        7, 24, 26, asked=60, max_blocks=4, max_addresses=5, named="10.0.0.0/24", push=True, pools=(1, 2)
    )
    assert read(
        database,
        offer,
        client.offer(7, 24, pools=()),
        client.accept(7, "10.0.0.0/24", "10.1.0.0/26", more=True),
        client.renew("10.0.0.0/24", usage=(1, None, 3), asked=9),
        client.release("10.0.0.0/24", "10.1.0.0/26", named=SERVER),
        client.release("10.0.0.0/24"),
        client.reclaim(7),
        client.listing(),
        client.listing(after="10.0.0.0/24", limit=3),
        Note(3, client.identity, 7, "refused", "because", {"n": 1, "x": 0.5}),
        Note(3, client.identity, 7, "refused", "because"),
    ) == [
        {**answered, "op": "offer", "xid": 7, "lease_time": 86400, "asked": 60, "hold": 60, "pools": [1, 2], "max_blocks": 4,
         "max_addresses": 5, "shortest": 1,
         "sizes": [[0, 24, 30, True, "test", {"push": "yes"}, "10.0.0.0/24"], [1, 26, 30, True, "test", {"push": "yes"}, None]]},
        {**answered, "op": "offer", "xid": 7, "lease_time": 86400, "hold": 60, "pools": [], "shortest": 1,
         "sizes": [[0, 24, 30, True, "test", None, None]]},
        {**answered, "op": "accept", "xid": 7, "held": True, "blocks": [["10.0.0.0/24", True, True], ["10.1.0.0/26", True, True]]},
        {**answered, "op": "renew", "xid": 0, "lease_time": 86400, "quarantine": 60, "through": False,
         "blocks": [["10.0.0.0/24", "full", 9, 1, None, 3, "test", None]]},
        {**common, "op": "release", "xid": 0, "quarantine": 60, "named": "10.0.0.1", "blocks": ["10.0.0.0/24", "10.1.0.0/26"]},
        {**common, "op": "release", "xid": 0, "quarantine": 60, "blocks": ["10.0.0.0/24"]},
        {**common, "op": "reclaim", "xid": 7, "named": "10.0.0.254"},
        {**common, "op": "list", "xid": 0, "limit": 100},
        {**common, "op": "list", "xid": 0, "after": "10.0.0.0/24", "limit": 3},
        {**common, "op": "note", "xid": 7, "kind": "refused", "reason": "because", "detail": {"n": 1, "x": 0.5}},
        {**common, "op": "note", "xid": 7, "kind": "refused", "reason": "because"},
    ]  # fmt: skip


def test_what_was_altered_names_nothing(database: Database) -> None:
    accept = Accept(0, b"\1", 1, SERVER, CONTACT, (Wanted(0, 8, True, False),), altered=True, held=False)
    (found,) = read(database, accept)
    assert (found["blocks"], found["held"]) == ([], False)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXT, min_size=2, max_size=3), identity=st.binary(min_size=1, max_size=255))
def test_whatever_is_in_a_text(database: Database, texts: list[str], identity: bytes) -> None:
    kind, reason, name = texts[0], texts[-1], texts[-1]
    contact = Contact(1, 0, False, identity[:17])
    operations = (
        Note(0, identity, 1, kind, reason, {name: reason}),
        Offer(
            0, identity, 1, 2, contact, 3, None, 4, (1,), None, None, (Size(0, 24, 26, False, reason, {name: kind}),)
        ),
        Renew(0, identity, 1, 2, contact, 3, 4, (Renewal("10.0.0.0/8", "full", None, 1, 2, 3, reason, {name: kind}),)),
        Release(0, identity, 1, None, 4, ()),
    )
    note, offer, renew, release = read(database, *operations)
    assert (note["kind"], note["reason"], note["detail"]) == (kind, reason, {name: reason})
    assert offer["sizes"] == [[0, 24, 26, False, reason, {name: kind}, None]]
    assert renew["blocks"] == [["10.0.0.0/8", "full", None, 1, 2, 3, reason, {name: kind}]]
    assert release["blocks"] == []
    assert all(bytes.fromhex(found["identity"]) == identity for found in (note, offer, renew, release))
    assert offer["contact"] == {"address": "0.0.0.1", "port": 0, "relayed": False, "hardware": identity[:17].hex()}


def test_what_is_leased_to_it_already_is_not_refused_for_the_rest(database: Database) -> None:
    """A REQUEST comes again, and names more than before: what it left out is no longer its own. A NAK would have it give up all."""
    database.pool("10.64.0.0/24")
    ledger, client = database.ledger(), Client.number(1)
    offered = prefixes(one(ledger, client.offer(1, 26, 26, 26)))
    assert prefixes(one(ledger, client.accept(1, *offered[:2]))) == offered[:2]
    again = one(ledger, client.accept(1, *offered))
    assert (again.result, prefixes(again)) == (Result.ACKNOWLEDGED, offered[:2])
    part = one(ledger, client.accept(1, *offered[1:]))
    assert (part.result, prefixes(part)) == (Result.ACKNOWLEDGED, offered[1:2])
    assert one(ledger, client.accept(1, *offered[2:])).result is Result.REFUSED
    assert database.violations() == []
