"""Rule indexing: which rules of a group can apply, decided by one look-up instead of by running them all.

Many rules begin by comparing the same part of the input, or the same argument, with a constant. The part that tells
most of them apart is looked up in a table from the constant to the rules that mention it; rules that say nothing about
that part are in every entry, and order is kept. A rule that is left out could not have applied: what it does not run
cannot be missed, but for the errors it would have raised (OPA: v1/ast/index.go has the same effect).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policy_engine.compiler.program import Rule
from policy_engine.compiler.terms import builtin_name
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Body, Term
from policy_engine.values import Set

FEWEST = 6
"""Rules in a group that is worth a table."""

Place = tuple[str, ...] | int
"""A path below input, or the number of an argument."""


@dataclass(slots=True)
class Index:
    """`table` gives the numbers of the rules that may apply for a string; `rest` of those for anything else."""

    place: Place
    table: dict[str, tuple[int, ...]]
    rest: tuple[int, ...]


def find(rules: list[Rule]) -> Index | None:
    """The most selective index of a group's rules; None if none is worth it."""
    if len(rules) < FEWEST:
        return None
    wanted: dict[Place, dict[int, frozenset[str]]] = {}
    for number, rule in enumerate(rules):
        for place, texts in _demands(rule):
            known = wanted.setdefault(place, {})
            known[number] = known[number] & texts if number in known else texts
    best: Index | None = None
    cost = len(rules) / 2  # an index that leaves half of the rules is not worth its look-up
    for place, by_rule in wanted.items():
        index = _build(place, by_rule, len(rules))
        mean = sum(map(len, index.table.values())) / max(len(index.table), 1)
        if mean < cost:
            best, cost = index, mean
    return best


def _build(place: Place, by_rule: dict[int, frozenset[str]], count: int) -> Index:
    rest = [number for number in range(count) if number not in by_rule]
    table: dict[str, list[int]] = {}
    for number, texts in by_rule.items():
        for text in texts:
            table.setdefault(text, []).append(number)
    merged = {text: tuple(sorted((*numbers, *rest))) for text, numbers in table.items()}
    return Index(place, merged, tuple(rest))


def _demands(rule: Rule) -> Iterator[tuple[Place, frozenset[str]]]:
    """What a rule demands: at a place, one of some strings."""
    for number, arg in enumerate(rule.args or ()):
        if (texts := _texts(arg)) is not None:
            yield number, texts
    if len(rule.clauses) == 1:  # with an `else` the rule applies in other cases too
        yield from _body_demands(rule.clauses[0].body)


def _body_demands(body: Body) -> Iterator[tuple[Place, frozenset[str]]]:
    paths: dict[str, Place] = {}
    for expr in body:
        what = expr.what
        if expr.negated or expr.withs or not isinstance(what, nodes.Call) or len(what.args) != 2:
            continue
        left, right = what.args
        name = builtin_name(what)
        if name == "eq":
            for a, b in ((left, right), (right, left)):
                if isinstance(a, nodes.Var) and (path := _input_path(b)) is not None:
                    paths[a.name] = path
                place = paths.get(a.name) if isinstance(a, nodes.Var) else _input_path(a)
                if place is not None and (texts := _texts(b)) is not None:
                    yield place, texts
        elif name == "internal.member_2" and isinstance(left, nodes.Var) and left.name in paths:
            members = constant_value(right)
            if (
                members is not None
                and members[0].__class__ in (list, Set)
                and all(isinstance(m, str) for m in members[0])
            ):
                yield paths[left.name], frozenset(members[0])


def _texts(term: Term) -> frozenset[str] | None:
    return frozenset((term.value,)) if isinstance(term, nodes.Scalar) and isinstance(term.value, str) else None


def _input_path(term: Term) -> tuple[str, ...] | None:
    """The path of a reference into input whose steps are all strings."""
    if not isinstance(term, nodes.Ref) or not isinstance(term.head, nodes.Var) or term.head.name != "input":
        return None
    steps = [step.value for step in term.path if isinstance(step, nodes.Scalar)]
    if len(steps) != len(term.path) or not all(isinstance(step, str) for step in steps):
        return None
    return tuple(str(step) for step in steps)
