"""The row of an agent that is being registered, as plain values: to make an ORM object of each takes most of the time
of registering many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, kw_only=True)
class NewAgent:
    """The columns of `models.Agent`, by their names; what a new agent cannot have is None."""

    id: str
    organization_id: str
    name: str
    version: int
    owner: str
    team: str
    environment: str
    capabilities: list[str]
    labels: dict[str, str]
    status: str
    content: dict[str, Any] | None = None
    content_key: bytes | None = None
    description: str
    purpose: str
    model_family: str
    parent: str | None
    expires_ns: int | None
    review_days: int | None
    reviewed_ns: int | None = None
    created_ns: int
    updated_ns: int

    def columns(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(NewAgent.__slots__)
