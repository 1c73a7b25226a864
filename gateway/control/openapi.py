"""The OpenAPI 3.1 document of the control API, made of the operations that are served."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gateway.control import shapes
from gateway.control.operation import Operation
from gateway.control.shapes import Schema

_TITLE: Final = "Agent Identity Gateway: control API"

_PROBLEMS: Final = {
    400: "The request cannot be read, or a parameter is wrong.",
    401: "No operator's token, or not a valid one.",
    403: "The operator's role or its token is not for that.",
    404: "There is no such thing, or it is not yours.",
    405: "The path does not take this method.",
    409: "Things are not so that it could be done.",
    412: "It has been changed since it was read.",
    413: "The body is too large.",
    415: "The body is not JSON, or compressed.",
    422: "A member of the body is wrong, or names something that is not there.",
    428: "If-Match is missing.",
    429: "Too many wrong tokens came from this address, or one has its whole share of what is finite.",
    500: "The gateway failed.",
    503: "The registry or the log cannot be used now, or the gateway has too much to do.",
}


def document(operations: Sequence[Operation], version: str) -> Schema:
    paths: dict[str, Schema] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, operations)
    return {
        "openapi": "3.1.0",
        "info": {"title": _TITLE, "version": version},
        "servers": [{"url": "/api/v1"}],
        "security": [{"operator": []}],
        "tags": [{"name": noun} for noun in dict.fromkeys(each.noun for each in operations)],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "operator": {"type": "http", "scheme": "bearer", "description": "An operator's token, `aig_op_…`."}
            },
            "schemas": {"Problem": shapes.PROBLEM},
        },
    }


def _operation(operation: Operation, operations: Sequence[Operation]) -> Schema:
    found: Schema = {
        "operationId": _id(operation),
        "tags": [operation.noun],
        "summary": operation.summary,
        "parameters": parameters(operation),
        "responses": _responses(operation, operations),
    }
    if operation.public:
        found["security"] = []
    if operation.body is not None:
        schema = shapes.inlined(operation.body.model_json_schema())
        found["requestBody"] = {
            "required": bool(schema.get("required")),
            "content": {"application/json": {"schema": schema}},
        }
    return found


def _id(operation: Operation) -> str:
    words = [part.strip("{}") for part in operation.path.strip("/").split("/")]
    return "_".join([operation.method.lower(), *words])


def parameters(operation: Operation) -> list[Schema]:
    """All that it takes in its path, after the `?` and in headers."""
    found: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in operation.parameters
    ]
    if operation.of_an_organization:
        means = "the whole gateway" if operation.about == "home" else "`default`"
        text = f"The organization's name. If it is left out: your own, or {means} for operators of the whole gateway."
        found.append(_optional("organization", "query", {"type": "string"}, text))
    schema = shapes.inlined(operation.query.model_json_schema())
    for name, each in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        found.append(_optional(name, "query", _not_null(each), each.get("description", "")) | {"required": required})
    if operation.if_match is not None:
        text = "The ETag of the version that was read, or *."
        found.append(
            _optional("If-Match", "header", {"type": "string"}, text) | {"required": operation.if_match == "required"}
        )
    if operation.streams:
        text = "The id of the last event that was seen; it counts more than `after`."
        found.append(_optional("Last-Event-ID", "header", {"type": "string"}, text))
    if operation.repeatable:
        text = "A request with the same key and the same contents is carried out once in 24 hours."
        found.append(_optional("Idempotency-Key", "header", {"type": "string", "pattern": "^[!-~]{1,128}$"}, text))
    return found


def _optional(name: str, where: str, schema: Schema, text: str) -> Schema:
    return {
        "name": name,
        "in": where,
        "required": False,
        "schema": {key: value for key, value in schema.items() if key != "description"},
        "description": text,
    }


def _not_null(schema: Schema) -> Schema:
    """A parameter is there or not; it is never null."""
    choices = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    kept = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    if len(choices) == 1:
        only: Schema = choices[0]
        return kept | only
    return {name: value for name, value in schema.items() if name != "default" or value is not None}


def _responses(operation: Operation, operations: Sequence[Operation]) -> Schema:
    headers: Schema = {}
    if operation.tagged:
        headers["ETag"] = {"schema": {"type": "string"}, "description": "Of this version, for If-Match."}
    if operation.status == 201 and not operation.public:
        headers["Location"] = {"schema": {"type": "string"}}
    if operation.repeatable:
        text = "`true` if the request was carried out before."
        headers["Idempotency-Replayed"] = {"schema": {"type": "string"}, "description": text}
    if operation.writes and not operation.public:
        text = "Something to know, such as that the entry is not in the log yet."
        headers["Gateway-Warning"] = {"schema": {"type": "string"}, "description": text}
    done: Schema = {
        "description": "Done." if operation.writes else "Found.",
        "content": {"text/event-stream" if operation.streams else "application/json": {"schema": operation.answered}},
    }
    if headers:
        done["headers"] = headers
    if links := _links(operation, operations):
        done["links"] = links
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    found: Schema = {str(operation.status): done}
    for status in _statuses(operation):
        found[str(status)] = {"description": _PROBLEMS[status], "content": problem}
    return found


def _links(operation: Operation, operations: Sequence[Operation]) -> Schema:
    """The links from an operation that creates a thing to the operations on that thing: those on the paths below."""
    if operation.status != 201:
        return {}
    found: Schema = {}
    for other in operations:
        created = re.match(re.escape(operation.path) + r"/\{(\w+)\}", other.path)
        if created is None:
            continue
        parameters = {f"path.{name}": f"$request.path.{name}" for name in operation.parameters}
        member = "name" if "name" in operation.answered["properties"] else "id"
        parameters[f"path.{created[1]}"] = f"$response.body#/{member}"
        if operation.tagged and other.if_match is not None:
            parameters["header.If-Match"] = "$response.header.ETag"
        found[_id(other)] = {"operationId": _id(other), "parameters": parameters}
    return found


def _statuses(operation: Operation) -> list[int]:
    """The error statuses that an operation may answer with."""
    found = {400, 401, 403, 404, 413, 415, 422, 429, 500, 503}
    if operation.method != "GET":
        found |= {409}
    if operation.if_match is not None:
        found |= {412}
    if operation.if_match == "required":
        found |= {428}
    return sorted(found)
