"""JSON as Go's `encoding/json` reads and writes it, because policies can see the difference.

Reading is strict, keeps number text, lets the last of duplicate keys win, puts U+FFFD for half a surrogate pair and
takes 10,000 levels of nesting. Writing sorts keys, keeps number text and escapes `<`, `>`, `&`, U+2028 and U+2029.
Neither recurses, so depth never meets Python's recursion limit.
"""

from __future__ import annotations

import json
import json.decoder
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from policy_engine.builtins.measured import making
from policy_engine.builtins.octets import SURROGATES
from policy_engine.builtins.table import Context
from policy_engine.values import (
    UNDEFINED,
    Charge,
    Set,
    Value,
    loads,
    number_text,
    parse_number,
    scan_exactly,
    scan_short,
    sorted_items,
    type_name,
)

MAX_DEPTH: Final = 10_000


class JSONError(ValueError):
    """Text that is not JSON; the message says where."""


_LOOK_CLOSER: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def read(text: str, ctx: Context | None = None) -> Value:
    """The value that the text is. Raises `JSONError`. With a context it is paid for, and the clock is looked at."""
    if ctx is not None and len(text) > _SHORT:
        _pay(ctx, text)
    value = quick(text) if ctx is None or len(text) <= _IN_ONE_PIECE else UNDEFINED
    if value is UNDEFINED:
        reader = _Reader(text, ctx)
        value = reader.document()
        reader.end()
    return value


def is_valid(text: str, ctx: Context | None = None) -> bool:
    """True if the text is exactly one JSON document."""
    if ctx is not None and len(text) > _SHORT:
        _pay(ctx, text)
    if (ctx is None or len(text) <= _IN_ONE_PIECE) and quick(text) is not UNDEFINED:
        return True
    reader = _Reader(text, ctx)
    try:
        reader.document()
        reader.end()
    except JSONError:
        return False
    return True


def _pay(ctx: Context, text: str) -> None:
    """Take reading a text from the budget before it is read: three characters can be an object of 60 bytes."""
    ctx.charge(len(text) // 4 + 8 * text.count("[") + 32 * text.count("{"))


_SHORT: Final = 256
_IN_ONE_PIECE: Final = 65_536
"""Characters that Python's parser is given at once. It cannot be interrupted."""


def quick(text: str) -> Value:
    """The value as Python's parser reads it; `UNDEFINED` where it is too lenient, cannot go as deep, or finds an error.

    `_Reader` reads what is only deep, and finds the place of an error.
    """
    # Most texts are too short to be too deep, and have no half of a surrogate pair since they have no such escape.
    usual = len(text) <= MAX_DEPTH and "\\u" not in text and text.isascii()
    if usual and len(text) <= 4000 and text[:1] == "{" and "-0" not in text:
        try:
            value, end = scan_short(text, 0)
        except (StopIteration, ValueError, RecursionError):
            return UNDEFINED
        if end == len(text):
            return value
    if not usual and _LOOK_CLOSER.search(text):
        return UNDEFINED
    try:
        value = loads(text)
    except (ValueError, RecursionError):
        return UNDEFINED
    return UNDEFINED if not usual and _is_too_deep(value, text) else value


def _is_too_deep(value: Value, text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for item in level if item.__class__ is dict or item.__class__ is list]
        if not level:
            return False
        level = [inner for item in level for inner in (item.values() if item.__class__ is dict else item)]
    return True


_scan_string: Final[Callable[[str, int], tuple[str, int]]] = json.decoder.scanstring  # type: ignore[attr-defined]
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LITERALS: Final[dict[str, tuple[str, Value]]] = {
    "t": ("true", True),
    "f": ("false", False),
    "n": ("null", None),
}


class _Reader:
    """A position in a text. The open containers are on a stack of its own, innermost last.

    Containers that end soon are left to Python's parser, which is ten times as fast.
    """

    def __init__(self, text: str, ctx: Context | None = None) -> None:
        self.text = text
        self.at = 0
        self._ctx = ctx
        self._values = 0
        self._plain = not _LOOK_CLOSER.search(text)

    def document(self) -> Value:
        """One value of any depth."""
        stack: list[Value] = []
        keys: list[str] = []
        while True:
            value, complete = self._value(len(stack))
            if not complete:
                stack.append(value)
                self.at += 1
                if self._peek() != ("]" if value.__class__ is list else "}"):
                    if value.__class__ is dict:
                        keys.append(self._key())
                    continue
                self.at += 1
                stack.pop()
            while stack:
                container = stack[-1]
                if container.__class__ is list:
                    container.append(value)
                    closed = self._next("]")
                else:
                    container[keys.pop()] = value
                    closed = self._next("}")
                    if not closed:
                        keys.append(self._key())
                if not closed:
                    break
                value = stack.pop()
            else:
                return value

    def _value(self, depth: int) -> tuple[Value, bool]:
        """The value that starts here; or, and False, an empty container for the bracket here, which is not skipped."""
        self._values += 1
        if self._ctx is not None and self._values % _UNWATCHED == 0:
            self._ctx.look_at_clock()
        value = self._scalar_or_open(depth)
        if value.__class__ is not list and value.__class__ is not dict:
            return value, True
        if not self._plain or depth + _WINDOW > MAX_DEPTH:
            return value, False
        window = self.text[self.at : self.at + _WINDOW]
        try:
            found, end = (scan_exactly if "-0" in window else scan_short)(window, 0)
        except (StopIteration, ValueError, RecursionError):
            return value, False
        self.at += end
        return found, True

    def end(self) -> None:
        """Only space may follow."""
        if self._peek():
            self._fail("more text follows")

    def _scalar_or_open(self, depth: int) -> Value:
        """The scalar that starts here, or an empty container for the bracket here."""
        char = self._peek()
        if char == "[" or char == "{":
            if depth >= MAX_DEPTH:
                self._fail(f"nested more than {MAX_DEPTH:,} levels deep")
            return [] if char == "[" else {}
        if char == '"':
            return self._string()
        if char in _LITERALS and char:
            word, value = _LITERALS[char]
            if not self.text.startswith(word, self.at):
                self._fail(f"expected {word}")
            self.at += len(word)
            return value
        if found := _NUMBER.match(self.text, self.at):
            self.at = found.end()
            return self._number(found[0])
        self._fail("expected a value")

    def _next(self, closing: str) -> bool:
        """Step over what follows an element; whether it closes the container."""
        char = self._peek()
        if char != closing and char != ",":
            self._fail(f"expected ',' or '{closing}'")
        self.at += 1
        return char == closing

    def _key(self) -> str:
        if self._peek() != '"':
            self._fail("expected a key in double quotes")
        key = self._string()
        if self._peek() != ":":
            self._fail("expected ':'")
        self.at += 1
        return key

    def _string(self) -> str:
        try:
            found, self.at = _scan_string(self.text, self.at + 1)
        except json.JSONDecodeError as error:
            self.at = error.pos
            self._fail("unterminated string" if error.msg.startswith("Unterminated") else "invalid string")
        return SURROGATES.sub("\ufffd", found)

    def _number(self, text: str) -> Value:
        try:
            return parse_number(text)
        except ValueError:
            self._fail("number too big")

    def _peek(self) -> str:
        """The next character that is no space; "" at the end."""
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
        return self.text[self.at : self.at + 1]

    def _fail(self, why: str) -> NoReturn:
        if self.at >= len(self.text):
            raise JSONError("invalid JSON: it ends too early")
        raise JSONError(f"invalid JSON at character {self.at + 1}: {why}")


_WINDOW: Final = 4096
"""Characters of a container that ends soon."""

_UNWATCHED: Final = 64
"""Values that are read between two looks at the clock."""

_ESCAPES: Final = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})
_ESCAPED_OUT: Final = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def quote(text: str) -> str:
    """A string as a JSON literal, safe inside HTML."""
    literal = json.dumps(text, ensure_ascii=False)
    if not _ESCAPED_OUT.search(literal):
        return literal
    if len(literal) < _SHORT:
        literal = literal.translate(_ESCAPES)
    else:
        for char, escape in _ESCAPES.items():
            literal = literal.replace(chr(char), escape)
    return SURROGATES.sub(r"\\ufffd", literal)


def write(
    value: Value,
    charge: Callable[[int], None],
    layout: tuple[str, str] | None = None,
    quote: Callable[[str], str] = quote,
) -> str:
    """JSON text. `charge` is told the work before it is done.

    `layout` is a prefix for every line but the first, and what one level of nesting is indented by. `quote` writes
    strings, in another way where the text is not to be safe inside HTML.
    """
    writer = _Writer(charge, layout, quote)
    writer.begin(value)
    while writer.open:
        writer.go_on()
    return "".join(writer.written)


@dataclass(slots=True)
class _Open:
    """A container that is being written: its remaining members, and its end."""

    members: Iterator[tuple[str | None, Value]]
    closing: str
    started: bool = False


class _Writer:
    """Text so far, and the containers that are open, innermost last."""

    def __init__(
        self, charge: Callable[[int], None], layout: tuple[str, str] | None, quote: Callable[[str], str]
    ) -> None:
        self.charge = charge
        self.quote = quote
        self.layout = layout
        self.colon = ": " if layout else ":"
        self.written: list[str] = []
        self.open: list[_Open] = []

    def begin(self, value: Value) -> None:
        """Write a scalar or an empty container, or open a container."""
        cls = value.__class__
        if cls is not dict and cls is not list and cls is not Set:
            if (work := making(value)) > 1:
                self.charge(work)
            self.written.append(self.quote(value) if cls is str else _scalar(value))
            return
        opening, closing = "{}" if cls is dict else "[]"
        self.written.append(opening)
        if not len(value):
            self.written.append(closing)
            return
        if cls is dict:
            self.charge(len(value))
            members = iter(_members(value, self.charge))
        else:
            members = _numbered(value if cls is list else value.sorted(self.charge), self.charge)
        self.open.append(_Open(members, closing))

    def go_on(self) -> None:
        """Write what is left of the innermost container, up to and with its end or the beginning of another in it."""
        container = self.open[-1]
        for key, item in container.members:
            if container.started:
                self.written.append(",")
            container.started = True
            self._new_line()
            if key is not None:
                self.written += (self.quote(key), self.colon)
            self.begin(item)
            if self.open[-1] is not container:
                return
        self.open.pop()
        self._new_line()
        self.written.append(container.closing)

    def _new_line(self) -> None:
        if self.layout:
            prefix, indent = self.layout
            self.charge((len(prefix) + len(indent) * len(self.open)) // 4)
            self.written.append(f"\n{prefix}{indent * len(self.open)}")


def _numbered(items: list[Value], charge: Charge) -> Iterator[tuple[None, Value]]:
    for start in range(0, len(items), _UNWATCHED):
        part = items[start : start + _UNWATCHED]
        charge(len(part))
        for item in part:
            yield None, item


def _members(obj: dict[Any, Value], charge: Callable[[int], None]) -> Iterable[tuple[str | None, Value]]:
    """Members by their JSON keys, sorted. Of keys that become the same text the last in Rego's order wins."""
    items = sorted_items(obj, charge)
    if all(key.__class__ is str for key in obj):
        return items
    return sorted_items({key if key.__class__ is str else write(key, charge): value for key, value in items}, charge)


def _scalar(value: Value) -> str:
    if value is None or value.__class__ is bool:
        return "null" if value is None else "true" if value else "false"
    type_name(value)
    return number_text(value)
