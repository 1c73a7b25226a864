"""Whether a document that somebody wrote by hand is an input document: schemas/input.schema.json, which is shipped.

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

_MODULE = "package check\n\nanswer := json.match_schema(input.document, input.schema)\n"


def problems(document: Mapping[str, Any]) -> list[str]:
    """What is wrong with a document, each with its place (`request.stream: …`); empty if nothing is."""
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
