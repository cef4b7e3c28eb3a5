# SPDX-License-Identifier: MPL-2.0
"""From a server's settings to its agent: what it is configured to obtain, and which networks it looks after."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Container, MutableMapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from kea_subnet_deleg.ledger import Ledger
from kea_subnet_deleg.ledger.networks import Networks
from kea_subnet_deleg.ledger.upstreams import Upstreams
from kea_subnet_deleg.roles.addressing import Addressing, ReservedTerms
from kea_subnet_deleg.roles.authentication import ReplayCounter
from kea_subnet_deleg.roles.requesting import Requesting, RequestingTerms
from kea_subnet_deleg.roles.shortages import Shortages
from kea_subnet_deleg.runtime.agent import Agent, Answering, Roles
from kea_subnet_deleg.runtime.bridge import Kea
from kea_subnet_deleg.runtime.connection import Keeper
from kea_subnet_deleg.runtime.journal import KeaJournal
from kea_subnet_deleg.runtime.paths import Listening, Paths, is_local
from kea_subnet_deleg.runtime.settings import Settings


def serves_addresses(settings: Settings) -> bool:
    """Whether this server may lease addresses of blocks of the ledger."""
    return bool(settings.networks) or settings.serve_reserved != "none"


@dataclass(slots=True)
class Domain:
    """What all roles of a server may want to know of its domain. `identity`: its client identifier; None until the ledger was asked."""

    identity: bytes | None = None


def make_agent(
    kea: Kea,
    settings: Settings,
    journal: KeaJournal,
    ledger: Ledger,
    keeper: Keeper,
    answering: Answering,
    shortages: Shortages,
    own: MutableMapping[int, int],
    domain: Domain,
    announce: Callable[[Ledger, int], None],
    refresh: Callable[[Ledger], None],
    lacks: Callable[[tuple[int, ...]], None],
    hurry: Callable[[], None],
    name: str,
) -> Agent:
    """Return the agent of a server, to be run on a thread of its own. Parameters as in `Agent` and `Worker`."""
    upstreams = Upstreams(ledger)
    agent: Agent

    def obtained() -> None:
        agent.obtained()

    def listening() -> tuple[Listening, ...]:
        places = tuple(
            Listening(int(IPv4Address(place["address"])), place["interface"], place["index"])
            for place in kea.ask({"op": "addresses"})["addresses"]
        )
        for place in places:
            if place.address not in own:
                announce(ledger, place.address)
                own[place.address] = place.index
        return places

    paths = Paths(lambda why: journal.warn("SUBNET_DELEG_UPSTREAM_UNREACHABLE", why), listening, time.monotonic)

    def prepare(_: Ledger) -> None:
        domain.identity = upstreams.identity()
        paths.look()

    asking = None
    if settings.upstreams:
        asking = Requesting(
            RequestingTerms(
                settings.upstreams,
                settings.upstream_lease_time,
                settings.offer_wait,
                settings.quarantine_time,
                settings.release_after,
                settings.request_prefix_length,
            ),
            upstreams,
            journal,
            paths.to,
            time.monotonic,
            random.Random(),
            name,
            ReplayCounter(),
            obtained,
        )
    growing = None
    if serves_addresses(settings):
        growing = _addressing(kea, settings, journal, Networks(ledger), _OurAddresses(own))
    agent = Agent(
        kea,
        journal,
        ledger,
        keeper,
        Roles(asking, growing, answering),
        shortages,
        prepare,
        refresh,
        time.monotonic,
        lacks,
        hurry,
    )
    return agent


def served_at_once(kea: Kea, settings: Settings) -> str | None:
    """Return the subnets that Kea has to serve from its first packet on, as the JSON of a `serve` request; None where there are none.

    For when Kea is being configured, with a connection of its own. Raises LedgerError, LedgerUnavailable: then Kea goes on serving
    what it served before, while None would have it withdraw all of that.
    """
    if not serves_addresses(settings):
        return None
    journal = KeaJournal(kea)
    ledger = Ledger(settings.dsn, settings.statement_timeout)
    try:
        ledger.connect(reading=True)
        request: Any = _addressing(kea, settings, journal, Networks(ledger), _OurAddresses()).configured()
    finally:
        ledger.close()
    return json.dumps(request)


def _addressing(kea: Kea, settings: Settings, journal: KeaJournal, store: Networks, own: Container[int]) -> Addressing:
    return Addressing(
        settings.networks,
        ReservedTerms(settings.kept_addresses, settings.serve_reserved),
        store,
        kea,
        journal,
        own,
        time.monotonic,
        settings.quarantine_time,
    )


class _OurAddresses(Container[int]):
    """Our addresses: those that we were heard on, and the machine's others, each asked for.

    What Kea listens on is not known while it is being configured, and it does not listen where a link is down: what is served for a
    router must not go with that.
    """

    def __init__(self, heard: Container[int] = ()) -> None:
        self._heard = heard

    def __contains__(self, address: object) -> bool:
        return address in self._heard or (isinstance(address, int) and is_local(address))
