# SPDX-License-Identifier: MPL-2.0
"""Measures the package's coverage where a test runs it in another process: inside kea-dhcp4, and as `kea-subnet-deleg`.

`ci/test` has every Python of .venv run this at its start, Kea's embedded one included. That one is never finalized and
Kea may be killed,
so nothing can be left to its end: a thread saves what was measured every second.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from pathlib import Path

import coverage

ROOT = Path(__file__).resolve().parents[2]
PAUSE = 1.0  # seconds between two savings: what a killed server loses at most


def _measure() -> coverage.Coverage:
    data, config = str(ROOT / ".coverage"), str(ROOT / "pyproject.toml")
    measured = coverage.Coverage(data_file=data, data_suffix=True, config_file=config)
    measured.start()
    return measured


def _keep(measured: coverage.Coverage) -> None:
    while True:
        time.sleep(PAUSE)
        measured.save()


if Path("/proc/self/comm").read_text().strip() == "kea-dhcp4":
    threading.Thread(target=_keep, args=(_measure(),), name="coverage", daemon=True).start()
elif any(Path(argument).name == "kea-subnet-deleg" for argument in sys.orig_argv[:2]):
    atexit.register(_measure().save)
