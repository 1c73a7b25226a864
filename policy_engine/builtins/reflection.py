"""rego.metadata.rule and rego.metadata.chain: the compiler puts constants in the place of their calls.

Where there is no rule to speak of, in a query, they have nothing to say.
"""

from __future__ import annotations

from typing import Final, NoReturn

from policy_engine import types as t
from policy_engine.builtins.table import Builtin
from policy_engine.errors import BuiltinError


def _outside(name: str) -> NoReturn:
    raise BuiltinError(f"{name}: the function must only be called within a rule")


def rule() -> NoReturn:
    _outside("rego.metadata.rule")


def chain() -> NoReturn:
    _outside("rego.metadata.chain")


BUILTINS: Final = (
    Builtin("rego.metadata.chain", t.Function((), t.array(t.ANY)), chain),
    Builtin("rego.metadata.rule", t.Function((), t.ANY), rule),
)
