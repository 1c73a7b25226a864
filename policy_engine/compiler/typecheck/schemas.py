"""The type of a JSON Schema, as far as OPA reads schemas (v1/ast/compile.go, schemaParser).

It reads `type`, `properties`, `items`, `anyOf`, `allOf`, `$ref` and `definitions`. Of several types the first of
boolean, string, number, object, array counts; `null`, `enum`, `oneOf` and the rest are ignored. An object with
properties has no others, whatever `additionalProperties` says; an object without properties may have any, of any type:
the schema of the values of a map is not checked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from policy_engine.builtins.json_schema.compiler import Schema, compile_schema
from policy_engine.builtins.json_schema.references import SchemaError
from policy_engine.compiler.typecheck import algebra
from policy_engine.types import (
    ANY,
    BOOLEAN,
    NUMBER,
    STRING,
    UNKNOWN,
    ArrayType,
    ObjectType,
    Recursive,
    Type,
    array,
    object_,
)
from policy_engine.values import Value, to_json


def type_of(document: Value) -> Type:
    """The type of a document that the schema allows. Raises `SchemaError`."""
    try:
        # References are resolved by the identity of parts, so the document must be a copy of our own.
        schema = compile_schema(to_json(document), lambda _: None, validates=False)
    except SchemaError as error:
        raise SchemaError(f"unable to compile the schema: {error}") from None
    except RecursionError:
        raise SchemaError("unable to compile the schema: it is nested too deeply") from None
    try:
        return _Reader().type(schema)
    except SchemaError as error:
        raise SchemaError(f"type checking: {error}") from None


_LARGEST: Final = 100_000
"""The largest number of parts of a type, with references expanded."""


class _Reader:
    """Reads one schema document, the target of each reference once."""

    def __init__(self) -> None:
        self.types: dict[str, Type] = {}
        """The types of references, by their names."""
        self.known: dict[int, str] = {}
        """The names of references, by the identity of their targets."""
        self.open: frozenset[str] = frozenset()
        """The references being read without an object or array around them; they would refer only to themselves."""
        self.size = 0
        self.sizes: dict[str, int] = {}
        """The sizes of the types of references."""

    def inner(self, schema: Schema) -> Type:
        """The type of a property or an item."""
        around, self.open = self.open, frozenset()
        found = self.type(schema)
        self.open = around
        return found

    def grow(self, parts: int) -> None:
        self.size += parts
        if self.size > _LARGEST:
            raise SchemaError("the schema stands for too large a type")

    def type(self, schema: Schema) -> Type:
        self.grow(1)
        if schema.target is not None:
            # The target of a reference is a schema with only a target.
            return self.referenced(schema.target, schema.reference) if schema.reference else self.type(schema.target)
        if schema.any_of:
            return self.any_of(schema)
        if schema.all_of:
            return self.type(_all_of(schema))
        for name, type_ in _SCALARS:
            if name in schema.types:
                return type_
        if "object" in schema.types or (schema.properties and "array" not in schema.types):
            properties = [(name, self.inner(item)) for name, item in schema.properties.items()]
            return algebra.object_type([*properties], None) if properties else object_()
        if "array" in schema.types or _items(schema):
            if schema.each_item is not None:
                return array(self.inner(schema.each_item))
            return (
                ArrayType(tuple([self.inner(item) for item in schema.first_items]))
                if schema.first_items
                else array(ANY)
            )
        return ANY

    def referenced(self, target: Schema, reference: str) -> Type:
        name = self.known.setdefault(id(target), reference)
        if name in self.open:
            return ANY
        if name in self.types:
            self.grow(self.sizes.get(name, 1))
            return self.types[name]
        # A reference to itself stands for the type until it is complete.
        self.types[name] = Recursive(name, self.types)
        around, self.open = self.open, self.open | {name}
        before = self.size
        self.types[name] = self.type(target)
        self.sizes[name] = self.size - before
        self.open = around
        return self.types[name]

    def any_of(self, schema: Schema) -> Type:
        result: Type = UNKNOWN
        if schema.types:
            own = self.type(replace(schema, any_of=[]))
            if isinstance(own, ObjectType) and own.dynamic is None:
                result = own
        for item in schema.any_of:
            result = algebra.either(self.type(item), result)
        return result


_SCALARS: Final = (("boolean", BOOLEAN), ("string", STRING), ("integer", NUMBER), ("number", NUMBER))


def _all_of(schema: Schema) -> Schema:
    """The schema that merges `allOf` with the keywords beside it."""
    merged = _merge(schema.all_of)
    if schema.types:
        if any(name in schema.types and name in merged.types for name in ("object", "array")):
            return _merge([merged, schema])
        if _shown(schema) != _shown(merged):
            raise SchemaError("unable to merge these schemas")
    return merged


def _merge(schemas: list[Schema]) -> Schema:
    """Merge the properties and items of schemas of the same types; everything else is the first schema's."""
    first, *others = map(_typed, schemas)
    for other in others:
        if _shown(first) != _shown(other):
            types = f"{_shown(first)} and {_shown(other)}"
            raise SchemaError(f"unable to merge these schemas: type mismatch: {types}")
        if "object" in first.types and first.properties and other.properties:
            first = replace(first, properties={**other.properties, **first.properties})
        elif "array" in first.types and _items(first) and _items(other):
            first = _merge_items(first, _items(other))
    return first


def _merge_items(first: Schema, others: list[Schema]) -> Schema:
    items = [*_items(first), *others[len(_items(first)) :]]
    if any(_shown(item) != _shown(other) for item, other in zip(items, others, strict=False)):
        raise SchemaError("unable to merge these schemas")
    return first if first.each_item is not None else replace(first, first_items=items)


def _typed(schema: Schema) -> Schema:
    """A schema with the type that its properties or items imply."""
    implied = "object" if schema.properties else "array" if _items(schema) else ""
    return replace(schema, types=[*schema.types, implied]) if implied and implied not in schema.types else schema


def _items(schema: Schema) -> list[Schema]:
    return schema.first_items if schema.each_item is None else [schema.each_item]


def _shown(schema: Schema) -> str:
    """The types that a schema names, as an error shows them."""
    if not schema.types:
        return "undefined"
    return schema.types[0] if len(schema.types) == 1 else f"[{','.join(schema.types)}]"
