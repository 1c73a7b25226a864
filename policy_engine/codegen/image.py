"""Generated code as plain data, and back: a cache keeps an image for each entry point.

An image consists of what `marshal` can write: code objects, and constants taken apart into tuples with a tag in front.
Builtins, functions and nodes are kept by name and looked up when the image is restored. Restoring runs nothing of the
image. Functions that have not been compiled yet stay so (see functions.py). One of several alike is compiled and the
others are kept as names (see shapes.py); any other is kept as its source.

No image holds a hash. Each process draws the modulus of its hashes (`values`), so sets and keys are written as their
values and hashed anew when they are restored.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import Any, Final

from policy_engine.builtins.table import Builtin
from policy_engine.codegen.context import Code, DataNode, Query
from policy_engine.codegen.functions import Functions, codes_of, late, remembered
from policy_engine.codegen.metering import callee, of_query
from policy_engine.codegen.namespace import NAMESPACE
from policy_engine.codegen.shapes import FunctionPattern, Shape, pattern, shape_of
from policy_engine.codegen.shapes import Key as ShapeKey
from policy_engine.codegen.unit import Unit
from policy_engine.location import Location
from policy_engine.values import Key, Number, Set, freeze

Image = tuple[Any, ...]
Entry = Callable[[Query], Any]

_PLAIN: Final = frozenset({type(None), bool, int, float, str})
_ENTRY: Final = "entry"


class UnstorableError(Exception):
    """Generated code refers to something that no image can hold."""


def snapshot(unit: Unit, entry: Entry) -> Image:
    """All of a unit's code, and which function of it to call. Raises `UnstorableError`."""
    waiting, patterns = _waiting(unit.functions.waiting_texts())  # first, because it may add constants
    writer = _Writer(unit)
    code: list[tuple[str, CodeType | _Waiting]] = []
    constants: list[tuple[str, Any]] = []
    for name, item in unit.namespace.items():
        if isinstance(item, FunctionType) and item.__globals__ is unit.namespace:
            code.append((name, waiting.get(name, item.__code__)))
        elif name not in NAMESPACE and name != "__builtins__":
            constants.append((name, writer.written(item)))
    assert isinstance(entry, FunctionType)
    name = entry.__name__
    if unit.namespace.get(name) is not entry:
        name = _ENTRY
        code.append((name, entry.__code__))
    nodes = [writer.node(node) for node in unit.names.nodes.values()]
    mocks = [(name, unit.program.functions[name].number) if name in unit.program.functions else (name, None)
             for name in unit.names.mock_slots]  # fmt: skip
    return name, unit.code.slots, patterns, code, nodes, constants, mocks


_Waiting = str | tuple[int, tuple[str, ...]]
"""A function that has not been compiled: its source, or the number of its pattern and its names."""
_Pattern = tuple[CodeType, tuple[str, ...]]
_FILE: Final = "<policy>"
"""The file name in tracebacks of code whose source has not been kept."""


def _waiting(texts: Iterable[tuple[str, str]]) -> tuple[dict[str, _Waiting], list[_Pattern]]:
    """The functions that have not been compiled yet, as an image keeps them, and the patterns that they refer to.

    There may be many: at most one text of each kind is kept.
    """
    found: dict[str, _Waiting] = {}
    patterns: list[_Pattern] = []
    kinds: dict[ShapeKey, str | int | None] = {}  # the first function of a kind, then the pattern's number, if any
    for name, text in texts:
        shape = shape_of(text)
        kind = kinds.setdefault(shape.key, name)
        if isinstance(kind, str) and kind != name:
            first = found[kind]
            assert isinstance(first, str)
            names = shape_of(first).names
            (code,) = codes_of(first, _FILE)
            number = None if pattern(code, Shape(shape.key, names)) is None else len(patterns)
            if number is not None:
                patterns.append((code, names))
                found[kind] = number, names
            kinds[shape.key] = kind = number
        found[name] = (kind, tuple(map(sys.intern, shape.names))) if isinstance(kind, int) else text
    return found, patterns


def restore(image: Image, builtins: Mapping[str, Builtin]) -> tuple[Code, Entry]:
    """The code of an image, and the function to call. `builtins` are those of the unit."""
    name, slots, patterns, functions, nodes, constants, mocks = image
    namespace: dict[str, Any] = {"__builtins__": {}, **NAMESPACE}
    owner = Functions(namespace)
    known = [FunctionPattern(*item) for item in patterns]
    for function, item in functions:
        if isinstance(item, CodeType):
            owner.install(function, item)
        elif isinstance(item, str):
            owner.stand_in(function, item)
        else:
            owner.stand_in(function, partial(known[item[0]].code, item[1], _FILE, 1))
    reader = _Reader(namespace, builtins)
    reader.add_nodes(nodes)
    for constant, written in constants:
        namespace[constant] = reader.value(written)
    code = Code()
    code.slots = slots
    code.fns = tuple(
        [of_query(builtins[mock]) if group is None else late(namespace, f"g{group}") for mock, group in mocks]
    )
    return code, namespace[name]


class _Writer:
    """Takes constants apart."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.builtins = {id(callee(builtin)[0]): name for name, builtin in unit.program.builtins.items()}

    def written(self, item: Any) -> Any:
        cls = item.__class__
        if cls in _PLAIN:
            return item
        if cls is Location:
            return ("l", *item)
        if cls is tuple and item and all(map(self._is_own, item)):
            return "functions", tuple([part.__name__ for part in item])
        if cls is tuple or cls is list or cls is frozenset:
            return (cls.__name__, [self.written(part) for part in item])
        if cls is dict:
            return "dict", [(self.written(key), self.written(value)) for key, value in item.items()]
        if cls is Set:
            return "set", [self.written(member) for member in item.members]
        if cls is Key:
            return "key", self.written(item.value)
        if cls is Number:
            return "number", item.text
        if cls is DataNode:
            return "node", item.number
        if self._is_own(item):
            return "function", item.__name__
        if id(item) in self.builtins:
            return "builtin", self.builtins[id(item)]
        raise UnstorableError(f"generated code refers to {item!r}")

    def _is_own(self, item: Any) -> bool:
        return item.__class__ is FunctionType and item.__globals__ is self.unit.namespace

    def node(self, node: DataNode) -> tuple[Any, ...]:
        children = [(self.written(key), child.number) for key, child in node.children.items()]
        return node.number, self.written(node.path), node.is_function, self.unit.names.rules.get(node.number), children


class _Reader:
    """Puts constants together."""

    def __init__(self, namespace: dict[str, Any], builtins: Mapping[str, Builtin]) -> None:
        self.namespace = namespace
        self.nodes: dict[int, DataNode] = {}
        self.builtins = builtins

    def add_nodes(self, written: list[tuple[Any, ...]]) -> None:
        for number, path, is_function, rule, _ in written:
            node = self.nodes[number] = DataNode(number, self.value(path))
            node.is_function = is_function
            if rule is not None:
                node.rule = remembered(self.namespace, *rule)
        for number, _, _, _, children in written:
            self.nodes[number].children = {self.value(key): self.nodes[child] for key, child in children}

    def value(self, written: Any) -> Any:
        if written.__class__ is not tuple:
            return written
        kind = written[0]
        if kind == "l":
            return Location._make(written[1:])
        content = written[1]
        if kind == "functions":
            return tuple([self.namespace[name] for name in content])
        match kind:
            case "tuple":
                return tuple([self.value(item) for item in content])
            case "list":
                return [self.value(item) for item in content]
            case "frozenset":
                return frozenset([self.value(item) for item in content])
            case "dict":
                return {self.value(key): self.value(value) for key, value in content}
            case "set":
                return Set.of(dict.fromkeys([self.value(item) for item in content]))
            case "key":
                return freeze(self.value(content))
            case "number":
                return Number(content)
            case "node":
                return self.nodes[content]
            case "function":
                return self.namespace[content]
            case "builtin":
                return callee(self.builtins[content])[0]
        raise AssertionError(f"an image has no constants of kind {kind}")
