"""Recognizes the differences from OPA that are documented in policy-engine.md ("Differences from OPA").

An internal error of OPA does not count as an answer. Refusals of modules that OPA accepts are known by their messages.
For other differences a function rewrites the program to what OPA makes of it: the difference is known only if this
engine then gives OPA's answer to the original. Differences that cannot be written in Rego are in evaded.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import Final

import policy_engine as pe
from policy_engine.builtins import arithmetic, bits
from policy_engine.errors import PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Expr, Module, Node, Rule, Term
from policy_engine.syntax.parser import parse_module
from policy_engine.syntax.printer import to_text
from policy_engine.syntax.visitor import transform, walk
from tests.oracle import Oracle
from tests.policy_engine.differential.compare import MODULES, Difference, Engine, refused_alike
from tests.policy_engine.differential.evaded import EVADED, REFUSED, mistake
from tests.policy_engine.differential.program import Program


def reason(program: Program, difference: Difference, oracle: Oracle) -> str:
    """The name of the known difference that explains one; empty if none does."""
    if difference.builds:
        return ""
    if difference.opa in ("error eval_internal_error", "error panic") and not difference.engine.startswith("CRASH"):
        return INTERNAL
    try:
        modules = {name: parse_module(source, name) for name, source in program.modules.items()}
    except PolicyError:
        return ""
    errors = {error.message.split("\n")[0] for error in Engine(program).errors}
    if difference.path == MODULES and difference.opa == "accepted":
        for name, wrong in REFUSED_HERE.items():
            if all(re.match(wrong, error) for error in errors):
                return name
    for name, (wrong, change) in KNOWN.items():
        if bool(errors) != bool(wrong) or (wrong and not any(re.match(wrong, error) for error in errors)):
            continue
        changed = {file: change(module, modules) for file, module in modules.items()}
        if changed == modules:
            continue
        engine = Engine(dataclasses.replace(program, modules={file: to_text(m) for file, m in changed.items()}))
        if _agree(difference, engine):
            return name
    return mistake(program, modules, difference, oracle)


def beyond_the_budget(program: Program, difference: Difference) -> bool:
    """True if the two agree on a document once this engine has a larger budget, and integers have no limit.

    None at all would let a product of long lists have all memory there is.
    """
    if difference.builds:
        return False
    usual = arithmetic.MAX_BITS, bits.MAX_BITS
    arithmetic.MAX_BITS = bits.MAX_BITS = 1 << 32  # type: ignore[misc]
    try:
        return _agree(difference, Engine(program, pe.Limits(work=100_000_000, output_bytes=128 << 20)))
    finally:
        arithmetic.MAX_BITS, bits.MAX_BITS = usual  # type: ignore[misc]


def _agree(difference: Difference, engine: Engine) -> bool:
    if difference.path == MODULES:
        return refused_alike(difference.opa, engine)
    return not engine.codes and engine.outcome(difference.strict, difference.path, []) == difference.opa


def _metadata_as_a_statement(module: Module, _: dict[str, Module]) -> Module:
    """`not rego.metadata.rule()` loses its `not`, and `rego.metadata.rule() with …` its `with`."""

    def change(node: Node) -> Node:
        if isinstance(node, Expr) and isinstance(node.what, nodes.Call) and to_text(node.what) in _METADATA:
            return Expr(node.what, loc=node.loc)
        return node

    changed: Module = transform(module, change)
    return changed


def _function_in_place_of_a_document(module: Module, modules: dict[str, Module]) -> Module:
    """`with data.a as f`: here the function is used as a reference; in OPA the document is undefined."""
    functions = {
        to_text(nodes.Ref(nodes.Var("data"), (*map(nodes.Scalar, other.package.path), *_steps(rule))))
        for other in modules.values()
        for rule in other.rules
        if rule.head.args
    }
    names = {rule for rule in functions if rule}
    own = to_text(nodes.Ref(nodes.Var("data"), tuple(map(nodes.Scalar, module.package.path))))

    def full(term: Term) -> str:
        text = to_text(term)
        for item in module.imports:
            alias = item.alias or to_text(item.path).rsplit(".", 1)[-1]
            if re.match(rf"{re.escape(alias)}\b", text):
                return to_text(item.path) + text[len(alias) :]
        return text if text.startswith("data") else f"{own}.{text}"

    def change(node: Node) -> Node:
        if isinstance(node, nodes.With) and full(node.value) in names and full(node.target) not in names:
            anything = nodes.Ref(nodes.Var("input"), (nodes.Scalar("function"),))
            return dataclasses.replace(node, value=anything)
        return node

    changed: Module = transform(module, change)
    return changed


def _steps(rule: Rule) -> tuple[Term, ...]:
    ref = rule.head.ref
    head = ref.head if isinstance(ref, nodes.Ref) else ref
    assert isinstance(head, nodes.Var)
    return (nodes.Scalar(head.name), *(ref.path if isinstance(ref, nodes.Ref) else ()))


def _last_of_equal_keys(module: Module, _: dict[str, Module]) -> Module:
    """Of keys of a literal that turn out equal the last one counts; OPA puts them in the order of their names first."""

    def change(node: Node) -> Node:
        if not isinstance(node, nodes.Object) or all(constant_value(key) is not None for key, _ in node.pairs):
            return node
        return nodes.Object(node.pairs[::-1], loc=node.loc)

    changed: Module = transform(module, change)
    return changed


def _text_as_an_index(module: Module, _: dict[str, Module]) -> Module:
    """`data.rows["0"]` where a `with` has put the array: OPA finds nothing, as in every array that is not base data."""

    def change(node: Node) -> Node:
        if not isinstance(node, nodes.Ref) or node.head != nodes.Var("data"):
            return node
        names = len(list(takewhile(_is_name, node.path)))
        if names in (0, len(node.path)):
            return node
        base = nodes.Ref(node.head, node.path[:names])
        return nodes.Ref(nodes.Array((base,)), (nodes.Scalar(0), *node.path[names:]), loc=node.loc)

    changed: Module = transform(module, change)
    return changed


def _long_shift(module: Module, _: dict[str, Module]) -> Module:
    """OPA shifts by the last 64 bits of a number, if it does not crash over them."""

    def change(node: Node) -> Node:
        if isinstance(node, nodes.Call) and to_text(node.operator) in ("bits.lsh", "bits.rsh") and len(node.args) == 2:
            last = nodes.Call(nodes.Var("rem"), (node.args[1], nodes.Scalar(1 << 64)), infix=True)
            return dataclasses.replace(node, args=(node.args[0], last))
        return node

    changed: Module = transform(module, change)
    return changed


def _is_name(step: Term) -> bool:
    return isinstance(step, nodes.Scalar) and isinstance(step.value, str) and not step.value.isdigit()


def _defined_by_its_looks(module: Module, _: dict[str, Module]) -> Module:
    """OPA takes a rule without a body for defined whose value is a collection, and does not ask in a template."""

    def rule(one: Rule) -> Rule:
        templates = [node for node in walk(one) if isinstance(node, nodes.Template)]
        parts = [part.what for template in templates for part in template.parts if isinstance(part, Expr)]
        asked = [
            Expr(nodes.Call(nodes.Var("assign"), (nodes.Var(f"asked{number}"), part), infix=True))
            for number, part in enumerate(parts)
            if isinstance(part, nodes.Ref | nodes.Var)
        ]
        return dataclasses.replace(one, body=(*one.body, *asked)) if not one.default else one

    return dataclasses.replace(module, rules=tuple(map(rule, module.rules)))


def _seen_to_be_unbound(module: Module, modules: dict[str, Module]) -> Module:
    """OPA takes some statements for safe that need a variable which nothing binds, and fails when it evaluates them."""
    file = next(name for name, other in modules.items() if other is module)
    texts = {name: to_text(other) for name, other in modules.items()}
    tree = parse_module(texts[file], file)
    for error in Engine(Program(texts, {}, {}, [])).errors:
        name = re.match(r"var (\S+) is unsafe", error.message)
        if name is not None and error.location is not None and error.location.file == file:
            tree = transform(tree, partial(_bound_in_statement, name=name[1], place=error.location))
    return parse_module(to_text(tree), file)


def _bound_in_statement(node: Node, name: str, place: Location) -> Node:
    def change(inner: Node) -> Node:
        return nodes.Ref(nodes.Var("input"), (nodes.Scalar("bound"),)) if inner == nodes.Var(name) else inner

    inside = isinstance(node, Expr) and node.loc[:3] <= place[:3] and place[3:] <= node.loc[3:]
    changed: Node = transform(node, change) if inside else node
    return changed


def _bound_to_itself(module: Module, modules: dict[str, Module]) -> Module:
    """OPA takes `x = {x}` and `x = f(x)` for bound, and has no value for the `x` inside of its own."""

    def change(node: Node) -> Node:
        if not isinstance(node, nodes.Call) or not node.infix or to_text(node.operator) != "eq":
            return node
        a, b = node.args
        return dataclasses.replace(node, args=(_without(a, b), _without(b, a)))

    changed: Module = transform(module, change)
    return changed


def _without(term: Term, bound: Term) -> Term:
    """The term, with something else where the variable that it is bound to is a part of it."""

    def change(node: Node) -> Node:
        return nodes.Ref(nodes.Var("input"), (nodes.Scalar("inside"),)) if node == bound else node

    if not isinstance(bound, nodes.Var) or isinstance(term, nodes.Var):
        return term
    changed: Term = transform(term, change)
    return changed


_METADATA: Final = frozenset({"rego.metadata.rule()", "rego.metadata.chain()"})
_Change = Callable[[Module, dict[str, Module]], Module]
INTERNAL: Final = "internal error of OPA"
BUDGET: Final = "beyond the budget"
REFUSED_HERE: Final = {
    "relation in place of a function": "with keyword replacing function: ",
    "with in a rule of a computed key": "with keyword ",
    "annotations that no rule asks for": ".* annotation redeclared: ",
    "minus zero as a position": r"undefined ref: .*\[-0\]",
}
"""The beginning of all errors of this engine, for modules that OPA accepts."""
KNOWN: Final[dict[str, tuple[str, _Change]]] = {
    "metadata as a statement": ("", _metadata_as_a_statement),
    "function in place of a document": (
        ".* used as reference, not called|match error",
        _function_in_place_of_a_document,
    ),
    "last of equal keys": ("", _last_of_equal_keys),
    "text as an index of replaced data": ("", _text_as_an_index),
    "defined by its looks": ("", _defined_by_its_looks),
    "bound to itself": ("var .* is unsafe", _bound_to_itself),
    "seen to be unbound": ("var .* is unsafe", _seen_to_be_unbound),
    "shift by a number of more than 64 bits": ("", _long_shift),
}
"""The beginning of an error of this engine (empty if it accepts the modules), and the rewriting of a module."""
NAMES: Final = (*KNOWN, *REFUSED_HERE, *EVADED, REFUSED, INTERNAL, BUDGET)
"""All known differences."""
