"""The failure in an evaluation's steps: the expression, the term that was undefined, and the values it saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from policy_engine.codegen.steps import Step
from policy_engine.explanation import inside, text_of, values_of
from policy_engine.testing.results import Failure
from policy_engine.values import UNDEFINED, to_term

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
    bodies = inside(step, steps)
    values = values_of(step, bodies, sources)
    where = lacking.location if lacking else step.place.location
    text = text_of(where, sources)
    shown = {_cut(name): _cut(to_term(value)) for name, value in values.items() if value is not UNDEFINED}
    lines = [f"{name} = {value}" for name, value in shown.items() if value != name and name != _cut(text)]
    if reasons:
        asked = [other for other in steps if other.caller in (step, *bodies) and other.place.level == 1]
        failed = [failure_of(other, steps, sources, reasons=False) for other in asked if not other.succeeded]
        texts = [f"{each.location}: {'; '.join([each.message, *each.values])}" for each in failed]
        lines += list(dict.fromkeys(texts))[:MOST]
    what = "is undefined" if lacking else "is false" if values.get(text) is False else "does not hold"
    return Failure(where, _cut(text), what, tuple(lines))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
