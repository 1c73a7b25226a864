"""A quick look at whether a value fits a JSON Schema (draft 2020-12), for files with very many items.

Only a yes counts: it is never said of a value that the schema forbids. Anything that a look is not sure of (a keyword
that it does not know, a number that is no integer for Python) is a no, and then `jsonschema` judges and says what is
wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Fits = Callable[[Any], bool]

_ANNOTATIONS: Final = {"$schema", "$id", "v", "title", "description", "x-exactly-one"}

_KEYWORDS: Final[Mapping[object, frozenset[str]]] = {
    "string": frozenset({"type", "minLength", "maxLength"}),
    "integer": frozenset({"type", "minimum", "maximum"}),
    "boolean": frozenset({"type"}),
    "array": frozenset({"type", "items", "minItems"}),
    "object": frozenset({"type", "properties", "required", "additionalProperties", "oneOf"}),
}
"""Those that are known, by the type that a schema names."""

_WITHOUT_TYPE: Final = ({"enum"}, {"const"})


def compiled(schema: Any) -> Fits:
    """The look for one schema, whose references have been replaced by what they mean."""
    if not isinstance(schema, dict):
        return _never
    keywords = schema.keys() - _ANNOTATIONS
    if keywords in _WITHOUT_TYPE:
        return _one_of(schema["enum"] if "enum" in schema else [schema["const"]])
    kind = schema.get("type")
    if not isinstance(kind, str) or not keywords <= _KEYWORDS.get(kind, frozenset()):
        return _never
    match kind:
        case "string":
            return _between(str, len, schema.get("minLength", 0), schema.get("maxLength"))
        case "integer":
            return _between(int, int, schema.get("minimum"), schema.get("maximum"))
        case "boolean":
            return lambda value: type(value) is bool
        case "array":
            return _array(schema)
        case _:
            return _object(schema)


def _never(_value: Any) -> bool:
    return False


def _one_of(allowed: list[Any]) -> Fits:
    # With the type, because 1 is true for Python.
    pairs = {(type(each), each) for each in allowed if isinstance(each, str | int | bool)}
    return lambda value: isinstance(value, str | int) and (type(value), value) in pairs


def _between(kind: type, measure: Callable[[Any], int], low: int | None, high: int | None) -> Fits:
    """Of this very type (a boolean is no integer), and its measure within these limits, if there are any."""
    least = float("-inf") if low is None else low
    most = float("inf") if high is None else high
    return lambda value: type(value) is kind and least <= measure(value) <= most


def _array(schema: dict[str, Any]) -> Fits:
    item = compiled(schema["items"]) if "items" in schema else _never
    least = schema.get("minItems", 0)
    return lambda value: type(value) is list and len(value) >= least and all(map(item, value))


def _object(schema: dict[str, Any]) -> Fits:
    members = {name: compiled(each) for name, each in schema.get("properties", {}).items()}
    other = compiled(schema.get("additionalProperties", False))  # false is none, and what is left out is not known
    required = frozenset(schema.get("required", ()))
    alternatives = schema.get("oneOf")
    if alternatives is not None and any(each.keys() != {"required"} for each in alternatives):
        return _never
    choices = [frozenset(each["required"]) for each in alternatives or ()]

    def fits(value: Any) -> bool:
        if type(value) is not dict or not required <= value.keys():
            return False
        if alternatives is not None and sum(choice <= value.keys() for choice in choices) != 1:
            return False
        return all(members.get(name, other)(each) for name, each in value.items())

    return fits
