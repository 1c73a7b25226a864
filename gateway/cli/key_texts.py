"""How the command line shows keys, what they are for and when they were used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.cli import output
from gateway.management import documents

if TYPE_CHECKING:
    from gateway.registry.records import KeyRecord


def uses_of(keys: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """When keys, as they are answered, were used last, by their ids."""
    used = ((each["id"], each.get("last_used")) for each in keys)
    return {key: documents.nanoseconds(when) for key, when in used if when is not None}


def last_use(used_ns: int | None, now_ns: int) -> str:
    """When a key was used last, in one unit; empty if that is not known."""
    return "" if used_ns is None else f"{output.age(now_ns - used_ns)} ago"


def line(key: KeyRecord, uses: Mapping[str, int], now_ns: int) -> str:
    """A key in one line."""
    used = last_use(uses.get(key.id), now_ns)
    more = filter(None, (used and f"used {used}", shown(key.scope)))
    return "  ".join((key.shown_id, key.status(now_ns), f"({key.id})", *more))


def document(key: KeyRecord, uses: Mapping[str, int], now_ns: int) -> dict[str, Any]:
    """A key for programs, as it is now."""
    plain: dict[str, Any] = output.plain(key)
    used = uses.get(key.id)
    return plain | {"status": key.status(now_ns), "last_used": None if used is None else output.timestamp(used)}


def shown(scope: dict[str, list[str]] | None) -> str:
    """A scope in one line; empty if there is none."""
    return "; ".join(f"{name} {' '.join(part)}" for name, part in (scope or {}).items())
