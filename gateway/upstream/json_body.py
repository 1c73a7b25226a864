"""Request bodies as JSON, small and large ones: both readers refuse and return the same."""

from __future__ import annotations

from typing import Any

from gateway.body import Body
from gateway.upstream import large_json, strict_json


def parse(raw: Body) -> Any:
    """Parse a body; `Denied` with `bad_request`, `duplicate_key` or `too_large`."""
    return strict_json.parse(raw) if isinstance(raw, bytes) else large_json.parse(raw)


def dump(value: Any, before: Body) -> bytes:
    """`value` as compact JSON in UTF-8, of which `parse` makes the same value; it was made of the body `before`."""
    return strict_json.dump(value) if isinstance(before, bytes) else large_json.dump(value)
