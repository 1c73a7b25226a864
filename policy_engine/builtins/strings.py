"""Strings: searching, cutting, joining, replacing. `sprintf` is in `formatting`, patterns are in `regex` and `glob`.

Positions and lengths count Unicode code points. If a result can be larger than its operands, its size is taken from
the budget before it is built.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from policy_engine import types as t
from policy_engine.builtins import gotext
from policy_engine.builtins.arithmetic import to_dyadic, truncate
from policy_engine.builtins.octets import from_bytes, printable, to_bytes
from policy_engine.builtins.operands import (
    all_strings,
    charge_made,
    charge_text,
    charged,
    integer,
    number,
    object_,
    operand_error,
    string,
    strings,
    wrong,
)
from policy_engine.builtins.patterns import Pattern, TooLargeError, compile_pattern, search
from policy_engine.builtins.table import Builtin, Context, Cost, InPlace
from policy_engine.errors import BuiltinError
from policy_engine.values import Set, Value, int_text, sort, sorted_items


def concat(ctx: Context, delimiter: Value, collection: Value) -> str:
    string(delimiter, "concat", 1)
    if collection.__class__ is not list and collection.__class__ is not Set:
        wrong("concat", 2, collection, "set", "array")
    parts = strings(collection, "concat", 2)
    ascii_only = delimiter.isascii() and all(map(str.isascii, parts))
    charge_made(ctx, sum(map(len, parts)) + len(delimiter) * len(parts), ascii_only=ascii_only)
    return delimiter.join(parts)  # type: ignore[no-any-return]


def contains(ctx: Context, haystack: Value, needle: Value) -> bool:
    if haystack.__class__ is not str or needle.__class__ is not str:
        all_strings("contains", haystack, needle)
    charge_text(ctx, len(haystack))
    return needle in haystack


def startswith(text: Value, prefix: Value) -> bool:
    if text.__class__ is not str or prefix.__class__ is not str:
        all_strings("startswith", text, prefix)
    return text.startswith(prefix)  # type: ignore[no-any-return]


def endswith(text: Value, suffix: Value) -> bool:
    if text.__class__ is not str or suffix.__class__ is not str:
        all_strings("endswith", text, suffix)
    return text.endswith(suffix)  # type: ignore[no-any-return]


def any_prefix_match(ctx: Context, texts: Value, prefixes: Value) -> bool:
    """True if any of the texts starts with any of the prefixes."""
    name = "strings.any_prefix_match"
    return _any_prefix(ctx, _one_or_many(texts, name, 1), _one_or_many(prefixes, name, 2))


def any_suffix_match(ctx: Context, texts: Value, suffixes: Value) -> bool:
    """True if any of the texts ends with any of the suffixes."""
    name = "strings.any_suffix_match"
    candidates, wanted = _one_or_many(texts, name, 1), _one_or_many(suffixes, name, 2)
    return _any_prefix(ctx, [text[::-1] for text in candidates], [text[::-1] for text in wanted])


def _any_prefix(ctx: Context, texts: list[str], prefixes: list[str]) -> bool:
    ctx.charge(len(texts) + len(prefixes))
    # Sorted, the texts with a prefix stand together, beginning where the prefix would stand.
    ordered = sort(texts, ctx.charge)
    for prefix in prefixes:
        at = bisect.bisect_left(ordered, prefix)
        if at < len(ordered) and ordered[at].startswith(prefix):
            return True
    return False


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


def indexof(ctx: Context, haystack: Value, needle: Value) -> int:
    """The first position of the needle, -1 if there is none."""
    all_strings("indexof", haystack, needle)
    charge_text(ctx, len(haystack))
    if not needle:
        raise BuiltinError("indexof: empty search character")
    return haystack.find(needle)  # type: ignore[no-any-return]


def indexof_n(ctx: Context, haystack: Value, needle: Value) -> list[int]:
    """All positions of the needle, overlapping ones included."""
    all_strings("indexof_n", haystack, needle)
    if not needle:
        raise BuiltinError("indexof_n: empty search character")
    found, at = [], haystack.find(needle)
    while at >= 0:
        found.append(at)
        # Overlapping finds of a long needle are quadratic.
        ctx.charge(1)
        charge_text(ctx, len(needle))
        at = haystack.find(needle, at + 1)
    return found


def lower(ctx: Context, text: Value) -> str:
    return _mapped(ctx, _text(ctx, text, "lower"), gotext.lower)


def upper(ctx: Context, text: Value) -> str:
    return _mapped(ctx, _text(ctx, text, "upper"), gotext.upper)


def _mapped(ctx: Context, text: str, mapping: Callable[[str], str]) -> str:
    return mapping(text) if text.isascii() else "".join(map(mapping, _pieces(ctx, text)))


def _pieces(ctx: Context, text: str) -> Iterator[str]:
    """A text in pieces, between which the clock is looked at."""
    for start in range(0, len(text), _PIECE):
        if start:
            ctx.look_at_clock()
        yield text[start : start + _PIECE]


_PIECE: Final = 1 << 16


def replace(ctx: Context, text: Value, old: Value, new: Value) -> str:
    if text.__class__ is not str or old.__class__ is not str or new.__class__ is not str:
        all_strings("replace", text, old, new)
    if not old:
        return _replace_pairs(ctx, text, [(old, new)], "replace")
    length = len(text) + text.count(old) * max(len(new) - len(old), 0)
    charge_made(ctx, length, ascii_only=text.isascii() and new.isascii())
    return text.replace(old, new)  # type: ignore[no-any-return]


def replace_n(ctx: Context, patterns: Value, text: Value) -> str:
    """Replace in one pass; at each place the first pattern in Rego's order that fits."""
    pairs = sorted_items(object_(patterns, "strings.replace_n", 1), ctx.charge)
    string(text, "strings.replace_n", 2)
    for old, new in pairs:
        if old.__class__ is not str:
            operand_error("strings.replace_n", 1, "non-string key found in pattern object")
        if new.__class__ is not str:
            operand_error("strings.replace_n", 1, "non-string value found in pattern object")
    return _replace_pairs(ctx, text, pairs, "strings.replace_n")


def _replace_pairs(ctx: Context, text: str, pairs: list[tuple[str, str]], name: str) -> str:
    replacements = {to_bytes(old): to_bytes(new) for old, new in charged(ctx, pairs, _pair_steps)}
    filler = replacements.pop(b"", None)
    data = to_bytes(text)
    charge_text(ctx, len(data))
    pieces, end = [], 0
    for start, behind in _literals(ctx, [*replacements], data, name) if replacements else ():
        replacement = replacements[data[start:behind]]
        ctx.charge(1 + len(replacement) // 4)
        pieces += [data[end:start], replacement]
        end = behind
    pieces.append(data[end:])
    charge_made(ctx, len(data), ascii_only=True)
    if filler is None:
        return from_bytes(b"".join(pieces))
    steps = 8 + len(filler) // 4
    ctx.charge(steps)
    # An empty pattern matches at every byte boundary that no other pattern consumed: Go takes characters apart that
    # are not ASCII.
    tokens = chain.from_iterable(((piece,) if number % 2 else _octets(piece)) for number, piece in enumerate(pieces))
    filled = filler.join(charged(ctx, tokens, lambda _: steps))
    return from_bytes(filler + filled + filler if data else filler)


def _octets(piece: bytes) -> Iterator[bytes]:
    return (bytes((octet,)) for octet in piece)


def _pair_steps(pair: tuple[str, str]) -> int:
    return 4 + len(pair[0]) // 4 + len(pair[1]) // 16


def _literals(ctx: Context, texts: list[bytes], data: bytes, name: str) -> Iterator[tuple[int, int]]:
    """The places of the texts, from left to right, without overlaps. If several fit at a place, the first of them wins.

    RE2's alternation is linear in the data, however many texts there are. Very many are searched in groups, so that
    none takes long to compile; a group's place is that of its first text in it.
    """
    groups: list[list[bytes]] = [[]]
    size = 0
    for one in texts:
        size += len(one)
        if size > _GROUP:
            groups.append([])
            size = len(one)
        groups[-1].append(one)
    patterns = [_compiled_literals(ctx, group, name) for group in groups if group]
    at, nearest = 0, [search(ctx, pattern, data) for pattern in patterns]
    while True:
        for index, found in enumerate(nearest):
            if found is not None and found.start() < at:
                nearest[index] = search(ctx, patterns[index], data, at)
        best = min((found for found in nearest if found is not None), key=lambda found: found.start(), default=None)
        if best is None:
            return
        yield best.span()
        at = best.end()


def _compiled_literals(ctx: Context, texts: list[bytes], name: str) -> Pattern:
    import re2

    ctx.look_at_clock()
    try:
        return compile_pattern(b"|".join(map(re2.escape, texts)), latin=True, memory=_BYTES_FOR_LITERALS)
    except TooLargeError:
        raise BuiltinError(f"{name}: a pattern is too large") from None


_GROUP: Final = 1 << 16
_BYTES_FOR_LITERALS: Final = 64 << 20


def reverse(ctx: Context, text: Value) -> str:
    return _text(ctx, text, "strings.reverse")[::-1]


def split(ctx: Context, text: Value, delimiter: Value) -> list[str]:
    """The pieces between the delimiters; with an empty delimiter, the characters."""
    all_strings("split", text, delimiter)
    return _split(ctx, text, delimiter)


def _split(ctx: Context, text: str, delimiter: str) -> list[str]:
    pieces = text.count(delimiter) + 1 if delimiter else len(text)
    charge_made(ctx, len(text), ascii_only=text.isascii())
    ctx.charge(pieces if text.isascii() else 4 * pieces)
    if not delimiter:
        return list(text)
    parts: list[str] = []
    while len(found := text.split(delimiter, _PIECE)) > _PIECE:
        ctx.look_at_clock()
        text = found.pop()
        parts += found
    return parts + found if parts else found


def split_n(ctx: Context, text: Value, delimiter: Value, limit: Value) -> list[str]:
    """The first `limit` pieces, or the last ones if it is negative."""
    all_strings("strings.split_n", text, delimiter)
    size = integer(limit, "strings.split_n", 3)
    pieces = _split(ctx, text, delimiter)
    return pieces[:size] if size >= 0 else pieces[size:]


def count(ctx: Context, text: Value, part: Value) -> int:
    """The number of times that the part occurs, without overlaps."""
    all_strings("strings.count", text, part)
    charge_text(ctx, len(text))
    return text.count(part)  # type: ignore[no-any-return]


def substring(text: Value, offset: Value, length: Value) -> str:
    """`length` characters from `offset` on, all of them if the length is negative."""
    string(text, "substring", 1)
    start, size = integer(offset, "substring", 2), integer(length, "substring", 3)
    if start < 0:
        raise BuiltinError("substring: negative offset")
    cut: str = text[start:] if size < 0 else text[start : start + size]
    if cut.isascii() or (start == 0 and size >= len(to_bytes(text))):
        return cut
    return printable(cut)  # Go takes it apart into characters


def trim(ctx: Context, text: Value, characters: Value) -> str:
    _pair(ctx, "trim", text, characters)
    return _stripped(ctx, text, _cutset(characters), left=True, right=True)


def _stripped(ctx: Context, text: str, cutset: str, *, left: bool = False, right: bool = False) -> str:
    if len(cutset) <= _FEW:
        return text.strip(cutset) if left and right else text.lstrip(cutset) if left else text.rstrip(cutset)
    # Python would look through all of them for each character of the text.
    cut = set().union(*_pieces(ctx, cutset))
    start = _length_of_run(ctx, text, cut) if left else 0
    end = len(text) - (_length_of_run(ctx, text[start:][::-1], cut) if right else 0)
    return text[start:end]


def _length_of_run(ctx: Context, text: str, characters: set[str]) -> int:
    """The number of characters at the beginning of a text that are among these."""
    count = 0
    for piece in _pieces(ctx, text):
        for char in piece:
            if char not in characters:
                return count
            count += 1
    return count


_FEW: Final = 16


def _cutset(characters: str) -> str:
    """Go treats each byte of invalid UTF-8 as U+FFFD here, and U+FFFD as such a byte."""
    return characters + _NO_CHARACTERS if "\ufffd" in printable(characters) else characters


_NO_CHARACTERS: Final = "\ufffd" + "".join(map(chr, range(0xDC80, 0xDD00)))


def trim_left(ctx: Context, text: Value, characters: Value) -> str:
    _pair(ctx, "trim_left", text, characters)
    return _stripped(ctx, text, _cutset(characters), left=True)


def trim_right(ctx: Context, text: Value, characters: Value) -> str:
    _pair(ctx, "trim_right", text, characters)
    return _stripped(ctx, text, _cutset(characters), right=True)


def trim_prefix(ctx: Context, text: Value, prefix: Value) -> str:
    _pair(ctx, "trim_prefix", text, prefix)
    return text.removeprefix(prefix)  # type: ignore[no-any-return]


def trim_suffix(ctx: Context, text: Value, suffix: Value) -> str:
    _pair(ctx, "trim_suffix", text, suffix)
    return text.removesuffix(suffix)  # type: ignore[no-any-return]


def trim_space(ctx: Context, text: Value) -> str:
    return _text(ctx, text, "trim_space").strip(gotext.WHITE_SPACE)


def _text(ctx: Context, value: Value, name: str) -> str:
    """An operand that will be copied as a whole."""
    text = string(value, name, 1)
    charge_made(ctx, len(text), ascii_only=text.isascii())
    return text


def _pair(ctx: Context, name: str, text: Value, other: Value) -> None:
    """Two operands, the first of which will be copied as a whole."""
    all_strings(name, text, other)
    charge_text(ctx, len(other))
    charge_made(ctx, len(text), ascii_only=text.isascii())


_TEXT: Final = t.FunctionType((t.STRING,), t.STRING)
_TEXTS: Final = t.FunctionType((t.STRING, t.STRING), t.STRING)
_TEST: Final = t.FunctionType((t.STRING, t.STRING), t.BOOLEAN)
_COLLECTION: Final = t.union(t.array(t.STRING), t.set_(t.STRING))
_ONE_OR_MANY: Final = t.union(t.STRING, t.array(t.STRING), t.set_(t.STRING))
_ANY_MATCH: Final = t.FunctionType((_ONE_OR_MANY, _ONE_OR_MANY), t.BOOLEAN)
_PATTERNS: Final = t.object_(t.STRING, t.STRING)
_LENGTH: Final = "len({0}) < 256"
"""The longest text that is searched or copied in place, without charge."""
_ASCII: Final = f"{_LENGTH} and {{0}}.isascii()"

BUILTINS: Final = (
    Builtin("concat", t.FunctionType((t.STRING, _COLLECTION), t.STRING), concat, context=True),
    Builtin("contains", _TEST, contains, context=True, inline=InPlace("{1} in {0}", (str, str), _LENGTH)),
    Builtin("endswith", _TEST, endswith, cost=Cost.NOTHING, inline=InPlace("{0}.endswith({1})", (str, str))),
    Builtin("format_int", t.FunctionType((t.NUMBER, t.NUMBER), t.STRING), format_int),
    Builtin("indexof", t.FunctionType((t.STRING, t.STRING), t.NUMBER), indexof, context=True),
    Builtin("indexof_n", t.FunctionType((t.STRING, t.STRING), t.array(t.NUMBER)), indexof_n, context=True),
    Builtin("lower", _TEXT, lower, context=True, inline=InPlace("{0}.lower()", (str,), _ASCII)),
    Builtin(
        "replace",
        t.FunctionType((t.STRING, t.STRING, t.STRING), t.STRING),
        replace,
        context=True,
        inline=InPlace("{0}.replace({1}, {2})", (str, str, str), f"{_LENGTH} and 0 < len({{1}}) >= len({{2}})"),
    ),
    Builtin(
        "split",
        t.FunctionType((t.STRING, t.STRING), t.array(t.STRING)),
        split,
        context=True,
        inline=InPlace("{0}.split({1})", (str, str), f"{_LENGTH} and {{1}}"),
    ),
    Builtin("startswith", _TEST, startswith, cost=Cost.NOTHING, inline=InPlace("{0}.startswith({1})", (str, str))),
    Builtin("strings.any_prefix_match", _ANY_MATCH, any_prefix_match, context=True),
    Builtin("strings.any_suffix_match", _ANY_MATCH, any_suffix_match, context=True),
    Builtin("strings.count", t.FunctionType((t.STRING, t.STRING), t.NUMBER), count, context=True),
    Builtin("strings.replace_n", t.FunctionType((_PATTERNS, t.STRING), t.STRING), replace_n, context=True),
    Builtin("strings.reverse", _TEXT, reverse, context=True),
    Builtin(
        "strings.split_n", t.FunctionType((t.STRING, t.STRING, t.NUMBER), t.array(t.STRING)), split_n, context=True
    ),
    Builtin("substring", t.FunctionType((t.STRING, t.NUMBER, t.NUMBER), t.STRING), substring),
    Builtin("trim", _TEXTS, trim, context=True),
    Builtin("trim_left", _TEXTS, trim_left, context=True),
    Builtin(
        "trim_prefix", _TEXTS, trim_prefix, context=True, inline=InPlace("{0}.removeprefix({1})", (str, str), _LENGTH)
    ),
    Builtin("trim_right", _TEXTS, trim_right, context=True),
    Builtin("trim_space", _TEXT, trim_space, context=True, inline=InPlace(r"{0}.strip(' \t\n\v\f\r')", (str,), _ASCII)),
    Builtin(
        "trim_suffix", _TEXTS, trim_suffix, context=True, inline=InPlace("{0}.removesuffix({1})", (str, str), _LENGTH)
    ),
    Builtin("upper", _TEXT, upper, context=True, inline=InPlace("{0}.upper()", (str,), _ASCII)),
)
