"""Constant terms to values, and values to constant terms."""

from __future__ import annotations

from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Term
from policy_engine.values import Set, Value, freeze, sorted_items


def constant_value(term: Term) -> tuple[Value] | None:
    """The value of a term that consists of constants, in a tuple; None for any other term."""
    match term:
        case nodes.Scalar(value):
            return (value,)
        case nodes.Array(items):
            parts = [constant_value(item) for item in items]
            return ([part[0] for part in parts if part],) if all(parts) else None
        case nodes.Set(items):
            parts = [constant_value(item) for item in items]
            return (Set([part[0] for part in parts if part]),) if all(parts) else None
        case nodes.Object(pairs):
            keys = [constant_value(key) for key, _ in pairs]
            values = [constant_value(value) for _, value in pairs]
            if not all(keys) or not all(values):
                return None
            return ({freeze(key[0]): value[0] for key, value in zip(keys, values, strict=True) if key and value},)
        case _:
            return None


def constant_term(value: Value, loc: Location) -> Term:
    """The term that has a value: the inverse of `constant_value`."""
    if isinstance(value, list):
        return nodes.Array(tuple([constant_term(item, loc) for item in value]), loc=loc)
    if isinstance(value, Set):
        return nodes.Set(tuple([constant_term(item, loc) for item in value]), loc=loc)
    if isinstance(value, dict):
        pairs = [(constant_term(key, loc), constant_term(item, loc)) for key, item in sorted_items(value)]
        return nodes.Object(tuple(pairs), loc=loc)
    return nodes.Scalar(value, loc=loc)
