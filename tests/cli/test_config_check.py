# SPDX-License-Identifier: MPL-2.0
"""`kea-subnet-deleg config check`: what Kea would refuse at a reload, and stop serving hosts by, is said before."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pytest

from tests.cli.test_cli import good, good_json, refused

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = sorted((ROOT / "kea-config").glob("*.conf"))
LIBRARY = "/usr/lib/x86_64-linux-gnu/kea/hooks/libdhcp_subnet_deleg.so"
DSN = "host=/run/postgresql dbname=deleg"
OTHER = {"library": "/usr/lib/kea/hooks/libdhcp_lease_cmds.so"}
OURS = {"library": LIBRARY, "parameters": {"dsn": DSN}}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "kea-dhcp4.conf"


def with_hooks(*entries: object) -> str:
    return json.dumps({"Dhcp4": {"subnet4": [], "hooks-libraries": entries}})


def complaint(conf: Path, text: str) -> str:
    conf.write_text(text)
    said = refused("config", "check", str(conf))
    assert said.count("\n") == 1, "an error is one line"
    prefix = f"kea-subnet-deleg: {conf}: "
    assert said.startswith(prefix)
    return said.removeprefix(prefix).rstrip("\n")


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_what_operators_copy_is_good(path: Path) -> None:
    assert good("config", "check", str(path)) == f"{path}: the parameters of libdhcp_subnet_deleg.so are good\n"


@pytest.mark.parametrize("path", ["/nonexistent", "/usr/lib"])
def test_a_python_path_without_our_package(conf: Path, path: str) -> None:
    """Kea would not start."""
    text = with_hooks({**OURS, "parameters": {"dsn": DSN, "python-path": path}})
    assert complaint(conf, text) == f'python-path: "{path}": kea_subnet_deleg is not installed in this directory'


def test_a_python_path_with_our_package(conf: Path) -> None:
    conf.write_text(with_hooks({**OURS, "parameters": {"dsn": DSN, "python-path": sysconfig.get_path("purelib")}}))
    good("config", "check", str(conf))


def test_as_json(conf: Path) -> None:
    conf.write_text(with_hooks({**OURS, "parameters": {"dsn": DSN, "policy": "proportional"}}))
    assert good_json("config", "check", str(conf)) == {"file": str(conf), "good": True, "policy": "proportional"}


def test_our_entry_is_found_among_others(conf: Path) -> None:
    conf.write_text(with_hooks(OTHER, OURS, OTHER))
    good("config", "check", str(conf))


def test_comments_and_last_commas_as_kea_takes_them(conf: Path) -> None:
    conf.write_text(
        "# one form\n"
        '{ "Dhcp4": { // another, with a "quote\n'
        '/* the third: "hooks-libraries": [\n two lines */ "hooks-libraries": [ { "library": "/a//b#c/*d*/libdhcp_subnet_deleg.so",\n'
        '"parameters": { "dsn": "dbname=deleg application_name=\'a//b # c /* d */, }\'", # a comma follows\n }, }, ], } }\n'
    )
    good("config", "check", str(conf))


def test_comments_in_strings_are_what_the_hook_gets(conf: Path) -> None:
    said = complaint(conf, with_hooks({**OURS, "parameters": {"dsn": DSN, "policy": '/*x*/ //y #z \\" ,]'}}))
    assert said.startswith(r'policy: "/*x*/ //y #z \\\" ,]": no such policy; allowed is one of best-fit, proportional')


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"dsn": DSN, "lease-time": 0}, "lease-time: 0: must be an integer from 1 to 4294967295"),
        ({"dsn": DSN, "lease-time": "week"}, 'lease-time: "week": must be an integer from 1 to 4294967295'),
        (
            {"dsn": DSN, "auth-keys": [{"id": 1, "key": "00", "client-id": "01"}]},
            "auth-keys[0]: key: (not shown, 1 octets): must be 16 to",
        ),
        ({"dsn": DSN, "scarce-below": 0.01}, "scarce-below: 0.01: must not be less than critical-below, which is 0.05"),
        ({"dsn": DSN, "lease-tyme": 1}, "lease-tyme: 1: no such parameter; allowed are allow, "),
        ({}, "dsn: missing; needed is a string that is not empty"),
        ([], 'parameters: [] is not a map; at least "dsn" is needed'),
    ],
)
def test_a_bad_parameter_is_refused_with_key_value_and_what_is_allowed(
    conf: Path, parameters: object, said: str
) -> None:
    assert complaint(conf, with_hooks({"library": LIBRARY, "parameters": parameters})).startswith(said)


def test_no_parameters(conf: Path) -> None:
    assert complaint(conf, with_hooks({"library": LIBRARY})).startswith("dsn: missing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (with_hooks(), "hooks-libraries: 0 entries of libdhcp_subnet_deleg.so; one is needed"),
        (with_hooks(OTHER, {}, "text"), "hooks-libraries: 0 entries of libdhcp_subnet_deleg.so; one is needed"),
        (with_hooks(OURS, OURS), "hooks-libraries: 2 entries of libdhcp_subnet_deleg.so; one is needed"),
        ('{ "Dhcp4": { "hooks-libraries": {} } }', "hooks-libraries: no list of that name"),
        ('{ "Dhcp6": { "hooks-libraries": [] } }', "Dhcp4: no map of that name"),
        ("[]", "Dhcp4: no map of that name"),
        ('{ "Dhcp4":\n  // hm\n /* so\n so */ ], }', "line 4, column 8: Expecting value"),
        ("", "line 1, column 1: Expecting value"),
        (
            '{ "Dhcp4": {\n <?include "/etc/kea/hooks.json"?> } }',
            'line 2: <?include "/etc/kea/hooks.json"?>: files are not included here',
        ),
    ],
)
def test_what_is_no_configuration_with_the_hook(conf: Path, text: str, said: str) -> None:
    assert complaint(conf, text).startswith(said)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f'{{ "Dhcp4": {{ "subnet4": [], "hooks-libraries": [{json.dumps(OURS)}], "subnet4": [] }} }}', "subnet4"),
        (with_hooks(OURS).replace('"dsn"', '"workers": 1, "workers": 1, "dsn"'), "workers"),
        (with_hooks(OTHER, OURS).replace('"library"', '"library": "x", "library"', 1), "library"),
        (f'{{ "Dhcp4": {{}}, {with_hooks(OURS)[1:]}', "Dhcp4"),
    ],
)
def test_a_key_that_is_twice_in_one_map(conf: Path, text: str, key: str) -> None:
    """Kea: duplicate ... entries in JSON map."""
    assert complaint(conf, text) == f'"{key}": is twice in one map, which Kea refuses'


def test_an_inclusion_in_a_comment_is_none(conf: Path) -> None:
    conf.write_text(f'// <?include "a"?>\n{with_hooks(OURS)}')
    good("config", "check", str(conf))


def test_no_file(conf: Path) -> None:
    assert "No such file" in refused("config", "check", str(conf))
    assert "Is a directory" in refused("config", "check", str(conf.parent))


def test_no_text(conf: Path) -> None:
    conf.write_bytes(b'{ "Dhcp4": "\xff" }')
    assert "can't decode byte 0xff" in refused("config", "check", str(conf))
