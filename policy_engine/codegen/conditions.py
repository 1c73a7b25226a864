"""From comparisons and patterns to conditions: the common cases in place, all others by a function.

Strings compare with strings and integers with integers by Python's own operators, which agree with Rego there. Any
other pair goes to a function that knows Rego's order, and raises an error for values that Rego does not have. Only
`compare` takes a value that may be undefined.
"""

from __future__ import annotations

from typing import Final

from policy_engine.codegen.frame import FunctionFrame
from policy_engine.codegen.terms import key, named_operand
from policy_engine.compiler.terms import builtin_name
from policy_engine.syntax import nodes
from policy_engine.syntax.constants import constant_value
from policy_engine.syntax.nodes import Term
from policy_engine.values import Set

ORDER: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def compare(fn: FunctionFrame, value: str, other: str, term: Term) -> None:
    """Go on only if a value, which may be undefined, equals that of a term, whose name is `other`."""
    differs = f"differs({fn.rare}, {value}, {other})"
    if not isinstance(term, nodes.Scalar):
        strings = f"{value}.__class__ is str and {other}.__class__ is str"
        fn.fail_if(f"({value} != {other}) if {strings} else {differs}")
    elif term.value is None or isinstance(term.value, bool):
        fn.fail_if(f"{value} is not {other} and ({value} is U or {differs})")
    elif isinstance(term.value, (str, int)):
        kind = "str" if isinstance(term.value, str) else "int"
        fn.fail_if(f"({value} != {other}) if {value}.__class__ is {kind} else {value} is U or {differs}")
    else:
        fn.fail_if(differs)


def compare_operand(fn: FunctionFrame, value: str, term: Term) -> None:
    """Go on only if a value equals an operand."""
    compare(fn, value, named_operand(fn, term), term)


# ---- operators


def operator(fn: FunctionFrame, call: nodes.Call) -> bool:
    """Write a call of an operator as a condition; false if it is none of those that have a form of their own."""
    name = builtin_name(call)
    if name in fn.names.mock_slots:
        return False
    if name in ORDER:
        left, right = (named_operand(fn, arg) for arg in call.args)
        sign = ORDER[name]
        variables = [text for arg, text in zip(call.args, (left, right), strict=True) if not _is(arg, int)]
        integers = " and ".join([f"{text}.__class__ is int" for text in variables]) or "True"
        order = f"order({fn.rare}, {left}, {right}) {sign} 0"
        fn.fail_if(f"not (({left} {sign} {right}) if {integers} else {order})")
        return True
    if name == "neq":
        left, right = (named_operand(fn, arg) for arg in call.args)
        unsure = [text for arg, text in zip(call.args, (left, right), strict=True) if not _is(arg, str)]
        strings = " and ".join([f"{text}.__class__ is str" for text in unsure]) or "True"
        fn.fail_if(f"({left} == {right}) if {strings} else not differs({fn.rare}, {left}, {right})")
        return True
    if name != "internal.member_2":
        return False
    if not _one_of(fn, *call.args):
        item, collection = (named_operand(fn, arg) for arg in call.args)
        fn.fail_if(f"not ({fn.access.contains(fn, item, collection)})")
    return True


def _one_of(fn: FunctionFrame, item: Term, collection: Term) -> bool:
    """`item in {"a", "b"}`: only a string can be in a collection of strings."""
    members = constant_value(collection)
    if members is None or members[0].__class__ not in (list, Set) or not all(isinstance(m, str) for m in members[0]):
        return False
    texts = frozenset(members[0])
    value = named_operand(fn, item)
    table = fn.names.constants.named("s", texts, texts)
    _expect(fn, f"{value}.__class__ is not str or {value} not in {table}", value)
    return True


def _is(term: Term, cls: type) -> bool:
    return isinstance(term, nodes.Scalar) and term.value.__class__ is cls


# ---- patterns


def match_pattern(fn: FunctionFrame, pattern: Term, value: str) -> None:
    """Match a value against a pattern. A variable is bound only to a value that is defined."""
    if not fn.is_open(pattern):
        compare_operand(fn, value, pattern)
        return
    if value in ("None", "True", "False") and not isinstance(pattern, nodes.Var):
        give_up(fn, pattern)  # Python would warn about `True[0]`
        return
    match pattern:
        case nodes.Var(name):
            fn.env[name] = fn.definite(value)
        case nodes.Array(items):
            _expect(fn, f"{value}.__class__ is not list or len({value}) != {len(items)}", value)
            for number, item in enumerate(items):
                if not (isinstance(item, nodes.Var) and item.is_wildcard and item.name not in fn.env):
                    match_pattern(fn, item, fn.new(f"{value}[{number}]"))
        case nodes.Object(pairs) if not any(fn.is_open(name) for name, _ in pairs):
            _expect(fn, f"{value}.__class__ is not dict or len({value}) != {len(pairs)}", value)
            keys = [fn.named(key(fn, name)) for name, _ in pairs]
            if not all(isinstance(name, nodes.Scalar) for name, _ in pairs):
                fn.fail_if(f"len({{{', '.join(keys)}}}) != {len(keys)}")
            for name, (_, item) in zip(keys, pairs, strict=True):
                part = fn.new(f"{value}.get({name}, U)")
                fn.fail_if(f"{part} is U")
                match_pattern(fn, item, part)
        case _:
            # An argument that is a set, or has computed keys. A match binds no variable in it.
            give_up(fn, pattern)


def give_up(fn: FunctionFrame, *patterns: Term) -> None:
    """Never go on. The lines behind may still mention the variables of the patterns."""
    fn.fail_if("True")
    for pattern in patterns:
        fn.env.update(dict.fromkeys(fn.unbound(pattern), "None"))


def _expect(fn: FunctionFrame, condition: str, value: str) -> None:
    """Fail if a condition holds, with an error if the value is none that Rego has."""
    fn.line(f"if {condition}:")
    fn.line(f" known({value})")
    fn.line(f" {fn.fail}")
