"""Bodies of a refused text: literals, `some`, `every`, `with`, and the operands of `and`, `or` and `not`.

For those OPA has several readings of what begins with a brace or a parenthesis; which one's errors it reports was found
by asking it.
"""

from __future__ import annotations

from typing import Final

from policy_engine.syntax.retrace.cursor import Failure, Mark, Read
from policy_engine.syntax.retrace.scanner import EOF, NAME, Scanned
from policy_engine.syntax.retrace.terms import TermReader

LOGICAL = ("and", "or")
NO_OPERANDS = ("some", "somevars", "every")
"""What `and` and `or` cannot follow."""

_EMPTY_BODY: Final = "found empty body"
_AMBIGUOUS: Final = "ambiguous `{ ... | ... }` operand"


class BodyReader(TermReader):
    modern_not = False
    """`import future.keywords.not` has been read."""

    def body(self, end: str) -> bool:
        return bool(self.query(end))

    def query(self, end: str) -> list[Read] | None:
        """Literals up to `end`; only one where `end` is the end of the text, unless a `;` follows."""
        literals: list[Read] = []
        if self.token.kind == end:
            self.fail(_EMPTY_BODY)
            return None
        while True:
            literal = self.literal()
            if literal is None:
                return None
            literals.append(literal)
            if self.token.kind == ";":
                self.scan()
                continue
            if self.token.kind == end or end == EOF:
                return literals
            if not self.behind_newline:
                if not self.failures:
                    self.illegal(f"expected \\n or ; or {end}")
                return None

    def literal(self) -> Read | None:
        literal = self._disjunction() if self.keywords & {*LOGICAL} else self._operand()
        if literal is None or self.token.kind != "with" or literal.kind == "somevars":
            return literal
        word = self.token
        if not self._withs():
            return None
        if self.token.kind in LOGICAL and literal.kind not in ("logical", *NO_OPERANDS):
            self.fail(f"`with` modifier is not allowed on operand of `{self.token.kind}`", word)
            return None
        return literal._replace(kind="with")

    def _disjunction(self, *, grouped: bool = False) -> Read | None:
        first = self.token
        left = self._braced(grouped=grouped) if first.kind == "{" else self._operand()
        while left is not None and self.token.kind in LOGICAL and left.kind not in NO_OPERANDS:
            word = self.token.kind
            self.scan()
            left = self._operand(behind=word) and Read("logical", first)
        return left

    def _braced(self, *, grouped: bool) -> Read | None:
        """Braces at the beginning: an expression, or a body if `and` or `or` follows, or where nothing else is left."""
        mark = self.mark()
        expression = self._operand()
        if expression is not None and self.token.kind not in LOGICAL:
            return expression
        after, failures, word = self.mark(), self.failures[mark.failures :], self.token.kind
        self.back(mark)
        block = self._block()
        if block is not None and (self.token.kind in LOGICAL or grouped):
            return block
        if expression is None:
            self._again(mark, after, failures)
        else:
            self._no_body(word, mark)
        return None

    def _said_since(self, mark: Mark) -> str:
        """The last error that was found behind `mark`."""
        return self.failures[-1].message if len(self.failures) > mark.failures else ""

    def _no_body(self, word: str, mark: Mark) -> None:
        """What is wrong with braces that begin at `mark` and hold a value, as an operand of `word`."""
        wrong = self._said_since(mark)
        if wrong.startswith(_AMBIGUOUS):
            return
        self.back(mark)
        if wrong != _EMPTY_BODY:
            wrong = f"operand of `{word}` cannot begin with `{{` unless the braces hold a body"
        self.fail(wrong, self.token)

    def _body_behind(self, word: str) -> Read | None:
        """Braces behind `and` or `or`: a body."""
        mark = self.mark()
        block = self._block()
        if block is None:
            after, failures = self.mark(), self.failures[mark.failures :]
            self.back(mark)
            value = self._expression()
            self._again(mark, after, failures)
            if value is not None and self._said_since(mark) != _EMPTY_BODY:
                self._no_body(word, mark)
        return block

    def _again(self, mark: Mark, after: Mark, failures: list[Failure]) -> None:
        """Forget what was tried after `mark`; an attempt before, that ended at `after`, counts."""
        self.token, self.last_end = after[:2]
        self.failures[mark.failures :] = failures

    def _operand(self, behind: str = "") -> Read | None:
        """One literal without its `with`; `behind` an `and` or `or` braces hold a body."""
        first = self.token
        if self.keyword_as_name():
            return self._expression()
        if self.token.kind == "not":
            self.scan()
            if self.token.kind in ("some", "every") and not behind:
                self.illegal(f"illegal negation of '{self.token.kind}'")
                return None
            operand = self._operand_of_not() if self.modern_not else self._expression()
            return operand and Read("not", first)
        if self.token.kind == "some" and not behind:
            return self._some()
        if self.token.kind == "every" and not behind:
            return self._every()
        if behind and self.token.kind == "{":
            return self._body_behind(behind)
        if self.token.kind == "(" and self.keywords & {*LOGICAL}:
            return self._group(alone=not behind)
        return self._expression()

    def _operand_of_not(self) -> Read | None:
        if self.token.kind == "{":
            mark = self.mark()
            block = self._block()
            if block is None and not self._said_since(mark).startswith((_EMPTY_BODY, _AMBIGUOUS)):
                after, failures = self.mark(), self.failures[mark.failures :]
                self.back(mark)
                value = self.term()
                self._again(mark, after, failures)
                if value is not None:
                    self.back(mark)
                    text = f"`{{...}}` in an operand position must contain expression(s), got: {value.kind}"
                    self.fail(text, mark.token)
            return block
        return self._group() if self.token.kind == "(" else self._expression()

    def _block(self) -> Read | None:
        """A body in braces, as an operand."""
        first = self.token
        start = self.scanner.skip(first.end)
        literals = self.braces()
        if literals is None:
            return None
        one = literals[0]
        if self.keywords & {*LOGICAL} and one.kind == "call" and one.name == "or" and one.first.start == start:
            self.fail(f"{_AMBIGUOUS}: read as a body holding a set-union expression, not as a comprehension", first)
            return None
        return Read("block", first)

    def braces(self) -> list[Read] | None:
        """A body in braces; whatever stands in the place of the opening one is stepped over."""
        self.scan()
        self.deeper()
        literals = self.query("}")
        self.depth -= 1
        if literals is not None:
            self.scan()
        return literals

    def _group(self, *, alone: bool = False) -> Read | None:
        """An expression that begins with a parenthesis, or operands in parentheses.

        If neither can be read, the expression's errors count, unless `and`, `or` or `with` follow its first operand.
        `alone`: it may turn out to be the whole literal.
        """
        first, mark = self.token, self.mark()
        expression = self._expression()
        if expression is not None and len(self.failures) == mark.failures:
            return expression
        after, failures = self.mark(), self.failures[mark.failures :]
        self.back(mark)
        self.scan()
        start = self.mark()
        sure = self.value() is not None and self.token.kind in (*LOGICAL, "with")
        self.back(start)
        group = self._grouped(first)
        kind = group.name if group is not None else ""
        lone = alone and kind == "with" and self.token.kind not in LOGICAL
        if (group is None and not sure) or kind == "value" or lone:
            self._again(mark, after, failures)
            return None
        return group if kind != "failed" else None

    def _grouped(self, first: Scanned) -> Read | None:
        """The inside of a group and its end; the name of what is returned is its kind."""
        self.deeper()
        inner = self._disjunction(grouped=True)
        self.depth -= 1
        if inner is None:
            return None
        kind = inner.kind if inner.kind in ("logical", "not", "group") else "value"
        if inner.kind == "block":
            self.fail("`(...)` in an operand position cannot contain a body", first)
            return Read("group", first, "failed")
        if self.token.kind == "with":
            kind = "logical" if kind == "logical" else "with"
            if not self._withs():
                return None
        if kind != "value":
            if self.token.kind != ")":
                self.fail("expected ) to close parenthesized group")
                return Read("group", first, "failed")
            self.scan()
        return Read("group", first, kind)

    def _expression(self) -> Read | None:
        left = self.value()
        if left is None or self.token.kind not in (":=", "="):
            return left
        kind = "assign" if self.token.kind == ":=" else "eq"
        self.scan()
        right = self.value()
        return right and Read(kind, left.first, inner=(left, right))

    def _withs(self) -> bool:
        while self.token.kind == "with":
            self.scan()
            if self.token.kind != NAME:
                self.illegal("expected ident")
                return False
            target = self.term()
            if target is None:
                return False
            if target.kind not in ("var", "ref"):
                self.illegal("expected with target path")
            if self.token.kind != "as":
                self.illegal("expected as keyword")
                return False
            self.scan()
            if self.value() is None:
                return False
        return True

    def _some(self) -> Read | None:
        first, mark = self.token, self.mark()
        self.scan()
        term = self.value()
        if term is not None and term.kind == "call":
            if term.name in ("member_2", "member_3"):
                return Read("some", first)
            self.illegal("expected `x in xs` or `x, y in xs` expression")
            return None
        self.back(mark)
        while True:
            self.scan()
            if self.token.kind != NAME:
                self.illegal("expected var")
                return None
            self.scan()
            if self.token.kind != ",":
                return Read("somevars", first)

    def _every(self) -> Read | None:
        first = self.token
        self.scan()
        term = self.value()
        if term is None:
            return None
        if term.kind != "call" or term.name not in ("member_2", "member_3"):
            self.illegal("expected `x[, y] in xs { ... }` expression")
            return None
        names = ["key", "value"][-len(term.inner) + 1 :]
        for name, variable in zip(names, term.inner, strict=False):
            if variable.kind != "var":
                self.illegal(f"expected {name} to be a variable")
                return None
        if self.token.kind != "{":
            self.illegal("missing body")
            return None
        return Read("every", first) if self.braces() else None
