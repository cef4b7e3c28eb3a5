# SPDX-License-Identifier: MPL-2.0
"""Waiting for what happens soon but not at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = 10.0, pause: float = 0.03) -> T:
    """Wait until `condition` returns something true, and return that. Raises `AssertionError` where it never does.

    Between two looks are `pause` seconds, or as long as a look takes: who looks must not keep busy what is looked at.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if result := condition():
            return result
        ended = time.monotonic()
        assert ended < deadline, f"not within {seconds} s, last seen: {result!r}"
        time.sleep(max(pause, ended - began))
