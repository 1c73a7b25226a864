"""Comprehensions: collections that the solutions of a body fill, and tables of them where a loop makes many.

    some host in input.hosts
    key := [host.zone, lower(host.name)]
    ports := {service.port | some service in input.services; key == [service.zone, lower(service.host)]}

looks through all services for each host. But the body itself says what `key` must be, so one run of it without `key`
finds the ports for every value that `key` can have, and each host's are looked up. Where an equality is with a part of
a member, a join index does the same for less (see `lookahead`): this is for what is made of members.

Running a body for values that nobody asks for may fail where asking would not. So there is a table only where OPA has
one, and under strict errors, where that shows, from the first time on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy_engine.codegen.conditions import Conditions
from policy_engine.codegen.fixed import OBSERVED
from policy_engine.codegen.lookahead import HARMLESS
from policy_engine.compiler.comprehension_index import (
    all_exprs,
    all_names,
    binds_in_order,
    index_keys,
    names_within,
)
from policy_engine.compiler.terms import bodies, builtin_name, expr_terms, walk_terms
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term


@dataclass(slots=True)
class Action:
    """What happens at each solution of a body.

    `write` writes it. `stop` says that one solution is enough; `flag` is then a variable that is true after it, or ""
    if the action returns from the function. `assigns` are the variables it rebinds.
    """

    write: Callable[[], None]
    stop: bool = False
    flag: str = ""
    assigns: tuple[str, ...] = ()


MOST_TABLES = 2
"""Comprehensions in one another that have tables."""

SURE: Final = HARMLESS | {"eq"}
"""Calls that have no errors."""

_DATA: Final = nodes.Var("data")


class Comprehensions(Conditions):
    """Writes comprehensions."""

    tables = 0
    """Tables of comprehensions around what is being written: every one of them writes the body twice."""

    unmentioned: frozenset[str] = frozenset()
    """Variables of `every` that no expression of its body has mentioned: OPA does not know that they are bound."""

    is_indexed = True
    """Whether the comprehension that is written next stands where OPA may look it up (see `comprehension_index`)."""

    if TYPE_CHECKING:

        def solutions(self, body: Body, action: Action) -> None: ...

        def _begin_function(self, assigns: tuple[str, ...]) -> str: ...

        def kept(self) -> AbstractContextManager[None]: ...

    def comprehension(self, term: Term) -> str:
        """A comprehension; the result is the name of its value."""
        assert isinstance(term, (nodes.ArrayComprehension, nodes.SetComprehension, nodes.ObjectComprehension))
        result, target = self.writer.name("v"), self.writer.name("c")
        empty = "[]" if isinstance(term, nodes.ArrayComprehension) else "{}"
        keys = index_keys(term, self.env.keys() - self.unmentioned, self.unit.arity) if self.is_indexed else ()
        often, failing = self._uses_of_table(term, keys)
        if often or failing:
            self.tables += 1
            self._from_table(term, keys, target, empty, f"{often}, {failing}")
            self.tables -= 1
        else:
            self.writer.line(f"{target} = {empty}")
            self._fill(term, bool(keys), lambda: target)
        made = f"Set.of({target})" if isinstance(term, nodes.SetComprehension) else target
        self.writer.line(f"{result} = {made}")
        return result

    def _fill(self, term: Term, indexed: bool, target: Callable[[], str]) -> None:
        """Run a comprehension's body; each solution goes into the collection that `target` gives."""
        match term:
            case nodes.ArrayComprehension(item, body):
                action = lambda: self.writer.line(f"{target()}.append({self.operand(item)})")  # noqa: E731
            case nodes.SetComprehension(item, body):
                action = lambda: self.writer.line(f"{target()}.setdefault({self.key(item)})")  # noqa: E731
            case nodes.ObjectComprehension(key, value, body) if indexed:
                action = lambda: self.writer.line(f"{target()}[{self.key(key)}] = {self.operand(value)}")  # noqa: E731
            case nodes.ObjectComprehension(key, value, body):
                loc = self.unit.constants.loc(term.loc)
                action = lambda: self.writer.line(  # noqa: E731
                    f"put_pair({self.ctx}, {target()}, {self.operand(key)}, {self.operand(value)}, {loc})"
                )
            case _:
                raise AssertionError("not a comprehension")
        self.solutions(body, Action(action))

    def _uses_of_table(self, term: Term, keys: tuple[str, ...]) -> tuple[bool, bool]:
        """Whether a table saves work in a loop, and whether running the body for all values may fail on its own."""
        if not keys or self.tables >= MOST_TABLES:
            return False, False
        if not all(name in keys for name in names_within(term) if name in self.env):
            return False, False
        if not binds_in_order(term, keys, self.unit.arity):
            return False, False
        (body,) = bodies(term)
        often = bool(self.loops) and not self.unit.trace and is_worth_a_table(body, keys)
        return often, self._may_fail(body, keys)

    def _may_fail(self, body: Body, keys: tuple[str, ...]) -> bool:
        """Whether what stands behind the first mention of `keys`, and so is run for theirs only, may fail."""
        mentioned = False
        for expr in body:
            if mentioned and any(map(self._can_fail, all_exprs((expr,)))):
                return True
            mentioned = mentioned or not set(keys).isdisjoint(all_names(expr_terms(expr)))
        return False

    def _can_fail(self, expr: Expr) -> bool:
        found: list[nodes.Node] = [expr.what]
        for term in expr_terms(expr):
            found += walk_terms(term)
        return any(
            builtin_name(item) not in SURE
            if isinstance(item, nodes.Call)
            else isinstance(item, nodes.Ref) and item.head == _DATA and not self.unit.program.tree.is_base(item.path)
            for item in found
        )

    def _from_table(self, term: Term, keys: tuple[str, ...], target: str, empty: str, uses: str) -> None:
        """Take the collection from the table of all of them, if there is one."""
        table, made = self.writer.name("v"), self.writer.name("c")
        with self.kept():
            for key in keys:
                del self.env[key]
            fill = self._begin_function(())
            depth, self.depth = self.depth, 0
            self.writer.line(f"{made} = {{}}")
            self._fill(term, True, lambda: f"{made}.setdefault({self._key_of(keys)}, {empty})")
            self.writer.line(f"return {made}")
            self.writer.indent -= 1
            self.depth = depth
        self.writer.line(f"{table} = grouped({self.ctx}, {self.unit.new_slot()}, {fill}, {uses})")
        self.writer.line(f"{target} = {empty}")
        with self.writer.block(f"if {table} is None:"):
            self._fill(term, True, lambda: target)
        self.writer.line(f"else: {target} = {table}.get({self._key_of(keys)}, {target})")

    def _key_of(self, keys: tuple[str, ...]) -> str:
        return self.tuple_of([f"({self.key(nodes.Var(key))})" for key in keys])


def is_worth_a_table(body: Body, keys: tuple[str, ...]) -> bool:
    """Whether a body binds each of `keys`, before it mentions it, to what is made of members.

    What is equal to a part of a member is found by a join index.
    """
    missing, known, computed = set(keys), set[str](), set[str]()
    for expr in body:
        if expr.withs:
            return False
        names = set(all_names(expr_terms(expr)))
        if not names.isdisjoint(missing):
            found = _bound_by(expr, missing, known, computed)
            if found is None or not names.isdisjoint(missing - {found}):
                return False
            missing.discard(found)
        if isinstance(expr.what, nodes.Call):
            name = builtin_name(expr.what)
            if name in OBSERVED:
                return False
            if name == "eq" and any(isinstance(arg, nodes.Call) for arg in expr.what.args):
                computed |= names - known
        known |= names
    return not missing


def _bound_by(expr: Expr, missing: set[str], known: set[str], computed: set[str]) -> str | None:
    """The variable that an equality binds to what is made of members; None if it is no such equality."""
    what = expr.what
    if expr.negated or not isinstance(what, nodes.Call) or builtin_name(what) != "eq" or len(what.args) != 2:
        return None
    for variable, value in (what.args, what.args[::-1]):
        if isinstance(variable, nodes.Var) and variable.name in missing:
            made = isinstance(value, (nodes.Array, nodes.Object)) or (
                isinstance(value, nodes.Var) and value.name in computed
            )
            if made and known.issuperset(all_names([value])):
                return variable.name
    return None
