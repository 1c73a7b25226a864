"""The meaning of each `{`, `|` and `-`, once the brackets are matched.

OPA's parser tries one reading and, if that fails, the other. A few tokens around each bracket tell the outcome. This
file looks at them, from the outermost bracket inwards:

- `|` is the bar of a comprehension if it is the first one inside and exactly one term precedes it (in an object: a
  term, a colon, one term), unless a comma ends the supposed body: then it is a union in a collection.
- `{` after `if` is a body, except for `{}`, objects, comprehensions, and a `}` that an operator follows: those are
  terms.
- `{` after a complete term is a body where a body can follow; `{` before or after `and` and `or` is an operand.
- `-` can be unary only before a number or a name.
"""

from __future__ import annotations

from policy_engine.syntax.lexer import OPERAND_END, OPERAND_START, Lexer, Token

LOGICAL = frozenset(("?LAND", "?LOR"))
CONTINUES = frozenset((
    "RELATION", "PIPE", "AMPERSAND", "PLUS", "MINUS", "SUB", "TIMES", "IN", "ASSIGN", "EQ", "COMMA", "FIELD",
    "LSQB_ADJ", "LPAR_ADJ",
))  # fmt: skip
"""If one of these follows the `}` of braces behind `if`, the braces begin a term."""
ATOMS = frozenset(("NAME", "CONTAINS", "NUMBER", "STRING", "RAW", "TRUE", "FALSE", "NULL"))
SIGNED = frozenset(("NUMBER", "NAME", "CONTAINS", "?CONTAINS"))
SUFFIXES = frozenset(("FIELD", "LSQB_ADJ", "LPAR_ADJ", "?LSQB", "?LPAR"))
BODY_OPENERS = frozenset(("LBODY", "LBLOCK", "BAR", "SEMI", "LPAR", "TOPEN"))
"""A literal can begin behind these."""


def resolve(lexer: Lexer) -> list[Token]:
    """The tokens of a lexer that has run, with braces, bars and signs decided."""
    tokens = lexer.tokens
    for index in lexer.minuses:
        if tokens[index + 1].kind not in SIGNED:
            tokens[index] = tokens[index]._replace(kind="SUB")
    if lexer.braces:
        _Resolver(lexer).run()
    return tokens


class _Resolver:
    def __init__(self, lexer: Lexer) -> None:
        self.lexer = lexer
        self.tokens = lexer.tokens
        self.mates = lexer.mates

    def run(self) -> None:
        tokens = self.tokens
        for index in self.lexer.braces:
            token = tokens[index]
            kind = self.brace(index) if token.kind == "LBRACE" else token.kind
            if kind != token.kind:
                tokens[index] = token._replace(kind=kind)
            elif index in self.lexer.bars and self.is_comprehension(index):
                bar = self.lexer.bars[index]
                tokens[bar] = tokens[bar]._replace(kind="BAR")

    def brace(self, index: int) -> str:
        """LBODY, LBLOCK or LBRACE."""
        end = self.mates[index]
        before = self.tokens[index - 1].kind if index else ""
        after = self.tokens[min(end + 1, len(self.tokens) - 1)].kind
        if before == "IF":
            return self.brace_after_if(index, end, after)
        if before == "ELSE":
            return "LBODY"
        if before in LOGICAL or (before == "NOT" and index > self.lexer.modern_not):
            return "LBLOCK"
        if index in self.lexer.bodies:
            return "LBODY"
        starts_literal = before in BODY_OPENERS or before in OPERAND_END or not before
        return "LBLOCK" if starts_literal and after in LOGICAL else "LBRACE"

    def brace_after_if(self, index: int, end: int, after: str) -> str:
        if index - 1 in self.lexer.else_ifs:
            return "LBODY"
        if after in LOGICAL:
            return "LBLOCK"
        if end == index + 1 or after in CONTINUES or self.is_object(index, end):
            return "LBRACE"
        return "LBRACE" if index in self.lexer.bars and self.is_comprehension(index) else "LBODY"

    def skip(self, index: int) -> int:
        """The index behind the token or the brackets at `index`."""
        return self.mates.get(index, index) + 1

    def is_object(self, index: int, end: int) -> bool:
        position = index + 1
        while position < end:
            if self.tokens[position].kind == "COLON":
                return True
            position = self.skip(position)
        return False

    # ---- comprehensions

    def is_comprehension(self, index: int) -> bool:
        bar = self.lexer.bars[index]
        start = index + 1
        if self.tokens[index].kind == "LBRACE":
            position = start
            while position < bar:
                kind = self.tokens[position].kind
                if kind == "COMMA":
                    return False
                position = self.skip(position)
                if kind == "COLON":
                    start = position
        return self.is_term(start, bar) and not self.comma_ends_body(bar, self.mates[index])

    def is_term(self, start: int, end: int) -> bool:
        """Exactly one term stands between the two indices."""
        tokens = self.tokens
        position = start + (tokens[start].kind == "MINUS")
        kind = tokens[position].kind
        if kind not in ATOMS and kind[0] != "?" and position not in self.mates:
            return False
        position = self.skip(position)
        while position < end and tokens[position].kind in SUFFIXES:
            position = self.skip(position)
        return position == end

    def comma_ends_body(self, bar: int, end: int) -> bool:
        """The supposed body contains a comma that cannot belong to a literal."""
        tokens = self.tokens
        declares = has_in = False
        position = bar + 1
        while position < end:
            kind = tokens[position].kind
            if kind in ("SOME", "EVERY"):
                declares = True
            elif kind == "IN":
                has_in = True
            elif kind in ("SEMI", "ASSIGN", "EQ", "AS"):
                has_in = False
                declares = declares and kind != "SEMI"
            elif tokens[position - 1].kind in OPERAND_END and (kind in OPERAND_START or kind in LOGICAL):
                has_in = declares = False
            elif kind == "COMMA" and not declares:
                if has_in or not self.in_follows(position, end):
                    return True
                has_in = True
            position = self.skip(position)
        return False

    def in_follows(self, comma: int, end: int) -> bool:
        """The comma belongs to `key, value in …`."""
        position = comma + 1
        while position < end:
            kind = self.tokens[position].kind
            if kind == "IN":
                return True
            if kind in ("COMMA", "SEMI", "ASSIGN", "EQ"):
                return False
            position = self.skip(position)
        return False
