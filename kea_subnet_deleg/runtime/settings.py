# SPDX-License-Identifier: MPL-2.0
"""The parameters of one server, checked: what the hook is given, as values."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kea_subnet_deleg.policy.growth import NetworkTerms
from kea_subnet_deleg.roles.admission import Admission
from kea_subnet_deleg.roles.authentication import AuthenticationKey
from kea_subnet_deleg.roles.requesting import Upstream
from kea_subnet_deleg.runtime.parameter import BadSettings, check_order, shown
from kea_subnet_deleg.runtime.parameters import PARAMETERS

__all__ = ["BadSettings", "Settings"]

CLIENTS_T1, CLIENTS_T2 = 0.5, 0.875
"""T1 and T2 as a client has them by itself, as shares of the lease time (RFC 2131 section 4.4.5)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters of one server, checked. Times in seconds, sizes as prefix lengths."""

    dsn: str
    server_name: str | None
    policy: str
    scarce_below: float
    critical_below: float
    ample_above: float
    heavy_above: float
    hierarchical: str
    lease_time: int
    min_lease_time: int
    max_lease_time: int
    t1_percent: float | None
    t2_percent: float | None
    suggested_host_lease_time: int | None
    offer_time: int
    quarantine_time: int
    default_prefix_length: int
    min_prefix_length: int
    max_prefix_length: int
    max_blocks_per_lessee: int | None
    max_addresses_per_lessee: int | None
    max_requests_per_second: float | None
    allow: tuple[Admission, ...]
    auth_keys: tuple[AuthenticationKey, ...]
    upstreams: tuple[Upstream, ...]
    upstream_lease_time: int | None
    offer_wait: float
    release_after: float
    request_prefix_length: int | None
    networks: tuple[NetworkTerms, ...]
    serve_reserved: str
    kept_addresses: int
    takeback_on_shortage: bool
    takeback_attempts: int
    takeback_delay: float
    takeback_grace: int
    send_unauthenticated_forcerenew: bool
    batch_size: int
    workers: int
    queue_size: int
    statement_timeout: float
    max_reconnect_delay: float
    sweep_interval: float
    view_interval: float
    count_leases: bool
    respect_drops: bool | None
    python_path: str | None

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read the JSON text of the hook's `parameters`. Raises BadSettings."""
        try:
            given = json.loads(text)
        except ValueError as error:
            raise BadSettings(f"parameters: not JSON: {error}") from None
        if not isinstance(given, dict):
            raise BadSettings(f'parameters: {text} is not a map; at least "dsn" is needed')
        values = {key: parameter.default for key, parameter in PARAMETERS.items()}
        for key, value in given.items():
            _check(key, value)
            values[key] = value
        for key, parameter in PARAMETERS.items():
            if parameter.parse is not None:
                values[key] = _parse(key, parameter.parse, values[key])
        for key, parameter in PARAMETERS.items():
            if parameter.required and key not in given:
                raise BadSettings(f"{key}: missing; needed is {parameter.allowed}: {parameter.description}")
        if values["min-lease-time"] is None:
            values["min-lease-time"] = min(60, values["lease-time"])
        if values["max-lease-time"] is None:
            values["max-lease-time"] = max(values["lease-time"], values["min-lease-time"])
        check_order(values, "min-lease-time", "lease-time", "max-lease-time")
        check_order(values, "min-prefix-length", "default-prefix-length", "max-prefix-length")
        check_order(values, "critical-below", "scarce-below", "ample-above")
        _check_distinct("networks", [network.name for network in values["networks"]])
        _check_distinct("auth-keys", [key.client_id for key in values["auth-keys"]])
        _check_distinct("upstreams", [upstream.address or upstream.interface for upstream in values["upstreams"]])
        _check_times(values["t1-percent"], values["t2-percent"])
        return cls(**{key.replace("-", "_"): value for key, value in values.items()})


def _check_times(t1: float | None, t2: float | None) -> None:
    """Raise BadSettings unless T1 is earlier than T2 also for a client that is not told one of them."""
    first, second = t1 or CLIENTS_T1, t2 or CLIENTS_T2
    if first >= second:
        untold = (
            f"; a client that is not told takes {CLIENTS_T1} for T1 and {CLIENTS_T2} for T2"
            if t1 is None or t2 is None
            else ""
        )
        raise BadSettings(f"t2-percent: {second}: must be more than t1-percent, which is {first}{untold}")


def _check(key: str, value: object) -> None:
    parameter = PARAMETERS.get(key)
    if parameter is None:
        raise BadSettings(f"{key}: {shown(value)}: no such parameter; allowed are {', '.join(sorted(PARAMETERS))}")
    text = "(not shown)" if parameter.secret and isinstance(value, str) and value else shown(value)
    if not parameter.accepts(value):
        raise BadSettings(f"{key}: {text}: must be {parameter.allowed}")
    if parameter.check is not None and isinstance(value, str) and (fault := parameter.check(value)):
        raise BadSettings(f"{key}: {text}: {fault}")


def _parse(key: str, parse: Callable[[Any], Any], elements: Sequence[object] | None) -> tuple[Any, ...]:
    values = []
    for number, element in enumerate(elements or ()):
        try:
            values.append(parse(element))
        except ValueError as error:
            raise BadSettings(f"{key}[{number}]: {error}") from None
    return tuple(values)


def _check_distinct(key: str, values: Sequence[object]) -> None:
    for number, value in enumerate(values):
        if value in values[:number]:
            raise BadSettings(f"{key}[{number}]: is there already, as number {values.index(value)}")
