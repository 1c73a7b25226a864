"""Usage: what was used and what it cost, by whatever it can be added up by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gateway.control.dashboard import listing, traffic
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Field
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table, options
from gateway.control.problems import Problem

_BY: Final = ("agent", "model", "agent,model", "team", "upstream", "provider", "day")
_DAYS: Final = ("1", "7", "30", "90")
_SHOWN: Final = 500
_FILE: Final = 10_000
"""Rows, those that cost most."""


def _key(number: int) -> Callable[[Mapping[str, Any]], Any]:
    return lambda each: each["key"][number]


async def report(view: View) -> Found:
    by = view.query.get("by") if view.query.get("by") in _BY else "agent"
    days = view.query.get("days") if view.query.get("days") in _DAYS else "30"
    since = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=int(str(days)) - 1)
    start = since.strftime("%Y-%m-%dT%H:%M:%SZ")
    whole = view.query.get("format") == "csv"
    found, plots = await asyncio.gather(
        view.get_kept(view.get, "usage", by=by, since=start, top=_FILE if whole else _SHOWN),
        traffic.plots_of(view, "day", min(30, int(str(days)) + 1)),
    )
    if whole and found is None:
        raise Problem(503, "not_ready", "the sums are being made", hint="ask for the file again in a moment")
    names = str(by).split(",")
    columns = [
        *(Column(name.capitalize(), _key(number)) for number, name in enumerate(names)),
        Column("Requests", lambda each: each["counts"]["requests"], "number"),
        Column("Input", lambda each: each["counts"]["input"], "number", narrow=False),
        Column("Output", lambda each: each["counts"]["output"], "number", narrow=False),
        Column("Cost", lambda each: each["counts"]["cost_nanousd"] // 1000, "money"),
    ]
    table = Table.of(
        view,
        found["items"] if found else [],
        columns,
        name="usage",
        command=[
            *("usage", "--by", str(by), "--since", start),
            *options(only=None if view.organization == "default" else f"organization={view.organization}"),
        ],
        of_organization=False,
        empty="Nothing was used in this time. Calls are added up when they have ended.",
    )
    notes = _notes(found)
    filters = [
        Field(name="by", title="By", value=str(by), choices=_BY),
        Field(name="days", title="Days", value=str(days), choices=_DAYS),
    ]
    return listing.page(view, "Usage", "usage", [("", table)], filters=filters, plots=plots, notes=notes)


def _notes(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """How far the sums are."""
    if found is None:
        return [("warn", "The sums are being made: load the page again in a moment.")]
    notes = [("plain", f"Added up at {found['made'][:19].replace('T', ' ')} UTC.")]
    shown, many = len(found["items"]), found["rows"]
    if many > shown:
        notes.append(("warn", f"These are the {shown} of {many:,} rows that cost most; the file has {_FILE:,}."))
    return notes


PAGES = [
    ShownPage("usage", report),
]
