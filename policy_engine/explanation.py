"""The reasons for a decision's value: the rules that held, and the expression that failed in those that did not.

All of it comes from the steps of a second evaluation (codegen/steps.py). The compiler takes expressions apart: here
they are put together again, as the source has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from policy_engine.codegen.steps import Step, Steps
from policy_engine.compiler.program import Clause, Program, dotted
from policy_engine.errors import PolicyError
from policy_engine.location import Location
from policy_engine.values import UNDEFINED, Value, freeze, to_json


@dataclass(frozen=True, slots=True)
class Failed:
    """The expression at which a rule ended: the furthest that any attempt came. `times` is how often it was reached.

    `values` are those of the variables and terms in it, as the first attempt had them, each with its text. A value may
    be `UNDEFINED`.
    """

    location: Location
    text: str
    values: tuple[tuple[str, Value], ...]
    times: int


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """One rule, or an `else` part of one. `values` are what it gave, as JSON values: members of a set, or one value.

    `kind` is complete, set, object or function.

    If `tried` is 0 it was not needed, because another rule had given the value. `failed` is None if it held or was not
    tried, and also if the arguments or the key that were asked for did not match its head.
    """

    path: str
    kind: str
    location: Location
    default: bool
    tried: int
    held: int
    values: tuple[Value, ...]
    failed: Failed | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and what it evaluated; if that ended in an error, all up to then."""

    value: Value
    error: PolicyError | None
    _noted: Steps = field(repr=False)
    _program: Program = field(repr=False)

    @property
    def steps(self) -> list[Step]:
        """Every expression that was evaluated, in order: what it saw, and whether it succeeded."""
        return self._noted.all

    def rules(self, modules: Mapping[str, str]) -> tuple[RuleOutcome, ...]:
        """The rules that were evaluated and their alternatives, by place. `modules` are the sources of the policies."""
        noted = self._noted
        furthest: dict[Clause | None, Step] = {}
        for step in noted.all:
            place = step.place
            if place.level == 1 and not step.succeeded:
                known = furthest.get(place.clause)
                if known is None or place.number > known.place.number:
                    furthest[place.clause] = step
        found: list[RuleOutcome] = []
        for group in self._program.groups:
            pairs = [(rule, clause) for rule in (*group.rules, *group.defaults) for clause in rule.clauses]
            if not any(clause in noted.tried for _, clause in pairs):
                continue
            for rule, clause in pairs:
                last = None if noted.held[clause] else furthest.get(clause)
                outcome = RuleOutcome(
                    path=dotted(rule.path),
                    kind=group.kind.value,
                    location=clause.loc,
                    default=rule.default,
                    tried=noted.tried[clause],
                    held=noted.held[clause],
                    values=tuple({freeze(value): to_json(value) for value in noted.given.get(clause, ())}.values()),
                    failed=None if last is None else self._failed(last, clause, modules),
                )
                found.append(outcome)
        return tuple(sorted(found, key=lambda each: each.location))

    def _failed(self, step: Step, clause: Clause, modules: Mapping[str, str]) -> Failed:
        whole = step.place.location
        for expr in clause.body:
            whole = expr.loc if expr.loc.contains(whole) else whole
        text = text_of(whole, modules)
        values = values_of(step, inside(step, self.steps), modules)
        if len(values) > 1 and values.get(text) is not UNDEFINED:
            values.pop(text, None)
        shown = tuple([(name, value if value is UNDEFINED else to_json(value)) for name, value in values.items()])
        return Failed(whole, text, shown, self._noted.reached[step.place])


def inside(step: Step, steps: Sequence[Step]) -> list[Step]:
    """The steps that made an expression with bodies in it fail, such as `every`: the last attempt at each body."""
    found: list[Step] = []
    for other in steps[steps.index(step) + 1 :]:
        if other.depth == step.depth and other.place.level <= step.place.level:
            break
        if other.depth == step.depth and other.place.level == step.place.level + 1:
            found = [*(each for each in found if each.place.number < other.place.number), other]
    return found


def values_of(step: Step, bodies: Sequence[Step], sources: Mapping[str, str]) -> dict[str, Value]:
    """The variables and terms of a step that failed, as written, and their values; `bodies` are the steps inside it."""
    found: dict[str, Value] = {}
    for each in (step, *bodies):
        found |= {part.name or text_of(part.location, sources): value for part, value in each.values.items()}
        if each is not step and not each.succeeded and not each.undefined:
            found.setdefault(text_of(each.place.location, sources), False)
    return found


def text_of(where: Location, sources: Mapping[str, str]) -> str:
    """The text of a place on one line."""
    return " ".join(where.text_in(sources[where.file]).split()) if where.file in sources else "expression"
