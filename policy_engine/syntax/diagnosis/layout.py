"""Statements and brackets of a text as its rows and columns show them: which bracket lacks its mate is seen from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from policy_engine.location import Location
from policy_engine.syntax.lexer import CLOSES, Lexer, Token

OPENS: Final = {opening: closing for closing, opening in CLOSES.items()}
_BRACKETS: Final = frozenset(("LBRACE", "LSQB", "LSQB_ADJ", "LPAR", "LPAR_ADJ", "RBRACE", "RSQB", "RPAR"))
_CONTINUES: Final = frozenset(("else", "if", "contains", "with", "in", "and", "or"))
"""Words that begin no statement."""
AWAITS: Final = frozenset(("IF", "ASSIGN", "EQ", "IN"))
"""What an opening bracket is likely to follow."""


class Scan(Lexer):
    """The tokens of a text in which brackets may not match, except in template strings."""

    def _bracket(self, kind: str, text: str, loc: Location, glued: bool, ends_operand: bool) -> str:
        if len(self._frames) > 1:
            return super()._bracket(kind, text, loc, glued, ends_operand)
        return f"{kind}_ADJ" if glued and text in "([" else kind

    @property
    def open_template(self) -> Token | None:
        """The beginning of the template string that is not closed."""
        open_ = []
        for token in self.tokens:
            if token.kind == "TSTART":
                open_.append(token)
            elif token.kind == "TEND":
                open_.pop()
        return open_[-1] if open_ else None


class Unmatched(NamedTuple):
    """A bracket without its mate. `start` and `end` are the tokens of the statement that it is in."""

    index: int
    message: str
    hint: str
    start: int
    end: int


def begins_row(tokens: Sequence[Token], index: int) -> bool:
    return index == 0 or tokens[index - 1].loc.end_row < tokens[index].loc.row


def row_start(tokens: Sequence[Token], index: int) -> int:
    while not begins_row(tokens, index):
        index -= 1
    return index


def bracket(token: Token) -> str:
    return token.text if token.kind in _BRACKETS else ""


def statements(tokens: Sequence[Token]) -> list[int]:
    """Where statements begin: words in the first column, outside of brackets or where they can only be the next rule."""
    starts, depth, column = [0], 0, tokens[0].loc.col
    for index, token in enumerate(tokens):
        may_begin = index and token.loc.col <= column and begins_row(tokens, index)
        if may_begin and token.text[:1].isidentifier() and token.text not in _CONTINUES:
            if depth == 0 or _is_next_rule(tokens, starts[-1], index):
                starts.append(index)
                depth = 0
        if bracket(token) in OPENS:
            depth += 1
        elif bracket(token):
            depth = max(0, depth - 1)
    return starts


def _is_next_rule(tokens: Sequence[Token], start: int, index: int) -> bool:
    """While a bracket is open: words that no body has, or, below an indented line, an assignment."""
    row = [token for token in tokens[index : index + 50] if token.loc.row == tokens[index].loc.row]
    kinds = [token.kind for token in row]
    if kinds[0] in ("DEFAULT", "IMPORT", "PACKAGE") or "IF" in kinds[1:]:
        return True
    if "CONTAINS" in kinds[1:-1] and kinds[kinds.index("CONTAINS", 1) + 1] != "LPAR_ADJ":
        return True
    below = next((i for i in range(start + 1, index) if begins_row(tokens, i)), index)
    indented = tokens[below].loc.col > tokens[index].loc.col
    return indented and kinds[0] == "NAME" and ("ASSIGN" in kinds or "EQ" in kinds or kinds[-1] == "LBRACE")


def unmatched(tokens: Sequence[Token]) -> list[Unmatched]:
    """The brackets that have no mate."""
    if _match(tokens):
        return []
    found = []
    starts = statements(tokens)
    for start, end in zip(starts, [*starts[1:], len(tokens) - 1], strict=True):
        if not _match(tokens[start:end]):
            found += _Matching(tokens, start, end).run()
    return found


def _match(tokens: Sequence[Token]) -> bool:
    open_: list[str] = []
    for token in tokens:
        text = bracket(token)
        if text in OPENS:
            open_.append(OPENS[text])
        elif text and (not open_ or open_.pop() != text):
            return False
    return not open_


class _Matching:
    """The brackets of one statement."""

    def __init__(self, tokens: Sequence[Token], start: int, end: int) -> None:
        self.tokens = tokens
        self.start = start
        self.end = end
        self.open: list[int] = []
        self.found: list[Unmatched] = []
        self.suspect = -1
        """A brace that has closed all of them, or stands in another column than its mate."""

    def run(self) -> list[Unmatched]:
        for index in range(self.start, self.end):
            text = bracket(self.tokens[index])
            if text in OPENS:
                self.open.append(index)
            elif text:
                self._close(index, text)
        for index in reversed(self.open):
            self._never_closed(index, self.end)
        return self.found

    def _close(self, index: int, text: str) -> None:
        tokens, row = self.tokens, self.tokens[index].loc.row
        mates = [number for number, opened in enumerate(self.open) if OPENS[tokens[opened].text] == text]
        last = tokens[self.open[-1]] if self.open else None
        if begins_row(tokens, index):
            col = tokens[index].loc.col
            aligned = [n for n in mates if tokens[row_start(tokens, self.open[n])].loc.col == col]
            if mates and not aligned and text == "}":
                self.suspect = index
            mates = aligned or mates
        elif last and last.loc.row == row and not any(tokens[self.open[n]].loc.row == row for n in mates):
            wanted = OPENS[last.text]
            self._add(index, f"`{last.text}` is closed by `{text}`, expected `{wanted}`", "")
            self.open.pop()
            return
        if not mates:
            self._not_opened(index, text)
            return
        for opened in reversed(self.open[mates[-1] + 1 :]):
            self._never_closed(opened, index)
        del self.open[mates[-1] :]
        if not self.open and self.suspect < 0 and text == "}":
            self.suspect = index

    def _never_closed(self, opened: int, until: int) -> None:
        close, after = OPENS[self.tokens[opened].text], self.tokens[until]
        where = f"before `{after.text}` in line {after.loc.row}"
        if until == self.end:
            where = "before the end of the file" if after.kind == "$END" else f"before the rule in line {after.loc.row}"
        self._add(opened, f"`{self.tokens[opened].text}` is never closed: expected `{close}` {where}", "")

    def _not_opened(self, index: int, text: str) -> None:
        """A bracket closes nothing: a line above should open something, or one above it has closed too much."""
        nothing = f"the `{text}` in line {self.tokens[index].loc.row} closes nothing"
        header = self._header(self.suspect if self.suspect >= 0 else index, CLOSES[text])
        if header is None:
            header = self._header(index, CLOSES[text])
        if header is not None:
            self._add(header, f"a `{CLOSES[text]}` is missing at the end of the line", nothing)
        elif self.suspect >= 0 and begins_row(self.tokens, index) and not begins_row(self.tokens, self.suspect):
            self._add(self.suspect, f"`{text}` closes the body too early", nothing)
        else:
            self._add(index, f"unexpected `{text}`: no `{CLOSES[text]}` is open", "")

    def _header(self, closer: int, opening: str) -> int | None:
        """The last token of the line above `closer` that it is aligned with, if that line should open a bracket."""
        tokens = self.tokens
        if not begins_row(tokens, closer) or closer <= self.start:
            return None
        first = row_start(tokens, closer - 1)
        while first > self.start and tokens[first].loc.col > tokens[closer].loc.col:
            first = row_start(tokens, first - 1)
        last = next(index for index in range(first, closer) if begins_row(tokens, index + 1))
        if bracket(tokens[last]) == opening:
            return None
        complete = bracket(tokens[first]) or last + 1 == closer
        return None if complete and tokens[last].kind not in AWAITS else last

    def _add(self, index: int, message: str, hint: str) -> None:
        self.found.append(Unmatched(index, message, hint, self.start, self.end))
