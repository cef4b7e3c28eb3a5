# SPDX-License-Identifier: MPL-2.0
"""Ordinary DHCP is none of the hook's business: the same octets with it and without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from tests.client.codec import Code, Message, Type, decode
from tests.client.rfc6656 import Identity
from tests.kea.conftest import MakeSite
from tests.kea.ordinary import Host
from tests.kea.site import Site

SETTINGS: dict[str, Any] = {
    "option-data": [
        {"name": "domain-name-servers", "data": "192.0.2.53"},
        {"name": "domain-name", "data": "example.org"},
    ],
    "renew-timer": 200,
    "rebind-timer": 400,
    "host-reservation-identifiers": ["hw-address"],
}
HOSTS = (
    Identity.number(1),
    replace(Identity.number(2), identifier=None),
    replace(Identity.number(3), relay_information=b"\x01\x04port\x02\x03sw1"),
)
ELSEWHERE = IPv4Address("192.0.2.7")


def answers(site: Site) -> Iterator[tuple[str, bytes | None]]:
    """What one server answers to a life of ordinary messages, in order."""
    for identity in HOSTS:
        host = Host(site.endpoint, site.servers[0], identity)

        def ask(name: str, query: Message, host: Host = host) -> tuple[str, bytes | None]:
            silent = query.type in (Type.RELEASE, Type.DECLINE)
            return f"{name} of {host.identity}", host.ask(query, (0.1,) if silent else (2.0, 2.0))

        relay = [] if identity.relay_information is None else [(Code.RELAY_INFORMATION, identity.relay_information)]
        discovered = ask("DISCOVER", host.message(Type.DISCOVER, *relay))
        yield discovered
        address = decode(discovered[1] or b"").yiaddr
        wanted, named = (Code.REQUESTED_ADDRESS, address.packed), (Code.SERVER_IDENTIFIER, site.servers[0].packed)
        yield ask("REQUEST", host.message(Type.REQUEST, wanted, named, *relay))
        yield ask("renewal", host.message(Type.REQUEST, *relay, ciaddr=address))
        yield ask("REBOOT elsewhere", host.message(Type.REQUEST, (Code.REQUESTED_ADDRESS, ELSEWHERE.packed), *relay))
        yield ask("RELEASE", host.message(Type.RELEASE, named, *relay, ciaddr=address))
        yield ask("DISCOVER again", host.message(Type.DISCOVER, *relay))


def test_the_same_octets_with_and_without_the_hook(make_site: MakeSite) -> None:
    hooked = make_site("single", kea=SETTINGS, parameters={"count-leases": True})
    bare = make_site("single", kea={**SETTINGS, "hooks-libraries": []})
    before = hooked.counters()
    with_hook, without = list(answers(hooked)), list(answers(bare))
    assert with_hook == without
    kinds = [decode(data).type.name for _, data in with_hook if data is not None]
    assert kinds == ["OFFER", "ACK", "ACK", "NAK", "OFFER"] * len(HOSTS)
    # None of it reached Python: the lease callouts counted, and nothing else did.
    after = hooked.counters()
    changed = {name for name, count in after.items() if count != before[name]}
    assert changed == {"leases-committed", "leases-released"}
    assert after["leases-released"] == len(HOSTS)
    assert hooked.lab.sql("select count(*) from deleg.lessees").strip() == "0"
