"""Text as Go treats it where Python differs: quoting, simple case mapping, white space."""

from __future__ import annotations

import functools
from typing import Final

WHITE_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space; Python strips U+001C to U+001F besides."""

_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\",
}  # fmt: skip


def quote(text: str, mark: str = '"', *, ascii_only: bool = False) -> str:
    """A string literal of Go (`strconv.Quote`): what is not printable becomes an escape."""
    if text.isascii() and text.isprintable() and mark not in text and "\\" not in text:
        return f"{mark}{text}{mark}"
    return mark + "".join(_escaped(char, mark, ascii_only) for char in text) + mark


def _escaped(char: str, mark: str, ascii_only: bool) -> str:
    if char == mark:
        return f"\\{char}"
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable() and (char.isascii() or not ascii_only):
        return char
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def upper(text: str) -> str:
    """Upper case, one character for one: `ß` stays, where Python's `str.upper` makes `SS` of it."""
    return text.upper() if text.isascii() else "".join(map(_upper, text))


def lower(text: str) -> str:
    """Lower case, one character for one: `İ` becomes `i`, and a final sigma is no special case."""
    return text.lower() if text.isascii() else "".join(map(_lower, text))


@functools.lru_cache(maxsize=4096)
def _upper(char: str) -> str:
    mapped = char.upper()
    if len(mapped) == 1:
        return mapped
    # Where the full mapping is longer, the simple one is the title case if that is one character: ᾳ -> ᾼ.
    title = char.title()
    return title if len(title) == 1 else char


@functools.lru_cache(maxsize=4096)
def _lower(char: str) -> str:
    return char.lower()[0]
