"""The values that a part of the input can have by its JSON Schema: the abstract values of `impossible.py`.

A *domain* is a tuple of alternatives; an empty one has no value at all. `ANYTHING` is the domain of what is not known.
A schema is read as far as it excludes values (`type`, `properties`, `items`, `enum`, `const`, `pattern`, bounds of
numbers, `$ref`, `oneOf`, `anyOf`); every other keyword, and a schema without a type, leaves a part open. So does the
type `null` alone: such a part is reserved.

Two annotations are read as well: `x-known` lists the names that a host gives itself. Any other value has to match
`x-other`, where that is given, and must not be so like a known name, part by part, that it is one misspelt.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from policy_engine.values import Set, Value, equal, freeze, thaw


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """One value, which the policies or their data have."""

    value: Value


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """The values of a schema, whose references have been followed."""

    schema: Mapping[str, Any]
    root: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """An array or a set whose members are of a domain, as a comprehension makes them."""

    of: Domain


Alternative: TypeAlias = Constant | Described | Collected
Domain: TypeAlias = tuple[Alternative, ...] | None
ANYTHING: Final[Domain] = None

_TYPES: Final = ("null", "boolean", "number", "string", "array", "object", "set")
_SIMILAR: Final = 0.8
_ALIKE: Final = 0.85
"""Stricter, because names of the host's operators may be like those of the host."""


def constant(value: Value) -> Domain:
    return (Constant(value),)


def described(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Domain:
    """The domain of a schema inside of a whole one, in which its references lead to their targets."""
    while "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        schema = target
    if choices := schema.get("oneOf") or schema.get("anyOf"):
        return union(described(each, root) for each in choices)
    if not schema.keys() & {"type", "enum", "const", "properties"} or schema.get("type") == "null":
        return ANYTHING  # nothing is said of it, or it is kept free for what is not there yet
    return (Described(schema, root),)


def union(domains: Iterator[Domain]) -> Domain:
    """The values of several domains."""
    found: list[Alternative] = []
    for each in domains:
        if each is None:
            return ANYTHING
        found += each
    return tuple(found)


def is_given(domain: Domain) -> bool:
    """True if a schema describes part of a domain, so that it is not from the policies alone."""
    return domain is not None and any(isinstance(each, Described) for each in domain)


def select(domain: Domain, key: Value) -> Domain:
    """The domain of the values at a key."""
    return ANYTHING if domain is None else union(_select(each, key) for each in domain)


def _select(one: Alternative, key: Value) -> Domain:
    if isinstance(one, Collected):
        return one.of
    if isinstance(one, Constant):
        return _select_constant(one.value, key)
    types = types_of(one)
    found: Domain = ()
    if "array" in types and key.__class__ is int and key >= 0:
        found = _items(one)
    if "object" in types and key.__class__ is str:
        members = one.schema.get("properties", {})
        inner = members[key] if key in members else one.schema.get("additionalProperties", True)
        if inner is not False:
            below = ANYTHING if inner is True else described(inner, one.root)
            found = ANYTHING if found is None or below is None else (*found, *below)
    return found


def _select_constant(value: Value, key: Value) -> Domain:
    if isinstance(value, dict):
        place = freeze(key)
        return constant(value[place]) if place in value else ()
    if isinstance(value, list):
        return constant(value[key]) if key.__class__ is int and 0 <= key < len(value) else ()
    return constant(key) if isinstance(value, Set) and any(equal(key, each) for each in value) else ()


def iterate(domain: Domain) -> Domain:
    """The domain of the values at any key: the members of arrays and sets, the values of objects."""
    return ANYTHING if domain is None else union(map(_iterate, domain))


def _iterate(one: Alternative) -> Domain:
    if isinstance(one, Collected):
        return one.of
    if isinstance(one, Constant):
        value = one.value
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | Set) else ()
        return tuple(map(Constant, inner))
    types, found = types_of(one), [_items(one)] if "array" in types_of(one) else []
    if "object" in types:
        rest = one.schema.get("additionalProperties", True)
        found += [described(each, one.root) for each in one.schema.get("properties", {}).values()]
        found += [] if rest is False else [ANYTHING if rest is True else described(rest, one.root)]
    return union(iter(found))


def _items(one: Described) -> Domain:
    return described(one.schema["items"], one.root) if "items" in one.schema else ANYTHING


def types_of(one: Alternative) -> frozenset[str]:
    """The types that the values of an alternative can have; all where that is open."""
    if isinstance(one, Constant):
        return frozenset((type_of(one.value),))
    if isinstance(one, Collected):
        return frozenset(("array", "set"))
    schema = one.schema
    if "const" in schema or "enum" in schema:
        return frozenset(map(type_of, schema["enum"] if "enum" in schema else [schema["const"]]))
    named = schema.get("type", "object" if "properties" in schema else _TYPES)
    listed = [named] if isinstance(named, str) else named
    return frozenset("number" if name == "integer" else name for name in listed)


def type_of(value: Value) -> str:
    """The name of a value's type, as `type_name` gives it."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case Set():
            return "set"
        case _:
            return "number"


def types(domain: Domain) -> frozenset[str]:
    """The types that the values of a domain can have."""
    return frozenset(_TYPES) if domain is None else frozenset().union(*map(types_of, domain))


def admits(domain: Domain, value: Value) -> bool:
    """True if a value can be of a domain, as far as that is known."""
    return domain is None or any(_admits(each, value) for each in domain)


def _admits(one: Alternative, value: Value) -> bool:
    if isinstance(one, Constant):
        return equal(one.value, value)
    if type_of(value) not in types_of(one):
        return False
    if isinstance(one, Collected):
        return True
    schema = one.schema
    if "const" in schema or "enum" in schema:
        return any(equal(value, each) for each in (schema["enum"] if "enum" in schema else [schema["const"]]))
    if isinstance(value, str):
        return _admits_text(schema, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))


def _admits_text(schema: Mapping[str, Any], text: str) -> bool:
    known = schema.get("x-known")
    if known is None:
        return re.search(schema.get("pattern", ""), text) is not None
    if text in known:
        return True
    other = schema.get("x-other")
    return other is not None and re.search(other, text) is not None and not _misspelt(text, known)


def _misspelt(text: str, known: list[str]) -> bool:
    """True if a text is like a known name in each of its parts, which dots separate."""
    parts = text.split(".")
    return any(len(theirs := each.split(".")) == len(parts) and all(map(_alike, parts, theirs)) for each in known)


def _alike(one: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, one, other).ratio() >= _ALIKE


def similar(text: str, known: Iterator[str] | list[str]) -> list[str]:
    """The known name, if any, that a text was probably meant to be."""
    return difflib.get_close_matches(text, list(known), 1, _SIMILAR)


def names(domain: Domain) -> list[str]:
    """The names of the members that the objects of a domain can have; none where they are open."""
    found: dict[str, None] = {}
    for each in domain or ():
        if isinstance(each, Described):
            found.update(dict.fromkeys(each.schema.get("properties", ())))
        elif isinstance(each, Constant) and isinstance(each.value, dict):
            found.update({key: None for key in map(thaw, each.value) if isinstance(key, str)})
    return list(found)


def texts(domain: Domain) -> list[str]:
    """The texts that a domain lists: those of enumerations, and known names."""
    found: list[str] = []
    for each in domain or ():
        if isinstance(each, Described):
            listed = each.schema.get("enum") or each.schema.get("x-known") or [each.schema.get("const")]
            found += [one for one in listed if isinstance(one, str)]
        elif isinstance(each, Constant) and isinstance(each.value, str):
            found.append(each.value)
    return found


def bounds(domain: Domain) -> tuple[float, float]:
    """The lowest and the highest number that a domain of numbers has."""
    low, high = float("inf"), float("-inf")
    for each in domain or ():
        if isinstance(each, Constant):
            return float("-inf"), float("inf")
        schema = each.schema if isinstance(each, Described) else {}
        low, high = min(low, schema.get("minimum", float("-inf"))), max(high, schema.get("maximum", float("inf")))
    return low, high


def pattern(domain: Domain) -> str:
    """The pattern of a domain of texts, if it has one."""
    schemas = [each.schema for each in domain or () if isinstance(each, Described)]
    return str(schemas[0].get("pattern", "")) if len(schemas) == 1 else ""
