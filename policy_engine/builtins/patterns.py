"""Patterns on RE2, which `regex`, `glob` and `strings` share: compiled within limits, searched within the deadline.

RE2 looks at each byte of a text once. A byte usually costs one look into a table, but it may cost as many steps as the
pattern's program has (a text that keeps `[ab]*a[ab]{500}c` guessing), and nothing can interrupt it.
"""

from __future__ import annotations

import time
from typing import Any, Final, NamedTuple

from policy_engine.builtins.table import Context
from policy_engine.errors import EVAL_CANCEL_ERROR, PolicyError

LONGEST: Final = 1 << 18
"""Bytes of a pattern. RE2 limits the compiled program, not the length of the pattern."""

BYTES: Final = 4 << 20
"""RE2's bound for a pattern's program and its states together."""

STEPS_TOO_LARGE: Final = 8192
"""Steps for finding out that a pattern goes beyond the bound."""

_GROUPS: Final = 8
"""Groups of a pattern whose places can be kept at no cost; with more of them every step takes longer."""

_MOST_WITH_GROUPS: Final = 1 << 17
"""The greatest `Pattern.size` of a pattern with more groups."""


class TooLargeError(ValueError):
    """A pattern that is too large for RE2's bounds."""


class Pattern(NamedTuple):
    """`size` is the most work that RE2 may have for one byte of a text."""

    regex: Any
    size: int

    @property
    def steps(self) -> int:
        """The price of compiling it."""
        return self.size // 32


def compile_pattern(text: bytes, *, groups: bool = False, latin: bool = False, memory: int = BYTES) -> Pattern:
    """Without `groups` there are none but those with names. Raises `TooLargeError`, and `re2.error`."""
    import re2

    if len(text) > LONGEST:
        raise TooLargeError
    options = re2.Options()
    options.log_errors = False
    options.max_mem = memory
    options.never_capture = not groups
    if latin:
        options.encoding = re2.Options.Encoding.LATIN1
    try:
        regex = re2.compile(text, options)
    except re2.error as error:
        if error.args[0].startswith(b"pattern too large"):
            raise TooLargeError from None
        raise
    size = regex.programsize * (1 + regex.groups // _GROUPS)
    if regex.groups > _GROUPS and size > _MOST_WITH_GROUPS:
        raise TooLargeError
    return Pattern(regex, size)


def search(ctx: Context, pattern: Pattern, data: bytes, at: int = 0) -> Any:
    """The first match at a place or behind it, as a match object of `re2`; None if there is none."""
    work = pattern.size * (len(data) - at)
    if work <= _SOON:
        return pattern.regex.search(data, at)
    if work > _LONG:
        look_ahead(ctx, pattern, data, at)
    found = pattern.regex.search(data, at)
    ctx.look_at_clock()
    return found


def look_ahead(ctx: Context, pattern: Pattern, data: bytes, at: int = 0) -> None:
    """Before a long text is searched: stop if that would take longer than there is time.

    RE2 goes the slow way through all of the text if it has to for a part. So each part is searched on its own first.
    """
    if ctx.seconds_left() is None or pattern.size * (len(data) - at) <= _LONG:
        return
    width = max(_PART // pattern.size, _NARROWEST)
    for start in range(at, len(data), width):
        part = data[start : start + width]
        began = time.thread_time()
        pattern.regex.search(part)
        took = time.thread_time() - began
        left = ctx.seconds_left() or 0.0
        if took > _SLOW * pattern.size * len(part) and took * (len(data) - at) / len(part) > left:
            raise PolicyError(EVAL_CANCEL_ERROR, "a search with a pattern cannot be done before the deadline")
        ctx.look_at_clock()


_SOON: Final = 1 << 13
_LONG: Final = 1 << 23
_PART: Final = 1 << 21
"""In bytes times size, which take up to ten nanoseconds."""

_NARROWEST: Final = 64
_SLOW: Final = 1e-9
"""Seconds for a byte and an instruction in a part that RE2 searches the slow way."""
