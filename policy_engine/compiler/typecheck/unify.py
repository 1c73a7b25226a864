"""Decides which types fit each other, and which types the variables of a pattern get.

Two types fit if a value can have both. `learn` and `meet` are OPA's unify1 and unify2 (v1/ast/check.go).
"""

from __future__ import annotations

from typing import Final

from policy_engine.compiler.terms import ROOTS
from policy_engine.compiler.typecheck import algebra, type_budget
from policy_engine.compiler.typecheck.scope import TypeScope
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Term
from policy_engine.types import (
    ANY,
    UNKNOWN,
    Any_,
    ArrayType,
    FunctionType,
    ObjectType,
    Recursive,
    ScalarType,
    SetType,
    Type,
    object_,
    unfolded,
)

_ANY_OBJECT: Final = object_()


def fit(a: Type, b: Type) -> bool:
    """True if a value can have both types. An unknown type fits nothing."""
    if type(a) is ScalarType and type(b) is ScalarType:
        return a.name == b.name
    if a is UNKNOWN or b is UNKNOWN:
        return False
    type_budget.step()
    if isinstance(a, Recursive) and isinstance(b, Recursive):
        return True  # comparing them might not terminate
    a, b = unfolded(a), unfolded(b)
    if isinstance(a, Any_):
        return _fits_union(a, b) or (isinstance(b, Any_) and _fits_union(b, a))
    if isinstance(b, Any_):
        return _fits_union(b, a)
    match a, b:
        case ArrayType(), ArrayType():
            return _arrays_fit(a, b)
        case ObjectType(), ObjectType():
            return _objects_fit(a, b)
        case SetType(x), SetType(y):
            return fit(x, y)
        case FunctionType(x_args), FunctionType(y_args):
            return len(x_args) == len(y_args) and all(map(fit, x_args, y_args))
        case _:
            return False


def _fits_union(union: Any_, other: Type) -> bool:
    if isinstance(other, FunctionType):
        return False
    return not union.of or any(fit(item, other) for item in union.of)


def _arrays_fit(a: ArrayType, b: ArrayType) -> bool:
    for index in range(max(len(a.static), len(b.static))):
        if not fit(algebra.element(a, index), algebra.element(b, index)):
            return False
    return a.dynamic is None or b.dynamic is None or fit(a.dynamic, b.dynamic)


def _objects_fit(a: ObjectType, b: ObjectType) -> bool:
    # If one of the two is open, a property that the other lacks is allowed.
    if a == _ANY_OBJECT or b == _ANY_OBJECT:
        return algebra.has_values(a) and algebra.has_values(b)  # a shortcut of the rest
    a_rest, b_rest = _rest(a), _rest(b)
    closed = a_rest is UNKNOWN and b_rest is UNKNOWN
    for x, y in ((a, b), (b, a)):
        for key, value in x.static:
            other = algebra.select(y, key)
            if closed if other is UNKNOWN else not fit(value, other):
                return False
    return a_rest is UNKNOWN or b_rest is UNKNOWN or fit(a_rest, b_rest)


def _rest(type_: ObjectType) -> Type:
    """The type of an object's other values; unknown if there are none."""
    return UNKNOWN if type_.dynamic is None else type_.dynamic[1]


def learn(scope: TypeScope, term: Term, type_: Type, *, union: bool = False) -> bool:
    """Match a term with a type; true if they fit. Variables without a type get one.

    `union`: the type is one member of a union, and variables collect the types of all members.
    """
    cls = term.__class__
    if isinstance(term, nodes.Var) and term.name not in ROOTS:
        known = scope.find(term.name)
        if union:
            scope.bind(term.name, algebra.either(known, type_))
        elif known is UNKNOWN:
            scope.bind(term.name, type_)
        else:
            return fit(known, type_)
        return True
    if cls is nodes.Array or cls is nodes.Object or cls is nodes.Set:
        return _learn_collection(scope, term, type_, union)
    return fit(scope.type_of(term), type_)


def _learn_collection(scope: TypeScope, term: Term, type_: Type, union: bool) -> bool:
    type_ = unfolded(type_)
    if isinstance(type_, Any_):
        if type_.of:
            # No shortcut: a variable collects the types of all members that fit.
            fits = [learn(scope, term, item, union=True) for item in type_.of]
            return any(fits)
        for item in _members(term):
            learn(scope, item, ANY, union=True)
        return True
    match term, type_:
        case nodes.Array(items), ArrayType(static, rest):
            if len(items) != len(static) and rest is None:
                return False
            return all(learn(scope, item, algebra.element(type_, i), union=union) for i, item in enumerate(items))
        case nodes.Set(items), SetType(of):
            return all(learn(scope, item, of, union=union) for item in items)
        case nodes.Object(), ObjectType():
            return _learn_object(scope, term, type_, union)
        case _:
            return False


def _learn_object(scope: TypeScope, term: nodes.Object, type_: ObjectType, union: bool) -> bool:
    if len(term.pairs) != len(type_.static) and _rest(type_) is UNKNOWN:
        return False
    for key, value in term.pairs:
        constant = constant_value(key)
        if constant is None:
            # Any property could be meant.
            learn(scope, value, ANY, union=union)
            continue
        found = algebra.select(type_, algebra.key_of(constant[0]))
        if found is UNKNOWN or not learn(scope, value, found, union=union):
            return False
    return True


def _members(term: Term) -> tuple[Term, ...]:
    match term:
        case nodes.Array(items) | nodes.Set(items):
            return items
        case nodes.Object(pairs):
            return tuple([part for pair in pairs for part in pair])
        case _:
            return ()


def meet(scope: TypeScope, a: Term, a_type: Type, b: Term, b_type: Type) -> bool:
    """Match two terms; true if their types fit. A variable without a type gets the other side's type."""
    a_unknown, b_unknown = algebra.is_unknown(a_type), algebra.is_unknown(b_type)
    if a_unknown and not b_unknown:
        return learn(scope, a, b_type)
    if b_unknown and not a_unknown:
        return learn(scope, b, a_type)
    if not a_unknown:
        return fit(a_type, b_type)
    match a, b:
        case (nodes.Array(xs), nodes.Array(ys)) if len(xs) == len(ys):
            return all(meet(scope, x, scope.type_of(x), y, scope.type_of(y)) for x, y in zip(xs, ys, strict=True))
        case nodes.Object(), nodes.Object():
            return _meet_objects(scope, a, b)
        case (nodes.Array() | nodes.Object() | nodes.Var(), nodes.Var()):
            return learn(scope, a, ANY) and learn(scope, b, scope.type_of(a))
        case nodes.Var(), (nodes.Array() | nodes.Object()):
            return learn(scope, b, ANY) and learn(scope, a, scope.type_of(b))
        case nodes.Var(), _ if b_type is not UNKNOWN:
            return learn(scope, a, b_type)  # partly known
        case _, nodes.Var() if a_type is not UNKNOWN:
            return learn(scope, b, a_type)
        case _:
            return False


def _meet_objects(scope: TypeScope, a: nodes.Object, b: nodes.Object) -> bool:
    shared = [(x, y) for key, x in a.pairs for other, y in b.pairs if key == other]
    if not len(a.pairs) == len(b.pairs) == len(shared):
        return False
    return all(meet(scope, x, scope.type_of(x), y, scope.type_of(y)) for x, y in shared)
