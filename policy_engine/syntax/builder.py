"""Terms: the methods that the automaton calls for the alternatives of grammar.lark, and that make the nodes.

A method gets one argument for each symbol of its alternative: a `Token` for a terminal, the result of its method for
any other symbol. The result is a node, a list that is being collected, or one of the small classes below, for symbols
that are not yet nodes. These methods also check what OPA's parser checks beyond its grammar.

Each class adds to the one before: `Builder` (here), `BodyBuilder` (bodies.py), `RuleBuilder` (rules.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, TypeAlias, TypeVar

from policy_engine.errors import TYPE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.lexer import Token, fail
from policy_engine.syntax.nodes import (
    Array,
    ArrayComprehension,
    Call,
    Collection,
    Expr,
    Object,
    ObjectComprehension,
    Ref,
    Scalar,
    Set,
    SetComprehension,
    Template,
    Term,
    Var,
)
from policy_engine.values import freeze, number_text, parse_number

T = TypeVar("T")
Located: TypeAlias = Any  # an object with a `loc`: a node, a Token, or one of the classes below

DOCUMENTS = ("input", "data")

OPERATORS = {
    "+": "plus", "-": "minus", "*": "mul", "/": "div", "%": "rem", "&": "and", "|": "or", "==": "equal", "!=": "neq",
    "<": "lt", "<=": "lte", ">": "gt", ">=": "gte", ":=": "assign", "=": "eq",
}  # fmt: skip
MEMBER = "member_2"
MEMBER_WITH_KEY = "member_3"
NUMBER_MOST = Decimal(2) ** 100_000
NUMBER_LEAST = 1 / NUMBER_MOST
"""OPA accepts numbers between the two: arithmetic on larger ones can take minutes."""

_new = tuple.__new__


def span(first: Located, last: Located) -> Location:
    """From the beginning of `first` to the end of `last`."""
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
    """The arguments of a call."""

    terms: tuple[Term, ...]
    loc: Location


def in_parentheses(term: Term) -> bool:
    """True if a variable or a call is in parentheses: those leave no node, but widen the location of their term."""
    loc = term.loc
    if isinstance(term, Var):
        return loc.end_col - loc.col != (1 if term.is_wildcard else len(term.name)) or loc.row != loc.end_row
    if isinstance(term, Call):
        first = term.args[0] if term.infix else term.operator
        return loc[1:3] != first.loc[1:3]
    return False


def is_too_big(text: str) -> bool:
    """True if OPA refuses a number, as it is written without its sign."""
    if len(text) <= 1000 and "e" not in text and "E" not in text:
        return False
    try:
        size = Decimal(text)
    except InvalidOperation:  # the exponent is too large for a Decimal
        return True
    return bool(size) and not NUMBER_LEAST <= size <= NUMBER_MOST


def is_infix(term: object, *names: str) -> bool:
    """True if `term` is `a <operator> b`, for the operators of the builtins with these names."""
    return isinstance(term, Call) and term.infix and isinstance(term.operator, Var) and term.operator.name in names


def _distinct(pairs: list[tuple[Term, Term]]) -> tuple[tuple[Term, Term], ...]:
    """The pairs of an object. If a key occurs several times, only its last value counts and is evaluated."""
    found: dict[object, tuple[Term, Term]] = {}
    for key, value in pairs:
        same: object = key.value if isinstance(key, Scalar) and isinstance(key.value, str) else None
        if same is None:
            constant = constant_value(key)
            same = (type(key), repr(key)) if constant is None else freeze(constant[0])
        found[same] = (found[same][0] if same in found else key, value)
    return tuple(found.values())


class Builder:
    """Lists, terms and template strings."""

    def __init__(self) -> None:
        self.wildcards = 0
        self.compile_errors: list[PolicyError] = []
        """Errors of OPA's compiler that no later stage can find; relevant only if the whole text can be read."""
        self.longest_chain = 0
        """The length of the longest chain of infix operators outside of brackets."""
        self._chains: dict[int, int] = {}  # by the id of an infix call, which the tree keeps alive

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
            fail(f"{text} has a leading zero", token.loc, "text is written in double quotes")
        if is_too_big(text):
            fail("the number is too large or too small", token.loc)
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
        length = 1
        for arg in call.args:
            if arg.__class__ is Call:
                length = max(length, 1 + chains.get(id(arg), 0))
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
        name = Scalar(token.text, loc=_new(Location, (file, row, col + 1, end_row, end_col)))
        return _new(Part, (name, token.loc))

    def index(self, left: Token, term: Term, right: Token) -> Part:
        return _new(Part, (term, span(left, right)))

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
        if isinstance(head, Var):
            if head.name in DOCUMENTS and in_parentheses(head):
                fail(f"unexpected parentheses around `{head.name}`", head.loc, "remove them")
        elif isinstance(head, (Scalar, Ref, Template)):
            fail(f"{kind_of(head)} has no fields or elements, and cannot be called", head.loc)

    def arguments_none(self, left: Token, right: Token) -> Arguments:
        return Arguments((), span(left, right))

    def arguments(self, left: Token, terms: list[Term], right: Token) -> Arguments:
        return Arguments(tuple(terms), span(left, right))

    def call(self, operator: Term, arguments: Arguments) -> Call | Set:
        self._check_head(operator)
        loc = span(operator, arguments)
        if isinstance(operator, Call) and not in_parentheses(operator):
            fail("unexpected `(`: the result of a call cannot be called", arguments.loc)
        if not isinstance(operator, Var):
            self._undefined(f"{kind_of(operator)} cannot be called", loc)
            return Call(Ref(operator, ()), arguments.terms, loc=loc)
        if operator.name == "set" and not arguments.terms:
            return Set((), loc=loc)
        return Call(operator, arguments.terms, loc=loc)

    def call_ref(self, path: Path, arguments: Arguments) -> Call:
        operator = self.ref(path)
        if not isinstance(path.head, Var) or not all(
            isinstance(part, Scalar) and isinstance(part.value, str) for part in path.parts
        ):
            self._undefined("a function's name consists of names", operator.loc)
        return Call(operator, arguments.terms, loc=span(path.head, arguments))

    def _undefined(self, why: str, loc: Location) -> None:
        self.compile_errors.append(PolicyError(TYPE_ERROR, f"undefined function: {why}", loc))

    # ---- collections

    def array_empty(self, left: Token, right: Token) -> Array:
        return Array((), constant=True, loc=span(left, right))

    def array(self, left: Token, terms: list[Term], right: Token) -> Array:
        return Array(tuple(terms), constant=are_constant(terms), loc=span(left, right))

    def array_comma(self, left: Token, _comma: Token, terms: list[Term], right: Token) -> Array:
        return self.array(left, terms, right)

    def set_(self, left: Token, terms: list[Term], right: Token) -> Set:
        return Set(tuple(terms), constant=are_constant(terms), loc=span(left, right))

    def set_comma(self, left: Token, _comma: Token, terms: list[Term], right: Token) -> Set:
        return self.set_(left, terms, right)

    def object_empty(self, left: Token, right: Token) -> Object:
        return Object((), constant=True, loc=span(left, right))

    def object_(self, left: Token, pairs: list[tuple[Term, Term]], right: Token) -> Object:
        constant = all(map(are_constant, pairs))
        return Object(_distinct(pairs), constant=constant, loc=span(left, right))

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


def are_constant(terms: Iterable[Term]) -> bool:
    """True if terms are scalars, or collections of nothing else."""
    for term in terms:
        if term.__class__ is not Scalar and not (isinstance(term, Collection) and term.constant):
            return False
    return True


def kind_of(term: Term) -> str:
    """A term in a message."""
    if isinstance(term, Scalar):
        return {type(None): "null", bool: "a boolean", str: "a string"}.get(term.value.__class__, "a number")
    return {Template: "a template string", Ref: "a reference", Call: "a call"}.get(term.__class__, "a collection")
