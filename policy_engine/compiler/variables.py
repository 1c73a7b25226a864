"""The variables of terms and expressions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from policy_engine.compiler.terms import (
    HOLD_OPERANDS,
    HoistedOperand,
    bodies,
    closures,
    expr_terms,
    heads,
    operands,
    term_closures,
    walk_terms,
)
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Expr, Term


def term_vars(term: Term) -> list[nodes.Var]:
    """Every variable of a term outside of bodies, including heads of references but not names of functions."""
    return [item for item in walk_terms(term) if type(item) is nodes.Var]


def expr_vars(expr: Expr) -> list[nodes.Var]:
    """The variables of an expression outside of bodies, in source order.

    Operands of `not`, `and` and `or` count unless they are in braces, but not the intermediate values in them.
    """
    found: list[nodes.Var] = []
    for term in expr_terms(expr):
        found += term_vars(term)
    if isinstance(expr.what, (nodes.Negation, nodes.Conjunction, nodes.Disjunction)):
        for operand in operands(expr.what):
            if isinstance(operand, (Expr, HoistedOperand)):
                for inner in (operand,) if isinstance(operand, Expr) else operand:
                    found += [var for var in expr_vars(inner) if not var.name.startswith("'")]
    for item in expr.withs:
        found += term_vars(item.value)
        if isinstance(item.target, nodes.Ref):
            for step in item.target.path:
                found += term_vars(step)
    return found


def own_vars(expr: Expr) -> set[str]:
    """The names of `expr_vars`."""
    if expr.withs or expr.what.__class__ in HOLD_OPERANDS:
        return {var.name for var in expr_vars(expr)}
    found: set[str] = set()
    for term in expr_terms(expr):
        if type(term) is nodes.Var:
            found.add(term.name)
        elif type(term) is not nodes.Scalar:
            for item in walk_terms(term):
                if type(item) is nodes.Var:
                    found.add(item.name)
    return found


def closure_vars(inside: Sequence[nodes.Node]) -> set[str]:
    """The names of all variables in closures, without those that `every` declares for its body."""
    found: set[str] = set()
    for closure in inside:
        names = {var.name for head in heads(closure) for var in term_vars(head)}
        for head in heads(closure):
            names |= closure_vars(term_closures(head))
        for body in bodies(closure):
            for expr in body:
                names |= own_vars(expr) | closure_vars(closures(expr))
        if isinstance(closure, nodes.Every):
            names -= declared_by(closure)
        found |= names
    return found


def declared_by(every: nodes.Every) -> set[str]:
    """The names of the variables that `every` declares."""
    return {var.name for var in (every.key, every.value) if var is not None}


def pattern_vars(term: Term) -> Iterator[nodes.Var]:
    """The variables of a pattern that a match can bind: those in arrays and object values."""
    match term:
        case nodes.Var():
            yield term
        case nodes.Array(items):
            for item in items:
                yield from pattern_vars(item)
        case nodes.Object(pairs):
            for _, value in pairs:
                yield from pattern_vars(value)
        case _:
            return


def names(variables: Iterable[nodes.Var]) -> tuple[str, ...]:
    """The names of some variables."""
    return tuple([var.name for var in variables])
