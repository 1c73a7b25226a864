"""Every mistake in a text that cannot be read, at the place where its author made it.

The text is read again and again. Each time the first mistake is named and taken out, so that the next one shows: a
foreign operator or quote is replaced, an expression or a whole statement is blanked. Rows and columns stay what they
are. A consequence of a mistake (something else in the same row) is taken out but not named.

    words           operators, comments and words of other languages
    characters      characters with which no token begins
    layout          brackets without a mate
    mistakes        tokens in a wrong place, which an `attempt` finds
"""

from __future__ import annotations

from typing import Final

from policy_engine.errors import MAX_ERRORS, PARSE_ERROR, PolicyError
from policy_engine.location import NOWHERE, Location
from policy_engine.syntax.diagnosis import characters, words
from policy_engine.syntax.diagnosis.attempt import Attempt
from policy_engine.syntax.diagnosis.layout import Layout, Scan
from policy_engine.syntax.diagnosis.mistakes import foreign_word
from policy_engine.syntax.diagnosis.text import Text
from policy_engine.syntax.reading import NO_PACKAGE, SECOND_PACKAGE

__all__ = ["errors"]

MAX_READINGS: Final = 3 * MAX_ERRORS
MAX_CHARACTERS: Final = 1 << 19
"""The most characters that are read again, in all: in a large text only the first mistakes are found."""


def errors(source: str, file: str, start: str) -> list[PolicyError]:
    """The errors of a text that `Reading` refuses; at least one."""
    return _Diagnosis(source, file, start).run()


class _Diagnosis:
    def __init__(self, source: str, file: str, start: str) -> None:
        self.text = Text(source, file)
        self.start = start
        self.errors: list[PolicyError] = []
        self.rows: set[int] = set()
        """The rows with errors: a later error in the same row may be a consequence."""
        self.checked = start != "module"
        """The beginning of the module has been checked for its package."""
        self.ignored = {NO_PACKAGE}
        """Messages that only follow from others."""

    def run(self) -> list[PolicyError]:
        left = MAX_CHARACTERS
        for _ in range(MAX_READINGS):
            repaired = self._without_first_mistake()
            left -= len(repaired)
            if repaired == self.text.source or left < 0:
                break
            self.text = Text(repaired, self.text.file)
        return self.errors

    def _add(self, message: str, loc: Location, hint: str = "", *, certain: bool = False) -> None:
        """`certain`: it is no consequence of another mistake in the same row."""
        same = any(one.message == message and one.location and one.location.row == loc.row for one in self.errors)
        if not same and (certain or loc.row not in self.rows):
            self.errors.append(PolicyError(PARSE_ERROR, message, loc, hint=hint))
        self.rows.add(loc.row)

    def _without_first_mistake(self) -> str:
        """The text without its first mistake, which is named; the same text if there is none."""
        text, illegal = self.text, None
        scan = Scan(text.source, text.file, query=self.start != "module")
        try:
            scan.run()
        except PolicyError as error:
            illegal = text.offset(error.location or NOWHERE)
        mistake = words.mistake(text, scan.tokens)
        if mistake is None and illegal is not None:
            mistake = characters.mistake(text, illegal, scan.tokens)
        if mistake is not None:
            self._add(mistake.message, text.location(mistake.start, mistake.end), mistake.hint, certain=True)
            return mistake.repaired
        layout = Layout(scan.tokens)
        if not self.checked:
            self.checked = True
            self._check_package(layout)
        if len(layout.tokens) == 1:
            if not self.errors:
                self._add(f"empty {self.start}", layout.tokens[0].loc)
            return text.source
        return self._without_nameless(layout) or self._without_unmatched(layout) or self._without_blamed()

    def _check_package(self, layout: Layout) -> None:
        first, word = layout.tokens[0], foreign_word(layout, 0)
        later = next((token.loc.row for token in layout.tokens if token.kind == "PACKAGE"), 0)
        if first.kind == "$END":
            self._add(f"empty module: {NO_PACKAGE}", Location(self.text.file, 1, 1, 1, 1))
        elif later and first.kind != "PACKAGE":
            self._add(f"`package` must come first: move it up from line {later}", first.loc)
            self.ignored.add(SECOND_PACKAGE)
        elif first.kind != "PACKAGE":
            self._add(word.message if word and "`package`" in word.message else NO_PACKAGE, first.loc)

    def _without_nameless(self, layout: Layout) -> str:
        """The text without `package` or `import` alone in a row, which take the word in the next row for a name."""
        for index, token in enumerate(layout.tokens[:-1]):
            if token.kind in ("PACKAGE", "IMPORT") and layout.begins_row(index) and layout.begins_row(index + 1):
                self._add(f"expected a name behind `{token.text}`", token.loc)
                return self.text.replaced(*self.text.span(token, token))
        return ""

    def _without_unmatched(self, layout: Layout) -> str:
        """The text without the statements in which brackets have no mate; "" if all have one."""
        text, source = self.text, ""
        for one in layout.unmatched():
            self._add(one.message, layout.tokens[one.at].loc, one.hint)
            source = text.replaced(*text.span(layout.tokens[one.start], layout.tokens[one.end - 1]))
            text = Text(source, text.file)
        return source

    def _without_blamed(self) -> str:
        text = self.text
        try:
            attempt = Attempt(text.source, text.file, self.start)
        except PolicyError as error:
            self._add(error.message, error.location or NOWHERE, error.hint)
            return text.source
        tokens, blame = attempt.tokens, attempt.blame()
        if blame is None:
            self._add_those_of_rules(attempt)
            return text.source
        first, last, filler = attempt.unit(blame.at)
        opened = [start for start, end in attempt.mates.items() if first < start < blame.at < end]
        if self.rows.isdisjoint(tokens[start].loc.row for start in opened):
            self._add(blame.message, tokens[blame.at].loc, blame.hint)
        return text.replaced(*text.span(tokens[first], tokens[last]), filler)

    def _add_those_of_rules(self, attempt: Attempt) -> None:
        for error in attempt.reading.errors:
            loc = error.location or NOWHERE
            if error.message not in self.ignored and loc.row not in self.rows and len(self.errors) <= MAX_ERRORS:
                said = attempt.blame_at(loc, error.message, error.hint)
                self._add(said.message, loc, said.hint)
