"""The words for a token that cannot stand where it stands, and the token that is to blame for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from policy_engine.syntax.automaton import Accepts
from policy_engine.syntax.diagnosis import words
from policy_engine.syntax.diagnosis.layout import Layout
from policy_engine.syntax.lexer import KEYWORDS, OPERAND_END, OPERAND_START, Token

_AWAIT_NAME: Final = frozenset(("PACKAGE", "IMPORT", "SOME", "DEFAULT", "AS"))
_AWAIT_VALUE: Final = frozenset((
    "ASSIGN", "EQ", "RELATION", "PIPE", "AMPERSAND", "PLUS", "MINUS", "SUB", "TIMES", "IN", "COLON", "NOT", "EVERY",
    "IF", "WITH", "CONTAINS", "SEMI", "LAND", "LOR", "ELSE",
))  # fmt: skip
_BEGIN_STATEMENT: Final = frozenset(("ASSIGN", "EQ", "IF", "CONTAINS", "COLON"))
"""Behind a name these show that it begins a statement, and does not end the one in the row before."""
_OPENS: Final = frozenset(("LBRACE", "LBODY", "LBLOCK", "LSQB", "LSQB_ADJ", "LPAR", "LPAR_ADJ", "TOPEN", "TSTART"))
_CLOSES: Final = frozenset(("RBRACE", "RSQB", "RPAR", "TCLOSE", "TEND"))
_WANTED: Final = {
    "NAME": "a name", "AS": "`as`", "COLON": "`:`", "LBODY": "`{`", "COMMA": "`,`", "ASSIGN": "`:=`",
    "CONTAINS": "`contains`", "IF": "`if`", "RBRACE": "`}`", "RSQB": "`]`", "RPAR": "`)`", "TCLOSE": "`}`",
}  # fmt: skip
_COMPLETE: Final = ("SEMI", "COMMA", "DEFAULT", "IF", "RBRACE", "RSQB", "RPAR", "TCLOSE")
"""The automaton accepts one of these where nothing is missing."""
_LONGEST_TEXT: Final = 30
_NEAR: Final = 20


class Known(NamedTuple):
    """A mistake that many authors make. Fields that are "" fit everything; kinds of tokens are separated by spaces."""

    where: str
    """`head`: outside of bodies and brackets, `row`: there, and not at the beginning of a row; `body`; `list`."""
    token: str
    before: str
    near: str
    """One of these stands before it in the same expression, element or statement."""
    accepts: str
    """This could have come instead."""
    message: str
    """`{}` is the token."""
    late: str = ""
    """The token before is to blame: `always`, or if this one begins a `row`."""


_KNOWN: Final = tuple(Known(*fields) for fields in (
    ("head", "SEMI", "", "", "", "unexpected `;`: rules are separated by a new line"),
    ("row", "", "", "PACKAGE", "", 'unexpected {} in the path of a package: it has names and `.`, or `["odd-name"]`'),
    ("row", "", "", "IMPORT", "", "unexpected {} in the path of an import: `import data.name as other_name`"),
    ("head", "IF LBODY", "", "DEFAULT", "", "a default has no body: `default name := constant`"),
    ("head", "ELSE", "", "", "", "unexpected `else`: it follows the body of a rule"),
    ("head", "RELATION", "", "", "ASSIGN", "{} compares and makes no rule: write `name if { … }`, or `:=` for a value"),
    ("head", "COLON EQ", "", "", "ASSIGN", "unexpected {}: the value of a rule is assigned with `:=`"),
    ("head", "SUB MINUS", "", "", "ASSIGN", "unexpected `-`: names consist of letters, digits and `_`"),
    ("body", "SEMI COMMA COLON", "", "", "TCLOSE", "unexpected {}: the braces of a template string hold one value"),
    ("body", "COLON", "IF", "", "", "unexpected `:` behind `if`: a body stands in braces, `if { … }`"),
    ("body", "", "TOPEN", "", "", "expected a value in the braces of a template string", "always"),
    ("body", "RBRACE", "LBODY", "", "", "expected an expression behind `{`: the body is empty", "always"),
    ("body", "RBRACE RSQB", "BAR", "", "", "the comprehension has no body: `[x | some x in xs]`", "always"),
    ("body", "IN", "NOT", "", "", "unexpected `not` before `in`: write `not x in xs`", "always"),
    ("body", "SOME EVERY NOT", "NOT", "", "", "unexpected {} behind `not`: make it a rule and negate that, `not name`"),
    ("body", "", "", "WITH", "AS", "`with` needs `as`, found {}: `with input.user as value`", "row"),
    ("body", "", "", "EVERY", "LBODY", "`every` needs a body in braces: `every x in xs { … }`", "row"),
    ("body", "ASSIGN EQ COLON", "", "SOME", "", "unexpected {} behind `some`: write `some x in xs`, or `x := …`"),
    ("body", "COLON", "", "", "", "unexpected `:`: a value is assigned with `:=`"),
    ("body", "ASSIGN EQ", "", "ASSIGN EQ", "SEMI", "unexpected {}: a statement assigns one value"),
    ("body", "SEMI", "", "", "", "unexpected `;`: no expression stands before it"),
    ("body", "SOME EVERY", "LAND LOR", "", "", "unexpected {}: as operand of `and` or `or` it stands in braces"),
    ("body", "LAND LOR", "", "", "", "unexpected {}: operands with `some`, `every` or `with` stand in braces"),
    ("body", "IF", "", "", "SOME", "unexpected `if`: each expression is a condition; what depends on one is a rule"),
    ("body", "IF", "", "", "SEMI", "unexpected `if`: each expression is a condition; what depends on one is a rule"),
    ("list", "BAR", "", "", "", "unexpected `|`: the value of a comprehension is one term, or stands in parentheses"),
    ("", "RSQB", "LSQB_ADJ", "", "", "an index is missing in `[]`; `[_]` is any element"),
    ("", "IN", "SOME", "", "", "expected a variable behind `some`, found `in`"),
    ("", "", "DEFAULT", "", "", "expected a name behind `default`, found {}: `default name := constant`", "always"),
    ("", "PLUS SUB", "", "", "NUMBER", "unexpected {}: a sign is `-`, and stands before a number or a name"),
    ("list", "ASSIGN EQ", "", "", "COLON", "unexpected {}: a member of an object is `key: value`"),
    ("list", "ASSIGN EQ", "", "", "RELATION", "unexpected {}: inside of brackets values are compared with `==`"),
    ("list", "SEMI", "", "", "COMMA", "unexpected `;`: elements are separated by `,`"),
))  # fmt: skip


class Blame(NamedTuple):
    """The token to blame, and what is wrong with it."""

    at: int
    message: str
    hint: str = ""


def shown(token: Token) -> str:
    """A token in a message."""
    text = token.text if len(token.text) <= _LONGEST_TEXT and token.text.isprintable() else "…"
    if token.kind == "$END":
        return "the end of the file"
    if token.kind in ("TTEXT", "TEND"):
        return "the rest of the template string"
    return f'"{text}"' if token.kind in ("STRING", "RAW") else f"`{'.' * token.kind.startswith('FIELD')}{text}`"


def touches(before: Token, token: Token) -> bool:
    return before.loc[3:5] == token.loc[1:3]


def foreign_word(layout: Layout, index: int) -> Blame | None:
    """A name near `index`, in its row, that a value or another name follows: it was meant to be a keyword."""
    tokens, row = layout.tokens, layout.first[index]
    for at in range(max(row, index - _NEAR), min(len(tokens) - 1, index + _NEAR)):
        token, after = tokens[at], tokens[at + 1]
        if layout.first[at + 1] != row:
            return None
        follows = after.kind in OPERAND_START or after.kind == "IF" or token.text.startswith(("els", "then"))
        message = words.word(token.text) if token.kind == "NAME" and follows and not touches(token, after) else ""
        if message:
            return Blame(at, message)
    return None


def second_expression(tokens: Sequence[Token], index: int) -> Blame:
    """An expression begins at `index`, in the row of the one before."""
    before, token = tokens[index - 1], tokens[index]
    what = f"unexpected {shown(token)} behind {shown(before)}"
    if touches(before, token) and token.kind == before.kind == "STRING":
        return Blame(index - 1, '`"""` does not begin a string: a text over several lines stands in backticks')
    if touches(before, token) and token.kind == "STRING":
        what = f"unexpected {shown(before)} before a string"
        return Blame(index - 1, f'{what}: a template string is `$"… {{x}} …"`, a raw string stands in backticks')
    if touches(before, token) and before.kind == "STRING":
        return Blame(index, f'unexpected {shown(token)} behind a string: a quote in a string is written `\\"`')
    if before.kind in ("NAME", "FIELD") and token.text in ("(", "["):
        return Blame(index, f"unexpected space before `{token.text}`: a call is `f(x)`, an element is `xs[i]`")
    if index > 1 and tokens[index - 2].kind == "SOME":
        return Blame(index, f"expected `in` behind {shown(before)}, found {shown(token)}")
    name = before.text if before.kind == "NAME" else token.text if token.kind == "CONTAINS" else ""
    call = f"; a call is `{name}(…)`" if name else ""
    return Blame(index, f"{what}: expressions are separated by a new line or `;`{call}")


class MistakeReason:
    """The reason why the token at `index` cannot follow those before it."""

    def __init__(
        self, layout: Layout, mates: Mapping[int, int], index: int, accepts: Accepts, starts: Sequence[int]
    ) -> None:
        self.layout = layout
        self.tokens = layout.tokens
        self.index = index
        self.accepts = accepts
        self.starts = frozenset(starts)
        """The first tokens of statements; empty if the text is a query."""
        self.token = self.tokens[index]
        self.kind = self.token.kind.lstrip("?")
        self.before = self.tokens[index - 1] if index else Token("", "", self.token.loc)
        self.new_row = layout.begins_row(index)
        self.opened = max((start for start, end in mates.items() if start < index <= end), default=-1)
        """The innermost bracket around the token, -1 if there is none."""
        self.bracket = self._kind(self.opened)
        self.inside = self._inside()
        """The tokens between the innermost bracket and this one, backwards. Further brackets are left out with what
        they hold, but for the closing ones."""
        self.is_complete = any(map(accepts, _COMPLETE))
        self.is_body = self._is_body()
        """Expressions stand around the token, and not elements."""

    def _kind(self, index: int) -> str:
        return self.tokens[index].kind if 0 <= index < len(self.tokens) else ""

    def _inside(self) -> list[int]:
        found, depth = [], 0
        for index in range(self.index - 1, self.opened, -1):
            if depth == 0:
                found.append(index)
            depth = max(0, depth + (self._kind(index) in _CLOSES) - (self._kind(index) in _OPENS))
        return found

    def _is_body(self) -> bool:
        if self.opened < 0:
            return not self.starts or self._nearest("IF") >= 0
        return self.bracket in ("LBODY", "LBLOCK", "TOPEN") or any(self._kind(at) == "BAR" for at in self.inside)

    def _nearest(self, *kinds: str) -> int:
        """The nearest of these tokens before this one, in its expression, element or statement; -1 if there is none."""
        for at in self.inside:
            if self._kind(at) in kinds:
                return at
            if self._kind(at) in ("SEMI", "BAR") or (self.opened < 0 and at in self.starts):
                break
        return -1

    def blame(self) -> Blame:
        word = foreign_word(self.layout, self.index) or foreign_word(self.layout, max(self.index - 1, 0))
        steps = (
            self._comma,
            self._dangling,
            self._brace,
            self._comprehension,
            self._text,
            self._known,
            self._element,
            self._general,
        )
        return word or next(filter(None, (step() for step in steps)))

    def _comma(self) -> Blame | None:
        """A comma behind an expression or a statement; the automaton waits for the `in` of `key, value in xs`."""
        commas = [self.index] if self.kind == "COMMA" else [at for at in self.inside if self._kind(at) == "COMMA"]
        if (self.opened >= 0 and not self.is_body) or not commas or self.bracket == "TOPEN":
            return None
        comma = commas[0]
        if comma < self.index - 1 and (self.is_complete or not self.accepts("IN")):
            return None
        if self._kind(comma - 1) == self._kind(comma - 2) == "NAME" and not self.layout.begins_row(comma - 1):
            return second_expression(self.tokens, comma - 1)
        right = "the expressions of a body are separated by a new line or `;`"
        if (
            self.kind in ("ASSIGN", "EQ")
            and self.layout.first[comma] == self.layout.first[self.index]
            and self.opened >= 0
        ):
            right = "several values are assigned at once with `[x, y] := …`"
        elif self._nearest("SOME") >= 0 and "IN" in (self._kind(comma + 2), self._kind(comma + 4)):
            right = "each collection has a `some` of its own, `some x in xs`"
        elif self._kind(self.layout.first[comma]) == "IMPORT":
            right = "each import is a statement of its own, `import data.name`"
        elif not self.is_body:
            right = "rules are separated by a new line"
        return Blame(comma, f"unexpected `,`: {right}")

    def _dangling(self) -> Blame | None:
        """The row before ends with something that lacks its operand."""
        first = self.layout.first[self.index]
        kind = self._kind(first - 1)
        begins = self.kind in _BEGIN_STATEMENT and self._kind(first) in ("NAME", "STRING")
        if kind not in _AWAIT_NAME | _AWAIT_VALUE or not (first == self.index or begins):
            return None
        if kind == "SEMI":
            return Blame(first - 1, "unexpected `;`: no expression follows it")
        wanted = {"IF": "a body", "ELSE": "`:= value` or `if { … }`"}.get(
            kind, "a name" if kind in _AWAIT_NAME else "a value"
        )
        return Blame(first - 1, f"expected {wanted} behind {shown(self.tokens[first - 1])}")

    def _brace(self) -> Blame | None:
        """A body where none can stand is read as a set or an object, and an object as a body of version 0."""
        if self.opened <= 0 or not self.layout.begins_row(self.opened + 1):
            return None
        before = self.tokens[self.opened - 1]
        if self.bracket == "LBODY" and self.kind == "COLON" and before.kind not in ("IF", "ELSE"):
            is_head = self.layout.first[self.opened] in self.starts
            return Blame(self.opened - 1, f"expected `:=` or `if` behind {shown(before)}") if is_head else None
        if self.bracket != "LBRACE" or self._nearest("COMMA", "COLON", "BAR", "PIPE") >= 0:
            return None
        begins = self.kind in ("SOME", "NOT", "EVERY") or (self.kind in ("ASSIGN", "EQ") and self.before.kind == "NAME")
        separate = self.new_row and self.accepts("COMMA") and self._nearest("RELATION", "IN") >= 0
        if begins or separate or (before.kind in OPERAND_END and self.new_row):
            return Blame(self.opened, f"unexpected `{{` behind {shown(before)}: a body follows `if` or `every x in xs`")
        return None

    def _text(self) -> Blame | None:
        """A mistake of white space, or of the word itself."""
        index, text, before = self.index, shown(self.token), self.before
        if self.kind == "STRING" and before.kind in ("NAME", "STRING") and touches(before, self.token):
            return second_expression(self.tokens, index)
        if self.kind == "FIELD_FREE":
            what = "unexpected space" if before.kind in OPERAND_END and not self.new_row else "a name is missing"
            return Blame(index, f"{what} before {text}")
        if self.kind == "COLON" and self.bracket == "LSQB_ADJ":
            return Blame(index, "unexpected `:` in an index: a part of an array is `array.slice(xs, from, to)`")
        if self.bracket == "LPAR" and self._kind(self.opened - 1) == "SOME":
            return Blame(self.opened, "unexpected `(` behind `some`: its variables stand without parentheses")
        if self.bracket == "LPAR" and self._kind(self.opened - 1) == "NAME" and not self.layout.begins_row(self.opened):
            return second_expression(self.tokens, self.opened)
        if KEYWORDS.get(self.token.text) != self.kind or (self.kind == "ELSE" and self.accepts("DEFAULT")):
            return None
        if self.new_row and self.opened < 0 and self.starts and self.accepts("DEFAULT"):
            if self._kind(index + 1) in (*_BEGIN_STATEMENT, "LBODY"):
                return Blame(index, f"the keyword {text} cannot be the name of a rule")
            example = "a rule begins with its name" if self.kind == "IF" else "expressions stand in the body of a rule"
            return Blame(index, f"unexpected {text}: {example}, `name if {{ … }}`")
        if self.kind in ("IMPORT", "PACKAGE") and self._kind(index + 1) == "NAME" and self.accepts("SOME"):
            return Blame(index, f"unexpected {text}: it stands outside of rules")
        body = self.kind in ("SOME", "NOT", "EVERY", "IN") and (
            self._nearest("LAND", "LOR") >= 0 or before.text in KEYWORDS
        )
        begins = body or self.kind in ("IF", "ELSE", "WITH", "AS") or before.kind == "DEFAULT"
        if self.accepts("NAME") and not self.accepts("DEFAULT") and not begins:
            return Blame(
                index, f"the keyword {text} cannot be a name; in a reference it can, `input.{self.token.text}`"
            )
        return None

    def _comprehension(self) -> Blame | None:
        """A comprehension whose head is no single term, and which is therefore read as a union."""
        bars = [token for token in self.tokens[self.opened : self.index + _NEAR] if token.kind in ("PIPE", "BAR")]
        if self.opened < 0 or self.is_body or not bars or self.kind not in ("SOME", "NOT", "SEMI", "ASSIGN", "EQ"):
            return None
        return Blame(self.index, f"unexpected {shown(self.token)}: a comprehension is `[x | body]`, with one value `x`")

    def _known(self) -> Blame | None:
        is_head = self.opened < 0 and bool(self.starts) and (self.accepts("DEFAULT") or self.accepts("IF"))
        places = {"": True, "head": is_head, "row": is_head and not self.new_row, "body": self.is_body}
        places["list"] = self.opened >= 0 and not self.is_body
        for known in _KNOWN:
            if (
                places[known.where]
                and (not known.token or self.kind in known.token.split())
                and (not known.before or self.before.kind in known.before.split())
                and (not known.accepts or self.accepts(known.accepts))
                and (not known.near or self._nearest(*known.near.split()) >= 0)
            ):
                late = known.late == "always" or (known.late == "row" and self.new_row)
                return Blame(self.index - late, known.message.replace("{}", shown(self.token)))
        return None

    def _element(self) -> Blame | None:
        """Between the elements of a collection, or between arguments."""
        text = shown(self.token)
        if self.opened < 0 or self.is_body:
            return None
        if not self.accepts("COMMA") or self.kind not in OPERAND_START:
            return None
        sign = "|" if self.kind == "SOME" else ","
        if self.new_row:
            return Blame(self.index - 1, f"a `{sign}` is missing behind {shown(self.before)}")
        return Blame(self.index, f"a `{sign}` {'or `:` ' if self.accepts('COLON') else ''}is missing before {text}")

    def _general(self) -> Blame:
        expected, before, found = self._expected(), self.before, shown(self.token)
        if self.index and self.new_row and not self.is_complete and before.kind not in _OPENS:
            return Blame(self.index - 1, f"expected {expected} behind {shown(before)}")
        if self.accepts("DEFAULT") and not self.new_row and not self.accepts("ASSIGN"):
            return Blame(self.index, f"unexpected {found} behind {shown(before)}")
        behind = before.kind in _AWAIT_NAME | _AWAIT_VALUE or (self.opened < 0 and self.accepts("ASSIGN"))
        expected += f" behind {shown(before)}" if behind else ""
        return Blame(self.index, f"expected {expected}, found {found}" if expected else f"unexpected {found}")

    def _expected(self) -> str:
        without = ("NAME", "LBODY") if self.accepts("DEFAULT") else ("LBODY",) if self.accepts("IF") else ()
        texts = [text for kind, text in _WANTED.items() if self.accepts(kind) and kind not in without]
        if self.accepts("DEFAULT"):
            texts = texts or ["a rule"]
        elif self.accepts("SEMI") or self.accepts("NUMBER"):
            start = ["an operator", "a new line", "`;`"] if self.accepts("SEMI") else ["a value"]
            texts = [*start, *(text for text in texts if text[1:2] in "]})")]
        *most, last = texts or [""]
        return f"{', '.join(most)} or {last}" if most else last
