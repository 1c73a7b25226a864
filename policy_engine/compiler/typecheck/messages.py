"""Texts of types and type errors, with the names of the policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from policy_engine.compiler.generated_names import is_generated, is_internal
from policy_engine.compiler.terms import COMPREHENSIONS, bodies, closures, map_term, subterms
from policy_engine.compiler.typecheck import type_budget
from policy_engine.compiler.typecheck.scope import TypeScope
from policy_engine.errors import TYPE_ERROR, PolicyError
from policy_engine.location import NOWHERE, Location
from policy_engine.syntax import nodes, printer
from policy_engine.syntax.nodes import Body, Term
from policy_engine.types import (
    UNKNOWN,
    Any_,
    ArrayType,
    FunctionType,
    Named,
    ObjectType,
    Recursive,
    ScalarType,
    SetType,
    Type,
    unnamed,
)
from policy_engine.values import Value, number_text, order_key, sorted_items, thaw, to_term


def type_text(type_: Type | None) -> str:
    """A type in OPA's notation; `???` if it is unknown."""
    type_budget.step()
    match type_:
        case ScalarType(name):
            return name
        case Named(name, inner):
            return f"{name}: {type_text(inner)}"
        case ArrayType(static, rest):
            return f"array{_listed(map(type_text, static))}{'' if rest is None else f'[{type_text(rest)}]'}"
        case ObjectType(static, rest):
            properties = [f"{_key_text(thaw(key))}: {type_text(value)}" for key, value in static]
            tail = "" if rest is None else f"[{type_text(rest[0])}: {type_text(rest[1])}]"
            return f"object{_listed(properties)}{tail}"
        case SetType(of):
            return f"set[{type_text(of)}]"
        case Any_(of):
            return f"any{_listed(map(type_text, of))}"
        case FunctionType(args, result, variadic):
            wanted = args_text([unnamed(arg) for arg in args], None if variadic is None else unnamed(variadic))
            return f"{wanted} => {type_text(None if result is None else unnamed(result))}"
        case Recursive(name):
            return f"recursive({name})"
        case _:
            return "???"


def _listed(parts: Iterable[str]) -> str:
    text = ", ".join(parts)
    return f"<{text}>" if text else ""


def args_text(args: Sequence[Type], variadic: Type | None = None) -> str:
    """The types of operands, in parentheses."""
    parts = [type_text(arg) for arg in args]
    if variadic is not None:
        parts.append(f"{type_text(variadic)}...")
    return f"({', '.join(parts)})"


def _key_text(key: Value) -> str:
    """A key as Go prints a value."""
    if key.__class__ is str:
        return str(key)
    if key is None or isinstance(key, bool):
        return "<nil>" if key is None else str(key).lower()
    if isinstance(key, list):
        return f"[{' '.join(map(_key_text, key))}]"
    if isinstance(key, dict):
        return f"map[{' '.join(f'{_key_text(name)}:{_key_text(value)}' for name, value in sorted_items(key))}]"
    return number_text(key)


def match_error(loc: Location, left: Type, right: Type) -> PolicyError:
    """The two sides of an equality can never be equal."""
    text = "match error: the two sides are never equal"
    return _error(loc, text, f"left  : {type_text(left)}", f"right : {type_text(right)}")


def call_error(
    loc: Location, name: str, what: str, have: Sequence[Type], wanted: Sequence[Type], variadic: Type | None = None
) -> PolicyError:
    """The operands of a call do not fit the function."""
    error = _error(loc, f"{name}: {what}", f"have: {args_text(have)}", f"want: {args_text(wanted, variadic)}")
    if name in ("plus", "rem") and ScalarType("string") in have:
        error.hint = (
            '`+` and `%` take numbers: texts are joined by `concat`, `sprintf` or a template string, `$"{x} and {y}"`'
        )
    return error


def function_error(loc: Location, name: str, found: FunctionType) -> PolicyError:
    """A function is used like a document."""
    return _error(loc, _uncalled(name), name, "^" * len(name), f"have: {type_text(found)}")


def _uncalled(name: str) -> str:
    return f"function {name} used as reference, not called"


def unsupported_error(scope: TypeScope, ref: nodes.Ref, position: int, have: Type) -> PolicyError:
    """The value before step `position` of a reference has no parts."""
    text = term_text(scope, ref)
    before = term_text(scope, nodes.Ref(ref.head, ref.path[:position]))
    said = f"undefined ref: {text}"
    if isinstance(have, FunctionType):
        last = ref.path[-1]
        iterated = isinstance(last, nodes.Var) and is_internal(last.name)  # `some … in`
        said = _uncalled(term_text(scope, nodes.Ref(ref.head, ref.path[:-1])) if iterated else text)
    return _error(ref.loc, said, text, "^" * len(before), f"have: {type_text(have)}")


def step_error(
    scope: TypeScope, ref: nodes.Ref, position: int, have: Type | None, want: Type, one_of: Iterable[object] = ()
) -> PolicyError:
    """The value before step `position` of a reference has no such part. `have` is None for a constant step."""
    text = term_text(scope, ref)
    before = term_text(scope, nodes.Ref(ref.head, ref.path[:position]))
    pad = " " * (len(before) + 1)
    step = term_text(scope, ref.path[position])
    given = f"have: {step}" if have is None else f"have (type): {type_text(have)}"
    shown = [thaw(key) for key in one_of if key is not UNKNOWN]
    allowed = " ".join(map(to_term, sorted(shown, key=order_key)))
    wanted = f"want (one of): [{allowed}]" if allowed else f"want (type): {type_text(want)}"
    error = _error(ref.loc, f"undefined ref: {text}", text, f"{pad}^", f"{pad}{given}", f"{pad}{wanted}")
    constant = ref.path[position]
    if have is None and isinstance(constant, nodes.Scalar) and isinstance(constant.value, str):
        names = [name for name in shown if isinstance(name, str)]
        if close := get_close_matches(constant.value, names, 1):
            error.hint = f"did you mean `{close[0]}`?"
    return error


def _error(loc: Location, message: str, *details: str) -> PolicyError:
    return PolicyError(TYPE_ERROR, "\n\t".join((message, *details)), loc)


def term_text(scope: TypeScope, term: Term) -> str:
    """A term as written in the policy, with intermediate values put back and comprehensions abbreviated."""
    return printer.to_text(_original(scope, term))


def _original(scope: TypeScope, term: Term) -> Term:
    if isinstance(term, nodes.Var):
        if is_generated(term.name):
            found = next((expr for expr in _definitions(scope) if _defines(expr, term.name)), None)
            return term if found is None else _original(scope, found.args[1])
        return nodes.Var(term.name.partition("'")[0])
    if isinstance(term, nodes.Array | nodes.Object) and (name := _metadata_function(term)):
        operator = nodes.Ref(nodes.Var("rego"), (nodes.Scalar("metadata"), nodes.Scalar(name)))
        return nodes.Call(operator, (), loc=term.loc)
    if isinstance(term, nodes.Call) and term.operator == nodes.Var("internal.template_string"):
        return nodes.Template(tuple([_original_part(scope, part) for part in subterms(term.args[0])]))
    if isinstance(term, nodes.Call) and term.infix and isinstance(term.operator, nodes.Var):
        head, *steps = term.operator.name.split(".")  # `in` is `internal.member_2`
        if steps:
            operator = nodes.Ref(nodes.Var(head), tuple(map(nodes.Scalar, steps)))
            term = nodes.Call(operator, term.args, infix=True)
    if isinstance(term, COMPREHENSIONS):
        return nodes.Var("[… | …]" if isinstance(term, nodes.ArrayComprehension) else "{… | …}")
    return map_term(term, lambda item: _original(scope, item))


def _metadata_function(term: nodes.Array | nodes.Object) -> str:
    """The `rego.metadata` function that a constant replaced; such a constant has the location of the call. Or ""."""
    if isinstance(term, nodes.Array):
        return "chain" if term.items and term.items[0].loc == term.loc != NOWHERE else ""
    if term.pairs:
        return "rule" if term.pairs[0][0].loc == term.loc != NOWHERE else ""
    width = term.loc.end_col - term.loc.col if term.loc.row == term.loc.end_row else 0
    return "rule" if width == len("rego.metadata.rule()") else ""


def _original_part(scope: TypeScope, part: Term) -> str | nodes.Expr:
    """A part of a template string, from the text or set that the compiler replaced it with."""
    part = _original(scope, part)
    match part:
        case nodes.Scalar(value):
            return str(value)
        case nodes.Set((var,)):
            return nodes.Expr(var)
        case nodes.SetComprehension(_, (nodes.Expr(nodes.Call(_, (_, shown))), *_)):
            return nodes.Expr(_original(scope, shown))
        case _:
            return nodes.Expr(part)


def _defines(call: nodes.Call, name: str) -> bool:
    target = call.args[0]
    return isinstance(target, nodes.Var) and target.name == name


def _definitions(scope: TypeScope | None) -> Iterator[nodes.Call]:
    """The equalities of a body and of the bodies around it."""
    while scope is not None:
        yield from _equalities(scope.body)
        scope = scope.outer


def _equalities(body: Body) -> Iterator[nodes.Call]:
    for expr in body:
        if isinstance(expr.what, nodes.Call) and expr.what.operator == nodes.Var("eq"):
            yield expr.what
        for closure in closures(expr):
            for inner in bodies(closure):
                yield from _equalities(inner)
