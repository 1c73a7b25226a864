"""The functions of Go templates, and how values look and compare in them.

`and`, `or` and `printf` are only listed here: `evaluator` does them itself.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote_plus

from policy_engine.builtins import goformat, gotext
from policy_engine.builtins.goformat import Spec
from policy_engine.builtins.templates.parser import TemplateError
from policy_engine.unicode15 import is_printable


def shown(value: Any) -> str:
    return goformat.format_value(Spec(), "v", value)


def _type_name(value: Any) -> str:
    # Numbers of a template are `int`, where those of a format string are `int64`.
    return "int" if value.__class__ is int else goformat.type_name(value)


def truth(value: Any) -> bool:
    return bool(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _print(*values: Any) -> str:
    pieces: list[str] = []
    for index, value in enumerate(values):
        if index and not _is_text(value) and not _is_text(values[index - 1]):
            pieces.append(" ")
        pieces.append(shown(value))
    return "".join(pieces)


def _println(*values: Any) -> str:
    return " ".join(map(shown, values)) + "\n"


def _index(value: Any, *keys: Any) -> Any:
    if value is None:
        raise TemplateError("index of untyped nil")
    for key in keys:
        if isinstance(value, dict):
            if key.__class__ is not str:
                raise TemplateError(f"value has type {_type_name(key)}; should be string")
            value = value.get(key)
        elif isinstance(value, (list, str)):
            if key.__class__ is not int:
                raise TemplateError(f"cannot index slice/array with type {_type_name(key)}")
            sequence = gotext.utf8(value) if isinstance(value, str) else value
            if not 0 <= key < len(sequence):
                raise TemplateError(f"index out of range: {key}")
            value = sequence[key]
        else:
            raise TemplateError(
                "index of untyped nil" if value is None else f"can't index item of type {_type_name(value)}"
            )
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, (list, str)):
        raise TemplateError(f"can't slice item of type {_type_name(value)}")
    sequence = gotext.utf8(value) if isinstance(value, str) else value
    start = bounds[0] if bounds else 0
    end = bounds[1] if len(bounds) > 1 else len(sequence)
    for bound in (start, end):
        if bound.__class__ is not int or not 0 <= bound <= len(sequence):
            raise TemplateError(f"index out of range: {shown(bound)}")
    if start > end:
        raise TemplateError(f"invalid slice index: {start} > {end}")
    part = sequence[start:end]
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(gotext.utf8(value))
    if isinstance(value, (list, dict)):
        return len(value)
    raise TemplateError("len of nil pointer" if value is None else f"len of type {_type_name(value)}")


def _kind(value: Any) -> type:
    return str if isinstance(value, str) else value.__class__


def _eq(first: Any, *others: Any) -> bool:
    for other in others:
        if first is None or other is None:
            if first is other:
                return True
        elif isinstance(first, (list, dict)) or isinstance(other, (list, dict)):
            raise TemplateError("non-comparable type")
        elif _kind(first) is not _kind(other):
            raise TemplateError(f"incompatible types for comparison: {_type_name(first)} and {_type_name(other)}")
        elif first == other:
            return True
    return False


def _less(first: Any, second: Any) -> bool:
    for value in (first, second):
        if not isinstance(value, (int, float, str)) or isinstance(value, bool):
            raise TemplateError("invalid type for comparison")
    if _kind(first) is not _kind(second):
        raise TemplateError("incompatible types for comparison")
    return first < second  # type: ignore[no-any-return]


def _print_for_escaping(*values: Any) -> str:
    return _print(*("<no value>" if value is None else value for value in values))


def _html(*values: Any) -> str:
    return (
        html.escape(_print_for_escaping(*values), quote=True)
        .replace("&quot;", "&#34;")
        .replace("&#x27;", "&#39;")
        .replace("\0", "\ufffd")
    )


def _js(*values: Any) -> str:
    return "".join(_js_character(char) for char in _print_for_escaping(*values))


def _js_character(char: str) -> str:
    if char in "\\'\"":
        return f"\\{char}"
    if char in "<>&=" or char < " " or not is_printable(char):
        return f"\\u{ord(char):04X}"
    return char


def _urlquery(*values: Any) -> str:
    return quote_plus(gotext.utf8(_print_for_escaping(*values)))


FUNCTIONS: Final[dict[str, tuple[int, int | None, Callable[..., Any]]]] = {
    "and": (1, None, _print),
    "eq": (2, None, _eq),
    "ge": (2, 2, lambda first, second: not _less(first, second)),
    "gt": (2, 2, lambda first, second: _less(second, first)),
    "html": (0, None, _html),
    "index": (1, None, _index),
    "js": (0, None, _js),
    "le": (2, 2, lambda first, second: not _less(second, first)),
    "len": (1, 1, _len),
    "lt": (2, 2, _less),
    "ne": (2, 2, lambda first, second: not _eq(first, second)),
    "or": (1, None, _print),
    "not": (1, 1, lambda value: not truth(value)),
    "print": (0, None, _print),
    "printf": (1, None, _print),
    "println": (0, None, _println),
    "slice": (1, 3, _slice),
    "urlquery": (0, None, _urlquery),
}
"""By name: the least and the most arguments, and what they become."""
