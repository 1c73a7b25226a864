"""time.*: instants are integers, nanoseconds since 1970 in UTC, that fit in 64 bits.

An operand that names a time zone is read in the IANA database that is installed with this package, never the
machine's, so that a decision is the same everywhere. For the same reason "Local" is UTC.
"""

from __future__ import annotations

import functools
import re
import struct
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from policy_engine.builtins.arithmetic import Dyadic, is_whole, to_dyadic, truncate
from policy_engine.builtins.layouts import formatter
from policy_engine.builtins.layouts.durations import DurationError, parse_duration
from policy_engine.builtins.layouts.formatter import WEEKDAYS, Moment, days_before
from policy_engine.builtins.layouts.parser import LayoutError, parse
from policy_engine.builtins.operands import INT64_MAX, INT64_MIN, NUMBERS, integer, number, string, wrong
from policy_engine.builtins.table import Builtin, Context, Cost
from policy_engine.errors import BuiltinError
from policy_engine.types import NUMBER, STRING, ArrayType, FunctionType, union
from policy_engine.values import Value, exact

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)
_SECOND: Final = 1_000_000_000
_FARTHEST: Final = INT64_MAX // _SECOND + 86_400
_HALF: Final = Dyadic(1, -1)


def now_ns(ctx: Context) -> Value:
    return ctx.remember("time.now_ns", (), ctx.now_ns)


def parse_ns(layout: Value, operand: Value) -> Value:
    pattern = _short(layout, "time.parse_ns", 1)
    return _parsed(formatter.NAMED.get(pattern, pattern), _short(operand, "time.parse_ns", 2), "time.parse_ns")


def parse_rfc3339_ns(operand: Value) -> Value:
    # Overlong texts are rejected early: the character after the longest usual timestamp shows it.
    if operand.__class__ is str and (usual := _usual_rfc3339(operand)) is not None:
        return usual if INT64_MIN <= usual <= INT64_MAX else _in_range(usual, "time.parse_rfc3339_ns")
    text = _short(operand, "time.parse_rfc3339_ns", 1)
    return _parsed(formatter.NAMED["RFC3339"], text, "time.parse_rfc3339_ns")


def _usual_rfc3339(text: str) -> int | None:
    """Nanoseconds of a text that has just the usual form; None for others, which may be right or wrong."""
    match = _RFC3339(text)
    if match is None:
        return None
    try:
        since = datetime.fromisoformat(text[:19]) - _NAIVE_EPOCH
    except ValueError:
        return None
    seconds = since.days * 86_400 + since.seconds
    if match.lastindex is None:
        return seconds * _SECOND
    fraction, sign, hours, minutes = match.groups("")
    if sign:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds += offset if sign == "-" else -offset
    return seconds * _SECOND + int(fraction.ljust(9, "0"))


_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.([0-9]{1,9}))?(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
).fullmatch


def _short(operand: Value, name: str, position: int) -> str:
    """A text that may be a time. Its length is limited, because rejecting a very long one cannot be interrupted."""
    text = string(operand, name, position)
    if len(text) > _LONGEST:
        raise BuiltinError(f"{name}: operand {position} has more than {_LONGEST} characters")
    return text


_LONGEST: Final = 65_536


def _parsed(layout: str, text: str, name: str) -> int:
    try:
        return _in_range(parse(layout, text), name)
    except LayoutError as error:
        raise BuiltinError(f"{name}: {error}") from None


def _in_range(nanoseconds: int, name: str) -> int:
    if not INT64_MIN <= nanoseconds <= INT64_MAX:
        raise BuiltinError(f"{name}: time outside of valid range")
    return nanoseconds


def parse_duration_ns(operand: Value) -> Value:
    text = _short(operand, "time.parse_duration_ns", 1)
    try:
        return parse_duration(text)
    except DurationError as error:
        raise BuiltinError(f"time.parse_duration_ns: {error}") from None


def format_(operand: Value) -> Value:
    """RFC 3339 with nanoseconds, or as the layout in the operand says."""
    moment = _moment(operand, "time.format")
    layout = operand[2] if operand.__class__ is list and len(operand) > 2 else ""
    return formatter.render(moment, formatter.NAMED.get(layout, layout) or formatter.NAMED["RFC3339Nano"])


def date(operand: Value) -> Value:
    moment = _moment(operand, "time.date")
    return [moment.year, moment.month, moment.day]


def clock(operand: Value) -> Value:
    nanoseconds, zone = _instant(operand, "time.clock")
    if zone is None:
        second = nanoseconds // _SECOND % 86_400
        return [second // 3600, second // 60 % 60, second % 60]
    moment = _shown(nanoseconds, zone)
    return [moment.hour, moment.minute, moment.second]


def weekday(operand: Value) -> Value:
    nanoseconds, zone = _instant(operand, "time.weekday")
    if zone is None:
        return WEEKDAYS[(nanoseconds // (86_400 * _SECOND) + 3) % 7]  # 1970 began on a Thursday
    return WEEKDAYS[_shown(nanoseconds, zone).weekday]


def add_date(operand: Value, years: Value, months: Value, days: Value) -> Value:
    """The same time of day on another date; February 30 is March 1 or 2.

    OPA computes in 64 bits and wraps around; here a date too far away is always an error.
    """
    name = "time.add_date"
    nanoseconds, zone = _instant(operand, name)
    moment = _shown(nanoseconds, zone)
    year = moment.year + integer(years, name, 2)
    month = moment.month + integer(months, name, 3)
    day = days_before(year, month, moment.day + integer(days, name, 4))
    seconds = day * 86_400 + moment.hour * 3600 + moment.minute * 60 + moment.second
    if abs(seconds) > _FARTHEST:
        _in_range(seconds * _SECOND, name)  # raises: no time zone brings it back, and Python's calendar ends
    # Go's guess for a local time that there is twice or never: the offset that holds one offset earlier.
    seconds -= _offset(seconds - _offset(seconds, zone), zone)
    return _in_range(seconds * _SECOND + moment.nanosecond, name)


def diff(first: Value, second: Value) -> Value:
    """Years, months, days, hours, minutes and seconds between two instants, as clocks in the first's zone show them."""
    one, zone = _instant(first, "time.diff")
    two, _ = _instant(second, "time.diff")
    a, b = (_shown(nanoseconds, zone) for nanoseconds in sorted((one, two)))
    year, month, day = b.year - a.year, b.month - a.month, b.day - a.day
    hour, minute, second_ = b.hour - a.hour, b.minute - a.minute, b.second - a.second
    if second_ < 0:
        second_ += 60
        minute -= 1
    if minute < 0:
        minute += 60
        hour -= 1
    if hour < 0:
        hour += 24
        day -= 1
    if day < 0:
        day += days_before(a.year, a.month + 1, 1) - days_before(a.year, a.month, 1)
        month -= 1
    if month < 0:
        month += 12
        year -= 1
    return [year, month, day, hour, minute, second_]


def _moment(operand: Value, name: str) -> Moment:
    return _shown(*_instant(operand, name))


def _instant(operand: Value, name: str) -> tuple[int, tzinfo | None]:
    """Nanoseconds, and the zone to show them in (None: UTC), of `ns` or `[ns, zone, layout]`."""
    if operand.__class__ is int and INT64_MIN <= operand <= INT64_MAX:
        return operand, None
    parts = operand if operand.__class__ is list else [operand]
    if not parts or (operand.__class__ is not list and operand.__class__ not in NUMBERS):
        wrong(name, 1, operand, "either number (ns) or [number (ns), string (tz)]")
    nanoseconds = number(parts[0], name, 1)
    zone = _zone(string(parts[1], name, 1), name) if len(parts) > 1 else None
    if len(parts) > 2:
        _short(parts[2], name, 1)
    if nanoseconds.__class__ is not int:
        # OPA rounds to 64 bits before it asks for an integer: 1234567890123456789.01 is one.
        decimal = exact(nanoseconds)
        rounded = to_dyadic(nanoseconds, name) if not decimal or -2 < decimal.adjusted() < 20 else _HALF
        if not is_whole(rounded):
            raise BuiltinError(f"{name}: timestamp too big")
        nanoseconds = truncate(rounded)
    if not INT64_MIN <= nanoseconds <= INT64_MAX:
        raise BuiltinError(f"{name}: timestamp too big")
    return nanoseconds, zone


def _shown(nanoseconds: int, zone: tzinfo | None) -> Moment:
    seconds, nanosecond = divmod(nanoseconds, _SECOND)
    when = _EPOCH + timedelta(seconds=seconds)
    offset, name = 0, "UTC"
    if zone is not None:
        when = when.astimezone(zone)
        offset, name = _seconds(when.utcoffset()), when.tzname() or ""
    return Moment(
        when.year, when.month, when.day, when.hour, when.minute, when.second, nanosecond,
        when.weekday(), when.timetuple().tm_yday, offset, name,
    )  # fmt: skip


def _offset(seconds: int, zone: tzinfo | None) -> int:
    """The seconds that the zone is ahead of UTC, at a time in UTC."""
    return 0 if zone is None else _seconds((_EPOCH + timedelta(seconds=seconds)).astimezone(zone).utcoffset())


def _seconds(offset: timedelta | None) -> int:
    return 0 if offset is None else offset.days * 86_400 + offset.seconds


def _zone(name: str, builtin: str) -> tzinfo | None:
    if name in ("", "UTC", "Local"):
        return None
    if ".." in name or name[0] in "/\\" or "\\" in name:
        raise BuiltinError(f"{builtin}: time: invalid location name")
    zone = _load_zone(name)
    if zone is None:
        raise BuiltinError(f"{builtin}: unknown time zone {name}")
    return zone


@functools.lru_cache(maxsize=1024)
def _load_zone(name: str) -> tzinfo | None:
    """A zone of the IANA database, None if it has no such zone. It has about 600, so the cache keeps all."""
    from importlib.resources import files
    from zoneinfo import ZoneInfo

    if not _ZONE_NAME.fullmatch(name):
        return None
    try:
        with files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as data:
            return ZoneInfo.from_file(data, key=name)
    except (OSError, ValueError, struct.error):
        return None  # no such file, or a file that is no zone


_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*", re.ASCII)

_NS: Final = NUMBER
_NS_ZONE: Final = ArrayType((NUMBER, STRING))
_INSTANT: Final = union(_NS, _NS_ZONE)

BUILTINS: Final = (
    Builtin("time.add_date", FunctionType((NUMBER, NUMBER, NUMBER, NUMBER), NUMBER), add_date),
    Builtin("time.clock", FunctionType((_INSTANT,), ArrayType((NUMBER,) * 3)), clock, cost=Cost.NOTHING),
    Builtin("time.date", FunctionType((_INSTANT,), ArrayType((NUMBER,) * 3)), date, cost=Cost.NOTHING),
    Builtin("time.diff", FunctionType((_INSTANT, _INSTANT), ArrayType((NUMBER,) * 6)), diff),
    Builtin("time.format", FunctionType((union(_NS, _NS_ZONE, ArrayType((NUMBER, STRING, STRING))),), STRING), format_),
    Builtin("time.now_ns", FunctionType((), NUMBER), now_ns, context=True, nondeterministic=True),
    Builtin("time.parse_duration_ns", FunctionType((STRING,), NUMBER), parse_duration_ns),
    Builtin("time.parse_ns", FunctionType((STRING, STRING), NUMBER), parse_ns),
    Builtin("time.parse_rfc3339_ns", FunctionType((STRING,), NUMBER), parse_rfc3339_ns),
    Builtin("time.weekday", FunctionType((_INSTANT,), STRING), weekday, cost=Cost.NOTHING),
)
