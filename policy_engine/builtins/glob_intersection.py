"""`regex.globs_match`: whether two glob-style expressions have a text in common that is not empty.

An expression is a sequence of characters, `.` and `[a-z]`, each with an optional `+` or `*`; a backslash takes a
character as it is. (The name says regex; the syntax is that of github.com/yashtewari/glob-intersection.)

OPA's library does not search all ways to lay the expressions over each other, so that it answers "no" to some pairs
that have a text in common, such as `a*` and `a*[bc]*`. Its rules are followed here to the letter, but as a table over
pairs of positions instead of a recursion without bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn

from policy_engine import types as t
from policy_engine.builtins.operands import all_strings
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.values import Value

_NAME: Final = "regex.globs_match"


Ranges = tuple[tuple[int, int], ...]
"""Ranges of code points, sorted and not touching each other."""


class GlobToken(NamedTuple):
    """A set of characters and its repetition: `` for once, `+` or `*`."""

    ranges: Ranges
    flag: str = ""


_ANY: Final = ((0, 0x10FFFF),)

_TOKEN: Final = 8
"""Steps for a token: it is kept."""

_UNPAID: Final = 32
"""Tokens, and members of a set, that are read between two charges."""


def globs_match(ctx: Context, one: Value, other: Value) -> bool:
    all_strings(_NAME, one, other)
    known: dict[Ranges, Ranges] = {}
    first, second = (_simplified(_Parser(text, known).tokens(ctx)) for text in (one, other))
    overlaps = _Overlaps(ctx)
    trimmed = _trimmed(first, second, overlaps)
    return trimmed is not None and _Overlay(*trimmed, overlaps).matches(ctx)


class _Overlaps:
    """Tells whether two tokens share a character; each pair of different character sets is compared once."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._known: dict[tuple[int, int], bool] = {}

    def __call__(self, a: GlobToken, b: GlobToken) -> bool:
        pair = (id(a.ranges), id(b.ranges))  # equal ones are the same
        found = self._known.get(pair)
        if found is None:
            self._ctx.charge(1 + (len(a.ranges) + len(b.ranges)) // 8)
            found = self._known[pair] = _overlap(a.ranges, b.ranges)
        return found


def _overlap(a: Ranges, b: Ranges) -> bool:
    """True if two sorted lists of ranges meet. Each step moves forward in the list that is behind."""
    i = j = 0
    while i < len(a) and j < len(b):
        (first, last), (low, high) = a[i], b[j]
        if last < low:
            i += 1
        elif high < first:
            j += 1
        else:
            return True
    return False


def _simplified(tokens: list[GlobToken]) -> list[GlobToken]:
    """Neighbours that repeat the same characters become one."""
    simple: list[GlobToken] = []
    for token in tokens:
        last = simple[-1] if simple else None
        if last and last.flag and token.flag and last.ranges is token.ranges:
            simple[-1] = GlobToken(token.ranges, "+" if "+" in (last.flag, token.flag) else "*")
        else:
            simple.append(token)
    return simple


def _trimmed(
    first: list[GlobToken], second: list[GlobToken], overlap: Callable[[GlobToken, GlobToken], bool]
) -> tuple[list[GlobToken], list[GlobToken]] | None:
    """Both without their common plain tokens at the ends, of which one stays on each side; None if two differ."""
    start = 0
    while start < min(len(first), len(second)) and not first[start].flag and not second[start].flag:
        if not overlap(first[start], second[start]):
            return None
        start += 1
    start = max(start - 1, 0)
    ends = 0
    while min(len(first), len(second)) - ends > start and not first[-1 - ends].flag and not second[-1 - ends].flag:
        if not overlap(first[-1 - ends], second[-1 - ends]):
            return None
        ends += 1
    ends = max(ends - 1, 0)
    return first[start : len(first) - ends], second[start : len(second) - ends]


class _Overlay:
    """A table of the pairs of positions at which the rests of both expressions match, filled from the ends.

    If both rests begin with a repeated token, it matters whose is looked at first. So there is a table for either
    order: `rests[0][i][j]` for position i of the first and j of the second expression, `rests[1][j][i]` for the same
    two the other way round. `eaten[0][i][j]`: the repeated token i of the first may take tokens of the second from j
    on until the rests match.
    """

    def __init__(
        self, first: list[GlobToken], second: list[GlobToken], overlap: Callable[[GlobToken, GlobToken], bool]
    ) -> None:
        self.tokens = (first, second)
        self.overlap = overlap
        sizes = (len(first) + 1, len(second) + 1)
        self.rests = [[[False] * sizes[1 - side] for _ in range(sizes[side])] for side in (0, 1)]
        self.eaten = [[[False] * sizes[1 - side] for _ in range(sizes[side])] for side in (0, 1)]

    def matches(self, ctx: Context) -> bool:
        for i in range(len(self.tokens[0]), -1, -1):
            ctx.charge(len(self.tokens[1]) + 1)
            for j in range(len(self.tokens[1]), -1, -1):
                for side, own, other in ((0, i, j), (1, j, i)):
                    self.eaten[side][own][other] = self._eats(side, own, other)
                for side, own, other in ((0, i, j), (1, j, i)):
                    self.rests[side][own][other] = self._rest(side, own, other)
        return self.rests[0][0][0]

    def _rest(self, side: int, own: int, other: int) -> bool:
        mine, theirs = self.tokens[side], self.tokens[1 - side]
        if own == len(mine) or other == len(theirs):
            return own == len(mine) and other == len(theirs)
        if mine[own].flag:
            return self._repeated(side, own, other)
        if theirs[other].flag:
            return self._repeated(1 - side, other, own)
        return self.overlap(mine[own], theirs[other]) and self.rests[side][own + 1][other + 1]

    def _repeated(self, side: int, own: int, other: int) -> bool:
        token, theirs = self.tokens[side][own], self.tokens[1 - side][other]
        if token.flag == "*":
            return self.eaten[side][own][other]
        if not self.overlap(token, theirs):
            return False
        return self.eaten[side][own][other + 1] or (theirs.flag != "" and self.rests[side][own + 1][other])

    def _eats(self, side: int, own: int, other: int) -> bool:
        mine, theirs = self.tokens[side], self.tokens[1 - side]
        if own == len(mine):
            return False
        if other == len(theirs):
            return own + 1 == len(mine)
        follows = own + 1 < len(mine) and self.overlap(theirs[other], mine[own + 1])
        if follows and self.rests[side][own + 1][other]:
            return True
        return self.overlap(theirs[other], mine[own]) and self.eaten[side][own][other + 1]


class _Parser:
    """Reads an expression. Positions in errors count the characters read so far. `known` has each set just once."""

    def __init__(self, text: str, known: dict[Ranges, Ranges]) -> None:
        self._text = text
        self._known = known
        self._at = 0

    def tokens(self, ctx: Context) -> list[GlobToken]:
        found: list[GlobToken] = []
        while self._at < len(self._text):
            if len(found) % _UNPAID == 0:
                ctx.charge(_TOKEN * _UNPAID)
            char, escaped = self._next()
            ranges = ((ord(char), ord(char)),) if escaped else self._ranges(ctx, char)
            flag = ""
            if self._text[self._at : self._at + 1] in ("+", "*"):
                flag, _ = self._next()
            found.append(GlobToken(self._known.setdefault(ranges, ranges), flag))
        return found

    def _ranges(self, ctx: Context, char: str) -> Ranges:
        if char == ".":
            return _ANY
        if char == "[":
            return self._set(ctx)
        if char == "]":
            self._fail("set-close ']' with no preceding '['")
        if char in "+*":
            self._fail(f"flag '{char}' must be preceded by a non-flag")
        return ((ord(char), ord(char)),)

    def _set(self, ctx: Context) -> Ranges:
        found: list[tuple[int, int]] = []
        previous = ""
        while self._at < len(self._text):
            char, escaped = self._next()
            if len(found) % _UNPAID == 0:
                ctx.charge(_UNPAID)
            if char == "]" and not escaped:
                return _merged(found)
            if char == "-" and not escaped:
                found.append((ord(previous or "\0"), ord(self._range_end(previous))))
                previous = ""
            else:
                found.append((ord(char), ord(char)))
                previous = char
        self._fail("found [ without matching ]")

    def _range_end(self, first: str) -> str:
        if not first:
            self._fail("range character '-' must be preceded by a Unicode character")
        if self._at >= len(self._text) - 1:
            self._fail("range character '-' must be followed by a Unicode character")
        last, escaped = self._next()
        if last in "]-" and not escaped:
            self._fail("range character '-' cannot be followed by a special symbol")
        if last < first:
            self._fail(f"range is out of order: '{last}' comes before '{first}' in Unicode")
        return last

    def _next(self) -> tuple[str, bool]:
        """The next character, and whether a backslash stood before it."""
        char = self._text[self._at]
        if char != "\\":
            self._at += 1
            return char, False
        if self._at + 1 == len(self._text):
            self._fail("input ends with a \\ (escape) character")
        self._at += 2
        return self._text[self._at - 1], True

    def _fail(self, why: str) -> NoReturn:
        raise BuiltinError(
            f"{_NAME}: input:{self._text[:_SHOWN]}, pos:{self._at}, {why}: the input provided is invalid"
        )


_SHOWN: Final = 200


def _merged(ranges: list[tuple[int, int]]) -> Ranges:
    """The same code points in sorted ranges that do not touch, so that equal sets are equal tuples."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


BUILTINS: Final = (Builtin(_NAME, t.FunctionType((t.STRING, t.STRING), t.BOOLEAN), globs_match, context=True),)
