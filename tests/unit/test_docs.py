# SPDX-License-Identifier: MPL-2.0
"""What docs/, README.md and kea-config/ say is what the code does: tables, names and links that could drift are compared."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from kea_subnet_deleg.cli import app as cli
from kea_subnet_deleg.policy import Grant, Holding, Lessee, Limits, Policy, View, Wish, proportional
from kea_subnet_deleg.runtime.elements import NETWORK_KEYS
from kea_subnet_deleg.runtime.messages import MESSAGES
from kea_subnet_deleg.runtime.parameter import Parameter
from kea_subnet_deleg.runtime.parameters import PARAMETERS, json_schema
from kea_subnet_deleg.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIGURATIONS = sorted((ROOT / "kea-config").glob("*.conf"))
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

TABLE = re.compile(r"<!-- parameters -->\n(.*?)<!-- end -->", re.DOTALL)
NETWORK_TABLE = re.compile(r"<!-- networks -->\n(.*?)<!-- end -->", re.DOTALL)
IDENTIFIER = re.compile(r"`(SUBNET_DELEG_[A-Z_]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)")
# A string, or a comment in one of the three forms that Kea takes.
TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|#[^\n]*|/\*.*?\*/', re.DOTALL)


def from_kea(text: str) -> object:
    """The value of JSON with Kea's comments."""
    return json.loads(TOKEN.sub(lambda match: match[1] or "", text))


def parameter_row(key: str, parameter: Parameter) -> str:
    default = "required" if parameter.required else "" if parameter.default is None else json.dumps(parameter.default)
    return f"| `{key}` | {parameter.allowed} | {default} | {parameter.description} |\n"


def declared(file: str, macro: str) -> list[str]:
    """What a .def file of the hook declares: each entry's text if it has a name in quotes right behind, else its identifier."""
    text = (ROOT / "hook" / file).read_text()
    return [
        name or identifier
        for identifier, name in re.findall(rf'^{macro}\((\w+), (?:"([a-z-]+)"\))?', text, re.MULTILINE)
    ]


def section(page: Path, heading: str) -> str:
    """The text under a heading of level 2."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"{page.name} has no section {heading!r}"
    return found[1]


def anchor(heading: str) -> str:
    """A heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_parameter_table_says_what_the_settings_say() -> None:
    head = "| parameter | value | default | meaning |\n|---|---|---|---|\n"
    expected = head + "".join(parameter_row(key, parameter) for key, parameter in PARAMETERS.items())
    found = TABLE.search((DOCS / "configure.md").read_text())
    assert found is not None
    assert found[1] == expected


def test_table_of_networks_says_what_the_settings_say() -> None:
    head = "| key | value | default | meaning |\n|---|---|---|---|\n"
    expected = head + "".join(parameter_row(key, parameter) for key, parameter in NETWORK_KEYS.items())
    found = NETWORK_TABLE.search((DOCS / "configure.md").read_text())
    assert found is not None
    assert found[1] == expected


def test_schema_file_is_what_the_command_prints() -> None:
    assert json.loads((ROOT / "kea-config" / "parameters.schema.json").read_text()) == json_schema()


def test_stanza_is_an_entry_that_the_settings_accept() -> None:
    entry = from_kea((ROOT / "kea-config" / "stanza.json").read_text())
    assert isinstance(entry, dict)
    assert set(entry) == {"library", "parameters"}
    Settings.from_json(json.dumps(entry["parameters"]))


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_configuration_has_parameters_that_the_settings_accept(path: Path) -> None:
    configuration = from_kea(path.read_text())
    assert isinstance(configuration, dict)
    (hook,) = configuration["Dhcp4"]["hooks-libraries"]
    Settings.from_json(json.dumps(hook["parameters"]))


def test_every_log_message_is_explained() -> None:
    ours = declared("messages.def", "DELEG_MESSAGE")
    assert not set(ours) & set(MESSAGES), "declared twice: Kea would show the text of the C++ half for both"
    known = {*MESSAGES, *ours}
    assert len(known) > len(MESSAGES)
    rows = [line for line in section(DOCS / "troubleshoot.md", "Log messages").splitlines() if line.startswith("| `")]
    explained = [found[1] for line in rows if (found := IDENTIFIER.match(line, 2))]
    assert sorted(explained) == sorted(known)


def test_every_counter_is_explained() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", section(DOCS / "troubleshoot.md", "Counters"), re.MULTILINE)
    assert sorted(rows) == sorted(declared("counters.def", "DELEG_COUNTER"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_message_or_a_place_that_is_not(page: Path) -> None:
    text = page.read_text()
    known = {*MESSAGES, *declared("messages.def", "DELEG_MESSAGE")}
    assert set(IDENTIFIER.findall(text)) <= known
    assert not re.search(r"/(?:work|srv|home|tmp)/", text), (
        f"{page.name} names a place of the machine that it was written on"
    )
    for target, fragment in LINK.findall(text):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        if fragment:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert fragment[1:] in map(anchor, headings), f"{page.name} links to {target}{fragment}"


# ------------------------------------------------------------------------------------------------------------ commands


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """What a page has an operator type: the line, and what follows `kea-subnet-deleg` in it."""
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^ {4,}(.*kea-subnet-deleg .*)$", text, re.MULTILINE):
        for typed in re.findall(
            r"(?:^|[/ (])kea-subnet-deleg ((?:ledger|space|pool|lease|hook|config|version)\b[^|)#]*)", line
        ):
            yield line, shlex.split(typed)


# Of typer's own commands, whose types are click's or a copy of them by its version.
ROOT_COMMAND: Any = typer.main.get_command(cli.app)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_printed_is_one(page: Path) -> None:
    for line, typed in commands(page):
        command, words = ROOT_COMMAND, list(typed)
        while hasattr(command, "commands") and words:
            assert words[0] in command.commands, f"{page.name}: {line}"
            command = command.commands[words.pop(0)]
        command.make_context(
            line, words
        )  # raises for an option, a number of arguments or a value that it does not take


def test_every_command_is_described() -> None:
    text = "".join(page.read_text() for page in PAGES)
    described = {
        f"{name} {command}": f"{name} {command}" in text
        for name, group in ROOT_COMMAND.commands.items()
        for command in getattr(group, "commands", ())
    }
    assert len(described) > 12
    assert all(described.values()), described


# ------------------------------------------------------------------------------------------------------------ policies

POLICIES = (DOCS / "policies.md").read_text()


def test_every_reason_of_the_proportional_policy_is_explained() -> None:
    reasons = {
        value
        for name, value in vars(proportional).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("PUSH_")
    }
    table = re.search(r"<!-- reasons -->\n(.*?)<!-- end -->", POLICIES, re.DOTALL)
    assert table is not None
    assert set(re.findall(r"^\| `(.*?)` \|", table[1], re.MULTILINE)) == reasons
    for name, value in vars(proportional).items():
        if name.startswith("PUSH_"):
            assert f"`{value}`" in POLICIES


def test_thresholds_are_those_of_the_settings() -> None:
    rows = re.findall(r"^\| `([a-z]+-(?:above|below))` \| ([0-9.]+) \|", POLICIES, re.MULTILINE)
    assert {(key, float(value)) for key, value in rows} == {
        (key, parameter.default) for key, parameter in PARAMETERS.items() if re.fullmatch("[a-z]+-(above|below)", key)
    }
    given = proportional.Thresholds()
    assert (given.most_halvings, given.very_high) == (3, 0.9), "what is fixed is said there in words"


def test_the_example_of_a_policy_works() -> None:
    source = re.search(r"```python\n(.*?)```", POLICIES, re.DOTALL)
    assert source is not None
    namespace: dict[str, Any] = {"__name__": "our_policies"}
    exec(source[1], namespace)  # noqa: S102
    policy: Policy = namespace["SmallFirst"]()
    limits = Limits(24, 16, 28)
    for held, asked, given in ((0, 24, 26), (0, 27, 27), (64, 24, 24), (0, 0, 26)):
        decision = policy.grant(Wish(asked), Lessee(b"x", Holding(held)), View(), limits)
        assert isinstance(decision, Grant)
        assert decision.prefix_length == given


def test_conformance_has_every_row_of_the_seed() -> None:
    rows = re.findall(r"^\| (S\d+) \|", (DOCS / "conformance.md").read_text(), re.MULTILINE)
    assert rows == [f"S{number}" for number in range(1, 27)]


def test_conformance_names_tests_that_are() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (DOCS / "conformance.md").read_text())
    assert named
    missing = {
        f"{file}::{test}"
        for file, test in named
        if not (path := ROOT / "tests" / file).exists() or f"def {test}(" not in path.read_text()
    }
    assert not missing
