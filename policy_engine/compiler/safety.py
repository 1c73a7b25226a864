"""Stage: order the expressions of each body so that every variable is bound before it is used, and reject unsafe ones.

Expressions keep their order unless safety requires another one. (OPA: v1/ast/compile.go, reorderBodyForSafety.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace

from policy_engine.compiler.bindings import Arity, bindings, outputs
from policy_engine.compiler.generated_names import is_capture, is_internal, source_name
from policy_engine.compiler.ordering import Statement, arrange
from policy_engine.compiler.program import Clause, NormalRule, Program
from policy_engine.compiler.suggestions import ITERATE, advice, did_you_mean
from policy_engine.compiler.terms import (
    COMPREHENSIONS,
    ROOTS,
    bodies,
    closures,
    heads,
    is_print,
    map_closure,
    map_operands,
    map_term,
)
from policy_engine.compiler.variables import closure_vars, declared_by, expr_vars, own_vars, term_vars
from policy_engine.errors import COMPILE_ERROR, UNSAFE_VAR_ERROR, PolicyError
from policy_engine.location import NOWHERE, Location
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term
from policy_engine.syntax.rules import IMPORTABLE


def check(program: Program, arity: Arity, errors: list[PolicyError]) -> None:
    """Order every body, and report variables that nothing binds."""
    for rule, clause in program.resolved_clauses(errors):
        checker = Safety(arity)
        known = ROOTS.union(var.name for arg in rule.args for var in term_vars(arg)) if rule.args else ROOTS
        checker.head(rule, clause, known)
        clause.body = checker.body(clause.body, known)
        for name, error in checker.errors.items():
            hint = did_you_mean(name, _names_around(program, rule, clause)) if name not in IMPORTABLE else ""
            if hint and error.hint.startswith("a text"):
                hint += f" ({error.hint})"
            error.hint = hint or error.hint or "give it a value in this body"
            errors.append(error)


class Safety:
    """Orders the bodies of one clause. `errors` has one error for each unbound name."""

    def __init__(self, arity: Arity) -> None:
        self.arity = arity
        self.errors: dict[str, PolicyError] = {}

    def head(self, rule: NormalRule, clause: Clause, known: AbstractSet[str]) -> None:
        """Report variables of a rule's head that its body does not mention."""
        terms = [clause.value] if clause.value is not None else []
        if clause is rule.clauses[0]:
            terms += [*rule.suffix, *([rule.key] if rule.key is not None else [])]
        wanted = [var for term in terms for var in term_vars(term) if var.name not in known]
        if wanted:
            self._heads(wanted, {name for expr in clause.body for name in own_vars(expr)})

    def body(self, body: Body, outside: AbstractSet[str]) -> Body:
        """Order a body and the bodies in it. `outside` holds the variables that are bound around it."""
        own = [own_vars(expr) for expr in body]
        closed = [closures(expr) for expr in body]
        inner = [closure_vars(found) if found else set() for found in closed]
        mentioned = set().union(*own)
        needed = [names & mentioned - outside for names in inner]
        bound = mentioned & outside | ROOTS
        order: list[int] = []
        late: list[int] = []
        for i, expr in enumerate(body):
            if not needed[i] <= bound:
                late.append(i)
                continue
            if not own[i] <= bound:
                if not own[i] <= bound | outputs(expr, own[i] & bound, self.arity):
                    late.append(i)
                    continue
                bound |= own[i]
            order.append(i)
        unbound: list[str] = []
        if late:
            rest, unbound = self._arranged(body, late, needed, bound)
            order += rest
        if not any(closed):
            return tuple([body[i] for i in order])
        self._check_prints(body, order, own, needed)
        result: list[Expr] = []
        seen = {*(outside & mentioned.union(*inner)), *unbound}
        for i in order:
            result.append(self._inside(body[i], seen) if closed[i] else body[i])
            seen |= own[i]
        return tuple(result)

    def _arranged(
        self, body: Body, late: list[int], needed: list[set[str]], bound: set[str]
    ) -> tuple[list[int], list[str]]:
        """Order the statements that are not safe where they stand; also returns the variables that nothing binds."""
        statements = {
            i: Statement(
                list(dict.fromkeys(var.name for var in expr_vars(body[i]))),
                [*sorted(needed[i]), *(var.name for item in body[i].withs for var in term_vars(item.value))],
                bindings(body[i], self.arity),
            )
            for i in late
        }
        order, unbound = arrange(statements, bound)
        places: dict[str, tuple[Location, Expr]] = {}
        for i in late if unbound else ():
            for var in expr_vars(body[i]):
                places.setdefault(var.name, (var.loc, body[i]))
        captured = _captured_vars(body) if unbound else ()
        for name in unbound:
            place, expr = places.get(name, (body[late[0]].loc, None))
            if name in captured:
                self._undeclared(name, place)
            else:
                self._unsafe(name, place, advice(name, expr))
        return order, unbound

    def _check_prints(self, body: Body, order: list[int], own: list[set[str]], needed: list[set[str]]) -> None:
        """Report variables printed above the statement that binds them: a `print` does not wait for a value."""
        printing = [i for i in order if is_print(body[i].what) and needed[i]]
        if printing:
            binder: dict[str, int] = {}
            for i in order:
                for name in own[i]:
                    binder.setdefault(name, i)
        for i in printing:
            for name in needed[i]:
                if binder.get(name, -1) > i:
                    self._undeclared(name, body[i].loc, "it is bound below")

    def _inside(self, expr: Expr, seen: AbstractSet[str]) -> Expr:
        """Order the bodies in an expression. Variables that the expression itself binds are not bound in them."""

        def term(item: Term) -> Term:
            if isinstance(item, COMPREHENSIONS):
                return self._comprehension(item, seen)
            return map_term(item, term)

        what = expr.what
        match what:
            case nodes.Every(key, value, domain, body):
                inner = self.body(body, seen | declared_by(what))
                what = nodes.Every(key, value, term(domain), inner, loc=what.loc)
            case nodes.Negation() | nodes.Conjunction() | nodes.Disjunction():
                what = map_operands(what, lambda operand: self._operand(operand, seen))
            case nodes.SomeDecl() | nodes.SomeIn():
                raise AssertionError("declarations are gone after the names stage")
            case _:
                what = term(what)
        withs = tuple([replace(item, value=term(item.value)) for item in expr.withs])
        return replace(expr, what=what, withs=withs)

    def _operand(self, operand: Body | Expr, seen: AbstractSet[str]) -> Body | Expr:
        return self._inside(operand, seen) if isinstance(operand, Expr) else self.body(operand, seen)

    def _comprehension(self, item: Term, seen: AbstractSet[str]) -> Term:
        if is_capture(item):
            seen = self._capture(item, seen)
        result = map_closure(item, lambda body: self.body(body, seen))
        wanted = [var for head in heads(result) for var in term_vars(head) if var.name not in seen]
        if wanted:
            (body,) = bodies(result)
            self._heads(wanted, {name for expr in body for name in own_vars(expr)} | ROOTS)
        return result

    def _capture(self, item: Term, seen: AbstractSet[str]) -> AbstractSet[str]:
        """Report unbound variables in an expression of a template string or an operand of `print`."""
        (body,) = bodies(item)
        unbound = {var.name: var for expr in body for var in expr_vars(expr) if var.name not in seen | ROOTS}
        unbound = {name: var for name, var in unbound.items() if not is_internal(name)}
        for name, var in unbound.items():
            self._undeclared(name, var.loc)
        return seen | unbound.keys()

    # ---- errors

    def _heads(self, wanted: Iterable[nodes.Var], bound: AbstractSet[str]) -> None:
        for var in {var.name: var for var in wanted if var.name not in bound}.values():
            self._unsafe(var.name, var.loc)

    def _unsafe(self, name: str, loc: Location, hint: str = "") -> None:
        if name in IMPORTABLE:
            hint = f"`import future.keywords.{name}` makes it a keyword"
        if name.startswith("$"):
            hint = ITERATE
        text = f"var {source_name(name)} is unsafe: nothing binds it"
        self._report(name, PolicyError(UNSAFE_VAR_ERROR, text, loc, hint=hint))

    def _undeclared(self, name: str, loc: Location, why: str = "nothing binds it") -> None:
        hint = "template strings and `print` bind nothing: bind it in a statement above"
        text = f"var {source_name(name)} is undeclared: {why}"
        self._report(name, PolicyError(COMPILE_ERROR, text, loc, hint=hint))

    def _report(self, name: str, error: PolicyError) -> None:
        """Keep one error for each name: the first, and `undeclared` rather than `unsafe`."""
        known = self.errors.setdefault(source_name(name), error)
        if (error.code, error.location or NOWHERE) < (known.code, known.location or NOWHERE):
            self.errors[source_name(name)] = error


def _names_around(program: Program, rule: NormalRule, clause: Clause) -> Iterator[str]:
    """The names that a rule's author may have meant."""
    yield from ROOTS
    package = rule.module.package
    if package:
        yield from (str(group.path[len(package)]) for group in program.groups if group.path[: len(package)] == package)
    yield from {source_name(name) for name in _all_names(clause.body)} - {""}


def _all_names(body: Body) -> Iterator[str]:
    for expr in body:
        yield from own_vars(expr)
        for closure in closures(expr):
            yield from declared_by(closure) if isinstance(closure, nodes.Every) else ()
            for inner in bodies(closure):
                yield from _all_names(inner)


def _captured_vars(body: Body) -> set[str]:
    """The variables in template strings and operands of `print` in a body."""
    found: set[str] = set()
    for expr in body:
        for closure in closures(expr):
            for inner in bodies(closure):
                found |= set().union(*map(own_vars, inner)) if is_capture(closure) else _captured_vars(inner)
    return found
