"""The words for a token that cannot stand where it stands, and the token that is to blame for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from policy_engine.syntax.automaton import Accepts
from policy_engine.syntax.diagnosis import words
from policy_engine.syntax.diagnosis.layout import begins_row, row_start
from policy_engine.syntax.lexer import KEYWORDS, OPERAND_START, Token

_AWAIT_OPERAND: Final = frozenset((
    "ASSIGN", "EQ", "RELATION", "PIPE", "AMPERSAND", "PLUS", "MINUS", "SUB", "TIMES", "IN", "COLON", "NOT", "SOME", "EVERY",
    "IF", "WITH", "AS", "CONTAINS", "DEFAULT", "IMPORT", "PACKAGE", "BAR", "SEMI", "LAND", "LOR", "ELSE",
))  # fmt: skip
"""Something has to follow these."""
_AWAIT_NAME: Final = frozenset(("PACKAGE", "IMPORT", "SOME", "DEFAULT", "AS"))
_BEGIN_STATEMENT: Final = frozenset(("ASSIGN", "EQ", "IF", "CONTAINS", "COLON"))
"""Behind a name these show that it begins a statement, and does not end the one in the line before."""
_CLOSE: Final = {"RBRACE": "`}`", "RSQB": "`]`", "RPAR": "`)`", "TCLOSE": "`}`"}
_WANTED: Final = {
    "NAME": "a name", "AS": "`as`", "COLON": "`:`", "LBODY": "`{`", "COMMA": "`,`", "ASSIGN": "`:=`", "CONTAINS": "`contains`",
    "IF": "`if`", **_CLOSE,
}  # fmt: skip
_END_TERM: Final = ("SEMI", "COMMA", "DEFAULT", "IF", *_CLOSE)
_LONGEST_TEXT: Final = 30


class Blame(NamedTuple):
    """The token to blame, and what is wrong with it."""

    index: int
    message: str
    hint: str = ""


def shown(token: Token) -> str:
    """A token in a message."""
    text = token.text if len(token.text) <= _LONGEST_TEXT and token.text.isprintable() else "…"
    match token.kind:
        case "$END":
            return "the end of the file"
        case "STRING" | "RAW":
            return f'"{text}"'
        case "TTEXT" | "TEND":
            return "the rest of the template string"
        case "FIELD" | "FIELD_FREE":
            return f"`.{text}`"
    return f"`{text}`"


def is_keyword(token: Token) -> bool:
    return token.text in KEYWORDS and token.kind.lstrip("?") == KEYWORDS[token.text]


def foreign_word(tokens: Sequence[Token], index: int) -> Blame | None:
    """A name in the row of `index` that a value or another name follows: it was meant to be a keyword."""
    at = row_start(tokens, index)
    row = tokens[at].loc.row
    while tokens[at].loc.row == row and at < len(tokens) - 1:
        after = tokens[at + 1]
        if tokens[at].kind == "NAME" and after.loc.row == row:
            if after.kind in OPERAND_START or after.kind in ("COLON", "IF") or tokens[at].text.startswith("els"):
                message = words.word(tokens[at].text)
                if message:
                    return Blame(at, message)
        at += 1
    return None


def second_expression(tokens: Sequence[Token], index: int) -> Blame:
    """An expression begins at `index`, in the row of the one before."""
    before, token = tokens[index - 1], tokens[index]
    hint = ""
    if before.kind in ("NAME", "FIELD"):
        if token.text in ("(", "["):
            return Blame(index, f"unexpected space before `{token.text}`", "a call is `f(x)`, an element is `xs[i]`")
        if token.kind == "STRING" and before.loc[3:5] == token.loc[1:3]:
            hint = 'a template string is `$"… {x} …"`, a raw string stands in backticks'
            return Blame(index - 1, f'unexpected `{before.text}` before a string', hint)
        hint = f"a call is `{before.text}(…)`" if before.kind == "NAME" else ""
    elif before.kind == token.kind == "STRING" and before.loc[3:5] == token.loc[1:3]:
        return Blame(index - 1, '`"""` does not begin a string', "a text over several lines stands in backticks")
    if token.kind == "NOT":
        return Blame(index, f"unexpected `not` behind {shown(before)}", f"write `not {before.text} {tokens[index + 1].text} …`")
    what = f"unexpected {shown(token)} behind {shown(before)}"
    return Blame(index, f"{what}: expressions are separated by a new line or `;`", hint)


class Explanation:
    """Why the token at `index` cannot follow those before it."""

    def __init__(
        self, tokens: Sequence[Token], mates: Mapping[int, int], index: int, accepts: Accepts, starts: Sequence[int]
    ) -> None:
        self.tokens = tokens
        self.starts = frozenset(starts)
        """Where statements begin; empty if the text is a query."""
        self.index = index
        self.accepts = accepts
        self.token = tokens[index]
        self.before = tokens[max(index - 1, 0)]
        self.opened = max((start for start, end in mates.items() if start < index <= end), default=-1)
        """The innermost bracket around the token, -1 if there is none."""
        self.bracket = tokens[self.opened].text if self.opened >= 0 else ""
        self.inside = self._inside()
        """The tokens before this one, down to what begins its expression, element or statement: the nearest is first.
        Of what stands in further brackets only the brackets."""

    def _inside(self) -> list[int]:
        found = []
        index, depth = self.index - 1, 0
        while index > self.opened:
            kind = self.tokens[index].kind
            closes = kind in ("RBRACE", "RSQB", "RPAR", "TCLOSE", "TEND")
            depth -= kind in ("LBRACE", "LBODY", "LBLOCK", "LSQB", "LSQB_ADJ", "LPAR", "LPAR_ADJ", "TOPEN", "TSTART")
            if depth == 0:
                found.append(index)
            depth += closes
            index -= 1
        return found

    def blame(self) -> Blame:
        word = foreign_word(self.tokens, self.index) or foreign_word(self.tokens, max(self.index - 1, 0))
        steps = (self._comma, self._dangling, self._head, self._body, self._list)
        return word or next(filter(None, (step() for step in steps)), None) or self._general()

    @property
    def is_body(self) -> bool:
        """Expressions stand around the token, and not elements."""
        if self.opened < 0:
            return not self.starts or self._first("IF") >= 0
        opened = self.tokens[self.opened].kind
        return opened in ("LBODY", "LBLOCK", "TOPEN") or any(self.tokens[at].kind == "BAR" for at in self.inside)

    def _first(self, *kinds: str) -> int:
        """The nearest of these tokens before the one to explain, in the same expression or statement; -1 if there is none."""
        for at in self.inside:
            kind = self.tokens[at].kind
            if kind in kinds:
                return at
            if kind in ("SEMI", "BAR") or (self.opened < 0 and at in self.starts):
                break
        return -1

    # ---- mistakes that the automaton notices late

    def _comma(self) -> Blame | None:
        """A comma behind an expression or a statement; the automaton waits for the `in` of `key, value in xs`."""
        if self.opened >= 0 and not self.is_body:
            return None
        commas = [at for at in self.inside if self.tokens[at].kind == "COMMA"]
        comma = self.index if self.token.kind == "COMMA" else commas[0] if commas else -1
        waits = self.accepts("IN") and not any(map(self.accepts, _END_TERM))
        if comma < 0 or not (waits or comma >= self.index - 1):
            return None
        row = self.tokens[comma].loc.row
        if self.token.kind in ("ASSIGN", "EQ") and self.token.loc.row == row and self.opened >= 0:
            return Blame(comma, "unexpected `,`", "several values are assigned at once with `[x, y] := …`")
        if comma and self.tokens[comma - 1].kind == "NAME" and comma > 1 and self.tokens[comma - 2].kind == "NAME":
            return second_expression(self.tokens, comma - 1)
        if self._first("SOME") >= 0 and any(self.tokens[at].kind == "IN" for at in (comma + 2, comma + 4)):
            return Blame(comma, "unexpected `,`: each collection has a `some` of its own, `some x in xs`")
        if self.tokens[row_start(self.tokens, comma)].kind == "IMPORT":
            return Blame(comma, "unexpected `,`: each import is a statement of its own, `import data.name`")
        if not self.is_body:
            return Blame(comma, "unexpected `,`: rules are separated by nothing but a new line")
        return Blame(comma, "unexpected `,`: the expressions of a body are separated by a new line or `;`")

    def _dangling(self) -> Blame | None:
        """The row before ends with something that lacks its operand."""
        first = row_start(self.tokens, self.index)
        last = self.tokens[first - 1]
        begins = self.token.kind in _BEGIN_STATEMENT and self.tokens[first].kind in ("NAME", "STRING")
        if not first or last.kind not in _AWAIT_OPERAND or not (first == self.index or begins):
            return None
        wanted, hint = ("a name" if last.kind in _AWAIT_NAME else "a value"), ""
        if last.kind == "SEMI":
            return Blame(first - 1, "unexpected `;`: no expression follows it")
        if last.kind == "IF":
            wanted, hint = "a body", "`name if condition` or `name if { … }`"
        elif last.kind == "ELSE":
            wanted, hint = "`:=` or `if`", "`else := value` or `else := value if { … }`"
        return Blame(first - 1, f"expected {wanted} behind {shown(last)}", hint)

    # ---- known mistakes

    def _head(self) -> Blame | None:
        """Between rules, or in what stands before a body."""
        if self.opened >= 0 or not (self.accepts("DEFAULT") or self.accepts("IF")) or not self.starts:
            return None
        kind, index, before = self.token.kind, self.index, shown(self.before)
        start = self.tokens[row_start(self.tokens, index)]
        if kind == "SEMI":
            return Blame(index, "unexpected `;`: rules are separated by nothing but a new line")
        if start.kind in ("PACKAGE", "IMPORT") and index and start.loc.row == self.token.loc.row:
            hint = 'names are separated by `.`; a name with other characters is written `["odd-name"]`'
            return Blame(index, f"unexpected {shown(self.token)} behind the path of the {start.text}", hint)
        if start.kind == "DEFAULT" and kind in ("IF", "LBODY"):
            return Blame(index, "a default has no body: it holds where no other rule does", "`default name := constant`")
        if kind == "ELSE":
            return Blame(index, "unexpected `else`: it follows the body of a rule")
        if kind == "IF" and begins_row(self.tokens, index):
            return Blame(index, "unexpected `if`: a rule begins with its name, `name if { … }`")
        if self.accepts("ASSIGN") and kind in ("RELATION", "COLON", "EQ"):
            return Blame(index, f"unexpected {shown(self.token)}: the value of a rule is assigned with `:=`")
        if self.accepts("ASSIGN") and kind in ("SUB", "MINUS"):
            return Blame(index, "unexpected `-`: names consist of letters, digits and `_`")
        if is_keyword(self.token) and begins_row(self.tokens, index):
            text = self.token.text
            if self.tokens[index + 1].kind in (*_BEGIN_STATEMENT, "LBODY"):
                return Blame(index, f"the keyword `{text}` cannot be the name of a rule")
            return Blame(index, f"unexpected `{text}`: expressions stand in the body of a rule, `name if {{ … }}`")
        if self.accepts("ASSIGN") and self.before.loc.end_row == self.token.loc.row:
            return Blame(index, f"expected {self._expected()} behind {before}, found {shown(self.token)}")
        return None

    def _body(self) -> Blame | None:
        """Where expressions stand."""
        kind, index, before = self.token.kind, self.index, self.before
        if not self.is_body:
            return None
        with_, some = self._first("WITH"), self._first("SOME")
        if self.accepts("AS") and with_ >= 0:
            return Blame(index, f"expected `as` behind the target of `with`, found {shown(self.token)}", "`with input.user as value`")
        if kind == "COLON" and before.kind == "IF":
            return Blame(index, "unexpected `:` behind `if`: a body stands in braces, `if { … }`")
        if before.kind == "TOPEN":
            return Blame(index - 1, "expected a value in the braces of a template string", "a brace by itself is `\\{`")
        if before.kind in ("LBODY", "BAR") and kind == "RBRACE":
            return Blame(index - 1, f"expected an expression behind `{before.text}`: " + ("a comprehension is `[x | some x in xs]`" if before.kind == "BAR" else "the body is empty"))
        if self._first("EVERY") >= 0 and self.accepts("LBODY"):
            at = index - 1 if begins_row(self.tokens, index) else index
            return Blame(at, "`every` needs a body in braces: `every x in xs { … }`")
        if kind in ("ASSIGN", "EQ", "COLON") and some >= 0:
            return Blame(index, f"unexpected {shown(self.token)} behind `some`", "`some x in xs` iterates; `x := …` declares `x` by itself")
        if kind == "COLON":
            return Blame(index, "unexpected `:`: a value is assigned with `:=`")
        if kind in ("ASSIGN", "EQ") and self._first("ASSIGN", "EQ") >= 0 and before.kind not in ("ASSIGN", "EQ"):
            return Blame(index, f"unexpected {shown(self.token)}: a statement assigns one value")
        if before.kind == "NOT" and kind == "IN":
            return Blame(index - 1, "unexpected `not` before `in`: write `not x in xs`")
        if kind == "SEMI":
            return Blame(index, "unexpected `;`: an expression has to stand before it")
        if kind in ("SOME", "EVERY", "NOT") and before.kind == "NOT":
            return Blame(index, f"unexpected `{self.token.text}` behind `not`", "a rule or comprehension can be negated: `not name`")
        if kind == "IF" and self.accepts("SOME") | self.accepts("SEMI"):
            hint = "what depends on a condition is a rule of its own"
            return Blame(index, "unexpected `if`: an expression is a condition already", hint)
        return None

    def _list(self) -> Blame | None:
        """In brackets, and whatever is left of bodies."""
        kind, index, before, accepts = self.token.kind, self.index, self.before, self.accepts
        glued = before.loc[3:5] == self.token.loc[1:3]
        if kind == "STRING" and before.kind in ("NAME", "STRING") and glued:
            return second_expression(self.tokens, index)
        if kind == "FIELD_FREE":
            return Blame(index, f"unexpected space before `.{self.token.text}`")
        if kind == "RSQB" and before.kind == "LSQB_ADJ":
            return Blame(index, "an index is missing in `[]`", "`[_]` is any element")
        if before.kind == "LSQB_ADJ" or (self.opened >= 0 and self.tokens[self.opened].kind == "LSQB_ADJ" and kind == "COLON"):
            if kind == "COLON":
                return Blame(index, "unexpected `:` in an index: a part of an array is `array.slice(xs, from, to)`")
        if before.kind == "DEFAULT":
            return Blame(index - 1, f"expected a name behind `default`, found {shown(self.token)}", "`default name := constant`")
        if before.kind == "SOME" and kind == "IN":
            return Blame(index, "expected a variable behind `some`, found `in`")
        opened = self.tokens[self.opened]
        if opened.kind == "LPAR" and self.opened and self.tokens[self.opened - 1].kind == "NAME" and not begins_row(self.tokens, self.opened):
            return second_expression(self.tokens, self.opened)
        if is_keyword(self.token) and accepts("NAME") and not accepts("DEFAULT") and kind not in ("IF", "ELSE", "WITH", "AS"):
            return Blame(index, f"the keyword `{self.token.text}` cannot be a name by itself", f"as part of a reference it can: `input.{self.token.text}`")
        if kind == "PLUS" and accepts("NUMBER"):
            return Blame(index, "unexpected `+`: a positive number has no sign")
        if kind == "SUB" and accepts("NUMBER"):
            return Blame(index, "unexpected `-`: a sign stands before a number or a name", "write `0 - x`")
        if self.bracket and not self.is_body:
            return self._element()
        return None

    def _element(self) -> Blame | None:
        """Between the elements of a collection, or arguments."""
        kind, index, accepts = self.token.kind, self.index, self.accepts
        if self.bracket in "{[" and (kind in ("SOME", "SEMI", "ASSIGN", "EQ")):
            if self._first("PIPE") >= 0 or self._has_bar():
                return Blame(index, f"unexpected {shown(self.token)}: a comprehension is `[value | expressions]`, with one value", "separate the expressions by `;`")
        if kind in ("ASSIGN", "EQ") and accepts("COLON"):
            return Blame(index, f"unexpected {shown(self.token)}: a member of an object is `key: value`")
        if kind in ("ASSIGN", "EQ") and accepts("RELATION"):
            return Blame(index, f"unexpected {shown(self.token)}: inside of brackets values are compared with `==`")
        if accepts("COMMA") and (kind in OPERAND_START or kind == "SEMI"):
            if self.bracket == "{" and accepts("COLON") and not begins_row(self.tokens, index):
                return Blame(index, f"expected `,` or `:` before {shown(self.token)}")
            if begins_row(self.tokens, index):
                return Blame(index - 1, f"a `,` is missing behind {shown(self.before)}")
            if kind == "SEMI":
                return Blame(index, "unexpected `;`: elements are separated by `,`")
            return Blame(index, f"a `,` is missing before {shown(self.token)}")
        return None

    def _has_bar(self) -> bool:
        depth = 0
        for token in self.tokens[self.index :]:
            depth += (token.text in ("{", "[", "(")) - (token.text in ("}", "]", ")"))
            if depth < 0 or (depth == 0 and token.text == "|"):
                return depth == 0
        return False

    # ---- any other

    def _general(self) -> Blame:
        expected = self._expected()
        behind = f" behind {shown(self.before)}" if self.before.kind in _AWAIT_OPERAND else ""
        if behind and begins_row(self.tokens, self.index) and self.index:
            return Blame(self.index - 1, f"expected {expected}{behind}")
        found = shown(self.token)
        return Blame(self.index, f"expected {expected}{behind}, found {found}" if expected else f"unexpected {found}")

    def _expected(self) -> str:
        accepts = self.accepts
        close = [text for kind, text in _CLOSE.items() if accepts(kind)]
        if accepts("NUMBER") and not accepts("DEFAULT"):
            return _or(["a value", *close])
        if accepts("SEMI"):
            return _or(["an operator", "a new line", "`;`", *close])
        texts = [text for kind, text in _WANTED.items() if accepts(kind) and (kind not in ("NAME", "LBODY") or not accepts("DEFAULT"))]
        return _or(texts) or ("a rule" if accepts("DEFAULT") else "")


def _or(texts: list[str]) -> str:
    *most, last = texts or [""]
    return f"{', '.join(most)} or {last}" if most else last
