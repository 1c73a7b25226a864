"""Mandates: an agent of an organization lets an agent act for it (docs/how-to/identity/mandates.md).

A mandate is for these actions and models, to this amount, until then. Each change is one transaction with an entry for
the log of either side, and in force for the next request when it returns. A grant never changes: a mandate is revoked,
and another one granted. The grantor signs the document that both logs have the digest of.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import or_
from sqlmodel import Session, col, select

from gateway.a2a import cards
from gateway.call import MOST_AMOUNT
from gateway.errors import ConflictError, GatewayError, Hint, UnknownError
from gateway.identifiers import new_id
from gateway.identity import key_scope
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox
from gateway.registry.agents.states import ENDED
from gateway.registry.database import Registry
from gateway.registry.models import Agent, Mandate, Organization, Upstream
from gateway.registry.queries import find_living, reading, writing
from gateway.registry.records import MandateRecord

MAX_MANDATES: Final = 256
"""The most in force that an organization has granted."""
MAX_LIFE_NS: Final = 366 * 86400 * 10**9


def grant(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    agent: str,
    to: str,
    actions: Sequence[str],
    models: Sequence[str] = (),
    amount_microusd: int,
    requests: int | None = None,
    for_ns: int,
    purpose: str,
    reason: str = "",
) -> MandateRecord:
    """Let another agent act for one of this organization.

    `to` is the id of that agent, or `ORGANIZATION/AGENT` of a published one. Actions and models are whole names, or
    beginnings that end in `*`.
    """
    if not actions:
        raise GatewayError("invalid_scope", "a mandate names its actions", hint=Hint("add --action", api="name some"))
    scope = key_scope.scope(actions, models)
    assert scope is not None
    if not 0 <= amount_microusd <= MOST_AMOUNT // 1000:
        raise GatewayError("invalid_amount", f"{amount_microusd} is no amount", hint="write millionths of a dollar")
    if requests is not None and not 0 < requests <= MOST_AMOUNT:
        raise GatewayError("invalid_limit", f"{requests} is no number of requests", hint="leave it out for any number")
    if not 0 < for_ns <= MAX_LIFE_NS:
        raise GatewayError("invalid_duration", "a mandate is for at most 366d", hint="grant another one then")
    purpose = names.check_text("purpose", purpose)
    if not purpose:
        raise GatewayError("purpose_missing", "a mandate says what it is for", hint=Hint("add --purpose TEXT"))
    with writing(registry, organization) as (session, tenant):
        holder = find_living(session, tenant, agent)
        grantee, other = _grantee(session, tenant, to)
        if grantee.id == holder.id:
            raise GatewayError("invalid_mandate", "an agent needs no mandate of its own", hint="name another agent")
        now = time.time_ns()
        in_force = select(Mandate.id).where(
            Mandate.organization_id == tenant.id, col(Mandate.revoked_ns).is_(None), Mandate.expires_ns > now
        )
        if len(session.exec(in_force).all()) >= MAX_MANDATES:
            raise ConflictError("too_many_mandates", f"`{organization}` has {MAX_MANDATES} mandates in force already")
        row = Mandate(
            id=new_id("mnd"),
            organization_id=tenant.id,
            agent_id=holder.id,
            to_organization_id=other.id,
            to_agent_id=grantee.id,
            scope=scope.text,
            amount_microusd=amount_microusd,
            requests=requests,
            purpose=purpose,
            digest="",
            created_ns=now,
            expires_ns=now + for_ns,
            revoked_ns=None,
            actor=actor,
        )
        made = _record(row, tenant.name, holder, other.name, grantee, now)
        row.digest = cards.digest(document(made))
        session.add(row)
        session.flush()
        return _told(session, "mandate.granted", actor, (tenant, holder), (other, grantee), row, reason)


def revoke(registry: Registry, *, actor: str, organization: str, mandate: str, reason: str = "") -> MandateRecord:
    """End a mandate of this organization: no call under it is let through any more."""
    with writing(registry, organization) as (session, tenant):
        row = session.get(Mandate, mandate)
        if row is None or row.organization_id != tenant.id:
            raise _unknown(mandate)
        if row.revoked_ns is not None:
            raise ConflictError("mandate_revoked", f"mandate `{mandate}` is revoked already", subject=mandate)
        row.revoked_ns = time.time_ns()
        sides = _sides(session, row)
        return _told(session, "mandate.revoked", actor, *sides, row, reason)


def mandates(registry: Registry, organization: str) -> list[MandateRecord]:
    """The mandates that an organization has granted or was given, oldest first."""
    with reading(registry, organization) as (session, tenant):
        mine = or_(col(Mandate.organization_id) == tenant.id, col(Mandate.to_organization_id) == tenant.id)
        rows = session.exec(select(Mandate).where(mine).order_by(col(Mandate.id))).all()
        return [_of(session, row) for row in rows]


def mandate(registry: Registry, organization: str, identifier: str) -> MandateRecord:
    """One of them."""
    with reading(registry, organization) as (session, tenant):
        row = session.get(Mandate, identifier)
        if row is None or tenant.id not in (row.organization_id, row.to_organization_id):
            raise _unknown(identifier)
        return _of(session, row)


def document(record: MandateRecord) -> dict[str, Any]:
    """The document that a grantor signs: what was granted, and to whom. It does not say if it was revoked."""
    return {
        "v": 1,
        "id": record.id,
        "grantor": {"organization": record.organization, "agent": record.agent_id, "name": record.agent},
        "grantee": {"organization": record.to_organization, "agent": record.to_agent_id, "name": record.to_agent},
        "actions": record.actions,
        "models": record.models,
        "amount_microusd": record.amount_microusd,
        "requests": record.requests,
        "purpose": record.purpose,
        "created": _shown(record.created_ns),
        "expires": _shown(record.expires_ns),
    }


def _grantee(session: Session, tenant: Organization, to: str) -> tuple[Agent, Organization]:
    """An agent by its id, or a published one by its name: agents of others are nobody's business otherwise."""
    organization, slash, name = to.partition("/")
    wanted = select(Agent, Organization).join(Organization, col(Organization.id) == Agent.organization_id)
    if not slash:
        found = session.exec(wanted.where(Agent.id == to)).first()
        if found is None:
            found = session.exec(wanted.where(Agent.organization_id == tenant.id, Agent.name == to, _lives())).first()
    else:
        published = select(Upstream.specification).join(Organization, col(Organization.id) == Upstream.organization_id)
        there = session.exec(
            published.where(
                Organization.name == organization, Upstream.name == name, Upstream.provider == cards.PROVIDER
            )
        ).first()
        agent = cards.load(there).agent if there else ""
        found = session.exec(wanted.where(Agent.id == agent, Organization.name == organization)).first()
    if found is None or found[0].status in ENDED:
        hint = "name an agent by its id (agt_…), or a published one as ORGANIZATION/AGENT"
        raise UnknownError("agent", f"there is no agent `{to[:200]}` that a mandate can be given to", hint=Hint(hint))
    return found[0], found[1]


def _lives() -> Any:
    return col(Agent.status).not_in(ENDED)


def _told(
    session: Session,
    what: str,
    actor: str,
    grantor: tuple[Organization, Agent],
    grantee: tuple[Organization, Agent],
    row: Mandate,
    reason: str,
) -> MandateRecord:
    """Put an entry for either side into the outbox. An operator of one side is nobody at the other."""
    made = _record(row, grantor[0].name, grantor[1], grantee[0].name, grantee[1], time.time_ns())
    fields = entries.mandate(made)
    outbox.add_change(session, grantor[0], actor, what, {**fields, "agent": grantor[1].id}, reason)
    if grantee[0].id != grantor[0].id:
        outbox.add_change(session, grantee[0], "gateway", what, {**fields, "agent": grantee[1].id})
    return made


def _sides(session: Session, row: Mandate) -> tuple[tuple[Organization, Agent], tuple[Organization, Agent]]:
    def side(organization: str, agent: str) -> tuple[Organization, Agent]:
        return session.get_one(Organization, organization), session.get_one(Agent, agent)

    return side(row.organization_id, row.agent_id), side(row.to_organization_id, row.to_agent_id)


def _of(session: Session, row: Mandate) -> MandateRecord:
    (organization, agent), (other, to) = _sides(session, row)
    return _record(row, organization.name, agent, other.name, to, time.time_ns())


def _record(row: Mandate, organization: str, agent: Agent, other: str, to: Agent, now: int) -> MandateRecord:
    scope = key_scope.parse(row.scope)
    assert scope is not None
    return MandateRecord(
        id=row.id,
        organization=organization,
        agent=agent.name,
        agent_id=agent.id,
        to_organization=other,
        to_agent=to.name,
        to_agent_id=to.id,
        actions=list(scope.actions),
        models=list(scope.models),
        amount_microusd=row.amount_microusd,
        requests=row.requests,
        purpose=row.purpose,
        state="revoked" if row.revoked_ns is not None else "expired" if row.expires_ns <= now else "in_force",
        created_ns=row.created_ns,
        expires_ns=row.expires_ns,
        revoked_ns=row.revoked_ns,
        digest=row.digest,
    )


def _shown(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _unknown(mandate: str) -> UnknownError:
    hint = Hint("`gateway mandates list` shows those that there are")
    return UnknownError("mandate", f"there is no mandate `{mandate[:80]}`", subject=mandate, hint=hint)
