"""Base documents, and what `with` puts in their place."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from policy_engine.codegen.context import DATA, FNS, INPUT, MASKED, ROOT, Query, U, charge, derived
from policy_engine.errors import EVAL_CONFLICT_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.values import RANK, Value, foreign

LONG: Final = 512
"""The members of a collection that a loop visits between two charges."""


def known(value: Any) -> None:
    """Raise an error for a value that Rego does not have. Undefined passes."""
    cls = value.__class__
    if (cls not in RANK and value is not U) or (cls is float and value != value):
        foreign(value)


def copied(q: Query, obj: dict[Any, Value]) -> dict[Any, Value]:
    if len(obj) > LONG:
        charge(q, len(obj) // 16)
    return dict(obj)


def base_at(document: Value, path: tuple[str, ...]) -> Value:
    """The base document at a path of names."""
    for step in path:
        if document.__class__ is not dict:
            known(document)
            return U
        document = document.get(step, U)
    return document


# ---- `with`


def with_input(q: Query, path: tuple[str, ...], value: Value) -> Query:
    """The context in which the input, or a part of it, is replaced."""
    return derived(q, patched(q, q[INPUT], path, value), q[DATA], q[FNS], q[MASKED])


def with_data(q: Query, path: tuple[str, ...], value: Value, hidden: frozenset[int]) -> Query:
    """The context in which a part of the data is replaced, and the rules at and below its place are hidden."""
    return derived(q, q[INPUT], patched(q, q[DATA], path, value), q[FNS], q[MASKED] | hidden | {path})


def bad_path(loc: Location) -> NoReturn:
    """Raise the error of a `with` whose target is no place in a document, because a step of its path is no string."""
    raise PolicyError(EVAL_CONFLICT_ERROR, "with keyword cannot replace a value: bad document path", loc)


def patched(q: Query, document: Value, path: tuple[str, ...], value: Value) -> Value:
    """A copy of a document with another value at a path. Values on the way that are no objects become objects."""
    if not path:
        return value
    if document.__class__ is dict:
        base = copied(q, document)
    else:
        known(document)
        base = {}
    name = path[0]
    base[name] = value if len(path) == 1 else patched(q, base.get(name, U), path[1:], value)
    return base


# ---- documents with a replaced part


def whole(q: Query, path: tuple[str, ...]) -> Value:
    """A base document of which some `with` replaces a part."""
    masked = q[MASKED]
    document = base_at(q[DATA], path)
    if any(path[:length] in masked for length in range(len(path) + 1)):
        return document
    return with_stored(q, document, path)


def with_stored(q: Query, document: Value, path: tuple[str, ...]) -> Value:
    """A base document that contains a replaced place, if there is one.

    As in OPA, an object that replaces a stored object is put over it, and the stored one shows through. This holds for
    the larger document only: at the replaced place itself there is nothing but the replacement.
    """
    stored = (q[ROOT] or q)[DATA]
    if q[DATA] is stored:
        return document
    length = len(path)
    for target in q[MASKED]:
        if target.__class__ is tuple and len(target) > length and target[:length] == path:
            over = base_at(document, target[length:])
            merged = _merged(q, over, base_at(stored, target))
            if merged is not over:
                document = patched(q, document, target[length:], merged)
    return document


def _merged(q: Query, over: Value, under: Value) -> Value:
    if over is under or over.__class__ is not dict or under.__class__ is not dict:
        return over
    result = copied(q, over)
    if len(under) > LONG:
        charge(q, len(under) // 16)
    for key, value in under.items():
        result[key] = _merged(q, result[key], value) if key in result else value
    return result
