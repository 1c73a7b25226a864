"""The first page of an organization: what needs a person, then how much was asked and what it cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gateway.control.dashboard import plots, rendering
from gateway.control.dashboard.door import View
from gateway.control.dashboard.plots import Plot
from gateway.control.dashboard.shown import Found, Page, Shown

_HOURS: Final = 24
_DAYS: Final = 30


async def home(view: View) -> Found:
    status = await view.get_all("status")
    shown = await _traffic(view) if view.may("usage") else []
    return Shown("home.html", "Home", {"status": status, "plots": shown})


async def _traffic(view: View) -> list[Plot]:
    """Of the sums that are kept by hour; nothing is added up from the log for a page."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [now - timedelta(hours=number) for number in reversed(range(_HOURS))]
    since = hours[0].strftime("%Y-%m-%dT%H:%M:%SZ")
    found = await view.get("usage", by="hour", since=since, zone="UTC")
    sums: dict[str, Mapping[str, Any]] = defaultdict(dict)
    for each in found["items"]:
        sums[each["key"][0][:13]] = each["counts"]
    keyed = [
        (each.strftime("%Y-%m-%d %H:00 UTC"), each.strftime("%H:%M"), each.strftime("%Y-%m-%dT%H")) for each in hours
    ]

    def of(name: str, shown: Any) -> list[tuple[str, str, float, str]]:
        return [(time, label, sums[key].get(name, 0), shown(sums[key].get(name, 0))) for time, label, key in keyed]

    return [
        plots.bars("Requests by hour", "requests", of("requests", rendering.number)),
        plots.bars("Spend by hour", "", of("cost_nanousd", lambda value: rendering.money(value / 1000))),
    ]


PAGES = [
    Page("", home),
]
