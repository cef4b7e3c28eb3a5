# SPDX-License-Identifier: MPL-2.0
"""Waiting for what happens soon but not at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = 10.0, pause: float = 0.03) -> T:
    """Wait until `condition` returns something true, and return that. Raises `AssertionError` where it never does."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s, last seen: {result!r}"
        time.sleep(pause)
    return result
