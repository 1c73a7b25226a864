"""Runs of combining marks, for which the interpreter's normalization of Unicode takes quadratic time.

Normalizing brings the marks behind a letter into an order, by insertion, in one call of C that no other thread can
interrupt: 60,000 of them take seconds. No language has more than a few on one letter, and Unicode's own stream-safe
text format allows 30 (https://www.unicode.org/reports/tr15/#Stream_Safe_Text_Format). Ask this before normalizing text
of a client.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Final

LONGEST: Final = 30
"""Marks in a row that are normal."""

# All marks lie between these two; a test looks at all other characters.
_FIRST, _END = 0x300, 0x20000


def has_long_run(text: str) -> bool:
    """True if there are more than `LONGEST` marks in a row in a text."""
    if text.isascii():
        return False
    one, many = _patterns()
    # A long run has a mark at one of these places, and most texts have none.
    return one.search(text[:: LONGEST + 1]) is not None and many.search(text) is not None


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    marks = "[" + "".join(filter(is_mark, map(chr, range(_FIRST, _END)))) + "]"
    return re.compile(marks), re.compile(f"{marks}{{{LONGEST + 1}}}")


def is_mark(character: str) -> bool:
    """True if a character is, once decomposed, nothing but marks that are brought into an order."""
    if unicodedata.combining(character):
        return True
    parts = unicodedata.decomposition(character) and unicodedata.normalize("NFKD", character)
    return bool(parts) and all(map(unicodedata.combining, parts))
