# SPDX-License-Identifier: MPL-2.0
"""The hook's parameters: one table from which they are read, checked, refused and documented."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kea_subnet_deleg.ledger.ledger import check_dsn

INFINITE: Final = 0xFFFFFFFF
"""The lease time that never ends (RFC 2131 section 3.3)."""


class BadSettings(ValueError):
    """A parameter that can't be used; the text names the key, the value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key of `parameters`. `kind` is a JSON type; `default` None where it is required or derived."""

    kind: str
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    check: Callable[[str], str | None] | None = None

    @property
    def allowed(self) -> str:
        """Return what may stand here, in words."""
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.kind == "string":
            return "a string that is not empty"
        if self.kind == "integer":
            return f"an integer from {self.minimum:.0f} to {self.maximum:.0f}"
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the parameter."""
        schema: dict[str, Any] = {"type": self.kind, "description": self.description}
        if self.choices:
            schema["enum"] = list(self.choices)
        elif self.kind == "string":
            schema["minLength"] = 1
        else:
            schema["minimum"], schema["maximum"] = self.minimum, self.maximum
        if self.default is not None:
            schema["default"] = self.default
        return schema

    def accepts(self, value: object) -> bool:
        """Whether a value from JSON is of the kind and in the range."""
        match self.kind:
            case "string":
                return isinstance(value, str) and value != "" and (not self.choices or value in self.choices)
            case "integer":
                fits = isinstance(value, int) and not isinstance(value, bool)
            case _:
                fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        return fits and self.minimum <= value <= self.maximum  # type: ignore[operator]


PARAMETERS: Final[Mapping[str, Parameter]] = {
    "dsn": Parameter(
        "string",
        None,
        'PostgreSQL connection string of the ledger, e.g. "host=/run/postgresql dbname=deleg user=kea_deleg_hook". Every server '
        "of a domain has the same ledger.",
        required=True,
        check=check_dsn,
    ),
    "server-name": Parameter(
        "string", None, "This server's name in the ledger's list of servers. Default: the host's name."
    ),
    "policy": Parameter("string", "best-fit", "Who gets how much.", choices=("best-fit",)),
    "lease-time": Parameter(
        "integer", 604800, "Seconds a subnet is leased for where the client asks for no time.", 1, INFINITE
    ),
    "min-lease-time": Parameter(
        "integer",
        None,
        "Shortest lease in seconds, whatever the client asks. Default: 60, or lease-time where that is less.",
        1,
        INFINITE,
    ),
    "max-lease-time": Parameter(
        "integer", None, "Longest lease in seconds, whatever the client asks. Default: lease-time.", 1, INFINITE
    ),
    "offer-time": Parameter("integer", 30, "Seconds an offered subnet is held for the client.", 1, 3600),
    "quarantine-time": Parameter(
        "integer",
        60,
        "Seconds a subnet that was released or whose lease ended is held back before it is leased again.",
        0,
        31536000,
    ),
    "default-prefix-length": Parameter(
        "integer", 24, "Prefix length of the subnet for a client that leaves the size to the server (prefix 0).", 1, 30
    ),
    "min-prefix-length": Parameter(
        "integer", 1, "Shortest prefix length leased: who asks for a larger subnet is offered one of this size.", 1, 30
    ),
    "max-prefix-length": Parameter(
        "integer",
        30,
        "Longest prefix length leased: where no subnet of the size asked is left, a smaller one is offered, down to this.",
        1,
        30,
    ),
    "batch-size": Parameter("integer", 128, "Most messages handled in one transaction.", 1, 1024),
    "queue-size": Parameter(
        "integer", 4096, "Most messages that wait; what comes when it is full is dropped and counted.", 16, 1048576
    ),
    "statement-timeout": Parameter("number", 5.0, "Seconds after which a database statement is given up.", 0.1, 60),
    "max-reconnect-delay": Parameter(
        "number",
        10.0,
        "Longest pause in seconds between two attempts to reach the ledger; the first is 0.25.",
        0.25,
        300,
    ),
    "sweep-interval": Parameter(
        "number", 1.0, "Seconds between two looks for offers, leases and quarantines that ended.", 0.1, 3600
    ),
    "view-interval": Parameter(
        "number", 5.0, "Seconds between two readings of the totals that policies decide by.", 0.1, 3600
    ),
    "python-path": Parameter(
        "string",
        None,
        "Folder to load the Python package from. Default: found from where the hook library is installed.",
    ),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters of one server, checked. Times in seconds, sizes as prefix lengths."""

    dsn: str
    server_name: str | None
    policy: str
    lease_time: int
    min_lease_time: int
    max_lease_time: int
    offer_time: int
    quarantine_time: int
    default_prefix_length: int
    min_prefix_length: int
    max_prefix_length: int
    batch_size: int
    queue_size: int
    statement_timeout: float
    max_reconnect_delay: float
    sweep_interval: float
    view_interval: float
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
            if parameter.required and key not in given:
                raise BadSettings(f"{key}: missing; needed is {parameter.allowed}: {parameter.description}")
        if values["min-lease-time"] is None:
            values["min-lease-time"] = min(60, values["lease-time"])
        if values["max-lease-time"] is None:
            values["max-lease-time"] = max(values["lease-time"], values["min-lease-time"])
        _check_order(values, "min-lease-time", "lease-time", "max-lease-time")
        _check_order(values, "min-prefix-length", "default-prefix-length", "max-prefix-length")
        return cls(**{key.replace("-", "_"): value for key, value in values.items()})


def _check(key: str, value: object) -> None:
    parameter = PARAMETERS.get(key)
    if parameter is None:
        raise BadSettings(f"{key}: {json.dumps(value)}: no such parameter; allowed are {', '.join(sorted(PARAMETERS))}")
    if not parameter.accepts(value):
        raise BadSettings(f"{key}: {json.dumps(value)}: must be {parameter.allowed}")
    if parameter.check is not None and isinstance(value, str) and (fault := parameter.check(value)):
        raise BadSettings(f"{key}: {json.dumps(value)}: {fault}")


def _check_order(values: Mapping[str, Any], low: str, middle: str, high: str) -> None:
    if not values[low] <= values[middle]:
        raise BadSettings(f"{middle}: {values[middle]}: must not be less than {low}, which is {values[low]}")
    if not values[middle] <= values[high]:
        raise BadSettings(f"{middle}: {values[middle]}: must not be more than {high}, which is {values[high]}")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the hook's `parameters` (kea-config/parameters.schema.json)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Parameters of libdhcp_subnet_deleg.so",
        "type": "object",
        "properties": {key: parameter.schema() for key, parameter in PARAMETERS.items()},
        "required": [key for key, parameter in PARAMETERS.items() if parameter.required],
        "additionalProperties": False,
    }
