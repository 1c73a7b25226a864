"""The variables that an expression binds, as implications: once these variables have values, so do those.

A reference binds the variables in its steps once its head has a value, because evaluation iterates over it. An equality
binds the variables of a pattern once the other side has a value. A call binds the variables of its output once its
operands have values. (OPA: v1/ast/unify.go and outputVarsForExpr in v1/ast/compile.go.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Generic, TypeVar

from policy_engine.compiler.terms import COMPREHENSIONS, builtin_name, expr_terms, is_leaf, subterms
from policy_engine.compiler.variables import names, pattern_vars, term_vars
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Expr, Term
from policy_engine.values import freeze

Fact = TypeVar("Fact", bound=Hashable)
Arity = Callable[[nodes.Call], int]
"""The number of operands a call's function takes, without the output; -1 for a function that does not exist."""

Binding = tuple[Sequence[str], Sequence[str]]
"""The variables that must have values, and those that then have."""

_NO_NAMES: Final[tuple[str, ...]] = ()


def bindings(expr: Expr, arity: Arity) -> list[Binding]:
    """The implications of an expression. Variables in values of `with` must be bound before it in any case."""
    what = expr.what
    if expr.negated or isinstance(what, (nodes.Negation, nodes.Conjunction, nodes.Disjunction)):
        return []
    found = list(_by_references(expr_terms(expr)))
    if type(what) is not nodes.Call:
        return found
    args = what.args
    name = builtin_name(what)
    if (name == "eq" or name == "assign") and len(args) == 2:
        if name == "eq":
            return [*found, *_by_equality(*args)]
        needed = names(term_vars(args[1]))
        assigned = Implications(needed)
        for needs, gives in _by_equality(*args):
            assigned.add_rule(needs, gives)
        return [*found, (needed, [*assigned.known.difference(needed)])]
    taken = arity(what)
    if 0 <= taken < len(args):
        needed = names([var for arg in args[:taken] for var in term_vars(arg)])
        found.append((needed, names([var for arg in args[taken:] for var in pattern_vars(arg)])))
    return found


def outputs(expr: Expr, known: AbstractSet[str], arity: Arity) -> set[str]:
    """The variables that evaluating an expression binds, if those in `known` have values."""
    if expr.withs and any(var.name not in known for item in expr.withs for var in term_vars(item.value)):
        return set()
    facts = Implications(known)
    for needs, gives in bindings(expr, arity):
        facts.add_rule(needs, gives)
    return facts.known.difference(known)


class Implications(Generic[Fact]):
    """Facts and implications between them. The time is proportional to the length of all implications."""

    def __init__(self, known: Iterable[Fact]) -> None:
        self.known: set[Fact] = set(known)
        self._waiting: dict[Fact, list[_Rule[Fact]]] = {}

    def add_rule(self, needs: Iterable[Fact], gives: Sequence[Fact]) -> list[Fact]:
        """Add an implication. Returns the facts that follow now."""
        missing = {need for need in needs if need not in self.known}
        if not missing:
            return self.add(gives)
        rule = _Rule(len(missing), gives)
        for need in missing:
            self._waiting.setdefault(need, []).append(rule)
        return []

    def add(self, facts: Iterable[Fact]) -> list[Fact]:
        """Add facts. Returns the new ones and all that follow from them."""
        new: list[Fact] = []
        pending = list(facts)
        while pending:
            fact = pending.pop()
            if fact in self.known:
                continue
            self.known.add(fact)
            new.append(fact)
            for rule in self._waiting.pop(fact, ()):
                rule.missing -= 1
                if not rule.missing:
                    pending += rule.gives
        return new


class _Rule(Generic[Fact]):
    __slots__ = ("gives", "missing")

    def __init__(self, missing: int, gives: Sequence[Fact]) -> None:
        self.missing = missing
        self.gives = gives


def _by_references(terms: Iterable[Term]) -> Iterator[Binding]:
    """The implications of references: their heads bind the variables in their steps."""
    pending = [term for term in terms if not is_leaf(term)]
    while pending:
        term = pending.pop()
        if type(term) is nodes.Ref:
            found = [name for step in term.path if type(step) is not nodes.Scalar for name in step_vars(step)]
            if found:
                yield _head(term), found
        pending += [part for part in subterms(term) if not is_leaf(part)]


def step_vars(step: Term) -> set[str]:
    """The variables of a reference's step, without heads of references in it."""
    if isinstance(step, nodes.Var):
        return {step.name}
    inner = step.path if isinstance(step, nodes.Ref) else subterms(step)
    return set().union(*map(step_vars, inner))


def _head(ref: nodes.Ref) -> tuple[str, ...]:
    return (ref.head.name,) if isinstance(ref.head, nodes.Var) else _NO_NAMES


def _by_equality(a: Term, b: Term) -> Iterator[Binding]:
    """The implications of `a = b`."""
    match a, b:
        case nodes.Array(left), nodes.Array(right):
            if len(left) == len(right):
                for x, y in zip(left, right, strict=True):
                    yield from _by_equality(x, y)
        case nodes.Object(pairs), nodes.Object(others):
            if len(pairs) == len(others):
                values: dict[object, list[Term]] = {}
                for key, value in others:
                    values.setdefault(_key(key), []).append(value)
                for key, value in pairs:
                    for other in values.get(_key(key), ()):
                        yield from _by_equality(value, other)
        case _:
            yield from _by_value(a, b)
            yield from _by_value(b, a)


def _by_value(pattern: Term, value: Term) -> Iterator[Binding]:
    """The implication of a pattern and the value on the other side."""
    given: tuple[str, ...]
    if isinstance(pattern, nodes.Var):
        given = (pattern.name,)
    elif isinstance(pattern, (nodes.Array, nodes.Object)):
        if not isinstance(value, (nodes.Var, nodes.Ref, nodes.Call, *COMPREHENSIONS)):
            return
        given = names(pattern_vars(pattern))
    else:
        return
    # Variables in bodies of a comprehension are bound there, or before the whole expression.
    yield _head(value) if isinstance(value, nodes.Ref) else names(term_vars(value)), given


def _key(term: Term) -> object:
    """A hashable key for a key of an object pattern, equal for equal constants and for equal terms."""
    constant = constant_value(term)
    return repr(term) if constant is None else (freeze(constant[0]),)
