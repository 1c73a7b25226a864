"""Times as text, in Go's way: a layout shows how the reference time, Mon Jan 2 15:04:05 MST 2006, would look.

`render` follows Go's `time` package element by element; the other direction is in `parser`. Nothing here knows
of time zones by name: a moment brings its offset and abbreviation along.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

NAMED: Final = {
    "ANSIC": "Mon Jan _2 15:04:05 2006",
    "UnixDate": "Mon Jan _2 15:04:05 MST 2006",
    "RubyDate": "Mon Jan 02 15:04:05 -0700 2006",
    "RFC822": "02 Jan 06 15:04 MST",
    "RFC822Z": "02 Jan 06 15:04 -0700",
    "RFC850": "Monday, 02-Jan-06 15:04:05 MST",
    "RFC1123": "Mon, 02 Jan 2006 15:04:05 MST",
    "RFC1123Z": "Mon, 02 Jan 2006 15:04:05 -0700",
    "RFC3339": "2006-01-02T15:04:05Z07:00",
    "RFC3339Nano": "2006-01-02T15:04:05.999999999Z07:00",
}
"""Layouts that policies may give by name."""

MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

ELEMENT: Final = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|2006|06|01|1(?!5)|__2|002|_2(?!006)|02|2|15|03|3|04|4|05|5|PM|pm"
    r"|[-Z]07(?:0000|:00:00|00|:00)?|[.,](?:0+|9+)(?![0-9])"
)


class Moment(NamedTuple):
    """A point in time as a clock and a calendar somewhere show it. `weekday` counts from Monday, 0."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    nanosecond: int
    weekday: int
    day_of_year: int
    offset: int
    zone: str


def days_before(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a day of the Gregorian calendar in any year, before or after year 1.

    `month` may be any number: months beyond December belong to the years after.
    """
    years, month = divmod(month - 1, 12)
    year += years
    shifted = year - 1 if month < 2 else year  # years that begin in March end with the leap day
    era_days = 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400
    march_days = (153 * ((month - 2) % 12) + 2) // 5
    return era_days + march_days + day - 719_469


def is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def render(moment: Moment, layout: str) -> str:
    """The moment as the layout shows it; what is no element of a layout stands for itself."""
    known: dict[str, str] = {}

    def shown(found: re.Match[str]) -> str:
        element = found[0]
        text = known.get(element)
        if text is None:
            text = known[element] = _rendered(element, moment)
        return text

    return ELEMENT.sub(shown, layout)


def _rendered(element: str, moment: Moment) -> str:
    if element[0] in ".,":
        return _fraction(element, moment.nanosecond)
    if element[0] in "-Z":
        return _offset(element, moment.offset)
    if element == "MST":
        return moment.zone
    return _RENDERED[element](moment)


_RENDERED: Final[dict[str, Callable[[Moment], str]]] = {
    "2006": lambda t: f"{t.year:04d}",
    "06": lambda t: f"{t.year % 100:02d}",
    "January": lambda t: MONTHS[t.month - 1],
    "Jan": lambda t: MONTHS[t.month - 1][:3],
    "01": lambda t: f"{t.month:02d}",
    "1": lambda t: str(t.month),
    "Monday": lambda t: WEEKDAYS[t.weekday],
    "Mon": lambda t: WEEKDAYS[t.weekday][:3],
    "02": lambda t: f"{t.day:02d}",
    "_2": lambda t: f"{t.day:2d}",
    "2": lambda t: str(t.day),
    "002": lambda t: f"{t.day_of_year:03d}",
    "__2": lambda t: f"{t.day_of_year:3d}",
    "15": lambda t: f"{t.hour:02d}",
    "03": lambda t: f"{t.hour % 12 or 12:02d}",
    "3": lambda t: str(t.hour % 12 or 12),
    "04": lambda t: f"{t.minute:02d}",
    "4": lambda t: str(t.minute),
    "05": lambda t: f"{t.second:02d}",
    "5": lambda t: str(t.second),
    "PM": lambda t: "PM" if t.hour >= 12 else "AM",
    "pm": lambda t: "pm" if t.hour >= 12 else "am",
}


def _fraction(element: str, nanosecond: int) -> str:
    digits = f"{nanosecond:09d}"[: len(element) - 1]
    if element[1] == "9":
        digits = digits.rstrip("0")
    return element[0] + digits if digits else ""


def _offset(element: str, offset: int) -> str:
    """`Z` for none if the element allows it, else sign, hours, and minutes and seconds as the element has them."""
    if element[0] == "Z" and not offset:
        return "Z"
    # Go divides toward zero before it looks at the sign, so half a minute west is "+00".
    sign = "-" if offset <= -60 else "+"
    minutes, seconds = divmod(abs(offset), 60)
    colon = ":" if ":" in element else ""
    digits = len(element.replace(":", "")) - 1
    text = f"{sign}{minutes // 60:02d}"
    if digits > 2:
        text += f"{colon}{minutes % 60:02d}"
    return f"{text}{colon}{seconds:02d}" if digits > 4 else text
