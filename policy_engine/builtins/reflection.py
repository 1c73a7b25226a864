"""Builtins about policies themselves: rego.parse_module, rego.metadata.rule, rego.metadata.chain.

The compiler puts constants in the place of the metadata calls. In a query, which has no rule, they are empty.
"""

from __future__ import annotations

from typing import Final, NoReturn

from policy_engine import types as t
from policy_engine.builtins.operands import string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import EVAL_CANCEL_ERROR, BuiltinError, PolicyError
from policy_engine.values import Value


def _outside(name: str) -> NoReturn:
    raise BuiltinError(f"{name}: the function must only be called within a rule")


def rule() -> NoReturn:
    _outside("rego.metadata.rule")


def chain() -> NoReturn:
    _outside("rego.metadata.chain")


def parse_module(ctx: Context, file: Value, source: Value) -> Value:
    """A module's syntax tree in OPA's JSON form."""
    from policy_engine.syntax import heads, opa_json, parser

    string(file, "rego.parse_module", 1)
    if len(string(source, "rego.parse_module", 1)) > _LONGEST:  # OPA calls both operands the first
        raise BuiltinError(f"rego.parse_module: a module has at most {_LONGEST} characters")
    ctx.charge(_STEPS * len(source))
    try:
        tree = parser.parse_foreign_module(source, file, ctx.look_at_clock)
        for error in heads.builtin_facts(tree.rules, BUILTIN_NAMES):
            raise error
        return opa_json.module(tree)
    except PolicyError as error:
        if error.code == EVAL_CANCEL_ERROR:
            raise
        raise BuiltinError(f"rego.parse_module: {error}") from None


BUILTIN_NAMES: Final[set[str]] = set()
"""The names of all builtins. The table fills the set, because this file, which is part of it, cannot import it."""

_LONGEST: Final = 1 << 15
"""A text is split into tokens at once, which no deadline can interrupt."""

_STEPS: Final = 4
"""For a character: it becomes tokens, a tree and JSON."""

BUILTINS: Final = (
    Builtin("rego.metadata.chain", t.FunctionType((), t.array(t.ANY)), chain),
    Builtin("rego.metadata.rule", t.FunctionType((), t.ANY), rule),
    Builtin(
        "rego.parse_module",
        t.FunctionType((t.STRING, t.STRING), t.object_(t.STRING, t.ANY)),
        parse_module,
        context=True,
    ),
)
