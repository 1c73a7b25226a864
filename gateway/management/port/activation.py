"""Which policies were in force."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The activation that was in force at a time."""

    id: str
    commit: str
