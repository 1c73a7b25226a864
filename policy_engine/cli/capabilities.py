"""`policy capabilities`: the builtins, keywords and features of this engine, in the form of OPA's capabilities file."""

from __future__ import annotations

import json
from typing import Any

import typer

from policy_engine import types
from policy_engine.builtins import TABLE
from policy_engine.builtins.table import Builtin
from policy_engine.syntax.versions import V2_KEYWORDS

FEATURES = ["keywords_in_refs", "rego_v1", "rego_v2_import", "template_strings"]


def capabilities() -> None:
    """Print the builtins with their types, the opt-in keywords and the language features, as JSON.

    The format is that of `opa capabilities`, so the two can be compared.
    """
    document = {
        "builtins": [_builtin(TABLE[name]) for name in sorted(TABLE)],
        "future_keywords": list(V2_KEYWORDS),
        "features": FEATURES,
    }
    typer.echo(json.dumps(document, indent=2))


def _builtin(builtin: Builtin) -> dict[str, Any]:
    marks = ("relation", "nondeterministic", "deprecated")
    result: dict[str, Any] = {"name": builtin.name, "decl": types.to_json(builtin.decl)}
    if builtin.infix:
        result["infix"] = builtin.infix
    return {**result, **{mark: True for mark in marks if getattr(builtin, mark)}}
