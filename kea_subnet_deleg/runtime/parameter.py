# SPDX-License-Identifier: MPL-2.0
"""One parameter: its kind, its range, and what is said where a value does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

INFINITE: Final = 0xFFFFFFFF
"""The lease time that never ends (RFC 2131 section 3.3)."""

_WORDS: Final = {"string": "a string that is not empty", "boolean": "true or false", "array": "a list of maps"}


class BadSettings(ValueError):
    """A parameter that can't be used; the text names the key, the value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key of `parameters`. `kind` is a JSON type; `default` None where it is required, derived, or there is none.

    `check` returns what is wrong with a string. `parse` makes values of an array's elements (JSON Schema `items`), or raises ValueError
    with the element, what is wrong and what is allowed. What is `secret`, or may have a secret in it, is not shown.
    """

    kind: str
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    check: Callable[[str], str | None] | None = None
    items: Mapping[str, Any] | None = None
    parse: Callable[[Any], Any] | None = None
    secret: bool = False

    @property
    def allowed(self) -> str:
        """Return what may stand here, in words."""
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.kind in _WORDS:
            return _WORDS[self.kind]
        if self.kind == "integer":
            return f"an integer from {self.minimum:.0f} to {self.maximum:.0f}"
        return f"a number from {self.minimum:.10g} to {self.maximum:.10g}"

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the parameter."""
        schema: dict[str, Any] = {"type": self.kind, "description": self.description}
        if self.choices:
            schema["enum"] = list(self.choices)
        elif self.kind == "string":
            schema["minLength"] = 1
        elif self.kind == "array":
            schema["items"] = dict(self.items or {})
        elif self.kind != "boolean":
            schema["minimum"], schema["maximum"] = self.minimum, self.maximum
        if self.default is not None:
            schema["default"] = self.default
        return schema

    def accepts(self, value: object) -> bool:
        """Whether a value from JSON is of the kind and in the range."""
        match self.kind:
            case "string":
                return isinstance(value, str) and value != "" and (not self.choices or value in self.choices)
            case "boolean" | "array":
                return isinstance(value, {"boolean": bool, "array": list}[self.kind])
            case "integer":
                fits = isinstance(value, int) and not isinstance(value, bool)
            case _:
                fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        return fits and self.minimum <= value <= self.maximum  # type: ignore[operator]


def shown(value: object) -> str:
    """Return a value as a message may show it: in JSON, without the secrets of auth-keys."""

    def hide(value: object) -> object:
        if isinstance(value, dict):
            return {key: "(not shown)" if key == "key" else hide(element) for key, element in value.items()}
        return [hide(element) for element in value] if isinstance(value, list) else value

    return json.dumps(hide(value))


def check_order(values: Mapping[str, Any], low: str, middle: str, high: str) -> None:
    """Raise BadSettings unless three numbers are in order."""
    if not values[low] <= values[middle]:
        raise BadSettings(f"{middle}: {values[middle]}: must not be less than {low}, which is {values[low]}")
    if not values[middle] <= values[high]:
        raise BadSettings(f"{middle}: {values[middle]}: must not be more than {high}, which is {values[high]}")
