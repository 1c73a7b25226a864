"""Records from the JSON of the control API: the way back from `registry/documents.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from gateway.management.client import incomplete

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_SAID: Final[Mapping[str, Any]] = {"by_gateway": None, "mode": "hard", "counterparty": "", "tool": ""}
"""Members that an older gateway leaves out and commands can do without: they show that it is not known."""


def record(kind: type[T], document: Mapping[str, Any]) -> T:
    """A record. Members that it does not have are left out: a newer gateway may say more."""
    values: dict[str, Any] = {}
    lacking: list[str] = []
    for member, needed in _members(kind):
        name = member.removesuffix("_ns")
        if name in document:
            is_time = name != member and document[name] is not None
            values[member] = nanoseconds(document[name]) if is_time else document[name]
        elif name in _NOT_SAID:
            values[member] = _NOT_SAID[name]
        elif needed:
            lacking.append(name)
    if lacking:
        raise incomplete(lacking)
    return kind(**values)


def _members(kind: Any) -> Iterator[tuple[str, bool]]:
    """The members of a dataclass or a named tuple, and whether each must be given."""
    if not dataclasses.is_dataclass(kind):
        yield from ((each, each not in kind._field_defaults) for each in kind._fields)
        return
    missing = dataclasses.MISSING
    for each in dataclasses.fields(kind):
        yield each.name, each.default is missing and each.default_factory is missing


def nanoseconds(text: str) -> int:
    """A time, to the millisecond."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1) * 1_000_000


def time_text(time_ns: int | None) -> str | None:
    """A time as parameters and bodies have it, to the microsecond."""
    if time_ns is None:
        return None
    when = _EPOCH + timedelta(microseconds=time_ns // 1000)
    return when.isoformat().replace("+00:00", "Z")
