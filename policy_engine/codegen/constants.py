"""The table of constants that generated code uses.

INVARIANT: nothing in the text of generated code comes from a policy. Names are made of counters; every string, number,
location and collection reaches the code through `Constants`.
"""

from __future__ import annotations

from typing import Any, Final

from policy_engine.location import Location
from policy_engine.values import Key, Number, Set, Value

GLOBALS: Final = "bdegijklopstux"
"""The first letters of names in the namespace of generated code; a number follows. No local variable begins so."""


class Constants:
    """The objects that generated code refers to by name, each kept once."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        self._names: dict[object, str] = {}

    def value(self, value: Value) -> str:
        """The expression for a constant: a literal for the three singletons, a name for everything else."""
        if value is None or value is True or value is False:
            return repr(value)
        return self._add("k", ("value", _identity(value)), value)

    def loc(self, loc: Location) -> str:
        return self._add("l", ("loc", loc), loc)

    def named(self, prefix: str, key: object, item: object) -> str:
        """A name for an object of the engine's own (a builtin, a node, a path)."""
        return self._add(prefix, (prefix, key), item)

    def _add(self, prefix: str, key: object, item: object) -> str:
        name = self._names.get(key)
        if name is None:
            assert prefix in GLOBALS
            name = self._names[key] = f"{prefix}{len(self._names)}"
            self.namespace[name] = item
        return name


def _identity(value: Value) -> object:
    """A hashable that tells apart what equality does not: 1 from 1.0, and number texts."""
    cls = value.__class__
    if cls is list:
        return ("list", *map(_identity, value))
    if cls is dict:
        return ("dict", *((_identity(key), _identity(item)) for key, item in value.items()))
    if cls is Set:
        return ("set", *map(_identity, value.members))
    if cls is Key:
        return ("key", _identity(value.value))
    if cls is float or cls is Number:
        return (cls.__name__, repr(value))
    return (cls.__name__, value)
