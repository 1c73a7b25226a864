"""A build of a program whose functions note how far every rule has come. For `Policies.explain`.

No index leaves out a rule and no join a member of a loop, so that what did not hold was really evaluated. A rule that
is not needed because another one has given the value is not tried here either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policy_engine.codegen.constants import Constants
from policy_engine.codegen.context import Code
from policy_engine.codegen.observer import Observer
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.program import Clause, Rule
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Expr
from policy_engine.values import Value

MOST_VALUES = 100
"""The values of one rule that are kept. There can be as many as a set has members."""


@dataclass(slots=True, eq=False)
class Step:
    """One expression of a body in normal form: how often it was reached, and the variables at that moment.

    `values` are those of `variables` when it was first reached; in the body of `every`, when it was last reached, which
    is the member that fails. `inner` is the expression in such a body that was reached last.
    """

    expr: Expr
    variables: tuple[str, ...]
    reached: int = 0
    values: tuple[Value, ...] = ()
    inner: Step | None = None


@dataclass(slots=True, eq=False)
class Attempt:
    """The attempts to evaluate one rule, or one of its `else` parts, in one function that was written for it."""

    rule: Rule
    clause: Clause
    steps: list[Step] = field(default_factory=list)
    """The expressions of its body, in the order of evaluation."""
    tried: int = 0
    held: int = 0
    values: list[Value] = field(default_factory=list)


class Trace:
    """What one evaluation has noted, collected while it runs."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self._steps: list[tuple[Step, Step | None]] = []

    def add(self, step: Step, outer: Step | None) -> int:
        """The number of a step, for generated code. `outer` is the `every` that it is a part of."""
        self._steps.append((step, outer))
        return len(self._steps) - 1

    # Generated code calls these four.

    def tried(self, number: int) -> None:
        self.attempts[number].tried += 1

    def reach(self, number: int, values: tuple[Value, ...]) -> None:
        step, outer = self._steps[number]
        step.reached += 1
        if outer is not None:
            step.values = values
            outer.inner = step
        elif step.reached == 1:
            step.values = values

    def held(self, number: int) -> None:
        self.attempts[number].held += 1

    def given(self, number: int, value: Value) -> None:
        values = self.attempts[number].values
        if len(values) < MOST_VALUES:
            values.append(value)


class Explaining(Observer):
    """Writes the calls that `trace` collects."""

    exact = True
    whole = True
    joins = False
    indexed = False
    values = True

    def __init__(self, trace: Trace, constants: Constants, code: Code) -> None:
        super().__init__(constants, code)
        self._trace = trace
        self._number = -1
        self._every: Step | None = None
        constants.namespace |= {"tried": trace.tried, "reach": trace.reach, "held": trace.held, "given": trace.given}

    def tries(self, writer: Writer, rule: Rule, clause: Clause) -> None:
        self._number = len(self._trace.attempts)
        self._trace.attempts.append(Attempt(rule, clause))
        writer.line(f"tried({self._number})")

    def binds(self, writer: Writer, expr: Expr, env: Mapping[str, str], depth: int) -> None:
        """A step of the rule's own body, or of an `every` in it. Other bodies in it may fail, and it may still hold."""
        if self._number < 0 or depth > 2 or (depth == 2 and self._every is None):
            return
        names = [name for name in env if not name.startswith("$")]
        step = Step(expr, tuple(names))
        outer = None
        if depth == 1:
            self._trace.attempts[self._number].steps.append(step)
            self._every = step if isinstance(expr.what, nodes.Every) and not expr.negated else None
        else:
            outer = self._every
        bound = "".join(f"{env[name]}, " for name in names)
        writer.line(f"reach({self._trace.add(step, outer)}, ({bound}))")

    def gave(self, writer: Writer, rule: Rule, clause: Clause) -> None:
        writer.line(f"held({self._number})")

    def value(self, writer: Writer, value: str) -> None:
        writer.line(f"given({self._number}, {value})")
