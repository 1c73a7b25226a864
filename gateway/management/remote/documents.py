"""Records from the JSON of the control API: the way back from `registry/documents.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from gateway.errors import GatewayError

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def record(kind: type[T], document: Mapping[str, Any]) -> T:
    """A record. Members that it does not have are left out: a newer gateway may say more."""
    values: dict[str, Any] = {}
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]  # records are dataclasses
        if each.name.endswith("_ns"):
            name = each.name.removesuffix("_ns")
            if name in document:
                values[each.name] = None if document[name] is None else nanoseconds(document[name])
        elif each.name in document:
            values[each.name] = document[each.name]
    try:
        return kind(**values)
    except TypeError as error:
        hint = "the gateway may be older than this command line"
        message = f"the gateway's answer lacks a part of {kind.__name__}"
        raise GatewayError("unexpected_answer", message, hint=hint) from error


def records(kind: type[T], documents: list[dict[str, Any]]) -> list[T]:
    return [record(kind, each) for each in documents]


def nanoseconds(text: str) -> int:
    """A time, to the millisecond."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1) * 1_000_000


def time_text(time_ns: int | None) -> str | None:
    """A time as parameters and bodies have it, to the microsecond."""
    if time_ns is None:
        return None
    when = _EPOCH + timedelta(microseconds=time_ns // 1000)
    return when.isoformat().replace("+00:00", "Z")


def seconds(duration_ns: int | None) -> int | None:
    return None if duration_ns is None else duration_ns // 1_000_000_000
