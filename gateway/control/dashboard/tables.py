"""Tables: rows of the API's items as cells, a page at a time, as CSV, and as the command that lists the same.

    Table.of(view, reply, columns, command=("agents", "list"), empty="…")

A column says how a cell is shown, never how it is escaped: templates do that. A page of a table is what the operation's
own `cursor` gives, so there is no counting and no going back by number.
"""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Download
from gateway.usage.spreadsheets import text_cell

Kind = Literal["text", "id", "time", "badge", "number", "money", "code", "list", "lines", "act", "pre", "choose"]

PAGE: Final = 50
CSV_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, the member of an item or a function of it, how it is shown, and where it leads."""

    title: str
    value: str | Callable[[Mapping[str, Any]], Any]
    kind: Kind = "text"
    href: Callable[[Mapping[str, Any]], str | None] | None = None
    narrow: bool = True
    """True if a narrow screen has it."""

    def of(self, item: Mapping[str, Any]) -> Any:
        return self.value(item) if callable(self.value) else item.get(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    value: Any
    kind: Kind
    href: str | None
    title: str
    narrow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as the macro in `_parts.html` shows it."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    command: str
    empty: str
    next: str | None = None
    first: str | None = None
    csv: str | None = None

    @classmethod
    def of(
        cls,
        view: View,
        reply: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        columns: Sequence[Column],
        *,
        name: str,
        command: Sequence[str],
        empty: str,
        of_organization: bool = True,
        alone: bool = True,
        onward: str = "next",
        parameter: str = "cursor",
    ) -> Table:
        """A table that is `alone` on its page is the page's file as well.

        `onward` is the member with the cursor of the next page, and `parameter` where the operation takes it.
        """
        items = reply["items"] if isinstance(reply, Mapping) else reply
        following = reply.get(onward) if isinstance(reply, Mapping) else None
        rows = [
            [
                Cell(
                    value=column.of(each),
                    kind=column.kind,
                    href=column.href(each) if column.href else None,
                    title=column.title,
                    narrow=column.narrow,
                )
                for column in columns
            ]
            for each in items
        ]
        return cls(
            name=name,
            columns=columns,
            rows=rows,
            command=command_line(view, *command, of_organization=of_organization),
            empty=empty,
            next=view.again(**{parameter: following, "format": None}) if following else None,
            first=view.again(**{parameter: None}) if view.query.get(parameter) else None,
            csv=view.again(format="csv") if rows and alone else None,
        )

    def download(self) -> Download:
        """The same as a file. A cell that a spreadsheet would take for a formula is text."""
        out = io.StringIO()
        writer = csv.writer(out)
        kept = [number for number, each in enumerate(self.columns) if each.kind not in ("act", "choose")]
        writer.writerow([self.columns[number].title for number in kept])
        for row in self.rows:
            writer.writerow([_plain(row[number].value) for number in kept])
        return Download(f"{self.name}.csv", out.getvalue().encode())


def command_line(view: View, *words: str, of_organization: bool = True) -> str:
    """The command that does or shows the same. Commands mean the organization `default` if none is named."""
    named = of_organization and view.organization != "default"
    return shlex.join(["gateway", *words, *(["--org", view.organization] if named else [])])


def options(**given: str | None) -> list[str]:
    """Options of a command for the filters of a page."""
    return [word for name, value in given.items() if value for word in (f"--{name.replace('_', '-')}", value)]


def size(view: View) -> int:
    """The number of items that a page of a table asks for; more for a file."""
    return CSV_PAGE if view.query.get("format") == "csv" else PAGE


def _plain(value: Any) -> str:
    if value is None:
        return ""
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if isinstance(value, (int, float)) else text_cell(text)
