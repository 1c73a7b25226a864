"""What failed, from the steps of an evaluation: the expression, the term that was undefined, and the values it saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from policy_engine.codegen.steps import Step
from policy_engine.location import Location
from policy_engine.testing.results import Failure
from policy_engine.values import UNDEFINED, Value, to_term

MOST: Final = 5
"""The most failures of a test that are listed, and the most reasons of one failure."""
MAX_VALUE: Final = 160
"""The longest text of a value, in characters."""


def of_test(steps: Sequence[Step], rule: str, sources: Mapping[str, str], *, cases: bool) -> tuple[Failure, ...]:
    """The expressions of a test that failed, given its rule: the furthest one, or with `cases` several."""
    own = [step for step in steps if step.rule == rule and step.place.level == 1 and not step.succeeded]
    if not cases:
        own = sorted(own, key=lambda step: -step.place.number)[:1]
    return tuple([failure_of(step, steps, sources) for step in own[:MOST]])


def failure_of(step: Step, steps: Sequence[Step], sources: Mapping[str, str], *, reasons: bool = True) -> Failure:
    """A step that failed, out of all steps. `reasons`: also say what failed in the rules that it asked for."""
    lacking = step.undefined
    inside = _inside(step, steps)
    values = values_of(step, sources)
    for other in inside:
        values |= values_of(other, sources)
    where = lacking or step.place.location
    text = text_of(where, sources)
    lines = [f"{name} = {value}" for name, value in values.items() if value not in (name, "undefined") and name != text]
    if reasons:
        asked = [other for other in steps if other.caller in (step, *inside) and other.place.level == 1]
        failed = [failure_of(other, steps, sources, reasons=False) for other in asked if not other.succeeded]
        texts = [f"{each.location}: {'; '.join([each.message, *each.values])}" for each in failed]
        lines += list(dict.fromkeys(texts))[:MOST]
    what = "is undefined" if lacking else "is false" if values.get(text) == "false" else "does not hold"
    return Failure(where, text, what, tuple(lines))


def values_of(step: Step, sources: Mapping[str, str]) -> dict[str, str]:
    """The variables and terms of a step, as written, and their values."""
    found: dict[str, Value] = {}
    for variable, value in zip(step.place.variables, step.values, strict=True):
        found[variable.name or text_of(variable.location, sources)] = value
    found |= {text_of(where, sources): value for where, value in step.seen.items()}
    return {name: "undefined" if value is UNDEFINED else _cut(to_term(value)) for name, value in found.items()}


def _inside(step: Step, steps: Sequence[Step]) -> list[Step]:
    """The steps that made an expression with a body in it fail: the last ones at each place of `not` and `every`."""
    begin = steps.index(step) + 1
    found: dict[Location, Step] = {}
    for other in steps[begin:]:
        if other.depth == step.depth and other.place.level <= step.place.level:
            break
        if other.depth == step.depth and other.place.level == step.place.level + 1:
            found[other.place.location] = other
    return list(found.values())


def text_of(where: Location, sources: Mapping[str, str]) -> str:
    """The text of a place on one line."""
    return _cut(" ".join(where.text_in(sources[where.file]).split())) if where.file in sources else "expression"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
