"""The emergency stop: every agent of an organization, or of all, is refused at once (docs/revocation.md).

A stop is one row, whatever the number of agents, and ending it changes nothing else: what was suspended or revoked
before or meanwhile still is. Rows stay as history. As in `changes.py`, each function is one transaction with its audit
entry: a stop of one organization in that organization's log, one of all in the log of the deployment.
"""

from __future__ import annotations

import time

from sqlmodel import Session, col, select

from gateway.audit.intents import SYSTEM
from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox
from gateway.registry.database import Registry
from gateway.registry.models import EmergencyStop, Organization
from gateway.registry.queries import find_organization
from gateway.registry.records import StopRecord


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
        _tell(session, tenant, row, actor, "agents.stopped", reason)
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
        _tell(session, tenant, row, actor, "agents.resumed", reason)
        return _record(row, tenant)


def in_force(session: Session) -> list[StopRecord]:
    """Every stop, the one of all first."""
    mine = select(EmergencyStop, Organization).outerjoin(
        Organization, col(Organization.id) == EmergencyStop.organization_id
    )
    rows = session.exec(mine.where(col(EmergencyStop.ended_ns).is_(None))).all()
    return sorted((_record(row, tenant) for row, tenant in rows), key=lambda each: each.organization or "")


def stops(registry: Registry) -> list[StopRecord]:
    """Every stop that is in force, the one of all first."""
    with registry.read() as session:
        return in_force(session)


def find(registry: Registry, identifier: str) -> StopRecord | None:
    """The stop with this id, also one that has ended; None if there is none."""
    with registry.read() as session:
        row = session.get(EmergencyStop, identifier)
        if row is None:
            return None
        return _record(row, None if row.organization_id is None else session.get(Organization, row.organization_id))


def _in_force(session: Session, tenant: Organization | None) -> EmergencyStop | None:
    mine = select(EmergencyStop).where(col(EmergencyStop.ended_ns).is_(None))
    column = col(EmergencyStop.organization_id)
    return session.exec(mine.where(column.is_(None) if tenant is None else column == tenant.id)).first()


def _tell(
    session: Session, tenant: Organization | None, row: EmergencyStop, actor: str, what: str, reason: str
) -> None:
    log = SYSTEM if tenant is None else tenant.name
    outbox.add_change(
        session, organization=log, actor=actor, what=what, fields=entries.emergency_stop(row), reason=reason
    )


def _record(row: EmergencyStop, tenant: Organization | None) -> StopRecord:
    return StopRecord(
        id=row.id,
        organization=None if tenant is None else tenant.name,
        reason=row.reason,
        actor=row.actor,
        created_ns=row.created_ns,
        ended_ns=row.ended_ns,
    )
