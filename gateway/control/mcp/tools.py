"""Operations as tools: names, descriptions, schemas and hints follow from what the operations say of themselves.

Every operation is a tool but for those that no model should have: streams, logins, approvals of people, and whatever
tells a secret or shows what was said in a call. The operator's role and token decide who has a tool, as in the API. A
token changes nothing by a tool unless it is for `mcp:write` as well.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from gateway.control import openapi, requests, shapes
from gateway.control.callers import Caller, may
from gateway.control.operation import Operation, PageQuery
from gateway.control.operations import PREFIX
from gateway.control.problems import Problem
from gateway.control.shapes import Schema
from gateway.errors import did_you_mean
from gateway.identity import operator_roles

PAGE: Final = 20
"""Items of a page, unless the model asks for more or fewer: what it reads costs its user."""
IF_MATCH: Final = "if_match"

_VERBS: Final = {"PATCH": "update", "PUT": "replace", "DELETE": "remove"}


@dataclass(frozen=True, slots=True)
class Tool:
    """An operation, as a model sees it."""

    operation: Operation
    name: str
    definition: Schema


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A call of a tool as a request to the API."""

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes


def made_of(operations: Sequence[Operation]) -> dict[str, Tool]:
    """The tools by their names, those first that answer a question that people ask."""
    fit = [
        each
        for each in operations
        if not (each.public or each.here or each.streams or each.reveals or each.once or each.by_people)
    ]
    ordered = sorted(fit, key=lambda each: (each.writes, not each.question))
    found = {tool.name: tool for tool in map(_tool, ordered)}
    assert len(found) == len(fit), "two tools have one name"
    return found


def restrained(caller: Caller) -> Caller:
    """The operator with the rights that it has by a tool: only those to read, unless its token is for more."""
    scopes = caller.token.scopes
    if scopes is not None and operator_roles.MCP_WRITE in scopes:
        return caller
    token = dataclasses.replace(caller.token, scopes=operator_roles.only_reading(scopes))
    return dataclasses.replace(caller, token=token)


def is_for(tool: Tool, caller: Caller, everybody: Sequence[str]) -> bool:
    """True if the operator, who is `restrained`, may call it. Nouns of `everybody` need no right to read."""
    operation = tool.operation
    if operation.about == "gateway" and caller.organization is not None:
        return False
    if operation.writes and not any(may(caller, each, write=True) for each in operator_roles.NOUNS):
        return False
    return operation.noun in everybody or may(caller, operation.noun, write=operation.writes)


def request_of(tool: Tool, arguments: Mapping[str, Any]) -> ToolRequest:
    """The request that a call is. Raises `Problem` for arguments that no request could have."""
    operation, given = tool.operation, dict(arguments)
    known = tool.definition["inputSchema"]["properties"]
    if unknown := [name for name in given if name not in known]:
        shown = requests.shown(unknown[0])
        hint = did_you_mean(unknown[0], known, f"it takes {', '.join(known) or 'none'}")
        raise _invalid(unknown[0], f"there is no argument `{shown}`", hint)
    path = PREFIX + re.sub(
        r"\{(\w+)\}", lambda each: quote(_text(each[1], given.pop(each[1], None)), safe=""), operation.path
    )
    headers = {b"content-type": b"application/json"}
    if (match := given.pop(IF_MATCH, None)) is not None:
        headers[b"if-match"] = _text(IF_MATCH, match).encode("ascii", "replace")
    members = () if operation.body is None else operation.body.model_fields
    body = {name: given.pop(name) for name in list(given) if name in members}
    if issubclass(operation.query, PageQuery):
        given.setdefault("limit", PAGE)
    query = urlencode({name: _text(name, value) for name, value in given.items() if value is not None})
    raw = b"" if operation.body is None else orjson.dumps(body)
    return ToolRequest(operation.method, path, query.encode(), headers, raw)


# --- what a model is told of an operation -----------------------------------------------------------------------------


def _tool(operation: Operation) -> Tool:
    name = operation.tool or _name(operation)
    definition = {
        "name": name,
        "description": ". ".join(each for each in (operation.summary, operation.question) if each),
        "inputSchema": _input(operation),
        "outputSchema": {"type": "object"} | operation.answered,
        "annotations": {
            "readOnlyHint": not operation.writes,
            "destructiveHint": operation.writes and (operation.method == "DELETE" or bool(operation.restricts)),
            "idempotentHint": operation.method != "POST" or not operation.writes,
            "openWorldHint": operation.waits_for_others,
        },
    }
    return Tool(operation, name, definition)


def _name(operation: Operation) -> str:
    """Such as `list_agents`, `show_agent`, `list_agent_versions`, `suspend_agent`, `rotate_agent_keys`."""
    parts = operation.path.strip("/").split("/")
    words = [
        part if number == len(parts) - 1 else _singular(part)
        for number, part in enumerate(parts)
        if not part.startswith("{")
    ]
    if operation.method == "GET":
        verb = "list" if "items" in operation.answered.get("properties", {}) else "show"
    elif operation.method != "POST":
        verb = _VERBS[operation.method]
    elif len(words) == 1 or operation.status == 201:
        verb, words = "create", [*words[:-1], _singular(words[-1])]
    else:
        verb = words.pop()
    return "_".join([verb, *words]).replace("-", "_")


def _singular(noun: str) -> str:
    return re.sub(r"ies$", "y", noun) if noun.endswith("ies") else noun.removesuffix("s")


def _input(operation: Operation) -> Schema:
    """One object of what the operation takes in its path, after the `?`, in `If-Match` and in its body."""
    properties: Schema = {}
    required: list[str] = []
    for each in openapi.parameters(operation):
        if each["in"] != "header":
            name = each["name"]
        elif each["name"] == "If-Match":
            name = IF_MATCH
        else:
            continue
        described = {"description": each["description"]} if each.get("description") else {}
        properties[name] = each["schema"] | described
        required += [name] if each["required"] else []
    if issubclass(operation.query, PageQuery):
        properties["limit"] = properties["limit"] | {"default": PAGE}
    if operation.body is not None:
        schema = shapes.inlined(operation.body.model_json_schema())
        properties |= schema.get("properties", {})
        required += schema.get("required", [])
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _text(name: str, value: Any) -> str:
    """An argument in a path, after a `?` or in a header."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float) and value != "":
        return str(value)
    if value == "":
        raise _invalid(name, f"the argument `{name}` is empty", "leave it out, or name something")
    raise _invalid(name, f"the argument `{name}` is missing, or no text or number", f"send `{name}` as a text")


def _invalid(name: str, detail: str, hint: str) -> Problem:
    error = {"parameter": requests.shown(name), "message": detail}
    return Problem(400, "invalid_parameter", detail, hint=hint, errors=[error])
