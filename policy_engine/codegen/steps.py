"""A build of a program whose functions tell which expressions they evaluate, with what values, and which succeed.

For `eval --explain` and for tests that fail. Every expression of every rule is evaluated, without indexes and joins: an
expression that an index has left out is just the one that somebody looks for. Values are those of that moment, which
under `with` cannot be looked up afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from policy_engine.codegen.constants import Constants
from policy_engine.codegen.context import Code, Query, run_of
from policy_engine.codegen.observer import Observer
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.generated_names import is_generated, source_name
from policy_engine.compiler.program import Group, dotted
from policy_engine.compiler.terms import expr_terms, walk_terms
from policy_engine.location import NOWHERE, Location
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Expr, Term
from policy_engine.values import UNDEFINED, Value

MOST: Final = 100_000
"""The most steps that are kept, the first ones."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of an expression, or an intermediate value, which has a place in the text and no name."""

    name: str
    location: Location


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """An expression in the compiled program. `level` is 1 in a rule's body, more in a body inside of that.

    `number` grows along a body.
    """

    location: Location
    level: int
    number: int
    variables: tuple[Variable, ...]


@dataclass(slots=True, eq=False)
class Step:
    """An expression that was evaluated for the rule `rule`, "" for the query; `depth` is that of its rule.

    `caller` is the step that asked for the rule. `values` are those of the variables, `seen` those of its terms.
    """

    rule: str
    depth: int
    caller: Step | None
    place: Place
    values: tuple[Value, ...]
    seen: dict[Location, Value] = field(default_factory=dict)
    succeeded: bool = False

    @property
    def undefined(self) -> Location | None:
        """The place of the term that made the step fail because it is undefined."""
        return next((loc for loc, value in self.seen.items() if value is UNDEFINED), None)


class Steps:
    """The steps of one evaluation, in order. Generated code calls the methods."""

    def __init__(self) -> None:
        self.all: list[Step] = []
        self._rules: list[tuple[str, Step | None, dict[Place, Step]]] = [("", None, {})]
        """The rules that are being evaluated: name, who asked, and the last step at each place."""
        self._last: Step | None = None

    def enter(self, rule: str) -> None:
        self._rules.append((rule, self._last, {}))

    def leave(self) -> None:
        _, self._last, _ = self._rules.pop()

    def reach(self, place: Place, values: tuple[Value, ...]) -> None:
        rule, caller, latest = self._rules[-1]
        self._last = latest[place] = Step(rule, len(self._rules) - 1, caller, place, values)
        if len(self.all) < MOST:
            self.all.append(self._last)

    def saw(self, place: Place, loc: Location, value: Value) -> None:
        self._rules[-1][2][place].seen[loc] = value

    def succeed(self, place: Place) -> None:
        self._rules[-1][2][place].succeeded = True


def steps(q: Query) -> Steps:
    """Where a decision's steps are noted."""
    run = run_of(q)
    if run.steps is None:
        run.steps = Steps()
    found: Steps = run.steps
    return found


class Recording(Observer):
    """Writes the calls that `Steps` notes."""

    exact = True
    whole = True
    joins = False
    indexed = False

    def __init__(self, constants: Constants, code: Code) -> None:
        super().__init__(constants, code)
        constants.namespace["steps"] = steps
        self._made: dict[str, tuple[Location, tuple[str, ...]]] = {}
        """Where each intermediate value stands, and the variables of the expression that makes it."""
        self._open: list[str] = []
        """The places of the expressions that are being written, as constants."""
        self._numbers = 0

    def begin(self, writer: Writer) -> None:
        writer.line("h = steps(q)")
        self._open.clear()

    def binds(self, writer: Writer, expr: Expr, env: Mapping[str, str], depth: int) -> None:
        terms = [found for term in expr_terms(expr) for found in walk_terms(term)]
        names = {found.name: found.loc for found in terms if isinstance(found, nodes.Var)}
        for name in filter(is_generated, names):
            self._made.setdefault(name, (names[name], tuple(names)))
        todo = list(names)
        while todo:  # also what its intermediate values were made of
            loc, parts = self._made.get(todo.pop(), (NOWHERE, ()))
            new = [name for name in parts if name not in names] if _contains(expr.loc, loc) else []
            names |= dict.fromkeys(new, expr.loc)
            todo += new
        shown = {
            name: Variable("" if is_generated(name) else source_name(name), self._made.get(name, (expr.loc,))[0])
            for name in names
            if env.get(name, "None") != "None" and not name.startswith("$")
        }
        self._numbers += 1
        place = Place(expr.loc, depth, self._numbers, tuple(shown.values()))
        self._open.append(self.constants.named("p", place, place))
        writer.line(f"h.reach({self._open[-1]}, ({''.join(f'{env[name]}, ' for name in shown)}))")

    def saw(self, writer: Writer, term: Term, value: str) -> None:
        if not term.loc.row or isinstance(term, nodes.Var) or constant_value(term) is not None:
            return
        # `some x in xs` is a reference with a step of its own, at the place of `xs`.
        steps = term.path if isinstance(term, nodes.Ref) else ()
        if not any(isinstance(step, nodes.Var) and step.name.startswith("$'") for step in steps):
            writer.line(f"h.saw({self._open[-1]}, {self.constants.loc(term.loc)}, {value})")

    def succeeded(self, writer: Writer, loc: Location, condition: str = "") -> None:
        writer.line(f"h.succeed({self._open.pop()})")

    def whole_function(self, group: Group, lines: list[str]) -> list[str]:
        header, *body = lines
        enter = f" steps(q).enter({self.constants.value(dotted(group.path))})"
        return [header, enter, " try:", *(f" {line}" for line in body), " finally: steps(q).leave()"]


def _contains(outer: Location, inner: Location) -> bool:
    return outer[1:3] <= inner[1:3] and inner[3:5] <= outer[3:5]
