# SPDX-License-Identifier: MPL-2.0
"""kea-dhcp4.conf as far as it is ours: the parameters of the hook, found and checked without Kea."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from kea_subnet_deleg.runtime.settings import BadSettings, Settings

LIBRARY: Final = "libdhcp_subnet_deleg.so"

# A string, which may look like it holds one of the others; a comment in one of the three forms that Kea takes; or an inclusion.
_TOKEN: Final = re.compile(
    r'(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<comment>//[^\n]*|#[^\n]*|/\*.*?\*/)|(?P<include><\?\s*include\b[^>]*\?>)',
    re.DOTALL,
)
# Kea takes a comma behind the last element, with a warning.
_LAST_COMMA: Final = re.compile(r'("(?:[^"\\\n]|\\.)*")|,(?=\s*[]}])')


class BadConfiguration(ValueError):
    """The configuration can't be read, or its parameters of the hook are wrong; the text says which and what is allowed."""


def check(path: Path) -> Settings:
    """Return the settings that a kea-dhcp4.conf gives the hook.

    Raises BadConfiguration: the file can't be read, is not what Kea takes for JSON, includes others, has no entry of the hook or
    several, a map of it has a key twice, or the hook would refuse its parameters. All else in it is for `kea-dhcp4 -t`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadConfiguration(error.strerror) from None
    except UnicodeDecodeError as error:
        raise BadConfiguration(str(error)) from None
    try:
        configuration = json.loads(as_json(text), object_pairs_hook=_map)
    except json.JSONDecodeError as error:
        raise BadConfiguration(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    try:
        settings = Settings.from_json(json.dumps(_parameters(configuration)))
    except BadSettings as error:
        raise BadConfiguration(str(error)) from None
    if settings.python_path is not None and not _has_package(settings.python_path):
        raise BadConfiguration(
            f'python-path: "{settings.python_path}": kea_subnet_deleg is not installed in this directory'
        )
    return settings


def _map(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a map, as Kea does: one that has a key twice is none. Raises BadConfiguration."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadConfiguration(f"{json.dumps(key, ensure_ascii=False)}: is twice in one map, which Kea refuses")
        found[key] = value
    return found


def _has_package(path: str) -> bool:
    """Whether our package is found in a site-packages directory, as by the hook: by a Python that looks nowhere else."""
    program = (
        "import importlib.util, site, sys; site.addsitedir(sys.argv[1]);"
        " sys.exit(importlib.util.find_spec('kea_subnet_deleg') is None)"
    )
    found = subprocess.run([sys.executable, "-I", "-S", "-c", program, path], check=False)  # noqa: S603  # path is data
    return found.returncode == 0


def as_json(text: str) -> str:
    """Return JSON of what Kea takes: without comments and last commas, each character else in its place.

    Raises BadConfiguration for an inclusion.
    """

    def blank(match: re.Match[str]) -> str:
        if match["include"]:
            line = text.count("\n", 0, match.start()) + 1
            raise BadConfiguration(
                f"line {line}: {match['include']}: files are not included here; give the file that has the hooks-libraries, "
                "with this line taken out"
            )
        return match["string"] or re.sub(r"[^\n]", " ", match["comment"])

    return _LAST_COMMA.sub(lambda match: match[1] or " ", _TOKEN.sub(blank, text))


def _parameters(configuration: object) -> Any:
    """Return the parameters of the hook's one entry. Raises BadConfiguration where that is not there."""
    libraries: object = configuration
    for key, kind in (("Dhcp4", dict), ("hooks-libraries", list)):
        libraries = libraries.get(key) if isinstance(libraries, dict) else None
        if not isinstance(libraries, kind):
            what = "map" if kind is dict else "list"
            raise BadConfiguration(f"{key}: no {what} of that name; it is where {LIBRARY} has its entry")
    entries = [entry for entry in libraries if _is_ours(entry)]  # type: ignore[attr-defined]  # a list, see above
    if len(entries) != 1:
        raise BadConfiguration(f"hooks-libraries: {len(entries)} entries of {LIBRARY}; one is needed")
    return entries[0].get("parameters", {})


def _is_ours(entry: object) -> bool:
    library = entry.get("library") if isinstance(entry, dict) else None
    return isinstance(library, str) and PurePosixPath(library).name == LIBRARY
