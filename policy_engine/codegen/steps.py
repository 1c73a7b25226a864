"""A build of a program whose functions tell which expressions they evaluate, with what values, and which succeed.

For decisions that are explained, `eval --explain` and tests that fail. Every expression of every rule is evaluated,
without indexes and joins: an expression that an index has left out is just the one that somebody looks for. A rule that
is not needed because another one has given the value is not tried here either. Values are those of that moment, which
under `with` cannot be looked up afterwards.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from policy_engine.codegen.constants import Constants
from policy_engine.codegen.context import Code, Query, run_of
from policy_engine.codegen.observer import Observer
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.generated_names import is_generated, source_name
from policy_engine.compiler.program import Clause, NormalRule, RuleGroup, dotted
from policy_engine.compiler.terms import expr_terms, walk_terms
from policy_engine.location import NOWHERE, Location
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Expr, Term
from policy_engine.values import UNDEFINED, Value

MOST: Final = 100_000
"""The most steps that are kept, the first ones, and the first one at each place."""
MOST_VALUES: Final = 100
"""The values of one rule that are kept. There can be as many as a set has members."""


@dataclass(frozen=True, slots=True)
class TermPart:
    """A variable or a term of an expression. A term has a place in the text and no name."""

    name: str
    location: Location


@dataclass(frozen=True, slots=True, eq=False)
class ProgramPlace:
    """An expression in the compiled program. `level` is 1 in a rule's body, more in a body inside of that.

    `number` grows along the body of `clause`, which is None in a query.
    """

    location: Location
    level: int
    number: int
    variables: tuple[TermPart, ...]
    clause: Clause | None


@dataclass(slots=True, eq=False)
class Step:
    """An expression that was evaluated for the rule `rule`, "" for the query; `depth` is that of its rule.

    `caller` is the step that asked for the rule. `values` are those of its variables, then of its terms.
    """

    rule: str
    depth: int
    caller: Step | None
    place: ProgramPlace
    values: dict[TermPart, Value]
    succeeded: bool = False

    @property
    def undefined(self) -> TermPart | None:
        """The term that made the step fail because it is undefined."""
        return next((part for part, value in self.values.items() if value is UNDEFINED and not self.succeeded), None)


class Steps:
    """The steps of one evaluation, in order, and what became of the rules. Generated code calls the methods."""

    def __init__(self) -> None:
        self.all: list[Step] = []
        self.reached: Counter[ProgramPlace] = Counter()
        self.tried: Counter[Clause] = Counter()
        self.held: Counter[Clause] = Counter()
        self.given: defaultdict[Clause, list[Value]] = defaultdict(list)
        self._rules: list[tuple[str, Step | None, dict[ProgramPlace, Step]]] = [("", None, {})]
        """The rules that are being evaluated: name, who asked, and the last step at each place."""
        self._last: Step | None = None

    def enter(self, rule: str) -> None:
        self._rules.append((rule, self._last, {}))

    def leave(self) -> None:
        _, self._last, _ = self._rules.pop()

    def reach(self, place: ProgramPlace, values: tuple[Value, ...]) -> None:
        rule, caller, latest = self._rules[-1]
        found = dict(zip(place.variables, values, strict=True))
        self._last = latest[place] = Step(rule, len(self._rules) - 1, caller, place, found)
        if len(self.all) < MOST or place not in self.reached:
            self.all.append(self._last)
        self.reached[place] += 1

    def saw(self, place: ProgramPlace, term: TermPart, value: Value) -> None:
        self._rules[-1][2][place].values[term] = value

    def succeed(self, place: ProgramPlace) -> None:
        self._rules[-1][2][place].succeeded = True

    def gave(self, clause: Clause, value: Value) -> None:
        self.held[clause] += 1
        if len(self.given[clause]) < MOST_VALUES:
            self.given[clause].append(value)


def steps(q: Query) -> Steps:
    """The record of a decision's steps."""
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
        """The place of each intermediate value, and the variables of the expression that makes it."""

    def begin(self, writer: Writer) -> None:
        writer.line("h = steps(q)")
        self._open: list[str] = []
        """The places of the expressions that are being written, as constants."""
        self._refs: dict[int, Location] = {}
        """The place of the reference of each step, by the step's identity."""
        self._loops: set[int] = set()
        """The steps that loops have been written for."""
        self._clause: Clause | None = None
        self._numbers = itertools.count(1)

    def tries(self, writer: Writer, clause: Clause) -> None:
        self._clause, self._numbers = clause, itertools.count(1)
        writer.line(f"h.tried[{self.constants.named('p', clause, clause)}] += 1")

    def gave(self, writer: Writer, rule: NormalRule, clause: Clause, value: Callable[[], str]) -> None:
        writer.line(f"h.gave({self.constants.named('p', clause, clause)}, {value()})")

    def binds(self, writer: Writer, expr: Expr, env: Mapping[str, str], depth: int) -> None:
        terms = [found for term in expr_terms(expr) for found in walk_terms(term)]
        self._refs |= {id(step): ref.loc for ref in terms if isinstance(ref, nodes.Ref) for step in ref.path}
        names = {found.name: found.loc for found in terms if isinstance(found, nodes.Var)}
        for name in filter(is_generated, names):
            self._made.setdefault(name, (names[name], tuple(names)))
        todo = list(names)
        while todo:  # also what its intermediate values were made of
            loc, parts = self._made.get(todo.pop(), (NOWHERE, ()))
            new = [name for name in parts if name not in names] if expr.loc.contains(loc) else []
            names |= dict.fromkeys(new, expr.loc)
            todo += new
        shown = {
            name: TermPart("" if is_generated(name) else source_name(name), self._made.get(name, (expr.loc,))[0])
            for name in names
            if env.get(name, "None") != "None" and not name.startswith("$")
        }
        place = ProgramPlace(expr.loc, depth, next(self._numbers), tuple(shown.values()), self._clause)
        self._open.append(self.constants.named("p", place, place))
        writer.line(f"h.reach({self._open[-1]}, ({''.join(f'{env[name]}, ' for name in shown)}))")

    def saw(self, writer: Writer, term: Term, value: str) -> None:
        if not term.loc.row or isinstance(term, nodes.Var) or constant_value(term) is not None:
            return
        if not isinstance(term, nodes.Ref) or self._loops.isdisjoint(map(id, term.path)):  # else one of many values
            self._saw(writer, term.loc, value)

    def ranges(self, writer: Writer, step: Term, value: str) -> None:
        self._loops.add(id(step))
        whole = self._refs.get(id(step), NOWHERE)
        if whole.row and self._open:
            _, row, col, *_ = step.loc
            # The key in `some x in xs` is a step that does not stand in the reference `xs`.
            before = whole._replace(end_row=row, end_col=col - 1)
            self._saw(writer, before if whole[1:3] < before[3:5] <= whole[3:5] else whole, value)

    def _saw(self, writer: Writer, loc: Location, value: str) -> None:
        part = TermPart("", loc)
        writer.line(f"h.saw({self._open[-1]}, {self.constants.named('p', part, part)}, {value})")

    def succeeded(self, writer: Writer, loc: Location, condition: str = "") -> None:
        writer.line(f"h.succeed({self._open.pop()})")

    def whole_function(self, group: RuleGroup, lines: list[str]) -> list[str]:
        header, *body = lines
        enter = f" steps(q).enter({self.constants.value(dotted(group.path))})"
        return [header, enter, " try:", *(f" {line}" for line in body), " finally: steps(q).leave()"]
