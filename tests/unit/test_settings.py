# SPDX-License-Identifier: MPL-2.0
"""The hook's parameters: what is accepted, and that each refusal names key, value and what is allowed."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from kea_subnet_deleg.policy.growth import NetworkTerms, Router
from kea_subnet_deleg.roles.admission import Admission
from kea_subnet_deleg.roles.authentication import AuthenticationKey, ServerKey
from kea_subnet_deleg.roles.requesting import Upstream
from kea_subnet_deleg.runtime import service
from kea_subnet_deleg.runtime.parameter import INFINITE, Parameter
from kea_subnet_deleg.runtime.parameters import PARAMETERS, json_schema
from kea_subnet_deleg.runtime.settings import BadSettings, Settings

DSN = "host=/run/postgresql dbname=deleg"
NUMBERS = [key for key, parameter in PARAMETERS.items() if parameter.kind in ("integer", "number")]
ARRAYS = [key for key, parameter in PARAMETERS.items() if parameter.kind == "array"]
INTEGERS = [key for key, parameter in PARAMETERS.items() if parameter.kind == "integer"]
STRINGS = [key for key, parameter in PARAMETERS.items() if parameter.kind == "string"]


def read(**parameters: Any) -> Settings:
    given = {"dsn": DSN} | {key.replace("_", "-"): value for key, value in parameters.items()}
    return Settings.from_json(json.dumps(given))


def refusal(text: str) -> str:
    with pytest.raises(BadSettings) as refused:
        Settings.from_json(text)
    assert service.configure(text) == str(refused.value)
    return str(refused.value)


def refusal_of(key: str, value: object) -> str:
    return refusal(json.dumps({"dsn": DSN, key: value}))


def test_the_defaults() -> None:
    settings = read()
    assert (settings.dsn, settings.policy, settings.server_name, settings.python_path) == (DSN, "best-fit", None, None)
    assert (settings.min_lease_time, settings.lease_time, settings.max_lease_time) == (60, 604800, 604800)
    assert (settings.min_prefix_length, settings.default_prefix_length, settings.max_prefix_length) == (1, 24, 30)
    assert service.configure(json.dumps({"dsn": DSN})) is None


def test_lease_times_follow_from_one() -> None:
    settings = read(lease_time=30)
    assert (settings.min_lease_time, settings.max_lease_time) == (30, 30)
    assert read(lease_time=INFINITE).max_lease_time == INFINITE


@pytest.mark.parametrize("key", NUMBERS)
def test_numbers_have_limits(key: str) -> None:
    parameter = PARAMETERS[key]
    assert parameter.minimum is not None
    assert parameter.maximum is not None
    for value in (parameter.minimum - 1, parameter.maximum + 1, -1, 1e300):
        number = int(value) if parameter.kind == "integer" and value != 1e300 else value
        text = refusal_of(key, number)
        assert text.startswith(f"{key}: {json.dumps(number)}: must be {parameter.allowed}")
        assert f"from {parameter.minimum:{'.0f' if parameter.kind == 'integer' else 'g'}} to " in text
    for value in (parameter.minimum, parameter.maximum):
        assert parameter.accepts(int(value) if parameter.kind == "integer" else value)


@pytest.mark.parametrize("key", list(PARAMETERS))
@pytest.mark.parametrize("value", [True, False, None, [], {}, [1], {"a": 1}])
def test_wrong_types(key: str, value: object) -> None:
    """A boolean is no integer, though Python thinks so."""
    kind = PARAMETERS[key].kind
    if (kind == "boolean" and isinstance(value, bool)) or (kind == "array" and value == []):
        assert Settings.from_json(json.dumps({"dsn": DSN, key: value})).dsn == DSN
        return
    text = refusal_of(key, value)
    if kind == "array" and value == [1]:
        assert text.startswith(f"{key}[0]: ")
        assert "must be a map with keys among " in text
    else:
        assert text == f"{key}: {json.dumps(value)}: must be {PARAMETERS[key].allowed}"


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", ["24", "", "x"])
def test_text_for_a_number(key: str, value: str) -> None:
    assert refusal_of(key, value) == f"{key}: {json.dumps(value)}: must be {PARAMETERS[key].allowed}"


@pytest.mark.parametrize("key", INTEGERS)
def test_a_fraction_for_an_integer(key: str) -> None:
    assert "must be an integer" in refusal_of(key, 20.5)


@pytest.mark.parametrize("key", STRINGS)
@pytest.mark.parametrize("value", ["", 1, 1.5])
def test_no_text(key: str, value: object) -> None:
    assert refusal_of(key, value) == f"{key}: {json.dumps(value)}: must be {PARAMETERS[key].allowed}"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number(number: str) -> None:
    text = refusal(f'{{"dsn": "{DSN}", "statement-timeout": {number}}}')
    assert text.startswith("statement-timeout: ")
    assert text.endswith("must be a number from 0.1 to 60")


def test_an_unknown_key() -> None:
    text = refusal_of("lease_time", 60)
    assert text.startswith("lease_time: 60: no such parameter; allowed are allow, ")
    assert all(key in text for key in PARAMETERS)


def test_an_unknown_policy() -> None:
    assert refusal_of("policy", "worst-fit") == (
        'policy: "worst-fit": no such policy; allowed is one of best-fit, proportional'
    )


def test_no_dsn() -> None:
    assert refusal("{}").startswith("dsn: missing; needed is a string")


@pytest.mark.parametrize("dsn", ["nonsense", "host=", "hots=/run dbname=x", "postgresql://[", "host='x"])
def test_a_bad_dsn(dsn: str) -> None:
    if dsn == "host=":
        assert Settings.from_json(json.dumps({"dsn": dsn})).dsn == dsn  # libpq's default
    else:
        assert refusal(json.dumps({"dsn": dsn})).startswith("dsn: (not shown): ")


@pytest.mark.parametrize(
    "dsn",
    ["password=hush nosuch=1", "password=x hush", "password='hush", "postgresql://u:hush@[", "postgresql://u:%hush@h/"],
)
def test_a_password_is_not_told(dsn: str) -> None:
    assert "hush" not in refusal(json.dumps({"dsn": dsn}))


@pytest.mark.parametrize("text", ["null", "[]", "3", '"x"'])
def test_no_map(text: str) -> None:
    assert refusal(text) == f'parameters: {text} is not a map; at least "dsn" is needed'


def test_no_json() -> None:
    assert refusal("{").startswith("parameters: not JSON: ")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"lease_time": 100, "min_lease_time": 101},
            "lease-time: 100: must not be less than min-lease-time, which is 101",
        ),
        (
            {"lease_time": 100, "max_lease_time": 99},
            "lease-time: 100: must not be more than max-lease-time, which is 99",
        ),
        (
            {"critical_below": 0.5, "scarce_below": 0.25},
            "scarce-below: 0.25: must not be less than critical-below, which is 0.5",
        ),
        (
            {"scarce_below": 0.75},
            "scarce-below: 0.75: must not be more than ample-above, which is 0.5",
        ),
        ({"t1_percent": 0.9, "t2_percent": 0.5}, "t2-percent: 0.5: must be more than t1-percent, which is 0.9"),
        ({"t1_percent": 0.7, "t2_percent": 0.7}, "t2-percent: 0.7: must be more than t1-percent, which is 0.7"),
        (
            {"t1_percent": 0.9},
            "t2-percent: 0.875: must be more than t1-percent, which is 0.9; a client that is not told takes 0.5 for T1 and 0.875 for T2",
        ),
        (
            {"t2_percent": 0.4},
            "t2-percent: 0.4: must be more than t1-percent, which is 0.5; a client that is not told takes 0.5 for T1 and 0.875 for T2",
        ),
        ({"max_lease_time": 99}, "lease-time: 604800: must not be more than max-lease-time, which is 99"),
        (
            {"default_prefix_length": 20, "min_prefix_length": 21},
            "default-prefix-length: 20: must not be less than min-prefix-length, which is 21",
        ),
        (
            {"max_prefix_length": 23},
            "default-prefix-length: 24: must not be more than max-prefix-length, which is 23",
        ),
    ],
)
def test_the_order(given: dict[str, float], text: str) -> None:
    with pytest.raises(BadSettings) as refused:
        read(**given)
    assert str(refused.value) == text


def matches(schema: dict[str, Any], value: object) -> bool:
    """Whether a value matches the parts of JSON Schema that ours uses."""
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "object": (dict,),
        "array": (list,),
        "boolean": (bool,),
    }
    if not isinstance(value, kinds[schema["type"]]) or isinstance(value, bool) != (schema["type"] == "boolean"):
        return False
    if isinstance(value, bool):
        return True
    if isinstance(value, list):
        return all(matches(schema["items"], element) for element in value)
    if isinstance(value, dict):
        known = all(key in schema["properties"] and matches(schema["properties"][key], v) for key, v in value.items())
        enough = len(value) >= schema.get("minProperties", 0)
        if "oneOf" in schema:
            enough = sum(all(key in value for key in one["required"]) for one in schema["oneOf"]) == 1
        return known and enough and all(key in value for key in schema.get("required", ()))
    if isinstance(value, str):
        fits = re.search(schema.get("pattern", ""), value) is not None
        return fits and len(value) >= schema.get("minLength", 0) and value in schema.get("enum", [value])
    return bool(schema["minimum"] <= value <= schema["maximum"])


VALUES: list[Any] = [
    True,
    None,
    [],
    {},
    "",
    "x",
    DSN,
    "best-fit",
    -1,
    0,
    1,
    20,
    24,
    30,
    31,
    0.05,
    0.5,
    100,
    1e9,
    INFINITE,
    INFINITE + 1,
]


@pytest.mark.parametrize("key", list(PARAMETERS))
def test_the_schema_accepts_what_the_settings_do(key: str) -> None:
    """Value by value; that dsn is readable and the orders hold, JSON Schema can't say."""
    schema = json_schema()
    assert schema["additionalProperties"] is False
    for value in VALUES:
        assert matches(schema, {"dsn": DSN, key: value}) == PARAMETERS[key].accepts(value), (key, value)
    assert not matches(schema, {key: VALUES[0]})


@pytest.mark.parametrize("key", list(PARAMETERS))
def test_each_parameter_is_documented_and_has_a_good_default(key: str) -> None:
    parameter: Parameter = PARAMETERS[key]
    assert parameter.description.endswith(".")
    assert parameter.default is None or parameter.accepts(parameter.default)
    assert hasattr(read(), key.replace("-", "_"))


# ------------------------------------------------------------------------------------------------ lists of maps


SECRET = "00112233445566778899aabbccddeeff"  # noqa: S105
KEY = {"id": 7, "key": SECRET, "client-id": "01:02:00:5e:00:53:01"}


def test_who_may_ask() -> None:
    settings = read(
        allow=[
            {"client-id": "01:02:00:5e:00:53:01"},
            {"network": "10.0.0.0/8", "circuit-id": "6c616e37"},
            {"remote-id": "ff"},
        ]
    )
    assert settings.allow == (
        Admission(client_id=bytes.fromhex("0102005e005301")),
        Admission(network=IPv4Network("10.0.0.0/8"), circuit_id=b"lan7"),
        Admission(remote_id=b"\xff"),
    )
    assert read().allow == ()


@pytest.mark.parametrize(
    ("element", "text"),
    [
        ({}, "{}: must be a map with keys among client-id, network, circuit-id, remote-id"),
        ("x", '"x": must be a map with keys among client-id, network, circuit-id, remote-id'),
        (
            {"giaddr": "10.0.0.1"},
            '{"giaddr": "10.0.0.1"}: must be a map with keys among client-id, network, circuit-id, remote-id',
        ),
        ({"network": "10.0.0.1/8"}, 'network: "10.0.0.1/8": 10.0.0.1/8 has host bits set; must be an IPv4 prefix'),
        ({"network": 5}, "network: 5: not a string; must be an IPv4 prefix"),
        ({"network": "fd00::/8"}, "network: \"fd00::/8\": Expected 4 octets in 'fd00::'; must be an IPv4 prefix"),
        *[
            (
                {key: value},
                f"{key}: {json.dumps(value)}: must be 1 to 255 octets in hexadecimal, e.g. 01:02:00:5e:00:53:01",
            )
            for key in ("client-id", "circuit-id", "remote-id")
            for value in ("", "0", "xy", 12, "00" * 256)
        ],
    ],
)
def test_who_may_not_be_asked_for(element: object, text: str) -> None:
    assert refusal_of("allow", [{"remote-id": "00"}, element]) == f"allow[1]: {text}"


def test_keys() -> None:
    settings = read(auth_keys=[KEY])
    assert settings.auth_keys == (AuthenticationKey(7, bytes.fromhex(SECRET), bytes.fromhex("0102005e005301")),)
    assert SECRET not in repr(settings)
    assert repr(bytes.fromhex(SECRET)) not in repr(settings)
    for octets in (16, 64):
        assert len(read(auth_keys=[KEY | {"key": "ab" * octets}]).auth_keys[0].key) == octets


@pytest.mark.parametrize(
    ("element", "text"),
    [
        (KEY | {"key": SECRET[2:]}, "key: (not shown, 15 octets): must be 16 to 64 octets in hexadecimal"),
        (KEY | {"key": SECRET * 4 + "00"}, "key: (not shown, 65 octets): must be 16 to 64 octets in hexadecimal"),
        (KEY | {"key": SECRET + "x"}, "key: (not shown, 0 octets): must be 16 to 64 octets in hexadecimal"),
        (KEY | {"key": ""}, "key: (not shown, 0 octets): must be 16 to 64 octets in hexadecimal"),
        (KEY | {"id": -1}, "id: -1: must be an integer from 0 to 4294967295"),
        (KEY | {"id": True}, "id: true: must be an integer from 0 to 4294967295"),
        (KEY | {"id": 1 << 32}, "id: 4294967296: must be an integer from 0 to 4294967295"),
        (KEY | {"client-id": ""}, 'client-id: "": must be 1 to 255 octets in hexadecimal'),
        ({"id": 7, "key": SECRET}, 'client-id: missing in {"id": 7, "key": "(not shown)"}'),
        ({"id": 7, "client-id": "01"}, 'key: missing in {"id": 7, "client-id": "01"}'),
        (
            KEY | {"secret": 1},
            '{"id": 7, "key": "(not shown)", "client-id": "01:02:00:5e:00:53:01", "secret": 1}: must be a map with keys among',
        ),
        (SECRET, "null: must be a map with keys among id, key, client-id"),
    ],
)
def test_keys_that_cant_be(element: object, text: str) -> None:
    """The message names the key, what it is and what is allowed, and keeps the secret."""
    said = refusal_of("auth-keys", [KEY, element])
    assert said.startswith(f"auth-keys[1]: {text}")
    assert SECRET[2:] not in said


@pytest.mark.parametrize("key", ["auth-keys", "auth_keys", "dsn", "batch-size"])
def test_keys_in_the_wrong_place_are_not_shown(key: str) -> None:
    said = refusal_of(key, KEY)
    assert said.startswith(f'{key}: {{"id": 7, "key": "(not shown)", ')
    assert SECRET not in said


GOOD_ELEMENTS: dict[str, dict[str, Any]] = {
    "allow": {"client-id": "01:02"},
    "auth-keys": KEY,
    "upstreams": {"address": "192.0.2.1"},
    "networks": {"name": "hosts"},
}


@pytest.mark.parametrize("key", ARRAYS)
def test_the_schema_of_lists(key: str) -> None:
    schema = json_schema()["properties"][key]
    assert matches(schema, [])
    good = GOOD_ELEMENTS[key]
    assert matches(schema, [good])
    for bad in ({}, good | {"x": 1}, {"client-id": ""}, {"client-id": "xy"}, 1, [good]):
        assert not matches(schema, [good, bad])


def test_upstreams() -> None:
    given = [{"address": "192.0.2.1", "preference": 7}, {"interface": "eth1"}]
    assert read(upstreams=given).upstreams == (
        Upstream(int(IPv4Address("192.0.2.1")), None, 7),
        Upstream(None, "eth1", 0),
    )
    assert read().upstreams == ()
    keyed = {"address": "192.0.2.1", "auth-key": {"id": 7, "key": SECRET}}
    settings = read(upstreams=[keyed])
    assert settings.upstreams == (
        Upstream(int(IPv4Address("192.0.2.1")), None, 0, ServerKey(7, bytes.fromhex(SECRET))),
    )
    assert SECRET not in repr(settings)
    assert repr(bytes.fromhex(SECRET)) not in repr(settings)


@pytest.mark.parametrize(
    ("element", "text"),
    [
        ({"address": "192.0.2.1", "interface": "eth1"}, "must have either address or interface"),
        ({"preference": 1}, "must have either address or interface"),
        ({"address": "192.0.2.0/24"}, 'address: "192.0.2.0/24": must be the IPv4 address of a server'),
        ({"address": "0.0.0.0"}, "must be the IPv4 address of a server"),
        ({"address": "255.255.255.255"}, "must be the IPv4 address of a server"),
        ({"address": "224.0.0.1"}, "must be the IPv4 address of a server"),
        ({"address": 1}, "address: 1: must be the IPv4 address of a server"),
        ({"interface": ""}, 'interface: "": must be the name of an interface'),
        ({"interface": "a-name-that-is-too-long"}, "must be the name of an interface"),
        ({"address": "192.0.2.1", "preference": 256}, "preference: 256: must be an integer from 0 to 255"),
        ({"address": "192.0.2.1", "preference": True}, "preference: true: must be an integer from 0 to 255"),
        ({"adress": "192.0.2.1"}, "must be a map with keys among address, interface, preference, auth-key"),
        (
            {"interface": "eth1", "auth-key": {"id": 7, "key": SECRET}},
            'auth-key: {"interface": "eth1", "auth-key": {"id": 7, "key": "(not shown)"}}: is of one server',
        ),
        ({"address": "192.0.2.1", "auth-key": SECRET}, "null: must be a map with keys among id, key"),
        ({"address": "192.0.2.1", "auth-key": {"id": 7}}, 'key: missing in {"id": 7}'),
        ({"address": "192.0.2.1", "auth-key": {"id": -1, "key": SECRET}}, "id: -1: must be an integer from 0"),
        ({"address": "192.0.2.1", "auth-key": {"id": 7, "key": SECRET[2:]}}, "key: (not shown, 15 octets): must be 16"),
        ("192.0.2.1", "must be a map"),
    ],
)
def test_upstreams_that_cant_be(element: object, text: str) -> None:
    refused = refusal_of("upstreams", [{"address": "192.0.2.9"}, element])
    assert refused.startswith("upstreams[1]: ")
    assert text in refused


def test_networks() -> None:
    (plain, whole) = read(
        networks=[
            {"name": "hosts"},
            {
                "name": "phones",
                "prefix-length": 26,
                "high-water": 0.9,
                "low-water": 0.2,
                "min-blocks": 1,
                "max-blocks": 4,
                "hold-time": 5,
                "router": "last",
                "valid-lifetime": 3600,
                "pool": "voice",
            },
        ]
    ).networks
    assert plain == NetworkTerms("hosts")
    assert whole == NetworkTerms("phones", 26, 0.9, 0.2, 1, 4, 5, Router.LAST, 3600, "voice")


@pytest.mark.parametrize(
    ("element", "text"),
    [
        ({"prefix-length": 24}, "name: missing"),
        ({"name": None}, "name: missing"),
        ({"name": ""}, 'name: "": must be a string that is not empty'),
        ({"name": "hosts", "prefix-length": 30}, "prefix-length: 30: must be an integer from 8 to 29"),
        ({"name": "hosts", "high-water": 1.1}, "high-water: 1.1: must be a number from 0.01 to 1"),
        ({"name": "hosts", "low-water": 0.9}, "low-water: 0.9: must not be more than high-water, which is 0.8"),
        ({"name": "hosts", "low-water": 0.5}, "low-water: 0.5: must be at most half of high-water, which is 0.8"),
        (
            {"name": "hosts", "min-blocks": 3, "max-blocks": 2},
            "max-blocks: 2: must not be less than min-blocks, which is 3",
        ),
        ({"name": "hosts", "router": "middle"}, 'router: "middle": must be one of "first", "last", "none"'),
        ({"name": "hosts", "colour": "red"}, "must be a map with keys among"),
        ({"name": "x"}, "is there already, as number 0"),
    ],
)
def test_networks_that_cant_be(element: object, text: str) -> None:
    refused = refusal_of("networks", [{"name": "x"}, element])
    assert refused.startswith("networks[1]: ")
    assert text in refused


def test_a_client_has_one_key() -> None:
    other = KEY | {"id": 8, "client-id": "01:02:00:5E:00:53:01"}
    refused = refusal_of("auth-keys", [KEY, other])
    assert refused == "auth-keys[1]: is there already, as number 0"
    assert SECRET not in refused
    assert len(read(auth_keys=[KEY, KEY | {"client-id": "01:02"}]).auth_keys) == 2


def test_an_upstream_is_named_once() -> None:
    assert "upstreams[1]: is there already" in refusal_of("upstreams", [{"address": "192.0.2.1"}] * 2)
