"""One more reading of a text whose characters and brackets are in order: the token to blame, and what it belongs to."""

from __future__ import annotations

from policy_engine.errors import PolicyError
from policy_engine.location import NOWHERE, Location
from policy_engine.syntax.automaton import Unexpected
from policy_engine.syntax.bodies import SAME_ROW
from policy_engine.syntax.diagnosis.layout import Layout
from policy_engine.syntax.diagnosis.mistakes import Blame, MistakeReason, foreign_word, second_expression
from policy_engine.syntax.reading import Reading


class Attempt:
    """Raises `PolicyError` for a text that nests too deep."""

    def __init__(self, source: str, file: str, start: str) -> None:
        self.reading = Reading(source, file, start)
        self.tokens = self.reading.tokens.copy()
        self.mates = self.reading.lexer.mates
        self.layout = Layout(self.tokens)
        self.starts = self.layout.statements()

    def blame(self) -> Blame | None:
        """The token that keeps the text from being read, with the reason; None if it can be read."""
        try:
            self.reading.tree()
        except Unexpected as error:
            if misread := self._misread(error.index):
                index, kind = misread
                self.tokens[index] = self.tokens[index]._replace(kind=kind)
                self.reading.tokens = self.tokens.copy()
                return self.blame()
            starts = self.starts if self.reading.start == "module" else ()
            return MistakeReason(self.layout, self.mates, error.index, error.accepts, starts).blame()
        except PolicyError as error:
            return self.blame_at(error.location or NOWHERE, error.message, error.hint)
        return None

    def blame_at(self, loc: Location, message: str, hint: str) -> Blame:
        """The blame for an error of the builder."""
        tokens = self.tokens
        index = next(i for i, token in enumerate(tokens) if token.loc[3:5] > loc[1:3] or token.kind == "$END")
        if word := foreign_word(self.layout, index):
            return word
        if message == SAME_ROW:
            return second_expression(tokens, index)
        if self.layout.begins_row(index) and index and tokens[index - 1].kind == "SOME":
            return Blame(index - 1, "expected a name behind `some`")
        return Blame(index, message, hint)

    def _misread(self, index: int) -> tuple[int, str] | None:
        """A brace or bar with another meaning than the text around `index` shows, and its kind.

        A mistake in a body makes the brace behind its `if` that of an object, or the bar of a comprehension a union.
        """
        for opened, closed in self.mates.items():
            if opened < index <= closed:
                is_object = self.tokens[opened].kind == "LBRACE" and self.tokens[opened - 1].kind == "IF"
                if is_object and self.layout.begins_row(opened + 1):
                    return opened, "LBODY"
                bar = self.reading.lexer.bars.get(opened, opened)
                begins = self.tokens[bar + 1].kind in ("SOME", "NOT", "EVERY") or self.layout.begins_row(bar + 1)
                if self.tokens[bar].kind == "PIPE" and begins:
                    return bar, "BAR"
        return None

    def unit(self, index: int) -> tuple[int, int, str]:
        """The first and the last token of the expression or statement around `index`, and what can replace it."""
        kinds = ("LBODY", "LBLOCK")
        bodies = [i for i, end in self.mates.items() if self.tokens[i].kind in kinds and i < index < end]
        starts, end, filler = self.starts, len(self.tokens) - 1, ""
        if bodies:
            opened = max(bodies)
            starts, end, filler = self._expressions(opened), self.mates[opened], "1"
        first = max(start for start in starts if start <= index)
        last = min((start for start in starts if start > index), default=end) - 1
        return first, last, "" if self.tokens[first].kind == "SEMI" else filler

    def _expressions(self, opened: int) -> list[int]:
        """The tokens with which the expressions of a body seem to begin, to judge by its rows."""
        index, starts = opened + 1, [opened + 1]
        while index < self.mates[opened]:
            if self.layout.begins_row(index) or self.tokens[index - 1].kind == "SEMI":
                starts.append(index)
            index = self.mates.get(index, index) + 1
        return starts
