"""`strings.render_template`: a text from a Go template and an object.

Numbers of the object are Go's `json.Number`, a kind of string: they keep their text, and `eq .n 1` is an error, because
1 is no string. Missing and null values are written as `<undefined>`. OPA hands the object over as its own text, which
is not JSON if it has sets, keys that are no strings or some characters; such an object is refused here too.
The syntax is in `parser`, its meaning in `evaluator`; both are imported by the first call.
"""

from __future__ import annotations

import re
from typing import Any, Final

from policy_engine import types as t
from policy_engine.builtins.goformat import JsonNumber
from policy_engine.builtins.operands import NUMBERS, object_, string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.unicode15 import is_printable
from policy_engine.values import Set, Value, foreign, is_nan, literal, number_text, sorted_items

_NAME: Final = "strings.render_template"
_SUSPECT: Final = re.compile("[\0-\x07\x0b\x0e-\x1f\x7f\U00010000-\U0010ffff]")


def render(ctx: Context, template: Value, variables: Value) -> str:
    from policy_engine.builtins.templates import evaluator

    text = string(template, _NAME, 1)
    data = _go_value(ctx, object_(variables, _NAME, 2))
    try:
        return evaluator.render(ctx, text, data)
    except evaluator.TemplateError as error:
        raise BuiltinError(f"{_NAME}: {error}") from None


def _go_value(ctx: Context, value: Value) -> Any:
    """The data as a template sees it. Each value is charged by itself, so that the clock is looked at in between."""
    ctx.charge(1)
    if value.__class__ is str:
        return _checked(value)
    if value is None or value.__class__ is bool:
        return value
    if value.__class__ is list:
        return [_go_value(ctx, item) for item in value]
    if value.__class__ is dict:
        ctx.charge(3 * len(value))
        if any(key.__class__ is not str for key in value):
            raise BuiltinError(f"{_NAME}: an object with keys that are no strings cannot be used in a template")
        return {_checked(key): _go_value(ctx, item) for key, item in sorted_items(value)}
    if value.__class__ is Set:
        raise BuiltinError(f"{_NAME}: a set cannot be used in a template, make it an array")
    if value.__class__ not in NUMBERS or is_nan(value):
        foreign(value)
    return JsonNumber(number_text(value))


def _checked(text: str) -> str:
    """The text, if OPA's way to write it is JSON: `\\n` and `\\u0085` are, `\\a`, `\\x7f` and `\\U000e0001` are not."""
    for found in _SUSPECT.finditer(text):
        if not is_printable(found[0]):
            raise BuiltinError(f"{_NAME}: invalid character '{literal(found[0])[2]}' in string escape code")
    return text


BUILTINS: Final = (
    Builtin(_NAME, t.FunctionType((t.STRING, t.object_(t.STRING, t.ANY)), t.STRING), render, context=True),
)
