"""Checks the expressions of a body and learns the types of variables from them.

This is OPA's CheckBody (v1/ast/check.go). It checks unevenly, and so does this file, so that the same policies are
accepted: calls and equalities in the bodies of rules and comprehensions; in the bodies of `every`, `and`, `or` and
`not {…}` only references and comprehensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from policy_engine.builtins.table import Builtin
from policy_engine.compiler.program import Path, dotted
from policy_engine.compiler.terms import COMPREHENSIONS, ROOTS, FunctionValue, bodies, closures, function_path, heads
from policy_engine.compiler.typecheck import algebra, messages, references
from policy_engine.compiler.typecheck.documents import DocumentNode
from policy_engine.compiler.typecheck.scope import TypeScope
from policy_engine.compiler.typecheck.unify import fit, learn, meet
from policy_engine.errors import TYPE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Expr, Term
from policy_engine.syntax.parser import parse_term
from policy_engine.types import ANY, UNKNOWN, ArrayType, FunctionType, ObjectType, SetType, Type, unnamed
from policy_engine.values import freeze

Dependents = Callable[[Path], DocumentNode | None]
"""The documents that depend on a document, with the type of any value; None if there are none."""

_WITH_BODIES: Final = frozenset((nodes.Every, nodes.Negation, nodes.Conjunction, nodes.Disjunction))

_Failure = tuple[PolicyError, bool]
"""An error, and whether an unknown type caused it; then another error of the expression is more precise."""


class Bodies:
    """Checks bodies against the types of documents and builtins."""

    def __init__(self, builtins: Mapping[str, Builtin], dependents: Dependents) -> None:
        self.builtins = builtins
        self.dependents = dependents
        self._wanted: dict[str, tuple[Type, ...]] = {}

    def check(self, scope: TypeScope) -> list[PolicyError]:
        """Check a scope's body; afterwards the scope has the types of its variables."""
        errors: list[PolicyError] = []
        for expr in scope.body:
            if expr.withs:
                errors += self._expr(expr, self._replaced(expr, scope))
            else:
                errors += self._expr(expr, scope)
        return errors

    def _expr(self, expr: Expr, scope: TypeScope) -> list[PolicyError]:
        """Check closures, then references, then the expression itself, each with the types learned before."""
        what = expr.what
        if what.__class__ in _WITH_BODIES:
            if isinstance(what, nodes.Every):
                learn(scope, what.domain, ANY)
            failure = self._withs(expr, scope) if isinstance(what, nodes.Negation) and expr.withs else None
            found = [*self._closures(expr, scope), *self._references(expr, scope)]
            return found if failure is None else [*found, failure[0]]
        errors = [] if expr.flat else self._closures(expr, scope)
        for side in what.args if type(what) is nodes.Call else (what,):
            if type(side) is nodes.Ref and (error := references.check(scope, side)) is not None:
                errors.append(error)
        failure = self._withs(expr, scope) if expr.withs else None
        if failure is None and type(what) is nodes.Call:
            failure = self._call(what, scope, expr.loc)
        if failure is not None and not (errors and failure[1]):
            errors.append(failure[0])
        return errors

    # ---- comprehensions

    def _closures(self, expr: Expr, scope: TypeScope) -> list[PolicyError]:
        """Check the bodies of the comprehensions of an expression, and note the types of their values."""
        errors: list[PolicyError] = []
        for comprehension in _comprehensions(expr):
            (body,) = bodies(comprehension)
            inner = TypeScope(body, scope.documents, scope)
            found = self.check(inner)
            scope.results[id(comprehension)] = UNKNOWN if found else _type_of_heads(comprehension, inner)
            errors += found
        return errors

    # ---- references

    def _references(self, expr: Expr, scope: TypeScope) -> Iterator[PolicyError]:
        """Check references in an expression and its bodies, but not in comprehensions.

        Around `every`, `and` and `or` a `with` must not name functions, as in OPA.
        """
        what = expr.what
        if what.__class__ in _WITH_BODIES:
            for body in bodies(what):
                for inner in body:
                    yield from self._references(inner, scope)
            if not isinstance(what, nodes.Negation):
                for item in expr.withs:
                    yield from self._named_functions(item, scope)
            return
        for side in what.args if isinstance(what, nodes.Call) else (what,):
            if isinstance(side, nodes.Ref):
                error = references.check(scope, side)
                if error is not None:
                    yield error

    def _named_functions(self, item: nodes.With, scope: TypeScope) -> Iterator[PolicyError]:
        names = [_target_name(item.target)]
        if isinstance(item.value, FunctionValue):
            names.append(str(item.value.value))
        for name in names:
            found = self._function_type(name, scope)
            if found is not None:
                yield messages.function_error(item.loc, name, found)

    # ---- calls and equalities

    def _call(self, call: nodes.Call, scope: TypeScope, loc: Location) -> _Failure | None:
        operator = call.operator
        if isinstance(operator, nodes.Var):
            if operator.name == "eq" and len(call.args) == 2:
                return self._equality(call.args, scope, loc)
            return self._builtin(operator.name, call.args, scope, loc)
        return self._function(operator, call.args, scope, loc)

    def _equality(self, sides: tuple[Term, ...], scope: TypeScope, loc: Location) -> _Failure | None:
        a, b = sides
        if isinstance(b, nodes.Call):
            return self._call(nodes.Call(b.operator, (*b.args, a)), scope, loc)
        if isinstance(a, nodes.Call):
            return self._call(nodes.Call(a.operator, (*a.args, b)), scope, loc)
        a_type, b_type = scope.type_of(a), scope.type_of(b)
        if meet(scope, a, a_type, b, b_type):
            return None
        unknown = algebra.is_unknown(a_type) or algebra.is_unknown(b_type)
        return messages.match_error(loc, a_type, b_type), unknown

    def _builtin(self, name: str, args: tuple[Term, ...], scope: TypeScope, loc: Location) -> _Failure | None:
        if name == "internal.print":
            return None  # the compiler generates its operand, which the declaration does not describe
        decl = self.builtins[name].decl
        wanted = self._wanted.get(name)
        if wanted is None:
            wanted = self._wanted[name] = tuple([unnamed(arg) for arg in _with_result(decl)])
        return _operands(scope, name, args, wanted, _with_result(decl), loc)

    def _function(
        self, operator: nodes.Ref, args: tuple[Term, ...], scope: TypeScope, loc: Location
    ) -> _Failure | None:
        found = scope.documents.find("data", operator.path)
        if found is ANY:
            return None  # the function has an error, or a `with` may change it
        if not isinstance(found, FunctionType):
            # A `with` replaces the package by a document without this function.
            name = dotted(function_path(operator))
            hint = "it is a rule or a document, and used without parentheses"
            return PolicyError(TYPE_ERROR, f"undefined function {name}", loc, hint=hint), False
        wanted = _with_result(found)
        return _operands(scope, dotted(function_path(operator)), args, wanted, wanted, loc)

    # ---- with

    def _replaced(self, expr: Expr, scope: TypeScope) -> TypeScope:
        """The scope under an expression's `with`: a replaced document has its old type or the replacement's.

        Documents that depend on a replaced one have any type, unless they are replaced themselves.
        """
        layer = DocumentNode()
        changed: list[DocumentNode] = []
        for item in expr.withs:
            target = item.target
            root, path = (target.name, ()) if isinstance(target, nodes.Var) else (_root(target), target.path)
            if root not in ROOTS:
                continue  # results of builtins are not checked again
            names = tuple([freeze(step.value) for step in path if isinstance(step, nodes.Scalar)])
            before = scope.documents.find(root, path)
            if not isinstance(before, FunctionType):
                after = scope.type_of(item.value)
                layer.put((root, *names), ANY if after is UNKNOWN else algebra.either(before, after))
            if root == "data" and (dependents := self.dependents(names)) is not None:
                changed.append(dependents)
        if not layer.children and not changed:
            return scope
        documents = scope.documents
        for dependents in changed:
            documents = documents.under(dependents)
        return scope.over(documents.under(layer))

    def _withs(self, expr: Expr, scope: TypeScope) -> _Failure | None:
        """The error of the first function replaced by one with other operands."""
        for item in expr.withs:
            if not isinstance(item.value, FunctionValue):
                continue
            name = _target_name(item.target)
            replaced, other = self._function_type(name, scope), self._function_type(str(item.value.value), scope)
            if replaced is None or other is None:
                continue
            have = [unnamed(arg) for arg in other.args]
            wanted = [unnamed(arg) for arg in replaced.args]
            if len(have) != len(wanted) or not all(map(fit, wanted, have)):
                error = messages.call_error(item.loc, name, "arity mismatch", have, replaced.args, replaced.variadic)
                return error, False
        return None

    def _function_type(self, name: str, scope: TypeScope) -> FunctionType | None:
        if name in self.builtins:
            return self.builtins[name].decl
        path = parse_term(name)  # steps may be quoted
        found = scope.documents.find("data", path.path) if isinstance(path, nodes.Ref) else None
        return found if isinstance(found, FunctionType) else None


def _target_name(target: nodes.Var | nodes.Ref) -> str:
    """The full name of a function that a `with` replaces."""
    return target.name if isinstance(target, nodes.Var) else dotted(function_path(target))


def _root(ref: nodes.Ref) -> str:
    return ref.head.name if isinstance(ref.head, nodes.Var) else ""


def _with_result(decl: FunctionType) -> tuple[Type, ...]:
    """The types of a function's operands and, last, of its output."""
    return decl.args if decl.result is None else (*decl.args, decl.result)


def _operands(
    scope: TypeScope,
    name: str,
    args: tuple[Term, ...],
    wanted: tuple[Type, ...],
    declared: tuple[Type, ...],
    loc: Location,
) -> _Failure | None:
    """Match the operands of a call, and its output if given, with the declared types, up to the first that fails.

    Types before the call are checked first, because matching a pattern with a union changes the types of its variables.
    """
    have = [scope.type_of(arg) for arg in args]
    for arg, before, want in zip(args, have, wanted, strict=False):
        if before is UNKNOWN or fit(before, want) or algebra.is_unknown(before):
            if learn(scope, arg, want):
                continue
            have = [scope.type_of(arg) for arg in args]
        error = messages.call_error(loc, name, "invalid argument(s)", have, declared)
        return error, any(map(algebra.is_unknown, have))
    return None


def _type_of_heads(term: Term, scope: TypeScope) -> Type:
    """The type of a comprehension whose body has been checked."""
    types = [scope.type_of(head) for head in heads(term)]
    match term:
        case nodes.ArrayComprehension():
            return ArrayType((), None if types[0] is UNKNOWN else types[0])
        case nodes.SetComprehension():
            return SetType(types[0])
        case _:
            return ObjectType((), (types[0], types[1]))


def _comprehensions(expr: Expr) -> Iterator[Term]:
    """The outermost comprehensions of an expression, those in its bodies too."""
    for closure in closures(expr):
        if isinstance(closure, COMPREHENSIONS):
            yield closure
        else:
            for body in bodies(closure):
                for inner in body:
                    yield from _comprehensions(inner)
