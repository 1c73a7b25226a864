"""A text with a mistake, and the same text without it. Rows and columns of everything else stay what they are."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final, NamedTuple

from policy_engine.location import Location
from policy_engine.syntax.lexer import Token
from policy_engine.syntax.versions import RegoV2

_VISIBLE: Final = re.compile(r"[^\r\n]")
_CLOSERS: Final = re.compile(r"[\s)\]},;]*")


class Mistake(NamedTuple):
    """A mistake from `start` to `end`, and the source without it."""

    start: int
    end: int
    message: str
    hint: str
    repaired: str


class Text:
    def __init__(self, source: str, file: str) -> None:
        self.source = source
        self.file = file
        self._rows = [0, *(match.end() for match in re.finditer("\n", source))]

    def offset(self, loc: Location) -> int:
        return self._rows[loc.row - 1] + loc.col - 1

    def span(self, first: Token, last: Token) -> tuple[int, int]:
        """The offsets of two tokens and everything between them."""
        return self.offset(first.loc), self._rows[last.loc.end_row - 1] + last.loc.end_col - 1

    def location(self, start: int, end: int) -> Location:
        row, end_row = bisect_right(self._rows, start), bisect_right(self._rows, end)
        return Location(self.file, row, start - self._rows[row - 1] + 1, end_row, end - self._rows[end_row - 1] + 1)

    def end_of_row(self, offset: int) -> int:
        end = self.source.find("\n", offset)
        return len(self.source) if end < 0 else end

    def tail(self, start: int) -> int:
        """The position of the brackets and commas that end the row: a string without its quote ends before them."""
        end = self.end_of_row(start)
        return next(at for at in range(start + 1, end + 1) if _CLOSERS.fullmatch(self.source, at, end))

    def replaced(self, start: int, end: int, filler: str = "") -> str:
        """The source with blanks from `start` to `end`, newlines apart; `filler` comes first if there is room."""
        filler = filler if "\n" not in self.source[start : start + len(filler)] and len(filler) <= end - start else ""
        blanks = _VISIBLE.sub(" ", self.source[start + len(filler) : end])
        source = self.source[:start] + filler + blanks + self.source[end:]
        return RegoV2(source) if isinstance(self.source, RegoV2) else source

    def mistake(self, start: int, end: int, message: str, filler: str = "", hint: str = "") -> Mistake:
        """One that `filler` takes the place of."""
        return Mistake(start, end, message, hint, self.replaced(start, end, filler))
