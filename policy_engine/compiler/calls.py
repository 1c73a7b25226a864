"""Stage: every call names a function that exists, with as many operands as it takes; every `with` a fit target."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from policy_engine.builtins.table import Builtin
from policy_engine.compiler.program import Group, Kind, Path, Program, dotted
from policy_engine.compiler.renaming import Renaming
from policy_engine.compiler.terms import (
    HOLD_BODIES,
    DocumentValue,
    FunctionValue,
    bodies,
    builtin_name,
    closures,
    expr_terms,
    function_path,
    heads,
    is_simple,
    walk_terms,
)
from policy_engine.compiler.typecheck import messages
from policy_engine.compiler.typecheck.documents import Documents, Node
from policy_engine.compiler.typecheck.scope import Scope
from policy_engine.errors import COMPILE_ERROR, TYPE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term
from policy_engine.types import UNKNOWN, Function

_SUFFIX: Final = re.compile(r"'\d+")
"""What a declared name ends with."""
_WILDCARD: Final = re.compile(r"^\$\d+")
_NEVER_REPLACED: Final = frozenset({"eq", "rego.metadata.chain", "rego.metadata.rule"})


def check(program: Program, errors: list[PolicyError]) -> None:
    """Report calls that cannot be made, and note which functions and documents `with` replaces somewhere.

    What is wrong with a `with` is said first, then which rules conflict.
    """
    checker = Checker(program, errors)
    for rule in program.rules:
        for clause in rule.clauses:
            checker.body(clause.body)
    if said_first := checker.wrong_withs or program.conflicts:
        errors[:] = said_first


def deprecated(program: Program, errors: list[PolicyError]) -> None:
    """Report calls of builtins that exist only for older versions of the language."""
    if not program.calls_deprecated:
        return
    names = {name for name, builtin in program.builtins.items() if builtin.deprecated}
    for rule in program.rules:
        for clause in rule.clauses:
            for call in _calls(clause.body):
                if (name := builtin_name(call)) in names:
                    text = f"deprecated built-in function calls in expression: {name}"
                    errors.append(PolicyError(TYPE_ERROR, text, call.loc))


def relations(program: Program, errors: list[PolicyError]) -> None:
    """Report relations that stand for functions: a call has one result. OPA takes them, so this is said last."""
    names = {name for name in program.mocked if name in program.builtins and program.builtins[name].relation}
    places: set[Location] = set()  # by now an expression may be several, each with what modifies it
    for rule in program.rules if names else ():
        for clause in rule.clauses:
            values = [item.value for item in _withs(clause.body) if isinstance(item.value, FunctionValue)]
            places.update(value.loc for value in values if value.value in names)
    text = "with keyword replacing function: value must not be a relation"
    errors += [PolicyError(COMPILE_ERROR, text, place) for place in sorted(places)]


def documents(program: Program, errors: list[PolicyError]) -> None:
    """Read the documents that are called like functions without operands.

    OPA's type checker refuses only those of a known type: `f() := input.x` can be called.
    """
    if program.calls_documents:
        reader = _Reader(program)
        for rule in program.rules:
            for clause in rule.clauses:
                clause.body = reader.body(clause.body)


class _Reader(Renaming):
    """Puts references in the place of such calls, in normal form: `f(x)` is `x = f`."""

    def __init__(self, program: Program) -> None:
        super().__init__({})
        self.program = program

    def body(self, body: Body) -> Body:
        return tuple(map(self.expr, body))

    def term(self, term: Term) -> Term:
        term = super().term(term)
        if not isinstance(term, nodes.Call) or isinstance(term.operator, nodes.Var):
            return term
        if find_function(self.program, term) is not None:
            return term
        document = nodes.Ref(term.operator.head, term.operator.path, loc=term.loc)
        return nodes.Call(nodes.Var("eq"), (term.args[0], document), loc=term.loc) if term.args else document


def _withs(body: Body) -> Iterator[nodes.With]:
    """The `with` modifiers of a body and of all bodies in it."""
    for expr in body:
        yield from expr.withs
        for closure in closures(expr):
            for inner in bodies(closure):
                yield from _withs(inner)


def _calls(body: Body) -> Iterator[nodes.Call]:
    """The calls of a body in normal form."""
    for expr in body:
        if isinstance(expr.what, nodes.Call):
            yield expr.what
        for term in expr_terms(expr):
            if isinstance(term, nodes.Call):
                yield term
        for closure in closures(expr):
            for inner in bodies(closure):
                yield from _calls(inner)


def arity(program: Program) -> Callable[[nodes.Call], int]:
    """How many operands a call's function takes; -1 if there is no such function."""

    def count(call: nodes.Call) -> int:
        name = builtin_name(call)
        if name is not None:
            return len(program.builtins[name].decl.args) if name in program.builtins else -1
        group = _find_group(program, call)
        return group.arity if group is not None else -1

    return count


def find_function(program: Program, call: nodes.Call) -> Group | None:
    """The group of a call of a policy's own function."""
    group = _find_group(program, call)
    return group if group is not None and group.kind is Kind.FUNCTION else None


def _find_group(program: Program, call: nodes.Call) -> Group | None:
    """The rules that a call of no builtin names, functions or not."""
    assert isinstance(call.operator, nodes.Ref)
    node = program.tree.find(function_path(call.operator))
    return node.group if node is not None else None


class Checker:
    """Looks at every call and `with` of a body."""

    def __init__(self, program: Program, errors: list[PolicyError]) -> None:
        self.program = program
        self.errors = errors
        self.wrong_withs: list[PolicyError] = []
        """The first of each body."""
        self.types = Scope((), Documents(Node()))

    def body(self, body: Body) -> None:
        wrong: list[PolicyError] = []
        for expr in body:
            self.expr(expr)
            wrong += [error for item in expr.withs if (error := self._with(item)) is not None]
        self.wrong_withs += wrong[:1]

    def expr(self, expr: Expr) -> None:
        if isinstance(expr.what, nodes.Call):
            self._call(expr.what, expr.loc, statement=True)
        for term in (*expr_terms(expr), *[item.value for item in expr.withs]):
            if not is_simple(term):
                for item in _terms(term):
                    if isinstance(item, nodes.Call):
                        self._call(item, item.loc, statement=False)
        for closure in closures(expr):
            for body in bodies(closure):
                self.body(body)

    def _call(self, call: nodes.Call, loc: Location, *, statement: bool) -> None:
        name = builtin_name(call)
        builtin = self.program.builtins.get(name) if name is not None else None
        if builtin is not None:
            self.program.calls_deprecated |= builtin.deprecated
            name, expected = builtin.name, len(builtin.decl.args)
        else:
            group = _find_group(self.program, call) if name is None else None
            name = name or _operator_text(call)
            # OPA takes a document for a function without operands, until it looks for its type.
            expected = group.arity if group is not None else -1
            self.program.calls_documents |= group is not None and group.kind is not Kind.FUNCTION
        fits = len(call.args) == expected or (statement and len(call.args) == expected + 1)
        if expected < 0:
            hint = "check the name, or import its package"
            text = f"undefined function {_WILDCARD.sub('_', _SUFFIX.sub('', name))}"
            self.errors.append(PolicyError(TYPE_ERROR, text, loc, hint=hint))
        elif fits:
            return
        elif (decl := builtin.decl if builtin is not None else self._inferred(call)) is None:
            given = f"{len(call.args)} argument{'' if len(call.args) == 1 else 's'}"
            self.errors.append(PolicyError(TYPE_ERROR, f"function {name} has arity {expected}, got {given}", loc))
        elif decl.variadic is None:
            # Of variables nothing is known yet; a call inside a term has a result, of which nothing is known either.
            have = [*map(self.types.type_of, call.args), *([] if statement else [UNKNOWN])]
            self.errors.append(messages.call_error(loc, name, "arity mismatch", have, decl.args))

    def _inferred(self, call: nodes.Call) -> Function | None:
        """The type of a policy's own function, where all types are known: in a query."""
        assert isinstance(call.operator, nodes.Ref)
        found = self.program.documents.find("data", call.operator.path)
        return found if isinstance(found, Function) else None

    def _with(self, item: nodes.With) -> PolicyError | None:
        """A target is input, base data, a whole virtual document, or a function."""
        target = item.target
        head = target.head if isinstance(target, nodes.Ref) else target
        assert isinstance(head, nodes.Var)
        if isinstance(item.value, FunctionValue):
            self.program.mocked.add(str(item.value.value))
        if head.name == "input":
            return None
        if head.name != "data":
            return self._with_builtin(item, head.name)
        path = constant_path(target)
        if path is None:
            return None  # an error when it is evaluated, as in OPA
        node = self.program.tree
        for step in path:
            if node.group is not None:
                text = "with keyword cannot partially replace virtual document(s)"
                return PolicyError(COMPILE_ERROR, text, target.loc, hint=f"replace all of `{node.group.name}`")
            if step not in node.children:
                break
            node = node.children[step]
        if node.group is not None and node.group.kind is Kind.FUNCTION:
            self.program.mocked.add(node.group.name)
            item.value = self._evaluated_when_called(item.value)
        else:
            self.program.masked.add(path)
        return None

    def _with_builtin(self, item: nodes.With, name: str) -> PolicyError | None:
        builtin: Builtin | None = self.program.builtins.get(name)
        if builtin is None:
            text = "with keyword target must reference existing input, data, or a function"
            return PolicyError(TYPE_ERROR, text, item.target.loc, hint=f"nothing is called `{_SUFFIX.sub('', name)}`")
        wrong = ""
        if name in _NEVER_REPLACED:
            wrong = f'replacement of "{name}" invalid'
        elif name.startswith("internal."):
            wrong = f'replacement of internal function "{name}" invalid'
        elif builtin.relation:
            wrong = "target must not be a relation"
        elif builtin.decl.result is None:
            wrong = "target must not be a void function"
        if wrong:
            return PolicyError(COMPILE_ERROR, f"with keyword replacing built-in function: {wrong}", item.target.loc)
        self.program.mocked.add(name)
        item.value = self._evaluated_when_called(item.value)
        return None

    def _evaluated_when_called(self, value: Term) -> Term:
        """What stands for a function: a document of rules as such, any other term as it is."""
        if not isinstance(value, nodes.Ref) or value.head != nodes.Var("data"):
            return value
        path = constant_path(value)
        if path is None or self.program.tree.find(path) is None:
            return value
        return DocumentValue(dotted(path), path=tuple(map(str, path)), loc=value.loc)


def _terms(term: Term) -> Iterator[Term]:
    """A term and all in it, heads of comprehensions too; not their bodies."""
    for item in walk_terms(term):
        yield item
        if item.__class__ in HOLD_BODIES:
            for head in heads(item):
                yield from _terms(head)


def constant_path(target: Term) -> Path | None:
    """The path of a `with` target's steps; None if they are not all strings."""
    steps = target.path if isinstance(target, nodes.Ref) else ()
    if not all(isinstance(step, nodes.Scalar) and isinstance(step.value, str) for step in steps):
        return None
    return tuple(str(step.value) for step in steps if isinstance(step, nodes.Scalar))


def _operator_text(call: nodes.Call) -> str:
    assert isinstance(call.operator, nodes.Ref)
    return dotted(function_path(call.operator))
