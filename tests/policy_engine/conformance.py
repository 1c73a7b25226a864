"""OPA's conformance cases (`$CONFORMANCE_DIR/opa-v1/*.json`), and the gaps that known_gaps.yaml explains."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import policy_engine as pe
from policy_engine.builtins import TABLE
from policy_engine.errors import EVAL_BUILTIN_ERROR
from tests.cases import read_yaml

GAPS = read_yaml(Path(__file__).parent / "known_gaps.yaml")
MISSING = {name: group["reason"] for group in GAPS["builtins"] for name in group["names"]}
ABSENT = sorted(MISSING.keys() - TABLE.keys(), reverse=True)
CALLS_ABSENT = re.compile(r"(?<![\w.])(" + "|".join(map(re.escape, ABSENT)) + r")(?![\w.])")


def load() -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Note → the cases with that note, each with its area. OPA uses some notes for several cases."""
    folder = os.environ.get("CONFORMANCE_DIR", "")
    cases: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for path in sorted(Path(folder, "opa-v1").glob("*.json")) if folder else []:
        for fields in pe.loads(path.read_bytes())["cases"]:
            if (
                "rego_parse_error" in fields.get("want_error", "")
                or fields.get("want_error_code") == EVAL_BUILTIN_ERROR
            ):
                fields.pop("want_error", None)
            cases.setdefault(fields["note"], []).append((path.stem, fields))
    return cases


CASES = load()


def gap(note: str) -> str:
    """The reason why the cases of this note may fail; empty if they may not."""
    if note in GAPS["cases"]:
        return str(GAPS["cases"][note])
    for _, fields in CASES[note]:
        if ABSENT and (found := CALLS_ABSENT.search("\n".join([*(fields.get("modules") or ()), fields["query"]]))):
            return f"{found[1]}: {MISSING[found[1]]}"
    return ""
