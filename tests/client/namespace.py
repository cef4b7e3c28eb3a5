# SPDX-License-Identifier: MPL-2.0
"""Doing one thing inside a network namespace from a process that stays outside."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000  # linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)  # Python has os.setns from 3.12 on; Debian 12 has 3.11


def run_inside(netns: str, action: Callable[[], T]) -> T:
    """Call `action` in a thread that has entered the namespace `netns` (a name of `ip netns`) and return its result.

    A namespace belongs to a thread, so the caller's own stays as it is; a socket that `action` makes stays in the
    namespace for good.
    Raises `OSError` where there is no such namespace, and whatever `action` raises.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            handle = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(handle, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"cannot enter network namespace {netns}")
            finally:
                os.close(handle)
            results.append(action())
        except BaseException as error:  # carried to the caller's thread below
            errors.append(error)

    thread = threading.Thread(target=enter, name=f"inside {netns}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
