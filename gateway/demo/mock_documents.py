"""A small document that a JSON Schema allows: for arguments of tools and for answers that must follow a schema.

It knows what the schemas of tools use: types, `enum`, `const`, properties, items, alternatives, local `$ref`s, bounds
and the common formats. It ignores keywords that it does not know, such as `pattern`.
"""

from __future__ import annotations

import math
from typing import Any

# Beyond this depth optional properties are left out and alternatives that end are taken, so that recursion ends.
_DEEP = 5
_DEEPEST = 30
_MOST = 10_000  # items or characters, whatever a schema demands

_FORMATS = {
    "date-time": "2024-01-01T00:00:00Z",
    "date": "2024-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "mock@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: Any) -> Any:
    """A document for this schema; the same schema always gets the same one."""
    return _make(schema, schema, 0)


def _make(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None
    if isinstance(reference := schema.get("$ref"), str):
        return _make(_target(reference, root), root, depth + 1)
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if isinstance(values := schema.get("enum"), list) and values:
        return values[0]
    for name in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(name), list) and options:
            return _make(_option(options, depth), root, depth + 1)
    if isinstance(parts := schema.get("allOf"), list) and parts:
        merged = [_make(part, root, depth + 1) for part in [*parts, {**schema, "allOf": None}]]
        objects = [each for each in merged if isinstance(each, dict)]
        return {name: value for each in objects for name, value in each.items()} if objects else merged[0]
    return _of_type(schema, root, depth)


def _of_type(schema: dict[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            return _object(schema, root, depth)
        case "array":
            first = schema.get("prefixItems") or []
            least = max(int(schema.get("minItems", 0 if depth > _DEEP else 1)), len(first))
            least = min(least, int(schema.get("maxItems", least)), _MOST)
            items = [*first, *[schema.get("items", {})] * least][:least]
            return [_make(each, root, depth + 1) for each in items]
        case "integer":
            return math.ceil(_number(schema))
        case "number":
            return _number(schema)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            text = _FORMATS.get(str(schema.get("format")), "mock")
            return text.ljust(min(int(schema.get("minLength", 0)), _MOST), "k")[: int(schema.get("maxLength", _MOST))]


def _object(schema: dict[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = schema.get("required") or []
    names = [*properties, *(name for name in required if name not in properties)]
    if depth > _DEEP:
        names = [name for name in names if name in required]
    return {name: _make(properties.get(name, {}), root, depth + 1) for name in names}


def _number(schema: dict[str, Any]) -> Any:
    """The smallest number that is allowed; without a lower bound 0, or the largest if that is less."""
    step = schema.get("multipleOf", 1)
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None and "exclusiveMinimum" in schema:
        least = schema["exclusiveMinimum"] + step
    if most is None and "exclusiveMaximum" in schema:
        most = schema["exclusiveMaximum"] - step
    if least is None:
        return 0 if most is None or most >= 0 else math.floor(most / step) * step
    rounded = math.ceil(least / step) * step
    return rounded if most is None or rounded <= most else least


def _option(options: list[Any], depth: int) -> Any:
    """The first alternative; deep inside, one that ends."""
    if depth > _DEEP:
        for option in options:
            if isinstance(option, dict) and option.get("type") not in (None, "object", "array"):
                return option
    return options[0]


def _target(reference: str, root: Any) -> Any:
    """The target of a reference within the document; nothing if it leads out of it."""
    found = root
    for part in reference.removeprefix("#").split("/")[1:]:
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found if reference.startswith("#") else None
