"""Two stages: calls become statements (OPA: RewriteExprTerms), and references and comprehensions (RewriteDynamicTerms).

`f(g(x)) == 1` becomes `'1 = g(x); '2 = f('1); '2 = 1`. Terms are moved before a negated expression, where they are not
negated: that is why `not f(input.x)` is undefined, not true, when `input.x` is undefined. Safety is checked between the
two stages, because it needs to see which references bind variables.

After `dynamic` a body is in normal form. Its expressions are `a = b`, a call of simple operands, or a term; an operand
is a scalar, a variable, or a collection of operands; only a side of `=` and a whole expression may be a reference (with
simple steps), a comprehension or, on one side of `=`, a call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from operator import is_

from policy_engine.compiler.generated_names import FreshNames, is_generated
from policy_engine.compiler.program import Program
from policy_engine.compiler.terms import (
    EVALUATED,
    ROOTS,
    HoistedOperand,
    builtin_name,
    call,
    equality,
    is_simple,
    map_closure,
    map_operands,
    map_term,
    walk_terms,
    with_args,
)
from policy_engine.errors import PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term


def calls(program: Program, errors: list[PolicyError]) -> None:
    """Move nested calls of every body into statements."""
    expander = Calls(program.names)
    for _, clause in program.resolved_clauses(errors):
        clause.body = expander.body(clause.body)


def dynamic(program: Program, errors: list[PolicyError]) -> None:
    """Move references and comprehensions out of operands. Bodies are ordered and safe already."""
    _hoist(program, Dynamic(program.names), errors)


def query_dynamic(query: Program, errors: list[PolicyError]) -> None:
    """The same for a query, where `==` remains a call, so that its operands are moved too."""
    _hoist(query, QueryDynamic(query.names), errors)


def _hoist(program: Program, hoister: Dynamic, errors: list[PolicyError]) -> None:
    for _, clause in program.valid_clauses(errors):
        clause.body = hoister.body(clause.body)


class Expander(ABC):
    """Shared by both stages: walks bodies and collects the statements to insert before the current one."""

    equalities = frozenset({"assign", "eq", "equal"})
    """The calls whose operands may be anything that can be a statement."""

    def __init__(self, names: FreshNames) -> None:
        self.names = names

    def body(self, body: Body) -> Body:
        result: list[Expr] = []
        for expr in body:
            self.expr(expr, result)
        return tuple(result)

    def inner(self, operand: Body | Expr) -> Body | Expr:
        """An operand of `not`, `and` or `or`: its terms are moved within the operand."""
        if not isinstance(operand, Expr):
            return self.body(operand)
        body: list[Expr] = []
        self.expr(operand, body)
        return body[0] if len(body) == 1 else HoistedOperand(body)

    def expr(self, expr: Expr, out: list[Expr]) -> None:
        """Append what replaces `expr`."""
        if not expr.withs:
            what = self.what(expr, out)
            out.append(expr if what is expr.what else Expr(what, expr.negated, flat=expr.flat, loc=expr.loc))
            return
        before: list[Expr] = []
        values = [
            self.operand(item.value, before) for item in expr.withs
        ]  # calls first, as in OPA: types depend on the order
        values = [self.replacement(value, before) for value in values]
        withs = tuple([replace(item, value=value) for item, value in zip(expr.withs, values, strict=True)])
        out.extend(before)  # values of `with` are evaluated without it
        before = []
        what = self.what(expr, before)
        out.extend(replace(item, withs=withs) for item in before)
        out.append(replace(expr, what=what, withs=withs))

    def what(
        self, expr: Expr, before: list[Expr]
    ) -> Term | nodes.Every | nodes.Negation | nodes.Conjunction | nodes.Disjunction:
        match expr.what:
            case nodes.Call():
                return self.call(expr.what, before)
            case nodes.Every(key, value, domain, body):
                return nodes.Every(key, value, self.domain(domain, before), self.body(body), loc=expr.what.loc)
            case nodes.Negation() | nodes.Conjunction() | nodes.Disjunction():
                return map_operands(expr.what, self.inner)
            case nodes.SomeDecl() | nodes.SomeIn():
                raise AssertionError("declarations are gone after the names stage")
            case term:
                return self.side(term, before)

    def call(self, what: nodes.Call, before: list[Expr]) -> nodes.Call:
        """A call that is a statement."""
        name = builtin_name(what)
        if name in self.equalities and len(what.args) == 2:
            left, right = what.args
            if name == "eq" and type(right) is nodes.Call and type(left) is nodes.Var and is_generated(left.name):
                # The value of a head already has its own variable.
                args = tuple([self.operand(arg, before) for arg in right.args])
                return call("eq", (left, with_args(right, args)), what)
            # The safety stage must tell `=`, `==` and `:=` apart; afterwards they are the same.
            sides = self.side(left, before), self.side(right, before)
            renamed = self.equality(name)
            return what if renamed == name and _same(sides, what.args) else call(renamed, sides, what)
        simple = tuple([arg if type(arg) is nodes.Scalar else self.operand(arg, before) for arg in what.args])
        if _same(simple, what.args):
            return what
        return with_args(what, simple)

    @abstractmethod
    def operand(self, term: Term, before: list[Expr]) -> Term:
        """Rewrite a term inside of another one."""

    def replacement(self, term: Term, before: list[Expr]) -> Term:
        """The value of a `with`, evaluated before the modified expression."""
        return self.take_out(term, before) if _is_evaluated(term) else term

    @abstractmethod
    def side(self, term: Term, before: list[Expr]) -> Term:
        """Rewrite a term that is a statement or a side of `=`."""

    def domain(self, term: Term, before: list[Expr]) -> Term:
        """The domain of `every`: always a variable that a statement before binds."""
        taken = self.operand(term, before)
        return taken if isinstance(term, nodes.Call) else self.take_out(taken, before)

    def equality(self, name: str) -> str:
        """The operator that replaces `=`, `==` or `:=`."""
        return name

    def take_out(self, term: Term, before: list[Expr]) -> nodes.Var:
        """Bind a term to a new variable before the current expression."""
        local = self.names.fresh("", term)
        before.append(equality(local, term, term))
        return local


class Calls(Expander):
    """Moves calls, and heads of references that are not variables."""

    def operand(self, term: Term, before: list[Expr]) -> Term:
        if isinstance(term, nodes.Call):
            args = tuple([self.operand(arg, before) for arg in term.args])
            return self.take_out(with_args(term, args), before)
        return self.side(term, before)

    def side(self, term: Term, before: list[Expr]) -> Term:
        if is_simple(term):
            return term
        match term:
            case nodes.Scalar():
                return term
            case nodes.Call():
                return self.operand(term, before)
            case nodes.Ref(head, path):
                start = self.operand(head, before)
                if not isinstance(start, nodes.Var):
                    start = self.take_out(start, before)
                steps = tuple([self.operand(step, before) for step in path])
                return term if start is head and _same(steps, path) else nodes.Ref(start, steps, loc=term.loc)
            case nodes.ArrayComprehension() | nodes.SetComprehension() | nodes.ObjectComprehension():
                return self.comprehension(term)
            case _:
                return map_term(term, lambda item: self.operand(item, before))

    def comprehension(self, term: Term) -> Term:
        """Rewrite a comprehension. Its head is evaluated at the end of its body."""
        extra: list[Expr] = []
        mapped = map_closure(term, lambda body: body, lambda head: self.head(head, extra))
        return map_closure(mapped, lambda body: self.body((*body, *extra)))

    def head(self, term: Term, extra: list[Expr]) -> Term:
        term = self.operand(term, extra)
        return self.take_out(term, extra) if _is_evaluated(term) else term


class Dynamic(Expander):
    """Moves references and comprehensions, and turns `==` into `=`."""

    def domain(self, term: Term, before: list[Expr]) -> Term:
        """The domain of `every`: a variable, or bound to one before."""
        term = self.operand(term, before)
        return term if isinstance(term, nodes.Var) and not _is_root(term) else self.take_out(term, before)

    def equality(self, name: str) -> str:
        return "eq"

    def operand(self, term: Term, before: list[Expr]) -> Term:
        term = self.side(term, before)
        if term.__class__ in EVALUATED or _is_root(term):
            return self.take_out(term, before)
        return term

    def side(self, term: Term, before: list[Expr]) -> Term:
        cls = type(term)
        if cls is nodes.Scalar or cls is nodes.Var:
            return term
        match term:
            case nodes.Scalar():
                return term
            case nodes.Ref(head, path):
                steps = tuple([step if type(step) is nodes.Scalar else self.operand(step, before) for step in path])
                return term if _same(steps, path) else nodes.Ref(head, steps, loc=term.loc)
            case nodes.ArrayComprehension() | nodes.SetComprehension() | nodes.ObjectComprehension():
                return map_closure(term, self.body)
            case nodes.Call():
                return with_args(term, tuple([self.operand(arg, before) for arg in term.args]))
            case _:
                return map_term(term, lambda item: self.operand(item, before))


class QueryDynamic(Dynamic):
    """OPA keeps `==` in queries: with `input.x` undefined, `not input.x == 1` is undefined, and true in a rule."""

    equalities = frozenset({"assign", "eq"})


def _same(terms: tuple[Term, ...], before: tuple[Term, ...]) -> bool:
    """True if no term has changed, as is usual; then the node that holds them needs no copy."""
    return all(map(is_, terms, before))


def _is_evaluated(term: Term) -> bool:
    """True if a term without calls has references or comprehensions in it."""
    return any(item.__class__ in EVALUATED or _is_root(item) for item in walk_terms(term))


def _is_root(term: Term) -> bool:
    return type(term) is nodes.Var and term.name in ROOTS
