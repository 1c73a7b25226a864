"""Builtins in place: calls of builtins as expressions of Python, for operands of the usual classes.

Only cheap builtins are here, because what is done in place is not charged. For all other operands, and for errors, the
builtin's function is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Term

SHORT: Final = 256
"""The most characters of a text that are searched without charge."""


@dataclass(frozen=True, slots=True)
class Form:
    """An expression in which `{0}`, `{1}` stand for the operands. `classes` are theirs, None where any will do."""

    text: str
    classes: tuple[type | None, ...]
    condition: str = ""
    """A further condition on them."""


_WORD: Final = 1 << 62
_WORDS: Final = f"-{_WORD} < {{0}} < {_WORD} and -{_WORD} < {{1}} < {_WORD}"
"""Sums of longer integers are charged, because a policy may keep every one of them."""

_LENGTH: Final = f"len({{0}}) < {SHORT}"

FORMS: Final = {
    "contains": Form("{1} in {0}", (str, str), _LENGTH),
    "endswith": Form("{0}.endswith({1})", (str, str)),
    "lower": Form("{0}.lower()", (str,), f"{_LENGTH} and {{0}}.isascii()"),
    "minus": Form("{0} - {1}", (int, int), _WORDS),
    "object.get": Form("{0}.get({1}, {2})", (dict, str, None)),
    "plus": Form("{0} + {1}", (int, int), _WORDS),
    "replace": Form("{0}.replace({1}, {2})", (str, str, str), f"len({{0}}) < {SHORT} and 0 < len({{1}}) >= len({{2}})"),
    "split": Form("{0}.split({1})", (str, str), f"{_LENGTH} and {{1}}"),
    "startswith": Form("{0}.startswith({1})", (str, str)),
    "trim_prefix": Form("{0}.removeprefix({1})", (str, str), _LENGTH),
    "trim_space": Form(r"{0}.strip(' \t\n\v\f\r')", (str,), f"{_LENGTH} and {{0}}.isascii()"),
    "trim_suffix": Form("{0}.removesuffix({1})", (str, str), _LENGTH),
    "upper": Form("{0}.upper()", (str,), f"{_LENGTH} and {{0}}.isascii()"),
}


def in_place(name: str, terms: tuple[Term, ...], args: list[str]) -> tuple[str, str] | None:
    """An expression for a call, and the condition under which it is one; None for other builtins or operands."""
    if name == "count":
        (arg,) = args
        return f"len({arg})", " or ".join([f"{arg}.__class__ is {cls}" for cls in ("list", "str", "dict")])
    form = FORMS.get(name)
    if form is None:
        return None
    tests = []
    for term, arg, wanted in zip(terms, args, form.classes, strict=True):
        if isinstance(term, nodes.Scalar):
            if wanted is not None and term.value.__class__ is not wanted:
                return None
        elif wanted is not None:
            tests.append(f"{arg}.__class__ is {wanted.__name__}")
    if form.condition:
        tests.append(form.condition.format(*args))
    return form.text.format(*args), " and ".join(tests) or "True"
