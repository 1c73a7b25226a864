"""The registry as of a time: agents with their keys, bindings and limits, and the policies in force.

The tables keep it: versions of agents, teams and organizations from when they began; keys, bindings and limits until
when they ended; activations and the revisions in them. Nothing is told from the log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from gateway.errors import Hint, NotFoundError, did_you_mean
from gateway.identity.principals import CredentialRow
from gateway.identity.standing import Standing
from gateway.registry import adoptions, queries, row_records
from gateway.registry.agents import review_dates
from gateway.registry.agents.states import ENDED
from gateway.registry.database import Registry
from gateway.registry.limits import usage_limits
from gateway.registry.models import (
    Activation,
    Agent,
    AgentVersion,
    ApiKey,
    Binding,
    Bundle,
    EmergencyStop,
    Organization,
    OrganizationVersion,
    TeamVersion,
    UsageLimit,
)
from gateway.registry.queries import reading
from gateway.registry.records import (
    ActivationRecord,
    AgentVersionRecord,
    BindingRecord,
    BundleRecord,
    KeyRecord,
    LimitRecord,
    copied,
)

T = TypeVar("T")

NOW: Final = 2**63 - 1
"""As a time: everything that was recorded, also if the clock was set back since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingAt:
    """A binding, and the revision of its bundle that judged; None if there was none in force."""

    binding: BindingRecord
    revision: BundleRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAt:
    """An agent with all that applied to it. One that has ended has no bindings and no limits."""

    agent: AgentVersionRecord
    team_owner: str
    standing: Standing
    keys: list[KeyRecord]
    bindings: list[BindingAt]
    limits: list[LimitRecord]

    def row(self, key: KeyRecord | None) -> CredentialRow:
        """The rows that data workers read of a key, and of all that hangs on it; or of the agent, if it has none.

        Nothing says what had been used then, so the limits are left out.
        """
        its = self.agent
        bindings = [
            {name: getattr(each.binding, name) for name in ("id", "bundle", "effect", "pinned", "shadow")}
            for each in self.bindings
        ]
        return copied(
            CredentialRow,
            its,
            key_id="key_none" if key is None else key.id,
            digest=b"",
            pepper=0,
            expires_ns=None if key is None else key.expires_ns,
            revoked_ns=None if key is None else key.revoked_ns,
            agent_id=its.id,
            capabilities=json.dumps(its.capabilities),
            labels=json.dumps(its.labels),
            bindings=json.dumps(bindings),
            scope=None if key is None or key.scope is None else json.dumps(key.scope),
            agent_expires_ns=its.expires_ns,
            content=None,
            organization_status=self.standing.organization,
            team_status=self.standing.team,
            stopped=self.standing.stopped,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAt:
    """All agents of an organization that had begun, by name, and the activation in force; None before the first."""

    agents: list[AgentAt]
    activation: ActivationRecord | None


def agent_at(registry: Registry, organization: str, reference: str, at_ns: int = NOW) -> RegistryAt:
    """One agent, by its id or by the name that it had then. Raises `unknown_agent` or `not_yet`."""
    with reading(registry, organization) as (session, tenant):
        found = _named(session, tenant, reference, at_ns)
        return _at(session, tenant, [found], at_ns)


def page_at(
    registry: Registry, organization: str, at_ns: int, *, after: str | None, limit: int
) -> tuple[RegistryAt, str | None]:
    """The next agents in the order of their ids, and the id after which there are more; None if there are none."""
    with reading(registry, organization) as (session, tenant):
        begun = select(Agent.id).where(Agent.organization_id == tenant.id, Agent.created_ns <= at_ns)
        if after is not None:
            begun = begun.where(col(Agent.id) > after)
        ids = session.exec(begun.order_by(col(Agent.id)).limit(limit + 1)).all()
        rows = _versions(session, tenant, at_ns, ids[:limit]) if ids else []
        found = _at(session, tenant, sorted(rows, key=lambda row: row.agent_id), at_ns)
        return found, ids[limit - 1] if len(ids) > limit else None


def bindings_at(registry: Registry, organization: str, at_ns: int, reference: str | None = None) -> list[BindingRecord]:
    """The bindings that were in force, oldest first: all, or those that applied to one agent."""
    if reference is not None:
        return [each.binding for each in agent_at(registry, organization, reference, at_ns).agents[0].bindings]
    with reading(registry, organization) as (session, tenant):
        names = {row.agent_id: row.name for row in _versions(session, tenant, at_ns)}
        found = _bindings(session, tenant, names, at_ns, None, None)
        return sorted((each.binding for some in found.values() for each in some), key=lambda each: each.id)


def _named(session: Session, tenant: Organization, reference: str, at_ns: int) -> AgentVersion:
    """The version that an agent was at: of two that had this name, the one that had not ended, or else the later."""
    if at_ns == NOW and (found := queries.indexed_agent(session, tenant, reference)) is not None:
        return _versions(session, tenant, at_ns, [found.id])[0]
    mine = select(AgentVersion.agent_id).where(AgentVersion.organization_id == tenant.id)
    ids = set(
        session.exec(mine.where(or_(col(AgentVersion.name) == reference, col(AgentVersion.agent_id) == reference)))
    )
    then = [row for row in _versions(session, tenant, at_ns, ids) if reference in (row.name, row.agent_id)]
    if then:
        return max(then, key=lambda row: (row.status not in ENDED, row.agent_id))
    if not ids:
        queries.find_agent(session, tenant, reference)  # which says what was meant
    message = f"agent `{reference}` did not exist at that time"
    if any(row.agent_id in ids for row in _versions(session, tenant, at_ns, ids)):
        message = f"no agent had the name `{reference}` at that time"
    raise NotFoundError("not_yet", message, subject=reference, hint=_hint(session, tenant, reference, ids, at_ns))


def _hint(session: Session, tenant: Organization, reference: str, ids: set[str], at_ns: int) -> str:
    names = [row.name for row in _versions(session, tenant, at_ns)]
    since = Hint(f"its history: `gateway agents history {reference}`", api=f"GET /api/v1/agents/{reference}/versions")
    earlier = [row.name for row in _versions(session, tenant, at_ns, ids)]
    return f"it was called `{earlier[0]}` then" if earlier else did_you_mean(reference, names, since)


def _versions(
    session: Session, tenant: Organization, at_ns: int, agents: Iterable[str] | None = None
) -> list[AgentVersion]:
    """For each agent the newest version that had begun."""
    begun = select(AgentVersion.agent_id, func.max(AgentVersion.version).label("version")).where(
        AgentVersion.organization_id == tenant.id, AgentVersion.since_ns <= at_ns
    )
    if agents is not None:
        begun = begun.where(col(AgentVersion.agent_id).in_(sorted(agents)))
    newest = begun.group_by(col(AgentVersion.agent_id)).subquery()
    joined = (col(AgentVersion.agent_id) == newest.c.agent_id) & (col(AgentVersion.version) == newest.c.version)
    return list(session.exec(select(AgentVersion).join(newest, joined)))


def _at(session: Session, tenant: Organization, rows: Sequence[AgentVersion], at_ns: int) -> RegistryAt:
    activation = activation_at(session, at_ns)
    names = {row.agent_id: row.name for row in rows}
    subjects = sorted({tenant.id, *names, *(row.team for row in rows)})
    keys = _keys(session, tenant, names, at_ns)
    bindings = _bindings(session, tenant, names, at_ns, activation, subjects)
    limits = _limits(session, tenant, names, at_ns, subjects)
    teams = _teams(session, tenant, at_ns)
    owner, stopped = _organization(session, tenant, at_ns), _stopped(session, tenant, at_ns)
    created = _created(session, tenant, names)
    moment_ns = time.time_ns() if at_ns == NOW else at_ns
    agents = []
    for row in rows:
        ended = row.status in ENDED
        its = [("agent", row.agent_id), ("team", row.team), ("organization", tenant.id)]
        team = teams.get(row.team)
        agents.append(
            AgentAt(
                agent=_confirmed(row_records.version_record(tenant, row), row, owner, created[row.agent_id], moment_ns),
                team_owner=team.owner if team else "",
                standing=Standing(owner.status if owner else "active", team.status if team else None, stopped),
                keys=keys.get(row.agent_id, []),
                bindings=[] if ended else _in_order(bindings, its, lambda each: each.binding.id),
                limits=[] if ended else _in_order(limits, its, lambda each: each.id),
            )
        )
    return RegistryAt(agents=agents, activation=activation)


def _in_order(
    found: Mapping[tuple[str, str], list[T]], subjects: Sequence[tuple[str, str]], identifier: Callable[[T], str]
) -> list[T]:
    """The rows of these subjects, oldest first."""
    return sorted((each for subject in subjects for each in found.get(subject, [])), key=identifier)


def activation_at(session: Session, at_ns: int) -> ActivationRecord | None:
    """The activation that was in force; None before the first."""
    begun = select(Activation).where(Activation.created_ns <= at_ns)
    row = session.exec(begun.order_by(col(Activation.created_ns).desc(), col(Activation.id).desc())).first()
    return None if row is None else row_records.activation_record(session, row)


def _keys(session: Session, tenant: Organization, names: Mapping[str, str], at_ns: int) -> dict[str, list[KeyRecord]]:
    """The keys of these agents that had been created, by their agents. Later changes of them are left out."""
    mine = select(ApiKey, Agent).join(Agent).where(ApiKey.organization_id == tenant.id, ApiKey.created_ns <= at_ns)
    mine = mine.where(col(ApiKey.agent_id).in_(names))
    records = [
        _before_rotation(row_records.key_record(tenant, holder, row), row, at_ns)
        for row, holder in session.exec(mine.order_by(col(ApiKey.id)))
    ]
    adopted = adoptions.of(session, tenant)
    records += [each.as_key() for each in adopted if each.created_ns <= at_ns and each.agent_id in names]
    known = {each.id for each in records}
    found: dict[str, list[KeyRecord]] = {}
    for each in records:
        changed: dict[str, Any] = {
            "agent": names.get(each.agent_id, each.agent),
            "revoked_ns": each.revoked_ns if each.revoked_ns is not None and each.revoked_ns <= at_ns else None,
            "replaced_by": each.replaced_by if each.replaced_by in known else None,
        }
        found.setdefault(each.agent_id, []).append(replace(each, **changed))
    return found


def _before_rotation(record: KeyRecord, row: ApiKey, at_ns: int) -> KeyRecord:
    """A key with the expiry that it had before it was replaced."""
    if row.replaced_ns is None or row.replaced_ns <= at_ns:
        return record
    return replace(record, expires_ns=row.first_expires_ns)


_Kept = TypeVar("_Kept", Binding, UsageLimit)


def _in_force(
    kind: type[_Kept], session: Session, tenant: Organization, at_ns: int, subjects: Sequence[str] | None
) -> Sequence[_Kept]:
    """The rows that had begun and not ended, of all subjects or of these."""
    mine = select(kind).where(
        kind.organization_id == tenant.id,
        kind.created_ns <= at_ns,
        or_(col(kind.removed_ns).is_(None), col(kind.removed_ns) > at_ns),
    )
    if subjects is not None:
        mine = mine.where(col(kind.subject).in_(subjects))
    return session.exec(mine).all()


def _bindings(
    session: Session,
    tenant: Organization,
    names: Mapping[str, str],
    at_ns: int,
    activation: ActivationRecord | None,
    subjects: Sequence[str] | None,
) -> dict[tuple[str, str], list[BindingAt]]:
    """The bindings that applied, of all subjects or of these, by subject as stored."""
    found: dict[tuple[str, str], list[BindingAt]] = {}
    for row in _in_force(Binding, session, tenant, at_ns, subjects):
        record = row_records.binding_record(tenant, row, names.get(row.subject))
        revision = activation.bundles.get(row.bundle) if activation else None
        if row.pinned is not None:
            pinned = session.get(Bundle, (row.bundle, row.pinned))
            revision = row_records.bundle_record(pinned) if pinned else None
        subject = (row.subject_kind, row.subject)
        found.setdefault(subject, []).append(BindingAt(binding=record, revision=revision))
    return found


def _limits(
    session: Session, tenant: Organization, names: Mapping[str, str], at_ns: int, subjects: Sequence[str] | None
) -> dict[tuple[str, str], list[LimitRecord]]:
    """The limits that applied, of all subjects or of these, by subject as stored."""
    found: dict[tuple[str, str], list[LimitRecord]] = {}
    for row in _in_force(UsageLimit, session, tenant, at_ns, subjects):
        record = usage_limits.limit_record(tenant, row, names.get(row.subject))
        found.setdefault((row.subject_kind, row.subject), []).append(record)
    return found


def _teams(session: Session, tenant: Organization, at_ns: int) -> dict[str, TeamVersion]:
    begun = select(TeamVersion).where(TeamVersion.organization_id == tenant.id, TeamVersion.since_ns <= at_ns)
    return {row.name: row for row in session.exec(begun.order_by(col(TeamVersion.version)))}


def _organization(session: Session, tenant: Organization, at_ns: int) -> OrganizationVersion | None:
    """The version that it was; None before the first that an older registry has."""
    begun = select(OrganizationVersion).where(
        OrganizationVersion.organization_id == tenant.id, OrganizationVersion.since_ns <= at_ns
    )
    return session.exec(begun.order_by(col(OrganizationVersion.version).desc())).first()


def _created(session: Session, tenant: Organization, agents: Iterable[str]) -> dict[str, int]:
    mine = select(Agent.id, Agent.created_ns).where(Agent.organization_id == tenant.id)
    return dict(session.exec(mine.where(col(Agent.id).in_(agents))).all())


def _confirmed(
    record: AgentVersionRecord, row: AgentVersion, owner: OrganizationVersion | None, created_ns: int, moment_ns: int
) -> AgentVersionRecord:
    """The agent as it was in force: suspended from the moment on at which it was too late to confirm it."""
    suspends_ns = None if owner is None else review_dates.suspends_ns(row, owner, created_ns)
    return replace(record, suspends_ns=suspends_ns, status=review_dates.status(row.status, suspends_ns, moment_ns))


def _stopped(session: Session, tenant: Organization, at_ns: int) -> str | None:
    """The organizations whose agents an emergency stop refused: `all`, `organization`, or None."""
    begun = select(EmergencyStop.organization_id).where(
        EmergencyStop.created_ns <= at_ns,
        or_(col(EmergencyStop.ended_ns).is_(None), col(EmergencyStop.ended_ns) > at_ns),
    )
    whose = set(session.exec(begun))
    return "all" if None in whose else "organization" if tenant.id in whose else None
