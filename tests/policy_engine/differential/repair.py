"""Takes out of a program what the compiler refuses, so that the rest of it can be evaluated.

Of random programs very many have one unsafe variable or one ill-typed call, and compilation ends there. The refusal is
compared, and then what is left without the rules that it is about.
"""

from __future__ import annotations

import dataclasses

import policy_engine as pe
from policy_engine.syntax.parser import parse_module
from tests.policy_engine.differential.program import Program

ROUNDS = 6
"""Errors are reported ten at a time, and a stage at a time."""


def repaired(program: Program) -> Program | None:
    """The program without the rules that errors are about; None if nothing is left, or if errors have no place."""
    for _ in range(ROUNDS):
        try:
            pe.compile(program.modules, program.data)
        except pe.PolicyError as error:
            rows: dict[str, set[int]] = {}
            for one in error.errors:
                if one.location is not None:
                    rows.setdefault(one.location.file, set()).add(one.location.row)
            modules = {name: _without(name, text, rows.get(name, set())) for name, text in program.modules.items()}
            if modules == program.modules:
                return None
            program = dataclasses.replace(program, modules=modules)
        except Exception:  # a defect, which the comparison shows
            return None
        else:
            return program
    return None


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
