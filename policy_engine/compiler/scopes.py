"""Local names: the scopes of a rule, the names that each of them mentions and declares, and what may not be redeclared.

A name that `:=`, `some`, `every` or an argument declares hides outer names from there on. In the body that declares it,
even above the declaration, the name never means a rule or an import. Any other variable belongs to the outermost body
that mentions it. (OPA: v1/ast/compile.go, declaredVars and localDeclaredVars.)
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from policy_engine.compiler.generated_names import FreshNames, source_name
from policy_engine.compiler.terms import ROOTS, operands, walk_terms
from policy_engine.errors import COMPILE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term


class BindingKind(enum.Enum):
    """The way in which a name entered a scope; the value is the error when it is declared again."""

    MENTIONED = "var {} referenced above"
    ARGUMENT = "arg {} redeclared"
    ASSIGNED = "var {} assigned above"
    DECLARED = "var {} declared above"


@dataclass(slots=True)
class Local:
    """A name in a scope. `var` is the variable that it becomes: the name itself if it was only mentioned."""

    var: nodes.Var
    kind: BindingKind
    loc: Location
    """The place of its first mention or declaration."""
    uses: int = 0


class Scope:
    """The names of one body. `declares` holds all names that the body declares, whether or not it has yet."""

    __slots__ = ("declares", "locals")

    def __init__(self, declares: set[str]) -> None:
        self.declares = declares
        self.locals: dict[str, Local] = {}


class Scopes:
    """The scopes around the current place, innermost last. `unused` collects the errors about unused names."""

    def __init__(self, fresh: FreshNames, errors: list[PolicyError]) -> None:
        self.fresh = fresh
        self.errors = errors
        self.unused: list[PolicyError] = []
        self._stack: list[Scope] = []

    def open(self, declares: set[str]) -> Scope:
        """Enter a body."""
        scope = Scope(declares)
        self._stack.append(scope)
        return scope

    def close(self, *, strict: bool) -> None:
        """Leave the innermost body and report its unused declarations; with `strict` its unused assignments too."""
        for name, local in self._stack.pop().locals.items():
            if local.uses:
                continue
            if local.kind is BindingKind.DECLARED and not name.startswith("__local"):  # names that OPA generates
                self._unused(f"declared var {source_name(name)} unused", local.loc)
            elif local.kind is BindingKind.ASSIGNED and strict:
                self._unused(f"assigned var {source_name(name)} unused", local.loc)

    def _unused(self, text: str, loc: Location) -> None:
        self.unused.append(PolicyError(COMPILE_ERROR, text, loc, hint="remove it, or write `_` in its place"))

    def find(self, name: str) -> Local | None:
        """The local that a name means, declared or only mentioned."""
        for scope in reversed(self._stack):
            if (local := scope.locals.get(name)) is not None:
                return local
        return None

    def declared(self, name: str) -> Local | None:
        """The declared local that a name means."""
        local = self.find(name)
        return local if local is not None and local.kind is not BindingKind.MENTIONED else None

    def use(self, name: str) -> Local | None:
        """The local that a name means; counts as a use of it."""
        local = self.find(name)
        if local is not None:
            local.uses += 1
        return local

    def hides(self, name: str) -> bool:
        """True if an enclosing body declares a name, so that it cannot mean a rule or an import."""
        return any(name in scope.declares for scope in self._stack)

    def mention(self, var: nodes.Var) -> None:
        """Record a variable that no body has declared so far."""
        if self._stack and self.find(var.name) is None:
            self._stack[-1].locals[var.name] = Local(var, BindingKind.MENTIONED, var.loc)

    def declare(self, var: nodes.Var, kind: BindingKind) -> None:
        """Rename a variable from here on, or report why it cannot be declared."""
        if var.name in ROOTS:
            what = "args" if kind is BindingKind.ARGUMENT else "variables"
            text = f"{what} must not shadow {var.name}"
            self.errors.append(PolicyError(COMPILE_ERROR, text, var.loc, hint="choose another name"))
            return
        here = self._stack[-1].locals
        if (known := here.get(var.name)) is not None:
            known.uses += 1  # one error is enough
            self.errors.append(_declared_again(var, known))
        else:
            here[var.name] = Local(self.fresh.fresh(var.name, var), kind, var.loc)


def _declared_again(var: nodes.Var, known: Local) -> PolicyError:
    where = f" in row {known.loc.row}" if known.loc.row != var.loc.row else ""
    hint = "compare with `==`, or choose another name"
    if known.kind is BindingKind.MENTIONED:
        hint = "declare it before it is used, or choose another name"
    return PolicyError(COMPILE_ERROR, known.kind.value.format(source_name(var.name)) + where, var.loc, hint=hint)


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
    """True if a parsed call is `:=`."""
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
    """All variables of a term, without wildcards and without those in bodies."""
    return [item for item in walk_terms(term) if type(item) is nodes.Var and not item.is_wildcard]


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
            hint = "`:=` gives a variable its value; compare with `==`"
            errors.append(PolicyError(COMPILE_ERROR, f"cannot assign to {_kind(pattern)}", pattern.loc, hint=hint))


def _kind(term: Term) -> str:
    """The kind of a term, in OPA's words."""
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
