"""`sprintf`: Go's format strings, with indexes, stars and error texts as Go writes them into the result.

`goformat` writes one value under a verb.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from typing import Final

from policy_engine import types as t
from policy_engine.builtins.goformat import Argument, Spec, format_value, type_name
from policy_engine.builtins.operands import NUMBERS, array, charge_made, charged, int64, string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.values import Value, foreign, is_nan, number_text, to_term

_LARGEST: Final = 1_000_000
"""Go gives up on widths, precisions and indexes beyond (give or take a digit)."""


def sprintf(ctx: Context, template: Value, values: Value) -> str:
    text = string(template, "sprintf", 1)
    if values.__class__ is list and (quick := _quick(text, values)) is not None:
        if len(quick) > _SHORT:
            charge_made(ctx, len(quick), ascii_only=quick.isascii())
        return quick
    return format_text(ctx, text, [_argument(ctx, value) for value in array(values, "sprintf", 2)])


def _quick(template: str, values: Sequence[Value]) -> str | None:
    """The text of a usual call: `%s`, `%d` and `%v` without flags, an argument for each, short strings and integers."""
    if len(template) > _SHORT or len(values) > _FEW:
        return None
    plain = _plain(template, tuple(map(type, values)))
    if plain is None:
        return None
    for value in values:
        if len(value) > _SHORT if value.__class__ is str else not -_INT64 <= value < _INT64:
            return None
    return plain % tuple(values)


@functools.lru_cache(maxsize=512)
def _plain(template: str, classes: tuple[type, ...]) -> str | None:
    """Python's template for the same text, where Go and Python agree on it; None elsewhere."""
    verbs = _VERB.findall(template)
    if len(verbs) != template.count("%") or len(verbs) != len(classes):
        return None
    if not all(
        (cls is str and verb != "d") or (cls is int and verb != "s") for verb, cls in zip(verbs, classes, strict=True)
    ):
        return None
    return template.replace("%d", "%s").replace("%v", "%s")


_VERB: Final = re.compile("%([sdv])")
_SHORT: Final = 4096
_FEW: Final = 64
_INT64: Final = 1 << 63


def format_text(ctx: Context, template: str, arguments: Sequence[Argument]) -> str:
    """Go's `fmt.Sprintf`."""
    return _Formatter(ctx, template, arguments).format()


def _argument(ctx: Context, value: Value) -> Argument:
    """The argument that OPA hands to Go: a number as int64, big.Int or float64, everything else as text."""
    if value.__class__ is str:
        return value
    if value.__class__ not in NUMBERS:
        return to_term(value, ctx.charge)
    if is_nan(value):
        foreign(value)
    whole = int64(value)
    if whole is not None:
        return whole
    if value.__class__ is int:
        return value
    text = number_text(value)
    # A number written with an exponent and no point stays what is written.
    number = float(text)
    return number if "." in text and math.isfinite(number) else text


class _Formatter:
    """One run over a format string. Reads from left to right; `_next` is the argument that comes next."""

    def __init__(self, ctx: Context, template: str, arguments: Sequence[Argument]) -> None:
        self._ctx = ctx
        self._template = template
        self._arguments = arguments
        self._at = 0
        self._next = 0
        self._reordered = False
        self._good_index = True
        self._pieces: list[str] = []

    def format(self) -> str:
        while True:
            percent = self._template.find("%", self._at)
            if percent < 0:
                break
            self._ctx.charge(_DIRECTIVE)
            self._pieces.append(self._template[self._at : percent])
            self._at = percent + 1
            self._directive()
        self._pieces.append(self._template[self._at :])
        if not self._reordered and self._next < len(self._arguments):
            more = self._arguments[self._next :]
            paid = charged(self._ctx, more, lambda argument: _DIRECTIVE + _expansion(argument, "v"))
            extra = ", ".join(map(_extra, paid))
            self._pieces.append(f"%!(EXTRA {extra})")
        return "".join(self._pieces)

    def _directive(self) -> None:
        """`%`, flags, width, precision, verb."""
        spec = Spec()
        self._good_index = True
        flags = _FLAG.match(self._template, self._at)
        assert flags is not None
        self._at = flags.end()
        for char in {*flags[0]}:
            setattr(spec, _FLAGS[char], True)
        after_index = self._index()
        after_index = self._width(spec, after_index)
        if self._peek() == "." and self._at + 1 < len(self._template):
            self._at += 1
            after_index = self._precision(spec, after_index)
        if not after_index:
            self._index()
        verb = self._peek()
        self._at += 1
        if not verb:
            self._pieces.append("%!(NOVERB)")
        elif verb == "%":
            self._pieces.append("%")
        elif not self._good_index:
            self._pieces.append(f"%!{verb}(BADINDEX)")
        elif self._next >= len(self._arguments):
            self._pieces.append(f"%!{verb}(MISSING)")
        else:
            if verb in ("v", "w"):
                spec.for_value()
            argument = self._arguments[self._next]
            length = _expansion(argument, verb) + max(spec.width or 0, spec.precision or 0)
            # Even short texts are charged: one template can repeat the directive a million times.
            plain = not isinstance(argument, str) or argument.isascii()
            self._ctx.charge(length // 4 if plain else length)
            self._pieces.append(format_value(spec, verb, argument))
            self._next += 1

    def _peek(self) -> str:
        return self._template[self._at : self._at + 1]

    def _width(self, spec: Spec, after_index: bool) -> bool:
        if self._peek() == "*":
            self._at += 1
            spec.width = self._star()
            if spec.width is None:
                self._pieces.append("%!(BADWIDTH)")
            elif spec.width < 0:
                spec.width, spec.minus = -spec.width, True
            return False
        spec.width = self._number()
        if after_index and spec.width is not None:
            self._good_index = False
        return after_index

    def _precision(self, spec: Spec, after_index: bool) -> bool:
        if after_index:
            self._good_index = False
        after_index = self._index()
        if self._peek() == "*":
            self._at += 1
            spec.precision = self._star()
            if spec.precision is None or spec.precision < 0:
                spec.precision = None
                self._pieces.append("%!(BADPREC)")
            return False
        spec.precision = self._number() or 0
        return after_index

    def _star(self) -> int | None:
        """The next argument as a width or precision; None if it cannot be one."""
        if self._next >= len(self._arguments):
            return None
        value = self._arguments[self._next]
        self._next += 1
        return value if value.__class__ is int and abs(value) <= _LARGEST else None

    def _number(self) -> int | None:
        """Digits in the template. Of too many, nothing comes but the end of the template."""
        found = _DIGITS.match(self._template, self._at)
        assert found is not None
        if not found[0]:
            return None
        if _too_large(found[0]):
            self._at = len(self._template)
            return None
        self._at = found.end()
        return int(found[0])

    def _index(self) -> bool:
        """`[3]`: take the third argument next. Returns whether something like that was there."""
        if self._peek() != "[":
            return False
        self._reordered = True
        close = self._template.find("]", self._at + 1)
        if close < 0 or len(self._template) - self._at < 3:
            self._good_index = False
            self._at += 1
            return False
        digits = self._template[self._at + 1 : close]
        self._at = close + 1
        if not _DIGITS.fullmatch(digits) or not digits or _too_large(digits):
            self._good_index = False
            return False
        index = int(digits) - 1
        if 0 <= index < len(self._arguments):
            self._next = index
        else:
            self._good_index = False
        return True


_DIRECTIVE: Final = 8
"""Steps for a directive."""


def _expansion(argument: Argument, verb: str) -> int:
    """The greatest length of an argument without its width. Digits of long integers also take long to make."""
    if isinstance(argument, str):
        return len(argument) * (64 if verb in "qxX" else 1)
    if isinstance(argument, list):
        return sum(_expansion(item, verb) + 8 for item in argument)
    if isinstance(argument, dict):
        return _expansion([*argument, *argument.values()], verb)
    return argument.bit_length() // 8 if isinstance(argument, int) else 0


def _extra(argument: Argument) -> str:
    return "<nil>" if argument is None else f"{type_name(argument)}={format_value(Spec(), 'v', argument)}"


_FLAGS: Final = {"#": "sharp", "0": "zero", "+": "plus", "-": "minus", " ": "space"}
_FLAG: Final = re.compile(r"[#0+ -]*")
_DIGITS: Final = re.compile(r"[0-9]*", re.ASCII)


def _too_large(digits: str) -> bool:
    # Go looks before it takes the next digit, so one more than fits may get through.
    return any(int(digits[:end]) > _LARGEST for end in range(1, min(len(digits), 16)))


BUILTINS: Final = (Builtin("sprintf", t.FunctionType((t.STRING, t.array(t.ANY)), t.STRING), sprintf, context=True),)
