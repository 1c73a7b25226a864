"""json.filter and json.remove: parts of a document by path. `json_patch` reads its paths in the same way.

A path is an array of keys, or JSON-pointer text ("a/b~1c"; a leading slash may be missing). Inside arrays these two
know elements by text only: ["a", "1"] names one, ["a", 1] does not.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from policy_engine.builtins.operands import charge_made, charged, few_charged, frozen, object_, operand_error, wrong
from policy_engine.builtins.table import Builtin, Context
from policy_engine.types import ANY, STRING, FunctionType, set_, union
from policy_engine.types import array as array_of
from policy_engine.types import object_ as object_of
from policy_engine.values import UNDEFINED, Set, Value, freeze, type_name

Tree: TypeAlias = dict[object, "Tree | None"]
"""Paths merged by their common beginnings, keys frozen; None ends a path."""


def segments(path: Value, name: str) -> list[Value]:
    """The keys of a path; none for the whole document."""
    if path.__class__ is list:
        return path
    if path.__class__ is str:
        parts = path.lstrip("/").split("/") if path else []
        return [part.replace("~1", "/").replace("~0", "~") for part in parts]
    operand_error(
        name,
        2,
        "must be one of {set, array} containing string paths or array of path segments but got " + type_name(path),
    )


def filter_(ctx: Context, document: Value, paths: Value) -> Value:
    """Only what the paths lead to. A scalar on the way is kept."""
    source = object_(document, "json.filter", 1)
    return _filtered(ctx, source, _tree(ctx, paths, "json.filter"))


def remove(ctx: Context, document: Value, paths: Value) -> Value:
    """All but what the paths lead to. Later elements of an array move up."""
    source = object_(document, "json.remove", 1)
    return _without(ctx, source, _tree(ctx, paths, "json.remove"))


def _tree(ctx: Context, paths: Value, name: str) -> Tree:
    if paths.__class__ is not list and paths.__class__ is not Set:
        wrong(name, 2, paths, "set", "array")
    root: Tree = {}
    for path in charged(ctx, paths):
        if path.__class__ is str:
            charge_made(ctx, len(path), ascii_only=False)
        keys = list(frozen(ctx, segments(path, name)))
        node: Tree | None = root
        for key in keys[:-1]:
            if node is None:  # a shorter path takes all of this already
                break
            node = node.setdefault(key, {})
        if keys and node is not None:
            node[keys[-1]] = None
    return root


def _filtered(ctx: Context, value: Value, tree: Tree | None) -> Value:
    if tree is None:
        return value
    cls = value.__class__
    if cls is dict:
        # OPA walks the longer of the two, so it is from there that a number's text (`1` or `1.0`) comes.
        longer = tree if len(value) < len(tree) else value
        names = few_charged(ctx, longer)
        return {key: _filtered(ctx, value[key], tree[key]) for key in names if key in value and key in tree}
    if cls is list:
        indexed = ((str(index), item) for index, item in enumerate(charged(ctx, value)))
        return [_filtered(ctx, item, tree[index]) for index, item in indexed if index in tree]
    if cls is Set:
        chosen = ((member, freeze(member, ctx.charge)) for member in value.sorted(ctx.charge))
        return Set(_filtered(ctx, member, tree[key]) for member, key in chosen if key in tree)
    return value


def _without(ctx: Context, value: Value, tree: Tree | None) -> Value:
    """`value` less the paths; `UNDEFINED` if it is itself the end of one."""
    if tree is None:
        return UNDEFINED
    cls = value.__class__
    if cls is dict:
        left = ((key, _less(ctx, item, tree, key)) for key, item in few_charged(ctx, value.items()))
        return {key: item for key, item in left if item is not UNDEFINED}
    if cls is list:
        elements = (_less(ctx, item, tree, str(index)) for index, item in enumerate(charged(ctx, value)))
        return [item for item in elements if item is not UNDEFINED]
    if cls is Set:
        members = (_less(ctx, member, tree, freeze(member, ctx.charge)) for member in value.sorted(ctx.charge))
        return Set(member for member in members if member is not UNDEFINED)
    return value


def _less(ctx: Context, value: Value, tree: Tree, key: object) -> Value:
    return _without(ctx, value, tree[key]) if key in tree else value


_OBJECT: Final = object_of(ANY, ANY)
_PATH: Final = union(STRING, array_of(ANY))
_PATHS: Final = union(array_of(_PATH), set_(_PATH))

BUILTINS: Final = (
    Builtin("json.filter", FunctionType((_OBJECT, _PATHS), _OBJECT), filter_, context=True),
    Builtin("json.remove", FunctionType((_OBJECT, _PATHS), _OBJECT), remove, context=True),
)
