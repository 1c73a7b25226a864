"""The types of documents: a tree that mirrors `data` and `input`, and layers that a `with` puts over it.

This is OPA's TypeEnv (v1/ast/env.go) without variables. Base data has no types: it may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from policy_engine.compiler.typecheck import algebra
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Term
from policy_engine.types import ANY, STRING, UNKNOWN, Any_, ObjectType, SetType, Type
from policy_engine.values import freeze, thaw

Path = tuple[object, ...]
"""Steps below a root in frozen form; `UNKNOWN` is a step that is not constant."""


class DocumentNode:
    """A node of a tree of documents. Without a type it is a package or a part of a path."""

    __slots__ = ("_extent", "children", "type")

    def __init__(self) -> None:
        self.children: dict[object, DocumentNode] = {}
        self.type: Type | None = None
        self._extent: ObjectType | None = None

    def child(self, step: Term) -> DocumentNode | None:
        """The node that a constant step of a reference leads to."""
        if isinstance(step, nodes.Scalar):
            return self.children.get(freeze(step.value))
        constant = constant_value(step)
        return self.children.get(freeze(constant[0])) if constant is not None else None

    def extent(self) -> Type:
        """The type of the document at this node. Base documents may lie beside those of rules."""
        if self.type is not None:
            return self.type
        if self._extent is None:
            parts = [(key, node.extent()) for key, node in self.children.items() if _shows(key)]
            self._extent = algebra.object_type(parts, (STRING, ANY))
        return self._extent

    def walk(self, path: Path) -> Iterator[DocumentNode]:
        """The nodes on a path, created where missing. Invalidates their extents."""
        node = self
        for step in path:
            node._extent = None
            following = node.children.get(step)
            if following is None:
                following = node.children[step] = DocumentNode()
            node = following
            yield node
        node._extent = None

    def put(self, path: Path, type_: Type) -> None:
        """Set the type at a path."""
        *_, node = self.walk(path)
        node.type = type_

    def leaves(self) -> Iterator[tuple[Path, Type]]:
        """The paths of the documents below this node, and their types."""
        for key, child in self.children.items():
            if child.type is not None:
                yield (key,), child.type
            else:
                yield from (((key, *path), type_) for path, type_ in child.leaves())

    def insert(self, path: Path, type_: Type) -> None:
        """Merge a rule's type with those of other rules at its path, and into enclosing objects."""
        node = self
        for number, node in enumerate(self.walk(path), 1):
            if isinstance(node.type, ObjectType) and number < len(path):
                node.type = _with_part(node.type, path[number:], type_)
        if node.type is ANY:
            return  # another rule of this path has an error
        node.type = type_ if node.type is None else merge(node.type, type_)
        if isinstance(type_, ObjectType):
            for below, part in node.leaves():
                if isinstance(node.type, ObjectType):
                    node.type = _with_part(node.type, below, part)


def _shows(key: object) -> bool:
    """True if a step of a path is a property: strings, numbers and booleans are."""
    return key.__class__ is str or (key is not UNKNOWN and thaw(key) is not None)


def _with_part(whole: ObjectType, path: Path, type_: Type) -> ObjectType:
    """An object type, with a value of a type somewhere below it."""
    value = type_ if len(path) == 1 else _with_part(ObjectType(), path[1:], type_)
    key = algebra.of_key(path[0])
    if whole.dynamic is not None:
        key, value = algebra.either(whole.dynamic[0], key), algebra.either(whole.dynamic[1], value)
    return ObjectType(whole.static, (key, value))


def merge(a: Type, b: Type) -> Type:
    """The type of a document that two rules define together."""
    if a is b:
        return a
    if isinstance(a, Any_) and not isinstance(b, Any_):
        a, b = b, a
    if isinstance(a, SetType) and isinstance(b, SetType):
        return SetType(algebra.either(a.of, b.of))
    if isinstance(a, ObjectType) and not a.static and a.dynamic is not None:
        if isinstance(b, ObjectType) and not b.static and b.dynamic is not None:
            return ObjectType((), (algebra.either(a.dynamic[0], b.dynamic[0]), merge(a.dynamic[1], b.dynamic[1])))
        if isinstance(b, Any_):
            for number, item in enumerate(b.of):
                if isinstance(item, ObjectType) and not item.static and item.dynamic is not None:
                    key = algebra.either(item.dynamic[0], a.dynamic[0])
                    value = algebra.either(item.dynamic[1], a.dynamic[1])
                    return Any_((*b.of[:number], ObjectType((), (key, value)), *b.of[number + 1 :]))
    return algebra.either(a, b)


def along(type_: Type, path: tuple[Term, ...]) -> Type:
    """The type at a path below a value; a step that is not constant may select any value."""
    for step in path:
        if type_ is ANY or type_ is UNKNOWN:
            return type_
        if isinstance(step, nodes.Scalar):
            type_ = algebra.select(type_, algebra.key_of(step.value))
        else:
            type_ = algebra.values(type_)
    return type_


class Documents:
    """Layers of trees with `data` and `input` at their roots; types in upper layers hide those below."""

    __slots__ = ("layers",)

    def __init__(self, *layers: DocumentNode) -> None:
        self.layers = layers

    def under(self, layer: DocumentNode) -> Documents:
        """These documents with another layer above."""
        return Documents(layer, *self.layers)

    def roots(self, root: str) -> list[DocumentNode]:
        """The layers' nodes of `data` or `input`."""
        return [layer.children[root] for layer in self.layers if root in layer.children]

    def packages(self, path: Path) -> int:
        """The number of steps of a path that lead to packages, which are nodes without a type."""
        return max(_packages(layer, path) for layer in self.layers)

    def find(self, root: str, path: tuple[Term, ...]) -> Type:
        """The type of a reference; any type if no rule or schema defines it."""
        for node in self.roots(root):
            found = _find(node, path)
            if found is not None:
                return found
        return ANY


def _packages(node: DocumentNode, path: Path) -> int:
    for number, step in enumerate(path):
        following = node.children.get(step)
        if following is None or following.type is not None:
            return number
        node = following
    return len(path)


def _find(node: DocumentNode, path: tuple[Term, ...]) -> Type | None:
    """The type of a reference in one layer; None if the layer does not define it."""
    for number, step in enumerate(path):
        constant = isinstance(step, nodes.Scalar) or constant_value(step) is not None
        following = node.child(step) if constant else None
        if following is None:
            if node.type is not None:
                return along(node.type, path[number:])
            return None if constant else along(node.extent(), path[number:])
        node = following
    return node.extent()
