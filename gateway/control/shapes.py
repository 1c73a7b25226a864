"""JSON Schemas of what the control API answers, made from the records that it answers with."""

from __future__ import annotations

import functools
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter

Schema: TypeAlias = dict[str, Any]

TIME: Final[Schema] = {"type": "string", "format": "date-time"}

PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "What is wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable, for programs."},
        "detail": {"type": "string"},
        "hint": {"type": "string", "description": "What to do."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "A member of the body, as a JSON pointer."},
                    "parameter": {"type": "string"},
                    "line": {"type": "integer", "description": "Of a fleet file, as its sender counts."},
                    "message": {"type": "string"},
                },
                "required": ["message"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["type", "title", "status", "code", "detail"],
    "additionalProperties": False,
}


def closed(properties: Schema) -> Schema:
    """An object with these members and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


@functools.cache
def _record(kind: type) -> Schema:
    return _renamed(inlined(TypeAdapter(kind).json_schema(mode="serialization")))  # type: ignore[no-any-return]


def inlined(schema: Schema) -> Schema:
    """The schema with its definitions in their places, and without titles."""
    definitions = schema.pop("$defs", {})

    def inline(value: Any, *, names: bool = False) -> Any:
        if isinstance(value, list):
            return [inline(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inline(definitions[value["$ref"].rpartition("/")[2]])
        return {
            name: inline(each, names=name == "properties") for name, each in value.items() if names or name != "title"
        }

    found: Schema = inline(schema)
    return found


def record(kind: type, *without: str, **more: Schema) -> Schema:
    """The schema of a record as `documents.plain` makes it, without some members and with others."""
    schema = _record(kind)
    properties = {name: each for name, each in schema["properties"].items() if name not in without} | more
    return closed(properties)


def with_lists(schema: Schema, *names: str) -> Schema:
    """The schema of a record that may have these lists of names as well."""
    lists = {name: {"type": "array", "items": {"type": "string"}} for name in names}
    return schema | {"properties": schema["properties"] | lists}


def page(items: Schema) -> Schema:
    """A page of a list of these."""
    following = {"type": ["string", "null"], "description": "The cursor of the next page; null on the last one."}
    return closed({"items": {"type": "array", "items": items}, "next": following})


def _renamed(schema: Any) -> Any:
    """Names without `_ns`, which are times; every member of a record is there, and no others; nothing is described."""
    if isinstance(schema, list):
        return [_renamed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    left = ("default", "description", "properties", "required")
    found = {name: _renamed(value) for name, value in schema.items() if name not in left}
    if "properties" in schema:
        properties = {}
        for name, value in schema["properties"].items():
            if name.endswith("_ns"):
                properties[name.removesuffix("_ns")] = or_null(TIME) if "anyOf" in value else TIME
            else:
                properties[name] = _renamed(value)
        found |= closed(properties)
    return found
