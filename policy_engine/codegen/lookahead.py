"""The equalities that follow a loop, for a join index (see `joins`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from policy_engine.builtins import TABLE
from policy_engine.codegen.joins import Field
from policy_engine.compiler.terms import bodies, builtin_name, closures, expr_terms, walk_terms
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term

HARMLESS: Final = frozenset(builtin.name for builtin in TABLE.values() if not builtin.fails)
"""Builtins whose calls have no errors."""

Ready = Callable[[Term], bool]
"""Tells whether a term can be evaluated before the loop, without a loop or a rule."""

Equality = tuple[Field, Term]
"""A field of a member, and the term that it must equal."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A reference in a body that opens a loop: `ref = other`, and the expressions after it."""

    ref: nodes.Ref
    other: Term | None
    rest: tuple[Expr, ...]
    exact: bool = False
    """True if each expression must be evaluated for the same members as in a plain loop."""

    def equalities(self, number: int, ready: Ready) -> tuple[Equality, ...]:
        """The equalities that members of the loop over step `number` must satisfy."""
        found = dict(self._own(self.ref.path[number + 1 :], ready))
        if self.exact and (found or not isinstance(self.other, nodes.Var)):
            return tuple(found.items())
        names: dict[str, Field] = {}
        if number + 1 == len(self.ref.path) and self.other is not None:
            names = dict(_names(self.other))
        for expr in self.rest[: 1 if self.exact else None]:
            what = expr.what
            if expr.withs or expr.negated or not isinstance(what, nodes.Call):
                break
            name = builtin_name(what)
            if name == "eq" and len(what.args) == 2:
                if not self._one(number, what.args, names, found, ready):
                    break
            elif name not in HARMLESS or len(what.args) != 2:
                break
        return tuple(found.items())

    def _own(self, steps: tuple[Term, ...], ready: Ready) -> Iterator[Equality]:
        """The equalities of the reference's own expression."""
        if self.other is None:
            return
        field = _field(steps)
        if field is None:
            return
        if ready(self.other):
            yield field, self.other
        elif not field:
            yield from _parts(self.other, ready)

    def _one(
        self,
        number: int,
        args: tuple[Term, ...],
        names: dict[str, Field],
        found: dict[Field, Term],
        ready: Ready,
    ) -> bool:
        """Add what an equality demands to `found` or `names`; false if it may fail with an error."""
        for left, right in (args, args[::-1]):
            field = self._of_member(left, number, names)
            if field is None:
                continue
            if ready(right):
                found.setdefault(field, right)
            elif isinstance(right, nodes.Var):
                names.setdefault(right.name, field)
            else:
                return False
            return True
        # An equality about something else may be evaluated later or not at all, if it is plain.
        return all(isinstance(arg, (nodes.Scalar, nodes.Var)) or ready(arg) for arg in args)

    def _of_member(self, term: Term, number: int, names: dict[str, Field]) -> Field | None:
        """The path from the member to the part of it for which a term stands; None if it stands for no part."""
        if isinstance(term, nodes.Var):
            return names.get(term.name)
        if not isinstance(term, nodes.Ref) or not isinstance(term.head, nodes.Var):
            return None
        if term.head.name in names:
            rest = _field(term.path)
            return None if rest is None else (*names[term.head.name], *rest)
        # `data.grants[i].user` once more: the same steps and the same variable.
        key = self.ref.path[number]
        if term.head == self.ref.head and isinstance(key, nodes.Var) and not key.is_wildcard:
            length = number + 1
            if len(term.path) >= length and all(map(_same, term.path[:length], self.ref.path[:length])):
                return _field(term.path[length:])
        return None


def fixed_refs(body: Body) -> Iterator[nodes.Ref]:
    """The references in a body, inner bodies included, that have constant paths below `input` or `data`."""
    for expr in body:
        if expr.withs:
            continue
        for term in expr_terms(expr):
            for item in walk_terms(term):
                if isinstance(item, nodes.Ref) and item.head in (_INPUT, _DATA) and _field(item.path) is not None:
                    yield item
        for closure in closures(expr):
            for inner in bodies(closure):
                yield from fixed_refs(inner)


_INPUT: Final = nodes.Var("input")
_DATA: Final = nodes.Var("data")


def _same(a: Term, b: Term) -> bool:
    if isinstance(a, nodes.Var) and isinstance(b, nodes.Var):
        return a.name == b.name
    return isinstance(a, nodes.Scalar) and isinstance(b, nodes.Scalar) and a.value == b.value


def _field(steps: tuple[Term, ...]) -> Field | None:
    """Steps as a path of names; None if one is no string."""
    names: list[str | int] = []
    for step in steps:
        if not isinstance(step, nodes.Scalar) or not isinstance(step.value, str):
            return None
        names.append(step.value)
    return tuple(names)


def _names(pattern: Term) -> Iterator[tuple[str, Field]]:
    """The variables of a pattern for a member, and the fields of the member that they stand for."""
    match pattern:
        case nodes.Var(name) if not pattern.is_wildcard:
            yield name, ()
        case nodes.Object(pairs):
            for key, value in pairs:
                if isinstance(key, nodes.Scalar) and isinstance(key.value, str) and isinstance(value, nodes.Var):
                    yield value.name, (key.value,)
        case nodes.Array(items):
            for number, item in enumerate(items):
                if isinstance(item, nodes.Var) and not item.is_wildcard:
                    yield item.name, (number,)


def _parts(pattern: Term, ready: Ready) -> Iterator[Equality]:
    """The equalities that a pattern for a member demands: its parts that are known before the loop."""
    match pattern:
        case nodes.Object(pairs):
            for key, value in pairs:
                if isinstance(key, nodes.Scalar) and isinstance(key.value, str) and ready(value):
                    yield (key.value,), value
        case nodes.Array(items):
            for number, item in enumerate(items):
                if ready(item):
                    yield (number,), item
