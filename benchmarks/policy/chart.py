"""Growth curves as SVG: both axes logarithmic, one line for each engine, readable on white and on black."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.policy.engines import ENGINES
from benchmarks.policy.run import Row

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 116, 40, 44
COLOURS = {
    "ours": "#d6336c",
    "by hand": "#868e96",
    "OPA": "#1c7ed6",
    "rego-cpp": "#9c6ade",
    "regorus": "#e8590c",
    "RVM": "#c79100",
    "Cedar": "#2b8a3e",
}
"""Middle tones: enough contrast on both grounds."""

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #343a40 }
.title { font-size: 14px; font-weight: 600 }
.grid { stroke: #adb5bd; stroke-opacity: .35 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round }
@media (prefers-color-scheme: dark) { text { fill: #dee2e6 } }
"""


class Scale:
    """A logarithmic axis from a power of ten to a power of ten."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)) + 1e-9)
        self.high = max(self.low + 1, math.ceil(math.log10(max(values)) - 1e-9))
        self.start, self.end = start, end

    def place(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def draw(title: str, unit: str, rows: Sequence[Row]) -> str:
    """The chart of one series; `unit` is what the horizontal axis counts."""
    across = Scale([row.work.size for row in rows], LEFT, WIDTH - RIGHT)
    up = Scale([value for row in rows for value in row.figures.values()], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}: time of one decision</title><style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>',
        *_axes(across, up, unit),
    ]
    ends: list[tuple[float, str]] = []
    for name in ENGINES:
        points = [(across.place(r.work.size), up.place(r.figures[name])) for r in rows if name in r.figures]
        if points:
            parts += _curve(points, COLOURS[name])
            ends.append((points[-1][1], name))
    parts += _legend(ends)
    return "\n".join([*parts, "</svg>", ""])


def _axes(across: Scale, up: Scale, unit: str) -> list[str]:
    parts = []
    for value in up.ticks():
        y = up.place(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{_duration(value)}</text>')
    for value in across.ticks():
        x = across.place(value)
        parts.append(f'<line class="grid" x1="{x}" y1="{TOP}" x2="{x}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:,.0f}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(unit)}</text>')
    return parts


def _curve(points: Sequence[tuple[float, float]], colour: str) -> list[str]:
    path = " ".join(f"{x},{y}" for x, y in points)
    dots = [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points]
    return [f'<polyline class="line" stroke="{colour}" points="{path}"/>', *dots]


def _legend(ends: list[tuple[float, str]]) -> list[str]:
    """Each name where its curve ends, as far as the others leave room; a swatch says which one it is."""
    parts, free = [], float(TOP)
    x = WIDTH - RIGHT + 14
    overflow = max(0.0, TOP + 18 * len(ends) - (HEIGHT - BOTTOM))
    for number, (y, name) in enumerate(sorted(ends)):
        below = len(ends) - number - 1
        place = max(free, min(y, HEIGHT - BOTTOM - 18 * below + overflow))
        free = place + 18
        parts.append(f'<rect x="{x}" y="{place - 5:.1f}" width="12" height="10" rx="2" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{x + 18}" y="{place + 4:.1f}">{escape(name)}</text>')
    return parts


def _duration(microseconds: float) -> str:
    for size, unit in ((1e6, "s"), (1e3, "ms"), (1, "µs")):
        if microseconds >= size:
            return f"{microseconds / size:,.0f} {unit}"
    return f"{microseconds * 1e3:,.0f} ns"
