# SPDX-License-Identifier: MPL-2.0
"""The table of the hook's parameters, from which they are read, checked, refused and documented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kea_subnet_deleg.ledger.ledger import check_dsn
from kea_subnet_deleg.runtime import elements
from kea_subnet_deleg.runtime.parameter import INFINITE, Parameter
from kea_subnet_deleg.runtime.policies import policy_fault

_HEXADECIMAL: Final = {"type": "string", "pattern": "^[0-9A-Fa-f:]+$"}

PARAMETERS: Final[Mapping[str, Parameter]] = {
    "dsn": Parameter(
        "string",
        None,
        'PostgreSQL connection string of the ledger, e.g. "host=/run/postgresql dbname=deleg user=kea_deleg_hook". Every server '
        "of a domain has the same ledger.",
        required=True,
        check=check_dsn,
        secret=True,
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
        "Seconds that clients should lease addresses of the subnet for (RFC 6656 3.4), less where an upstream suggests less for its "
        "space. Default: as the upstream suggests, else none is sent.",
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
        parse=elements.admission,
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
        parse=elements.key,
    ),
    "upstreams": Parameter(
        "array",
        None,
        "Servers to obtain subnets of: a list of maps, each with an address, or an interface to ask whoever hears a broadcast "
        "there; a preference (0 to 255), which decides between offers that are equal; and, with an address, an auth-key (a map of id "
        "and key), by which all is signed that we and it say to each other (RFC 3118). Default: none.",
        items={
            "type": "object",
            "properties": {
                "address": {"type": "string", "format": "ipv4"},
                "interface": {"type": "string", "minLength": 1, "maxLength": elements.INTERFACE_NAME_SIZE - 1},
                "preference": {"type": "integer", "minimum": 0, "maximum": 255, "default": 0},
                "auth-key": {
                    "type": "object",
                    "properties": {"id": {"type": "integer", "minimum": 0, "maximum": INFINITE}, "key": _HEXADECIMAL},
                    "required": ["id", "key"],
                    "additionalProperties": False,
                },
            },
            "dependentRequired": {"auth-key": ["address"]},
            "oneOf": [{"required": ["address"]}, {"required": ["interface"]}],
            "additionalProperties": False,
        },
        parse=elements.upstream,
    ),
    "upstream-lease-time": Parameter(
        "integer", None, "Seconds that subnets are asked for of upstreams. Default: as they say.", 1, INFINITE
    ),
    "offer-wait": Parameter("number", 0.5, "Seconds to wait for further offers after the first one.", 0, 10),
    "release-after": Parameter(
        "number", 60.0, "Seconds after which a subnet of which nothing is in use is given back upstream.", 0, 31536000
    ),
    "request-prefix-length": Parameter(
        "integer",
        None,
        "Largest prefix length asked of upstreams: a subnet of at least this size, even where less is needed. Default: what is needed.",
        1,
        30,
    ),
    "networks": Parameter(
        "array",
        None,
        "Shared networks of Kea's configuration that grow and shrink by subnets: a list of maps, see "
        "[networks](#networks). Default: none.",
        items={
            "type": "object",
            "properties": {key: parameter.schema() for key, parameter in elements.NETWORK_KEYS.items()},
            "required": ["name"],
            "additionalProperties": False,
        },
        parse=elements.network,
    ),
    "serve-reserved": Parameter(
        "string",
        "own",
        "Whose reserved subnets (flag h = 0, the lessee relays to us) this server leases addresses of: its own, all of the ledger (a "
        "high availability pair, or servers with one lease database), or none.",
        choices=("own", "all", "none"),
    ),
    "kept-addresses": Parameter(
        "integer",
        1,
        "Addresses at the beginning of a reserved subnet that are kept for the router's interfaces.",
        0,
        65536,
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
    "statement-timeout": Parameter(
        "number",
        5.0,
        "Seconds after which a database statement is given up; twelve times as many for what an upstream says of all that is leased of"
        " its space.",
        0.1,
        60,
    ),
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
        "Seconds between two looks for offers, leases and quarantines that ended, and for FORCERENEWs. While none is due, up to five"
        " times as long.",
        0.1,
        3600,
    ),
    "view-interval": Parameter(
        "number",
        5.0,
        "Seconds between two readings of the totals that policies decide by. While nobody asks for subnets, none.",
        0.1,
        3600,
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
        "Take packets about subnets only after Kea's own checks, so that what hooks before it drop, and whom the class DROP is for, is "
        "left alone. Costs each packet of ordinary DHCP a little. Default: true where other hooks are loaded.",
    ),
    "python-path": Parameter(
        "string",
        None,
        "Folder to load the Python package from, read once, when Kea starts. Default: found from where the hook library is installed.",
    ),
}


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
