"""Text as Go treats it where Python differs: simple case mapping, white space.

Mapping the case of bytes that are no text (see octets.py) makes U+FFFD of them, unless all of it is ASCII.
"""

from __future__ import annotations

import functools
from typing import Final

WHITE_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space; Python strips U+001C to U+001F besides."""


def upper(text: str) -> str:
    """Upper case, one character for one: `ß` stays, where Python's `str.upper` makes `SS` of it."""
    return text.upper() if text.isascii() else "".join(map(_upper, text))


def lower(text: str) -> str:
    """Lower case, one character for one: `İ` becomes `i`, and a final sigma is no special case."""
    return text.lower() if text.isascii() else "".join(map(_lower, text))


@functools.lru_cache(maxsize=4096)
def _upper(char: str) -> str:
    if "\ud800" <= char <= "\udfff":
        return "\ufffd"
    mapped = char.upper()
    if len(mapped) == 1:
        return mapped
    # If the full mapping is longer, the simple one is the title case, if that is one character: ᾳ -> ᾼ.
    title = char.title()
    return title if len(title) == 1 else char


@functools.lru_cache(maxsize=4096)
def _lower(char: str) -> str:
    return "\ufffd" if "\ud800" <= char <= "\udfff" else char.lower()[0]


def utf8(text: str) -> bytes:
    """The text's bytes. A lone surrogate, which Python takes from JSON and Go does not, becomes U+FFFD as in Go."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text).encode()
