"""The tokens of a refused text, cut one at a time and in the order in which OPA's parser would ask for them.

Other than the Lexer this scanner has no opinion on what the text as a whole is: a bracket without a mate or a string
without an end is met when it is reached, if it is reached at all. Positions are counted as OPA counts them: a newline
stands at column 0 of the row it begins, and the end of the text at its last character.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final, NamedTuple

NAME, NUMBER, STRING, SPACE, EOF, ILLEGAL = "identifier", "number", "string", "whitespace", "eof", "illegal"
PART, PART_END = "template-string-part", "template-string-end"
RAW_PART, RAW_PART_END = "raw-template-string-part", "raw-template-string-end"

_BLANK: Final = re.compile(r"[ \t\r\n]*(?:#[^\n]*[ \t\r\n]*)*")
_COMMENTS: Final = re.compile(r"(?:#[^\n]*)?")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_\d]*")
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]*)?([A-Za-z_][A-Za-z_\d]*)?")
_SYMBOL: Final = re.compile(r":=|[=!<>]=|[][(){},;:=<>+\-*/%&|.]")
_STRING: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"?')
_RAW: Final = re.compile(r"`[^`]*`?")
_ESCAPE: Final = re.compile(r'\\(?!["\\/bfnrtu])')
_TEMPLATE: Final = {
    '"': re.compile(r'(?:[^"\\{\n]|\\.)*(["{]?)'),
    "`": re.compile(r"(?:[^`\\{]|\\\{?)*([`{]?)"),
}


class Scanned(NamedTuple):
    """A token: `kind` is a word or a symbol itself, or one of the names above. Offsets count characters."""

    kind: str
    text: str
    start: int
    end: int
    errors: tuple[str, ...] = ()


class Scanner:
    def __init__(self, source: str) -> None:
        self.source = source
        self._lines = [0, *(found.end() for found in re.finditer("\n", source))]
        self._known: dict[int, Scanned] = {}

    def place(self, token: Scanned) -> tuple[int, int]:
        """Row and column."""
        row = bisect_right(self._lines, token.start)
        if self.source.startswith("\n", token.start):
            return row + 1, 0
        return row, token.start - self._lines[row - 1] + (token.start < len(self.source))

    def forget(self) -> None:
        """Nobody goes back to what has been read."""
        self._known.clear()

    def skip(self, offset: int) -> int:
        """Where the first token stands that is neither white space nor a comment."""
        found = _BLANK.match(self.source, offset)
        assert found is not None
        return found.end()

    def scan(self, offset: int) -> Scanned:
        """The token at `offset`, which may be white space."""
        found = _COMMENTS.match(self.source, offset)
        assert found is not None
        offset = found.end()
        if offset not in self._known:
            self._known[offset] = self._scan(offset)
        return self._known[offset]

    def template(self, offset: int, quote: str, start: int) -> Scanned:
        """The text of a template string from `offset` to its next `{` or its end; the token begins at `start`."""
        found = _TEMPLATE[quote].match(self.source, offset)
        assert found is not None
        errors = _escapes(found[0].replace("\\{", "")) if quote == '"' else ()
        if not found[1]:
            errors = (*errors, "non-terminated string")
        end = found[1] == quote
        kind = (PART_END if end else PART) if quote == '"' else (RAW_PART_END if end else RAW_PART)
        return Scanned(kind, found[0], start, found.end(), errors)

    def _scan(self, start: int) -> Scanned:
        source = self.source
        character = source[start : start + 1]
        if not character:
            return Scanned(EOF, "", start, start)
        if character in " \t\r\n":
            return Scanned(SPACE, character, start, start + 1)
        if found := _NAME.match(source, start):
            return Scanned(NAME, found[0], start, found.end())
        if found := _NUMBER.match(source, start):
            return Scanned(NUMBER, found[0], start, found.end(), _number(found))
        if found := _STRING.match(source, start) or _RAW.match(source, start):
            errors = _escapes(found[0]) if character == '"' else ()
            if len(found[0]) == 1 or found[0][-1] != character:
                errors = (*errors, "non-terminated string")
            return Scanned(STRING, found[0], start, found.end(), errors)
        if source.startswith(('$"', "$`"), start):
            return self.template(start + 2, source[start + 1], start)
        if found := _SYMBOL.match(source, start):
            return Scanned(found[0], found[0], start, found.end())
        errors = (f"illegal {character} character",) if character in "!$" else ()
        return Scanned(ILLEGAL, character, start, start + 1, errors)


def _number(found: re.Match[str]) -> tuple[str, ...]:
    if found.lastindex is None:
        return ()
    wrong = (
        (found[1] == ".", "expected fraction"),
        (bool(found[2]) and not found[2][-1].isdigit(), "expected exponent"),
        (bool(found[3]), "illegal number format"),
    )
    return tuple(message for applies, message in wrong if applies)


def _escapes(text: str) -> tuple[str, ...]:
    return ("illegal escape sequence",) * len(_ESCAPE.findall(text.replace("\\\\", "")))
