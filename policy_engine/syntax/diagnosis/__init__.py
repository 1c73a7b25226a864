"""What is wrong with a text that cannot be read: every mistake in it, where its author made it.

The text is read again and again. Each time the first mistake is named and taken out, so that the next one shows: a foreign
operator or quote is replaced, an expression or a whole statement is blanked. Rows and columns stay what they are. What
only follows from a mistake (something else in the same row) is taken out but not named.

    characters      what no token begins with
    words           operators and words of other languages
    layout          brackets without a mate
    mistakes        tokens in a wrong place
"""

from __future__ import annotations

import re
from typing import Final

from policy_engine.errors import MAX_ERRORS, PARSE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax.automaton import Unexpected
from policy_engine.syntax.bodies import SAME_ROW
from policy_engine.syntax.diagnosis import characters, layout, words
from policy_engine.syntax.diagnosis.layout import Scan, begins_row
from policy_engine.syntax.diagnosis.mistakes import Blame, Explanation, foreign_word, second_expression
from policy_engine.syntax.diagnosis.text import Mistake, Text
from policy_engine.syntax.lexer import PUNCTUATION, Token
from policy_engine.syntax.reading import NO_PACKAGE, SECOND_PACKAGE, Reading

__all__ = ["errors"]

MAX_READINGS: Final = 3 * MAX_ERRORS
MAX_CHARACTERS: Final = 1 << 20
"""How many characters are read again, in all: of a large text only the first mistakes are found."""

_SIGNS: Final = frozenset(PUNCTUATION.values()) | {"SUB"}
_CONFLICT: Final = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?: .*)?$", re.MULTILINE)
_COMMENT_END: Final = re.compile(r"\*/|\Z")


def errors(source: str, file: str, start: str) -> list[PolicyError]:
    """The errors of a text that `Reading` refuses; at least one."""
    return _Diagnosis(source, file, start).run()


class _Diagnosis:
    def __init__(self, source: str, file: str, start: str) -> None:
        self.text = Text(source, file)
        self.start = start
        self.errors: list[PolicyError] = []
        self.rows: set[int] = set()
        """Where errors have been found: a later one in the same row may be a consequence."""
        self.checked = start != "module"
        """Whether a package stands first."""
        self.ignored = {NO_PACKAGE}
        """Messages that only follow from others."""

    def run(self) -> list[PolicyError]:
        left = MAX_CHARACTERS
        for _ in range(MAX_READINGS):
            repaired = self._without_first_mistake()
            left -= len(self.text.source)
            if repaired == self.text.source or left < 0:
                break
            self.text = Text(repaired, self.text.file)
        return self.errors

    def _add(self, message: str, loc: Location, hint: str = "", *, certain: bool = False) -> None:
        """`certain`: it is no consequence of another mistake in the same row."""
        same = any(error.message == message and error.location and error.location.row == loc.row for error in self.errors)
        if not same and (certain or loc.row not in self.rows):
            self.errors.append(PolicyError(PARSE_ERROR, message, loc, hint=hint))
        self.rows.add(loc.row)

    def _without_first_mistake(self) -> str:
        """The text without its first mistake, which is named; the same text if there is none."""
        text = self.text
        scan = Scan(text.source, text.file, query=self.start != "module")
        illegal = None
        try:
            scan.run()
        except PolicyError as error:
            assert error.location is not None
            illegal = text.offset(error.location.row, error.location.col)
        mistake = self._conflict() or self._operator(scan.tokens)
        if mistake is None and illegal is not None:
            template = scan.open_template
            mistake = characters.mistake(text, illegal, template and text.span(template, template)[0])
        if mistake is not None:
            self._add(mistake.message, text.location(mistake.start, mistake.end), mistake.hint, certain=True)
            return mistake.repaired
        if not self.checked:
            self.checked = True
            self._check_package(scan.tokens)
        if len(scan.tokens) == 1:
            return text.source
        return self._with_names(scan.tokens) or self._without_unmatched(scan.tokens) or self._without_blamed()

    # ---- what can be seen without reading

    def _conflict(self) -> Mistake | None:
        """The marks of a merge that is not finished."""
        found = _CONFLICT.search(self.text.source)
        if found is None:
            return None
        repaired = _CONFLICT.sub(lambda mark: " " * len(mark[0]), self.text.source)
        return Mistake(*found.span(), "unresolved merge conflict", "keep one side and remove the marks", repaired)

    def _operator(self, tokens: list[Token]) -> Mistake | None:
        """The first operator or comment of another language."""
        source = self.text.source
        for index, token in enumerate(tokens[:-1]):
            after = tokens[index + 1]
            if token.kind not in _SIGNS or (token.loc[3:5] != after.loc[1:3] and token.kind != "SEMI"):
                continue
            start, _ = self.text.span(token, token)
            written = words.operator(source[start : start + 3])
            begins = begins_row(tokens, index)
            if not written or (written == "--" and not begins) or (written == "; " and (not begins or token.loc.col > 1)):
                continue
            end = start + len(written)
            if written in words.COMMENTS and written != "/*":
                repaired = source[:start] + "# " + source[end:]
            elif written == "/*":
                close = _COMMENT_END.search(source, end)
                repaired = self.text.replaced(start, close.end() if close else end)
            else:
                is_member = written == "=>" and index and tokens[index - 1].kind == "STRING"
                repaired = self.text.replaced(start, end, ": " if is_member else "==")
            return Mistake(start, end, words.OPERATORS[written], "", repaired)
        return None

    def _with_names(self, tokens: list[Token]) -> str:
        """The text without `package` or `import` alone in a row, which take the word in the next row for a name."""
        for index, token in enumerate(tokens[:-1]):
            if token.kind in ("PACKAGE", "IMPORT") and begins_row(tokens, index) and begins_row(tokens, index + 1):
                self._add(f"expected a name behind `{token.text}`", token.loc)
                return self.text.replaced(*self.text.span(token, token))
        return ""

    def _check_package(self, tokens: list[Token]) -> None:
        first = tokens[0]
        if first.kind == "PACKAGE":
            return
        message = NO_PACKAGE
        if first.kind == "$END":
            self._add(f"empty module: {message}", Location(self.text.file, 1, 1, 1, 1))
            return
        later = next((token.loc.row for token in tokens if token.kind == "PACKAGE"), 0)
        word = foreign_word(tokens, 0)
        if later:
            message = f"`package` must come first: move it up from line {later}"
            self.ignored.add(SECOND_PACKAGE)
        elif word is not None and "`package`" in word.message:
            message = word.message
        self._add(message, first.loc)

    def _without_unmatched(self, tokens: list[Token]) -> str:
        """The text without the statements in which brackets have no mate; "" if all have one."""
        text = self.text
        found = layout.unmatched(tokens)
        for one in found:
            self._add(one.message, tokens[one.index].loc, one.hint)
        source = ""
        for one in found:
            source = text.replaced(*text.span(tokens[one.start], tokens[one.end - 1]))
            text = Text(source, text.file)
        return source

    # ---- what shows when it is read

    def _without_blamed(self) -> str:
        text = self.text
        reading = Reading(text.source, text.file, self.start)
        tokens = reading.tokens.copy()
        blame = self._blame(reading, tokens)
        if blame is None:
            for error in reading.errors:
                assert error.location is not None
                if error.message not in self.ignored:
                    word = foreign_word(tokens, _index(tokens, error.location))
                    self._add(word.message if word else error.message, error.location, "" if word else error.hint)
            return text.source
        self._add(blame.message, tokens[blame.index].loc, blame.hint)
        mates = reading.lexer.mates
        first, last, filler = _unit(tokens, mates, blame.index)
        return text.replaced(*text.span(tokens[first], tokens[last]), filler)

    def _blame(self, reading: Reading, tokens: list[Token]) -> Blame | None:
        """What keeps a text from being read; None if nothing does."""
        try:
            reading.tree()
        except Unexpected as error:
            body = _misread_body(tokens, reading.lexer.mates, error.index)
            if body >= 0:
                tokens[body] = tokens[body]._replace(kind="LBODY")
                reading.tokens = tokens.copy()
                return self._blame(reading, tokens)
            starts = layout.statements(tokens) if self.start == "module" else ()
            return Explanation(tokens, reading.lexer.mates, error.index, error.accepts, starts).blame()
        except PolicyError as error:
            assert error.location is not None
            index = _index(tokens, error.location)
            word = foreign_word(tokens, index)
            if word is None and error.message == SAME_ROW:
                word = second_expression(tokens, index)
            return word or Blame(index, error.message, error.hint)
        return None


def _index(tokens: list[Token], loc: Location) -> int:
    return next(index for index, token in enumerate(tokens) if token.loc[3:5] > loc[1:3] or token.kind == "$END")


def _misread_body(tokens: list[Token], mates: dict[int, int], index: int) -> int:
    """The brace behind an `if` that was taken for an object's because of what is wrong in it; -1 if there is none."""
    for opened, closed in mates.items():
        if opened < index <= closed and tokens[opened].kind == "LBRACE" and tokens[opened - 1].kind == "IF":
            if begins_row(tokens, opened + 1):
                return opened
    return -1


def _unit(tokens: list[Token], mates: dict[int, int], index: int) -> tuple[int, int, str]:
    """The first and the last token of the expression or statement around `index`, and what can replace it."""
    bodies = [start for start, end in mates.items() if tokens[start].kind in ("LBODY", "LBLOCK") and start < index < end]
    if bodies:
        opened = max(bodies)
        starts, end, filler = _expressions(tokens, mates, opened), mates[opened], "1"
    else:
        starts, end, filler = layout.statements(tokens), len(tokens) - 1, ""
    first = max(start for start in starts if start <= index)
    last = min((start for start in starts if start > index), default=end) - 1
    return first, last, filler


def _expressions(tokens: list[Token], mates: dict[int, int], opened: int) -> list[int]:
    """Where the expressions of a body begin, to judge by its rows."""
    starts = [opened + 1]
    index = opened + 1
    while index < mates[opened]:
        if begins_row(tokens, index) or tokens[index - 1].kind == "SEMI":
            starts.append(index)
        index = mates.get(index, index) + 1
    return starts
