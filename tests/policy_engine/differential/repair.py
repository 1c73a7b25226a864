"""Removes the refused rules of a program, so that the rest can be evaluated and compared.

Many random programs have an unsafe variable or an ill-typed call somewhere.
"""

from __future__ import annotations

import dataclasses

import policy_engine as pe
from policy_engine.syntax.parser import parse_module
from tests.policy_engine.differential.compare import Engine

ROUNDS = 6
"""At most ten errors are reported at a time."""


def repaired(engine: Engine) -> Engine | None:
    """The engine for the program without the rules that have errors; None if an error has no place."""
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
