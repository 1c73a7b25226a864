"""References: into input and base data, to rules, and to packages; the loops over what their variables range over.

A reference with unbound variables opens loops, so what follows runs once for each of its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from policy_engine.codegen import joins
from policy_engine.codegen.conditions import give_up, match_pattern
from policy_engine.codegen.frame import FunctionFrame, Join
from policy_engine.codegen.lookahead import fixed_refs
from policy_engine.codegen.terms import call_value, named_operand, operand
from policy_engine.compiler.calls import constant_path
from policy_engine.compiler.program import Kind, Path, RuleGroup, Tree
from policy_engine.compiler.terms import ROOTS
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Body, Term
from policy_engine.values import freeze

DOCUMENTS: Final = nodes.Var("data")

MOST_HOISTED = 8
"""References that are read before a loop for those in it."""


def value_of(fn: FunctionFrame, term: Term) -> str:
    """The name of the value of a reference, a call or an operand; it may be undefined (see `FunctionFrame.maybe`)."""
    if isinstance(term, nodes.Ref):
        assert isinstance(term.head, nodes.Var)
        return ref(fn, term.head, term.path)
    if isinstance(term, nodes.Var) and term.name in ROOTS:
        if term.name == "data":
            return _virtual(fn, fn.names.program.tree, ())
        return fn.maybe_undefined(fn.access.root(fn, "input"))
    if isinstance(term, nodes.Call):
        return call_value(fn, term)
    name = named_operand(fn, term)
    fn.access.made(fn, name, term)
    return name


def ref(fn: FunctionFrame, head: nodes.Var, path: Sequence[Term]) -> str:
    """A reference. Its unbound variables open loops."""
    if head.name == "data":
        return _data(fn, path)
    if head.name == "input":
        return _steps(fn, fn.access.root(fn, "input"), path, (fn.context, "input"))
    start = fn.env.get(head.name)
    if start is None:
        # `f(v.a, xs[v])` passes the safety check because xs[v] binds v; v.a before it is undefined.
        start = fn.new_maybe("U")
    return _steps(fn, start, path, (start,))


def loop(fn: FunctionFrame, header: str) -> None:
    """Open a `for`; what follows in this body stands inside."""
    hoist(fn, fn.rest or ())
    fn.open_loop(header)


def hoist(fn: FunctionFrame, body: Body) -> None:
    """Read constant paths in input and base data before a loop, whose body follows and would read them each time.

    Reading has no effect and no errors, so it does no harm where the body turns out not to need it.
    """
    for found in islice(fixed_refs(body), MOST_HOISTED):
        assert isinstance(found.head, nodes.Var)
        if found.head.name == "input" or fn.names.is_base(found.path):
            ref(fn, found.head, found.path)


# ---- steps


def _steps(
    fn: FunctionFrame, start: str, path: Sequence[Term], place: tuple[object, ...] | None, base: bool = False
) -> str:
    """Follow a path from a value. `place` is the key of the value in `FunctionFrame.refs`, None if it has none.

    `base` says that the value is base data, whose keys are all strings.
    """
    value = start
    for number, step in enumerate(path):
        if fn.is_open(step):
            fn.observer.ranges(fn.writer, step, value)
            value = _iterate(fn, value, step, _join(fn, value, step, len(path) - number, base))
            place = (value,)
            continue
        element = operand(fn, step)
        place = (*place, element) if place is not None and element.isidentifier() else None
        if place is not None and place in fn.refs:
            value = fn.refs[place]
            continue
        member = _member(fn, value, step, element, base)
        value = fn.maybe_undefined(fn.access.step(fn, value, step, member, base))
        if place is not None:
            fn.refs[place] = value
    if base and fn.context == "q":
        fn.from_base.add(value)
    return value


def _member(fn: FunctionFrame, value: str, step: Term, element: str, base: bool) -> str:
    """The expression for one step."""
    function = "base_step" if base else "step"
    if isinstance(step, nodes.Scalar) and step.value.__class__ is int and step.value >= 0:
        usual = f"{value}.__class__ is list and len({value}) > {element}"
        return f"{value}[{element}] if {usual} else {function}({fn.rare}, {value}, {element})"
    if isinstance(step, nodes.Scalar) and not isinstance(step.value, str):
        return f"{function}({fn.ctx}, {value}, {element})"
    usual = f"{value}.__class__ is dict"
    if not isinstance(step, nodes.Scalar):
        usual += f" and {element}.__class__ is str"
    return f"{value}.get({element}, U) if {usual} else {function}({fn.rare}, {value}, {element})"


def _iterate(fn: FunctionFrame, value: str, step: Term, join: Join | None) -> str:
    """Open a loop over a collection and match its keys; the result is the member. See `_join` for `join`."""
    member = fn.name("v")
    if isinstance(step, nodes.Var) and step.is_wildcard:
        fn.env[step.name] = "None"  # nothing can refer to it
        loop(fn, f"for {member} in {fn.access.joined(fn, value, join) if join else fn.access.members(fn, value)}:")
        return member
    key = fn.name("v")
    loop(fn, f"for {key}, {member} in {fn.access.joined(fn, value, join) if join else f'items({fn.ctx}, {value})'}:")
    match_pattern(fn, step, key)
    return member


def _join(fn: FunctionFrame, value: str, step: Term, left: int, base: bool) -> Join | None:
    """The join index for the loop over a step, `left` steps before its reference's end; None if it is not worth one.

    One is worth it for base data, whose tables last, and for loops that may run many times.
    """
    pending = fn.pending
    if pending is None or not (base or fn.loops):
        return None
    number = len(pending.ref.path) - left
    if number < 0 or pending.ref.path[number] is not step:
        return None
    equalities = pending.equalities(number, lambda term: _is_ready(fn, term))
    if not equalities:
        return None
    if isinstance(pending.other, nodes.Var) and not _is_ready(fn, pending.other):
        # The loop's own expression also succeeds for members that the join leaves out.
        fn.observer.succeeded(fn.writer, fn.writer.place, f"is_collection({value}) and {value}")
    pairs = not (isinstance(step, nodes.Var) and step.is_wildcard)
    join = joins.join(tuple([field for field, _ in equalities]), pairs)
    slot = "0" if base else str(fn.names.new_slot())
    name = fn.names.constants.named("j", join, join)
    return Join(name, slot, [value_of(fn, term) for _, term in equalities])


def _is_ready(fn: FunctionFrame, term: Term) -> bool:
    """True if a term can be evaluated now, without a loop or a rule."""
    match term:
        case nodes.Scalar():
            return True
        case nodes.Var(name):
            return name in fn.env and not term.is_wildcard
        case nodes.Ref(nodes.Var(name), path):
            if not all(isinstance(step, nodes.Scalar) or _is_ready(fn, step) for step in path):
                return False
            return name == "input" or name in fn.env or (name == "data" and fn.names.is_base(path))
        case _:
            return False


# ---- documents


def _data(fn: FunctionFrame, path: Sequence[Term]) -> str:
    """A reference into data: walk the rules' tree as far as the path is constant."""
    node: Tree | None = fn.names.program.tree
    for number, step in enumerate(path):
        assert node is not None
        if node.group is not None:
            return _group(fn, node.group, path[number:])
        constant = constant_value(step)
        if constant is None:
            return _virtual(fn, node, path[number:])
        node = node.children.get(freeze(constant[0]))
        if node is None:
            names = constant_path(nodes.Ref(DOCUMENTS, tuple(path)))
            if names is not None and fn.names.is_replaced_below(names):
                return _whole(fn, names)
            return _steps(fn, fn.access.root(fn, "data"), path, (fn.context, "data"), base=True)
    assert node is not None
    return _virtual(fn, node, ()) if node.group is None else _group(fn, node.group, ())


def _whole(fn: FunctionFrame, path: Path) -> str:
    """A base document of which some `with` replaces a part."""
    key = (fn.context, "whole", *path)
    if key not in fn.refs:
        fn.refs[key] = fn.new_maybe(f"whole({fn.ctx}, {fn.names.path(path)})")
    return fn.refs[key]


def _virtual(fn: FunctionFrame, node: Tree, path: Sequence[Term]) -> str:
    """A reference that reaches a package or beyond: documents of rules and data, put together as needed."""
    if not path:
        return fn.new_maybe(f"{fn.names.extent(node)}({fn.ctx})")
    if fn.is_open(path[0]) and not isinstance(path[0], nodes.Var):
        # A collection is no name of a document, so none is evaluated.
        give_up(fn, path[0])
        return "U"
    value = fn.new(f"cursor({fn.ctx}, {fn.names.place(node)})")
    for step in path:
        following = fn.maybe_undefined(fn.name("v"))
        if fn.is_open(step):
            key = fn.name("v")
            loop(fn, f"for {key}, {following} in cursor_items({fn.ctx}, {value}):")
            match_pattern(fn, step, key)
        else:
            fn.line(f"{following} = cursor_step({fn.ctx}, {value}, {operand(fn, step)})")
        value = following
    return fn.new_maybe(f"full({fn.ctx}, {value})")


def _group(fn: FunctionFrame, group: RuleGroup, path: Sequence[Term]) -> str:
    """A reference to a rule's document, or to a part of it."""
    if group.kind is Kind.FUNCTION:
        return fn.new_maybe("U")
    known = 0
    while known < min(group.depth, len(path)) and not fn.is_open(path[known]):
        known += 1
    if known:
        args = [operand(fn, step) for step in path[:known]]
        name, passed = fn.names.lookup(group, tuple(path[:known]))
        result = fn.new_maybe(f"{name}({', '.join([fn.ctx, *(args[i] for i in passed)])})")
        return _steps(fn, result, path[known:], None)
    key = (fn.context, "group", group.number)
    if key not in fn.refs:
        value = fn.maybe_undefined(fn.name("v"))
        fn.names.asked.add(group)
        fn.line(f"{value} = {fn.ctx}[{fn.names.slot(group)}]")
        fn.line(f"if {value} is NC: {value} = {fn.names.function(group)}({fn.ctx})")
        fn.refs[key] = value
    return _steps(fn, fn.refs[key], path, key)
