# SPDX-License-Identifier: MPL-2.0
"""The hook's parameters: one table from which they are read, checked, refused and documented."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, Final

from kea_subnet_deleg.ledger.ledger import check_dsn
from kea_subnet_deleg.roles.admission import Admission
from kea_subnet_deleg.roles.authentication import AuthenticationKey
from kea_subnet_deleg.runtime.policies import policy_fault

INFINITE: Final = 0xFFFFFFFF
"""The lease time that never ends (RFC 2131 section 3.3)."""


_WORDS: Final = {"string": "a string that is not empty", "boolean": "true or false", "array": "a list of maps"}


class BadSettings(ValueError):
    """A parameter that can't be used; the text names the key, the value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key of `parameters`. `kind` is a JSON type; `default` None where it is required, derived, or there is none.

    `check` returns what is wrong with a string. `parse` makes values of an array's elements (JSON Schema `items`), or raises ValueError
    with the element, what is wrong and what is allowed.
    """

    kind: str
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    check: Callable[[str], str | None] | None = None
    items: Mapping[str, Any] | None = None
    parse: Callable[[Any], Any] | None = None

    @property
    def allowed(self) -> str:
        """Return what may stand here, in words."""
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.kind in _WORDS:
            return _WORDS[self.kind]
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
        elif self.kind == "array":
            schema["items"] = dict(self.items or {})
        elif self.kind != "boolean":
            schema["minimum"], schema["maximum"] = self.minimum, self.maximum
        if self.default is not None:
            schema["default"] = self.default
        return schema

    def accepts(self, value: object) -> bool:
        """Whether a value from JSON is of the kind and in the range."""
        match self.kind:
            case "string":
                return isinstance(value, str) and value != "" and (not self.choices or value in self.choices)
            case "boolean" | "array":
                return isinstance(value, {"boolean": bool, "array": list}[self.kind])
            case "integer":
                fits = isinstance(value, int) and not isinstance(value, bool)
            case _:
                fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        return fits and self.minimum <= value <= self.maximum  # type: ignore[operator]


def _shown(value: object) -> str:
    """Return a value as a message may show it: in JSON, without the secrets of auth-keys."""

    def hide(value: object) -> object:
        if isinstance(value, dict):
            return {key: "(not shown)" if key == "key" else hide(element) for key, element in value.items()}
        return [hide(element) for element in value] if isinstance(value, list) else value

    return json.dumps(hide(value))


def _octets(what: str, text: object, shortest: int, longest: int) -> bytes:
    """Return octets written in hexadecimal, with or without colons."""
    try:
        octets = bytes.fromhex(str(text).replace(":", ""))
    except ValueError:
        octets = b""
    if not isinstance(text, str) or not shortest <= len(octets) <= longest:
        value = f"(not shown, {len(octets)} octets)" if what == "key" else json.dumps(text)
        raise ValueError(
            f"{what}: {value}: must be {shortest} to {longest} octets in hexadecimal, e.g. 01:02:00:5e:00:53:01"
        )
    return octets


def _only(element: object, *keys: str) -> Mapping[str, Any]:
    """Return a map after seeing that it has none but these keys, and one at least."""
    if not isinstance(element, dict) or not element or not element.keys() <= set(keys):
        raise ValueError(f"{_shown(element)}: must be a map with keys among {', '.join(keys)}")
    return element


def _key(element: object) -> AuthenticationKey:
    """Read an element of auth-keys."""
    given = _only(
        element if isinstance(element, dict) else None, "id", "key", "client-id"
    )  # a lone string may be the key
    for needed in ("id", "key", "client-id"):
        if needed not in given:
            raise ValueError(f"{needed}: missing in {_shown(element)}")
    number = given["id"]
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 0xFFFFFFFF:
        raise ValueError(f"id: {json.dumps(number)}: must be an integer from 0 to 4294967295")
    return AuthenticationKey(
        number, _octets("key", given["key"], 16, 64), _octets("client-id", given["client-id"], 1, 255)
    )


def _admission(element: object) -> Admission:
    """Read an element of allow."""
    given = _only(element, "client-id", "network", "circuit-id", "remote-id")
    network = None
    if "network" in given:
        try:
            network = IPv4Network(given["network"])
        except ValueError as error:
            raise ValueError(f"network: {json.dumps(given['network'])}: {error}; must be an IPv4 prefix") from None
    octets = {key: _octets(key, given[key], 1, 255) for key in ("client-id", "circuit-id", "remote-id") if key in given}
    return Admission(octets.get("client-id"), network, octets.get("circuit-id"), octets.get("remote-id"))


_HEXADECIMAL: Final = {"type": "string", "pattern": "^[0-9A-Fa-f:]+$"}

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
    "policy": Parameter(
        "string",
        "best-fit",
        'Who gets how much: "best-fit", "proportional", or one that is installed as a Python entry point in the group '
        "kea_subnet_deleg.policies. A pool may have one of its own.",
        check=policy_fault,
    ),
    "scarce-below": Parameter(
        "number", 0.25, "Proportional policy: free share of the pools at or below which space is scarce.", 0, 1
    ),
    "critical-below": Parameter(
        "number", 0.05, "Proportional policy: free share at or below which space is nearly gone.", 0, 1
    ),
    "ample-above": Parameter(
        "number", 0.5, "Proportional policy: free share at or above which more is pushed to who can use it.", 0, 1
    ),
    "heavy-above": Parameter(
        "number", 0.8, "Proportional policy: used share of what a lessee holds that counts as heavy use.", 0, 1
    ),
    "hierarchical": Parameter(
        "string",
        "as-asked",
        "Who allocates from a leased subnet (flag h): as the client asks, always the client, or never (it relays to us).",
        choices=("as-asked", "always", "never"),
    ),
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
    "t1-percent": Parameter(
        "number", None, "T1 (option 58) as a share of the lease time. Default: none is sent.", 0.01, 0.99
    ),
    "t2-percent": Parameter(
        "number", None, "T2 (option 59) as a share of the lease time. Default: none is sent.", 0.01, 0.99
    ),
    "suggested-host-lease-time": Parameter(
        "integer",
        None,
        "Seconds that clients should lease addresses of the subnet for (RFC 6656 3.4). Default: none is sent.",
        1,
        INFINITE,
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
    "max-blocks-per-lessee": Parameter(
        "integer", None, "Most subnets that one lessee may hold. Default: no limit.", 1, INFINITE
    ),
    "max-addresses-per-lessee": Parameter(
        "integer", None, "Most addresses that one lessee may hold. Default: no limit.", 4, INFINITE
    ),
    "max-requests-per-second": Parameter(
        "number", None, "Most messages of one client that are looked at, per second. Default: no limit.", 0.01, 100000
    ),
    "allow": Parameter(
        "array",
        None,
        "Who may ask for subnets: a list of maps, each with client-id, circuit-id, remote-id (hexadecimal) or network (CIDR, where its "
        "relay is, or itself). A request must fit all that one of them says. Default: everybody.",
        items={
            "type": "object",
            "minProperties": 1,
            "properties": {
                "client-id": _HEXADECIMAL,
                "network": {"type": "string"},
                "circuit-id": _HEXADECIMAL,
                "remote-id": _HEXADECIMAL,
            },
            "additionalProperties": False,
        },
        parse=_admission,
    ),
    "auth-keys": Parameter(
        "array",
        None,
        "Keys of RFC 3118 delayed authentication: a list of maps with id, key (16 to 64 octets in hexadecimal) and client-id. A client "
        "that has a key is answered only if it uses it, and is sent FORCERENEW under it.",
        items={
            "type": "object",
            "properties": {
                "id": {"type": "integer", "minimum": 0, "maximum": INFINITE},
                "key": _HEXADECIMAL,
                "client-id": _HEXADECIMAL,
            },
            "required": ["id", "key", "client-id"],
            "additionalProperties": False,
        },
        parse=_key,
    ),
    "takeback-on-shortage": Parameter(
        "boolean", True, "When nothing is left, tell the least used lessees to renew at once (FORCERENEW)."
    ),
    "takeback-attempts": Parameter("integer", 5, "FORCERENEWs sent until a lessee is left alone.", 1, 20),
    "takeback-delay": Parameter(
        "number", 4.0, "Seconds until a FORCERENEW is sent again; twice that until the next, and so on.", 0.1, 3600
    ),
    "takeback-grace": Parameter(
        "integer", 60, "Seconds after a renewal in which shortage doesn't make its lessee renew again.", 0, 86400
    ),
    "send-unauthenticated-forcerenew": Parameter(
        "boolean", False, "Send FORCERENEW also to lessees that can't check who sent it (neither nonce nor key)."
    ),
    "batch-size": Parameter("integer", 128, "Most messages handled in one transaction.", 1, 1024),
    "workers": Parameter(
        "integer",
        2,
        "Threads that answer, each with a connection to the ledger: one works while another waits for its commit.",
        1,
        8,
    ),
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
        "number",
        2.0,
        "Seconds between two looks for offers, leases and quarantines that ended, and for FORCERENEWs.",
        0.1,
        3600,
    ),
    "view-interval": Parameter(
        "number", 5.0, "Seconds between two readings of the totals that policies decide by.", 0.1, 3600
    ),
    "count-leases": Parameter(
        "boolean",
        False,
        "Count the host leases that Kea commits (`leases-committed` in `subnet-deleg-status`). Kea calls the hook for it at each "
        "exchange with a host, and prepares to park each; of all that the hook costs ordinary DHCP, that would be the most.",
    ),
    "respect-drops": Parameter(
        "boolean",
        None,
        "Take packets about subnets only after Kea's own checks, so that what other hooks drop, and whom the class DROP is for, is "
        "left alone. Costs each packet of ordinary DHCP a little. Default: true where other hooks are loaded.",
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
        _check_order(values, "min-lease-time", "lease-time", "max-lease-time")
        _check_order(values, "min-prefix-length", "default-prefix-length", "max-prefix-length")
        _check_order(values, "critical-below", "scarce-below", "ample-above")
        if values["t1-percent"] is not None and values["t2-percent"] is not None:
            _check_order(values, "t1-percent", "t2-percent", "t2-percent")
        return cls(**{key.replace("-", "_"): value for key, value in values.items()})


def _check(key: str, value: object) -> None:
    parameter = PARAMETERS.get(key)
    if parameter is None:
        raise BadSettings(f"{key}: {_shown(value)}: no such parameter; allowed are {', '.join(sorted(PARAMETERS))}")
    if not parameter.accepts(value):
        raise BadSettings(f"{key}: {_shown(value)}: must be {parameter.allowed}")
    if parameter.check is not None and isinstance(value, str) and (fault := parameter.check(value)):
        raise BadSettings(f"{key}: {json.dumps(value)}: {fault}")


def _parse(key: str, parse: Callable[[Any], Any], elements: Sequence[object] | None) -> tuple[Any, ...]:
    values = []
    for number, element in enumerate(elements or ()):
        try:
            values.append(parse(element))
        except ValueError as error:
            raise BadSettings(f"{key}[{number}]: {error}") from None
    return tuple(values)


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
