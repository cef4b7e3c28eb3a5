# SPDX-License-Identifier: MPL-2.0
"""What docs/, README.md and kea-config/ say is what the code does: tables, names and links that could drift are compared."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from kea_subnet_deleg.runtime.messages import MESSAGES
from kea_subnet_deleg.runtime.settings import PARAMETERS, Parameter, Settings, json_schema

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIGURATIONS = sorted((ROOT / "kea-config").glob("*.conf"))
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

TABLE = re.compile(r"<!-- parameters -->\n(.*?)<!-- end -->", re.DOTALL)
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
