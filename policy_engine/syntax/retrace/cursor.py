"""A place in a refused text, the errors found on the way to it, and how to go back.

An attempt that fails leaves its errors behind, unless the reader goes back to where it began (`back`), which forgets
them. So which errors remain, and where, follows from the order of the attempts, and that order is OPA's.
"""

from __future__ import annotations

from typing import NamedTuple

from policy_engine.syntax.builder import OPERATORS
from policy_engine.syntax.lexer import FUTURE_KEYWORDS, KEYWORDS
from policy_engine.syntax.retrace.scanner import ILLEGAL, NAME, SPACE, Scanned, Scanner

MAX_DEPTH = 30
"""How deep brackets may nest here. OPA goes deeper, and this reader would too, at the price of Python's stack."""
MAX_STEPS = 100_000
"""How many tokens may be read, those read again included: going back can multiply with every bracket."""


class GaveUp(Exception):
    """The text nests too deep, or takes too long."""


class Failure(NamedTuple):
    """An error, and the token it is about."""

    message: str
    token: Scanned


class Read(NamedTuple):
    """A term."""

    kind: str
    first: Scanned
    name: str = ""
    """Of a variable, and of the builtin of an infix operator."""
    inner: tuple[Read, ...] = ()
    """The members of a collection, but not of a comprehension; the steps of a reference; the operands of a call."""
    free: tuple[str, ...] = ()
    """The kinds of the variables, references and calls that a constant cannot hold."""
    ground: bool = True
    end: int = 0
    """Where a reference ends."""


class Mark(NamedTuple):
    """A place to go back to."""

    token: Scanned
    last_end: int
    failures: int


class Cursor:
    def __init__(self, source: str) -> None:
        self.scanner = Scanner(source)
        self.keywords = set(KEYWORDS)
        self.failures: list[Failure] = []
        self.last_end = 0
        """Where the token before this one ends."""
        self._steps = MAX_STEPS
        self.depth = 0
        self.token = Scanned(SPACE, "", 0, 1 if source.startswith("\ufeff") else 0)
        self.scan()

    # ---- moving

    def scan(self) -> None:
        """Go to the next token."""
        self._take(self.scanner.scan(self.scanner.skip(self.token.end)))

    def scan_space(self) -> None:
        """Go to the next token or white space."""
        self._take(self.scanner.scan(self.token.end))

    def _take(self, token: Scanned) -> None:
        self._steps -= 1
        if not self._steps:
            raise GaveUp
        if self.token.kind != SPACE:
            self.last_end = self.token.end
        if token.errors:
            self.failures.extend(Failure(error, token) for error in token.errors)
            token = token._replace(kind=ILLEGAL)
        elif token.kind == NAME and token.text in self.keywords:
            token = token._replace(kind=token.text)
        self.token = token

    @property
    def behind_newline(self) -> bool:
        return "\n" in self.scanner.source[self.last_end : self.token.start]

    def mark(self) -> Mark:
        return Mark(self.token, self.last_end, len(self.failures))

    def back(self, mark: Mark) -> None:
        self.token, self.last_end = mark[:2]
        del self.failures[mark.failures :]

    def is_keyword(self) -> bool:
        return self.token.kind in self.keywords or self.token.kind in KEYWORDS

    def keyword_as_name(self) -> bool:
        """A keyword that touches `.` or `[` begins a reference: take it for a name."""
        if self.is_keyword() and self.scanner.source.startswith((".", "["), self.token.end):
            self.token = self.token._replace(kind=NAME)
            return True
        return False

    # ---- errors

    def fail(self, message: str, token: Scanned | None = None) -> None:
        self.failures.append(Failure(message, token or self.token))

    def illegal(self, note: str = "") -> None:
        kind = self.token.kind
        if kind == ILLEGAL:
            self.fail("illegal token")
            return
        name = OPERATORS.get(kind, kind)
        what = "keyword" if kind in KEYWORDS or kind in FUTURE_KEYWORDS else "token"
        self.fail(f"unexpected {name} {what}" + (f": {note}" if note else ""))

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise GaveUp
