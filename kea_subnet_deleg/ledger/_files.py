# SPDX-License-Identifier: MPL-2.0
"""The SQL files that come with the package."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Final, LiteralString

_NAME: Final = re.compile(r"^-- (\w+) --\n(?:--.*\n)*", re.MULTILINE)


def _read_queries() -> dict[str, LiteralString]:
    """Split queries.sql into its named queries."""
    text = (files(__package__) / "queries.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    return {name: query.strip() for name, query in zip(parts[1::2], parts[2::2], strict=True)}


QUERIES: Final = _read_queries()

_SECOND_HALF: Final = re.compile(r"^-- =+ what can be replaced$", re.MULTILINE)


def schema_sql() -> LiteralString:
    """Return schema.sql: beside this module in an installed package, at the top of a checkout.

    Raises FileNotFoundError where the installation lacks it.
    """
    for folder in (Path(__file__).parent, Path(__file__).parents[2]):
        path = folder / "schema.sql"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"schema.sql is missing from the installation of {__package__}; install the package again")


def upgrade_sql(version: int) -> LiteralString:
    """Return what changes the tables of a ledger from the version before to `version`."""
    return (files(__package__) / "upgrades" / f"{version}.sql").read_text(encoding="utf-8")


def replaceable_sql() -> LiteralString:
    """Return the part of schema.sql that makes all but the tables, or replaces it: functions, views, and who may use them."""
    _, second_half = _SECOND_HALF.split(schema_sql())
    return second_half
