# SPDX-License-Identifier: MPL-2.0
"""How B9 reads memory, and when it calls it flat."""

from __future__ import annotations

import math
import os

import pytest

from bench.memory import memory, slope


def test_the_slope_is_that_of_the_second_half() -> None:
    rising = [(n * 100_000, 50.0 + n / 4) for n in range(1, 11)]
    assert slope(rising) == pytest.approx(256)  # KiB for each 100,000
    settled = [(packets, min(mib, 51.0)) for packets, mib in rising]
    assert slope(settled) == 0
    assert math.isnan(slope(rising[:1]))


def test_memory_is_that_of_the_process() -> None:
    before = memory(os.getpid())
    kept = bytearray(os.urandom(1)) * (32 << 20)
    after = memory(os.getpid())
    assert 30 < after.resident - before.resident < 40
    assert 30 < after.anonymous - before.anonymous < 40
    assert len(kept) == 32 << 20
    with pytest.raises(OSError, match="No such file"):
        memory(1 << 22)
