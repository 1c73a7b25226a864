"""Takes out of a program what the compiler refuses, so that the rest of it can be evaluated.

Of random programs very many have one unsafe variable or one ill-typed call, and compilation ends there. The refusal is
compared, and then what is left without the rules that it is about.
"""

from __future__ import annotations

import dataclasses

import policy_engine as pe
from policy_engine.syntax.parser import parse_module
from tests.policy_engine.differential.compare import Engine

ROUNDS = 6
"""Errors are reported ten at a time, and a stage at a time."""


def repaired(engine: Engine) -> Engine | None:
    """Answers about the program without the rules that errors are about; None if the errors have no place."""
    for _ in range(ROUNDS):
        if not engine.codes:
            return engine
        rows: dict[str, set[int]] = {}
        for error in engine.errors:
            if error.location is not None:
                rows.setdefault(error.location.file, set()).add(error.location.row)
        given = engine.program.modules
        modules = {name: _without(name, text, rows[name]) if name in rows else text for name, text in given.items()}
        if modules == given:
            return None
        engine = Engine(dataclasses.replace(engine.program, modules=modules))
    return None if engine.codes else engine


def _without(name: str, source: str, rows: set[int]) -> str:
    """The source without the rules and imports that touch any of the rows; rows stay where they are."""
    try:
        module = parse_module(source, name)
    except pe.PolicyError:
        return _without_rows(source, rows)
    gone = set(rows)
    for rule in module.rules:
        own = set(range(rule.loc.row, rule.loc.end_row + 1))
        if own & rows:
            gone |= own
    return _without_rows(source, gone)


def _without_rows(source: str, rows: set[int]) -> str:
    return "\n".join("" if row in rows else line for row, line in enumerate(source.split("\n"), 1))
