"""By which variables OPA keeps the results of a comprehension (v1/ast/compile.go, getComprehensionIndex).

A comprehension that binds outer variables again by itself is run once without them, for all their values, and looked up
after that. What shows of it are errors for values that nobody asks for, and one thing more: of two values for a key of
an object the last one stands, which is a conflict in any other comprehension.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from policy_engine.compiler.bindings import Arity, outputs, step_vars
from policy_engine.compiler.terms import (
    HOLD_OPERANDS,
    ROOTS,
    bodies,
    builtin_name,
    closures,
    expr_terms,
    heads,
    is_leaf,
    subterms,
    term_closures,
)
from policy_engine.compiler.variables import own_vars
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term


def index_keys(comprehension: Term, bound: Collection[str], arity: Arity) -> tuple[str, ...]:
    """The variables, of those in `bound`; none if OPA runs the comprehension each time."""
    (body,) = bodies(comprehension)
    if any(expr.what.__class__ in HOLD_OPERANDS and not isinstance(expr.what, nodes.Every) for expr in body):
        return ()
    known, own = set(ROOTS), set[str]()
    for expr in body:
        names = own_vars(expr)
        if expr.negated and not names <= known:
            return ()  # it never holds in the run without outer variables, which so finds nothing to look up
        known |= outputs(expr, known, arity)
        own |= names
    keys = sorted(name for name in known - ROOTS if name in bound)
    if not keys or not own <= known or _iterates(body, bound, set()) or _closes_over(body, bound):
        return ()
    return tuple(keys)


def binds_in_order(comprehension: Term, keys: Collection[str], arity: Arity) -> bool:
    """Whether each expression of the body alone binds the variables in it that are not bound before.

    `x := k; member.name == x` does not if `k` is unbound, as it is when the body is run for all its values, and neither
    does `every` or another body that mentions one of `keys` before it is bound.
    """
    (body,) = bodies(comprehension)
    known = set(ROOTS)
    for expr in body:
        within = {name for closure in closures(expr) for name in names_within(closure)}
        if any(name in within and name not in known for name in keys):
            return False
        known |= outputs(expr, known, arity)
        if not own_vars(expr) <= known:
            return False
    return True


def _iterates(body: Body, bound: Collection[str], seen: set[str]) -> bool:
    """Whether a reference would be a loop over what an outer variable selects."""
    for expr in body:
        what = expr.what
        walked = isinstance(what, nodes.Call) and builtin_name(what) == "walk" and what.args[1:]
        if walked and any(name in bound and name not in seen for name in step_vars(walked[0])):
            return True
        if isinstance(what, nodes.Every):
            seen |= {var.name for var in (what.key, what.value) if var is not None}
        for term in _terms(expr):
            if _term_iterates(term, bound, seen):
                return True
        if isinstance(what, nodes.Every) and _iterates(what.body, bound, seen):
            return True
    return False


def _term_iterates(term: Term, bound: Collection[str], seen: set[str]) -> bool:
    if isinstance(term, nodes.Var):
        seen.add(term.name)
    if is_leaf(term):
        return False
    if isinstance(term, nodes.Ref):
        selecting = {name for step in term.path for name in step_vars(step)}
        if any(name in bound and name not in seen for name in selecting):
            return True
    return any(_term_iterates(part, bound, seen) for part in subterms(term))


def _closes_over(body: Body, bound: Collection[str]) -> bool:
    """Whether a comprehension in the body mentions an outer variable, other than as what a reference begins with."""
    return any(
        (_closes_over(closure.body, bound) if isinstance(closure, nodes.Every) else _mentions(closure, bound))
        for expr in body
        for closure in closures(expr)
    )


def _mentions(closure: nodes.Node, bound: Collection[str]) -> bool:
    terms = [*heads(closure), *(term for body in bodies(closure) for expr in body for term in _terms(expr))]
    inner = [found for body in bodies(closure) for expr in body for found in closures(expr)]
    inner += [found for head in heads(closure) for found in term_closures(head)]
    return any(name in bound for term in terms for name in step_vars(term)) or any(
        _mentions(found, bound) for found in inner
    )


def _terms(expr: Expr) -> Iterator[Term]:
    yield from expr_terms(expr)
    for item in expr.withs:
        yield item.target
        yield item.value


def all_names(terms: Iterable[Term]) -> Iterator[str]:
    """The names of all variables in terms, those in comprehensions and other bodies in them too."""
    for term in terms:
        if isinstance(term, nodes.Var):
            yield term.name
        yield from all_names(subterms(term))
        for closure in term_closures(term):
            yield from names_within(closure)


def names_within(closure: nodes.Node) -> Iterator[str]:
    """The names of all variables in what holds bodies."""
    yield from all_names(heads(closure))
    for body in bodies(closure):
        for expr in body:
            yield from all_names(_terms(expr))
            if expr.what.__class__ in HOLD_OPERANDS:
                yield from names_within(expr.what)


def all_exprs(body: Body) -> Iterator[Expr]:
    """The expressions of a body, and those of all bodies in them."""
    for expr in body:
        yield expr
        for closure in closures(expr):
            for inner in bodies(closure):
                yield from all_exprs(inner)
