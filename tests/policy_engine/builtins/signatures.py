"""Random operands for every deterministic builtin, and the differences from OPA that are meant."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from policy_engine.values import Value
from tests.policy_engine.builtins import generate as g
from tests.policy_engine.builtins.generate import Operand

_two_numbers = (g.number, g.number)
_two_values = (g.any_value, g.any_value)
_set = g.set_of(g.any_value)
_items = g.either(g.array_of(g.any_value), g.set_of(g.any_value), g.array_of(g.number), g.set_of(g.text))
_numbers = g.either(g.array_of(g.number), g.set_of(g.number), g.array_of(g.integer))
_texts = g.either(g.text, g.array_of(g.short), g.set_of(g.short))

_TYPE_TESTS = "is_array is_boolean is_null is_number is_object is_set is_string type_name"
_TWO_TEXTS = (
    "contains endswith startswith indexof indexof_n split strings.count"
    " trim trim_left trim_prefix trim_right trim_suffix"
)

SIGNATURES: Final[dict[str, tuple[Operand, ...]]] = {
    **dict.fromkeys(("plus", "mul", "div", "rem"), _two_numbers),
    "minus": (g.either(g.number, g.number, _set), g.either(g.number, g.number, _set)),
    **dict.fromkeys(("and", "or"), (_set, _set)),
    **dict.fromkeys(("equal", "neq", "lt", "lte", "gt", "gte"), _two_values),
    "internal.member_2": (g.any_value, _items),
    "internal.member_3": (g.integer, g.integer, g.either(g.array_of(g.integer), g.set_of(g.integer), g.any_value)),
    "count": (g.either(_items, g.text, g.object_of(g.text, g.text)),),
    **dict.fromkeys(("max", "min", "sort"), (_items,)),
    **dict.fromkeys(("sum", "product"), (_numbers,)),
    **dict.fromkeys(("intersection", "union"), (g.set_of(g.set_of(g.integer)),)),
    "to_number": (
        g.either(g.text, g.one_of(None, True, False), g.number, g.one_of("1.50", "1e3", "1e999", "0x", "nan", "1 ")),
    ),
    **dict.fromkeys(_TYPE_TESTS.split(), (g.any_value,)),
    "concat": (g.text, g.either(g.array_of(g.text), g.set_of(g.text))),
    **dict.fromkeys(_TWO_TEXTS.split(), (g.text, g.short)),
    **dict.fromkeys(("lower", "upper", "strings.reverse", "trim_space"), (g.text,)),
    "format_int": (g.number, g.one_of(2, 8, 10, 16, 10.5, 3)),
    "replace": (g.text, g.short, g.text),
    "strings.replace_n": (g.object_of(g.short, g.text), g.text),
    "strings.split_n": (g.text, g.short, g.integer),
    "substring": (g.text, g.integer, g.integer),
    **dict.fromkeys(("strings.any_prefix_match", "strings.any_suffix_match"), (_texts, _texts)),
    "sprintf": (g.format_string, g.format_arguments),
    "strings.render_template": (g.template, g.template_data),
    "regex.match": (g.pattern, g.subject),
    "regex.is_valid": (g.pattern,),
    **dict.fromkeys(("regex.find_n", "regex.find_all_string_submatch_n"), (g.pattern, g.subject, g.integer)),
    "regex.split": (g.pattern, g.subject),
    "regex.replace": (g.subject, g.pattern, g.replacement),
    "regex.globs_match": (g.glob_expression, g.glob_expression),
    "glob.match": (g.glob, g.either(g.one_of(None, []), g.array_of(g.one_of(".", "/", ":", "é"))), g.subject),
    "glob.quote_meta": (g.text,),
    **dict.fromkeys(("abs", "ceil", "floor", "round"), (g.number,)),
    "numbers.range": (g.integer, g.integer),
    "numbers.range_step": (g.integer, g.integer, g.integer),
    **dict.fromkeys(("bits.and", "bits.or", "bits.xor"), (g.number, g.integer)),
    "bits.negate": (g.number,),
    **dict.fromkeys(("bits.lsh", "bits.rsh"), (g.number, g.integer)),
    **dict.fromkeys(("units.parse", "units.parse_bytes"), (g.amount,)),
    "semver.compare": (g.version, g.version),
    "semver.is_valid": (g.version,),
    "uuid.parse": (g.uuid,),
    **dict.fromkeys(("graph.reachable", "graph.reachable_paths"), (g.graph, g.nodes)),
    "walk": (g.any_value,),
    **dict.fromkeys(("all", "any"), (g.array_of(g.one_of(True, True, False, 1)),)),
    **dict.fromkeys(("cast_array", "cast_set"), (_items,)),
    **dict.fromkeys(("cast_boolean", "cast_null", "cast_object", "cast_string"), (g.any_value,)),
    "re_match": (g.pattern, g.subject),
    "set_diff": (_set, _set),
}

DIFFERENT_ON_PURPOSE: Final[dict[str, Callable[[list[Value]], bool]]] = {
    # OPA keeps a text that Go reads as a number and JSON does not: `+1`, `02`, `.5`, `5.`, `1_0`.
    "to_number": lambda operands: isinstance(operands[0], str) and bool(_NO_JSON_NUMBER.fullmatch(operands[0])),
    # OPA's library takes its own message for a format.
    "regex.globs_match": lambda operands: any("%" in operand for operand in operands),
}

_NO_JSON_NUMBER: Final = re.compile(r"\+.*|-?0[0-9].*|-?\..*|[^.]*\.(?:[eE].*)?|.*_.*", re.DOTALL)

SAME_CODE_ONLY: Final = frozenset(("strings.render_template",))
"""Errors of templates have Go's words where an author is likely to see them, not everywhere."""
