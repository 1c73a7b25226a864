"""Runs a program in the real OPA and in this engine and says where they differ.

Each rule's document is compared as text (a template string shows sets and number text), undefined as such, errors by
code. What may differ: whether an evaluation error surfaces at all where only the order of evaluation decides it (one
side has an error, the other a result): `explained` says so, and `Difference.order` marks it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import policy_engine as pe
from tests.oracle import Oracle
from tests.policy_engine.differential.generator import Program

UNCHECKED = {"rego_type_error"}
"""Codes of OPA's static type checker, which this engine does not have yet."""


@dataclass(slots=True)
class Difference:
    path: str
    strict: bool
    opa: str
    engine: str
    order: bool = False
    """Only the order of evaluation decides between the two: an error on one side, a result on the other."""


def differences(program: Program, oracle: Oracle, *, strict: bool) -> list[Difference]:
    """Every path on which the two disagree."""
    found: list[Difference] = []
    policies: Any = None
    failure = ""
    try:
        policies = pe.compile(program.modules, program.data)
    except pe.PolicyError as error:
        failure = error.errors[0].code
    for path in program.paths:
        query = f'x := $"{{[{path}]}}"'
        answer = oracle.query(query, modules=program.modules, data=program.data, input=program.input)
        codes = set(re.findall(r"rego_[a-z_]+_error", answer.message)) if answer.code == "prepare_error" else set()
        if codes & UNCHECKED:
            return []
        if codes:
            if failure not in codes:
                found.append(Difference(path, strict, f"error {answer.message}", f"error {failure or 'none'}"))
            return found
        opa = f"error {answer.code}" if answer.code else (answer.bindings[0]["x"] if answer.bindings else "undefined")
        engine = f"error {failure}" if failure else _evaluate(policies, query, program.input, strict)
        if opa != engine:
            errors = opa.startswith("error eval_") or engine.startswith("error eval_")
            found.append(Difference(path, strict, opa, engine, errors))
    return found


def _evaluate(policies: Any, query: str, value: Any, strict: bool) -> str:
    try:
        rows = policies.prepare(query, strict_builtin_errors=strict).bindings(value)
    except pe.PolicyError as error:
        return f"error {error.code}"
    except Exception as error:  # a defect: shown like any other difference
        return f"CRASH {error!r}"
    return rows[0]["x"] if rows else "undefined"
