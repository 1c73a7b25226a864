"""A build of a program whose functions tell the clock which expression they have come to. For `eval --profile`.

It is the usual build with calls in between, so it uses the same indexes and joins. The calls cost more than many
expressions do. Their own time is not counted, but read the figures as shares.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from policy_engine.codegen.constants import Constants
from policy_engine.codegen.context import Code
from policy_engine.codegen.observer import Observer
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.program import RuleGroup, dotted
from policy_engine.location import NOWHERE, Location


@dataclass(slots=True)
class Spent:
    """The time that one rule or line took, and how often it was evaluated."""

    location: Location
    name: str = ""
    time_ns: int = 0
    evaluations: int = 0


@dataclass(slots=True)
class _Call:
    """A rule that is being evaluated: the time that had been counted before, and the expression that asked for it."""

    rule: Spent
    began: int
    caller: Spent


class Profile:
    """The times of one evaluation, collected while it runs.

    A rule's time includes that of the rules that it asks for. A line's time does not. An expression that iterates is
    evaluated once, those after it once for each of its solutions.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what has been collected, and count from now on."""
        self._rules: dict[str, Spent] = {}
        self._parts: dict[Location, Spent] = {}
        self._calls: list[_Call] = []
        self._between = Spent(NOWHERE)
        """Time outside of expressions, for finding rules and building documents."""
        self._current = self._between
        self._counted = 0
        self._since = time.perf_counter_ns()

    @property
    def rules(self) -> list[Spent]:
        """Every rule that was evaluated, the most expensive first."""
        return sorted(self._rules.values(), key=lambda spent: -spent.time_ns)

    @property
    def lines(self) -> list[Spent]:
        """Every line with an expression that was evaluated, the most expensive first.

        The compiler takes expressions apart: a line's time is the sum over its parts, and its evaluations are those of
        the part that was evaluated most. Lines of the query have no file.
        """
        found: dict[tuple[str, int], Spent] = {}
        for part in self._parts.values():
            where = part.location
            line = found.setdefault((where.file, where.row), Spent(where._replace(col=0, end_row=0, end_col=0)))
            line.time_ns += part.time_ns
            line.evaluations = max(line.evaluations, part.evaluations)
        return sorted(found.values(), key=lambda spent: -spent.time_ns)

    # Generated code calls these three. They read the clock first and last, so that their own time is not counted.

    def reach(self, loc: Location) -> None:
        """The next expression begins."""
        self._charge(time.perf_counter_ns())
        part = self._parts.get(loc)
        if part is None:
            part = self._parts[loc] = Spent(loc)
        part.evaluations += 1
        self._current = part
        self._since = time.perf_counter_ns()

    def enter(self, name: str, loc: Location) -> None:
        """A rule begins."""
        self._charge(time.perf_counter_ns())
        rule = self._rules.get(name)
        if rule is None:
            rule = self._rules[name] = Spent(loc, name)
        rule.evaluations += 1
        self._calls.append(_Call(rule, self._counted, self._current))
        self._current = self._between
        self._since = time.perf_counter_ns()

    def leave(self) -> None:
        """A rule ends, and the expression that asked for it goes on."""
        self._charge(time.perf_counter_ns())
        call = self._calls.pop()
        call.rule.time_ns += self._counted - call.began
        self._current = call.caller
        self._since = time.perf_counter_ns()

    def _charge(self, now: int) -> None:
        self._current.time_ns += now - self._since
        self._counted += now - self._since


class Profiling(Observer):
    """Writes the calls that `profile` collects."""

    whole = True

    def __init__(self, profile: Profile, constants: Constants, code: Code) -> None:
        super().__init__(constants, code)
        self._last: tuple[Writer, Location] | None = None
        constants.namespace |= {"reach": profile.reach, "enter": profile.enter, "leave": profile.leave}

    def reached(self, writer: Writer, loc: Location) -> None:
        # Parts of an expression that have the place of the whole are not counted again.
        if loc.row and self._last != (writer, loc):
            writer.line(f"reach({self.constants.loc(loc)})")
            self._last = (writer, loc)

    def whole_function(self, group: RuleGroup, lines: list[str]) -> list[str]:
        header, *body = lines
        enter = f" enter({self.constants.value(dotted(group.path))}, {self.constants.loc(group.loc)})"
        return [header, enter, " try:", *(f" {line}" for line in body), " finally: leave()"]
