"""Set algebra over a set of sets. The infix operators are in `operators`."""

from __future__ import annotations

import functools
from typing import Final

from policy_engine import types as t
from policy_engine.builtins.operands import set_
from policy_engine.builtins.operators import MEMBER, common
from policy_engine.builtins.table import Builtin, Context
from policy_engine.values import Set, Value


def _sets(ctx: Context, sets: Value, name: str) -> list[dict[object, None]]:
    return [set_(one, name, 1).members for one in set_(sets, name, 1).sorted(ctx.charge)]


def intersection(ctx: Context, sets: Value) -> Set:
    """The members that all the sets share; an empty set if there are no sets."""
    members = _sets(ctx, sets, "intersection")
    ctx.charge(MEMBER * sum(map(len, members)))
    return Set.of(functools.reduce(common, members or [{}]))


def union(ctx: Context, sets: Value) -> Set:
    """The members of all the sets; of equal members (`1`, `1.0`) the first one stays."""
    members: dict[object, None] = {}
    for one in _sets(ctx, sets, "union"):
        ctx.charge(MEMBER * len(one))
        members |= one
    return Set.of(members)


_SETS: Final = t.FunctionType((t.set_(t.set_(t.ANY)),), t.set_(t.ANY))

BUILTINS: Final = (
    Builtin("intersection", _SETS, intersection, context=True),
    Builtin("union", _SETS, union, context=True),
)
