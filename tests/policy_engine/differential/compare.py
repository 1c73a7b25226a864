"""Runs a program in the real OPA and in this engine and says where they differ.

Each rule's document is compared as text (a template string shows sets and number text), undefined as such, errors by
code. What may differ: whether an evaluation error surfaces at all where only the order of evaluation decides it (one
side has an error, the other a result): `Difference.order` marks it. The traced build must agree with the fast one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import policy_engine as pe
from tests.oracle import Answer, Oracle
from tests.policy_engine.differential.generator import Program


@dataclass(slots=True)
class Difference:
    path: str
    strict: bool
    opa: str
    engine: str
    order: bool = False
    """Only the order of evaluation decides between the two: an error on one side, a result on the other."""


def ask(program: Program, oracle: Oracle) -> list[Answer]:
    """What OPA says of each path; of a program that it refuses, one answer."""
    answers: list[Answer] = []
    for path in program.paths:
        answers.append(oracle.query(_query(path), modules=program.modules, data=program.data, input=program.input))
        if answers[-1].code == "prepare_error":
            break
    return answers


def _query(path: str) -> str:
    return f'x := $"{{[{path}]}}"'


def differences(program: Program, answers: list[Answer], *, strict: bool, types: bool = True) -> list[Difference]:
    """Every path on which the two disagree. Without `types`, what either finds ill-typed is not compared."""
    found: list[Difference] = []
    policies: Any = None
    failure = ""
    try:
        policies = pe.compile(program.modules, program.data)
    except pe.PolicyError as error:
        failure = error.errors[0].code
    if failure == "rego_type_error" and not types:
        return []
    for path, answer in zip(program.paths, answers, strict=False):
        codes = set(re.findall(r"rego_[a-z_]+_error", answer.message)) if answer.code == "prepare_error" else set()
        if codes:
            if failure not in codes and (types or "rego_type_error" not in codes):
                found.append(Difference(path, strict, f"error {answer.message}", f"error {failure or 'none'}"))
            return found
        opa = f"error {answer.code}" if answer.code else (answer.bindings[0]["x"] if answer.bindings else "undefined")
        engine = f"error {failure}" if failure else _evaluate(policies, _query(path), program.input, strict)
        if opa != engine:
            found.append(Difference(path, strict, opa, engine, _only_order(opa, engine)))
        if not failure:
            fast, traced = _builds(policies, path, program.input, strict)
            if fast != traced:
                found.append(Difference(f"{path}, fast and traced", strict, fast, traced, _only_order(fast, traced)))
    return found


def _only_order(one: str, other: str) -> bool:
    return one.startswith("error eval_") or other.startswith("error eval_")


def _evaluate(policies: Any, query: str, value: Any, strict: bool) -> str:
    def text() -> str:
        rows = policies.prepare(query, strict_builtin_errors=strict).bindings(value)
        return str(rows[0]["x"]) if rows else "undefined"

    return _outcome(text)


def _builds(policies: Any, path: str, value: Any, strict: bool) -> tuple[str, str]:
    """What the two builds of the policies answer, as JSON."""
    entry = policies.entrypoint(path, strict_builtin_errors=strict)
    return _outcome(lambda: _json(entry(value))), _outcome(lambda: _json(entry.decide(value, trace=True).value))


def _json(value: Any) -> str:
    return "undefined" if value is pe.UNDEFINED else pe.dumps(value)


def _outcome(evaluate: Callable[[], str]) -> str:
    try:
        return evaluate()
    except pe.PolicyError as error:
        return f"error {error.code}" if error.code != "eval_internal_error" else f"CRASH {error}"
    except Exception as error:  # a defect: shown like any other difference
        return f"CRASH {error!r}"
