"""Variables of a resolved body under other names, in the bodies in it too. Names of functions stay as they are."""

from __future__ import annotations

from dataclasses import replace

from policy_engine.compiler.terms import map_closure, map_operands, map_term
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term


class Renaming:
    """Gives the variables in `names` the names that they stand for there."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def body(self, body: Body) -> Body:
        return tuple([self.expr(expr) for expr in body]) if self.names else body

    def expr(self, expr: Expr) -> Expr:
        what = expr.what
        match what:
            case nodes.Every(key, value, domain, body):
                what = nodes.Every(key, value, self.term(domain), self.body(body), loc=what.loc)
            case nodes.Negation() | nodes.Conjunction() | nodes.Disjunction():
                what = map_operands(what, lambda part: self.expr(part) if isinstance(part, Expr) else self.body(part))
            case nodes.SomeDecl() | nodes.SomeIn():
                raise AssertionError("it declares, and is gone")
            case _:
                what = self.term(what)
        return replace(expr, what=what, withs=tuple([self._with(item) for item in expr.withs]))

    def _with(self, item: nodes.With) -> nodes.With:
        target = self.term(item.target)
        assert isinstance(target, (nodes.Var, nodes.Ref))  # as before
        return replace(item, target=target, value=self.term(item.value))

    def term(self, term: Term) -> Term:
        if isinstance(term, nodes.Var):
            return nodes.Var(self.names[term.name], loc=term.loc) if term.name in self.names else term
        return map_term(map_closure(term, self.body, self.term), self.term)
