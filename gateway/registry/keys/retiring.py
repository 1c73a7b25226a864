"""Keys that need a look: retiring ones that are still used near their end, and old ones that nobody uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import or_
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
    key_id: str
    organization: str
    agent: str


def in_last_hours(session: Session, now_ns: int) -> list[Retiring]:
    """The retiring keys of all organizations that will end soon."""
    soon = now_ns + LAST_HOURS * _HOUR_NS
    rows = session.exec(
        select(ApiKey, Agent, Organization.name)
        .select_from(ApiKey)
        .join(Agent)
        .join(Organization, col(Organization.id) == ApiKey.organization_id)
        .where(
            col(ApiKey.replaced_by).is_not(None),
            col(ApiKey.revoked_ns).is_(None),
            col(ApiKey.expires_ns) > now_ns,
            col(ApiKey.expires_ns) <= soon,
            col(Agent.status).not_in(agent_states.ENDED),
        )
        .order_by(col(ApiKey.id))
    ).all()
    found = []
    for key, holder, organization in rows:
        successor = session.get(ApiKey, key.replaced_by)
        if successor is None or key.expires_ns is None:
            continue
        since = key.expires_ns - min(LAST_HOURS * _HOUR_NS, (key.expires_ns - successor.created_ns) // 4)
        if since <= now_ns:
            named = (key.id, key.shown_id, organization, holder.name, successor.id)
            fields = {**entries.key(holder, key), "replaced_by": successor.id}
            found.append(Retiring(*named, since, key.expires_ns, fields))
    return found


def old(session: Session, now_ns: int) -> list[Old]:
    """The living keys of all organizations that are older than `UNUSED_DAYS`."""
    before = now_ns - UNUSED_DAYS * 24 * _HOUR_NS
    rows = session.exec(
        select(ApiKey, Organization.name, Agent.name)
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
    )
    return [Old(key.id, key.shown_id, organization, agent) for key, organization, agent in rows]
