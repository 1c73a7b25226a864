"""Plots: bars as SVG, made on the server from numbers that stand in a table beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 600
HEIGHT: Final = 120
_FOOT: Final = 20
_LABELS: Final = 6


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Bars with their labels; `rows` are the same numbers for a table."""

    title: str
    unit: str
    bars: Sequence[Bar]
    labels: Sequence[tuple[float, str]]
    most: str
    rows: Sequence[tuple[str, str]]
    bad: bool = False


def bars(title: str, unit: str, values: Sequence[tuple[str, str, float, str]], *, bad: bool = False) -> Plot:
    """Each value has its time, a short label, its number, and the number as people read it."""
    most = max((value for _, _, value, _ in values), default=0) or 1
    step = WIDTH / max(1, len(values))
    every = max(1, -(-len(values) // _LABELS))
    room = HEIGHT - _FOOT - 6
    made = [
        Bar(
            x=round(number * step + step * 0.12, 2),
            y=round(HEIGHT - _FOOT - room * value / most, 2),
            width=round(step * 0.76, 2),
            height=round(room * value / most, 2),
            title=f"{time}: {shown}",
        )
        for number, (time, _, value, shown) in enumerate(values)
    ]
    return Plot(
        title=title,
        unit=unit,
        bars=made,
        labels=[(round(number * step, 2), values[number][1]) for number in range(0, len(values), every)],
        most=max(values, key=lambda each: each[2])[3] if values else "0",
        rows=[(time, shown) for time, _, _, shown in values],
        bad=bad,
    )
