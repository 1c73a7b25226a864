"""A place in a source file. Locations are metadata: they never take part in the equality of nodes."""

from __future__ import annotations

from typing import NamedTuple


class Location(NamedTuple):
    """A span of source text.

    `row` and `col` are 1-based and count lines and Unicode code points; `end_row` and `end_col` point just behind the
    last character. `file` is the name given when the module was compiled, "" for text that has none.
    """

    file: str = ""
    row: int = 0
    col: int = 0
    end_row: int = 0
    end_col: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.row}" if self.file else str(self.row)

    def contains(self, other: Location) -> bool:
        """True if a span of the same file lies in this one."""
        return self[1:3] <= other[1:3] and other[3:5] <= self[3:5]

    def text_in(self, source: str) -> str:
        """The source text of the span."""
        lines = source.split("\n")[self.row - 1 : self.end_row]
        lines[-1] = lines[-1][: self.end_col - 1]  # the end first: both ends may be on the same line
        lines[0] = lines[0][self.col - 1 :]
        return "\n".join(lines)


NOWHERE = Location()
