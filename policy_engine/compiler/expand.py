"""Stage: calls out of terms (OPA's RewriteExprTerms), refs and comprehensions out of operands (RewriteDynamicTerms).

`f(g(x)) == 1` becomes `'1 = g(x); '2 = f('1); '2 = 1`. What is taken out of a negated expression stands before it and
is not negated: that is why `not f(input.x)` is undefined, and not true, when `input.x` is undefined. The two halves
are separate because safety is decided between them, on expressions that still show where a variable is bound.

After `dynamic` a body is in normal form. Its expressions are `a = b`, a call of simple operands, or a term; an
operand is a scalar, a variable, or a collection of operands; only a side of `=` and a whole expression may be a ref
(with simple steps), a comprehension or, on one side of `=`, a call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from operator import is_

from policy_engine.compiler.generated_names import Names, is_generated
from policy_engine.compiler.program import Program
from policy_engine.compiler.terms import (
    EVALUATED,
    ROOTS,
    Plain,
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
    """Take nested calls out of every body."""
    expander = Calls(program.names)
    for _, clause in program.sound(errors, resolved=True):
        clause.body = expander.body(clause.body)


def dynamic(program: Program, errors: list[PolicyError]) -> None:
    """Take refs and comprehensions out of operands. Bodies are ordered and safe already."""
    _hoist(program, Dynamic(program.names), errors)


def query_dynamic(query: Program, errors: list[PolicyError]) -> None:
    """The same for a query, where `==` stays the call that it is: its operands are taken out, too."""
    _hoist(query, QueryDynamic(query.names), errors)


def _hoist(program: Program, hoister: Dynamic, errors: list[PolicyError]) -> None:
    for _, clause in program.sound(errors):
        clause.body = hoister.body(clause.body)


class Expander(ABC):
    """What both halves share: walking bodies, and the list of expressions that go before the current one."""

    equalities = frozenset({"assign", "eq", "equal"})
    """The calls whose operands may be anything that can be a whole expression."""

    def __init__(self, names: Names) -> None:
        self.names = names

    def body(self, body: Body) -> Body:
        result: list[Expr] = []
        for expr in body:
            self.expr(expr, result)
        return tuple(result)

    def inner(self, operand: Body | Expr) -> Body | Expr:
        """An operand of `not`, `and` or `or`: what is taken out of it stays inside."""
        if not isinstance(operand, Expr):
            return self.body(operand)
        body: list[Expr] = []
        self.expr(operand, body)
        return body[0] if len(body) == 1 else Plain(body)

    def expr(self, expr: Expr, out: list[Expr]) -> None:
        """Append what replaces `expr`."""
        if not expr.withs:
            what = self.what(expr, out)
            out.append(expr if what is expr.what else Expr(what, expr.negated, flat=expr.flat, loc=expr.loc))
            return
        before: list[Expr] = []
        values = [self.operand(item.value, before) for item in expr.withs]  # calls first, as in OPA: types follow
        values = [self.replacement(value, before) for value in values]
        withs = tuple([replace(item, value=value) for item, value in zip(expr.withs, values, strict=True)])
        out.extend(before)  # the values of `with` are evaluated outside of it
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
        """A call that is a whole expression."""
        name = builtin_name(what)
        if name in self.equalities and len(what.args) == 2:
            left, right = what.args
            if name == "eq" and type(right) is nodes.Call and type(left) is nodes.Var and is_generated(left.name):
                # The value of a head, which has a variable of its own already.
                args = tuple([self.operand(arg, before) for arg in right.args])
                return call("eq", (left, with_args(right, args)), what)
            # What `==` and the right of `:=` do not bind, the safety stage has to see; after it the three are one.
            sides = self.side(left, before), self.side(right, before)
            renamed = self.equality(name)
            return what if renamed == name and _same(sides, what.args) else call(renamed, sides, what)
        simple = tuple([arg if type(arg) is nodes.Scalar else self.operand(arg, before) for arg in what.args])
        if _same(simple, what.args):
            return what
        return with_args(what, simple)

    @abstractmethod
    def operand(self, term: Term, before: list[Expr]) -> Term:
        """A term that stands inside another one."""

    def replacement(self, term: Term, before: list[Expr]) -> Term:
        """The value of a `with`, which is evaluated before the expression that it modifies."""
        return self.take_out(term, before) if _is_evaluated(term) else term

    @abstractmethod
    def side(self, term: Term, before: list[Expr]) -> Term:
        """A term that is a whole expression or a side of `=`."""

    def domain(self, term: Term, before: list[Expr]) -> Term:
        """What `every` ranges over: always evaluated before it, a variable too, which tells in what is safe."""
        taken = self.operand(term, before)
        return taken if isinstance(term, nodes.Call) else self.take_out(taken, before)

    def equality(self, name: str) -> str:
        """What becomes of the operator `=` or `==`."""
        return name

    def take_out(self, term: Term, before: list[Expr]) -> nodes.Var:
        """Bind a term to a new variable before the current expression."""
        local = self.names.fresh("", term)
        before.append(equality(local, term, term))
        return local


class Calls(Expander):
    """Takes out calls, and the heads of refs that are no variables."""

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
        """Its head is evaluated at the end of its body."""
        extra: list[Expr] = []
        mapped = map_closure(term, lambda body: body, lambda head: self.head(head, extra))
        return map_closure(mapped, lambda body: self.body((*body, *extra)))

    def head(self, term: Term, extra: list[Expr]) -> Term:
        term = self.operand(term, extra)
        return self.take_out(term, extra) if _is_evaluated(term) else term


class Dynamic(Expander):
    """Takes out refs and comprehensions, and makes `==` into `=`."""

    def domain(self, term: Term, before: list[Expr]) -> Term:
        """What `every` ranges over: always evaluated before it."""
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
    """OPA has no RewriteEquals for queries: with `input.x` undefined so is `not input.x == 1`, and in a rule true."""

    equalities = frozenset({"assign", "eq"})


def _same(terms: tuple[Term, ...], before: tuple[Term, ...]) -> bool:
    """Whether nothing was taken out of some terms. Most are as they were: no need for a copy of what holds them."""
    return all(map(is_, terms, before))


def _is_evaluated(term: Term) -> bool:
    """Whether a term without calls has references or comprehensions in it."""
    return any(item.__class__ in EVALUATED or _is_root(item) for item in walk_terms(term))


def _is_root(term: Term) -> bool:
    return type(term) is nodes.Var and term.name in ROOTS
