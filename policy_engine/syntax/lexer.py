"""Rego source text as tokens, whose kinds depend on their surroundings.

A context-free grammar does not see white space, so the lexer does: `a[0]` is a reference, `a [0]` is not, and `.name`
belongs to the term it touches. The meaning of a few characters depends on the text behind them:

- `{` opens a body, a set, an object or a comprehension (`LBODY`, `LBLOCK`, `LBRACE`);
- `|` ends the head of a comprehension or unites sets (`BAR`, `PIPE`);
- `-` can be unary only before a number or a name (`MINUS`, otherwise `SUB`);
- a keyword that touches `.` or `[` can be a name, and so can an imported `and` or `or` (`?IF`, `?LAND`, …: the state of
  the automaton decides).

This file splits the text and matches brackets; brackets.py decides braces, bars and signs. Newlines are not tokens: the
locations of two literals show whether they share a line.
"""

from __future__ import annotations

import json
import re
import sys
from typing import NamedTuple, NoReturn

from policy_engine.errors import PARSE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax.nodes import Comment
from policy_engine.syntax.versions import V2_KEYWORDS, RegoV2

MAX_BRACKETS = 200
"""The limit of nested brackets."""
NEVER = sys.maxsize

KEYWORDS = {
    "as": "AS", "contains": "CONTAINS", "default": "DEFAULT", "else": "ELSE", "every": "EVERY", "false": "FALSE",
    "if": "IF", "import": "IMPORT", "in": "IN", "not": "NOT", "null": "NULL", "package": "PACKAGE", "some": "SOME",
    "true": "TRUE", "with": "WITH",
}  # fmt: skip
_IMPORTS_KEYWORDS = frozenset((*V2_KEYWORDS, "keywords", "v2"))
"""The last name of every import that makes words keywords."""
PUNCTUATION = {
    ":=": "ASSIGN", "=": "EQ", "==": "RELATION", "!=": "RELATION", "<=": "RELATION", ">=": "RELATION", "<": "RELATION",
    ">": "RELATION", "|": "PIPE", "&": "AMPERSAND", "+": "PLUS", "-": "MINUS", "*": "TIMES", "/": "TIMES", "%": "TIMES",
    "{": "LBRACE", "}": "RBRACE", "[": "LSQB", "]": "RSQB", "(": "LPAR", ")": "RPAR", ",": "COMMA", ";": "SEMI",
    ":": "COLON",
}  # fmt: skip
CLOSES = {"}": "{", "]": "[", ")": "("}
OPERAND_END = frozenset((
    "NAME", "FIELD", "FIELD_FREE", "RSQB", "RPAR", "RBRACE", "NUMBER", "STRING", "RAW", "TRUE", "FALSE", "NULL", "TEND",
    "CONTAINS",
))  # fmt: skip
OPERAND_START = frozenset((
    "NAME", "NUMBER", "STRING", "RAW", "TRUE", "FALSE", "NULL", "TSTART", "LBRACE", "LSQB", "LPAR", "CONTAINS", "SOME",
    "EVERY", "NOT", "DEFAULT", "IMPORT", "PACKAGE",
))  # fmt: skip

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
    (?P<NAME>[A-Za-z_][A-Za-z_\d]*)
    |(?P<FIELD>\.[A-Za-z_][A-Za-z_\d]*)
    |(?P<PUNCTUATION>:=|[=!<>]=|[][(){},;:=<>+\-*/%&|])
    |(?P<STRING>"[^"\\\n]*")
    |(?P<NUMBER>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![A-Za-z_\d.])
    |(?P<ESCAPED>"[^"\\\n]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\n]*)*")
    |(?P<RAW>`[^`]*`)
    |(?P<COMMENT>\#[^\n]*)
    |(?P<TEMPLATE>\$["`])
    |(?P<END>\Z)
    )""",
    re.VERBOSE,
)
_TEMPLATE_TEXT = {
    '"': re.compile(r'[^"\\{\n]*(?:\\(?:["\\/bfnrt{]|u[0-9a-fA-F]{4})[^"\\{\n]*)*'),
    "`": re.compile(r"[^`{\\]*(?:\\\{?[^`{\\]*)*"),
}
_STRING_START = re.compile(r'"[^"\\\n]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\n]*)*')
_FORBIDDEN = re.compile("[\0\ud800-\udfff\ufeff]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_NEWLINE = re.compile("\n")

_new = tuple.__new__  # takes half the time of a NamedTuple's own constructor, in the hottest loop of the parser


class Token(NamedTuple):
    """`kind` is a terminal of the grammar, `text` the source text, or the value of a string."""

    kind: str
    text: str
    loc: Location


class OpenBracket:
    """An open bracket."""

    __slots__ = ("bracket", "delimiter", "every", "index")

    def __init__(self, index: int, bracket: str, delimiter: str = "") -> None:
        self.index = index
        self.bracket = bracket
        self.delimiter = delimiter
        """The quote of the template string if this is one of its expressions."""
        self.every = False
        """An `every` has no body yet."""


def fail(message: str, loc: Location, hint: str = "") -> NoReturn:
    raise PolicyError(PARSE_ERROR, message, loc, hint=hint)


class Lexer:
    """Splits one text into tokens. brackets.py reads the attributes after `run`."""

    def __init__(self, source: str, file: str, *, query: bool) -> None:
        self.source = str(source)
        self.file = file
        self.query = query
        """The text is one body; otherwise it is a module."""
        self.tokens: list[Token] = []
        self.comments: list[Comment] = []
        self.mates: dict[int, int] = {}
        """Index of an opening bracket, or of a template's start → index of its closing token."""
        self.braces: list[int] = []
        """Every `{` and every free `[`, in order."""
        self.bars: dict[int, int] = {}
        """Index of a bracket → index of the first `|` directly inside."""
        self.minuses: list[int] = []
        self.bodies: set[int] = set()
        """Every `{` behind a complete term where only a body can follow: that of `every`, or one more of a rule."""
        self.else_ifs: set[int] = set()
        """Every `if` of an `else`."""
        self.modern_not = NEVER
        """Index of the first token behind `import future.keywords.not` or `rego.v2`; 0 in a text of Rego v2."""
        self.logical = NEVER
        """The same of `import future.keywords.and`, `.or` or `rego.v2`, whichever comes first."""
        self.deepest = 0
        """The depth of nested brackets."""

        self._keywords = KEYWORDS
        self._frames = [OpenBracket(-1, "")]
        self._after_else = False
        # The beginning and the end of the current line.
        self._breaks = [match.end() for match in _NEWLINE.finditer(source)]
        self._breaks.append(len(source) + 2)
        self._row = 1
        self._line = 0
        self._next_line = self._breaks[0]
        if isinstance(source, RegoV2):
            self._adopt(V2_KEYWORDS)

    def run(self) -> None:
        source, file, tokens = self.source, self.file, self.tokens
        self._check_characters()
        match = _TOKEN.match
        position = 1 if source.startswith("\ufeff") else 0
        ends_operand = False  # the last token can end an operand
        while True:
            found = match(source, position)
            if found is None:
                start = len(source) - len(source[position:].lstrip(" \t\r\n"))
                self._illegal(self._locate(start, start + 1))
            kind: str = found.lastgroup  # type: ignore[assignment]  # every alternative is a named group
            start, end = found.span(kind)
            glued = ends_operand and start == position
            position = end
            text = source[start:end]
            if end < self._next_line:
                row, line = self._row, self._line
                loc = _new(Location, (file, row, start - line + 1, row, end - line + 1))
            else:
                loc = self._locate(start, end)
            if kind == "NAME":
                if text in self._keywords:
                    kind = self._keyword(text, position)
            elif kind == "PUNCTUATION":
                kind = PUNCTUATION[text]
                if text in "{}[]()|-":
                    kind = self._bracket(kind, text, loc, glued, ends_operand)
                    if kind == "TCLOSE":
                        tokens.append(_new(Token, (kind, text, loc)))
                        position = self._template_text(position, self._frames.pop().delimiter)
                        ends_operand = tokens[-1].kind == "TEND"
                        continue
            elif kind == "FIELD":
                text = text[1:]
                if text in _IMPORTS_KEYWORDS:
                    self._import_keyword(text, position)
                if not glued:
                    kind = "FIELD_FREE"
            elif kind == "ESCAPED":
                kind, text = "STRING", self._unescape(text, loc)
            elif kind == "STRING" or kind == "RAW":
                text = text[1:-1]
            elif kind == "NUMBER":
                if glued and text[0] == ".":
                    self._illegal(loc)
            elif kind == "COMMENT":
                self.comments.append(Comment(text[1:].removesuffix("\r"), loc=loc))
                continue
            elif kind == "TEMPLATE":
                self._open_template(text, loc)
                position = self._template_text(position, text[1])
                ends_operand = tokens[-1].kind == "TEND"
                continue
            elif kind == "END":
                break
            if ends_operand and kind in OPERAND_START and not glued and len(self._frames) == 1:
                self._after_else = False
            tokens.append(_new(Token, (kind, text, loc)))
            ends_operand = kind in OPERAND_END or kind[0] == "?"
        if len(self._frames) > 1:
            self._leave_open()
        tokens.append(Token("$END", "", loc))

    def _locate(self, start: int, end: int) -> Location:
        while start >= self._next_line:
            self._line = self._next_line
            self._next_line = self._breaks[self._row]
            self._row += 1
        row, col = self._row, start - self._line + 1
        while end > self._next_line:
            self._line = self._next_line
            self._next_line = self._breaks[self._row]
            self._row += 1
        return _new(Location, (self.file, row, col, self._row, end - self._line + 1))

    # ---- words

    def _keyword(self, text: str, end: int) -> str:
        """The kind of a word that is a keyword in some places."""
        kind = self._keywords[text]
        if self.tokens and self.tokens[-1].kind in ("PACKAGE", "IMPORT"):
            return "NAME"
        if self.source.startswith((".", "["), end) or kind in ("LAND", "LOR"):
            return "?" + kind
        index = len(self.tokens)
        if kind == "EVERY":
            self._frames[-1].every = True
        elif kind == "ELSE":
            self._after_else = True
        elif kind == "IF" and self._after_else:
            self.else_ifs.add(index)
            self._after_else = False
        return kind

    def _import_keyword(self, text: str, end: int) -> None:
        """`import future.keywords`, `import future.keywords.and` and `import rego.v2` apply to the text behind them."""
        path: list[str] = []
        words = self.tokens[-3:]
        while words and words[-1].kind != "IMPORT":
            path.insert(0, words.pop().text)
        if not words or self.source.startswith(".", end):
            return
        if (*path, text) in (("future", "keywords"), ("rego", "v2")):
            self._adopt(V2_KEYWORDS)
        elif path == ["future", "keywords"] and text in V2_KEYWORDS:
            self._adopt((text,))

    def _adopt(self, names: tuple[str, ...]) -> None:
        """From the next token on, these words are keywords."""
        index = len(self.tokens)
        if "not" in names:
            self.modern_not = min(self.modern_not, index)
        logical = {name: "L" + name.upper() for name in names if name != "not"}
        if logical:
            self.logical = min(self.logical, index)
            self._keywords = self._keywords | logical

    # ---- brackets

    def _bracket(self, kind: str, text: str, loc: Location, glued: bool, ends_operand: bool) -> str:
        index = len(self.tokens)
        frames = self._frames
        if text in CLOSES:
            frame = frames[-1]
            if frame.bracket != CLOSES[text]:
                self._unmatched(loc)
            self.mates[frame.index] = index
            if frame.delimiter:
                return "TCLOSE"  # the frame is still needed for the text behind it
            frames.pop()
        elif text == "|":
            if frames[-1].index not in self.bars:
                self.bars[frames[-1].index] = index
        elif text == "-":
            self.minuses.append(index)
        else:
            self._check_depth(loc)
            if text == "{":
                self.braces.append(index)
                can_follow = frames[-1].every or (len(frames) == 1 and not self.query)
                if ends_operand and can_follow and not self._behind_contains():
                    self.bodies.add(index)
                    frames[-1].every = False
            elif glued and (self.tokens[-1].kind == "CONTAINS" or self.tokens[-1].kind[0] == "?"):
                kind = "?" + kind
                if text == "[":
                    self.braces.append(index)
            elif glued:
                kind += "_ADJ"
            elif text == "[":
                self.braces.append(index)
            frames.append(OpenBracket(index, text))
        return kind

    def _behind_contains(self) -> bool:
        """The last token is the keyword of `p contains x`, not a variable with that name."""
        tokens = self.tokens
        return len(tokens) > 1 and tokens[-1].kind == "CONTAINS" and tokens[-2].kind in OPERAND_END

    def _check_depth(self, loc: Location) -> None:
        self.deepest = max(self.deepest, len(self._frames))
        if self.deepest > MAX_BRACKETS:
            fail("nesting too deep", loc, f"brackets may nest {MAX_BRACKETS} deep")

    def _unmatched(self, loc: Location) -> NoReturn:
        fail("brackets do not match", loc)

    def _leave_open(self) -> None:
        self._unmatched(self.tokens[self._frames[-1].index].loc)

    # ---- strings

    def _unescape(self, literal: str, loc: Location) -> str:
        try:
            text: str = json.loads(literal)
        except ValueError:
            self._illegal(loc)
        return _SURROGATES.sub("\ufffd", text)  # as Go replaces half a surrogate pair

    def _open_template(self, text: str, loc: Location) -> None:
        self._check_depth(loc)
        self._frames.append(OpenBracket(len(self.tokens), "$", text[1]))
        self.tokens.append(Token("TSTART", text, loc))

    def _template_text(self, position: int, delimiter: str) -> int:
        """Read a template's text from `position` up to an expression or the end; where to go on."""
        tokens = self.tokens
        found = _TEMPLATE_TEXT[delimiter].match(self.source, position)
        assert found is not None
        end = found.end()
        if end > position:
            loc = self._locate(position, end)
            text = found[0].replace("\\{", "{") if delimiter == "`" else self._template_unescape(found[0], loc)
            tokens.append(Token("TTEXT", text, loc))
        stop = self.source[end : end + 1]
        loc = self._locate(end, end + 1)
        if stop == delimiter:
            self.mates[self._frames.pop().index] = len(tokens)
            tokens.append(Token("TEND", stop, loc))
        elif stop == "{":
            self._frames.append(OpenBracket(len(tokens), "{", delimiter))
            tokens.append(Token("TOPEN", stop, loc))
        else:
            self._illegal(self._locate(end, end))
        return end + 1

    def _template_unescape(self, text: str, loc: Location) -> str:
        if "\\" not in text:
            return text
        return self._unescape('"' + re.sub(r"\\(\{|.)", lambda m: "{" if m[1] == "{" else m[0], text) + '"', loc)

    # ---- errors: `diagnosis` explains them

    def _check_characters(self) -> None:
        source = self.source
        if source.isascii() and "\0" not in source:
            return
        found = _FORBIDDEN.search(source, 1 if source.startswith("\ufeff") else 0)
        if found is not None:
            start = found.start()
            row = source.count("\n", 0, start) + 1
            col = start - source.rfind("\n", 0, start)
            self._illegal(Location(self.file, row, col, row, col + 1))

    def _illegal(self, loc: Location) -> NoReturn:
        fail("illegal character", loc)
