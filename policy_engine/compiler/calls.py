"""Stage: every call names an existing function with the right number of operands; every `with` target is valid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from policy_engine.builtins.table import Builtin
from policy_engine.compiler.generated_names import source_name
from policy_engine.compiler.program import Kind, Path, Program, RuleGroup, dotted
from policy_engine.compiler.suggestions import did_you_mean
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
    map_closure,
    map_operands,
    walk_terms,
    with_args,
)
from policy_engine.compiler.typecheck import messages
from policy_engine.compiler.typecheck.documents import DocumentNode, Documents
from policy_engine.compiler.typecheck.scope import TypeScope
from policy_engine.errors import COMPILE_ERROR, TYPE_ERROR, PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term
from policy_engine.types import UNKNOWN

_NEVER_REPLACED: Final = frozenset({"eq", "rego.metadata.chain", "rego.metadata.rule"})


def check(program: Program, errors: list[PolicyError]) -> None:
    """Report invalid calls and `with` targets, and record the functions and documents that any `with` replaces."""
    checker = Checker(program, errors)
    for rule, clause in program.valid_clauses(errors):
        checker.package = f"{dotted(rule.module.package)}."
        checker.body(clause.body)


def documents(program: Program, errors: list[PolicyError]) -> None:
    """Turn calls of documents into references.

    OPA's type checker rejects such a call only if the type of the document is known: `f() := input.x` can be called.
    """
    if program.calls_documents:
        reader = _Reader(program)
        for rule in program.rules:
            for clause in rule.clauses:
                clause.body = reader.body(clause.body)


class _Reader:
    """Replaces such calls in a body in normal form: `f(x)` becomes `x = f`."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def body(self, body: Body) -> Body:
        return tuple(map(self.expr, body))

    def expr(self, expr: Expr) -> Expr:
        match expr.what:
            case nodes.Every(key, value, domain, body):
                return replace(expr, what=nodes.Every(key, value, domain, self.body(body), loc=expr.what.loc))
            case nodes.Negation() | nodes.Conjunction() | nodes.Disjunction() as logic:
                what = map_operands(logic, lambda part: self.expr(part) if isinstance(part, Expr) else self.body(part))
                return replace(expr, what=what)
            case nodes.SomeDecl() | nodes.SomeIn():
                raise AssertionError("declarations are gone after the names stage")
            case term:
                return replace(expr, what=self.term(term))

    def term(self, term: Term) -> Term:
        if not isinstance(term, nodes.Call):
            return map_closure(term, self.body)
        operator = term.operator
        if isinstance(operator, nodes.Ref) and find_function(self.program, term) is None:
            document = nodes.Ref(operator.head, operator.path, loc=term.loc)
            return nodes.Call(nodes.Var("eq"), (term.args[0], document), loc=term.loc) if term.args else document
        return with_args(term, tuple(map(self.term, term.args)))


def arity(program: Program) -> Callable[[nodes.Call], int]:
    """A function that counts the operands of a call's function; -1 if it does not exist."""

    def count(call: nodes.Call) -> int:
        name = builtin_name(call)
        if name is not None:
            return len(program.builtins[name].decl.args) if name in program.builtins else -1
        group = _find_group(program, call)
        return group.arity if group is not None else -1

    return count


def find_function(program: Program, call: nodes.Call) -> RuleGroup | None:
    """The group of the policy's function that a call names."""
    group = _find_group(program, call)
    return group if group is not None and group.kind is Kind.FUNCTION else None


def _find_group(program: Program, call: nodes.Call) -> RuleGroup | None:
    """The group that a call names, function or not."""
    assert isinstance(call.operator, nodes.Ref)
    node = program.tree.find(function_path(call.operator))
    return node.group if node is not None else None


class Checker:
    """Checks every call and `with` of a body."""

    def __init__(self, program: Program, errors: list[PolicyError]) -> None:
        self.program = program
        self.errors = errors
        self.types = TypeScope((), Documents(DocumentNode()))
        self.package = ""
        """The prefix of the functions that the current rule can call by their short names."""

    def body(self, body: Body) -> None:
        for expr in body:
            self.expr(expr)

    def expr(self, expr: Expr) -> None:
        if isinstance(expr.what, nodes.Call):
            self._call(expr.what, statement=True)
        for term in (*expr_terms(expr), *[item.value for item in expr.withs]):
            if not is_simple(term):
                for item in _terms(term):
                    if isinstance(item, nodes.Call):
                        self._call(item, statement=False)
        for modifier in expr.withs:
            self._with(modifier)
        for closure in closures(expr):
            for body in bodies(closure):
                self.body(body)

    def _call(self, call: nodes.Call, *, statement: bool) -> None:
        name, builtin = builtin_name(call), None
        if name is None:
            assert isinstance(call.operator, nodes.Ref)
            name = dotted(function_path(call.operator))
            group = _find_group(self.program, call)
            if group is not None and group.conflicts:
                return
            # A document counts as a function without operands until types are checked, as in OPA.
            expected = group.arity if group is not None else -1
            self.program.calls_documents |= group is not None and group.kind is not Kind.FUNCTION
        elif (builtin := self.program.builtins.get(name)) is not None:
            if builtin.deprecated and self.program.modules:  # OPA allows them in queries
                text = f"built-in function {name} is deprecated: Rego v1 does not have it"
                self.errors.append(PolicyError(TYPE_ERROR, text, call.loc))
            expected = len(builtin.decl.args) if builtin.decl.variadic is None else len(call.args)
        else:
            expected = -1
        if expected < 0:
            hint = did_you_mean(name, self._functions(), "check the name, or import its package")
            self.errors.append(PolicyError(TYPE_ERROR, f"undefined function {source_name(name)}", call.loc, hint=hint))
        elif len(call.args) == expected or (statement and len(call.args) == expected + 1):
            return
        elif builtin is not None:
            # Types of variables are not known yet. A call inside a term also has a result.
            have = [*map(self.types.type_of, call.args), *([] if statement else [UNKNOWN])]
            what = f"takes {_arguments(expected)}, got {len(call.args)}"
            self.errors.append(messages.call_error(call.loc, name, what, have, builtin.decl.args))
        else:
            text = f"function {name} takes {_arguments(expected)}, got {len(call.args)}"
            short = name.removeprefix(self.package)
            hint = f"the rule `{short}` hides the built-in function" if short in self.program.builtins else ""
            self.errors.append(PolicyError(TYPE_ERROR, text, call.loc, hint=hint))

    def _functions(self) -> set[str]:
        """The names by which the current rule can call functions."""
        own = (full.removeprefix(self.package) for full in self.program.functions)
        return {*self.program.builtins, *self.program.functions, *own}

    def _with(self, item: nodes.With) -> None:
        """Check that the target is input, base data, a whole virtual document, or a function."""
        target = item.target
        head = target.head if isinstance(target, nodes.Ref) else target
        assert isinstance(head, nodes.Var)
        if isinstance(item.value, FunctionValue):
            self._function_value(item.value)
        if head.name == "input":
            return
        if head.name != "data":
            self._with_builtin(item, head.name)
            return
        path = constant_path(target)
        if path is None:
            return  # an evaluation error, as in OPA
        node = self.program.tree
        for step in path:
            if node.group is not None:
                text = "with keyword cannot partially replace virtual document(s)"
                hint = f"replace all of `{node.group.name}`"
                self.errors.append(PolicyError(COMPILE_ERROR, text, target.loc, hint=hint))
                return
            if step not in node.children:
                break
            node = node.children[step]
        if node.group is not None and node.group.kind is Kind.FUNCTION:
            self.program.mocked.add(node.group.name)
            item.value = self._evaluated_when_called(item.value)
        else:
            self.program.masked.add(path)

    def _function_value(self, value: FunctionValue) -> None:
        name = str(value.value)
        self.program.mocked.add(name)
        if name in self.program.builtins and self.program.builtins[name].relation:
            text = "with keyword replacing function: value must not be a relation"
            self.errors.append(PolicyError(COMPILE_ERROR, text, value.loc))

    def _with_builtin(self, item: nodes.With, name: str) -> None:
        builtin: Builtin | None = self.program.builtins.get(name)
        if builtin is None:
            text = "with keyword target must reference existing input, data, or a function"
            known = {"input", "data", *self._functions()}
            hint = did_you_mean(source_name(name), known, f"nothing is called `{source_name(name)}`")
            self.errors.append(PolicyError(TYPE_ERROR, text, item.target.loc, hint=hint))
            return
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
            text = f"with keyword replacing built-in function: {wrong}"
            self.errors.append(PolicyError(COMPILE_ERROR, text, item.target.loc))
        else:
            self.program.mocked.add(name)
            item.value = self._evaluated_when_called(item.value)

    def _evaluated_when_called(self, value: Term) -> Term:
        """The replacement of a function: a virtual document is evaluated at each call, any other term once."""
        if not isinstance(value, nodes.Ref) or value.head != nodes.Var("data"):
            return value
        path = constant_path(value)
        if path is None or self.program.tree.find(path) is None:
            return value
        return DocumentValue(dotted(path), path=tuple(map(str, path)), loc=value.loc)


def _terms(term: Term) -> Iterator[Term]:
    """A term and its subterms, including heads of comprehensions but not their bodies."""
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


def _arguments(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}"
