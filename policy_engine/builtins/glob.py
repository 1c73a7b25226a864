"""Glob patterns: `glob.match` and `glob.quote_meta`.

The syntax is that of github.com/gobwas/glob, its leniency included: an open `{` ends with the pattern, a backslash at
the end is dropped, two ends around one wildcard may overlap. A pattern becomes a regular expression for RE2, so
matching is linear in the text, and means what its description says where the original's rearranging of alternatives
loses a match or finds one too many.

    *      any characters but delimiters      [abc]  one of them; [!abc] none of them
    **     any characters                     [a-c]  one between them; [!a-c] none between them
    ?      one character but a delimiter      {a,b*} either pattern
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NoReturn

from policy_engine import types as t
from policy_engine.builtins import gotext
from policy_engine.builtins.operands import charge_text, charged, string, wrong, wrong_element
from policy_engine.builtins.patterns import LONGEST, Pattern, TooLargeError, compile_pattern, search
from policy_engine.builtins.remembered import Remembered
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.values import Value

_GLOBS: Final = 128
"""Compiled patterns to keep."""


_MAX_OVERLAP: Final = 100
"""Characters that both ends of a pattern may share; a bound for the size of its regular expression."""


def match(ctx: Context, pattern: Value, delimiters: Value, text: Value) -> bool:
    """True if the whole text matches. Delimiters: null for none; an empty array means `.`."""
    string(pattern, "glob.match", 1)
    separators = _delimiters(ctx, delimiters)
    string(text, "glob.match", 3)
    charge_text(ctx, len(text))
    if len(pattern) > _SHORT:
        ctx.charge(len(pattern) // 4)
    return search(ctx, _KNOWN.get(ctx, (pattern, separators), _compile), gotext.utf8(text)) is not None


def fits(pattern: str, text: str) -> bool:
    """True if a text matches a pattern without delimiters. It is for use outside of decisions, and charges nothing."""
    compiled, _ = _compile((pattern, ""))
    return compiled.regex.search(gotext.utf8(text)) is not None


def _delimiters(ctx: Context, value: Value) -> str:
    if value is None:
        return ""
    if value.__class__ is not list:
        wrong("glob.match", 2, value, "array", "null")
    for item in charged(ctx, value) if len(value) > _FEW else value:
        if item.__class__ is not str:
            wrong_element("glob.match", 2, value, item, "string")
        if len(item) != 1:
            wrong_element("glob.match", 2, value, item, "rune")
    return "".join(value) or "."


def quote_meta(text: Value) -> str:
    """The pattern that matches exactly this text."""
    quoted = string(text, "glob.quote_meta", 1)
    for char in _SPECIAL:
        quoted = quoted.replace(char, f"\\{char}")
    return quoted


_SPECIAL: Final = "\\*?[]{}"
"""The backslash comes first: those that are put before the others are not doubled."""


def _compile(glob: tuple[str, str]) -> tuple[Pattern, int]:
    pattern, separators = glob
    if len(pattern) > _LONGEST:
        _too_large()
    try:
        compiled = compile_pattern(gotext.utf8(_to_regex(pattern, separators)))
    except TooLargeError:
        _too_large()
    return compiled, _STEPS + compiled.steps


def _too_large() -> NoReturn:
    raise BuiltinError("glob.match: pattern is too large, make it shorter") from None


_KNOWN: Final[Remembered[tuple[str, str], Pattern]] = Remembered(_GLOBS)

_STEPS: Final = 4
_SHORT: Final = 64
_FEW: Final = 16
_LONGEST: Final = 100_000
_DEEPEST: Final = 1000
"""Characters and open braces of a pattern. RE2 takes few more."""


def _to_regex(pattern: str, separators: str) -> str:
    # For the original, a NUL is the end of the pattern.
    source = _Source(pattern.partition("\0")[0])
    one = f"[^{''.join(map(_literal, separators))}]" if separators else "."
    if (pattern.count("*") + pattern.count("?")) * len(one) > LONGEST:
        _too_large()
    group, outer = _Group(), list[_Group]()
    for char in source:
        if char == "*":
            anything = source.take("*") or not separators
            group.wildcard(".*" if anything else f"{one}*", anything=anything)
        elif char == "?":
            group.wildcard(one)
        elif char == "[":
            group.wildcard(_character_class(source))
        elif char == "{":
            if len(outer) == _DEEPEST:
                _too_large()
            outer.append(group)
            group = _Group()
        elif char == "," and outer:
            group.next()
        elif char == "}" and outer:
            inner, group = group, outer.pop()
            group.wildcard(inner.regex())
        else:
            group.text(source.next() if char == "\\" else char)
    while outer:
        inner, group = group, outer.pop()
        group.wildcard(inner.regex())
    return rf"(?s)\A{group.regex()}\z"


class _Group:
    """Alternatives, as they are read: those that are complete, and the parts of the one that is not."""

    def __init__(self) -> None:
        self._complete: list[str] = []
        self._parts: list[str] = []
        self._kinds = ""  # one letter for each part: text, anything, or another wildcard
        self._texts: list[str] = []

    def text(self, char: str) -> None:
        if self._kinds[-1:] != "t":
            self._kinds += "t"
            self._parts.append("")
            self._texts.append("")
        self._parts[-1] += _literal(char)
        self._texts[-1] += char

    def wildcard(self, regex: str, *, anything: bool = False) -> None:
        if not (anything and self._kinds[-1:] == "a"):
            self._kinds += "a" if anything else "w"
            self._parts.append(regex)

    def next(self) -> None:
        """The alternative is complete."""
        self._complete.append("".join(self._parts))
        if self._kinds == "tat":
            # Of these, the original only looks at both ends, and they may overlap: `a/**/b` matches `a/b`.
            self._complete += ("".join(map(_literal, text)) for text in _overlaps(*self._texts))
        self._parts, self._kinds, self._texts = [], "", []

    def regex(self) -> str:
        self.next()
        return f"(?:{'|'.join(self._complete)})"


def _overlaps(prefix: str, suffix: str) -> Iterator[str]:
    """Every text that starts with the one and ends with the other but has no room for both."""
    for shared in range(1, min(len(prefix), len(suffix), _MAX_OVERLAP) + 1):
        if prefix.endswith(suffix[:shared]):
            yield prefix + suffix[shared:]


class _Source(Iterator[str]):
    """The characters of a pattern, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def __next__(self) -> str:
        char = self.next()
        if not char:
            raise StopIteration
        return char

    def next(self) -> str:
        """The next character, "" at the end."""
        char = self.peek()
        if char == "\ufffd" or "\ud800" <= char <= "\udfff":
            # Go's decoder gives U+FFFD for invalid UTF-8, and the original cannot tell it from the character itself.
            raise BuiltinError("glob.match: could not read rune")
        self._at += 1
        return char

    def peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def take(self, char: str) -> bool:
        """Step over this character if it comes next."""
        taken = self.peek() == char
        self._at += taken
        return taken


def _character_class(source: _Source) -> str:
    """Read the class behind `[`: a list of characters or one range, up to `]`."""
    negated = "^" if source.take("!") else ""
    first = _needed(source)
    if source.peek() == "-":
        source.next()
        last = _needed(source)
        if _needed(source) != "]":
            raise BuiltinError("glob.match: expected close range character")
        if last < first:
            raise BuiltinError(f"glob.match: hi character '{last}' should be greater than lo '{first}'")
        return f"[{negated}{_literal(first)}-{_literal(last)}]"
    listed = []
    char = first
    while char != "]":
        listed.append(_literal(_needed(source) if char == "\\" else char))
        char = _needed(source)
    if not listed:
        raise BuiltinError("glob.match: could not parse range")
    return f"[{negated}{''.join(listed)}]"


def _needed(source: _Source) -> str:
    char = source.next()
    if not char:
        raise BuiltinError("glob.match: unexpected end of input")
    return char


def _literal(char: str) -> str:
    """A character as RE2 writes it anywhere; nothing for the backslash at a pattern's end."""
    if not char or char.isalnum():
        return char
    return f"\\x{{{ord(char):x}}}"


BUILTINS: Final = (
    Builtin(
        "glob.match",
        t.FunctionType((t.STRING, t.union(t.NULL, t.array(t.STRING)), t.STRING), t.BOOLEAN),
        match,
        context=True,
    ),
    Builtin("glob.quote_meta", t.FunctionType((t.STRING,), t.STRING), quote_meta),
)
