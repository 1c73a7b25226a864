"""A page of tables: most sections are one, and need no template of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Field
from gateway.control.dashboard.plots import Plot
from gateway.control.dashboard.shown import Found, Shown
from gateway.control.dashboard.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Adding:
    """A form below the tables that makes a new row."""

    title: str
    verb: str
    action: str
    fields: Sequence[Field]


def page(
    view: View,
    title: str,
    section: str,
    shown: Sequence[tuple[str, Table]],
    *,
    actions: Sequence[tuple[str, str]] = (),
    filters: Sequence[Field] = (),
    notes: Sequence[tuple[str, str]] = (),
    plots: Sequence[Plot] = (),
    texts: Sequence[tuple[str, str]] = (),
    crumb: tuple[str, str] | None = None,
    adding: Adding | None = None,
) -> Found:
    """`shown` are tables with their headings; the first one is the page's file, if it is asked for one."""
    if view.query.get("format") == "csv" and shown:
        return shown[0][1].download()
    values = {
        "section": section,
        "tables": shown,
        "actions": actions,
        "filters": filters,
        "notes": notes,
        "plots": plots,
        "texts": texts,
        "crumb": crumb,
        "adding": adding,
    }
    return Shown("tables.html", title, values)
