"""The reports of generated code about its own evaluation. There is one build of a program for each kind of observer.

The usual build reports nothing. The traced one notes which expressions succeeded and which rules gave a value. The
covering one notes what was evaluated, successful or not, as `opa test --coverage` does (v1/cover). profile.py and
steps.py have one more each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from policy_engine.codegen.constants import Constants
from policy_engine.codegen.context import Code
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.program import Clause, NormalRule, RuleGroup, dotted
from policy_engine.location import Location
from policy_engine.syntax.nodes import Expr, Term


class Observer:
    """The usual build. Other observers write lines of their own."""

    exact = False
    """True if each expression is evaluated as often as the policy says, in every decision."""
    whole = False
    """True if a rule that an index has chosen evaluates again what the index has decided."""
    joins = True
    """True if loops look only at the members that an equality behind them lets through."""
    indexed = True
    """True if an index may leave out rules that cannot apply."""

    def __init__(self, constants: Constants, code: Code) -> None:
        self.constants = constants
        self.code = code

    def begin(self, writer: Writer) -> None:
        """A function that evaluates bodies begins."""

    def reached(self, writer: Writer, loc: Location) -> None:
        """An expression follows."""

    def succeeded(self, writer: Writer, loc: Location, condition: str = "") -> None:
        """An expression has succeeded, if the condition holds."""

    def tries(self, writer: Writer, clause: Clause) -> None:
        """The body of a rule follows."""

    def binds(self, writer: Writer, expr: Expr, env: Mapping[str, str], depth: int) -> None:
        """An expression follows. `env` has the Python names of the variables that are bound, `depth` counts bodies."""

    def saw(self, writer: Writer, term: Term, value: str) -> None:
        """A term of the expression has got a value, which may be undefined."""

    def ranges(self, writer: Writer, step: Term, value: str) -> None:
        """A loop over a value follows, for an unbound step of a reference in the expression."""

    def gave(self, writer: Writer, rule: NormalRule, clause: Clause, value: Callable[[], str]) -> None:
        """A rule gives a value. `value()` writes what it takes to name the value, or the member of a set."""

    def whole_function(self, group: RuleGroup, lines: list[str]) -> list[str]:
        """The lines of a group's function, or of one for a part of its document."""
        return lines


class Traced(Observer):
    """Notes expressions that succeed, in `Run.marks`, and rules that give a value, in `Run.fired`."""

    exact = True
    whole = True

    def __init__(self, constants: Constants, code: Code) -> None:
        super().__init__(constants, code)
        self._places: dict[Location, int] = {}

    def begin(self, writer: Writer) -> None:
        writer.line("h = marks(q)")

    def succeeded(self, writer: Writer, loc: Location, condition: str = "") -> None:
        if loc.row:
            writer.line(f"{f'if {condition}: ' if condition else ''}h[{self._place(loc)}] = 1")

    def gave(self, writer: Writer, rule: NormalRule, clause: Clause, value: Callable[[], str]) -> None:
        note = self.constants.value(f"{dotted(rule.path)} at {clause.loc}")
        writer.line(f"run_of(q).fire({note})")

    def _place(self, loc: Location) -> int:
        """The number of a place in the policies that may be marked."""
        if loc not in self._places:
            self._places[loc] = len(self._places)
            self.code.places.append(loc)
        return self._places[loc]


class Covering(Traced):
    """Notes expressions that are evaluated, and the heads of rules that give a value."""

    joins = False  # a join leaves out the members for which the equality behind it would only be evaluated

    def reached(self, writer: Writer, loc: Location) -> None:
        super().succeeded(writer, loc)

    def succeeded(self, writer: Writer, loc: Location, condition: str = "") -> None:
        """It has been noted when it was reached."""

    def gave(self, writer: Writer, rule: NormalRule, clause: Clause, value: Callable[[], str]) -> None:
        super().gave(writer, rule, clause, value)
        self.reached(writer, clause.loc)
