"""Terms and bodies: the methods that the parser calls for the alternatives of grammar.lark, and that make the nodes.

A method gets one argument per symbol of its alternative: a `Token` for a terminal, for another symbol what its method
returned. That is a node, or a list while something is collected, or one of the small classes below where a symbol is
not yet a node. What OPA's parser checks beyond the grammar is checked here, where the pieces are at hand. rules.py has
the methods for heads, rules, imports and packages.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple, NoReturn, TypeAlias, TypeVar

from policy_engine.errors import COMPILE_ERROR, TYPE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax.lexer import Token, fail
from policy_engine.syntax.nodes import (
    Array,
    ArrayComprehension,
    Body,
    Call,
    Conjunction,
    Disjunction,
    Every,
    Expr,
    Negation,
    Object,
    ObjectComprehension,
    Ref,
    Scalar,
    Set,
    SetComprehension,
    SomeDecl,
    SomeIn,
    Template,
    Term,
    Var,
    With,
)
from policy_engine.values import number_text, parse_number

T = TypeVar("T")
Located: TypeAlias = Any  # whatever has a `loc`: a node, a Token, or one of the classes below

OPERATORS = {
    "+": "plus", "-": "minus", "*": "mul", "/": "div", "%": "rem", "&": "and", "|": "or", "==": "equal", "!=": "neq",
    "<": "lt", "<=": "lte", ">": "gt", ">=": "gte", ":=": "assign", "=": "eq",
}  # fmt: skip
MEMBER = "member_2"
MEMBER_WITH_KEY = "member_3"
NUMBER_MOST = Decimal(2) ** 100_000
NUMBER_LEAST = 1 / NUMBER_MOST
"""What OPA accepts lies between them: arithmetic on larger numbers can take minutes."""

_new = tuple.__new__


def span(first: Located, last: Located) -> Location:
    """From where `first` begins to where `last` ends."""
    a, b = first.loc, last.loc
    return _new(Location, (a[0], a[1], a[2], b[3], b[4]))


class Part(NamedTuple):
    """One step of a reference; `loc` covers its brackets too."""

    term: Term
    loc: Location


class Path:
    """A reference that is being read."""

    __slots__ = ("end", "head", "parts")

    def __init__(self, head: Term, part: Part) -> None:
        self.head = head
        self.parts = [part.term]
        self.end = part


class Arguments(NamedTuple):
    """What stands in the parentheses of a call."""

    terms: tuple[Term, ...]
    loc: Location


class Group(NamedTuple):
    """`(a or b)` as an operand."""

    expr: Expr
    loc: Location
    alone: bool
    """It may be a literal, and not only part of one."""


class Block(NamedTuple):
    """`{ body }` as an operand."""

    body: Body
    loc: Location


Operand: TypeAlias = Expr | Group | Block


def member(term: Term) -> tuple[Term, ...] | None:
    """The operands of `x in xs` (2) or `k, v in xs` (3); None if `term` is something else."""
    # No other infix operator has a dotted name.
    return term.args if isinstance(term, Call) and term.infix and isinstance(term.operator, Ref) else None


def in_parentheses(term: Term) -> bool:
    """Of variables and calls. Parentheses leave no node, but they widen the location of what they hold."""
    loc = term.loc
    if isinstance(term, Var):
        return loc.end_col - loc.col != (1 if term.is_wildcard else len(term.name)) or loc.row != loc.end_row
    if isinstance(term, Call):
        first = term.args[0] if term.infix else term.operator
        return loc[1:3] != first.loc[1:3]
    return False


def is_infix(term: object, *names: str) -> bool:
    """Whether `term` is `a <operator> b`, for the operators of which these are the builtins."""
    return isinstance(term, Call) and term.infix and isinstance(term.operator, Var) and term.operator.name in names


class Surroundings(NamedTuple):
    """What the builder must know of the text. Positions are (row, column)."""

    modern_not: tuple[int, int]
    """Where `import future.keywords.not` begins to hold."""
    logical: tuple[int, int]
    """Where an import of `and` or `or` begins to hold."""
    curly: frozenset[tuple[int, int]]
    """Where terms begin with `{`; of interest only where `and` or `or` are imported."""


class Builder:
    """The tree of one text. Holds what is numbered through it."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.modern_not, self.logical, self.curly = surroundings
        self.wildcards = 0
        self.longest_chain = 0
        """The largest number of infix operators that hang from each other; brackets begin anew."""
        self._chains: dict[int, int] = {}  # by the id of an infix call, which its tree keeps alive

    # ---- lists

    def nothing(self) -> list[Any]:
        return []

    def first(self, item: T) -> list[T]:
        return [item]

    def more(self, items: list[T], item: T) -> list[T]:
        items.append(item)
        return items

    def next_(self, items: list[T], _separator: Token, item: T) -> list[T]:
        items.append(item)
        return items

    def second(self, _comma: Token, close: Token) -> Token:
        return close

    # ---- scalars and variables

    def null(self, token: Token) -> Scalar:
        return Scalar(None, loc=token.loc)

    def true(self, token: Token) -> Scalar:
        return Scalar(True, loc=token.loc)

    def false(self, token: Token) -> Scalar:
        return Scalar(False, loc=token.loc)

    def number(self, token: Token) -> Scalar:
        text = token.text if token.text[0] != "." else "0" + token.text  # `.5` is no JSON number
        if text[0] == "0" and text[1:2].isdigit():
            fail("unexpected number token: expected number without leading zero", token.loc)
        if len(text) > 1000 or "e" in text or "E" in text:
            size = Decimal(text)
            if size and not NUMBER_LEAST <= size <= NUMBER_MOST:
                fail("number too big", token.loc)
        return Scalar(parse_number(text), loc=token.loc)

    def string(self, token: Token) -> Scalar:
        return Scalar(token.text, loc=token.loc)

    def raw_string(self, token: Token) -> Scalar:
        return Scalar(token.text, raw=True, loc=token.loc)

    def variable(self, token: Token) -> Var:
        name = token.text
        return Var(name if name != "_" else self.wildcard(), loc=token.loc)

    def wildcard(self) -> str:
        self.wildcards += 1
        return f"${self.wildcards - 1}"

    # ---- operators

    def infix(self, left: Term, operator: Token, right: Term) -> Call:
        name = Var(OPERATORS[operator.text], loc=operator.loc)
        return self._chain(Call(name, (left, right), infix=True, loc=span(left, right)))

    def _chain(self, call: Call) -> Call:
        chains = self._chains
        length = 1 + max([chains.get(id(arg), 0) for arg in call.args])
        chains[id(call)] = length
        if length > self.longest_chain:
            self.longest_chain = length
        return call

    def minus(self, sign: Token, term: Term) -> Term:
        loc = span(sign, term)
        if isinstance(term, Scalar):
            return Scalar(parse_number("-" + number_text(term.value)), loc=loc)  # type: ignore[arg-type]
        return Call(Var("minus", loc=sign.loc), (Scalar(0, loc=sign.loc), term), infix=True, loc=loc)

    def member(self, value: Term, word: Token, collection: Term) -> Call:
        return self._member(MEMBER, word, (value, collection))

    def member_with_key(self, key: Term, _comma: Token, value: Term, word: Token, collection: Term) -> Call:
        return self._member(MEMBER_WITH_KEY, word, (key, value, collection))

    def _member(self, name: str, word: Token, args: tuple[Term, ...]) -> Call:
        loc = word.loc
        operator = Ref(Var("internal", loc=loc), (Scalar(name, loc=loc),), loc=loc)
        return self._chain(Call(operator, args, infix=True, loc=span(args[0], args[-1])))

    def parentheses(self, left: Token, term: Term, right: Token) -> Term:
        term.loc = span(left, right)
        return term

    # ---- references and calls

    def field(self, token: Token) -> Part:
        file, row, col, end_row, end_col = token.loc
        return Part(Scalar(token.text, loc=_new(Location, (file, row, col + 1, end_row, end_col))), token.loc)

    def index(self, left: Token, term: Term, right: Token) -> Part:
        return Part(term, span(left, right))

    def ref_first(self, head: Term, part: Part) -> Path:
        self._check_head(head)
        return Path(head, part)

    def ref_more(self, path: Path, part: Part) -> Path:
        path.parts.append(part.term)
        path.end = part
        return path

    def ref(self, path: Path) -> Ref:
        return Ref(path.head, tuple(path.parts), loc=span(path.head, path.end))

    def _check_head(self, head: Term) -> None:
        if isinstance(head, Scalar | Ref | Template):
            fail(f"illegal ref (head cannot be {kind_of(head)})", head.loc)
        if isinstance(head, Var) and head.name in ("input", "data") and in_parentheses(head):
            fail("illegal ref (head cannot be ref)", head.loc, "remove the parentheses")

    def arguments_none(self, left: Token, right: Token) -> Arguments:
        return Arguments((), span(left, right))

    def arguments(self, left: Token, terms: list[Term], right: Token) -> Arguments:
        return Arguments(tuple(terms), span(left, right))

    def call(self, operator: Term, arguments: Arguments) -> Call | Set:
        self._check_head(operator)
        loc = span(operator, arguments)
        if isinstance(operator, Call) and not in_parentheses(operator):
            fail("unexpected ( token", arguments.loc, "the result of a call cannot be called")
        if not isinstance(operator, Var):
            raise PolicyError(TYPE_ERROR, f"undefined function: {kind_of(operator)} cannot be called", loc)
        if operator.name == "set" and not arguments.terms:
            return Set((), loc=loc)
        return Call(operator, arguments.terms, loc=loc)

    def call_ref(self, path: Path, arguments: Arguments) -> Call:
        operator = self.ref(path)
        if not isinstance(path.head, Var) or not all(
            isinstance(part, Scalar) and isinstance(part.value, str) for part in path.parts
        ):
            raise PolicyError(TYPE_ERROR, "undefined function: a function's name consists of names", operator.loc)
        return Call(operator, arguments.terms, loc=span(path.head, arguments))

    # ---- collections

    def array_empty(self, left: Token, right: Token) -> Array:
        return Array((), loc=span(left, right))

    def array(self, left: Token, terms: list[Term], right: Token) -> Array:
        return Array(tuple(terms), loc=span(left, right))

    def array_comma(self, left: Token, _comma: Token, terms: list[Term], right: Token) -> Array:
        return self.array(left, terms, right)

    def set_(self, left: Token, terms: list[Term], right: Token) -> Set:
        return Set(tuple(terms), loc=span(left, right))

    def set_comma(self, left: Token, _comma: Token, terms: list[Term], right: Token) -> Set:
        return self.set_(left, terms, right)

    def object_empty(self, left: Token, right: Token) -> Object:
        return Object((), loc=span(left, right))

    def object_(self, left: Token, pairs: list[tuple[Term, Term]], right: Token) -> Object:
        return Object(tuple(pairs), loc=span(left, right))

    def object_comma(self, left: Token, _comma: Token, pairs: list[tuple[Term, Term]], right: Token) -> Object:
        return self.object_(left, pairs, right)

    def pair_first(self, key: Term, _colon: Token, value: Term) -> list[tuple[Term, Term]]:
        return [(key, value)]

    def pair_more(
        self, pairs: list[tuple[Term, Term]], _comma: Token, key: Term, _colon: Token, value: Term
    ) -> list[tuple[Term, Term]]:
        pairs.append((key, value))
        return pairs

    def array_comprehension(self, left: Token, term: Term, _bar: Token, body: list[Expr], right: Token) -> Term:
        return ArrayComprehension(term, tuple(body), loc=span(left, right))

    def set_comprehension(self, left: Token, term: Term, _bar: Token, body: list[Expr], right: Token) -> Term:
        return SetComprehension(term, tuple(body), loc=span(left, right))

    def object_comprehension(
        self, left: Token, key: Term, _colon: Token, value: Term, _bar: Token, body: list[Expr], right: Token
    ) -> Term:
        return ObjectComprehension(key, value, tuple(body), loc=span(left, right))

    # ---- template strings

    def template_empty(self, start: Token, end: Token) -> Template:
        return self.template(start, [], end)

    def template(self, start: Token, parts: list[str | Expr], end: Token) -> Template:
        return Template(tuple(parts), raw=start.text == "$`", loc=span(start, end))

    def template_text(self, token: Token) -> str:
        return token.text

    def template_expression(self, _left: Token, expr: Expr, _right: Token) -> Expr:
        what = expr.what
        wrong = ""
        if expr.negated:
            wrong = "negation (`not`)"
        elif isinstance(what, SomeDecl | SomeIn):
            wrong = "`some`"
        elif isinstance(what, Every):
            wrong = "`every`"
        elif is_infix(what, "assign"):
            wrong = "assignment (`:=`)"
        elif is_infix(what, "eq"):
            wrong = "unification (`=`)"
        elif isinstance(what, Conjunction | Disjunction | Negation):
            raise PolicyError(COMPILE_ERROR, "unexpected `and`, `or` or `not` in template-string expression", expr.loc)
        if wrong:
            fail(f"unexpected {wrong} in template-string expression", expr.loc)
        return expr

    # ---- bodies

    def literal_on_new_line(self, body: list[Expr], literal: Expr) -> list[Expr]:
        if literal.loc.row == body[-1].loc.end_row:
            hint = "separate expressions by ; or a new line; the ( of a call and the [ of a reference touch their name"
            if isinstance(literal.what, Var) and literal.what.name in ("and", "or"):
                hint = f"`{literal.what.name}` is a keyword only behind `import future.keywords.{literal.what.name}`"
            fail("unexpected expression: expected \\n or ; or }", literal.loc, hint)
        body.append(literal)
        return body

    def literal(self, operand: Operand) -> Expr:
        if isinstance(operand, Block):
            fail("unexpected { token: a body is no expression", operand.loc)
        if isinstance(operand, Group):
            if not operand.alone:
                self._not_a_term(operand.loc)
            return operand.expr
        return operand

    def literal_with(self, operand: Operand, withs: list[With]) -> Expr:
        expr = self.literal(operand)
        if expr.withs:  # `(a or b with …) with …`: the inner ones belong to the group
            expr = Expr(Conjunction((expr,), loc=expr.loc), loc=expr.loc)
        return Expr(expr.what, expr.negated, tuple(withs), loc=span(operand, withs[-1]))

    def every_with(self, expr: Expr, withs: list[With]) -> Expr:
        return Expr(expr.what, expr.negated, tuple(withs), loc=span(expr, withs[-1]))

    def with_(self, word: Token, target: Term, _as: Token, value: Term) -> With:
        head = target.head if isinstance(target, Ref) else target
        if not isinstance(head, Var) or in_parentheses(head) or head.name == "contains":
            fail("unexpected with target: expected input, data or the name of a function", target.loc)
        return With(target, value, loc=span(word, value))  # type: ignore[arg-type]

    # ---- and, or, not

    def operand(self, term: Term) -> Expr:
        return Expr(term, loc=term.loc)

    def operand_group(self, group: Group) -> Group:
        if group.loc[1:3] < self.logical:
            self._not_a_term(group.loc)
        return group

    def _not_a_term(self, loc: Location) -> NoReturn:
        fail(
            "non-terminated expression", loc, "only a term can stand in parentheses, or operands of `and`, `or`, `not`"
        )

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
        before: tuple[Body, ...] = (self._body(left, word),)
        if isinstance(left, Expr) and isinstance(left.what, kind):
            before = left.what.operands  # `a and b and c` is one conjunction
        return (*before, self._body(right, word))

    def _body(self, operand: Operand, word: Token) -> Body | Expr:
        if isinstance(operand, Block):
            return operand.body
        if isinstance(operand, Group):
            return operand.expr
        if operand.loc[1:3] in self.curly:
            hint = "wrap a set or an object in parentheses: `({...})`"
            fail(f"operand of `{word.text}` cannot begin with {{ unless the braces hold a body", operand.loc, hint)
        return operand

    def group(self, left: Token, operand: Operand, right: Token) -> Group:
        self._check_group(operand)
        expr = self.literal(operand)
        is_term = not (expr.negated or isinstance(expr.what, Negation | Conjunction | Disjunction))
        if is_term and isinstance(operand, Expr):  # an assignment or a unification, or the grammar had made it a term
            self._not_a_term(operand.loc)
        return Group(expr, span(left, right), alone=True)

    def group_with(self, left: Token, operand: Operand, withs: list[With], right: Token) -> Group:
        self._check_group(operand)
        alone = isinstance(operand, Expr) and isinstance(operand.what, Conjunction | Disjunction)
        return Group(self.literal_with(operand, withs), span(left, right), alone)

    def _check_group(self, operand: Operand) -> None:
        if isinstance(operand, Block):
            fail("`(...)` in an operand position cannot contain a body", operand.loc, "drop the parentheses")

    def block(self, left: Token, body: list[Expr], right: Token) -> Block:
        first = body[0].what
        if is_infix(first, "or") and not in_parentheses(first):  # type: ignore[arg-type]
            hint = "wrap the union in parentheses, or the comprehension: `({...})`"
            fail("ambiguous `{ ... | ... }` operand: a union of sets or a comprehension", left.loc, hint)
        return Block(tuple(body), span(left, right))

    def not_expression(self, word: Token, term: Term) -> Expr:
        loc = span(word, term)
        if word.loc[1:3] < self.modern_not:
            return Expr(term, negated=True, loc=loc)
        return Expr(Negation(Expr(term, loc=term.loc), loc=loc), loc=loc)

    def not_group(self, word: Token, group: Group) -> Expr:
        if word.loc[1:3] < self.modern_not:
            self._not_a_term(group.loc)
        return self._negation(word, (group.expr,), group)

    def not_block(self, word: Token, block: Block) -> Expr:
        return self._negation(word, block.body, block)

    def _negation(self, word: Token, body: Body, operand: Operand) -> Expr:
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
                fail("expected `x in xs` or `x, y in xs` expression, or variables", symbol.loc)
            variables.append(symbol)
        loc = span(word, symbols[-1])
        return Expr(SomeDecl(tuple(variables), loc=loc), loc=loc)

    def some_with(self, expr: Expr, withs: list[With]) -> Expr:
        if isinstance(expr.what, SomeDecl):
            fail("unexpected with keyword", withs[0].loc, "`some x` only declares, `with` has nothing to modify")
        return self.every_with(expr, withs)

    def every(self, word: Token, term: Term, _left: Token, body: list[Expr], right: Token) -> Expr:
        operands = member(term)
        if operands is None:
            fail("expected `x[, y] in xs { ... }` expression", term.loc)
        key = operands[0] if len(operands) == 3 else None
        value, domain = operands[-2:]
        if not (key is None or isinstance(key, Var)):
            fail("expected key to be a variable", key.loc)
        if not isinstance(value, Var):
            fail("expected value to be a variable", value.loc)
        loc = span(word, right)
        return Expr(Every(key, value, domain, tuple(body), loc=loc), loc=loc)


def kind_of(term: Term) -> str:
    """What OPA calls a term in its messages."""
    if isinstance(term, Scalar):
        value = term.value
        return {type(None): "null", bool: "boolean", str: "string"}.get(value.__class__, "number")
    names = {
        ArrayComprehension: "arraycomprehension", SetComprehension: "setcomprehension",
        ObjectComprehension: "objectcomprehension", Template: "template-string",
    }  # fmt: skip
    return names.get(term.__class__, term.__class__.__name__.lower())
