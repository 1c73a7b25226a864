"""Walking and rebuilding terms and expressions inside the compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Body, Expr, Term
from policy_engine.values import equal

COMPREHENSIONS = (nodes.ArrayComprehension, nodes.SetComprehension, nodes.ObjectComprehension)
ROOTS = frozenset({"data", "input"})
HOLD_BODIES = frozenset((*COMPREHENSIONS, nodes.Template))
"""Terms with subterms only in bodies, and in heads that see the variables of the body."""
_LEAVES = frozenset((nodes.Scalar, nodes.Var, *HOLD_BODIES))
"""Terms without direct subterms."""
_SIMPLE = frozenset((nodes.Scalar, nodes.Var))
EVALUATED = frozenset((nodes.Ref, *COMPREHENSIONS))
"""Terms that are not operands in normal form, apart from calls."""
_COLLECTIONS = frozenset((nodes.Array, nodes.Object, nodes.Set))
HOLD_OPERANDS = frozenset((nodes.Every, nodes.Negation, nodes.Conjunction, nodes.Disjunction))
"""Expressions that hold bodies and are not terms."""


class FunctionValue(nodes.Scalar):
    """The value of `with f as g` where g is a function: its full name. Only code generation evaluates it."""


@dataclass(slots=True, eq=False)
class DocumentValue(nodes.Scalar):
    """The value of `with f as p` where p is a virtual document: its name and its path below `data`.

    Unlike other values it is evaluated at each call of f.
    """

    path: tuple[str, ...] = ()


def builtin_name(call: nodes.Call) -> str | None:
    """The builtin a resolved call names; None for a function of the policy, whose operator is a ref into `data`."""
    return call.operator.name if isinstance(call.operator, nodes.Var) else None


def is_print(what: object) -> bool:
    """True if a resolved expression is a call of `print`."""
    return isinstance(what, nodes.Call) and builtin_name(what) == "internal.print"


def function_path(operator: nodes.Ref) -> tuple[str, ...]:
    """The path below `data` of a resolved call's function."""
    return tuple(str(step.value) for step in operator.path if isinstance(step, nodes.Scalar))


def call(name: str, args: tuple[Term, ...], like: nodes.Node) -> nodes.Call:
    """A call of a builtin."""
    return nodes.Call(nodes.Var(name, loc=like.loc), args, loc=like.loc)


def with_args(like: nodes.Call, args: tuple[Term, ...]) -> nodes.Call:
    """A call with other operands."""
    return nodes.Call(like.operator, args, infix=like.infix, loc=like.loc)


def equality(a: Term, b: Term, like: nodes.Node) -> Expr:
    """The expression `a = b`. There are no bodies in `a`."""
    return Expr(call("eq", (a, b), like), flat=not term_closures(b), loc=like.loc)


def map_term(term: Term, f: Callable[[Term], Term]) -> Term:
    """`term` with `f` applied to its direct subterms; not to bodies, and not to the parts of constants."""
    if isinstance(term, nodes.Collection) and term.constant:
        return term
    match term:
        case nodes.Scalar() | nodes.Var() | nodes.Template():
            return term
        case nodes.Ref(head, path):
            return nodes.Ref(f(head), tuple([f(step) for step in path]), loc=term.loc)
        case nodes.Array(items):
            return nodes.Array(tuple([f(item) for item in items]), loc=term.loc)
        case nodes.Set(items):
            return nodes.Set(tuple([f(item) for item in items]), loc=term.loc)
        case nodes.Object(pairs):
            return nodes.Object(tuple([(f(key), f(value)) for key, value in pairs]), loc=term.loc)
        case nodes.Call(_, args):
            return with_args(term, tuple([f(arg) for arg in args]))
        case _:
            return term


def subterms(term: Term) -> Sequence[Term]:
    """The direct subterms. A comprehension or template has none, only bodies."""
    # Compares classes because `match` takes twice as long, and every stage calls this for every term.
    cls = term.__class__
    if cls is nodes.Call:
        return term.args  # type: ignore[union-attr]
    if cls is nodes.Ref:
        return (term.head, *term.path)  # type: ignore[union-attr]
    if cls is nodes.Array or cls is nodes.Set:
        return term.items  # type: ignore[union-attr]
    if cls is nodes.Object:
        return [part for pair in term.pairs for part in pair]  # type: ignore[union-attr]
    return ()


def walk_terms(term: Term) -> Sequence[Term]:
    """The term and its subterms, outside of bodies and constants. Fast for leaves, which most terms are."""
    if term.__class__ in _LEAVES or is_leaf(term):
        return (term,)
    parts = subterms(term)
    for part in parts:
        if part.__class__ not in _LEAVES:
            found: list[Term] = []
            _walk(term, found)
            return found
    return (term, *parts)


def is_leaf(term: Term) -> bool:
    """True if a term has no subterms, or only scalars."""
    cls = term.__class__
    return cls in _LEAVES or (cls in _COLLECTIONS and term.constant)  # type: ignore[union-attr]


def _walk(term: Term, found: list[Term]) -> None:
    found.append(term)
    for part in subterms(term):
        if part.__class__ in _LEAVES or is_leaf(part):
            found.append(part)
        else:
            _walk(part, found)


def is_simple(term: Term) -> bool:
    """True if a term is a scalar, a variable, or a reference made of these, as nearly all are."""
    cls = term.__class__
    if cls is nodes.Ref:
        for part in term.path:  # type: ignore[union-attr]
            if part.__class__ not in _SIMPLE:
                return False
        return term.head.__class__ is nodes.Var  # type: ignore[union-attr]
    return cls in _SIMPLE


def expr_terms(expr: Expr) -> Sequence[Term]:
    """The terms that stand directly in an expression (not its `with` modifiers, not in its bodies)."""
    what = expr.what
    cls = what.__class__
    if cls is nodes.Call:
        return what.args  # type: ignore[union-attr]
    if cls in _SIMPLE or cls is nodes.Ref:
        return (what,)  # type: ignore[return-value]
    match what:
        case nodes.SomeDecl(symbols):
            return symbols
        case nodes.SomeIn(key, value, collection):
            return (value, collection) if key is None else (key, value, collection)
        case nodes.Every(_, _, domain, _):
            return (domain,)
        case nodes.Negation() | nodes.Conjunction() | nodes.Disjunction():
            return ()
        case term:
            return (term,)


def closures(expr: Expr) -> Sequence[nodes.Node]:
    """Everything in an expression that holds bodies: comprehensions, templates, `every`, `and`, `or`, `not {…}`."""
    if expr.flat:
        return ()
    found: list[nodes.Node] = [expr.what] if expr.what.__class__ in HOLD_OPERANDS else []
    for term in expr_terms(expr):
        found += term_closures(term)
    for item in expr.withs:
        found += term_closures(item.value)
    return found


def term_closures(term: Term) -> Sequence[nodes.Node]:
    """The comprehensions and templates of a term, outermost ones only."""
    if is_simple(term):
        return ()
    return [item for item in walk_terms(term) if item.__class__ in HOLD_BODIES]


def bodies(closure: nodes.Node) -> Iterator[nodes.Body]:
    """The bodies a closure holds. A template's expressions count as a body each."""
    match closure:
        case nodes.ArrayComprehension() | nodes.SetComprehension() | nodes.ObjectComprehension():
            yield closure.body
        case nodes.Every():
            yield closure.body
        case nodes.Negation() | nodes.Conjunction() | nodes.Disjunction():
            for operand in operands(closure):
                yield (operand,) if isinstance(operand, Expr) else operand
        case nodes.Template(parts):
            for part in parts:
                if isinstance(part, Expr):
                    yield (part,)


class HoistedOperand(tuple[Expr, ...]):
    """An operand without braces that became several statements. Its variables are bound outside, as before."""

    __slots__ = ()


def operands(expr: nodes.Negation | nodes.Conjunction | nodes.Disjunction) -> tuple[Body | Expr, ...]:
    """The operands of `not`, `and` or `or`: bodies in braces, with a scope of their own, or plain expressions."""
    return (expr.body,) if isinstance(expr, nodes.Negation) else expr.operands


def map_operands(
    expr: nodes.Negation | nodes.Conjunction | nodes.Disjunction, body: Callable[[Body | Expr], Body | Expr]
) -> nodes.Negation | nodes.Conjunction | nodes.Disjunction:
    """`not`, `and` or `or` with its operands replaced."""
    if isinstance(expr, nodes.Negation):
        return nodes.Negation(body(expr.body), loc=expr.loc)
    return type(expr)(tuple([body(operand) for operand in expr.operands]), loc=expr.loc)


def heads(closure: nodes.Node) -> tuple[Term, ...]:
    """A comprehension's head terms; none of other closures."""
    match closure:
        case nodes.ArrayComprehension() | nodes.SetComprehension():
            return (closure.term,)
        case nodes.ObjectComprehension():
            return (closure.key, closure.value)
        case _:
            return ()


def map_closure(
    closure: Term, body: Callable[[nodes.Body], nodes.Body], term: Callable[[Term], Term] = lambda t: t
) -> Term:
    """A comprehension or template with its bodies (and head terms) replaced."""
    match closure:
        case nodes.ArrayComprehension() | nodes.SetComprehension():
            return replace(closure, term=term(closure.term), body=body(closure.body))
        case nodes.ObjectComprehension():
            return replace(closure, key=term(closure.key), value=term(closure.value), body=body(closure.body))
        case _:
            return closure


def same_key(a: Term, b: Term) -> bool:
    """True if two keys of object patterns are the same: the same variable, or equal constants."""
    if a == b:
        return True
    x, y = constant_value(a), constant_value(b)
    return x is not None and y is not None and equal(x[0], y[0])
