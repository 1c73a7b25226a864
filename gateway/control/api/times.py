"""Times and durations as bodies and parameters have them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from gateway.control.problems import Problem

MAX_SECONDS: Final = 100 * 366 * 86400

Seconds = Annotated[int, Field(ge=1, le=MAX_SECONDS)]


def nanoseconds(when: datetime | None) -> int | None:
    """Nanoseconds since 1970, to the microsecond."""
    if when is None:
        return None
    found = round(when.timestamp() * 1_000_000) * 1000
    if not 0 <= found < 2**63:
        raise Problem(422, "invalid_time", "times must lie between 1970 and 2262")
    return found


def lifetime(seconds: int | None) -> int | None:
    """Nanoseconds."""
    return None if seconds is None else seconds * 10**9
