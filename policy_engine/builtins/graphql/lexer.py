"""GraphQL text as tokens, as OPA's gqlparser reads it. Positions are in characters, from 1, with its quirks.

A string's column is that of its first character, behind the quotes; a block string's is counted from the line where it
ends. Text that is no token becomes one of kind `INVALID`, which no rule of the grammar accepts; its value says why.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from policy_engine.builtins.octets import SURROGATES, to_bytes
from policy_engine.values import Charge

INVALID, EOF, SPREAD = "<Invalid>", "<EOF>", "..."
NAME, INT, FLOAT, STRING, BLOCK_STRING, COMMENT = "Name", "Int", "Float", "String", "BlockString", "Comment"


class Token(NamedTuple):
    """`kind` is what error messages call it; `value` is empty for punctuation; `comments` stand right before it."""

    kind: str
    value: str
    line: int
    column: int
    comments: tuple[Token, ...]


_PUNCTUATION: Final = frozenset("!$&():=@[]{}|")
_BLANK: Final = re.compile("[\t ,\ufeff]+")
_COMMENT: Final = re.compile("#[^\x00-\x08\x0a-\x1f]*")
_NAME: Final = re.compile("[_A-Za-z][_0-9A-Za-z]*")
_DIGITS: Final = re.compile("[0-9]*")
_IN_STRING: Final = re.compile('[^"\\\\\x00-\x08\x0a-\x1f]+')
_HEX: Final = re.compile("[0-9a-fA-F]{4}")
_ESCAPES: Final = {'"': '"', "/": "/", "\\": "\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Lexer:
    """`charge` is told of lines and of pieces of strings; the parser tells it of tokens."""

    def __init__(self, text: str, charge: Charge | None = None) -> None:
        self._charge = charge or (lambda _: None)
        self.text = text
        self.at = 0
        self.line = 1
        self.line_start = 0
        self._comments: tuple[Token, ...] = ()

    def read(self) -> Token:
        """The next token; `EOF` again and again behind the last."""
        self._skip_blank()
        start, text = self.at, self.text
        if start >= len(text):
            return self._token(EOF, "", start)
        char = text[start]
        if char in _PUNCTUATION:
            self.at += 1
            return self._token(char, "", start)
        if text.startswith(SPREAD, start):
            self.at += 3
            return self._token(SPREAD, "", start)
        if found := _NAME.match(text, start):
            self.at = found.end()
            return self._token(NAME, found.group(), start)
        if char == "-" or "0" <= char <= "9":
            return self._number()
        if text.startswith('"""', start):
            return self._block_string()
        return self._string() if char == '"' else self._invalid(start, _unexpected(char))

    def _token(self, kind: str, value: str, start: int) -> Token:
        return Token(kind, value, self.line, start - self.line_start + 1, self._comments)

    def _invalid(self, at: int, reason: str) -> Token:
        return self._token(INVALID, reason, at)

    def _skip_blank(self) -> None:
        comments: list[Token] = []
        self._comments = ()
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in "\r\n":
                self._charge(1)
                self._new_line(self.at + 1)
                # The second half of a line end counts into the column.
                self.at += char == "\r" and self.text.startswith("\n", self.at)
            elif found := _BLANK.match(self.text, self.at):
                self.at = found.end()
            elif found := _COMMENT.match(self.text, self.at):
                comments.append(self._token(COMMENT, _clean(found.group()), self.at))
                self.at = found.end()
            else:
                break
        self._comments = tuple(comments)

    def _new_line(self, start: int) -> None:
        self.at = self.line_start = start
        self.line += 1

    def _number(self) -> Token:
        start, at = self.at, self.at + self.text.startswith("-", self.at)
        end = self._digits(at)
        if end == at:
            return self._no_digit(at)
        if self.text[at] == "0" and end > at + 1:
            return self._invalid(at + 1, f"Invalid number, unexpected digit after 0: {self._quoted(at + 1)}.")
        kind = INT
        for marks, signs in ((".", ()), ("eE", ("+", "-"))):
            if end < len(self.text) and self.text[end] in marks:
                kind = FLOAT
                at = end + 1
                at += self.text[at : at + 1] in signs
                end = self._digits(at)
                if end == at:
                    return self._no_digit(at)
        self.at = end
        return self._token(kind, self.text[start:end], start)

    def _no_digit(self, at: int) -> Token:
        return self._invalid(at, f"Invalid number, expected digit but got: {self._quoted(at)}.")

    def _quoted(self, at: int) -> str:
        return f'"{_first_octet(self.text[at])}"' if at < len(self.text) else EOF

    def _digits(self, at: int) -> int:
        found = _DIGITS.match(self.text, at)
        return at if found is None else found.end()

    def _string(self) -> Token:
        start = at = self.at + 1
        parts: list[str] = []
        while at < len(self.text):
            if found := _IN_STRING.match(self.text, at):
                parts.append(found.group())
                at = found.end()
                continue
            char = self.text[at]
            if char == '"':
                self.at = at + 1
                return self._token(STRING, _clean("".join(parts)), start)
            if char in "\r\n":
                break
            if char != "\\":
                return self._invalid(at, _control_in_string(char))
            self._charge(1)
            escape = self.text[at + 1 : at + 2]
            if escape == "u" and (digits := _HEX.match(self.text, at + 2)) and at + 6 < len(self.text):
                parts.append(chr(int(digits.group(), 16)))
                at += 6
            elif escape in _ESCAPES:
                parts.append(_ESCAPES[escape])
                at += 2
            else:
                shown = self.text[at + 1 : at + 6] if escape == "u" else escape
                detail = f": \\{shown}" if shown else ""
                return self._invalid(at + 1, f"Invalid character escape sequence{detail}.")
        return self._invalid(at, "Unterminated string.")

    def _block_string(self) -> Token:
        start = self.at + 3
        parts: list[str] = []
        self.at = start
        while self.at < len(self.text):
            self._charge(1)
            char = self.text[self.at]
            if found := _IN_STRING.match(self.text, self.at):
                parts.append(found.group())
                self.at = found.end()
            elif self.text.startswith('"""', self.at) and not self.text.startswith('""""', self.at):
                token = self._token(BLOCK_STRING, _clean(_dedented("".join(parts))), start)
                self.at += 3
                return token
            elif self.text.startswith('\\"""', self.at):
                parts.append('"""')
                self.at += 4
            elif char in "\r\n":
                parts.append("\n")
                self._new_line(self.at + (2 if self.text.startswith("\r\n", self.at) else 1))
            elif char in '"\\':
                parts.append(char)
                self.at += 1
            else:
                return self._invalid(self.at, _control_in_string(char))
        return self._invalid(self.at, "Unterminated string.")


def _first_octet(char: str) -> str:
    """Messages show octets as if they were characters."""
    return to_bytes(char)[:1].decode("latin-1")


def _unexpected(char: str) -> str:
    if char < " ":
        return f'Cannot contain the invalid character "\\u{ord(char):04}"'
    if char == "'":
        return "Unexpected single quote character ('), did you mean to use a double quote (\")?"
    return f'Cannot parse the unexpected character "{_first_octet(char)}".'


def _control_in_string(char: str) -> str:
    return f'Invalid character within String: "\\u{ord(char):04}".'


def _clean(text: str) -> str:
    """Halves of surrogate pairs, which an escape can make, are no characters."""
    return SURROGATES.sub("\ufffd", text) if SURROGATES.search(text) else text


def _dedented(text: str) -> str:
    """Without blank lines at the ends, and without the indent that all lines share, which the first line keeps."""
    lines = text.split("\n")
    indents = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip(" \t")]
    indent = min(indents, default=0)
    lines[1:] = [line[indent:] for line in lines[1:]]
    full = [number for number, line in enumerate(lines) if line.strip(" \t")]
    return "\n".join(lines[full[0] : full[-1] + 1]) if full else ""
