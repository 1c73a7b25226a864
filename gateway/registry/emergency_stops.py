"""The emergency stop: every agent of an organization, or of all, is refused at once (revocation.md).

A stop is one row, whatever the number of agents, and ending it changes nothing else: what was suspended or revoked
before or meanwhile still is. Rows stay as history. Each function is one transaction with its audit entry: a stop of one
organization in that organization's log, one of all in the log of the deployment.
"""

from __future__ import annotations

import time

from sqlalchemy import or_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select

from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox
from gateway.registry.database import Registry
from gateway.registry.models import EmergencyStop, Organization
from gateway.registry.queries import find_organization
from gateway.registry.records import StopRecord, copied


def stop(registry: Registry, *, actor: str, organization: str | None, reason: str) -> tuple[StopRecord, bool]:
    """Refuse every agent of an organization, or of all for None, from the next request on.

    Returns the stop that is in force, and whether this call has begun it.
    """
    reason = names.check_text("reason", reason.strip())
    if not reason:
        raise GatewayError("invalid_reason", "the reason is empty", hint="say why, for whoever has to end the stop")
    with registry.write() as session:
        tenant = None if organization is None else find_organization(session, organization)
        found = _in_force(session, tenant)
        if found is not None:
            return _record(found, tenant), False
        row = EmergencyStop(
            id=new_id("stp"),
            organization_id=None if tenant is None else tenant.id,
            actor=actor,
            reason=reason,
            created_ns=time.time_ns(),
        )
        session.add(row)
        outbox.add_change(session, tenant, actor, "agents.stopped", entries.emergency_stop(row), reason)
        return _record(row, tenant), True


def resume(registry: Registry, *, actor: str, organization: str | None, reason: str = "") -> StopRecord | None:
    """End a stop of an organization, or the one of all for None. None if there is none."""
    reason = names.check_text("reason", reason)
    with registry.write() as session:
        tenant = None if organization is None else find_organization(session, organization)
        row = _in_force(session, tenant)
        if row is None:
            return None
        row.ended_ns, row.ended_by = time.time_ns(), actor
        session.add(row)
        outbox.add_change(session, tenant, actor, "agents.resumed", entries.emergency_stop(row), reason)
        return _record(row, tenant)


def in_force(session: Session, organization: str | None = None) -> list[StopRecord]:
    """Every stop, or only those that concern an organization: its own and the one of all, which is the first."""
    rows = session.exec(_concerning(organization).where(col(EmergencyStop.ended_ns).is_(None))).all()
    return sorted((_record(row, tenant) for row, tenant in rows), key=lambda each: each.organization or "")


def stops(registry: Registry, organization: str | None = None) -> list[StopRecord]:
    """Every stop that is in force, or those that concern an organization; the one of all first."""
    with registry.read() as session:
        return in_force(session, organization)


def find(registry: Registry, identifier: str, organization: str | None = None) -> StopRecord | None:
    """The stop with this id, also one that has ended; with an organization, only one that concerns it. None if none."""
    with registry.read() as session:
        found = session.exec(_concerning(organization).where(EmergencyStop.id == identifier)).first()
        return None if found is None else _record(*found)


def _concerning(organization: str | None) -> Select[EmergencyStop, Organization]:
    every = select(EmergencyStop, Organization).outerjoin(
        Organization, col(Organization.id) == EmergencyStop.organization_id
    )
    if organization is None:
        return every
    return every.where(or_(col(EmergencyStop.organization_id).is_(None), col(Organization.name) == organization))


def _in_force(session: Session, tenant: Organization | None) -> EmergencyStop | None:
    mine = select(EmergencyStop).where(col(EmergencyStop.ended_ns).is_(None))
    column = col(EmergencyStop.organization_id)
    return session.exec(mine.where(column.is_(None) if tenant is None else column == tenant.id)).first()


def _record(row: EmergencyStop, tenant: Organization | None) -> StopRecord:
    return copied(StopRecord, row, organization=None if tenant is None else tenant.name)
