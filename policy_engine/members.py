"""The documents that a package's rules define: where they stand, their types, and those that are constant.

Found from the policies alone, like `facts.py`, so a host that reads certain rules of a package can reject others before
the first decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policy_engine.compiler.program import Clause, NormalRule, Path, Program
from policy_engine.location import Location
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Scalar
from policy_engine.types import ANY, Type
from policy_engine.values import UNDEFINED, Value, to_json


@dataclass(frozen=True, slots=True)
class Member:
    """The part that one rule, or an `else` of it, adds to the document of a package.

    `path` leads from the package to what is added, whose type is `type`; the steps after the first are the constant
    part of a head such as `limits.tokens_per_day`, and there are none if the package's whole document is one rule.
    `value` is a JSON value if it is constant, else `UNDEFINED`. For a rule with `contains` both are those of the set:
    `value` is a list of one. Functions are no members.
    """

    path: tuple[str, ...]
    type: Type
    value: Value
    location: Location


def find(program: Program, package: Path) -> Iterator[Member]:
    """The members of the document at the path of a package, in order of their places. Packages below it count."""
    found = [
        Member(path[len(package) :], program.types.get(clause, ANY), _constant(rule, clause), clause.loc or rule.loc)
        for rule, clause in program.ordered
        if rule.args is None and (path := _path(rule))[: len(package)] == package
    ]
    yield from sorted(found, key=lambda member: member.location)


def _path(rule: NormalRule) -> tuple[str, ...]:
    """The steps of a rule's path up to the first that is no constant string."""
    path = list(rule.path)
    for step in rule.suffix:
        if not isinstance(step, Scalar):
            break
        path.append(step.value)
    return tuple(path[: next((i for i, step in enumerate(path) if not isinstance(step, str)), len(path))])


def _constant(rule: NormalRule, clause: Clause) -> Value:
    """The clause's value if that is a constant at a constant path."""
    if len(_path(rule)) != len(rule.path) + len(rule.suffix):
        return UNDEFINED
    term = rule.key if rule.key is not None else clause.value
    found = None if term is None else constant_value(term)
    if found is None:
        return UNDEFINED
    value = to_json(found[0])
    return [value] if rule.key is not None else value
