# SPDX-License-Identifier: MPL-2.0
"""Line charts as SVG, of nothing but text: a title, two axes that begin at zero, some lines with their names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 210, 50, 50  # margins; the names of the lines are at the right
COLOURS: Final = ("#0060a8", "#c84800", "#2a8a3a", "#8050a0", "#707070", "#b09000")
TICKS: Final = 6


def lines(title: str, across: str, up: str, series: Mapping[str, Points]) -> str:
    """Return a chart of `series` by name, with what is `across` and what goes `up` beside the axes."""
    most_x = max((x for points in series.values() for x, _ in points), default=1) or 1
    most_y = max((y for points in series.values() for _, y in points), default=1) or 1
    step_x, step_y = _step(most_x), _step(most_y)
    top_x, top_y = most_x, step_y * math.ceil(most_y / step_y)

    def x_of(value: float) -> float:
        return LEFT + value / top_x * (WIDTH - LEFT - RIGHT)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - value / top_y * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, TOP - 28, title, size=14),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across, anchor="middle"),
        _text(LEFT, TOP - 8, up),
    ]
    for number in range(int(top_x / step_x) + 1):
        x = x_of(number * step_x)
        parts.append(_line(x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 4))
        parts.append(_text(x, HEIGHT - BOTTOM + 18, _number(number * step_x), anchor="middle"))
    for number in range(round(top_y / step_y) + 1):
        y = y_of(number * step_y)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y))
        parts.append(_text(LEFT - 6, y + 4, _number(number * step_y), anchor="end"))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        at = TOP + 10 + 20 * number
        parts.append(
            f'<line x1="{WIDTH - RIGHT + 12}" y1="{at}" x2="{WIDTH - RIGHT + 32}" y2="{at}" stroke="{colour}" stroke-width="3"/>'
        )
        parts.append(_text(WIDTH - RIGHT + 38, at + 4, name))
    return "\n".join([*parts, "</svg>\n"])


def _step(most: float) -> float:
    """Return the distance of the ticks of an axis that ends at `most`: 1, 2 or 5 times a power of ten."""
    rough = most / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.3g}"


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#d0d0d0"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
