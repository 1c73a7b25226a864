"""Operations on types: their union, their order, and the types of parts of values.

`UNKNOWN` is a type of which nothing is known; it can also be part of a type (`[x, 1]` before `x` has one). Keys of
objects are JSON values in their frozen form, as OPA has them (a set as a key counts as an array).

The rules are those of OPA's v1/types. unify.py decides which types *fit* each other.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable
from typing import Any, Final

from policy_engine.compiler.typecheck import type_budget
from policy_engine.errors import TYPE_ERROR, PolicyError
from policy_engine.types import (
    ANY,
    BOOLEAN,
    NULL,
    NUMBER,
    STRING,
    UNKNOWN,
    Any_,
    ArrayType,
    FunctionType,
    Named,
    ObjectType,
    Recursive,
    ScalarType,
    SetType,
    Type,
    Unknown,
    unfolded,
    unnamed,
)
from policy_engine.values import Set as Members
from policy_engine.values import Value, freeze, order_key, thaw, to_json

_RANKS: Final = {"null": 0, "boolean": 1, "number": 2, "string": 3}
_NOTHING: Final = (-1,)
_MAX_INDEX: Final = 2**63
_MANY: Final = 8
"""Unions with at least this many members cache the types of their keys. No declaration is that long."""


def key_of(value: Value) -> object:
    """A constant as the key of an object type."""
    if value.__class__ is str:
        return value
    _check_keys(value, 0)
    return freeze(to_json(value))


def _check_keys(value: Value, depth: int) -> None:
    """Reject objects nested as keys of keys: the JSON text doubles with each level."""
    if depth > _DEEPEST_KEY:
        raise PolicyError(TYPE_ERROR, f"keys of objects are nested more than {_DEEPEST_KEY} deep")
    if value.__class__ is dict:
        for key, item in value.items():
            if key.__class__ is not str:
                _check_keys(thaw(key), depth + 1)
            _check_keys(item, depth)
    elif value.__class__ is list or value.__class__ is Members:
        for item in value:
            _check_keys(item, depth)


_DEEPEST_KEY: Final = 12


def of_key(key: object) -> Type:
    """The type of a key; `UNKNOWN` for a step of a path that is not constant."""
    if key.__class__ is str:
        return STRING
    return UNKNOWN if key is UNKNOWN else of_json(thaw(key))


def of_json(value: Value) -> Type:
    """The type of a JSON value, with every element and property."""
    cls = value.__class__
    if cls is str:
        return STRING
    if value is None:
        return NULL
    if cls is bool:
        return BOOLEAN
    if cls is list:
        return ArrayType(tuple([of_json(item) for item in value]))
    if cls is dict:
        return object_type([(key_of(key), of_json(item)) for key, item in value.items()], None)
    return NUMBER


def object_type(properties: list[tuple[Any, Type]], rest: tuple[Type, Type] | None) -> ObjectType:
    """An object type; properties are kept in the order of their keys."""
    if all(key.__class__ is str for key, _ in properties):
        properties.sort(key=lambda item: item[0])
    else:
        properties.sort(key=lambda item: order_key(thaw(item[0])))
    return ObjectType(tuple(properties), rest)


def order(type_: Type) -> tuple[Any, ...]:
    """A sort key: types compare as their keys do, and equal types have equal keys."""
    return _order(type_, order)


def _order(type_: Type, part: Callable[[Type], Any]) -> tuple[Any, ...]:
    """The key, with `part` of the types in the type."""
    match unnamed(type_):
        case ScalarType(name):
            return (_RANKS[name],)
        case ArrayType(static, rest):
            return (4, _NOTHING if rest is None else part(rest), tuple([part(item) for item in static]))
        case ObjectType(static, rest):
            dynamic = () if rest is None else (part(rest[0]), part(rest[1]))
            return (5, dynamic, tuple([(order_key(thaw(key)), part(value)) for key, value in static]))
        case SetType(of):
            return (6, part(of))
        case Any_(of):
            return (7, tuple([part(item) for item in of]))
        case FunctionType(args, result, variadic):
            tail = [_NOTHING if item is None else part(item) for item in (result, variadic)]
            return (8, len(args), tuple([part(item) for item in args]), *tail)
        case Recursive(name):
            return (9, name, id(type_))
        case _:
            return _NOTHING


class _Part:
    """The sort key of a part of a large type, computed when compared, so that shared parts are skipped."""

    __slots__ = ("type",)

    def __init__(self, type_: Type) -> None:
        self.type = type_

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Part):
            return False
        type_budget.step()
        return self.type is other.type or _order(self.type, _Part) == _order(other.type, _Part)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, _Part):
            return False  # nothing sorts first
        type_budget.step()
        return _order(self.type, _Part) < _order(other.type, _Part)

    def __gt__(self, other: object) -> bool:
        return other < self if isinstance(other, _Part) else True

    __hash__ = None  # type: ignore[assignment]


def _ordered(*types: Type) -> Callable[[Type], Any]:
    """The sort key function for these types."""
    return order if all(size(type_) <= _LARGE for type_ in types) else _Part


def size(type_: Type) -> int:
    """The number of types in a type, counting repetitions."""
    match type_:
        case ArrayType() | ObjectType() | Any_():
            found: int | None = type_.memo.get("size")
            if found is None:
                parts = type_.of if isinstance(type_, Any_) else _parts(type_)
                found = 1 + sum(map(size, parts))
                if found > _FEW:
                    type_.memo["size"] = found
            return found
        case SetType(of):
            return 1 + size(of)
        case Named(_, inner):
            return size(inner)
        case FunctionType(args, result, _):
            return 1 + sum(map(size, args)) + (0 if result is None else size(result))
        case _:
            return 1


_FEW: Final = 64
_LARGE: Final = 10_000


def either(a: Type, b: Type) -> Type:
    """The union of two types. An unknown type adds nothing."""
    if a is b:
        return a
    a, b = unnamed(a), unnamed(b)
    if a is UNKNOWN:
        return b
    if b is UNKNOWN:
        return a
    if isinstance(a, FunctionType) or isinstance(b, FunctionType):
        return _either_function(a, b)
    if isinstance(b, Any_) and not isinstance(a, Any_):
        a, b = b, a
    if isinstance(a, Any_):
        return _merged(a, b.of if isinstance(b, Any_) else (b,)) if not isinstance(b, Any_) or b.of else b
    if type(a) is type(b):
        key = _ordered(a, b)
        first, second = key(a), key(b)
        if first == second:
            return a
        return Any_((a, b) if first < second else (b, a))
    return Any_(tuple(sorted((a, b), key=_rank)))


def _rank(type_: Type) -> int:
    """The first part of a type's sort key."""
    return int(_order(type_, id)[0])


def _merged(union: Any_, others: tuple[Type, ...]) -> Any_:
    if not union.of:
        return union
    key = _ordered(union, *others)
    members, places = list(union.of), list(_places(union)) if key is order else list(map(key, union.of))
    for other in others:
        place = key(other)
        index = bisect.bisect_left(places, place)
        if index == len(places) or places[index] != place:
            members.insert(index, other)
            places.insert(index, place)
    if len(members) == len(union.of):
        return union
    result = Any_(tuple(members))
    if key is order:
        result.memo["places"] = places
    result.memo["size"] = 1 + size(union) + sum(map(size, others))  # at most
    return result


def _places(union: Any_) -> list[tuple[Any, ...]]:
    """The sort keys of a union's members."""
    places: list[tuple[Any, ...]] | None = union.memo.get("places")
    if places is None:
        places = union.memo["places"] = [order(item) for item in union.of]
    return places


def _either_function(a: Type, b: Type) -> Type:
    if not isinstance(a, FunctionType) or not isinstance(b, FunctionType) or len(a.args) != len(b.args):
        return UNKNOWN
    args = tuple([either(x, y) for x, y in zip(a.args, b.args, strict=True)])
    result = either(a.result or UNKNOWN, b.result or UNKNOWN)
    return FunctionType(args, None if result is UNKNOWN else result)


def union(types: Iterable[Type]) -> Type:
    """The union of any number of types; of none it is unknown."""
    result: Type = UNKNOWN
    for item in types:
        result = either(result, item)
    return result


def contains(a: Type, b: Type) -> bool:
    """True if `a` is `b`, or a union that has it as a member."""
    a = unnamed(a)
    if isinstance(a, Any_):
        return not isinstance(b, FunctionType) and (not a.of or any(_same(item, b) for item in a.of))
    return _same(a, b)


def _same(a: Type, b: Type) -> bool:
    if a is b:
        return True
    return a == b if size(a) <= _LARGE or size(b) <= _LARGE else _Part(a) == _Part(b)


def keys(type_: Type) -> Type:
    """The type of a collection's indices, keys or members. Unknown if it is not a collection."""
    if type_ is ANY:
        return ANY
    match unfolded(type_):
        case ArrayType():
            return NUMBER
        case SetType(of):
            return of
        case (ObjectType() | Any_()) as type_:
            found: Type | None = type_.memo.get("keys")
            if found is None:
                found = type_.memo["keys"] = _keys(type_)
            return found
        case _:
            return UNKNOWN


def _keys(type_: ObjectType | Any_) -> Type:
    if isinstance(type_, Any_):
        return union(keys(item) for item in type_.of) if type_.of else ANY
    found = union(of_key(key) for key, _ in type_.static)
    return found if type_.dynamic is None else either(found, type_.dynamic[0])


def values(type_: Type) -> Type:
    """The type of a collection's values. Unknown if it is not a collection."""
    if type_ is ANY:
        return ANY
    match unfolded(type_):
        case SetType(of):
            return of
        case (ArrayType() | ObjectType() | Any_()) as type_:
            found: Type | None = type_.memo.get("values")
            if found is None:
                found = type_.memo["values"] = _values(type_)
            return found
        case _:
            return UNKNOWN


def _values(type_: ArrayType | ObjectType | Any_) -> Type:
    if isinstance(type_, Any_):
        return union(values(item) for item in type_.of) if type_.of else ANY
    if isinstance(type_, ArrayType):
        return union(type_.static if type_.dynamic is None else (*type_.static, type_.dynamic))
    found = union(value for _, value in type_.static)
    return found if type_.dynamic is None else either(found, type_.dynamic[1])


def select(type_: Type, key: Any) -> Type:
    """The type of a collection's value at a constant key. Unknown if there is none."""
    if type_ is ANY:
        return ANY
    match unfolded(type_):
        case ArrayType() as type_:
            return element(type_, key) if key.__class__ is int else UNKNOWN
        case ObjectType() as type_:
            return _property(type_, key)
        case SetType(of):
            found = of_key(key)
            return found if of == found or (isinstance(of, Any_) and contains(of, found)) else UNKNOWN
        case Any_(of) as type_:
            if not of:
                return ANY
            if len(of) < _MANY:
                return union(select(item, key) for item in of)
            selected: Type | None = type_.memo.get(("select", key))
            if selected is None:
                selected = type_.memo["select", key] = union(select(item, key) for item in of)
            return selected
        case _:
            return UNKNOWN


def _property(type_: ObjectType, key: Any) -> Type:
    properties: dict[Any, Type] | None = type_.memo.get("properties")
    if properties is None:
        properties = type_.memo["properties"] = dict(type_.static)
    found = properties.get(key)
    if found is not None:
        return found
    rest = type_.dynamic
    return rest[1] if rest is not None and contains(rest[0], of_key(key)) else UNKNOWN


def element(type_: ArrayType, index: int) -> Type:
    """The type of an array's element."""
    if not 0 <= index < _MAX_INDEX:
        return UNKNOWN
    if index < len(type_.static):
        return type_.static[index]
    return UNKNOWN if type_.dynamic is None else type_.dynamic


_KNOWN: Final = frozenset((ScalarType, Any_, Recursive))


def is_unknown(type_: Type) -> bool:
    """True if a type or a part of it is unknown. Members of a union do not count."""
    if type_.__class__ in _KNOWN:
        return False
    match type_:
        case ArrayType() | ObjectType():
            found: bool | None = type_.memo.get("unknown")
            if found is None:
                found = type_.memo["unknown"] = any(map(is_unknown, _parts(type_)))
            return found
        case SetType(of):
            return is_unknown(of)
        case FunctionType(args, result, _):
            return result is None or any(map(is_unknown, args)) or is_unknown(result)
        case Named(_, inner):
            return is_unknown(inner)
        case _:
            return True


def has_values(type_: ObjectType) -> bool:
    """True if all properties of an object are values: no functions of a package, and none unknown."""
    found: bool | None = type_.memo.get("values only")
    if found is None:
        found = not any(isinstance(value, (Unknown, FunctionType)) for _, value in type_.static)
        type_.memo["values only"] = found
    return found


def _parts(type_: ArrayType | ObjectType) -> Iterable[Type]:
    if isinstance(type_, ArrayType):
        return type_.static if type_.dynamic is None else (*type_.static, type_.dynamic)
    return (*(value for _, value in type_.static), *(type_.dynamic or ()))
