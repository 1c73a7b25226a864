"""Stage: every call names a function that exists, with as many operands as it takes; every `with` a fit target."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from policy_engine.builtins.table import Builtin
from policy_engine.compiler.program import Group, Kind, Path, Program, dotted
from policy_engine.compiler.terms import (
    FunctionValue,
    bodies,
    builtin_name,
    closures,
    expr_terms,
    function_path,
    heads,
    term_closures,
    walk_terms,
)
from policy_engine.errors import COMPILE_ERROR, TYPE_ERROR, PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Body, Expr, Term


def check(program: Program, errors: list[PolicyError]) -> None:
    """Report calls that cannot be made, and note which functions and documents `with` replaces somewhere."""
    for rule in program.rules:
        for clause in rule.clauses:
            Checker(program, errors).body(clause.body)


def arity(program: Program) -> Callable[[nodes.Call], int]:
    """How many operands a call's function takes; -1 if there is no such function."""

    def count(call: nodes.Call) -> int:
        name = builtin_name(call)
        if name is not None:
            return len(program.builtins[name].decl.args) if name in program.builtins else -1
        group = find_function(program, call)
        return group.arity if group is not None else -1

    return count


def find_function(program: Program, call: nodes.Call) -> Group | None:
    """The group of a call of a policy's own function."""
    assert isinstance(call.operator, nodes.Ref)
    node = program.tree.find(function_path(call.operator))
    return node.group if node is not None and node.group is not None and node.group.kind is Kind.FUNCTION else None


class Checker:
    """Looks at every call and `with` of a body."""

    def __init__(self, program: Program, errors: list[PolicyError]) -> None:
        self.program = program
        self.errors = errors

    def body(self, body: Body) -> None:
        for expr in body:
            self.expr(expr)

    def expr(self, expr: Expr) -> None:
        if isinstance(expr.what, nodes.Call):
            self._call(expr.what, statement=True)
        for term in (*expr_terms(expr), *(item.value for item in expr.withs)):
            for item in _terms(term):
                if isinstance(item, nodes.Call):
                    self._call(item, statement=False)
        for closure in closures(expr):
            for body in bodies(closure):
                self.body(body)
        for target in expr.withs:
            self._with(target)

    def _call(self, call: nodes.Call, *, statement: bool) -> None:
        name = builtin_name(call)
        builtin = self.program.builtins.get(name) if name is not None else None
        if builtin is not None:
            if builtin.deprecated:
                self._error(call, f"deprecated built-in function calls in expression: {name}", TYPE_ERROR)
            expected = len(builtin.decl.args)
        else:
            group = find_function(self.program, call) if name is None else None
            if group is None:
                name = name or _operator_text(call)
                self._error(call, f"undefined function {name}", TYPE_ERROR, "check the name, or import its package")
                return
            name, expected = group.name, group.arity
        if len(call.args) == expected or (statement and len(call.args) == expected + 1):
            return
        if builtin is not None and builtin.decl.variadic is not None:
            return
        self._error(call, f"{name}: arity mismatch: it takes {expected} operands, not {len(call.args)}", TYPE_ERROR)

    def _with(self, item: nodes.With) -> None:
        """A target is input, base data, a whole virtual document, or a function."""
        target = item.target
        head = target.head if isinstance(target, nodes.Ref) else target
        assert isinstance(head, nodes.Var)
        if isinstance(item.value, FunctionValue):
            self.program.mocked.add(str(item.value.value))
        if head.name == "input":
            return
        if head.name != "data":
            self._with_builtin(item, head.name)
            return
        path = constant_path(target)
        if path is None:
            return  # an error when it is evaluated, as in OPA
        node = self.program.tree
        for length, step in enumerate(path):
            if node.group is not None:
                text = "with keyword cannot partially replace virtual document(s)"
                self._error(item, text, COMPILE_ERROR, f"replace all of `{node.group.name}`")
                return
            if step not in node.children:
                return
            node = node.children[path[length]]
        if node.group is not None and node.group.kind is Kind.FUNCTION:
            self.program.mocked.add(node.group.name)
            self._check_mock(item, node.group.arity)
        else:
            self.program.masked.add(path)

    def _with_builtin(self, item: nodes.With, name: str) -> None:
        builtin: Builtin | None = self.program.builtins.get(name)
        if builtin is None:
            text = f"with keyword target must reference existing input, data, or a function: {name}"
            self._error(item, text, TYPE_ERROR)
            return
        if builtin.relation or name.startswith("internal.") or builtin.infix:
            self._error(item, f"with keyword replacing built-in function: target must not be {name}", COMPILE_ERROR)
            return
        self.program.mocked.add(name)
        self._check_mock(item, len(builtin.decl.args))

    def _check_mock(self, item: nodes.With, expected: int) -> None:
        if not isinstance(item.value, FunctionValue):
            return
        name = str(item.value.value)
        if name in self.program.builtins:
            found = len(self.program.builtins[name].decl.args)
        else:
            found = self.program.functions[name].arity
        if found != expected:
            self._error(
                item, f"{name}: arity mismatch: the function it stands for takes {expected} operands", TYPE_ERROR
            )

    def _error(self, node: nodes.Node, text: str, code: str, hint: str = "") -> None:
        self.errors.append(PolicyError(code, text, node.loc, hint=hint))


def _terms(term: Term) -> Iterator[Term]:
    """A term and all in it, heads of comprehensions too; not their bodies."""
    yield from walk_terms(term)
    for closure in term_closures(term):
        for head in heads(closure):
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
