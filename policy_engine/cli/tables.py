"""Tables of figures and texts. Columns are as wide as their content, which is never cut; the heading is dim."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text


def show_table(console: Console, heading: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 0) -> None:
    """Print a heading and rows. The last `texts` columns are aligned to the left, all others to the right."""
    lines = [heading, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    first_text = len(heading) - texts
    for number, line in enumerate(lines):
        cells = [
            cell.rjust(width) if column < first_text else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        console.print(Text("  ".join(cells).rstrip(), "dim" if number == 0 else ""), soft_wrap=True)
