"""Time zones of organizations: where their hours, days and months end.

Names and rules are those of the tz database. The rules come from the system if it has them, else from the `tzdata`
package. The names come from the package alone, so that a registry never holds one that another machine does not know.
The end of a window is recorded with each reservation, so nobody has to have the same rules to check a log.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta, tzinfo
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

from gateway.audit.balance import Ends
from gateway.errors import GatewayError, did_you_mean

DEFAULT: Final = "UTC"
_HOUR: Final = 60  # minutes


@functools.cache
def names() -> frozenset[str]:
    """Every name that an organization's zone may have."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def find(name: str) -> tzinfo:
    """The zone of a name. Raises `GatewayError` (`invalid_zone`) if there is none."""
    if name == DEFAULT:
        return UTC
    if name not in names():
        exact = next((each for each in names() if each.lower() == name.lower()), None)
        hint = "write a name of the tz database, such as Europe/Berlin"
        hint = f"did you mean `{exact}`?" if exact else did_you_mean(name, names(), hint)
        raise GatewayError("invalid_zone", f"`{name[:64]}` is not a time zone", subject=name[:64], hint=hint)
    return ZoneInfo(name)


# The same for all calls of a minute.
@functools.lru_cache(maxsize=1024)
def ends(zone: str, minute: int) -> Ends | None:
    """The minutes since 1970 at which the hour, day and month end that a minute is in; None for UTC, where all know it.

    Hours begin at full hours of the local clock. Days and months begin at local midnight, so a day in which clocks
    change has 23 or 25 hours. Midnight that comes twice is the first one; one that is left out is when clocks change.
    """
    if zone == DEFAULT:
        return None
    place = ZoneInfo(zone)
    when = datetime.fromtimestamp(minute * 60, place)
    offset = when.utcoffset() or timedelta()
    shift = int(offset.total_seconds()) // 60 % _HOUR
    hour = ((minute + shift) // _HOUR + 1) * _HOUR - shift
    midnight = datetime(when.year, when.month, when.day, tzinfo=place)
    first = datetime(when.year + when.month // 12, when.month % 12 + 1, 1, tzinfo=place)
    return hour, _minute(midnight + timedelta(days=1), minute), _minute(first, minute)


def _minute(midnight: datetime, after: int) -> int:
    """The first minute after another one at which local clocks show this midnight."""
    found = int(midnight.timestamp()) // 60
    # Clocks that are set back past midnight show it again.
    return found if found > after else max(int(midnight.replace(fold=1).timestamp()) // 60, after + 1)
