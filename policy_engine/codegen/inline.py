"""Builtins in place: calls of builtins as expressions of Python, where their declarations have such a form."""

from __future__ import annotations

from policy_engine.builtins.table import Builtin
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Term


def in_place(builtin: Builtin, terms: tuple[Term, ...], args: list[str]) -> tuple[str, str] | None:
    """An expression for a call, and the condition under which it is one; None for other builtins or operands."""
    form = builtin.inline
    if form is None:
        return None
    tests = []
    for term, arg, wanted in zip(terms, args, form.classes, strict=True):
        if isinstance(term, nodes.Scalar):
            if wanted is not None and term.value.__class__ is not wanted:
                return None
        elif wanted is not None:
            tests.append(f"{arg}.__class__ is {wanted.__name__}")
    if form.condition:
        tests.append(form.condition.format(*args))
    return form.text.format(*args), " and ".join(tests) or "True"
