# SPDX-License-Identifier: MPL-2.0
"""The hook's parameters: what is accepted, and that each refusal names key, value and what is allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kea_subnet_deleg.runtime import service
from kea_subnet_deleg.runtime.settings import INFINITE, PARAMETERS, BadSettings, Parameter, Settings, json_schema

DSN = "host=/run/postgresql dbname=deleg"
NUMBERS = [key for key, parameter in PARAMETERS.items() if parameter.kind != "string"]
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
        assert f"from {parameter.minimum:g} to " in text
    for value in (parameter.minimum, parameter.maximum):
        assert parameter.accepts(int(value) if parameter.kind == "integer" else value)


@pytest.mark.parametrize("key", list(PARAMETERS))
@pytest.mark.parametrize("value", [True, False, None, [], {}, [1], {"a": 1}])
def test_wrong_types(key: str, value: object) -> None:
    """A boolean is no integer, though Python thinks so."""
    text = refusal_of(key, value)
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
    assert text.startswith("lease_time: 60: no such parameter; allowed are batch-size, ")
    assert all(key in text for key in PARAMETERS)


def test_an_unknown_policy() -> None:
    assert refusal_of("policy", "worst-fit") == 'policy: "worst-fit": must be one of "best-fit"'


def test_no_dsn() -> None:
    assert refusal("{}").startswith("dsn: missing; needed is a string")


@pytest.mark.parametrize("dsn", ["nonsense", "host=", "hots=/run dbname=x", "postgresql://[", "host='x"])
def test_a_bad_dsn(dsn: str) -> None:
    if dsn == "host=":
        assert Settings.from_json(json.dumps({"dsn": dsn})).dsn == dsn  # libpq's default
    else:
        assert refusal(json.dumps({"dsn": dsn})).startswith(f"dsn: {json.dumps(dsn)}: ")


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
def test_the_order(given: dict[str, int], text: str) -> None:
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
    }
    if not isinstance(value, kinds[schema["type"]]) or isinstance(value, bool):
        return False
    if isinstance(value, dict):
        known = all(key in schema["properties"] and matches(schema["properties"][key], v) for key, v in value.items())
        return known and all(key in value for key in schema["required"])
    if isinstance(value, str):
        return len(value) >= schema.get("minLength", 0) and value in schema.get("enum", [value])
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
