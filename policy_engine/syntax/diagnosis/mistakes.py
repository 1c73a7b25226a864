"""The words for a token that cannot stand where it stands, and the token that is to blame for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from policy_engine.syntax.automaton import Accepts
from policy_engine.syntax.diagnosis import words
from policy_engine.syntax.diagnosis.layout import Layout
from policy_engine.syntax.lexer import KEYWORDS, OPERAND_END, OPERAND_START, Token

_AWAIT_NAME: Final = frozenset(("PACKAGE", "IMPORT", "SOME", "DEFAULT", "AS"))
_AWAIT_OPERAND: Final = _AWAIT_NAME | {
    "ASSIGN", "EQ", "RELATION", "PIPE", "AMPERSAND", "PLUS", "MINUS", "SUB", "TIMES", "IN", "COLON", "NOT", "EVERY", "IF",
    "WITH", "CONTAINS", "SEMI", "LAND", "LOR", "ELSE",
}  # fmt: skip
"""Something has to follow these."""
_BEGIN_STATEMENT: Final = frozenset(("ASSIGN", "EQ", "IF", "CONTAINS", "COLON"))
"""Behind a name these show that it begins a statement, and does not end the one in the line before."""
_BODIES: Final = frozenset(("LBODY", "LBLOCK", "TOPEN"))
_OPENS: Final = frozenset(("LBRACE", "LBODY", "LBLOCK", "LSQB", "LSQB_ADJ", "LPAR", "LPAR_ADJ", "TOPEN", "TSTART"))
_CLOSES: Final = frozenset(("RBRACE", "RSQB", "RPAR", "TCLOSE", "TEND"))
_WANTED: Final = {
    "NAME": "a name", "AS": "`as`", "COLON": "`:`", "LBODY": "`{`", "COMMA": "`,`", "ASSIGN": "`:=`", "CONTAINS": "`contains`",
    "IF": "`if`", "RBRACE": "`}`", "RSQB": "`]`", "RPAR": "`)`", "TCLOSE": "`}`",
}  # fmt: skip
_COMPLETE: Final = ("SEMI", "COMMA", "DEFAULT", "IF", "RBRACE", "RSQB", "RPAR", "TCLOSE")
"""The automaton accepts one of these where nothing is missing."""
_LONGEST_TEXT: Final = 30
_NEAR: Final = 20


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
    return KEYWORDS.get(token.text) == token.kind.lstrip("?")


def touches(before: Token, token: Token) -> bool:
    return before.loc[3:5] == token.loc[1:3]


def foreign_word(layout: Layout, index: int) -> Blame | None:
    """A name near `index`, in its row, that a value or another name follows: it was meant to be a keyword."""
    tokens, at = layout.tokens, max(layout.first[index], index - _NEAR)
    row = tokens[at].loc.row
    while tokens[at].loc.row == row and at < min(len(tokens) - 1, index + _NEAR):
        token, after = tokens[at], tokens[at + 1]
        if token.kind == "NAME" and after.loc.row == row and not touches(token, after):
            if after.kind in OPERAND_START or after.kind == "IF" or token.text.startswith("els"):
                if message := words.word(token.text):
                    return Blame(at, message)
        at += 1
    return None


def second_expression(tokens: Sequence[Token], index: int) -> Blame:
    """An expression begins at `index`, in the row of the one before."""
    before, token = tokens[index - 1], tokens[index]
    if touches(before, token) and token.kind == "STRING":
        if before.kind == "STRING":
            return Blame(index - 1, '`"""` does not begin a string', "a text over several lines stands in backticks")
        hint = 'a template string is `$"… {x} …"`, a raw string stands in backticks'
        return Blame(index - 1, f"unexpected {shown(before)} before a string", hint)
    if before.kind in ("NAME", "FIELD") and token.text in ("(", "["):
        return Blame(index, f"unexpected space before `{token.text}`", "a call is `f(x)`, an element is `xs[i]`")
    if index > 1 and tokens[index - 2].kind == "SOME":
        return Blame(index, f"expected `in` behind {shown(before)}, found {shown(token)}")
    hint = f"a call is `{before.text}(…)`" if before.kind == "NAME" else ""
    what = f"unexpected {shown(token)} behind {shown(before)}"
    return Blame(index, f"{what}: expressions are separated by a new line or `;`", hint)


class Explanation:
    """Why the token at `index` cannot follow those before it."""

    def __init__(
        self, layout: Layout, mates: Mapping[int, int], index: int, accepts: Accepts, starts: Sequence[int]
    ) -> None:
        self.layout = layout
        self.tokens = tokens = layout.tokens
        self.index = index
        self.accepts = accepts
        self.starts = frozenset(starts)
        """Where statements begin; empty if the text is a query."""
        self.token = tokens[index]
        self.kind = self.token.kind.lstrip("?")
        self.before = tokens[index - 1] if index else Token("", "", self.token.loc)
        self.new_row = layout.begins_row(index)
        self.opened = max((start for start, end in mates.items() if start < index <= end), default=-1)
        """The innermost bracket around the token, -1 if there is none."""
        self.bracket = tokens[self.opened].kind if self.opened >= 0 else ""
        self.inside = self._inside()

    def _inside(self) -> list[int]:
        """The tokens between the innermost bracket and this one, backwards. Further brackets are left out with what
        they hold, but for the closing ones."""
        found = []
        index, depth = self.index - 1, 0
        while index > self.opened:
            kind = self.tokens[index].kind
            if depth == 0:
                found.append(index)
            depth = max(0, depth + (kind in _CLOSES) - (kind in _OPENS))
            index -= 1
        return found

    def blame(self) -> Blame:
        word = foreign_word(self.layout, self.index) or foreign_word(self.layout, max(self.index - 1, 0))
        steps = (
            self._comma, self._dangling, self._brace, self._head, self._body, self._comprehension, self._term, self._element
        )  # fmt: skip
        return word or next(filter(None, (step() for step in steps)), None) or self._general()

    @property
    def is_body(self) -> bool:
        """Expressions stand around the token, and not elements."""
        if self.opened < 0:
            return not self.starts or self._nearest("IF") >= 0
        return self.bracket in _BODIES or any(self._kind(at) == "BAR" for at in self.inside)

    @property
    def is_complete(self) -> bool:
        return any(map(self.accepts, _COMPLETE))

    def _kind(self, index: int) -> str:
        return self.tokens[index].kind if 0 <= index < len(self.tokens) else ""

    def _nearest(self, *kinds: str) -> int:
        """The nearest of these tokens before the one to explain, in its expression or statement; -1 if there is none."""
        for at in self.inside:
            if self._kind(at) in kinds:
                return at
            if self._kind(at) in ("SEMI", "BAR") or (self.opened < 0 and at in self.starts):
                break
        return -1

    # ---- mistakes that the automaton notices late

    def _comma(self) -> Blame | None:
        """A comma behind an expression or a statement; the automaton waits for the `in` of `key, value in xs`."""
        if self.opened >= 0 and not self.is_body:
            return None
        commas = [at for at in self.inside if self._kind(at) == "COMMA"]
        comma = self.index if self.kind == "COMMA" else commas[0] if commas else -1
        waits = self.accepts("IN") and not self.is_complete
        if comma < 0 or not (waits or comma >= self.index - 1):
            return None
        if self.kind in ("ASSIGN", "EQ") and self.token.loc.row == self.tokens[comma].loc.row and self.opened >= 0:
            return Blame(comma, "unexpected `,`", "several values are assigned at once with `[x, y] := …`")
        if self._kind(comma - 1) == self._kind(comma - 2) == "NAME" and not self.layout.begins_row(comma - 1):
            return second_expression(self.tokens, comma - 1)
        if self._nearest("SOME") >= 0 and "IN" in (self._kind(comma + 2), self._kind(comma + 4)):
            return Blame(comma, "unexpected `,`: each collection has a `some` of its own, `some x in xs`")
        if self._kind(self.layout.first[comma]) == "IMPORT":
            return Blame(comma, "unexpected `,`: each import is a statement of its own, `import data.name`")
        what = "the expressions of a body" if self.is_body else "rules"
        return Blame(comma, f"unexpected `,`: {what} are separated by a new line{' or `;`' if self.is_body else ''}")

    def _dangling(self) -> Blame | None:
        """The row before ends with something that lacks its operand."""
        first = self.layout.first[self.index]
        begins = self.kind in _BEGIN_STATEMENT and self._kind(first) in ("NAME", "STRING")
        if not first or self._kind(first - 1) not in _AWAIT_OPERAND or not (first == self.index or begins):
            return None
        return self.lacks_operand(first - 1)

    def lacks_operand(self, index: int) -> Blame:
        token = self.tokens[index]
        match token.kind:
            case "SEMI":
                return Blame(index, "unexpected `;`: no expression follows it")
            case "IF":
                return Blame(index, "expected a body behind `if`", "`name if condition` or `name if { … }`")
            case "ELSE":
                hint = "`else := value` or `else := value if { … }`"
                return Blame(index, "expected `:=` or `if` behind `else`", hint)
        return Blame(index, f"expected {'a name' if token.kind in _AWAIT_NAME else 'a value'} behind {shown(token)}")

    def _brace(self) -> Blame | None:
        """A body where none can stand is read as a set or an object, and an object as a body of version 0."""
        before = self.tokens[self.opened - 1] if self.opened > 0 else None
        if before is None or not self.layout.begins_row(self.opened + 1):
            return None
        if self.bracket == "LBODY" and self.kind == "COLON" and before.kind not in ("IF", "ELSE"):
            return Blame(self.opened - 1, f"expected `:=` or `if` behind {shown(before)}") if self._is_head() else None
        if self.bracket != "LBRACE" or self._nearest("COMMA", "COLON", "BAR", "PIPE") >= 0:
            return None
        assigns = self.kind in ("ASSIGN", "EQ") and self.before.kind == "NAME"
        begins = assigns or self.kind in ("SOME", "NOT", "EVERY")
        separate = self.new_row and self.accepts("COMMA") and self._nearest("RELATION", "IN") >= 0
        if begins or separate or (before.kind in OPERAND_END and self.new_row):
            return Blame(self.opened, f"unexpected `{{` behind {shown(before)}: a body follows `if` or `every x in xs`")
        return None

    def _is_head(self) -> bool:
        """A rule, and not `every`, precedes the brace."""
        return self.layout.first[self.opened] in self.starts

    # ---- known mistakes

    def _head(self) -> Blame | None:
        """Between rules, or in what stands before a body."""
        if self.opened >= 0 or not self.starts or not (self.accepts("DEFAULT") or self.accepts("IF")):
            return None
        kind, index, text = self.kind, self.index, shown(self.token)
        start = self.tokens[self.layout.first[index]]
        if kind == "SEMI":
            return Blame(index, "unexpected `;`: rules are separated by a new line")
        if start.kind in ("PACKAGE", "IMPORT") and not self.new_row:
            hint = 'names are separated by `.`; a name with other characters is written `["odd-name"]`'
            return Blame(index, f"unexpected {text} behind the path of the {start.text}", hint)
        if start.kind == "DEFAULT" and kind in ("IF", "LBODY"):
            return Blame(
                index, "a default has no body: it holds where no other rule does", "`default name := constant`"
            )
        if kind == "ELSE":
            return Blame(index, "unexpected `else`: it follows the body of a rule")
        if kind == "IF" and self.new_row:
            return Blame(index, "unexpected `if`: a rule begins with its name, `name if { … }`")
        if self.accepts("ASSIGN") and kind in ("RELATION", "COLON", "EQ"):
            return Blame(index, f"unexpected {text}: the value of a rule is assigned with `:=`")
        if self.accepts("ASSIGN") and kind in ("SUB", "MINUS"):
            return Blame(index, "unexpected `-`: names consist of letters, digits and `_`")
        if is_keyword(self.token) and self.new_row:
            if self._kind(index + 1) in (*_BEGIN_STATEMENT, "LBODY"):
                return Blame(index, f"the keyword {text} cannot be the name of a rule")
            return Blame(index, f"unexpected {text}: expressions stand in the body of a rule, `name if {{ … }}`")
        if self.accepts("ASSIGN") and not self.new_row:
            return Blame(index, f"expected {self._expected()} behind {shown(self.before)}, found {text}")
        return None

    def _body(self) -> Blame | None:
        """Where expressions stand."""
        if not self.is_body:
            return None
        kind, index, before, text = self.kind, self.index, self.before.kind, shown(self.token)
        if kind == "COLON" and before == "IF":
            return Blame(index, "unexpected `:` behind `if`: a body stands in braces, `if { … }`")
        if before == "TOPEN":
            return Blame(index - 1, "expected a value in the braces of a template string", "a brace by itself is `\\{`")
        if kind == "RBRACE" and before == "LBODY":
            return Blame(index - 1, "expected an expression behind `{`: the body is empty")
        if kind in ("RBRACE", "RSQB") and before == "BAR":
            return Blame(index - 1, "expected an expression behind `|`: a comprehension is `[x | some x in xs]`")
        if before == "NOT" and kind == "IN":
            return Blame(index - 1, "unexpected `not` before `in`: write `not x in xs`")
        if before == "NOT" and kind in ("SOME", "EVERY", "NOT"):
            return Blame(index, f"unexpected {text} behind `not`", "a rule or comprehension can be negated: `not name`")
        if self.accepts("AS") and self._nearest("WITH") >= 0:
            hint = "`with input.user as value`"
            return Blame(index - self.new_row, f"expected `as` behind the target of `with`, found {text}", hint)
        if self.accepts("LBODY") and self._nearest("EVERY") >= 0:
            return Blame(index - self.new_row, "`every` needs a body in braces: `every x in xs { … }`")
        if kind in ("ASSIGN", "EQ", "COLON") and self._nearest("SOME") >= 0:
            hint = "`some x in xs` iterates; `x := …` declares `x` by itself"
            return Blame(index, f"unexpected {text} behind `some`", hint)
        if kind == "COLON":
            return Blame(index, "unexpected `:`: a value is assigned with `:=`")
        if kind in ("ASSIGN", "EQ") and before not in ("ASSIGN", "EQ") and self._nearest("ASSIGN", "EQ") >= 0:
            return Blame(index, f"unexpected {text}: a statement assigns one value")
        if self.bracket == "TOPEN" and self.accepts("TCLOSE"):
            return Blame(index, f"unexpected {text}: the braces of a template string hold one value")
        if kind == "SEMI":
            return Blame(index, "unexpected `;`: no expression stands before it")
        if kind in ("LAND", "LOR") or (before in ("LAND", "LOR") and kind in ("SOME", "EVERY")):
            return Blame(index, f"unexpected {text}: with `and` and `or`, `some`, `every` and `with` stand in braces")
        if kind == "IF" and (self.accepts("SOME") or self.accepts("SEMI")):
            hint = "what depends on a condition is a rule of its own"
            return Blame(index, "unexpected `if`: an expression is a condition already", hint)
        return None

    def _term(self) -> Blame | None:
        """Within terms."""
        kind, index, before, text = self.kind, self.index, self.before, shown(self.token)
        if kind == "STRING" and before.kind in ("NAME", "STRING") and touches(before, self.token):
            return second_expression(self.tokens, index)
        if kind == "FIELD_FREE":
            what = "unexpected space" if before.kind in OPERAND_END and not self.new_row else "a name is missing"
            return Blame(index, f"{what} before {text}")
        if kind == "RSQB" and before.kind == "LSQB_ADJ":
            return Blame(index, "an index is missing in `[]`", "`[_]` is any element")
        if kind == "COLON" and self.bracket == "LSQB_ADJ":
            return Blame(index, "unexpected `:` in an index: a part of an array is `array.slice(xs, from, to)`")
        if before.kind == "DEFAULT":
            hint = "`default name := constant`"
            return Blame(index - 1, f"expected a name behind `default`, found {text}", hint)
        if before.kind == "SOME" and kind == "IN":
            return Blame(index, "expected a variable behind `some`, found `in`")
        if self.bracket == "LPAR" and self._kind(self.opened - 1) == "NAME" and not self.layout.begins_row(self.opened):
            return second_expression(self.tokens, self.opened)
        if is_keyword(self.token) and self.accepts("NAME") and not self.accepts("DEFAULT"):
            if kind not in ("IF", "ELSE", "WITH", "AS"):
                hint = f"as part of a reference it can: `input.{self.token.text}`"
                return Blame(index, f"the keyword {text} cannot be a name by itself", hint)
        if kind in ("PLUS", "SUB") and self.accepts("NUMBER"):
            return Blame(index, f"unexpected {text}: a sign is `-`, and stands before a number or a name")
        return None

    def _element(self) -> Blame | None:
        """Between the elements of a collection, or between arguments."""
        if self.opened < 0 or self.is_body:
            return None
        kind, index, text = self.kind, self.index, shown(self.token)
        if kind in ("ASSIGN", "EQ") and self.accepts("COLON"):
            return Blame(index, f"unexpected {text}: a member of an object is `key: value`")
        if kind in ("ASSIGN", "EQ") and self.accepts("RELATION"):
            return Blame(index, f"unexpected {text}: inside of brackets values are compared with `==`")
        if not self.accepts("COMMA") or not (kind in OPERAND_START or kind == "SEMI"):
            return None
        if self.new_row:
            return Blame(index - 1, f"a `,` is missing behind {shown(self.before)}")
        if kind == "SEMI":
            return Blame(index, "unexpected `;`: elements are separated by `,`")
        return Blame(index, f"a `,` {'or `:` ' if self.accepts('COLON') else ''}is missing before {text}")

    def _comprehension(self) -> Blame | None:
        """What is meant to be a comprehension is read as a union, if its head is no single term."""
        if self.kind not in ("SOME", "NOT", "EVERY", "SEMI", "ASSIGN", "EQ") or self.opened < 0 or self.is_body:
            return None
        if self._nearest("PIPE") < 0 and not self._bar_follows():
            return None
        message = f"unexpected {shown(self.token)}: a comprehension is `[x | expressions]`, with one value `x`"
        return Blame(
            self.index, message, "an operator in the value needs parentheses; expressions are separated by `;`"
        )

    def _bar_follows(self) -> bool:
        depth = 0
        for token in self.tokens[self.index :]:
            depth += (token.kind in _OPENS) - (token.kind in _CLOSES)
            if depth < 0 or (depth == 0 and token.kind == "PIPE"):
                return depth == 0
        return False

    # ---- any other

    def _general(self) -> Blame:
        expected, before = self._expected(), self.before
        if self.index and self.new_row and not self.is_complete and before.kind not in _OPENS:
            return Blame(self.index - 1, f"expected {expected} behind {shown(before)}")
        behind = f" behind {shown(before)}" if before.kind in _AWAIT_OPERAND else ""
        found = shown(self.token)
        if self.accepts("DEFAULT") and not self.new_row:
            return Blame(self.index, f"unexpected {found} behind {shown(before)}")
        return Blame(self.index, f"expected {expected}{behind}, found {found}" if expected else f"unexpected {found}")

    def _expected(self) -> str:
        accepts = self.accepts
        texts = [text for kind, text in _WANTED.items() if accepts(kind)]
        if accepts("DEFAULT"):
            texts = [text for text in texts if text not in ("a name", "`{`")] or ["a rule"]
        elif accepts("SEMI") or accepts("NUMBER"):
            start = ["an operator", "a new line", "`;`"] if accepts("SEMI") else ["a value"]
            texts = [*start, *(text for text in texts if text[1:2] in "]})")]
        *most, last = texts or [""]
        return f"{', '.join(most)} or {last}" if most else last
