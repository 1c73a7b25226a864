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

_STEP: Final = 4
_WINDOW: Final = 64 * 1024
"""Characters that are searched at once."""

# All marks lie between these two; a test looks at all other characters.
_FIRST, _END = 0x300, 0x20000


def has_long_run(text: str) -> bool:
    """True if there are more than `LONGEST` marks in a row in a text."""
    if text.isascii():
        return False
    # One search holds the interpreter as long as it lasts: whoever searches beside an event loop lets go in between.
    return any(_has_long_run(text[at : at + _WINDOW + LONGEST]) for at in range(0, len(text), _WINDOW))


def _has_long_run(part: str) -> bool:
    one, several, many = _patterns()
    # A long run has a mark at one of these places, and most texts have none; few of the others have as many in a row
    # at every fourth place as a long run has. Only for the rest all places are looked at.
    return (
        one.search(part[:: LONGEST + 1]) is not None
        and several.search(part[::_STEP]) is not None
        and many.search(part) is not None
    )


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    marks = "[" + "".join(filter(is_mark, map(chr, range(_FIRST, _END)))) + "]"
    several = (LONGEST + 1) // _STEP
    return re.compile(marks), re.compile(f"{marks}{{{several}}}"), re.compile(f"{marks}{{{LONGEST + 1}}}")


def is_mark(character: str) -> bool:
    """True if a character is, once decomposed, nothing but marks that are brought into an order."""
    if unicodedata.combining(character):
        return True
    parts = unicodedata.decomposition(character) and unicodedata.normalize("NFKD", character)
    return bool(parts) and all(map(unicodedata.combining, parts))
