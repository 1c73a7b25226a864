"""Regular expressions, on RE2: linear in the text whatever the pattern, with the syntax and meaning of Go's `regexp`.

Patterns are compiled once and kept in a bounded cache. Everything runs on UTF-8 bytes, where offsets cost nothing. A
byte that is no UTF-8 matches as U+FFFD does, and is itself again in what is cut from the text (see octets.py).
`re2` is imported when the first pattern is compiled. Not here: `regex.globs_match`, which is no regular expression
but glob intersection (`glob_intersection`), and `glob`.
"""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from policy_engine import types as t
from policy_engine.builtins import gopattern, gotext
from policy_engine.builtins.octets import from_bytes, printable, to_bytes
from policy_engine.builtins.operands import all_strings, charge_made, charge_text, charged, integer, shown
from policy_engine.builtins.patterns import (
    LONGEST,
    STEPS_TOO_LARGE,
    Pattern,
    TooLargeError,
    compile_pattern,
    look_ahead,
    search,
)
from policy_engine.builtins.remembered import Remembered
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.values import Charge, Value, type_name

Span = tuple[int, int]
Cut = Callable[[int, int], bytes]

_PATTERNS: Final = 128
"""Compiled patterns to keep: enough for a policy set, and patterns made from input must not fill the memory."""

_BYTES_FOR_LARGE_PATTERN: Final = 8 << 20
"""For a pattern with many large classes in it, such as `\\pL{1,255}`."""

_CLASSES: Final = 1000
"""Unicode's classes that a pattern may name: each is a long table to begin with."""


def match(ctx: Context, pattern: Value, text: Value) -> bool:
    """True if the pattern matches anywhere in the text."""
    return match_as("regex.match", ctx, pattern, text)


def match_as(name: str, ctx: Context, pattern: Value, text: Value) -> bool:
    """`match` under the name that errors shall begin with."""
    if pattern.__class__ is not str or text.__class__ is not str:
        all_strings(name, pattern, text)
    charge_text(ctx, len(text))
    compiled, data = _compiled(ctx, pattern, name), gotext.utf8(text)
    found = search(ctx, compiled, data)
    if found is None or text.isascii() or found.start() != found.end():
        return found is not None
    return next(_matches(ctx, compiled, data, 1), None) is not None


def is_valid(ctx: Context, pattern: Value) -> bool:
    if pattern.__class__ is not str:
        type_name(pattern)
        return False
    if len(pattern) > LONGEST:
        raise BuiltinError(f"regex.is_valid: a pattern has at most {LONGEST} characters")
    # Go only reads it here, and has no limit for its size.
    found = _known(ctx, pattern)
    return found is _TOO_LARGE or found.__class__ is not str


def is_pattern(text: str, charge: Charge) -> bool:
    """True if a text is a pattern. The compiled pattern is not kept, because callers ask once."""
    found, steps = _compile((text, False))
    charge(len(text) // 4 + steps)
    return found is _TOO_LARGE or found.__class__ is not str


def find_n(ctx: Context, pattern: Value, text: Value, limit: Value) -> list[str]:
    """The first `limit` matches, all of them if it is negative."""
    all_strings("regex.find_n", pattern, text)
    size = integer(limit, "regex.find_n", 3)
    compiled, data = _compiled(ctx, pattern, "regex.find_n"), gotext.utf8(text)
    cut = _cutter(text, data)
    return [from_bytes(cut(*span)) for span, *_ in _matches(ctx, compiled, data, size)]


def find_all_string_submatch_n(ctx: Context, pattern: Value, text: Value, limit: Value) -> list[list[str]]:
    """The first `limit` matches, each with its groups; a group that took no part is empty."""
    name = "regex.find_all_string_submatch_n"
    all_strings(name, pattern, text)
    size = integer(limit, name, 3)
    compiled, data = _compiled(ctx, pattern, name, groups=True), gotext.utf8(text)
    cut = _cutter(text, data)
    return [[from_bytes(cut(*span)) for span in spans] for spans in _matches(ctx, compiled, data, size)]


def replace(ctx: Context, text: Value, pattern: Value, replacement: Value) -> str:
    """Replace every match by the template: `$1`, `$name` and `${name}` are groups, `$$` is a dollar sign."""
    all_strings("regex.replace", text, pattern, replacement)
    template = _parse_template(ctx, replacement)
    with_groups = any(name for _, name in template)
    compiled, data = _compiled(ctx, pattern, "regex.replace", groups=with_groups), gotext.utf8(text)
    cut = _cutter(text, data)
    groups = _named_groups(pattern) if with_groups else {}
    pieces, end = [], 0
    for spans in _matches(ctx, compiled, data, -1):
        pieces.append(cut(end, spans[0][0]))
        for literal_part, name in template:
            piece = _group(cut, spans, name, groups) if literal_part is None else literal_part
            charge_made(ctx, len(piece), ascii_only=True)
            pieces.append(piece)
        end = spans[0][1]
    charge_made(ctx, len(data), ascii_only=True)
    pieces.append(cut(end, len(data)))
    return from_bytes(b"".join(pieces))


def split(ctx: Context, pattern: Value, text: Value) -> list[str]:
    """The pieces between the matches."""
    all_strings("regex.split", pattern, text)
    compiled, data = _compiled(ctx, pattern, "regex.split"), gotext.utf8(text)
    if pattern and not data:
        return [""]
    cut = _cutter(text, data)
    pieces, start, end = [], 0, 0
    for (at, behind), *_ in _matches(ctx, compiled, data, -1):
        end = at
        # An empty match at the very start separates nothing.
        if behind:
            pieces.append(from_bytes(cut(start, at)))
        start = behind
    if end != len(data):
        pieces.append(from_bytes(cut(start, len(data))))
    return pieces


def template_match(ctx: Context, pattern: Value, text: Value, start: Value, end: Value) -> bool:
    """True if the whole text matches a template: literal text with regular expressions between delimiters."""
    name = "regex.template_match"
    all_strings(name, pattern, text, start, end)
    if len(to_bytes(start)) != 1 or len(to_bytes(end)) != 1:
        raise BuiltinError(f"{name}: each delimiter must be exactly one ASCII character")
    charge_text(ctx, len(pattern) + len(text))
    compiled = _compiled(ctx, _template_pattern(ctx, pattern, start, end), name)
    return search(ctx, compiled, gotext.utf8(text)) is not None


def _template_pattern(ctx: Context, template: str, start: str, end: str) -> str:
    """The regular expression a template stands for. Delimiters nest; each expression must also be one by itself."""
    name = "regex.template_match"
    expressions, level, begin = [], 0, 0
    for at, char in enumerate(template):
        if char == start:
            level += 1
            if level == 1:
                begin = at
        elif char == end:
            level -= 1
            if level < 0:
                break
            if level == 0:
                expressions.append((begin, at))
    if level:
        raise BuiltinError(f"{name}: unbalanced braces in {shown(template)}")
    pattern, literal_from = ["^"], 0
    for begin, end_ in charged(ctx, expressions):
        expression = template[begin + 1 : end_]
        pattern.append(f"{quote_meta(template[literal_from:begin])}({expression})")
        literal_from = end_ + 1
        _compiled(ctx, f"^{expression}$", name)
    return "".join((*pattern, quote_meta(template[literal_from:]), "$"))


def quote_meta(text: str) -> str:
    """The pattern that matches exactly this text."""
    return text.translate(_META)


_META: Final = str.maketrans({char: f"\\{char}" for char in "\\.+*?()|[]{}^$"})


def _compiled(ctx: Context, pattern: str, name: str, *, groups: bool = False) -> Pattern:
    found = _known(ctx, pattern, groups=groups)
    if isinstance(found, str):
        raise BuiltinError(f"{name}: not a regular expression: {found}")
    return found


def _known(ctx: Context, pattern: str, *, groups: bool = False) -> Pattern | str:
    """A compiled pattern, or what is wrong with it, which takes as long to find out and is kept as well."""
    if len(pattern) > _SHORT:
        ctx.charge(len(pattern) // 4)
    return _KNOWN.get(ctx, (pattern, groups), _compile)


_SHORT: Final = 64
_KNOWN: Final[Remembered[tuple[str, bool], Pattern | str]] = Remembered(_PATTERNS)


def _compile(asked: tuple[str, bool]) -> tuple[Pattern | str, int]:
    import re2

    pattern, groups = asked
    if (broken := _no_text(pattern)) is not None:
        return f"invalid UTF-8: {shown(printable(pattern[broken.start() :]))}", 0
    if len(pattern) > LONGEST or pattern.lower().count("\\p") > _CLASSES:
        return _TOO_LARGE, 0
    octets = gotext.utf8(gopattern.in_re2s_words(pattern))
    try:
        try:
            compiled = compile_pattern(octets, groups=groups)
        except TooLargeError:
            compiled = compile_pattern(octets, groups=groups, memory=_BYTES_FOR_LARGE_PATTERN)
    except TooLargeError:
        return _TOO_LARGE, STEPS_TOO_LARGE
    except re2.error as error:
        return error.args[0].decode("utf-8", "replace"), _STEPS
    return gopattern.refused(pattern) or compiled, _STEPS + compiled.steps


_STEPS: Final = 4
_TOO_LARGE: Final = "expression too large"


def _matches(ctx: Context, pattern: Pattern, data: bytes, limit: int) -> Iterator[Sequence[Span]]:
    """The spans (match, then groups) of at most `limit` matches (negative: all), as Go's `FindAll` finds them.

    An empty match right behind a match does not count.
    """
    look_ahead(ctx, pattern, data)
    regex, groups = pattern.regex, range(pattern.regex.groups + 1)
    at, previous_end = 0, -1
    while limit and at <= len(data):
        found = regex.search(data, at)
        # It may have looked at all of the rest to find a match of one byte.
        ctx.look_at_clock()
        if found is None:
            return
        ctx.charge(len(groups) + (len(data) - at) // _RESTS)
        if found.start() < len(data) and data[found.start()] & 0xC0 == 0x80:
            at = found.start() + _width(data, found.start())  # `\\B` inside of a character
            continue
        spans = [found.span(group) for group in groups]
        start, end = spans[0]
        if end > at:
            at, accepted = end, True
        else:
            at, accepted = at + _width(data, at), start != previous_end
        previous_end = end
        if accepted:
            limit -= 1
            yield spans


_RESTS: Final = 1 << 17
"""Bytes that are looked at in one step, if they are looked at again and again."""


def _width(data: bytes, at: int) -> int:
    """The bytes of the character that begins here."""
    end = at + 1
    while end < len(data) and data[end] & 0xC0 == 0x80:
        end += 1
    return end - at


def _no_text(text: str) -> re.Match[str] | None:
    """The first byte of a string that is no UTF-8."""
    return None if text.isascii() else _NO_TEXT.search(text)


_NO_TEXT: Final = re.compile("[\udc80-\udcff]")


def _cutter(text: str, data: bytes) -> Cut:
    """A function that cuts the text between two positions in `data`. A group that did not match has no text."""
    if _no_text(text) is None:
        return lambda start, end: data[start:end] if start >= 0 else b""
    octets, places, place = to_bytes(text), [], 0
    for part in _NO_TEXT.split(text)[:-1]:
        place += len(gotext.utf8(part))
        places.append(place)
        place += _REPLACED

    def octet(at: int) -> int:
        return at - (_REPLACED - 1) * bisect.bisect_left(places, at)

    return lambda start, end: octets[octet(start) : octet(end)] if start >= 0 else b""


_REPLACED: Final = len("\ufffd".encode())


def _parse_template(ctx: Context, template: str) -> list[tuple[bytes | None, str]]:
    """A replacement in parts: bytes to insert, or None and a group's name. A `$` that starts no name is itself."""
    parts: list[tuple[bytes | None, str]] = []
    end = 0
    for found in charged(ctx, _REFERENCE.finditer(template)):
        parts.append((to_bytes(template[end : found.start()]), ""))
        end = found.end()
        name = found["braced"] or found["name"]
        parts.append((None, name) if name else (b"$", ""))
    return [*parts, (to_bytes(template[end:]), "")]


_REFERENCE: Final = re.compile(r"\$(?:\$|\{(?P<braced>\w+)\}|(?P<name>\w+))")


def _group(cut: Cut, spans: Sequence[Span], name: str, groups: dict[str, list[int]]) -> bytes:
    """A group's text; of several with the name, of the first that took part. Nothing if there is none."""
    if name.isascii() and name.isdigit() and (name == "0" or name[0] != "0") and len(name) < 10:
        return cut(*spans[int(name)]) if int(name) < len(spans) else b""
    return next((cut(*spans[index]) for index in groups.get(name, ()) if spans[index][0] >= 0), b"")


@functools.lru_cache(maxsize=_PATTERNS)
def _named_groups(pattern: str) -> dict[str, list[int]]:
    """The numbers of a valid pattern's groups, by name: RE2 tells just one for each."""
    found: dict[str, list[int]] = {}
    groups = (part[1] for part in _GROUP_OR_OTHER.finditer(pattern) if part[0].startswith("("))
    for number, name in enumerate(groups, 1):
        found.setdefault(name, []).append(number)
    return found


_GROUP_OR_OTHER: Final = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^]\\])*\]|\((?:\?P?<(\w+)>|(?!\?))", re.DOTALL
)
"""A group that captures, or what may hold a parenthesis that is none."""


_TEXTS: Final = t.array(t.STRING)

BUILTINS: Final = (
    Builtin(
        "regex.find_all_string_submatch_n",
        t.FunctionType((t.STRING, t.STRING, t.NUMBER), t.array(_TEXTS)),
        find_all_string_submatch_n,
        context=True,
    ),
    Builtin("regex.find_n", t.FunctionType((t.STRING, t.STRING, t.NUMBER), _TEXTS), find_n, context=True),
    Builtin("regex.is_valid", t.FunctionType((t.STRING,), t.BOOLEAN), is_valid, context=True),
    Builtin("regex.match", t.FunctionType((t.STRING, t.STRING), t.BOOLEAN), match, context=True),
    Builtin("regex.replace", t.FunctionType((t.STRING, t.STRING, t.STRING), t.STRING), replace, context=True),
    Builtin("regex.split", t.FunctionType((t.STRING, t.STRING), _TEXTS), split, context=True),
    Builtin("regex.template_match", t.FunctionType((t.STRING,) * 4, t.BOOLEAN), template_match, context=True),
)
