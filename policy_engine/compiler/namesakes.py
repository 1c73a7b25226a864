"""Variables of a rule that have the name of a builtin and are declared nowhere: `max = max([1, 2])`.

OPA gives those that stand in a rule's own body another name. So no call in the rule finds the builtin: in the body that
is an error at once, elsewhere the function is undefined. It does not if a `with` mentions the name, which may mean the
builtin, nor in the bodies inside: there the variable is of the builtin's type, which the type checker refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from policy_engine.compiler.renaming import Renaming
from policy_engine.compiler.scopes import all_names
from policy_engine.compiler.terms import bodies, closures
from policy_engine.errors import COMPILE_ERROR, PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term


def in_withs(body: Body) -> set[str]:
    """The names that a `with` mentions somewhere in a body."""
    return {name for item in _withs(body) for term in (item.target, item.value) for name in all_names(term)}


def _withs(body: Body) -> Iterator[nodes.With]:
    for expr in body:
        yield from expr.withs
        for closure in closures(expr):
            for inner in bodies(closure):
                yield from _withs(inner)


class Apart(Renaming):
    """Renames the variables and whom calls name. `errors` takes the calls inside terms; none in a head."""

    def __init__(self, names: Mapping[str, str], errors: list[PolicyError] | None = None) -> None:
        super().__init__(dict(names))
        self.errors = errors

    def expr(self, expr: Expr) -> Expr:
        if type(expr.what) is nodes.Call:
            expr = replace(expr, what=self._called(expr.what))
        return super().expr(expr)

    def term(self, term: Term) -> Term:
        if type(term) is nodes.Call and (called := self._called(term)) is not term:
            if self.errors is not None:
                assert isinstance(term.operator, nodes.Var)
                text = f"called function {term.operator.name} shadowed"
                self.errors.append(PolicyError(COMPILE_ERROR, text, term.loc))
            term = called
        return super().term(term)

    def terms(self, terms: Iterable[Term]) -> tuple[Term, ...]:
        return tuple(map(self.term, terms))

    def _called(self, call: nodes.Call) -> nodes.Call:
        operator = call.operator
        if not isinstance(operator, nodes.Var) or operator.name not in self.names:
            return call
        return replace(call, operator=nodes.Var(self.names[operator.name], loc=operator.loc))
