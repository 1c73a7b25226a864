"""Hints at what unknown names and unbound variables were meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from policy_engine.compiler.generated_names import source_name
from policy_engine.compiler.terms import builtin_name
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Expr

_ELSEWHERE: Final = {
    "True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "null", "nil": "null", "NULL": "null",
    "len": "count", "length": "count", "size": "count", "append": "array.concat", "format": "sprintf",
    "toLowerCase": "lower", "toUpperCase": "upper", "substr": "substring", "includes": "contains", "now": "time.now_ns",
    "match": "regex.match", "matches": "regex.match", "keys": "object.keys", "int": "to_number", "float": "to_number",
    "json.parse": "json.unmarshal", "json.stringify": "json.marshal",
}  # fmt: skip
"""Names of other languages."""


ITERATE: Final = "iterate in a statement of its own: `not`, `and` and `or` bind nothing"


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint at the known name that is most similar; `otherwise` if none is."""
    names = [other for other in known if other != name]
    last = name.rpartition(".")[2]
    found = [_ELSEWHERE[name]] if name in _ELSEWHERE else [last] if last in names else []
    found = found or difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return f"did you mean `{found[0]}`?" if found else otherwise


def advice(name: str, expr: Expr | None) -> str:
    """A hint at what a variable that nothing binds was probably meant to be, from the expression that uses it."""
    what, written = expr.what if expr else None, source_name(name)
    if isinstance(what, nodes.Call) and what.args and isinstance(what.args[-1], nodes.Call):
        what = what.args[-1]  # a call that was taken out of a larger expression
    called = builtin_name(what) if isinstance(what, nodes.Call) else None
    args = what.args if isinstance(what, nodes.Call) else ()
    if called in ("internal.member_2", "internal.member_3") and nodes.Var(name) in args[:-1]:
        return f"`some {written} in …` iterates"
    if written == "return":
        return "the value of a rule stands in its head, `name := value if { … }`"
    if called == "minus" and nodes.Var(name) in args:
        return 'a key with a dash is written in brackets, `x["a-b"]`'
    if any(isinstance(term, nodes.Ref) and term.head == nodes.Var(name) for term in (*args, what)):
        return f"a document of another package is `data.….{written}`, or it has to be imported"
    if expr is not None and expr.negated:
        return ITERATE
    compared = called in ("equal", "neq") and nodes.Var(name) in args
    return f'a text is written in double quotes, "{written}"' if compared else ""
