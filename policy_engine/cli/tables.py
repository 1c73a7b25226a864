"""Columns of figures, as wide as they need to be. On a terminal the heading is dim; nothing is ever cut off."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text


def show_table(console: Console, heading: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 0) -> None:
    """A heading and rows. The last `texts` columns are texts and begin at the left; figures end at the right."""
    lines = [heading, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    first_text = len(heading) - texts
    for number, line in enumerate(lines):
        cells = [
            cell.rjust(width) if column < first_text else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        console.print(Text("  ".join(cells).rstrip(), "dim" if number == 0 else ""), soft_wrap=True)
