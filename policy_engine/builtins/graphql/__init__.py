"""graphql.*: parsing GraphQL queries and schemas, and asking whether a schema allows a query.

The work is done by graphql-core, which takes a while to import: only when a policy first calls one of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from policy_engine import types as t
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.values import Value


def _imported(name: str) -> Callable[..., Value]:
    """The function of this name in `functions`, imported when it is called.

    Documents nest a little only, but the stack may be nearly full, and types of a schema may refer to each other in a
    long chain.
    """

    def call(ctx: Context, *operands: Value) -> Value:
        from policy_engine.builtins.graphql import functions

        function: Callable[..., Value] = getattr(functions, name)
        try:
            return function(ctx, *operands)
        except RecursionError:
            raise BuiltinError(f"graphql.{name}: nested too deeply") from None

    return call


_DOCUMENT: Final = t.union(t.STRING, t.object_())
_TREE: Final = t.object_()

_DECLARATIONS: Final = {
    "is_valid": t.FunctionType((_DOCUMENT, _DOCUMENT), t.BOOLEAN),
    "parse": t.FunctionType((_DOCUMENT, _DOCUMENT), t.ArrayType((_TREE, _TREE))),
    "parse_and_verify": t.FunctionType((_DOCUMENT, _DOCUMENT), t.ArrayType((t.BOOLEAN, _TREE, _TREE))),
    "parse_query": t.FunctionType((t.STRING,), _TREE),
    "parse_schema": t.FunctionType((t.STRING,), _TREE),
    "schema_is_valid": t.FunctionType((_DOCUMENT,), t.BOOLEAN),
}

BUILTINS: Final = tuple(
    Builtin(f"graphql.{name}", declaration, _imported(name), context=True)
    for name, declaration in _DECLARATIONS.items()
)
