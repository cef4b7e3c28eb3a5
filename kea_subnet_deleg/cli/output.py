# SPDX-License-Identifier: MPL-2.0
"""Rows as a table for people or as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Rows = Sequence[Mapping[str, Any]]


def _plain(value: object) -> object:
    """Return a value of PostgreSQL as JSON has it."""
    match value:
        case datetime():
            return value.isoformat()
        case IPv4Network() | IPv4Address() | IPv4Interface():
            return str(value)
        case bytes() | memoryview():
            return bytes(value).hex()
        case None | bool() | int() | str() | dict() | list():
            return value
        case _:
            return float(str(value))  # Decimal


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return "never" if value == datetime.max else f"{value:%Y-%m-%d %H:%M:%S%z}"
        case dict():
            return ", ".join(f"{n} x {what}" for what, n in value.items())
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(_plain(value))


def print_json(value: object) -> None:
    """Print a value as JSON, on stdout."""
    json.dump(value, sys.stdout, indent=2, default=_plain)
    sys.stdout.write("\n")


def print_done(value: object, text: str, as_json: bool) -> None:
    """Print what was done: in words, or as JSON."""
    if as_json:
        print_json(value)
    else:
        sys.stdout.write(f"{text}\n")


def print_rows(rows: Rows, columns: Sequence[str], as_json: bool, empty: str) -> None:
    """Print all of the rows as JSON, or these columns of them as a table; `empty` says that there are none."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        sys.stdout.write(empty + "\n")
        return
    table = Table(*(column.replace("_", " ") for column in columns), header_style="bold", box=None)
    for row in rows:
        table.add_row(*(Text(_cell(row[column])) for column in columns))  # as it is: a client may call itself [/x]
    # Through a pipe, rows must stay lines, however long.
    console = Console() if sys.stdout.isatty() else Console(width=1000)
    console.print(table, soft_wrap=not sys.stdout.isatty())
