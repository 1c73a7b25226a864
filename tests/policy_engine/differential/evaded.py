"""Recognizes mistakes of OPA that cannot be written in Rego, by programs that avoid them.

Each function writes a program with the same meaning that does not trigger the mistake. The difference is known if OPA
then gives the answer that this engine gives to both programs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

from policy_engine.builtins import TABLE
from policy_engine.compiler.terms import COMPREHENSIONS, map_term
from policy_engine.errors import COMPILE_ERROR, TYPE_ERROR, UNSAFE_VAR_ERROR
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Body, Expr, Module, Node, Rule, Term
from policy_engine.syntax.parser import parse_module, parse_term
from policy_engine.syntax.printer import to_text
from policy_engine.syntax.visitor import transform, walk
from tests.oracle import Oracle
from tests.policy_engine.differential.compare import (
    MODULES,
    Difference,
    Engine,
    Opa,
    refusal_codes,
    refused_alike,
    same_value,
)
from tests.policy_engine.differential.program import Program


def mistake(program: Program, modules: dict[str, Module], difference: Difference, oracle: Oracle) -> str:
    """The name of the mistake of OPA that explains a difference; empty if there is none."""
    if difference.path == MODULES:
        refused = refusal_codes(difference.opa) <= {COMPILE_ERROR, TYPE_ERROR, UNSAFE_VAR_ERROR}
        return _refused_by_accident(program, modules, oracle) if refused else ""
    for name, change in EVADED.items():
        changed = {file: change(module) for file, module in modules.items()}
        if changed == modules:
            continue
        other = dataclasses.replace(program, modules={file: to_text(module) for file, module in changed.items()})
        engine = Engine(other)
        if engine.codes or not _same(engine.outcome(difference.strict, difference.path, []), difference.engine):
            continue
        if _same(Opa.outcome(other, oracle, difference.path, []), difference.engine):
            return name
    return ""


def _refused_by_accident(program: Program, modules: dict[str, Module], oracle: Oracle) -> str:
    """`REFUSED` if OPA agrees with this engine about the modules in plainer statements, else empty."""
    writer = _Plainer()
    changed = {file: writer.module(module) for file, module in modules.items()}
    other = dataclasses.replace(program, modules={file: to_text(module) for file, module in changed.items()})
    engine = Engine(other)
    if changed == modules or engine.codes != Engine(program).codes:
        return ""
    return REFUSED if refused_alike(Opa.ask(other, oracle).refused, engine) else ""


class _Plainer:
    """Writes statements in a way that OPA does not refuse by accident.

    Arrays stand for calls of `print` and template strings, and braces around operands that have a `with` or ask for
    metadata; what `some` goes through with a `with` is found in a statement before, and so are comprehensions; the
    output of a call is on a side of `=`; nothing is known of the type of an object with several computed keys.
    """

    def __init__(self) -> None:
        self.names = count()

    def module(self, module: Module) -> Module:
        changed: Module = transform(module, self._change)
        return changed

    def _change(self, node: Node) -> Node:
        match node:
            case Expr(nodes.Call(nodes.Var("print"), args)):
                return dataclasses.replace(node, what=nodes.Array(args))
            case nodes.Template(parts):
                return nodes.Array(tuple([part.what for part in parts if isinstance(part, Expr | nodes.Term)]))
            case nodes.Object(pairs) if sum(constant_value(key) is None for key, _ in pairs) > 1:
                return _call("json.unmarshal", _call("json.marshal", node))
            case nodes.Negation(operand):
                return nodes.Negation(_in_braces(operand))
            case nodes.Conjunction(operands) | nodes.Disjunction(operands):
                return type(node)(tuple(map(_in_braces, operands)))
        body = getattr(node, "body", None)
        if isinstance(body, tuple) and not isinstance(node, nodes.Negation):
            return dataclasses.replace(node, body=tuple([part for expr in body for part in self._statements(expr)]))
        return node

    def _statements(self, expr: Expr) -> Iterator[Expr]:
        what = expr.what
        taken: list[Expr] = []

        def take(term: Term) -> Term:
            if not isinstance(term, COMPREHENSIONS):
                return map_term(term, take)
            name = nodes.Var(f"plain{next(self.names)}")
            taken.append(Expr(nodes.Call(nodes.Var("assign"), (name, term), infix=True), withs=expr.withs))
            return name

        if isinstance(what, nodes.SomeIn) and expr.withs:
            name = nodes.Var(f"plain{next(self.names)}")
            yield Expr(nodes.Call(nodes.Var("assign"), (name, what.collection), infix=True), withs=expr.withs)
            yield dataclasses.replace(expr, what=dataclasses.replace(what, collection=name), withs=())
        elif isinstance(what, nodes.Call) and what.operator != nodes.Var("assign"):
            changed = _with_its_output(dataclasses.replace(what, args=tuple(map(take, what.args))))
            yield from taken
            yield dataclasses.replace(expr, what=changed)
        else:
            yield expr


def _with_its_output(call: nodes.Call) -> nodes.Call:
    """`y = f(x)` for `f(x, y)`."""
    builtin = TABLE.get(to_text(call.operator))
    if builtin is None or len(call.args) <= len(builtin.decl.args) or call.infix:
        return call
    value = nodes.Call(call.operator, call.args[:-1])
    return nodes.Call(nodes.Var("eq"), (call.args[-1], value), infix=True)


def _in_braces(operand: Body | Expr) -> Body | Expr:
    """An operand as a body, if there is a `with` or a call of `rego.metadata` in it."""
    if not isinstance(operand, Expr):
        return operand
    odd = any(isinstance(node, nodes.With) or (isinstance(node, nodes.Call) and _asks(node)) for node in walk(operand))
    return (operand,) if odd else operand


def _asks(call: nodes.Call) -> bool:
    return to_text(call.operator).startswith("rego.metadata.")


def _same(outcome: str, wanted: str) -> bool:
    return outcome == wanted or same_value(outcome, wanted)


def _each_pair_once(module: Module) -> Module:
    """An object loses the values of its keys of one hash (0 and []) when a comprehension gives one of them again."""
    numbers = count()

    def change(node: Node) -> Node:
        if not isinstance(node, nodes.ObjectComprehension):
            return node
        number = next(numbers)
        pair = nodes.Array((nodes.Var(f"key_once{number}"), nodes.Var(f"value_once{number}")))
        pairs = nodes.SetComprehension(nodes.Array((node.key, node.value)), node.body)
        return nodes.ObjectComprehension(*pair.items, (Expr(nodes.SomeIn(None, pair, pairs)),))

    changed: Module = transform(module, change)
    return changed


def _numbers_as_they_are_found(module: Module) -> Module:
    """A rule is looked for by the text of a number that is its key: what is at `1.0` is not at `1`."""

    def key(step: Term) -> Term:
        if isinstance(step, nodes.Scalar) and isinstance(step.value, float) and step.value.is_integer():
            return nodes.Scalar(int(step.value))
        return step

    def change(node: Node) -> Node:
        return dataclasses.replace(node, path=tuple(map(key, node.path))) if isinstance(node, nodes.Ref) else node

    changed: Module = transform(module, change)
    return changed


def _numbers_as_indexes(module: Module) -> Module:
    """`data.rows["0"]` is the first element of an array, but not if a `with` has put it there; nor is 0 then `"0"`."""

    def change(node: Node) -> Node:
        if not isinstance(node, nodes.Ref) or node.head != nodes.Var("data"):
            return node
        steps = enumerate(node.path)
        at = next((at for at, step in steps if at and not isinstance(step, nodes.Var) and not _is_name(step)), 0)
        if at == 0:
            return node
        index = nodes.Call(nodes.Var(_INDEX), (nodes.Ref(node.head, node.path[:at]), node.path[at]))
        return dataclasses.replace(node, path=(*node.path[:at], index, *node.path[at + 1 :]))

    changed: Module = transform(module, change)
    return changed if changed == module else dataclasses.replace(changed, rules=(*changed.rules, *_INDEX_RULES))


def _asked_anew(module: Module) -> Module:
    """OPA remembers what a function gave for 1 when it is called with 1.0, but not under a `with`."""
    numbers = count()
    withs = (nodes.With(nodes.Ref(nodes.Var("data"), (nodes.Scalar("evaded"),)), nodes.Scalar(1)),)

    def change(node: Node) -> Node:
        match node:
            case Expr(nodes.Call() | nodes.Ref()) if not node.withs:
                return dataclasses.replace(node, withs=withs)
            case nodes.ArrayComprehension(nodes.Call()) | nodes.SetComprehension(nodes.Call()):
                head = nodes.Var(f"head_asked{next(numbers)}")
                call = nodes.Call(nodes.Var("assign"), (head, node.term), infix=True)
                return dataclasses.replace(node, term=head, body=(*node.body, Expr(call, withs=withs)))
        return node

    changed: Module = transform(module, change)
    return changed


def _reversed_by_characters(module: Module) -> Module:
    """`strings.reverse` of bytes that are no UTF-8 writes over what it has reversed, or crashes."""

    def change(node: Node) -> Node:
        if not isinstance(node, nodes.Call) or to_text(node.operator) != "strings.reverse" or len(node.args) != 1:
            return node
        characters = _call("split", node.args[0], nodes.Scalar(""))
        return _call("concat", nodes.Scalar(""), _call("array.reverse", characters))

    changed: Module = transform(module, change)
    return changed


def _request_of_its_own(module: Module) -> Module:
    """A request in base data to which `providers.aws.sign_req` adds parts that are neither counted nor walked over."""

    def change(node: Node) -> Node:
        if not isinstance(node, nodes.Call) or to_text(node.operator) != "providers.aws.sign_req" or not node.args:
            return node
        request = _call("json.unmarshal", _call("json.marshal", node.args[0]))
        return dataclasses.replace(node, args=(request, *node.args[1:]))

    changed: Module = transform(module, change)
    return changed


def _sets_as_values(module: Module) -> Module:
    """A set that is the value at a computed key takes up what `contains` adds at that place, where both conflict."""
    groups: dict[str, list[Rule]] = {}
    for rule in module.rules:
        ref = rule.head.ref
        if rule.head.key is not None and isinstance(ref, nodes.Ref) and all(map(_is_scalar, ref.path)):
            groups.setdefault(to_text(ref), []).append(rule)

    rules = []
    for rule in module.rules:
        group = groups.get(to_text(rule.head.ref), []) if rule.head.key is not None else []
        if not group:
            rules.append(rule)
        elif rule is group[0]:
            rules.append(Rule(nodes.Head(rule.head.ref, value=_all_members(group), assign=True)))
    return dataclasses.replace(module, rules=tuple(rules))


def _all_members(rules: list[Rule]) -> Term:
    true = (Expr(nodes.Scalar(True)),)
    sets = [nodes.SetComprehension(rule.head.key, rule.body or true) for rule in rules if rule.head.key is not None]
    return _call("union", nodes.Set(tuple(sets)))


def _is_scalar(step: Term) -> bool:
    return isinstance(step, nodes.Scalar)


def _call(name: str, *args: Term) -> nodes.Call:
    operator = parse_term(name)
    assert isinstance(operator, nodes.Var | nodes.Ref)
    return nodes.Call(operator, args)


def _is_name(step: Term) -> bool:
    return isinstance(step, nodes.Scalar) and isinstance(step.value, str) and not step.value.isdigit()


def _rules(source: str) -> tuple[Rule, ...]:
    return parse_module(f"package evaded\n\n{source}", "evaded.rego").rules


REFUSED: Final = "refused by accident"
_INDEX: Final = "index_evaded"
_INDEX_RULES: Final = _rules(f"""
{_INDEX}(array, key) := object.get({{format_int(i, 10): i | some i, _ in array}}, key, key) if is_array(array)
else := format_int(key, 10) if {{ is_object(array); is_number(key) }}
else := key
""")

EVADED: Final[dict[str, Callable[[Module], Module]]] = {
    "keys of one hash": _each_pair_once,
    "a number as a rule's key": _numbers_as_they_are_found,
    "a function's value for an equal number": _asked_anew,
    "a signed request": _request_of_its_own,
    "a set that takes up members": _sets_as_values,
    "bytes that are reversed": _reversed_by_characters,
    "text as an index beside replaced data": _numbers_as_indexes,
}
