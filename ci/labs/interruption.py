# SPDX-License-Identifier: MPL-2.0
"""Ctrl-C and its like as `KeyboardInterrupt`, and none of them lost."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_came = threading.Event()


def expect() -> None:
    """Raise `KeyboardInterrupt` wherever the main thread is when one of the signals comes.

    SIGINT also where it was ignored: a shell starts so what it puts into the background. Not SIGHUP: that was nohup.
    """
    for number in SIGNALS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


def check() -> None:
    """Raise `KeyboardInterrupt` if a signal came.

    Python drops an exception that is raised in a finalizer, of subprocess.Popen for one; so there have to be places that look again.
    """
    if _came.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def put_off() -> Iterator[None]:
    """Keep the signals from interrupting what must be finished; what came meanwhile is handled at the end.

    They are blocked for the commands that are run meanwhile: Ctrl-C on a terminal is sent to those, too. Other threads may still
    take one, for which Python's handlers run in the main thread, and there alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {number: signal.signal(number, lambda came, _frame: waiting.append(came)) for number in SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        for came in waiting[:1]:
            signal.raise_signal(came)


def _raise(_number: int, _frame: object) -> None:
    _came.set()
    raise KeyboardInterrupt
