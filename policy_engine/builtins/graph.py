"""Graphs as objects from a node to its neighbours, and `walk` over a whole document.

Nothing here recurses: documents and paths may be deeper than Python's stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from policy_engine import types as t
from policy_engine.builtins.operands import charged, object_, watched, wrong
from policy_engine.builtins.table import Builtin, Context
from policy_engine.values import UNDEFINED, Set, Value, freeze, sorted_items, type_name


def _start(ctx: Context, value: Value, name: str) -> list[Value]:
    if value.__class__ is not list and value.__class__ is not Set:
        wrong(name, 2, value, "{array, set}")
    return list(value.sorted(ctx.charge) if isinstance(value, Set) else value)


def _neighbours(ctx: Context, edges: Value) -> list[Value]:
    """The nodes that edges lead to; a value that is no array or set leads nowhere."""
    if edges.__class__ is list:
        return edges
    if edges.__class__ is Set:
        return edges.sorted(ctx.charge)
    type_name(edges)
    return []


def reachable(ctx: Context, graph: Value, initial: Value) -> Set:
    """The nodes of the graph that can be reached from the initial ones, these included."""
    edges = object_(graph, "graph.reachable", 1)
    queue = _start(ctx, initial, "graph.reachable")
    reached: dict[object, None] = {}
    for node in charged(ctx, queue):
        key = node if node.__class__ is str else freeze(node, ctx.charge)
        if key in reached or (found := edges.get(key, UNDEFINED)) is UNDEFINED:
            continue
        reached[key] = None
        queue += found if found.__class__ is list else _neighbours(ctx, found)
    ctx.charge(len(reached))
    return Set.of(reached)


def reachable_paths(ctx: Context, graph: Value, initial: Value) -> Set:
    """The paths from the initial nodes to where they end: at a dead end, before a missing node, or before a cycle."""
    edges = object_(graph, "graph.reachable_paths", 1)
    paths: dict[object, None] = {}
    for node in charged(ctx, _start(ctx, initial, "graph.reachable_paths")):
        first = freeze(node, ctx.charge)
        found = edges.get(first, UNDEFINED)
        if found is UNDEFINED:
            continue
        onward = _neighbours(ctx, found)
        if not onward:
            paths.setdefault(freeze([node]))
        # Each is a node to go to, the path to it, and the path's nodes.
        begin, passed = [node], frozenset((first,))
        pending = [(neighbour, begin, passed) for neighbour in charged(ctx, reversed(onward))]
        while pending:
            at, path, passed = pending.pop()
            # The number of paths can be exponential in the size of the graph.
            ctx.charge(4 + 2 * len(path))
            key = freeze(at, ctx.charge)
            found = edges.get(key, UNDEFINED)
            if found is UNDEFINED:
                paths.setdefault(freeze(path))
                continue
            path = [*path, at]
            passed = passed | {key}
            onward = _neighbours(ctx, found)
            ctx.charge(len(onward))
            ahead = [neighbour for neighbour in onward if freeze(neighbour, ctx.charge) not in passed]
            if not onward or len(ahead) < len(onward):
                paths.setdefault(freeze(path))
            pending.extend((neighbour, path, passed) for neighbour in reversed(ahead))
    return Set.of(paths)


def walk(ctx: Context, value: Value) -> Iterator[list[Value]]:
    """Every `[path, value]` in a document, each container before what it holds; a set's members are their own keys."""
    pending: list[tuple[list[Value], Value]] = [([], value)]
    seen = 0
    while pending:
        path, node = pending.pop()
        seen += 1
        if not seen % _WATCHED:
            ctx.look_at_clock()
        yield [path, node]
        cls = node.__class__
        if cls is list:
            children = list(enumerate(node))
        elif cls is dict:
            children = sorted_items(node, ctx.charge)
        elif cls is Set:
            children = [(member, member) for member in node.sorted(ctx.charge)]
        else:
            type_name(node)
            continue
        ctx.charge(len(children) * (1 + len(path) // 8))
        pending.extend(([*path, key], child) for key, child in watched(ctx, children[::-1]))


def walk_values(ctx: Context, value: Value) -> Iterator[Value]:
    """The values that `walk` finds, in its order, without their paths."""
    pending = [value]
    seen = 0
    while pending:
        node = pending.pop()
        seen += 1
        if not seen % _WATCHED:
            ctx.look_at_clock()
        yield node
        cls = node.__class__
        if cls is str or node is None or cls is int or cls is bool:
            continue
        if cls is list:
            children = node[::-1]
        elif cls is dict:
            children = (
                [node[name] for name in sorted(node, reverse=True)]
                if len(node) < _MANY and {*map(type, node)} <= _NAMES
                else [child for _, child in reversed(sorted_items(node, ctx.charge))]
            )
        elif cls is Set:
            children = node.sorted(ctx.charge)[::-1]
        else:
            type_name(node)
            continue
        if children:
            ctx.charge(len(children))
            pending += children


_WATCHED: Final = 4096
"""Parts of a document between two looks at the clock: all parts of one container are paid for at once."""
_NAMES: Final = frozenset({str})
_MANY: Final = 4096

_NODES: Final = t.union(t.array(t.ANY), t.set_(t.ANY))
_GRAPH: Final = t.object_(t.ANY, _NODES)

BUILTINS: Final = (
    Builtin("graph.reachable", t.FunctionType((_GRAPH, _NODES), t.set_(t.ANY)), reachable, context=True),
    Builtin(
        "graph.reachable_paths", t.FunctionType((_GRAPH, _NODES), t.set_(t.array(t.ANY))), reachable_paths, context=True
    ),
    Builtin("walk", t.FunctionType((t.ANY,), t.ArrayType((t.array(t.ANY), t.ANY))), walk, context=True, relation=True),
)
