"""`print` and `trace`: messages for whoever runs the query. Neither can fail a policy."""

from __future__ import annotations

from typing import Final

from policy_engine import types as t
from policy_engine.builtins.operands import charge_made, string
from policy_engine.builtins.operators import cross_product, text_of
from policy_engine.builtins.table import Builtin, Context
from policy_engine.values import UNDEFINED, Value


def print_(ctx: Context, *values: Value) -> bool:
    """One message of all values; `UNDEFINED` may be among them."""
    ctx.print(" ".join("<undefined>" if value is UNDEFINED else text_of(ctx, value) for value in values))
    return True


def print_sets(ctx: Context, operands: Value) -> bool:
    """The function of `print` in compiled modules: each operand is a set of its values, empty if it is undefined."""
    for texts in cross_product(ctx, operands, "internal.print"):
        charge_made(ctx, sum(map(len, texts)) + len(texts), ascii_only=all(map(str.isascii, texts)))
        ctx.print(" ".join(texts))
    return True


def trace(ctx: Context, message: Value) -> bool:
    ctx.print(string(message, "trace", 1))
    return True


BUILTINS: Final = (
    Builtin("internal.print", t.FunctionType((t.array(t.set_(t.ANY)),), None), print_sets, context=True, effect=True),
    Builtin("print", t.FunctionType((), None, variadic=t.ANY), print_, context=True, effect=True),
    Builtin("trace", t.FunctionType((t.STRING,), t.BOOLEAN), trace, context=True, effect=True),
)
