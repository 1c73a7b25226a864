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
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from policy_engine import types as t
from policy_engine.builtins import gopattern, gotext
from policy_engine.builtins.octets import from_bytes, printable, to_bytes
from policy_engine.builtins.operands import all_strings, charge_made, charge_text, integer
from policy_engine.builtins.remembered import NS_PER_STEP, Remembered
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.values import Value, literal, type_name

Span = tuple[int, int]
Cut = Callable[[int, int], bytes]

_PATTERNS: Final = 128
"""Compiled patterns to keep: enough for a policy set, and patterns made from input must not fill the memory."""

_BYTES_PER_PATTERN: Final = 4 << 20
"""RE2's bound for a pattern's program and its states together."""

_LARGE_PATTERNS: Final = 8
_BYTES_PER_LARGE_PATTERN: Final = 16 << 20
_GROUPS_IN_LARGE_PATTERN: Final = 8
_STEPS_PER_LARGE_PATTERN: Final = 500_000
"""The same for what does not fit into that; the groups it may have, whose places are kept for each state; and what it
costs to compile one."""


def match(ctx: Context, pattern: Value, text: Value) -> bool:
    """Whether the pattern matches anywhere in the text."""
    return match_as("regex.match", ctx, pattern, text)


def match_as(name: str, ctx: Context, pattern: Value, text: Value) -> bool:
    """`match` under the name that errors shall begin with."""
    if pattern.__class__ is not str or text.__class__ is not str:
        all_strings(name, pattern, text)
    charge_text(ctx, len(text))
    regex, data = _compiled(ctx, pattern, name), gotext.utf8(text)
    found = regex.search(data)
    if found is None or text.isascii() or found.start() != found.end():
        return found is not None
    return next(_matches(ctx, regex, data, 1), None) is not None


def is_valid(ctx: Context, pattern: Value) -> bool:
    if pattern.__class__ is not str:
        type_name(pattern)
        return False
    charge_text(ctx, len(pattern))
    return _is_accepted(_KNOWN.get(ctx, pattern, _compile))


def is_pattern(text: str) -> bool:
    """Whether a text is a pattern, for those who will not ask again."""
    return _is_accepted(_compile(text))


def _is_accepted(compiled: Any) -> bool:
    # Go only reads it here, and has no such limit.
    return compiled.__class__ is not str or compiled.startswith(_GO_TEXTS[_TOO_LARGE])


def find_n(ctx: Context, pattern: Value, text: Value, limit: Value) -> list[str]:
    """The first `limit` matches, all of them if it is negative."""
    all_strings("regex.find_n", pattern, text)
    size = integer(limit, "regex.find_n", 3)
    regex, data = _compiled(ctx, pattern, "regex.find_n"), gotext.utf8(text)
    cut = _cutter(text, data)
    return [from_bytes(cut(*span)) for span, *_ in _matches(ctx, regex, data, size)]


def find_all_string_submatch_n(ctx: Context, pattern: Value, text: Value, limit: Value) -> list[list[str]]:
    """The first `limit` matches, each with its groups; a group that took no part is empty."""
    name = "regex.find_all_string_submatch_n"
    all_strings(name, pattern, text)
    size = integer(limit, name, 3)
    regex, data = _compiled(ctx, pattern, name), gotext.utf8(text)
    cut = _cutter(text, data)
    return [[from_bytes(cut(*span)) for span in spans] for spans in _matches(ctx, regex, data, size)]


def replace(ctx: Context, text: Value, pattern: Value, replacement: Value) -> str:
    """Replace every match by the template: `$1`, `$name` and `${name}` are groups, `$$` is a dollar sign."""
    all_strings("regex.replace", text, pattern, replacement)
    regex, data = _compiled(ctx, pattern, "regex.replace"), gotext.utf8(text)
    cut = _cutter(text, data)
    template = _parse_template(replacement)
    groups = _named_groups(pattern) if any(name for _, name in template) else {}
    pieces, end = [], 0
    for spans in _matches(ctx, regex, data, -1):
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
    regex, data = _compiled(ctx, pattern, "regex.split"), gotext.utf8(text)
    if pattern and not data:
        return [""]
    cut = _cutter(text, data)
    pieces, start, end = [], 0, 0
    for (at, behind), *_ in _matches(ctx, regex, data, -1):
        end = at
        # An empty match at the very start separates nothing.
        if behind:
            pieces.append(from_bytes(cut(start, at)))
        start = behind
    if end != len(data):
        pieces.append(from_bytes(cut(start, len(data))))
    return pieces


def template_match(ctx: Context, pattern: Value, text: Value, start: Value, end: Value) -> bool:
    """Whether the whole text matches a template: literal text with regular expressions between delimiters."""
    name = "regex.template_match"
    all_strings(name, pattern, text, start, end)
    size = len(to_bytes(start))
    if size != 1:
        raise BuiltinError(f"{name}: start delimiter has to be exactly one character long but is {size} long")
    if len(to_bytes(end)) != 1:
        # OPA's text names the length of the other delimiter.
        raise BuiltinError(f"{name}: end delimiter has to be exactly one character long but is {size} long")
    charge_text(ctx, len(pattern) + len(text))
    return _compiled(ctx, _template_pattern(ctx, pattern, start, end), name).search(gotext.utf8(text)) is not None


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
        raise BuiltinError(f"{name}: unbalanced braces in {literal(template)}")
    pattern, literal_from = ["^"], 0
    for begin, end_ in expressions:
        expression = template[begin + 1 : end_]
        pattern.append(f"{quote_meta(template[literal_from:begin])}({expression})")
        literal_from = end_ + 1
        _compiled(ctx, f"^{expression}$", name)
    return "".join((*pattern, quote_meta(template[literal_from:]), "$"))


def quote_meta(text: str) -> str:
    """The pattern that matches exactly this text."""
    return "".join(f"\\{char}" if char in _META else char for char in text)


_META: Final = frozenset("\\.+*?()|[]{}^$")


def _compiled(ctx: Context, pattern: str, name: str) -> Any:
    compiled = _KNOWN.get(ctx, pattern, _compile)
    if compiled.__class__ is str and compiled.startswith(_GO_TEXTS[_TOO_LARGE]):
        compiled = _compile_large(ctx, pattern)
    if compiled.__class__ is str:
        raise BuiltinError(f"{name}: error parsing regexp: {compiled}")
    return compiled


def compile_literals(texts: Iterable[bytes], name: str) -> Any:
    """A pattern that matches any of the texts, the first one that fits."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _BYTES_FOR_LITERALS
    options.encoding = re2.Options.Encoding.LATIN1  # a byte for a byte, whether they are characters or not
    try:
        return re2.compile(b"|".join(map(re2.escape, texts)), options)
    except re2.error:
        raise BuiltinError(f"{name}: the patterns are too large together") from None


_BYTES_FOR_LITERALS: Final = 64 << 20


def _compile(pattern: str) -> Any:
    """A compiled pattern, or Go's text for what is wrong with it, which costs as much and is kept as well."""

    if (broken := _no_text(pattern)) is not None:
        return f"invalid UTF-8: `{printable(pattern[broken.start() :])}`"
    return _compile_within(pattern, _BYTES_PER_PATTERN)


_KNOWN: Final[Remembered[str, Any]] = Remembered(_PATTERNS)


def _compile_large(ctx: Context, pattern: str) -> Any:
    """A pattern with many large classes in it, such as `\\pL{1,255}`. It can take half a second."""
    kept = _large(pattern)
    if not kept:
        ctx.charge(_STEPS_PER_LARGE_PATTERN)
        compiled = _compile_within(pattern, _BYTES_PER_LARGE_PATTERN)
        if compiled.__class__ is not str and compiled.groups > _GROUPS_IN_LARGE_PATTERN:
            compiled = _go_error(_TOO_LARGE, "", pattern)
        kept.append(compiled)
    return kept[0]


@functools.lru_cache(maxsize=_LARGE_PATTERNS)
def _large(pattern: str) -> list[Any]:
    """Where a pattern that is too large for `_compile` is kept, once it is compiled."""
    return []


def _compile_within(pattern: str, size: int) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = size
    text, before = gopattern.in_re2s_words(pattern)
    try:
        compiled = re2.compile(gotext.utf8(text), options)
    except re2.error as error:
        what, _, where = error.args[0].decode("utf-8", "replace").partition(": ")
        for now, then in before.items():
            where = where.replace(now, then)
        return _go_error(what, where, pattern)
    return gopattern.refused(pattern) or compiled


_TOO_LARGE: Final = "pattern too large - compile failed"
_GO_TEXTS: Final = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    _TOO_LARGE: "expression too large",
}
"""RE2's words for an error, and Go's; where there is no row they are the same."""


def _go_error(what: str, where: str, pattern: str) -> str:
    if what == "invalid perl operator" and where.startswith("(?<"):
        # Go takes every `(?<` for the beginning of a name.
        rest = pattern[pattern.index(where) :]
        what, where = "invalid named capture group", rest[: rest.find(">") + 1] or rest
    return f"{_GO_TEXTS.get(what, what)}: `{where or (pattern if what == _TOO_LARGE else '')}`"


def _matches(ctx: Context, regex: Any, data: bytes, limit: int) -> Iterator[Sequence[Span]]:
    """The spans (match, then groups) of at most `limit` matches (negative: all), as Go's `FindAll` finds them.

    An empty match right behind a match does not count. A step that takes long is charged for that: a pattern may have
    to look at all of the rest to find a match of one byte.
    """
    at, previous_end = 0, -1
    while limit and at <= len(data):
        started = time.perf_counter_ns()
        found = regex.search(data, at)
        took = time.perf_counter_ns() - started
        if took > _USUAL_NS:
            ctx.charge(took // NS_PER_STEP)
        if found is None:
            return
        ctx.charge(1 + regex.groups)
        if found.start() < len(data) and data[found.start()] & 0xC0 == 0x80:
            at = found.start() + _width(data, found.start())  # `\B` inside of a character
            continue
        spans = [found.span(group) for group in range(regex.groups + 1)]
        start, end = spans[0]
        if end > at:
            at, accepted = end, True
        else:
            at, accepted = at + _width(data, at), start != previous_end
        previous_end = end
        if accepted:
            limit -= 1
            yield spans


_USUAL_NS: Final = 50_000
"""A search that is longer is charged for the time."""


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
    """What cuts the text between two places in `data`; nothing between those of a group that took no part."""
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


def _parse_template(template: str) -> list[tuple[bytes | None, str]]:
    """A replacement in parts: bytes to insert, or None and a group's name. A `$` that starts no name is itself."""
    parts: list[tuple[bytes | None, str]] = []
    end = 0
    for found in _REFERENCE.finditer(template):
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
        t.Function((t.STRING, t.STRING, t.NUMBER), t.array(_TEXTS)),
        find_all_string_submatch_n,
        context=True,
    ),
    Builtin("regex.find_n", t.Function((t.STRING, t.STRING, t.NUMBER), _TEXTS), find_n, context=True),
    Builtin("regex.is_valid", t.Function((t.STRING,), t.BOOLEAN), is_valid, context=True),
    Builtin("regex.match", t.Function((t.STRING, t.STRING), t.BOOLEAN), match, context=True),
    Builtin("regex.replace", t.Function((t.STRING, t.STRING, t.STRING), t.STRING), replace, context=True),
    Builtin("regex.split", t.Function((t.STRING, t.STRING), _TEXTS), split, context=True),
    Builtin("regex.template_match", t.Function((t.STRING,) * 4, t.BOOLEAN), template_match, context=True),
)
