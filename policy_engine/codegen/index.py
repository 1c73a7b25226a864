"""Rule indexing: one look-up decides which rules of a group can apply, so that the others need not run.

Many rules begin by comparing the same part of the input, or the same argument, with a constant. The part that tells
most of them apart is looked up in a table from the constant to the rules that mention it. Rules that do not test that
part are in every entry, and the order of rules is kept. A rule that is left out could not have applied. Only errors
that it would have raised are missing, as they are in OPA, which has an index too (v1/ast/index.go).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from policy_engine.compiler.program import NormalRule
from policy_engine.compiler.terms import builtin_name
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Expr, Term
from policy_engine.values import Set

FEWEST = 6
"""The fewest rules of a group that is worth a table."""

MOST_LENGTHS: Final = 16
"""The most lengths of beginnings that are looked up one after the other."""

Place = tuple[str, ...] | int
"""A path below input, or the number of an argument."""


@dataclass(slots=True)
class Index:
    """`table` has the numbers of the rules that may apply for a string, `rest` those for any other value.

    With `lengths` the strings of the table are beginnings of values, and `lengths` are theirs, longest first. The
    longest one counts: its rules include those of all shorter beginnings. The tests of the rules fail with an error if
    a value is no string. For that case the table has all rules at None.
    """

    place: Place
    table: dict[str | None, tuple[int, ...]]
    rest: tuple[int, ...]
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Demand:
    """A rule applies only if there is one of some strings at a place, or a string that begins with one of them."""

    place: Place
    texts: frozenset[str]
    beginning: bool = False


def find(rules: list[NormalRule]) -> Index | None:
    """The most selective index of a group's rules; None if none is worth it."""
    if len(rules) < FEWEST:
        return None
    wanted: dict[tuple[Place, bool], dict[int, frozenset[str]]] = {}
    for number, rule in enumerate(rules):
        for demand in _demands(rule):
            known = wanted.setdefault((demand.place, demand.beginning), {})
            if number not in known:
                known[number] = demand.texts
            elif not demand.beginning:
                known[number] &= demand.texts
    best: Index | None = None
    cost = len(rules) / 2  # an index that leaves half of the rules is not worth its look-up
    for (place, beginning), by_rule in wanted.items():
        index = _build(place, by_rule, len(rules), beginning)
        entries = [numbers for text, numbers in index.table.items() if text is not None]
        mean = sum(map(len, entries)) / max(len(entries), 1)
        if mean < cost and len(index.lengths) <= MOST_LENGTHS:
            best, cost = index, mean
    return best


def without_decided(rule: NormalRule, number: int, index: Index) -> NormalRule:
    """A rule without the comparisons of the input with a text that hold wherever the index has chosen the rule."""
    if index.lengths or number in index.rest or isinstance(index.place, int) or len(rule.clauses) != 1:
        return rule
    (clause,) = rule.clauses
    body = tuple([expr for expr in clause.body if not _is_decided(expr, index.place)])
    return replace(rule, clauses=[replace(clause, body=body)])


def _is_decided(expr: Expr, place: Place) -> bool:
    what = expr.what
    if expr.negated or expr.withs or not isinstance(what, nodes.Call) or builtin_name(what) != "eq":
        return False
    return any(_input_path(a) == place and _texts(b) is not None for a, b in (what.args, what.args[::-1]))


def _build(place: Place, by_rule: dict[int, frozenset[str]], count: int, beginning: bool) -> Index:
    rest = [number for number in range(count) if number not in by_rule]
    table: dict[str, list[int]] = {}
    for number, texts in by_rule.items():
        for text in texts:
            table.setdefault(text, []).append(number)
    lengths = tuple(sorted({len(text) for text in table}, reverse=True)) if beginning else ()
    merged: dict[str | None, tuple[int, ...]] = {None: tuple(range(count))} if beginning else {}
    for text, numbers in table.items():
        shorter = [table.get(text[:length], ()) for length in lengths if length < len(text)]
        merged[text] = tuple(sorted({*numbers, *chain.from_iterable(shorter), *rest}))
    return Index(place, merged, tuple(rest), lengths)


def _demands(rule: NormalRule) -> Iterator[_Demand]:
    """The demands of a rule."""
    for number, arg in enumerate(rule.args or ()):
        if (texts := _texts(arg)) is not None:
            yield _Demand(number, texts)
    if len(rule.clauses) == 1:  # with an `else` the rule applies in other cases too
        yield from _body_demands(rule)


def _body_demands(rule: NormalRule) -> Iterator[_Demand]:
    places: dict[str, Place] = {}
    for number, arg in enumerate(rule.args or ()):
        if isinstance(arg, nodes.Var):
            places[arg.name] = number
    for expr in rule.clauses[0].body:
        what = expr.what
        if expr.negated or expr.withs or not isinstance(what, nodes.Call):
            continue
        name = builtin_name(what)
        if name == "eq" and len(what.args) == 2:
            left, right = [(term, _input_path(term)) for term in what.args]
            for (a, a_path), (b, b_path) in ((left, right), (right, left)):
                if isinstance(a, nodes.Var) and b_path is not None:
                    places[a.name] = b_path
                place = places.get(a.name) if isinstance(a, nodes.Var) else a_path
                if place is not None and (texts := _texts(b)) is not None:
                    yield _Demand(place, texts)
        elif name in _TESTS and len(what.args) == _TESTS[name].arity:
            test = _TESTS[name]
            subject = what.args[test.subject]
            constants = all(constant_value(arg) is not None for arg in what.args if arg is not subject)
            if constants and isinstance(subject, nodes.Var) and subject.name in places:
                texts = test.texts(what.args[test.wanted])
                if texts is not None:
                    yield _Demand(places[subject.name], texts, test.beginning)


def _texts(term: Term) -> frozenset[str] | None:
    return frozenset((term.value,)) if isinstance(term, nodes.Scalar) and isinstance(term.value, str) else None


def _members(term: Term) -> frozenset[str] | None:
    """The strings of a constant collection of strings."""
    found = constant_value(term)
    if found is None or found[0].__class__ not in (list, Set) or not all(isinstance(m, str) for m in found[0]):
        return None
    return frozenset(found[0])


def _one_or_more(term: Term) -> frozenset[str] | None:
    return _texts(term) or _members(term)


def _literal_beginning(term: Term) -> frozenset[str] | None:
    """The text with which everything begins that a glob pattern matches; only of patterns that are surely valid."""
    if not isinstance(term, nodes.Scalar) or not isinstance(term.value, str) or set(term.value) & set("[]{}\\"):
        return None
    literal = re.split("[*?]", term.value, maxsplit=1)[0]
    return frozenset((literal,)) if literal else None


@dataclass(frozen=True, slots=True)
class _Test:
    """A builtin that is true only if its operand `subject` is, or begins with, a text of its operand `wanted`."""

    arity: int
    subject: int
    wanted: int
    texts: Callable[[Term], frozenset[str] | None]
    beginning: bool = True


_TESTS: Final = {
    "glob.match": _Test(3, 2, 0, _literal_beginning),
    "internal.member_2": _Test(2, 0, 1, _members, beginning=False),
    "startswith": _Test(2, 0, 1, _texts),
    "strings.any_prefix_match": _Test(2, 0, 1, _one_or_more),
}


def _input_path(term: Term) -> tuple[str, ...] | None:
    """The path of a reference into input whose steps are all strings."""
    if not isinstance(term, nodes.Ref) or not isinstance(term.head, nodes.Var) or term.head.name != "input":
        return None
    steps: list[str] = []
    for step in term.path:
        if not isinstance(step, nodes.Scalar) or not isinstance(step.value, str):
            return None
        steps.append(step.value)
    return tuple(steps)
