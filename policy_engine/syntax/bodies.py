"""Bodies: the methods for literals, `some`, `every`, `with`, `and`, `or`, `not` (see builder.py).

Without imports a literal is an expression or a negated expression. `import future.keywords.{and,or,not}` adds operands:
bodies in braces and groups in parentheses. Their places were found by asking OPA.
"""

from __future__ import annotations

import dataclasses
from typing import Final, NamedTuple, NoReturn, TypeAlias

from policy_engine.errors import COMPILE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax.builder import DOCUMENTS, Builder, in_parentheses, is_infix, span
from policy_engine.syntax.lexer import Token, fail
from policy_engine.syntax.nodes import (
    Body,
    Call,
    Conjunction,
    Disjunction,
    Every,
    Expr,
    Negation,
    Ref,
    Scalar,
    SetComprehension,
    SomeDecl,
    SomeIn,
    Term,
    Var,
    With,
)


class Group(NamedTuple):
    """`(a or b)` as an operand."""

    expr: Expr
    loc: Location
    plain: bool
    """It contains an expression and its `with`: an operand, but neither a literal nor a group in a group."""
    alone: bool
    """It can be a whole literal."""


class Block(NamedTuple):
    """`{ body }` as an operand."""

    body: Body
    loc: Location


Operand: TypeAlias = Expr | Group | Block

SAME_ROW: Final = "an expression begins in the row of the one before it"
_PRINTS: Final = (Var("print"), Ref(Var("internal"), (Scalar("print"),)))


def member(term: Term) -> tuple[Term, ...] | None:
    """The operands of `x in xs` (2) or `k, v in xs` (3); None if `term` is something else."""
    # No other infix operator has a dotted name.
    return term.args if isinstance(term, Call) and term.infix and isinstance(term.operator, Ref) else None


def is_logical(expr: Expr) -> bool:
    """`not`, `and` or `or` at the top."""
    return expr.negated or isinstance(expr.what, Negation | Conjunction | Disjunction)


def _is_negated_group(expr: Expr) -> bool:
    """`not (…)` with something else than a term in the parentheses."""
    inner = expr.what.body if isinstance(expr.what, Negation) else None
    return isinstance(inner, Expr) and (is_logical(inner) or bool(inner.withs))


def _refuse_only_print(operand: Body | Expr, loc: Location, word: Token) -> None:
    """Refuse an operand that only prints: it can never fail."""
    exprs = (operand,) if isinstance(operand, Expr) else operand
    if all(_is_print(expr) for expr in exprs):
        hint = "move it out of the operand, or add an expression that can fail"
        fail(f"an operand of `{word.text}` cannot consist of calls to `print` alone", loc, hint)


def _refuse_union_with_block(literal: Expr) -> None:
    """Refuse `{x | {a; b} and c}` at the beginning of a literal: OPA reads it as a body that begins with a union."""
    first = _leftmost(literal)
    body = _leftmost(first.body[0]) if isinstance(first, SetComprehension) else None
    if not isinstance(body, tuple):
        return
    begin = body[0]
    is_set = len(body) == 1 and not begin.withs and not is_logical(begin) and not is_infix(begin.what, "eq", "assign")
    if _begins_with_term(body) and not is_set:
        hint = "put the comprehension in a call or an assignment, or begin its body with something else"
        fail("the body of this comprehension cannot begin with an operand in braces", begin.loc, hint)


def _begins_with_term(body: Body) -> bool:
    """True if OPA has already read a term when it notices that the braces contain a body."""
    begin = body[0]
    if begin.negated:
        return False
    match begin.what:
        case SomeDecl() | SomeIn() | Every() | Negation():
            return False
        case Conjunction((first, *_)) | Disjunction((first, *_)) as logic:
            if begin.loc[1:3] != logic.loc[1:3]:
                return False  # it is in parentheses, since it has operands or a `with`
            return _begins_with_term(first) if isinstance(first, tuple) else not is_logical(first) and not first.withs
        case _:
            return True


def _leftmost(node: Expr | Term) -> Term | Body | None:
    """The term or the body in braces that the text of an expression begins with; None if it begins with `not`."""
    if isinstance(node, Expr) and node.negated:
        return None
    what = node.what if isinstance(node, Expr) else node
    while isinstance(what, Call) and what.infix:
        what = what.args[0]
    if isinstance(what, Ref):
        return what.head
    if isinstance(what, (Conjunction, Disjunction)):
        first = what.operands[0]
        return first if isinstance(first, tuple) else _leftmost(first)
    return what  # type: ignore[return-value]


def _is_print(expr: Expr) -> bool:
    return isinstance(expr.what, Call) and not expr.negated and expr.what.operator in _PRINTS


class Surroundings(NamedTuple):
    """Facts about the text that the builder needs. Positions are (row, column)."""

    modern_not: tuple[int, int]
    """The beginning of the text that `import future.keywords.not` applies to."""
    logical: tuple[int, int]
    """The beginning of the text that an import of `and` or `or` applies to."""
    curly: frozenset[tuple[int, int]]
    """The places of terms that begin with `{`; known only if `and` or `or` are imported."""


class BodyBuilder(Builder):
    """Knows where the imports that change the meaning of words apply."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__()
        self.modern_not, self.logical, self.curly = surroundings

    # ---- bodies

    def literal_on_new_line(self, body: list[Expr], literal: Expr) -> list[Expr]:
        if literal.loc.row == body[-1].loc.end_row:
            fail(SAME_ROW, literal.loc)
        body.append(literal)
        return body

    def literal(self, operand: Operand) -> Expr:
        if isinstance(operand, Block):
            fail("unexpected `{`: a body in braces is no expression by itself", operand.loc)
        if isinstance(operand, Group):
            if not operand.alone:
                self._not_a_term(operand.loc)
            return dataclasses.replace(operand.expr, loc=operand.loc)
        _refuse_union_with_block(operand)
        return operand

    def literal_with(self, operand: Operand, withs: list[With]) -> Expr:
        expr = self.literal(operand)
        # `(a or b with …) with …` loses the inner ones, as in OPA.
        return Expr(expr.what, expr.negated, tuple(withs), loc=span(operand, withs[-1]))

    def every_with(self, expr: Expr, withs: list[With]) -> Expr:
        return Expr(expr.what, expr.negated, tuple(withs), loc=span(expr, withs[-1]))

    def with_(self, word: Token, target: Term, _as: Token, value: Term) -> With:
        head = target.head if isinstance(target, Ref) else target
        if not isinstance(head, Var) or in_parentheses(head) or head.name == "contains":
            fail("`with` replaces `input`, `data`, what is below them, or a function", target.loc)
        return With(target, value, loc=span(word, value))  # type: ignore[arg-type]

    # ---- and, or, not

    def operand(self, term: Term) -> Expr:
        return Expr(term, loc=term.loc)

    def operand_group(self, group: Group) -> Group:
        if group.loc[1:3] < self.logical:
            self._not_a_term(group.loc)
        return group

    def _not_a_term(self, loc: Location) -> NoReturn:
        fail("parentheses hold one value, or imported `and`, `or`, `not` and their operands", loc)

    def conjunction(self, left: Operand, word: Token, right: Operand) -> Expr:
        loc = span(left, right)
        operands = self._operands(Conjunction, left, word, right)
        return Expr(Conjunction(operands, loc=loc), loc=loc)

    def disjunction(self, left: Operand, word: Token, right: Operand) -> Expr:
        loc = span(left, right)
        operands = self._operands(Disjunction, left, word, right)
        return Expr(Disjunction(operands, loc=loc), loc=loc)

    def _operands(
        self, kind: type[Conjunction | Disjunction], left: Operand, word: Token, right: Operand
    ) -> tuple[Body | Expr, ...]:
        before: tuple[Body | Expr, ...] = (self._operand(left, word),)
        if isinstance(left, Expr) and isinstance(left.what, kind):
            before = left.what.operands  # `a and b and c` is one conjunction
        return (*before, self._operand(right, word))

    def _operand(self, operand: Operand, word: Token) -> Body | Expr:
        if not isinstance(operand, Expr):
            inner = operand.body if isinstance(operand, Block) else operand.expr
            _refuse_only_print(inner, operand.loc, word)
            return inner
        _refuse_only_print(operand, operand.loc, word)
        if operand.loc[1:3] in self.curly:
            hint = "wrap a set or an object in parentheses: `({...})`"
            fail(f"an operand of `{word.text}` that begins with `{{` is a body", operand.loc, hint)
        return operand

    def group(self, left: Token, operand: Operand, right: Token) -> Group:
        inner = self._grouped(operand)
        if inner.plain if isinstance(inner, Group) else not is_logical(inner):
            self._not_a_term(inner.loc)
        return Group(inner.expr if isinstance(inner, Group) else inner, span(left, right), plain=False, alone=True)

    def group_with(self, left: Token, operand: Operand, withs: list[With], right: Token) -> Group:
        inner = self._grouped(operand)
        plain = isinstance(inner, Expr) and not is_logical(inner)
        alone = isinstance(inner, Expr) and isinstance(inner.what, Conjunction | Disjunction)
        return Group(self.literal_with(inner, withs), span(left, right), plain, alone)

    def _grouped(self, operand: Operand) -> Expr | Group:
        if isinstance(operand, Block):
            fail("unexpected parentheses around a body", operand.loc, "drop them")
        if isinstance(operand, Expr) and operand.loc[1:3] in self.curly and not is_logical(operand):
            self._not_a_term(operand.loc)
        return operand

    def block(self, left: Token, body: list[Expr], right: Token) -> Block:
        first = body[0].what
        if is_infix(first, "or") and not in_parentheses(first):  # type: ignore[arg-type]
            hint = "wrap the union in parentheses, or the comprehension: `({...})`"
            fail("`{ … | … }` is ambiguous here: a union of sets or a comprehension", left.loc, hint)
        return Block(tuple(body), span(left, right))

    def not_expression(self, word: Token, term: Term) -> Expr:
        loc = span(word, term)
        if word.loc[1:3] < self.modern_not:
            return Expr(term, negated=True, loc=loc)
        return Expr(Negation(Expr(term, loc=term.loc), loc=loc), loc=loc)

    def not_group(self, word: Token, group: Group) -> Expr:
        if word.loc[1:3] < self.modern_not:
            self._not_a_term(group.loc)
        if word.loc[1:3] < self.logical and _is_negated_group(group.expr):
            # Without `and` and `or` OPA expects operands only directly behind a `not`.
            self._not_a_term(group.loc)
        return self._negation(word, group.expr, group)

    def not_block(self, word: Token, block: Block) -> Expr:
        return self._negation(word, block.body, block)

    def _negation(self, word: Token, body: Body | Expr, operand: Operand) -> Expr:
        loc = span(word, operand)
        return Expr(Negation(body, loc=loc), loc=loc)

    # ---- some and every

    def some(self, word: Token, term: Term) -> Expr:
        loc = span(word, term)
        operands = member(term)
        if operands is None:
            return self._some(word, [term])
        key = operands[0] if len(operands) == 3 else None
        return Expr(SomeIn(key, operands[-2], operands[-1], loc=loc), loc=loc)

    def some_two(self, word: Token, one: Term, _comma: Token, two: Term) -> Expr:
        return self._some(word, [one, two])

    def some_more(self, word: Token, one: Term, _c: Token, two: Term, _comma: Token, more: list[Term]) -> Expr:
        return self._some(word, [one, two, *more])

    def _some(self, word: Token, symbols: list[Term]) -> Expr:
        variables = []
        for symbol in symbols:
            if not isinstance(symbol, Var) or in_parentheses(symbol) or symbol.name == "contains":
                fail("`some` declares variables: `some x`, `some x in xs` or `some key, x in xs`", symbol.loc)
            variables.append(symbol)
        loc = span(word, symbols[-1])
        return Expr(SomeDecl(tuple(variables), loc=loc), loc=loc)

    def some_with(self, expr: Expr, withs: list[With]) -> Expr:
        if isinstance(expr.what, SomeDecl):
            fail("unexpected `with`: `some x` only declares", withs[0].loc)
        return self.every_with(expr, withs)

    def every(self, word: Token, term: Term, _left: Token, body: list[Expr], right: Token) -> Expr:
        operands = member(term)
        if operands is None:
            fail("`every` goes through a collection: `every x in xs { … }`", term.loc)
        key = operands[0] if len(operands) == 3 else None
        value, domain = operands[-2:]
        if not (key is None or (isinstance(key, Var) and key.name not in DOCUMENTS)):
            fail("the key of `every` is a variable: `every key, x in xs { … }`", key.loc)
        if not isinstance(value, Var) or value.name in DOCUMENTS:
            fail("the element of `every` is a variable: `every x in xs { … }`", value.loc)
        loc = span(word, right)
        return Expr(Every(key, value, domain, tuple(body), loc=loc), loc=loc)

    # ---- template strings

    def template_expression(self, _left: Token, expr: Expr, _right: Token) -> Expr:
        what = expr.what
        wrong = ""
        if expr.negated:
            wrong = "`not`"
        elif isinstance(what, SomeDecl | SomeIn):
            wrong = "`some`"
        elif isinstance(what, Every):
            wrong = "`every`"
        elif is_infix(what, "assign"):
            wrong = "`:=`"
        elif is_infix(what, "eq"):
            wrong = "`=`"
        elif isinstance(what, Conjunction | Disjunction | Negation):
            message = "unexpected `and`, `or` or `not` in a template string"
            self.compile_errors.append(PolicyError(COMPILE_ERROR, message, expr.loc))
        if wrong:
            fail(f"unexpected {wrong} in a template string: its braces hold a value", expr.loc)
        return expr
