"""Variables in template strings and operands of `print` that nothing has bound.

What stands there may be undefined, so it is evaluated in a set of its own, which binds nothing: OPA takes care that all
is bound before it makes that set (v1/ast/compile.go, rewriteTemplateStrings and rewritePrintCalls). It does so before
calls are taken out of terms, and not as the safety of bodies is decided later. A template string sees what its body
binds anywhere; `print`, which must not move, what is bound before it. Neither sees what a head binds, and a template
string in an operand of `not`, `and` or `or` sees what is around the operand, not what the operand itself binds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from policy_engine.compiler.safety import Safety, expr_vars
from policy_engine.compiler.scopes import is_internal, shown
from policy_engine.compiler.terms import (
    ROOTS,
    bodies,
    closures,
    expr_terms,
    heads,
    is_capture,
    is_generated,
    subterms,
    term_closures,
    walk_terms,
)
from policy_engine.errors import COMPILE_ERROR, PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term

Arity = Callable[[nodes.Call], int]


class Shown(NamedTuple):
    """A clause that shows something: the names its arguments bind, its body, and what was its head and is evaluated."""

    arguments: set[str]
    body: Body
    head: Body


def in_templates(clauses: Iterable[Shown], arity: Arity) -> list[PolicyError]:
    """An error for each variable in a template string that is not bound."""
    finder = _Templates(arity)
    for clause in clauses:
        known = finder.body(clause.body, clause.arguments | ROOTS)
        for expr in clause.head:
            finder.expr(expr, known)
    return finder.errors


def in_prints(clauses: Iterable[Shown], arity: Arity) -> list[PolicyError]:
    """An error for each variable that is printed and not bound before."""
    finder = _Prints(arity)
    for clause in clauses:
        finder.arguments = clause.arguments | ROOTS
        for expr in clause.head:
            finder.inside(expr, finder.arguments)
        finder.body(clause.body, finder.arguments)
    return finder.errors


class _Finder:
    def __init__(self, arity: Arity) -> None:
        self.errors: list[PolicyError] = []
        self.outputs = Safety(arity, []).outputs

    def captured(self, closure: nodes.Node, known: set[str]) -> None:
        """Report what the expression in a set that was made for it has and nothing binds."""
        (body,) = bodies(closure)
        found = {var.name for expr in body for term in expr_terms(expr) for var in self.variables(term)}
        for name in sorted(found - known):
            if not is_internal(name):
                hint = "bind it before, outside of the operand or head that this is in"
                text = f"var {shown(name)} is undeclared"
                self.errors.append(PolicyError(COMPILE_ERROR, text, closure.loc, hint=hint))

    def variables(self, term: Term) -> Iterable[nodes.Var]:
        return _variables(term)


class _Templates(_Finder):
    def variables(self, term: Term) -> Iterable[nodes.Var]:
        """Those of a template string in the term are its own matter: OPA has not rewritten it yet."""
        if _is_template(term):
            return ()
        own = [term] if isinstance(term, nodes.Var) else []
        return [*own, *(var for part in subterms(term) for var in self.variables(part))]

    def body(self, body: Body, outside: set[str]) -> set[str]:
        """What is known in a body, looking at all in it."""
        known = set(outside)
        for expr in body:
            known |= self.outputs(expr, known)
        for expr in body:
            self.expr(expr, known)
        return known

    def expr(self, expr: Expr, known: set[str]) -> None:
        is_print = isinstance(expr.what, nodes.Call) and expr.what.operator == _PRINT
        for closure in closures(expr):
            if is_capture(closure) and not is_print:
                self.captured(closure, known)
            self._closure(closure, known)

    def _closure(self, closure: nodes.Node, known: set[str]) -> None:
        match closure:
            case nodes.Every(key, value, _, body):
                self.body(body, known | {var.name for var in (key, value) if var is not None})
            case nodes.Negation() | nodes.Conjunction() | nodes.Disjunction():
                for body in bodies(closure):
                    for expr in body:
                        self.expr(expr, known)
            case _:
                (body,) = bodies(closure)
                inside = self.body(body, known)
                for head in heads(closure):
                    self._head(head, inside if _is_template(head) else known)

    def _head(self, head: Term, known: set[str]) -> None:
        for closure in term_closures(head):
            if is_capture(closure):
                self.captured(closure, known)
            self._closure(closure, known)


class _Prints(_Finder):
    arguments: set[str]
    """What the arguments of the clause bind."""

    def body(self, body: Body, outside: set[str]) -> None:
        known = set(outside)
        declared: set[str] = set()
        for expr in body:
            if isinstance(expr.what, nodes.Call) and expr.what.operator == _PRINT:
                for closure in closures(expr):
                    if is_capture(closure):
                        self.captured(closure, known | declared)
            self.inside(expr, known)
            known |= self.outputs(expr, known)
            # Declared variables have names of OPA's own by now, and these it does not doubt once they are mentioned.
            declared |= {name for name in _mentioned(expr) if "'" in name and not is_generated(name)}

    def inside(self, expr: Expr, known: set[str]) -> None:
        """Look at the bodies in an expression. Those in the head of a comprehension or a domain see arguments only."""
        domain = term_closures(expr.what.domain) if isinstance(expr.what, nodes.Every) else []
        for closure in closures(expr):
            self._closure(closure, self.arguments if closure in domain else known)

    def _closure(self, closure: nodes.Node, known: set[str]) -> None:
        if isinstance(closure, nodes.Every):
            known = known | {var.name for var in (closure.key, closure.value) if var is not None}
        for body in bodies(closure):
            self.body(body, known)
        for head in heads(closure):
            for inner in term_closures(head):
                self._closure(inner, self.arguments)


def _mentioned(expr: Expr) -> set[str]:
    """The names of all variables in an expression, those in the bodies in it too."""
    found = {var.name for var in expr_vars(expr)}
    for closure in closures(expr):
        found |= {var.name for head in heads(closure) for var in _variables(head)}
        for body in bodies(closure):
            found = found.union(*map(_mentioned, body))
    return found


def _variables(term: Term) -> Iterable[nodes.Var]:
    return [item for item in walk_terms(term) if isinstance(item, nodes.Var)]


def _is_template(term: Term) -> bool:
    return isinstance(term, nodes.Call) and term.operator == _TEMPLATE


_PRINT: Final = nodes.Var("internal.print")
_TEMPLATE: Final = nodes.Var("internal.template_string")
