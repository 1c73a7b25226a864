"""Keys that need a look: retiring ones that are still used near their end, and old ones that nobody uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from gateway.registry import change_entries as entries
from gateway.registry.agents import states as agent_states
from gateway.registry.models import Agent, ApiKey, Organization

_HOUR_NS: Final = 3_600_000_000_000
LAST_HOURS: Final = 6
"""A retiring key should not be used any more in the last of its hours, or in the last quarter of a short overlap."""
UNUSED_DAYS: Final = 90


@dataclass(frozen=True, slots=True)
class Retiring:
    """A retiring key in its last hours, which began at `since_ns`; `fields` describe it in the log."""

    id: str
    key_id: str
    organization: str
    agent: str
    replaced_by: str
    since_ns: int
    expires_ns: int
    fields: Mapping[str, str | int | bool | None]


@dataclass(frozen=True, slots=True)
class Old:
    """A living key that was made long ago."""

    id: str
    organization: str
    agent: str


def in_last_hours(session: Session, now_ns: int, most: int | None = None) -> list[Retiring]:
    """The retiring keys of all organizations that will end soon, or as many of them, the first to end first."""
    left: Any = col(ApiKey.expires_ns) - now_ns
    successor = aliased(ApiKey)
    rows = session.exec(
        select(ApiKey, Agent, Organization.name, successor.created_ns)
        .select_from(ApiKey)
        .join(Agent)
        .join(Organization, col(Organization.id) == ApiKey.organization_id)
        .join(successor, col(successor.id) == ApiKey.replaced_by)
        .where(
            col(ApiKey.revoked_ns).is_(None),
            left > 0,
            left <= LAST_HOURS * _HOUR_NS,
            left * 4 <= col(ApiKey.expires_ns) - col(successor.created_ns),
            col(Agent.status).not_in(agent_states.ENDED),
        )
        .order_by(col(ApiKey.expires_ns), col(ApiKey.id))
        .limit(most)
    ).all()
    found = []
    for key, holder, organization, made_ns in rows:
        if key.replaced_by is None or key.expires_ns is None:
            continue  # never: the conditions say so
        since = key.expires_ns - min(LAST_HOURS * _HOUR_NS, (key.expires_ns - made_ns) // 4)
        named = (key.id, key.shown_id, organization, holder.name, key.replaced_by)
        fields = {**entries.key(holder, key), "replaced_by": key.replaced_by}
        found.append(Retiring(*named, since, key.expires_ns, fields))
    return found


def old(session: Session, now_ns: int, most: int) -> list[Old]:
    """The living keys of all organizations that are older than `UNUSED_DAYS`, or as many of them, the oldest."""
    before = now_ns - UNUSED_DAYS * 24 * _HOUR_NS
    rows = session.exec(
        select(ApiKey.id, Organization.name, Agent.name)
        .select_from(ApiKey)
        .join(Agent)
        .join(Organization, col(Organization.id) == ApiKey.organization_id)
        .where(
            ApiKey.created_ns < before,
            col(ApiKey.revoked_ns).is_(None),
            or_(col(ApiKey.expires_ns).is_(None), col(ApiKey.expires_ns) > now_ns),
            col(Agent.status).not_in(agent_states.ENDED),
        )
        .order_by(col(ApiKey.id))
        .limit(most)
    )
    return [Old(*row) for row in rows]
