"""Strings: searching, cutting, joining, replacing. `sprintf` is in `formatting`, patterns are in `regex` and `glob`.

Positions and lengths count Unicode code points. Where a result can be larger than its operands, its size is taken from
the budget before it is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from policy_engine import types as t
from policy_engine.builtins import gotext, regex
from policy_engine.builtins.arithmetic import to_dyadic, truncate
from policy_engine.builtins.operands import (
    all_strings,
    charge_text,
    integer,
    number,
    object_,
    operand_error,
    string,
    strings,
    wrong,
)
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.values import Set, Value, int_text, sorted_items


def concat(ctx: Context, delimiter: Value, collection: Value) -> str:
    string(delimiter, "concat", 1)
    if collection.__class__ is not list and collection.__class__ is not Set:
        wrong("concat", 2, collection, "set", "array")
    parts = strings(collection, "concat", 2)
    charge_text(ctx, sum(map(len, parts)) + len(delimiter) * len(parts))
    return delimiter.join(parts)  # type: ignore[no-any-return]


def contains(haystack: Value, needle: Value) -> bool:
    if haystack.__class__ is not str or needle.__class__ is not str:
        all_strings("contains", haystack, needle)
    return needle in haystack


def startswith(text: Value, prefix: Value) -> bool:
    if text.__class__ is not str or prefix.__class__ is not str:
        all_strings("startswith", text, prefix)
    return text.startswith(prefix)  # type: ignore[no-any-return]


def endswith(text: Value, suffix: Value) -> bool:
    if text.__class__ is not str or suffix.__class__ is not str:
        all_strings("endswith", text, suffix)
    return text.endswith(suffix)  # type: ignore[no-any-return]


def any_prefix_match(texts: Value, prefixes: Value) -> bool:
    """Whether any of the texts starts with any of the prefixes."""
    return _any(texts, prefixes, "strings.any_prefix_match", str.startswith)


def any_suffix_match(texts: Value, suffixes: Value) -> bool:
    """Whether any of the texts ends with any of the suffixes."""
    return _any(texts, suffixes, "strings.any_suffix_match", str.endswith)


def _any(texts: Value, parts: Value, name: str, test: Callable[[str, tuple[str, ...]], bool]) -> bool:
    candidates = _one_or_many(texts, name, 1)
    wanted = tuple(_one_or_many(parts, name, 2))
    return any(test(candidate, wanted) for candidate in candidates)


def _one_or_many(value: Value, name: str, position: int) -> list[str]:
    if value.__class__ is str:
        return [value]
    if value.__class__ is not list and value.__class__ is not Set:
        wrong(name, position, value, "string", "set", "array")
    return strings(value, name, position)


def format_int(value: Value, base: Value) -> str:
    """The number's integer part in base 2, 8, 10 or 16."""
    number(value, "format_int", 1)
    number(base, "format_int", 2)
    style = {2: "b", 8: "o", 10: "d", 16: "x"}.get(base) if base.__class__ is int else None
    if style is None:
        operand_error("format_int", 2, "must be one of {2, 8, 10, 16}")
    whole = value if value.__class__ is int else truncate(to_dyadic(value, "format_int"))
    return int_text(whole) if style == "d" else format(whole, style)


def indexof(haystack: Value, needle: Value) -> int:
    """Where the needle stands first, -1 if it does not."""
    all_strings("indexof", haystack, needle)
    if not needle:
        raise BuiltinError("indexof: empty search character")
    return haystack.find(needle)  # type: ignore[no-any-return]


def indexof_n(ctx: Context, haystack: Value, needle: Value) -> list[int]:
    """Where the needle stands, overlapping places included."""
    all_strings("indexof_n", haystack, needle)
    if not needle:
        raise BuiltinError("indexof_n: empty search character")
    found, at = [], haystack.find(needle)
    while at >= 0:
        found.append(at)
        # Overlapping finds of a long needle are quadratic.
        charge_text(ctx, len(needle))
        at = haystack.find(needle, at + 1)
    return found


def lower(text: Value) -> str:
    return gotext.lower(string(text, "lower", 1))


def upper(text: Value) -> str:
    return gotext.upper(string(text, "upper", 1))


def replace(ctx: Context, text: Value, old: Value, new: Value) -> str:
    all_strings("replace", text, old, new)
    if not old:
        return _replace_pairs(ctx, text, [(old, new)], "replace")
    charge_text(ctx, len(text) + text.count(old) * max(len(new) - len(old), 0))
    return text.replace(old, new)  # type: ignore[no-any-return]


def replace_n(ctx: Context, patterns: Value, text: Value) -> str:
    """Replace in one pass; at each place the first pattern in Rego's order that fits."""
    pairs = sorted_items(object_(patterns, "strings.replace_n", 1))
    string(text, "strings.replace_n", 2)
    for old, new in pairs:
        if old.__class__ is not str:
            operand_error("strings.replace_n", 1, "non-string key found in pattern object")
        if new.__class__ is not str:
            operand_error("strings.replace_n", 1, "non-string value found in pattern object")
    return _replace_pairs(ctx, text, pairs, "strings.replace_n")


def _replace_pairs(ctx: Context, text: str, pairs: list[tuple[str, str]], name: str) -> str:
    # RE2's alternation of literals prefers the first that fits, and is linear in the text whatever the patterns are.
    replacements = {gotext.utf8(old): gotext.utf8(new) for old, new in pairs}
    filler = replacements.pop(b"", None)
    data = gotext.utf8(text)
    charge_text(ctx, (len(data) + 1) * (1 + max(map(len, (*replacements.values(), filler or b"")))))
    pieces, end = [], 0
    if replacements:
        for match in regex.compile_literals(replacements, name).finditer(data):
            pieces += [data[end : match.start()], replacements[match[0]]]
            end = match.end()
    pieces.append(data[end:])
    if filler is None:
        return b"".join(pieces).decode()
    # An empty pattern stands before, between and behind what the others leave, byte for byte: Go takes characters
    # apart that are not ASCII.
    tokens = [bytes((octet,)) for octet in pieces[0]]
    for replacement, rest in zip(pieces[1::2], pieces[2::2], strict=True):
        tokens += [replacement, *(bytes((octet,)) for octet in rest)]
    return (filler + filler.join(tokens) + filler if tokens else filler).decode("utf-8", "replace")


def reverse(text: Value) -> str:
    return string(text, "strings.reverse", 1)[::-1]


def split(ctx: Context, text: Value, delimiter: Value) -> list[str]:
    """The pieces between the delimiters; with an empty delimiter, the characters."""
    all_strings("split", text, delimiter)
    return _split(ctx, text, delimiter)


def _split(ctx: Context, text: str, delimiter: str) -> list[str]:
    charge_text(ctx, len(text))
    return text.split(delimiter) if delimiter else list(text)


def split_n(ctx: Context, text: Value, delimiter: Value, limit: Value) -> list[str]:
    """The first `limit` pieces, or the last ones if it is negative."""
    all_strings("strings.split_n", text, delimiter)
    size = integer(limit, "strings.split_n", 3)
    pieces = _split(ctx, text, delimiter)
    return pieces[:size] if size >= 0 else pieces[size:]


def count(text: Value, part: Value) -> int:
    """How often the part occurs, without overlaps."""
    all_strings("strings.count", text, part)
    return text.count(part)  # type: ignore[no-any-return]


def substring(text: Value, offset: Value, length: Value) -> str:
    """`length` characters from `offset` on, all of them if the length is negative."""
    string(text, "substring", 1)
    start, size = integer(offset, "substring", 2), integer(length, "substring", 3)
    if start < 0:
        raise BuiltinError("substring: negative offset")
    return text[start:] if size < 0 else text[start : start + size]  # type: ignore[no-any-return]


def trim(text: Value, characters: Value) -> str:
    all_strings("trim", text, characters)
    return text.strip(characters)  # type: ignore[no-any-return]


def trim_left(text: Value, characters: Value) -> str:
    all_strings("trim_left", text, characters)
    return text.lstrip(characters)  # type: ignore[no-any-return]


def trim_right(text: Value, characters: Value) -> str:
    all_strings("trim_right", text, characters)
    return text.rstrip(characters)  # type: ignore[no-any-return]


def trim_prefix(text: Value, prefix: Value) -> str:
    all_strings("trim_prefix", text, prefix)
    return text.removeprefix(prefix)  # type: ignore[no-any-return]


def trim_suffix(text: Value, suffix: Value) -> str:
    all_strings("trim_suffix", text, suffix)
    return text.removesuffix(suffix)  # type: ignore[no-any-return]


def trim_space(text: Value) -> str:
    return string(text, "trim_space", 1).strip(gotext.WHITE_SPACE)


_TEXT: Final = t.Function((t.STRING,), t.STRING)
_TEXTS: Final = t.Function((t.STRING, t.STRING), t.STRING)
_TEST: Final = t.Function((t.STRING, t.STRING), t.BOOLEAN)
_COLLECTION: Final = t.union(t.array(t.STRING), t.set_(t.STRING))
_ONE_OR_MANY: Final = t.union(t.STRING, t.array(t.STRING), t.set_(t.STRING))
_ANY_MATCH: Final = t.Function((_ONE_OR_MANY, _ONE_OR_MANY), t.BOOLEAN)
_PATTERNS: Final = t.object_(t.STRING, t.STRING)

BUILTINS: Final = (
    Builtin("concat", t.Function((t.STRING, _COLLECTION), t.STRING), concat, context=True),
    Builtin("contains", _TEST, contains),
    Builtin("endswith", _TEST, endswith),
    Builtin("format_int", t.Function((t.NUMBER, t.NUMBER), t.STRING), format_int),
    Builtin("indexof", t.Function((t.STRING, t.STRING), t.NUMBER), indexof),
    Builtin("indexof_n", t.Function((t.STRING, t.STRING), t.array(t.NUMBER)), indexof_n, context=True),
    Builtin("lower", _TEXT, lower),
    Builtin("replace", t.Function((t.STRING, t.STRING, t.STRING), t.STRING), replace, context=True),
    Builtin("split", t.Function((t.STRING, t.STRING), t.array(t.STRING)), split, context=True),
    Builtin("startswith", _TEST, startswith),
    Builtin("strings.any_prefix_match", _ANY_MATCH, any_prefix_match),
    Builtin("strings.any_suffix_match", _ANY_MATCH, any_suffix_match),
    Builtin("strings.count", t.Function((t.STRING, t.STRING), t.NUMBER), count),
    Builtin("strings.replace_n", t.Function((_PATTERNS, t.STRING), t.STRING), replace_n, context=True),
    Builtin("strings.reverse", _TEXT, reverse),
    Builtin("strings.split_n", t.Function((t.STRING, t.STRING, t.NUMBER), t.array(t.STRING)), split_n, context=True),
    Builtin("substring", t.Function((t.STRING, t.NUMBER, t.NUMBER), t.STRING), substring),
    Builtin("trim", _TEXTS, trim),
    Builtin("trim_left", _TEXTS, trim_left),
    Builtin("trim_prefix", _TEXTS, trim_prefix),
    Builtin("trim_right", _TEXTS, trim_right),
    Builtin("trim_space", _TEXT, trim_space),
    Builtin("trim_suffix", _TEXTS, trim_suffix),
    Builtin("upper", _TEXT, upper),
)
