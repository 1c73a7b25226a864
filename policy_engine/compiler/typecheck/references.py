"""Checks that a reference can have a value: each step must select a part of the value before it.

A variable in a step that has no type yet gets the type of the keys (OPA's refChecker, v1/ast/check.go).
"""

from __future__ import annotations

from collections.abc import Iterable

from policy_engine.compiler.terms import ROOTS
from policy_engine.compiler.typecheck import algebra, messages
from policy_engine.compiler.typecheck.documents import DocumentNode
from policy_engine.compiler.typecheck.scope import TypeScope
from policy_engine.compiler.typecheck.unify import fit, learn
from policy_engine.errors import PolicyError
from policy_engine.syntax import nodes
from policy_engine.types import ANY, STRING, UNKNOWN, Any_, FunctionType, ObjectType, Type, unfolded

_NAMES_ONLY = 2
"""The steps below `data` that are always names: at least one of the package and one of the rule."""


def check(scope: TypeScope, ref: nodes.Ref) -> PolicyError | None:
    """The error of a reference in normal form that cannot have a value."""
    assert isinstance(ref.head, nodes.Var)
    name = ref.head.name
    if name in ROOTS:
        return _check_document(scope, ref, name)
    found = scope.find(name)
    if found is UNKNOWN:
        scope.bind(name, ANY)
        found = ANY
    return _check_value(scope, ref, found, 0)


def _check_document(scope: TypeScope, ref: nodes.Ref, root: str) -> PolicyError | None:
    trees = scope.documents.roots(root)
    if trees:
        found = scope.documents.find(root, ref.path)
        if isinstance(found, FunctionType):
            return messages.function_error(ref.loc, messages.term_text(scope, ref), found)
    for tree in trees:
        done, error = _check_layer(scope, ref, tree)
        if done:
            return error
    return _check_value(scope, ref, ANY, 0)


def _check_layer(scope: TypeScope, ref: nodes.Ref, node: DocumentNode) -> tuple[bool, PolicyError | None]:
    """(defined, error): the layer of documents defines the reference, and the error in it, if any."""
    for number, step in enumerate(ref.path):
        if node.type is not None:
            return True, _check_value(scope, ref, node.type, number)
        if isinstance(step, nodes.Var):
            keys = algebra.keys(node.extent())
            known = scope.find(step.name)
            if known is UNKNOWN:
                scope.bind(step.name, keys)
            elif not fit(keys, known):
                return True, messages.step_error(scope, ref, number, known, keys, node.children)
            return False, None
        if number < _NAMES_ONLY and not (isinstance(step, nodes.Scalar) and isinstance(step.value, str)):
            return True, messages.step_error(scope, ref, number, scope.type_of(step), STRING, node.children)
        following = node.child(step)
        if following is None:
            return False, None
        node = following
    return True, None


def _check_value(scope: TypeScope, ref: nodes.Ref, type_: Type, start: int) -> PolicyError | None:
    """Follow a reference's path from step `start` into a value."""
    for number in range(start, len(ref.path)):
        step = ref.path[number]
        if type_ is ANY and type(step) is nodes.Scalar:
            continue
        keys = algebra.keys(type_)
        if keys is UNKNOWN:
            return messages.unsupported_error(scope, ref, number, type_)
        if isinstance(step, nodes.Scalar):
            found = algebra.select(type_, algebra.key_of(step.value))
            if found is UNKNOWN:
                return messages.step_error(scope, ref, number, None, keys, _names(type_))
            type_ = found
            continue
        if isinstance(step, nodes.Var):
            known = scope.find(step.name)
            if known is UNKNOWN:
                scope.bind(step.name, keys)
            elif not fit(known, keys):
                return messages.step_error(scope, ref, number, known, keys, _names(type_))
        elif not learn(scope, step, keys):
            return messages.step_error(scope, ref, number, scope.type_of(step), keys)
        type_ = algebra.values(type_)
    return None


def _names(type_: Type) -> Iterable[object]:
    """The known keys of an object, or of the objects in a union."""
    match unfolded(type_):
        case ObjectType(static):
            return [key for key, _ in static]
        case Any_(of):
            return {key: None for item in of for key in _names(item)}
        case _:
            return ()
