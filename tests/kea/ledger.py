# SPDX-License-Identifier: MPL-2.0
"""What the ledger of a site says of its clients, and a server with other parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Any

from ci.labs import Lab
from ci.labs.server import Server
from tests.client.rfc6656 import Client, Identity
from tests.kea.site import Site
from tests.kea.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Event:
    """A row of deleg.events: its kind, the reason, the numbers of the decision, and when (seconds since 1970)."""

    kind: str
    reason: str
    detail: Any
    prefix: str | None
    at: float


def identity_of(who: Client | Identity) -> str:
    """A client's identity in the ledger, in hexadecimal."""
    identity = who.identity if isinstance(who, Client) else who
    return (identity.identifier or b"\x01" + identity.hardware).hex()


def states(site: Site, client: Client) -> dict[IPv4Network, str]:
    """The state of each block that is or was last a client's."""
    rows = site.lab.sql(
        "select prefix, state from deleg.blocks join deleg.lessees using (lessee) "  # noqa: S608  # hex digits
        f"where identity = '\\x{identity_of(client)}' order by prefix"
    )
    pairs = (line.split("|") for line in rows.splitlines())
    return {IPv4Network(prefix): state for prefix, state in pairs}


def state(site: Site, network: IPv4Network, space: str = "default") -> str:
    """The state of a block; of one that is no block of its own, `free` where it is part of a free one."""
    return site.lab.sql(
        "select state from deleg.blocks join deleg.spaces using (space) "  # noqa: S608  # ours
        f"where name = '{space}' and prefix >>= '{network}' and (prefix = '{network}' or state = 'free')"
    ).strip()


def events(site: Site, who: Client | Identity, *kinds: str) -> list[Event]:
    """The events of a client in order, of some kinds or all."""
    rows = site.lab.sql(
        "select json_build_array(e.kind, e.reason, e.detail, e.prefix, extract(epoch from e.at)) from deleg.events e left join deleg.lessees l using (lessee) "  # noqa: S608
        f"where coalesce(e.identity, l.identity) = '\\x{identity_of(who)}' order by seq"
    )
    found = [Event(*json.loads(line)) for line in rows.splitlines()]
    return [event for event in found if not kinds or event.kind in kinds]


def figures(site: Site) -> None:
    """Wait until every server decides by figures of now: else they are some seconds old, or it reads them when it is asked."""
    figures_of(site.lab)


def figures_of(lab: Lab) -> None:
    """As `figures`, of a lab."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    for server in lab.servers.values():

        def known(server: Server = server) -> bool:
            return (server.command("subnet-deleg-status")["service"]["figures-as-of"] or now + "Z") > now

        wait_until(known, pause=0.1)


def with_parameters(site: Site, **parameters: object) -> None:
    """Have every server of a site load its configuration with these parameters of the hook, None to leave one out."""
    for server in site.lab.servers:
        with_parameters_at(site.lab, server, **parameters)


def with_parameters_at(lab: Lab, name: str, **parameters: object) -> None:
    """As `with_parameters`, one server of a lab."""
    server = lab.servers[name]
    configuration = json.loads(server.config.read_text())
    hook = configuration["Dhcp4"]["hooks-libraries"][0]
    given = {key.replace("_", "-"): value for key, value in parameters.items()}
    merged = {**hook["parameters"], **given}
    hook["parameters"] = {key: value for key, value in merged.items() if value is not None}
    server.write(configuration)
    server.command("config-reload")
    server.wait(lab.process(name))
