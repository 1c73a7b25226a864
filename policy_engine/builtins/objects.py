"""object.*: filter, get, keys, remove, subset, union, union_n. Documents by path (json.filter …) are in `json_paths`.

Keys stay in their frozen form (see `values`), in which Python's own lookup is Rego's equality.
"""

from __future__ import annotations

from typing import Any, Final

from policy_engine.builtins.operands import (
    NUMBERS,
    array,
    few_charged,
    frozen,
    int64,
    object_,
    watched,
    wrong,
    wrong_element,
)
from policy_engine.builtins.table import Builtin, Context, InPlace
from policy_engine.errors import EVAL_TYPE_ERROR, BuiltinError
from policy_engine.types import ANY, BOOLEAN, FunctionType, set_, union
from policy_engine.types import array as array_of
from policy_engine.types import object_ as object_of
from policy_engine.values import UNDEFINED, Set, Value, equal, freeze, type_name


def get(ctx: Context, operand: Value, key: Value, default: Value) -> Value:
    """The value under a key, or under a path if the key is an array."""
    found: Value = object_(operand, "object.get", 1)
    if key.__class__ is not list:
        return found.get(freeze(key, ctx.charge), default)
    ctx.charge(len(key))
    for step in key:
        found = _step(ctx, found, step)
        if found is UNDEFINED:
            return default
    return found


def _step(ctx: Context, composite: Value, key: Value) -> Value:
    cls = composite.__class__
    if cls is dict:
        return composite.get(freeze(key, ctx.charge), UNDEFINED)
    if cls is list and key.__class__ in NUMBERS:
        index = int64(key)
        return composite[index] if index is not None and 0 <= index < len(composite) else UNDEFINED
    if cls is Set:
        return key if freeze(key, ctx.charge) in composite.members else UNDEFINED
    return UNDEFINED


def keys(ctx: Context, operand: Value) -> Value:
    source = object_(operand, "object.keys", 1)
    ctx.charge(4 * len(source) + len(source) // 4)
    return Set.of(dict.fromkeys(watched(ctx, source)))


def filter_(ctx: Context, operand: Value, wanted: Value) -> Value:
    source = object_(operand, "object.filter", 1)
    chosen = _key_set(ctx, wanted, "object.filter")
    # OPA walks the longer of the two, so it is from there that a number's text (`1` or `1.0`) comes.
    longer = chosen if len(source) < len(chosen) else source
    ctx.charge(len(longer))
    return {key: source[key] for key in watched(ctx, longer) if key in source and key in chosen}


def remove(ctx: Context, operand: Value, unwanted: Value) -> Value:
    source = object_(operand, "object.remove", 1)
    dropped = _key_set(ctx, unwanted, "object.remove")
    ctx.charge(4 * len(source))
    return {key: value for key, value in watched(ctx, source.items()) if key not in dropped}


def _key_set(ctx: Context, operand: Value, name: str) -> dict[object, Any]:
    """The frozen keys that an array, object or set names, as the keys of a dict."""
    cls = operand.__class__
    if cls is list:
        return dict.fromkeys(frozen(ctx, operand))
    if cls is Set:
        return operand.members  # type: ignore[no-any-return]
    if cls is dict:
        return operand  # type: ignore[no-any-return]
    wrong(name, 2, operand, "object", "set", "array")


def union_(ctx: Context, first: Value, second: Value) -> Value:
    """Both objects' keys; where both have one, objects are merged and otherwise the second's value is taken."""
    a = object_(first, "object.union", 1)
    b = object_(second, "object.union", 2)
    # Of equal objects OPA returns the first, so that it is the first's `1.0` or `1` that is seen.
    return a if equal(a, b, ctx.charge) else _merge(ctx, a, b)


def union_n(ctx: Context, operand: Value) -> Value:
    objects = operand if operand.__class__ is list else array(operand, "object.union_n", 1)
    size = 0
    for item in objects:
        if item.__class__ is not dict:
            wrong_element("object.union_n", 1, objects, item, "object")
        size += len(item)
    ctx.charge(4 * size)
    merged: dict[Any, Value] = {}
    own: set[int] = set()
    for item in objects:
        _merge_into(ctx, merged, item, own)
    return merged


def _merge_into(ctx: Context, target: dict[Any, Value], source: dict[Any, Value], own: set[int]) -> None:
    """Every key and value is looked at once, however many objects. `own` are the objects that were made for this."""
    for key, value in source.items():
        if key not in target:
            target[key] = value
            continue
        old = target[key]
        if key.__class__ is not str:
            del target[key]  # of two equal keys the later one's text stays
        if value.__class__ is dict and old.__class__ is dict:
            ctx.charge(4 * len(value))
            if id(old) not in own:
                old = old.copy()
                own.add(id(old))
            _merge_into(ctx, old, value, own)
            value = old
        target[key] = value


def _merge(ctx: Context, a: dict[Any, Value], b: dict[Any, Value]) -> dict[Any, Value]:
    ctx.charge(4 * (len(a) + len(b)))
    merged = dict(a)
    for key, value in b.items():
        old = merged.get(key)
        merged[key] = _merge(ctx, old, value) if old.__class__ is dict and value.__class__ is dict else value
    return merged


def subset(ctx: Context, whole: Value, part: Value) -> Value:
    """True if `part` is in `whole`: keys of objects (recursively), members of sets, a run of an array."""
    pair = (whole.__class__, part.__class__)
    if pair == (list, Set):
        # An empty set is found while looking at elements, so OPA does not find it in an empty array.
        return bool(whole) and part.members.keys() <= set(frozen(ctx, whole))
    if pair in _SAME:
        return _contains(ctx, whole, part)
    type_name(whole)
    type_name(part)
    raise BuiltinError(
        "object.subset: both arguments object.subset must be of the same type or array and set", EVAL_TYPE_ERROR
    )


_SAME: Final = {(dict, dict), (Set, Set), (list, list)}


def _contains(ctx: Context, whole: Value, part: Value) -> bool:
    pair = (whole.__class__, part.__class__)
    if pair == (dict, dict):
        members = few_charged(ctx, part.items())
        return all(key in whole and _contains(ctx, whole[key], value) for key, value in members)
    if pair == (Set, Set):
        ctx.charge(len(part))
        return part.members.keys() <= whole.members.keys()  # type: ignore[no-any-return]
    if pair == (list, list):
        return _has_run(list(frozen(ctx, whole)), list(frozen(ctx, part)))
    return equal(whole, part, ctx.charge)


def _has_run(whole: list[object], part: list[object]) -> bool:
    """True if `part` is a contiguous part of `whole`, in linear time (Knuth, Morris, Pratt)."""
    if not part:
        return True
    borders = [0] * len(part)
    matched = 0
    for i in range(1, len(part)):
        while matched and part[i] != part[matched]:
            matched = borders[matched - 1]
        matched += part[i] == part[matched]
        borders[i] = matched
    matched = 0
    for item in whole:
        while matched and item != part[matched]:
            matched = borders[matched - 1]
        matched += item == part[matched]
        if matched == len(part):
            return True
    return False


_OBJECT: Final = object_of(ANY, ANY)
_KEYS: Final = union(array_of(ANY), object_of(ANY, ANY), set_(ANY))

BUILTINS: Final = (
    Builtin("object.filter", FunctionType((_OBJECT, _KEYS), _OBJECT), filter_, context=True),
    Builtin(
        "object.get",
        FunctionType((_OBJECT, ANY, ANY), ANY),
        get,
        context=True,
        inline=InPlace("{0}.get({1}, {2})", (dict, str, None)),
    ),
    Builtin("object.keys", FunctionType((_OBJECT,), set_(ANY)), keys, context=True),
    Builtin("object.remove", FunctionType((_OBJECT, _KEYS), _OBJECT), remove, context=True),
    Builtin("object.subset", FunctionType((_KEYS, _KEYS), BOOLEAN), subset, context=True),
    Builtin("object.union", FunctionType((_OBJECT, _OBJECT), _OBJECT), union_, context=True),
    Builtin("object.union_n", FunctionType((array_of(_OBJECT),), _OBJECT), union_n, context=True),
)
