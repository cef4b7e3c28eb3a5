# SPDX-License-Identifier: MPL-2.0
"""Bar charts as SVG, of nothing but text: a bar for each side, from zero to its median, and a line from least run to greatest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

WIDTH, BAR, GAP = 720, 22, 12
LEFT, RIGHT, TOP, BOTTOM = 265, 80, 44, 34  # margins; the names are at the left, the medians behind the bars
OURS, OTHER = "#0060a8", "#a0a8b0"
TICKS: Final = 5


def values(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    """What was measured in each run."""
    return [run["value"] for run in runs]


def bars(title: str, sides: Mapping[str, Sequence[float]], ours: Sequence[str] = (), aim: float | None = None) -> str:
    """Return a chart of the runs of each side. Those named in `ours` have a colour of their own; `aim` is a line across."""
    most = max([aim or 0.0, *(value for runs in sides.values() for value in runs)]) or 1.0
    step = _step(most)
    top = step * math.ceil(most / step)
    height = TOP + len(sides) * (BAR + GAP) + BOTTOM
    bottom = height - BOTTOM

    def x_of(value: float) -> float:
        return LEFT + value / top * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(12, 22, title, size=14),
    ]
    for tick in range(round(top / step) + 1):
        x = x_of(tick * step)
        parts += [
            _line(x, TOP - 6, x, bottom, "#e0e0e0"),
            _text(x, bottom + 16, f"{tick * step:,.4g}", anchor="middle"),
        ]
    for number, (name, runs) in enumerate(sides.items()):
        y, middle = TOP + number * (BAR + GAP), statistics.median(runs)
        colour = OURS if name in ours else OTHER
        parts += [
            f'<rect x="{LEFT}" y="{y}" width="{x_of(middle) - LEFT:.1f}" height="{BAR}" fill="{colour}"/>',
            _line(x_of(min(runs)), y + BAR / 2, x_of(max(runs)), y + BAR / 2, "#202020"),
            _text(LEFT - 8, y + BAR - 6, name, anchor="end"),
            _text(x_of(max(runs)) + 6, y + BAR - 6, f"{middle:,.4g}"),
        ]
    if aim is not None:
        parts += [
            _line(x_of(aim), TOP - 6, x_of(aim), bottom, "#c00000"),
            _text(x_of(aim), TOP - 10, f"aim {aim:g}", anchor="middle"),
        ]
    return "\n".join([*parts, "</svg>\n"])


def _step(most: float) -> float:
    """The distance of the ticks up to `most`: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(most / TICKS))
    return next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor * TICKS >= most * 0.999)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
