"""Holds a document written by hand, and a policy, against schemas/input.schema.json, which is shipped.

The gateway's own documents are not checked: `input.py` makes them, and a test compares them with the schema.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import policy_engine as pe
from policy_engine.bundle import from_files
from policy_engine.impossible import Impossible

_MODULE = "package check\n\nanswer := json.match_schema(input.document, input.schema)\n"


def for_types() -> dict[str, Any]:
    """The schema for the type checker, which reads of several types only one: what may be null is left open."""
    opened: dict[str, Any] = _opened(_checker()[0])
    return opened


def impossible(policies: pe.Policies) -> list[Impossible] | None:
    """The conditions of a bundle's policies that no request can make true, as `Policies.impossible` finds them."""
    return policies.impossible(_checker()[0])


def models_named(files: Mapping[str, bytes]) -> list[str]:
    """The models that a bundle's conditions compare a call's with, sorted; none if it does not compile."""
    content = from_files(files.items(), tests=False)
    try:
        policies = pe.compile(content.modules, content.data)
    except pe.PolicyError:
        return []
    paths = [("resource", "model"), ("resource", "models", 0)]
    return sorted({each for each in policies.compared(_checker()[0], paths) if isinstance(each, str) and each})


def _opened(part: Any) -> Any:
    if isinstance(part, dict):
        if isinstance(part.get("type"), list) or part.get("type") == "null":
            return {}
        return {name: _opened(inner) for name, inner in part.items()}
    return [_opened(each) for each in part] if isinstance(part, list) else part


def problems(document: Mapping[str, Any]) -> list[str]:
    """The faults of a document, each with its place (`request.stream: …`); empty if nothing is."""
    schema, check = _checker()
    _, found = check({"document": document, "schema": schema})
    return [_problem(each["field"], each["desc"], schema) for each in found]


@functools.cache
def _checker() -> tuple[dict[str, Any], pe.Entrypoint]:
    text = resources.files("gateway").joinpath("schemas", "input.schema.json").read_text("utf-8")
    return json.loads(text), pe.compile({"check.rego": _MODULE}).entrypoint("data.check.answer")


def _problem(place: str, text: str, schema: Mapping[str, Any]) -> str:
    text = text.removeprefix(f"{place} ")
    text = text[:1].lower() + text[1:]
    if text.startswith("additional property ") and text.endswith(" is not allowed"):
        name = text.removeprefix("additional property ").removesuffix(" is not allowed")
        text = f"there is no member `{name}`"
        if similar := difflib.get_close_matches(name, _members(schema), 1):
            text += f": did you mean `{similar[0]}`?"
    return text if place == "(Root)" else f"{place}: {text}"


def _members(schema: Any) -> set[str]:
    """The names of all members, wherever they are: a misspelt one is rarely in the wrong place, too."""
    if isinstance(schema, dict):
        own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
        return own.union(*map(_members, schema.values()))
    return set()
