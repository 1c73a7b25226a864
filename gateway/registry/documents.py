"""Records as JSON, in one form for the command line and the control API.

Times are RFC 3339 in UTC, and their names lose the `_ns`: `created_ns` becomes `created`.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from gateway.errors import GatewayError


def plain(value: Any) -> Any:
    """Records, and lists and dictionaries of them, as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, dict):
        return dict(_member(name, item) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def timestamp(time_ns: int) -> str:
    """A time for people and programs: UTC, to the millisecond."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(duration_ns: int) -> str:
    """A duration for people, in its largest whole unit."""
    seconds = max(0, duration_ns // 1_000_000_000)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def parse_time(text: str) -> int:
    """Nanoseconds from an RFC 3339 time or a date, to the millisecond; without a zone it is UTC."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise _bad_time(text) from error
    time_ns = round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000) * 1_000_000
    if not 0 <= time_ns < 2**63:  # otherwise the registry cannot compare with it
        raise _bad_time(text)
    return time_ns


def _bad_time(text: str) -> GatewayError:
    return GatewayError("invalid_time", f"`{text[:80]}` is not a time", hint="write 2026-11-25T14:00:00Z")


def _member(name: str, value: Any) -> tuple[str, Any]:
    if name.endswith("_ns") and not isinstance(value, str):  # a label or a claim may be called so
        return name.removesuffix("_ns"), None if value is None else timestamp(value)
    return name, plain(value)
