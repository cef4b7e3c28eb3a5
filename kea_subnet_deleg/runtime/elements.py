# SPDX-License-Identifier: MPL-2.0
"""The elements of parameters that are lists: keys, who may ask, upstreams, networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from kea_subnet_deleg.policy.growth import NetworkTerms, Router
from kea_subnet_deleg.roles.admission import Admission
from kea_subnet_deleg.roles.authentication import AuthenticationKey, ServerKey
from kea_subnet_deleg.roles.requesting import Upstream
from kea_subnet_deleg.runtime.parameter import INFINITE, Parameter, check_order, shown


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
        raise ValueError(f"{shown(element)}: must be a map with keys among {', '.join(keys)}")
    return element


def key(element: object) -> AuthenticationKey:
    """Read an element of auth-keys."""
    number, octets = _secret(element, "id", "key", "client-id")
    client_id = element["client-id"] if isinstance(element, dict) else None
    return AuthenticationKey(number, octets, _octets("client-id", client_id, 1, 255))


def admission(element: object) -> Admission:
    """Read an element of allow."""
    given = _only(element, "client-id", "network", "circuit-id", "remote-id")
    network = None
    if "network" in given:
        try:
            if not isinstance(given["network"], str):  # a number would be an address
                raise ValueError("not a string")
            network = IPv4Network(given["network"])
        except ValueError as error:
            raise ValueError(f"network: {json.dumps(given['network'])}: {error}; must be an IPv4 prefix") from None
    octets = {key: _octets(key, given[key], 1, 255) for key in ("client-id", "circuit-id", "remote-id") if key in given}
    return Admission(octets.get("client-id"), network, octets.get("circuit-id"), octets.get("remote-id"))


def upstream(element: object) -> Upstream:
    """Read an element of upstreams."""
    given = _only(element, "address", "interface", "preference", "auth-key")
    preference = given.get("preference", 0)
    if not isinstance(preference, int) or isinstance(preference, bool) or not 0 <= preference <= 255:
        raise ValueError(f"preference: {json.dumps(preference)}: must be an integer from 0 to 255")
    if ("address" in given) == ("interface" in given):
        raise ValueError(f"{shown(element)}: must have either address or interface")
    if "interface" in given:
        if "auth-key" in given:
            raise ValueError(f"auth-key: {shown(element)}: is of one server, whose address must be given")
        interface = given["interface"]
        if not isinstance(interface, str) or not 0 < len(interface) < INTERFACE_NAME_SIZE:
            raise ValueError(f"interface: {json.dumps(interface)}: must be the name of an interface")
        return Upstream(None, interface, preference)
    try:
        address = IPv4Address(given["address"])
    except ValueError:
        address = IPv4Address(0)
    if (
        not isinstance(given["address"], str)
        or address.is_unspecified
        or address.is_multicast
        or int(address) == INFINITE
    ):
        raise ValueError(f"address: {json.dumps(given['address'])}: must be the IPv4 address of a server")
    return Upstream(int(address), None, preference, _server_key(given["auth-key"]) if "auth-key" in given else None)


def _server_key(value: object) -> ServerKey:
    number, octets = _secret(value, "id", "key")
    return ServerKey(number, octets)


def _secret(element: object, *needed: str) -> tuple[int, bytes]:
    """Return number and octets of a key, which has all that is needed."""
    given = _only(element if isinstance(element, dict) else None, *needed)  # a lone string may be the key
    for name in needed:
        if name not in given:
            raise ValueError(f"{name}: missing in {shown(element)}")
    number = given["id"]
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 0xFFFFFFFF:
        raise ValueError(f"id: {json.dumps(number)}: must be an integer from 0 to 4294967295")
    return number, _octets("key", given["key"], 16, 64)


def network(element: object) -> NetworkTerms:
    """Read an element of networks."""
    given = _only(element, *NETWORK_KEYS)
    if given.get("name") is None:
        raise ValueError(
            f"name: missing in {shown(element)}; needed is that of a shared network of Kea's configuration"
        )
    for key, value in given.items():
        if value is not None and not NETWORK_KEYS[key].accepts(value):
            raise ValueError(f"{key}: {shown(value)}: must be {NETWORK_KEYS[key].allowed}")
    values = {
        key: parameter.default if given.get(key) is None else given[key] for key, parameter in NETWORK_KEYS.items()
    }
    check_order(values, "low-water", "low-water", "high-water")
    if values["low-water"] > values["high-water"] / 2:
        raise ValueError(
            f"low-water: {values['low-water']}: must be at most half of high-water, which is {values['high-water']}: "
            "a network that gave half of its addresses back would grow at once again"
        )
    if values["max-blocks"] is not None:
        check_order(values, "min-blocks", "max-blocks", "max-blocks")
    values["router"] = Router(values["router"])
    return NetworkTerms(**{key.replace("-", "_"): value for key, value in values.items()})


INTERFACE_NAME_SIZE: Final = 16
"""IFNAMSIZ of Linux."""

NETWORK_KEYS: Final[Mapping[str, Parameter]] = {
    "name": Parameter("string", None, "The shared network of Kea's configuration that the blocks are for."),
    "prefix-length": Parameter("integer", 24, "Prefix length of the blocks that it grows by.", 8, 29),
    "high-water": Parameter("number", 0.8, "Share of its addresses in use above which it grows.", 0.01, 1),
    "low-water": Parameter(
        "number", 0.3, "Share of its addresses in use below which it shrinks. 0: it never does.", 0, 1
    ),
    "min-blocks": Parameter("integer", 0, "Blocks it always keeps.", 0, 65536),
    "max-blocks": Parameter("integer", None, "Most blocks it may have. Default: no limit.", 1, 65536),
    "hold-time": Parameter("number", 30.0, "Seconds without growth until it may shrink.", 0, 31536000),
    "router": Parameter(
        "string",
        "first",
        "Which address of a block is its router's: told to hosts (option 3) and not leased.",
        choices=("first", "last", "none"),
    ),
    "valid-lifetime": Parameter(
        "integer",
        None,
        "Seconds that hosts lease an address for, where the block has as long. Default: as Kea's configuration says.",
        1,
        INFINITE,
    ),
    "pool": Parameter(
        "string", None, "The pool of the ledger that its blocks are of. Default: the pools without tags."
    ),
}
