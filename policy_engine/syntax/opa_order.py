"""The order of terms in OPA's JSON syntax tree (v1/ast/compare.go).

The members of a set and the keys of an object have this order, and a set has no equal members.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from policy_engine.values import order_key

Json: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[Any, ...]

_SCALARS: Final = {"null": 0, "boolean": 1, "number": 2, "string": 3}
_SEQUENCES: Final = {"ref": 6, "array": 7, "set": 9, "call": 13}
_COMPREHENSIONS: Final = {"arraycomprehension": 10, "objectcomprehension": 11, "setcomprehension": 12}
_LOGICAL: Final = {"not": 4, "and": 5, "or": 6}
_ABSENT: Final[Key] = (-1,)


def distinct(members: list[Json]) -> list[Json]:
    """The members of a set, in order. The first of several equal members stays."""
    if len(members) < 2:
        return members
    keyed = sorted(((_term(member), member) for member in members), key=lambda pair: pair[0])
    return [member for i, (key, member) in enumerate(keyed) if i == 0 or key != keyed[i - 1][0]]


def ordered(pairs: list[list[Json]]) -> list[list[Json]]:
    """The pairs of an object, in order."""
    return sorted(pairs, key=lambda pair: _term(pair[0])) if len(pairs) > 1 else pairs


def _term(term: Json | None) -> Key:
    if term is None:
        return _ABSENT
    kind = term["type"]
    value = term["value"]
    if kind in _SCALARS:
        return (_SCALARS[kind], order_key(None if kind == "null" else value))
    if kind == "var":
        return (5, value)
    if kind in _SEQUENCES:
        return (_SEQUENCES[kind], tuple(map(_term, value)))
    if kind == "object":
        return (8, tuple([_term(part) for pair in value for part in pair]))
    if kind == "templatestring":
        parts = value["parts"] or ()
        return (4, value["multi_line"], len(parts), tuple(map(_part, parts)))
    heads = [value[part] for part in ("term", "key", "value") if part in value]
    return (_COMPREHENSIONS[kind], *map(_term, heads), _body(value["body"]))


def _part(part: Json) -> Key:
    """A part of a template string: a text or an expression."""
    return _expr(part) if "terms" in part else _term(part)


def _body(body: list[Json]) -> Key:
    return tuple(map(_expr, body))


def _expr(expr: Json) -> Key:
    """Braces around an operand do not count: `not x` and `not { x }` are equal."""
    terms = expr["terms"]
    modifiers = [part for item in expr.get("with", ()) for part in (_term(item["target"]), _term(item["value"]))]
    return (100, *_terms(terms, expr.get("negated", False)), tuple(modifiers))


def _terms(terms: Any, negated: bool) -> Key:
    if isinstance(terms, list):
        return (2, negated, tuple(map(_term, terms)))
    if "symbols" in terms:
        return (0, negated, tuple(map(_term, terms["symbols"])))
    if "domain" in terms:
        return (3, negated, *map(_term, (terms["key"], terms["value"], terms["domain"])), _body(terms["body"]))
    if terms["type"] in _LOGICAL:
        operands = [terms[part] for part in ("body", "lhs", "rhs") if part in terms]
        return (_LOGICAL[terms["type"]], negated, *map(_body, operands))
    return (1, negated, _term(terms))
