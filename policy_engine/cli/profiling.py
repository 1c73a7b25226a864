"""`policy eval --profile`: the time of rules and lines, as tables, and as JSON with OPA's field names."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from policy_engine.cli.measuring import duration
from policy_engine.cli.tables import show_table
from policy_engine.codegen.profile import Profile, Spent

MAX_TEXT: Final = 60
"""Longest text of a line that is shown, in characters."""


class Order(enum.StrEnum):
    TIME = "time"
    EVALUATIONS = "evaluations"
    LINE = "line"


ORDERS: Final[dict[Order, Callable[[Spent], Any]]] = {
    Order.TIME: lambda spent: -spent.time_ns,
    Order.EVALUATIONS: lambda spent: -spent.evaluations,
    Order.LINE: lambda spent: (spent.location.file, spent.location.row),
}

Wanted = Annotated[bool, typer.Option("--profile", help="Also show which rules and lines took the time.")]
Sort = Annotated[Order, typer.Option("--profile-sort", help="Order of a profile's rows.")]
Limit = Annotated[int, typer.Option("--profile-limit", min=0, help="Rows in each table of a profile; 0 for all.")]


def show_profile(
    console: Console, profile: Profile, sources: Mapping[str, str], order: Order = Order.TIME, limit: int = 0
) -> None:
    """Print two tables: rules with their total time, and lines with the time spent on the line itself."""
    _table(console, _chosen(profile.rules, order, limit), "rule", lambda spent: spent.name)
    console.print()
    _table(console, _chosen(profile.lines, order, limit), "text", lambda spent: _text(spent, sources))


def profile_document(profile: Profile, order: Order = Order.TIME, limit: int = 0) -> dict[str, Any]:
    """The same as a JSON document: `profile` has OPA's format, `profile_rules` is this engine's addition."""
    return {
        "profile": [_members(spent) for spent in _chosen(profile.lines, order, limit)],
        "profile_rules": [{"name": spent.name, **_members(spent)} for spent in _chosen(profile.rules, order, limit)],
    }


def _chosen(found: Sequence[Spent], order: Order, limit: int) -> list[Spent]:
    return sorted(found, key=ORDERS[order])[: limit or None]


def _table(console: Console, found: Sequence[Spent], last: str, text: Callable[[Spent], str]) -> None:
    rows = [
        [
            duration(spent.time_ns),
            f"{spent.evaluations:,}",
            f"{spent.location.file or 'query'}:{spent.location.row}",
            text(spent),
        ]
        for spent in found
    ]
    show_table(console, ("time", "evaluations", "line", last), rows, texts=2)


def _text(spent: Spent, sources: Mapping[str, str]) -> str:
    """The line itself, without its indentation."""
    where = spent.location
    # As the lexer counts lines: splitlines() also splits at form feeds.
    text = sources[where.file].split("\n")[where.row - 1].strip()
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _members(spent: Spent) -> dict[str, Any]:
    where = spent.location
    return {
        "total_time_ns": spent.time_ns,
        "num_eval": spent.evaluations,
        "location": {"file": where.file, "row": where.row},
    }
