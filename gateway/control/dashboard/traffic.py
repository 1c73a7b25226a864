"""Plots of traffic, refusals and spend, from the sums that are kept by hour and day."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from gateway.control.dashboard import plots, rendering
from gateway.control.dashboard.door import View
from gateway.control.dashboard.plots import Plot

_SECONDS: Final = {"hour": 3600, "day": 86400}


async def plots_of(view: View, span: Literal["hour", "day"], count: int, agent: str | None = None) -> list[Plot]:
    """Requests, those of them that were denied or refused, and what the others cost; `count` hours or days of UTC."""
    found = await view.get("usage", "traffic", span=span, count=count, agent=agent)
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in found["items"]:
        here = sums[each["from"][:13]]
        here["requests"] += each["requests"]
        here["refused"] += each["requests"] if each["fate"] != "ended" else 0
        here["cost"] += each["cost_nanousd"]
    seconds = _SECONDS[span]
    now = int(datetime.now(UTC).timestamp()) // seconds * seconds
    times = [datetime.fromtimestamp(now, UTC) - timedelta(seconds=seconds * back) for back in reversed(range(count))]
    long, short = ("%Y-%m-%d %H:%M UTC", "%H:%M") if span == "hour" else ("%Y-%m-%d", "%m-%d")

    def of(name: str, shown: Any) -> list[tuple[str, str, float, str]]:
        values = [(each, sums[each.strftime("%Y-%m-%dT%H")][name]) for each in times]
        return [(each.strftime(long), each.strftime(short), value, shown(value)) for each, value in values]

    return [
        plots.bars(f"Requests by {span}", "", of("requests", rendering.number)),
        plots.bars(f"Refusals by {span}", "", of("refused", rendering.number), bad=True),
        plots.bars(f"Spend by {span}", "", of("cost", lambda value: rendering.money(value / 1000))),
    ]
