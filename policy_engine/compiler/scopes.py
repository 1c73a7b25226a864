"""Which names are local: the scopes of a rule, what each has seen and declared, and what may be declared again.

The rules are OPA's (v1/ast/compile.go, declaredVars and localDeclaredVars). A name that `:=`, `some`, `every` or an
argument declares hides what is outside from there on, but anywhere in the body that declares it, further up too, it is
no name of a rule or an import. Any other variable belongs to the outermost body that mentions it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from policy_engine.compiler.terms import COMPREHENSIONS, Names, expr_terms, map_term, operands, walk_terms
from policy_engine.errors import COMPILE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term


class How(enum.Enum):
    """How a scope has come to know a name; the value says what speaks against declaring it again."""

    SEEN = "var {} referenced above"
    ARGUMENT = "arg {} redeclared"
    ASSIGNED = "var {} assigned above"
    DECLARED = "var {} declared above"


@dataclass(slots=True)
class Local:
    """A name in a scope. `var` is what it is renamed to: itself if it was only seen."""

    var: nodes.Var
    how: How
    loc: Location
    """What to point at if it is never used: the expression that declares it."""
    uses: int = 0


class Scope:
    """The names of one body. `declares` are those that it declares anywhere, its inner bodies included."""

    __slots__ = ("declares", "locals")

    def __init__(self, declares: set[str]) -> None:
        self.declares = declares
        self.locals: dict[str, Local] = {}


class Scopes:
    """The scopes around a place, innermost last. `errors` are those of one rule (or one `else` of it)."""

    def __init__(self, fresh: Names) -> None:
        self.fresh = fresh
        self.errors: list[PolicyError] = []
        self._stack: list[Scope] = []

    def open(self, declares: set[str]) -> Scope:
        scope = Scope(declares)
        self._stack.append(scope)
        return scope

    def close(self, *, strict: bool) -> Scope:
        """Leave the innermost scope; report what it declares and nothing uses, unless there is an error already.

        `strict` is about what is assigned, too.
        """
        scope = self._stack.pop()
        if not self.errors and strict:
            self._report_unused(scope, How.ASSIGNED, "assigned var {} unused")
        if not self.errors:
            self._report_unused(scope, How.DECLARED, "declared var {} unused")
        return scope

    def _report_unused(self, scope: Scope, how: How, text: str) -> None:
        for name, local in scope.locals.items():
            generated = how is How.DECLARED and name.startswith("__local")  # as OPA names what it makes
            if local.how is how and not local.uses and not generated:
                self.errors.append(PolicyError(COMPILE_ERROR, text.format(shown(name)), local.loc))

    @property
    def outermost(self) -> bool:
        """Whether the innermost scope is that of the whole body."""
        return len(self._stack) == 1

    def find(self, name: str) -> Local | None:
        """What a name stands for, seen names included."""
        for scope in reversed(self._stack):
            if (local := scope.locals.get(name)) is not None:
                return local
        return None

    def use(self, name: str) -> Local | None:
        """What a name stands for, which is used now."""
        local = self.find(name)
        if local is not None:
            local.uses += 1
        return local

    def hides(self, name: str) -> bool:
        """Whether a body around declares a name somewhere, so that it is none of a rule or an import."""
        return any(name in scope.declares for scope in self._stack)

    @contextmanager
    def hiding(self, names: set[str]) -> Iterator[None]:
        """What is resolved in here takes none of the names for one of a rule or an import."""
        scope = self._stack[-1]
        before, scope.declares = scope.declares, scope.declares | names
        yield
        scope.declares = before

    def see(self, var: nodes.Var) -> None:
        """Note a variable that nothing has declared yet."""
        if self._stack and self.find(var.name) is None:
            self._stack[-1].locals[var.name] = Local(var, How.SEEN, var.loc)

    def see_outer(self, name: str, local: Local) -> None:
        """Note that the innermost scope has come to know a name of an outer one, which it then must not declare."""
        self._stack[-1].locals.setdefault(name, Local(local.var, How.SEEN, local.loc))

    def declare(self, var: nodes.Var, how: How, loc: Location) -> bool:
        """Give a variable a name of its own from here on; false if that is an error."""
        here = self._stack[-1].locals
        if (known := here.get(var.name)) is not None:
            place = min(loc, var.loc) if how is How.DECLARED else var.loc
            self.errors.append(PolicyError(COMPILE_ERROR, known.how.value.format(shown(var.name)), place))
            return False
        here[var.name] = Local(self.fresh.fresh(var.name, var), how, loc)
        return True


def shown(name: str) -> str:
    """A variable as the policy has it."""
    return "_" if name.startswith("$") else name.split("'")[0]


def as_written(term: Term) -> Term:
    """A term with its declared variables as the policy has them."""
    if not isinstance(term, nodes.Var):
        return map_term(term, as_written)
    return nodes.Var(term.name.split("'")[0] or "_", loc=term.loc)


def is_internal(name: str) -> bool:
    """Whether the compiler made a variable, and the policy has none behind it."""
    return name.startswith(("'", "$'"))


def declared_names(body: Body) -> set[str]:
    """The names that a body declares, in the bodies of `every`, `not`, `and` and `or` too."""
    found: set[str] = set()
    for expr in body:
        what = expr.what
        if type(what) is not nodes.Call:
            found.update(_declared_by(expr))
        elif is_assignment(what) and what.args:
            found.update([var.name for var in variables(what.args[0])])
    return found


def is_assignment(call: nodes.Call) -> bool:
    """Whether a parsed call is `:=`."""
    return type(call.operator) is nodes.Var and call.operator.name == "assign"


def _declared_by(expr: Expr) -> Iterator[str]:
    match expr.what:
        case nodes.SomeDecl(symbols):
            yield from (symbol.name for symbol in symbols)
        case nodes.SomeIn(key, value, _):
            yield from (var.name for term in (key, value) if term is not None for var in variables(term))
        case nodes.Every(_, _, _, body):
            yield from declared_names(body)
        case nodes.Negation() | nodes.Conjunction() | nodes.Disjunction() as logic:
            for operand in operands(logic):
                yield from declared_names((operand,) if isinstance(operand, Expr) else operand)


def variables(term: Term) -> Sequence[nodes.Var]:
    """All variables of a term but wildcards, outside bodies."""
    return [item for item in walk_terms(term) if type(item) is nodes.Var and not item.is_wildcard]


def all_names(term: Term) -> set[str]:
    """The names of all variables of a term, those in the bodies in it too."""
    found: set[str] = set()
    for item in walk_terms(term):
        if isinstance(item, nodes.Var):
            if not item.is_wildcard:
                found.add(item.name)
        elif isinstance(item, nodes.ObjectComprehension):
            found |= all_names(item.key) | all_names(item.value) | _body_names(item.body)
        elif isinstance(item, COMPREHENSIONS):
            found |= all_names(item.term) | _body_names(item.body)
        elif isinstance(item, nodes.Template):
            found |= _body_names(tuple([part for part in item.parts if isinstance(part, Expr)]))
        elif isinstance(item, nodes.Call) and isinstance(item.operator, nodes.Ref):
            found |= all_names(item.operator.head)
    return found


def _body_names(body: Body) -> set[str]:
    return {name for expr in body for term in expr_terms(expr) for name in all_names(term)}


def assignable(pattern: Term, errors: list[PolicyError]) -> Iterable[nodes.Var]:
    """The variables that `:=` declares: those in arrays and in the values of objects. Nothing else can be assigned."""
    match pattern:
        case nodes.Var():
            yield pattern
        case nodes.Array(items):
            for item in items:
                yield from assignable(item, errors)
        case nodes.Object(pairs):
            for _, value in pairs:
                yield from assignable(value, errors)
        case _:
            errors.append(PolicyError(COMPILE_ERROR, f"cannot assign to {_kind(pattern)}", pattern.loc))


def _kind(term: Term) -> str:
    """What a term is, as OPA names it."""
    if not isinstance(term, nodes.Scalar):
        return type(term).__name__.lower()
    match term.value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case _:
            return "number"
