"""Comprehensions: collections that the solutions of a body fill, and tables of them where a loop makes many.

    some host in input.hosts
    key := [host.zone, lower(host.name)]
    ports := {service.port | some service in input.services; key == [service.zone, lower(service.host)]}

looks through all services for each host. But the body itself says what `key` must be, so one run of it without `key`
finds the ports for every value that `key` can have, and those of each host are looked up. Where an equality is with a
part of a member, a join index does the same for less (see `lookahead`): a table is for what is computed from members.

Nobody can tell whether there is a table. The part of a body that runs for values which nobody asks for calls nothing
with an effect, and if it raises an error the table is given up (see `joins.grouped`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy_engine.codegen.conditions import Conditions
from policy_engine.compiler.terms import HOLD_BODIES, HOLD_OPERANDS, bodies, builtin_name, heads, subterms
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

_DATA: Final = nodes.Var("data")


class Comprehensions(Conditions):
    """Writes comprehensions."""

    tables = 0
    """Tables of comprehensions around what is being written: every one of them writes the body twice."""

    if TYPE_CHECKING:

        def solutions(self, body: Body, action: Action) -> None: ...

        def _begin_function(self, assigns: tuple[str, ...]) -> str: ...

        def kept(self) -> AbstractContextManager[None]: ...

    def comprehension(self, term: Term) -> str:
        """A comprehension; the result is the name of its value."""
        result, target = self.writer.name("v"), self.writer.name("c")
        empty = "[]" if isinstance(term, nodes.ArrayComprehension) else "{}"
        keys = self._table_keys(term)
        if keys:
            self.tables += 1
            self._from_table(term, keys, target, empty)
            self.tables -= 1
        else:
            self.writer.line(f"{target} = {empty}")
            self._fill(term, lambda: target)
        made = f"Set.of({target})" if isinstance(term, nodes.SetComprehension) else target
        self.writer.line(f"{result} = {made}")
        return result

    def _fill(self, term: Term, target: Callable[[], str]) -> None:
        """Run a comprehension's body; each solution goes into the collection that `target` gives."""
        match term:
            case nodes.ArrayComprehension(item, body):
                action = lambda: self.writer.line(f"{target()}.append({self.operand(item)})")  # noqa: E731
            case nodes.SetComprehension(item, body):
                action = lambda: self.writer.line(f"{target()}.setdefault({self.key(item)})")  # noqa: E731
            case nodes.ObjectComprehension(key, value, body):
                loc = self.unit.constants.loc(term.loc)
                action = lambda: self.writer.line(  # noqa: E731
                    f"put_pair({self.ctx}, {target()}, {self.operand(key)}, {self.operand(value)}, {loc})"
                )
            case _:
                raise AssertionError("not a comprehension")
        self.solutions(body, Action(action))

    def _from_table(self, term: Term, keys: tuple[str, ...], target: str, empty: str) -> None:
        """Take the collection from the table of all of them, if there is one."""
        table, made = self.writer.name("v"), self.writer.name("c")
        with self.kept():
            for key in keys:
                del self.env[key]
            fill = self._begin_function(())
            depth, self.depth = self.depth, 0
            self.writer.line(f"{made} = {{}}")
            self._fill(term, lambda: f"{made}.setdefault({self._key_of(keys)}, {empty})")
            self.writer.line(f"return {made}")
            self.writer.indent -= 1
            self.depth = depth
        self.writer.line(f"{table} = grouped({self.ctx}, {self.unit.new_slot()}, {fill})")
        self.writer.line(f"{target} = {empty}")
        with self.writer.block(f"if {table} is None:"):
            self._fill(term, lambda: target)
        self.writer.line(f"else: {target} = {table}.get({self._key_of(keys)}, {target})")

    def _key_of(self, keys: tuple[str, ...]) -> str:
        return self.tuple_of([f"({self.key(nodes.Var(key))})" for key in keys])

    def _table_keys(self, term: Term) -> tuple[str, ...]:
        """The outer variables by which a comprehension is looked up in a table; none if it is to have no table."""
        if not self.loops or self.tables >= MOST_TABLES or self.unit.trace:
            return ()
        keys = tuple(sorted(_names(term) & self.env.keys()))
        (body,) = bodies(term)
        missing, known, computed = set(keys), set[str](), set[str]()
        for expr in body:
            names = _names(expr)
            if names & missing:
                key = _bound_key(expr, missing, known, computed)
                if key is None or len(names & missing) > 1:
                    return ()
                missing.remove(key)
            if expr.withs or not self._is_unnoticed(expr, len(missing) < len(keys)):
                return ()
            if isinstance(expr.what, nodes.Call) and any(isinstance(arg, nodes.Call) for arg in expr.what.args):
                computed |= names - known  # it can only be an equality
            known |= names
        return () if missing else keys

    def _is_unnoticed(self, node: nodes.Node, more_often: bool) -> bool:
        """Whether nobody notices that an expression runs for fewer solutions, or `more_often` for others too."""
        if isinstance(node, nodes.Call):
            name = builtin_name(node)
            if self.unit.has_effect(name) or (more_often and not self.unit.is_plain(name)):
                return False
        if more_often and isinstance(node, nodes.Ref) and node.head == _DATA:
            if not self.unit.program.tree.is_base(node.path):
                return False
        elif more_often and (node == _DATA or (isinstance(node, Expr) and node.withs)):
            return False
        return all(self._is_unnoticed(part, more_often) for part in _parts(node))


def _names(node: nodes.Node) -> set[str]:
    """The names of all variables in a node."""
    return {node.name} if isinstance(node, nodes.Var) else set[str]().union(*map(_names, _parts(node)))


def _parts(node: nodes.Node) -> Sequence[nodes.Node]:
    """The terms and expressions directly in a node, but for what a reference into documents begins with."""
    if isinstance(node, Expr):
        return [node.what, *(term for item in node.withs for term in (item.target, item.value))]
    if isinstance(node, nodes.Ref) and node.head == _DATA:
        return node.path
    if node.__class__ in HOLD_OPERANDS or node.__class__ in HOLD_BODIES:
        domain = [node.domain] if isinstance(node, nodes.Every) else []
        return [*domain, *heads(node), *(expr for body in bodies(node) for expr in body)]
    return subterms(node)  # type: ignore[arg-type]


def _bound_key(expr: Expr, missing: set[str], known: set[str], computed: set[str]) -> str | None:
    """The variable of `missing` that an equality binds to what is computed from members; None if there is none.

    To what is equal to a part of a member a join index leads.
    """
    what = expr.what
    if expr.negated or not isinstance(what, nodes.Call) or builtin_name(what) != "eq" or len(what.args) != 2:
        return None
    for variable, value in (what.args, what.args[::-1]):
        if isinstance(variable, nodes.Var) and variable.name in missing:
            made = isinstance(value, (nodes.Array, nodes.Object)) or (
                isinstance(value, nodes.Var) and value.name in computed
            )
            if made and known >= _names(value):
                return variable.name
    return None
