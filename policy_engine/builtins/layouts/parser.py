"""Text and the layout it should fit, to nanoseconds since 1970 in UTC: the other direction of `formatter`.

As in Go the reader is lenient in its own way: a fraction may follow the seconds unasked, words match in any case, and a
zone's abbreviation only has to look like one, as it says nothing about the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from policy_engine.builtins.layouts.formatter import ELEMENT, MONTHS, WEEKDAYS, days_before, is_leap
from policy_engine.builtins.octets import to_bytes
from policy_engine.builtins.operands import shown


class LayoutError(ValueError):
    """Text that does not fit a layout."""


def parse(layout: str, text: str) -> int:
    """Nanoseconds since 1970 in UTC, not limited to 64 bits. Raises `LayoutError`."""
    try:
        # Go looks at bytes. As Latin-1 every byte is a character, and what layouts are made of is ASCII.
        return _parse(to_bytes(layout).decode("latin-1"), to_bytes(text).decode("latin-1"))
    except LayoutError as error:
        raise LayoutError(f"{shown(text)} does not fit the layout {shown(layout)}: {error}") from None


def _parse(layout: str, rest: str) -> int:
    fields = _Fields()
    end = 0
    for found in ELEMENT.finditer(layout):
        rest = _skip(layout[end : found.start()], rest)
        end = found.end()
        try:
            rest = fields.take(found.group(), rest, layout[end:])
        except _Misfit:
            raise LayoutError(f"{shown(rest)} does not begin like {found.group()}") from None
    if rest := _skip(layout[end:], rest):
        raise LayoutError(f"{shown(rest)} is left over")
    return fields.nanoseconds()


class _Misfit(Exception):
    """The element does not begin like this."""


def _skip(prefix: str, rest: str) -> str:
    """The text behind a literal part of the layout. A space fits any number of spaces, and none at the end."""
    expected = prefix
    while expected:
        if expected[0] == " ":
            if rest and rest[0] != " ":
                break
            expected, rest = expected.lstrip(" "), rest.lstrip(" ")
        elif rest[:1] == expected[0]:
            expected, rest = expected[1:], rest[1:]
        else:
            break
    if expected:
        raise LayoutError(f"{shown(rest)} does not begin with {shown(prefix)}")
    return rest


class _Fields:
    """The values that the elements have given so far; None for those that no element has given."""

    def __init__(self) -> None:
        self.year = self.hour = self.minute = self.second = self.nanosecond = self.offset = 0
        self.weekday: int | None = None  # it is not compared with the date
        self.month: int | None = None
        self.day: int | None = None
        self.day_of_year: int | None = None
        self.half = ""

    def take(self, element: str, rest: str, following: str) -> str:
        """Read one element off the text. `following` is the layout behind it."""
        if element[0] in ".,":
            return self._fraction(element, rest)
        if element[0] in "-Z":
            return self._offset(element, rest)
        rest = _TAKE[element](self, rest)
        # A fraction that the layout does not ask for may follow the seconds.
        if element in ("5", "05") and rest[:1] in (".", ",") and rest and _is_digit(rest[1:2]):
            asked = ELEMENT.search(following)
            if not asked or asked.group()[0] not in ".,":
                rest = self._nanoseconds(rest, 1 + _digits(rest[1:]))
        return rest

    def nanoseconds(self) -> int:
        """The time. Raises `LayoutError` if there is no such day."""
        month, day = self._date()
        hour = self.hour
        if self.half == "pm" and hour < 12:
            hour += 12
        elif self.half == "am" and hour == 12:
            hour = 0
        seconds = days_before(self.year, month, day) * 86_400 + hour * 3600 + self.minute * 60 + self.second
        return (seconds - self.offset) * 1_000_000_000 + self.nanosecond

    def _date(self) -> tuple[int, int]:
        month = 1 if self.month is None else self.month
        day = 1 if self.day is None else self.day
        if self.day_of_year is not None:
            if not 1 <= self.day_of_year <= 365 + is_leap(self.year):
                raise LayoutError("day-of-year out of range")
            month = next(m for m in range(12, 0, -1) if self._days_before_month(m) < self.day_of_year)
            day = self.day_of_year - self._days_before_month(month)
            if self.month is not None and self.month != month:
                raise LayoutError("day-of-year does not match month")
            if self.day is not None and self.day != day:
                raise LayoutError("day-of-year does not match day")
        if not 1 <= day <= self._days_before_month(month + 1) - self._days_before_month(month):
            raise LayoutError("day out of range")
        return month, day

    def _days_before_month(self, month: int) -> int:
        return days_before(self.year, month, 1) - days_before(self.year, 1, 1)

    def take_year(self, rest: str) -> str:
        if len(rest) < 4 or not _is_digit(rest[0]):
            raise _Misfit
        self.year = _signed(rest[:4])
        return rest[4:]

    def take_short_year(self, rest: str) -> str:
        if len(rest) < 2:
            raise _Misfit
        year = _signed(rest[:2])
        self.year = year + (1900 if year >= 69 else 2000)
        return rest[2:]

    def take_padded_day(self, rest: str) -> str:
        self.day, rest = _number(rest.removeprefix(" "), fixed=False)
        return rest

    def take_day_of_year(self, rest: str, *, fixed: bool = True) -> str:
        count = min(_digits(rest), 3)
        if not count or (fixed and count != 3):
            raise _Misfit
        self.day_of_year = int(rest[:count])
        return rest[count:]

    def take_padded_day_of_year(self, rest: str) -> str:
        return self.take_day_of_year(rest.removeprefix(" ").removeprefix(" "), fixed=False)

    def take_zone(self, rest: str) -> str:
        """An abbreviation, which must look like one and is then forgotten."""
        return rest[_zone_length(rest) :]

    def _fraction(self, element: str, rest: str) -> str:
        if element[1] == "0":
            # As many digits as the layout has.
            if len(rest) < len(element):
                raise _Misfit
            return self._nanoseconds(rest, len(element))
        if rest[:1] not in (".", ",") or not rest or not _is_digit(rest[1:2]):
            return rest  # left out
        return self._nanoseconds(rest, 1 + _digits(rest[1:]))

    def _nanoseconds(self, rest: str, length: int) -> str:
        """A separator and digits, `length` in all; what is beyond nanoseconds is dropped."""
        if rest[0] not in ".,":
            raise _Misfit
        digits = rest[1 : min(length, 10)]
        value = _signed(digits)
        if value < 0:
            raise LayoutError("fractional second out of range")
        self.nanosecond = value * 10 ** (9 - len(digits))
        return rest[length:]

    def _offset(self, element: str, rest: str) -> str:
        if element[0] == "Z" and rest[:1] == "Z":
            self.offset = 0
            return rest[1:]
        length = len(element)
        found = rest[:length]
        if len(found) < length or any(found[i] != ":" for i, char in enumerate(element) if char == ":"):
            raise _Misfit
        parts = found[1:].replace(":", "") if ":" in element else found[1:]
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        if found[0] not in "+-" or any(_digits(pair) != 2 for pair in pairs):
            raise _Misfit
        hours, minutes, seconds = (*map(int, pairs), 0, 0)[:3]
        if seconds > 60 or minutes > 60 or hours > 24:
            raise LayoutError("time zone offset out of range")
        self.offset = (hours * 3600 + minutes * 60 + seconds) * (-1 if found[0] == "-" else 1)
        return rest[length:]


def _taker(field: str, *, fixed: bool, lowest: int = 0, highest: int = 99) -> Callable[[_Fields, str], str]:
    """A reader of numbers of one or two digits (`fixed`: exactly two) into a field."""

    def take(fields: _Fields, rest: str) -> str:
        value, rest = _number(rest, fixed=fixed)
        if not lowest <= value <= highest:
            raise LayoutError(f"{field} out of range")
        setattr(fields, field, value)
        return rest

    return take


def _named(field: str, names: Iterable[str]) -> Callable[[_Fields, str], str]:
    """A reader of one of these names, in any case. The field is set to the name's place, counted from 1."""

    def take(fields: _Fields, rest: str) -> str:
        for place, name in enumerate(names, 1):
            begin = rest[: len(name)]
            if begin.isascii() and begin.lower() == name.lower():
                setattr(fields, field, place)
                return rest[len(name) :]
        raise _Misfit

    return take


def _half(am: str, pm: str) -> Callable[[_Fields, str], str]:
    """A reader of the half of the day."""

    def take(fields: _Fields, rest: str) -> str:
        if rest[:2] not in (am, pm):
            raise _Misfit
        fields.half = rest[:2].lower()
        return rest[2:]

    return take


_TAKE: Final[dict[str, Callable[[_Fields, str], str]]] = {
    "2006": _Fields.take_year,
    "06": _Fields.take_short_year,
    "January": _named("month", MONTHS),
    "Jan": _named("month", [month[:3] for month in MONTHS]),
    "01": _taker("month", fixed=True, lowest=1, highest=12),
    "1": _taker("month", fixed=False, lowest=1, highest=12),
    "Monday": _named("weekday", WEEKDAYS),
    "Mon": _named("weekday", [day[:3] for day in WEEKDAYS]),
    "02": _taker("day", fixed=True),
    "_2": _Fields.take_padded_day,
    "2": _taker("day", fixed=False),
    "002": _Fields.take_day_of_year,
    "__2": _Fields.take_padded_day_of_year,
    "15": _taker("hour", fixed=False, highest=23),
    "03": _taker("hour", fixed=True, highest=12),
    "3": _taker("hour", fixed=False, highest=12),
    "04": _taker("minute", fixed=True, highest=59),
    "4": _taker("minute", fixed=False, highest=59),
    "05": _taker("second", fixed=True, highest=59),
    "5": _taker("second", fixed=False, highest=59),
    "PM": _half("AM", "PM"),
    "pm": _half("am", "pm"),
    "MST": _Fields.take_zone,
}


def _is_digit(char: str) -> bool:
    return "0" <= char <= "9"


def _digits(text: str) -> int:
    """The number of digits at the beginning of the text."""
    return len(text) - len(text.lstrip("0123456789"))


def _number(text: str, *, fixed: bool) -> tuple[int, str]:
    count = min(_digits(text), 2)
    if not count or (fixed and count != 2):
        raise _Misfit
    return int(text[:count]), text[count:]


def _signed(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits or _digits(digits) != len(digits):
        raise _Misfit
    return int(text)


def _zone_length(text: str) -> int:
    """The length of the time zone's abbreviation at the beginning of the text."""
    if text[:3] in ("UTC", "GMT"):
        return 3 + (_signed_hours(text[3:]) if text[:3] == "GMT" else 0)
    if len(text) >= 3:
        if text[:4] in ("ChST", "MeST"):
            return 4
        if text[0] in "+-":
            if length := _signed_hours(text):
                return length
            raise _Misfit
        capitals = 0
        while capitals < 6 and "A" <= text[capitals : capitals + 1] <= "Z":
            capitals += 1
        if (
            capitals == 3
            or (capitals == 4 and (text[3] == "T" or text[:4] == "WITA"))
            or (capitals == 5 and text[4] == "T")
        ):
            return capitals
    raise _Misfit


def _signed_hours(text: str) -> int:
    """The length of a sign and a number of hours up to 23 that the text begins with; 0 if it does not."""
    count = _digits(text[1:])
    return 1 + count if text[:1] in ("+", "-") and 0 < count < 19 and int(text[1 : 1 + count]) <= 23 else 0
