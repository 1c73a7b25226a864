"""Statements and brackets of a text as its rows and columns show them, which also tell the bracket without a mate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from policy_engine.errors import MAX_ERRORS
from policy_engine.location import Location
from policy_engine.syntax.lexer import CLOSES, MAX_BRACKETS, Lexer, Token

OPENS: Final = {opening: closing for closing, opening in CLOSES.items()}
_BRACKETS: Final = frozenset(("LBRACE", "LSQB", "LSQB_ADJ", "LPAR", "LPAR_ADJ", "RBRACE", "RSQB", "RPAR"))
_CONTINUES: Final = frozenset(("else", "with", "in", "and", "or"))
"""Words that begin no statement."""
_AWAITS: Final = frozenset(("IF", "ASSIGN", "EQ", "IN"))
"""The tokens that an opening brace is likely to follow."""
_LONGEST_ROW: Final = 50


class Scan(Lexer):
    """The tokens of a text in which brackets may not match, except in template strings."""

    def _bracket(self, kind: str, text: str, loc: Location, glued: bool, ends_operand: bool) -> str:
        if len(self._frames) > 1:
            return super()._bracket(kind, text, loc, glued, ends_operand)
        return f"{kind}_ADJ" if glued and text in "([" else kind


class Unmatched(NamedTuple):
    """A bracket without its mate, in the statement from token `start` up to `end`."""

    at: int
    message: str
    hint: str
    start: int
    end: int


class Layout:
    """Tokens and the rows they stand in."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.first: list[int] = []
        """The first token of each token's row."""
        row = 0
        for index, token in enumerate(tokens):
            self.first.append(index if token.loc.row > row or token.kind == "$END" else self.first[-1])
            row = token.loc.end_row

    def begins_row(self, index: int) -> bool:
        return index >= len(self.first) or self.first[index] == index

    def column(self, index: int) -> int:
        """The column in which the row of a token begins."""
        return self.tokens[self.first[index]].loc.col

    def statements(self) -> list[int]:
        """The first tokens of statements: words in the first column, outside brackets or clearly meant as rules."""
        return self._statements(unmatched=not _match(self.tokens))

    def _statements(self, *, unmatched: bool) -> list[int]:
        """`unmatched`: some bracket has no mate, so that an assignment below an indented row counts as a rule."""
        tokens, starts, depth = self.tokens, [0], 0
        for index, token in enumerate(tokens):
            begins = index and self.first[index] == index and token.loc.col <= tokens[0].loc.col
            if begins and token.text[:1].isidentifier() and token.text not in _CONTINUES:
                is_rule = depth == 0 or self._is_rule(index)
                if is_rule or (unmatched and self._is_assignment(starts[-1], index)):
                    starts.append(index)
                    depth = 0
            if _bracket(token) in OPENS:
                depth += 1
            elif _bracket(token):
                depth = max(0, depth - 1)
        return starts

    def _row_kinds(self, index: int) -> list[str]:
        """The kinds of the tokens of a row, without those in brackets."""
        kinds, depth = [], 0
        for token in self.tokens[index : index + _LONGEST_ROW]:
            if token.loc.row > self.tokens[index].loc.row:
                break
            depth -= _bracket(token) in CLOSES
            if depth <= 0:
                kinds.append(token.kind)
            depth += _bracket(token) in OPENS
        return kinds

    def _is_rule(self, index: int) -> bool:
        """The row has words that no body has."""
        first, *kinds = self._row_kinds(index)
        if first in ("DEFAULT", "IMPORT", "PACKAGE") or "IF" in kinds:
            return True
        return "CONTAINS" in kinds[:-1] and kinds[kinds.index("CONTAINS") + 1] != "LPAR_ADJ"

    def _is_assignment(self, start: int, index: int) -> bool:
        kinds = self._row_kinds(index)
        below = next((i for i in range(start + 1, index) if self.first[i] == i), index)
        indented = self.column(below) > self.column(index)
        return indented and kinds[0] == "NAME" and ("ASSIGN" in kinds or "EQ" in kinds or kinds[-1] == "LBRACE")

    def unmatched(self) -> list[Unmatched]:
        """The brackets that have no mate; of many only the first."""
        found: list[Unmatched] = []
        starts = self.statements()
        for start, end in zip(starts, [*starts[1:], len(self.tokens) - 1], strict=True):
            if not _match(self.tokens[start:end]) and len(found) < MAX_ERRORS:
                found += _Matching(self, start, end).run()
        return found


def _bracket(token: Token) -> str:
    return token.text if token.kind in _BRACKETS else ""


def _match(tokens: Sequence[Token]) -> bool:
    """Each bracket has its mate."""
    open_: list[str] = []
    for token in tokens:
        text = _bracket(token)
        if text in OPENS:
            open_.append(OPENS[text])
        elif text and (not open_ or open_.pop() != text):
            return False
    return not open_


class _Matching:
    """The brackets of one statement."""

    def __init__(self, layout: Layout, start: int, end: int) -> None:
        self.layout = layout
        self.tokens = layout.tokens
        self.start = start
        self.end = end
        self.open: list[int] = []
        self.found: list[Unmatched] = []
        self.askew = -1
        """The last brace that begins a row in another column than the row of its mate."""
        self.inline = -1
        """The last brace that stands at the end of a row, and closes one of an earlier row."""

    def run(self) -> list[Unmatched]:
        for index in range(self.start, self.end):
            text = _bracket(self.tokens[index])
            if text in OPENS:
                self.open.append(index)
            elif text:
                self._close(index, text)
            if len(self.found) >= MAX_ERRORS:
                break
        for index in reversed(self.open[-MAX_ERRORS:]):
            self._never_closed(index, self.end)
        return self.found

    def _close(self, index: int, text: str) -> None:
        tokens, row, begins = self.tokens, self.tokens[index].loc.row, self.layout.begins_row(index)
        open_ = self.open[-MAX_BRACKETS:]
        mates = [opened for opened in open_ if OPENS[tokens[opened].text] == text]
        if begins:
            aligned = [opened for opened in open_ if self.layout.column(opened) == tokens[index].loc.col]
            swapped = not mates and bool(aligned)
            if mates and not aligned:
                self.askew = index
            mates = [opened for opened in mates if opened in aligned] or mates
        else:
            last = open_[-1] if open_ else 0
            own_row = bool(open_) and tokens[last].loc.row == row and all(tokens[mate].loc.row < row for mate in mates)
            swapped = own_row and not self._closed_below(last, index)
        if swapped:
            last_text = tokens[self.open.pop()].text
            self._add(index, f"`{last_text}` is closed by `{text}`, expected `{OPENS[last_text]}`")
        elif not mates:
            self._not_opened(index, text)
        else:
            if not begins and tokens[mates[-1]].loc.row < row:
                self.inline = index
            while (opened := self.open.pop()) != mates[-1]:
                self._never_closed(opened, index)

    def _closed_below(self, opened: int, index: int) -> bool:
        """A row below begins with the mate of a bracket, in the column of its row."""
        wanted, col = OPENS[self.tokens[opened].text], self.layout.column(opened)
        return any(
            _bracket(self.tokens[below]) == wanted
            and self.tokens[below].loc.col == col
            and self.layout.begins_row(below)
            for below in range(index + 1, self.end)
        )

    def _never_closed(self, opened: int, until: int) -> None:
        text, after = self.tokens[opened].text, self.tokens[until]
        where = f"before `{after.text}` in line {after.loc.row}"
        if until == self.end:
            where = "before the end of the file" if after.kind == "$END" else f"before the rule in line {after.loc.row}"
        self._add(opened, f"`{text}` is never closed: expected `{OPENS[text]}` {where}")

    def _not_opened(self, index: int, text: str) -> None:
        """A bracket closes nothing: a row above should open a body, or one above it has closed too much."""
        header = self._header(self.askew) or self._header(index) if text == "}" else None
        nothing = f"the `{text}` in line {self.tokens[index].loc.row} closes nothing"
        if header is not None:
            self._add(header, "a `{` is missing at the end of the line", nothing)
        elif self.inline >= 0 and self.layout.begins_row(index) and text == self.tokens[self.inline].text:
            self._add(self.inline, f"`{text}` closes the body too early", nothing)
        else:
            self._add(index, f"unexpected `{text}`: no `{CLOSES[text]}` is open")

    def _header(self, closer: int) -> int | None:
        """The last token of the row that `closer` is aligned with, if that row should open a body and does not."""
        tokens, layout = self.tokens, self.layout
        if closer <= self.start or not layout.begins_row(closer):
            return None
        first = layout.first[closer - 1]
        while first > self.start and tokens[first].loc.col > tokens[closer].loc.col:
            first = layout.first[first - 1]
        last = next(index for index in range(first, closer) if layout.begins_row(index + 1))
        row = tokens[first : last + 1]
        begins_with_bracket = _bracket(row[0]) != ""
        opens = sum((token.kind == "LBRACE") - (token.kind == "RBRACE") for token in row[begins_with_bracket:])
        complete = last + 1 == closer or (begins_with_bracket and "IF" not in [token.kind for token in row])
        return None if opens > 0 or (complete and tokens[last].kind not in _AWAITS) else last

    def _add(self, index: int, message: str, hint: str = "") -> None:
        self.found.append(Unmatched(index, message, hint, self.start, self.end))
