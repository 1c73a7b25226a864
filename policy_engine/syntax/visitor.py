"""Walking and rebuilding trees, the same way for every node class.

`children`, `walk` and `depth` do not recurse and work on any tree; `transform` recurses and relies on the parser's
limit of depth. The fields of a class that can hold nodes are computed once, from the dataclasses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Node

_ABSTRACT = (Node, nodes.Collection)
_LEAVES = {nodes.Scalar, nodes.Var, nodes.Package, nodes.Comment}
_WITHOUT_NODES = frozenset((
    "loc", "raw", "infix", "negated", "assign", "default", "alias", "comments", "constant", "flat",
))  # fmt: skip


def _fields(cls: type[Node]) -> tuple[str, ...]:
    if cls in _LEAVES:
        return ()
    return tuple(field.name for field in dataclasses.fields(cls) if field.name not in _WITHOUT_NODES)


FIELDS: dict[type, tuple[str, ...]] = {
    cls: _fields(cls)
    for cls in vars(nodes).values()
    if isinstance(cls, type) and issubclass(cls, Node) and cls not in _ABSTRACT
}
"""Class → the fields that hold nodes, or tuples of them however nested, in the order of the text.

A module's comments are not among them: they stand beside the tree, not in it.
"""


def children(node: Node) -> list[Node]:
    """The nodes directly below, in the order of the text."""
    found: list[Node] = []
    for name in FIELDS[node.__class__]:
        value = getattr(node, name)
        if value.__class__ is tuple:
            _collect(value, found)
        elif value is not None:
            found.append(value)
    return found


def _collect(values: tuple[Any, ...], found: list[Node]) -> None:
    for value in values:
        if isinstance(value, Node):
            found.append(value)
        elif value.__class__ is tuple:  # a pair of an object, a body of an operand
            _collect(value, found)


def walk(node: Node) -> Iterator[Node]:
    """`node` and everything below it, parents first, in the order of the text."""
    pending = [node]
    while pending:
        node = pending.pop()
        yield node
        if FIELDS[node.__class__]:
            pending.extend(reversed(children(node)))


def depth(node: Node) -> int:
    """The number of nodes on the longest path down from `node`, itself included."""
    level = [node]
    deep = 0
    while level:
        deep += 1
        level = [child for parent in level for child in children(parent)]
    return deep


def transform(node: Node, change: Callable[[Node], Node]) -> Any:
    """The tree with every node replaced by what `change` makes of it, from the leaves up.

    `change` returns its argument to keep a node. Unchanged parts are shared with the old tree. New nodes get the
    location of the nodes that they replace, unless they have their own.
    """
    values = {}
    for name in FIELDS[node.__class__]:
        old = getattr(node, name)
        new = _transform(old, change)
        if new is not old:
            values[name] = new
    return change(dataclasses.replace(node, **values) if values else node)


def _transform(value: Any, change: Callable[[Node], Node]) -> Any:
    if isinstance(value, Node):
        return transform(value, change)
    if value.__class__ is tuple:
        new = tuple([_transform(item, change) for item in value])
        return new if any(a is not b for a, b in zip(new, value, strict=True)) else value
    return value
