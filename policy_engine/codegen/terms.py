"""From operands and calls to expressions: constants, variables, collections of these, and calls with such operands.

Writing a term may write statements first; the result is a Python name or constant. A name in `maybe` can be undefined.
"""

from __future__ import annotations

from policy_engine.codegen.context import FNS, RUN
from policy_engine.codegen.frame import FunctionFrame
from policy_engine.codegen.inline import in_place
from policy_engine.codegen.metering import First, callee
from policy_engine.codegen.writer import Place
from policy_engine.compiler.terms import builtin_name
from policy_engine.errors import UNSAFE_VAR_ERROR, PolicyError
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Term
from policy_engine.values import freeze


def operand(fn: FunctionFrame, term: Term) -> str:
    """A term without references in it: an expression for its value, which is defined."""
    constants = fn.names.constants
    if isinstance(term, nodes.Scalar):
        return constants.value(term.value)
    if not isinstance(term, nodes.Var) and (found := constant_value(term)) is not None:
        return constants.value(found[0])
    match term:
        case nodes.Var(name):
            if name not in fn.env:
                # Nothing binds the variable. The safety check does not look everywhere, as it does not in OPA.
                raise PolicyError(UNSAFE_VAR_ERROR, "var " + name.partition("'")[0] + " is unsafe", term.loc)
            return fn.env[name]
        case nodes.Array(items):
            return "[" + ", ".join([operand(fn, item) for item in items]) + "]"
        case nodes.Set(items):
            # Of two equal members the first counts; constants come before variables, as in OPA.
            members = sorted(items, key=lambda item: not isinstance(item, nodes.Scalar))
            return f"new_set({', '.join([fn.ctx, *(operand(fn, item) for item in members)])})"
        case nodes.Object(pairs):
            # Of two equal keys the last counts; constants come before variables, as in OPA.
            ordered = sorted(pairs, key=lambda pair: not isinstance(pair[0], nodes.Scalar))
            return "{" + ", ".join([f"{key(fn, name)}: {operand(fn, value)}" for name, value in ordered]) + "}"
        case _:
            raise AssertionError(f"no operand: {type(term).__name__}")


def named_operand(fn: FunctionFrame, term: Term) -> str:
    """A name or constant for an operand."""
    return fn.named(operand(fn, term))


def key(fn: FunctionFrame, term: Term) -> str:
    """An expression for an operand as an object's key."""
    if (found := constant_value(term)) is not None:
        return fn.names.constants.value(freeze(found[0]))
    value = operand(fn, term)
    if not value.isidentifier():
        return f"frozen({fn.ctx}, {value})"
    return f"{value} if {value}.__class__ is str else frozen({fn.rare}, {value})"


# ---- calls


def call_value(fn: FunctionFrame, call: nodes.Call) -> str:
    """The result of a call with exactly its operands; it may be undefined."""
    args = [named_operand(fn, arg) for arg in call.args]
    result = fn.maybe_undefined(fn.name("v"))
    place = _first_known(fn, call, args)
    if place is None:
        _call(fn, result, call, args)
    else:
        # The loop would call it with the same operands each time.
        fn.writer.insert(place, f"{result} = NC")
        with fn.writer.block(f"if {result} is NC:"):
            _call(fn, result, call, args)
    return result


def _first_known(fn: FunctionFrame, call: nodes.Call, args: list[str]) -> Place | None:
    """The outermost place before a loop where the operands of a call are known; None if the call has to stay."""
    name = builtin_name(call)
    if fn.observer.exact or not fn.before or fn.names.has_effect(name):
        return None
    if name is not None and in_place(fn.names.program.builtins[name], call.args, args) is not None:
        return None  # a call in place costs as little as remembering its value
    if fn.names.is_relation(call):
        return None  # its results can be looped over only once
    return next((place for place in fn.before if all(map(place.knows, (fn.context, *args)))), None)


def _call(fn: FunctionFrame, result: str, call: nodes.Call, args: list[str]) -> None:
    """Write a call, whose result may be undefined."""
    names, name = fn.names, builtin_name(call)
    if name is None:
        group = names.group_of(call)
        if group.name in names.mock_slots:
            # It may be a builtin that stands for the function.
            function = f"{fn.ctx}[{FNS}][{names.mock_slots[group.name]}]"
            _try(fn, result, f"{function}({', '.join([fn.ctx, *args])})", call)
        else:
            fn.line(f"{result} = {names.function(group)}({', '.join([fn.ctx, *args])})")
        return
    builtin = names.program.builtins[name]
    fast = None
    if name in names.mock_slots:
        function, before = f"{fn.ctx}[{FNS}][{names.mock_slots[name]}]", [fn.ctx]
    else:
        called, first = callee(builtin)
        function = names.constants.named("b", name, called)
        fast = in_place(builtin, call.args, args)
        before = _before(first, fn.ctx if fast is None else fn.rare)
    value = f"{function}({', '.join([*before, *args])})"
    if fast is not None:
        value = f"{fast[0]} if {fast[1]} else {value}"
    _try(fn, result, value, call)
    if builtin.decl.result is None:
        fn.line(f"if {result} is None: {result} = True")


def _try(fn: FunctionFrame, result: str, value: str, call: nodes.Call) -> None:
    fn.line(f"try: {result} = {value}")
    failed = f"failed({fn.rare}, e, {fn.names.constants.loc(call.loc)})"
    fn.line(f"except BuiltinError as e: {result} = {failed}")


def _before(first: First, context: str) -> list[str]:
    """The arguments of a builtin's function before the operands."""
    if first is First.RUN:
        return [f"{context}[{RUN}] or run_of({context})"]
    return [context] if first is First.QUERY else []
