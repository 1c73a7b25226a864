"""net.lookup_ip_addr and opa.runtime: what a policy may ask about the world around it.

Looking up names reaches other hosts, so it is refused unless the policies are allowed to use the network; what needs
no other host is answered always. There is no OPA process here that `opa.runtime` could tell about, and an environment
holds secrets: it is the empty object, as in a program that embeds OPA.
"""

from __future__ import annotations

from typing import Final

from policy_engine.builtins import resolver
from policy_engine.builtins.operands import string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.types import ANY, STRING, FunctionType, set_
from policy_engine.types import object_ as object_of
from policy_engine.values import Set, Value

_SECONDS: Final = 5.0
"""For a lookup; a decision cannot wait longer."""


def lookup_ip_addr(ctx: Context, operand: Value) -> Value:
    name = "net.lookup_ip_addr"
    host = string(operand, name, 1)

    def find() -> Value:
        known = resolver.without_asking(host)
        if known is None:
            require_network(ctx, name)
            try:
                known = resolver.resolve(host, _SECONDS)
            except OSError as error:
                raise BuiltinError(f"{name}: {error}") from None
        return Set(known).sorted()

    return Set(ctx.remember(name, (host,), find))  # remembered values have to go through JSON


def require_network(ctx: Context, name: str) -> None:
    if not ctx.allow_network:
        raise BuiltinError(f"{name}: policies may not use the network")


def runtime(ctx: Context) -> Value:
    return ctx.remember("opa.runtime", (), dict)


BUILTINS: Final = (
    Builtin(
        "net.lookup_ip_addr", FunctionType((STRING,), set_(STRING)), lookup_ip_addr, context=True, nondeterministic=True
    ),
    Builtin("opa.runtime", FunctionType((), object_of(STRING, ANY)), runtime, context=True, nondeterministic=True),
)
