"""Compiles Rego queries to functions that return the variables of each solution, and the values `opa eval` shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from policy_engine.codegen.context import Query
from policy_engine.codegen.unit import Unit
from policy_engine.compiler import compile_query, terms
from policy_engine.compiler.program import Program
from policy_engine.syntax import nodes, parser
from policy_engine.values import Value


@dataclass(frozen=True, slots=True)
class RowShape:
    """The columns of a query's rows.

    `variables` has their names. `captures` has the variable with the value of each expression, or None if the value can
    only be true. `lone` means that the query is a single expression that does not iterate.
    """

    variables: tuple[str, ...]
    captures: tuple[str | None, ...] = ()
    lone: bool = False


Rows = Callable[[Query], list[tuple[Value, ...]]]


def prepare(
    program: Program, text: str, unit: Callable[[Program], Unit], *, capture: bool = False
) -> tuple[Unit, Rows, RowShape]:
    """Compile a query in the unit for its program. Raises `PolicyError`.

    With `capture` the rows contain the values of the query's expressions.
    """
    written = body = parser.parse_query(text)
    captures: list[str | None] = []
    if capture:
        body, captures = _capture(program, written)
    extended, normal, names = compile_query(program, body)
    home = unit(extended)
    lone = len(written) == 1 and not _iterates(written[0])
    return home, home.query(normal, tuple(names.values())), RowShape(tuple(names), tuple(captures), lone)


def _iterates(expr: nodes.Expr) -> bool:
    """True if a reference in an expression contains a variable (OPA: v1/rego, `iteration`)."""
    return any(
        isinstance(item, nodes.Ref) and any(isinstance(step, nodes.Var) for step in item.path)
        for term in terms.expr_terms(expr)
        for item in terms.walk_terms(term)
    )


def _capture(program: Program, body: nodes.Body) -> tuple[nodes.Body, list[str | None]]:
    """Bind the value of each expression to a variable; the variable is None where the value can only be true."""
    result: list[nodes.Expr] = []
    captures: list[str | None] = []
    for number, expr in enumerate(body):
        name = f"expression {number}"
        what = expr.what
        if isinstance(what, nodes.SomeDecl):
            result.append(expr)
            continue
        valued = not expr.negated and not isinstance(
            what, (nodes.SomeIn, nodes.Every, nodes.Negation, nodes.Conjunction, nodes.Disjunction)
        )
        if isinstance(what, nodes.Call) and isinstance(what.operator, nodes.Var):
            valued = valued and what.operator.name not in ("assign", "eq", "print")
        if valued and isinstance(what, nodes.Call):
            valued = not _gives_away(program, what)
        if valued and isinstance(what, nodes.Term):
            equality = nodes.Call(nodes.Var("eq"), (nodes.Var(name), what), loc=expr.loc)
            result.append(nodes.Expr(equality, withs=expr.withs, loc=expr.loc))
        else:
            result.append(expr)
        captures.append(name if valued else None)
    return tuple(result), captures


def _gives_away(program: Program, call: nodes.Call) -> bool:
    """True if a call's last operand is its output: `walk(x, [path, value])`."""
    steps = call.operator.path if isinstance(call.operator, nodes.Ref) else ()
    head = call.operator.head if isinstance(call.operator, nodes.Ref) else call.operator
    assert isinstance(head, nodes.Var)
    path = tuple(step.value for step in steps if isinstance(step, nodes.Scalar))
    builtin = program.builtins.get(".".join((head.name, *map(str, path))))
    if builtin is not None:
        return len(call.args) > len(builtin.decl.args)
    tree = program.tree.find(path) if head.name == "data" else None
    return tree is not None and tree.group is not None and len(call.args) > tree.group.arity
