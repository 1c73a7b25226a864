"""Rows of the registry as the records (`records.py`) that commands, the API and changes answer with."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Final, cast

from sqlmodel import Session, col, select

from gateway.registry.agents import review_dates
from gateway.registry.models import (
    Activation,
    ActivationBundle,
    Agent,
    AgentVersion,
    ApiKey,
    Binding,
    Bundle,
    NewAgent,
    Organization,
    Upstream,
    UpstreamRoute,
)
from gateway.registry.records import (
    ActivationRecord,
    AgentRecord,
    AgentVersionRecord,
    BindingRecord,
    BundleRecord,
    Effect,
    KeyRecord,
    RouteMember,
    RouteRecord,
    SubjectKind,
    UpstreamRecord,
)

_SHARED: Final = tuple(
    {each.name for each in dataclasses.fields(AgentRecord)} & AgentVersion.model_fields.keys() - {"since_ns"}
)


def agent_record(organization: Organization, row: NewAgent) -> AgentRecord:
    """An agent as it is in force: also suspended if that is not in its row yet (`review_dates.py`)."""
    suspends_ns = review_dates.suspends_ns(row, organization, row.created_ns)
    members = _members(organization, row)
    members["status"] = review_dates.status(row.status, suspends_ns, time.time_ns())
    return AgentRecord(id=row.id, since_ns=row.updated_ns, suspends_ns=suspends_ns, **members)


def version_record(organization: Organization, row: AgentVersion) -> AgentVersionRecord:
    return AgentVersionRecord(
        id=row.agent_id,
        since_ns=row.since_ns,
        actor=row.actor,
        reason=row.reason,
        **_members(organization, row),
    )


def _members(organization: Organization, row: AgentVersion | NewAgent) -> dict[str, Any]:
    """The part that an agent and each of its versions share."""
    return {"organization": organization.name, **{name: getattr(row, name) for name in _SHARED}}


def key_record(organization: Organization, holder: Agent, row: ApiKey) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        key_id=row.shown_id,
        method=row.method,
        organization=organization.name,
        agent=holder.name,
        agent_id=holder.id,
        created_ns=row.created_ns,
        expires_ns=row.expires_ns,
        revoked_ns=row.revoked_ns,
        scope=row.scope,
        replaced_by=row.replaced_by,
        actor=row.actor,
    )


def binding_record(organization: Organization, row: Binding, agent_name: str | None) -> BindingRecord:
    """`agent_name` is that of an agent which is the subject, and None for other subjects."""
    subject = organization.name if row.subject_kind == "organization" else agent_name or row.subject
    return BindingRecord(
        id=row.id,
        organization=organization.name,
        subject_kind=cast(SubjectKind, row.subject_kind),
        subject=subject,
        bundle=row.bundle,
        effect=cast(Effect, row.effect),
        pinned=row.pinned,
        created_ns=row.created_ns,
        shadow=row.shadow,
        actor=row.actor,
        reason=row.reason,
    )


def upstream_record(organization: Organization, row: Upstream) -> UpstreamRecord:
    return UpstreamRecord(
        id=row.id,
        organization=organization.name,
        name=row.name,
        provider=row.provider,
        base_url=row.base_url,
        default=row.is_default,
        has_secret=row.secret is not None,
        version=row.version,
        created_ns=row.created_ns,
        specification=row.specification,
        headers=dict(row.headers),
    )


def route_record(session: Session, organization: Organization, row: UpstreamRoute) -> RouteRecord:
    mine = select(Upstream.id, Upstream.name).where(Upstream.organization_id == organization.id)
    known = dict(session.exec(mine).all())
    return RouteRecord(
        id=row.id,
        organization=organization.name,
        name=row.name,
        default=row.is_default,
        version=row.version,
        members=[
            RouteMember(
                upstream=known[each["upstream"]], tier=each["tier"], weight=each["weight"], models=each["models"]
            )
            for each in row.members
            if each["upstream"] in known
        ],
        created_ns=row.created_ns,
        updated_ns=row.updated_ns,
    )


def activation_record(session: Session, row: Activation) -> ActivationRecord:
    members = session.exec(
        select(Bundle)
        .join(
            ActivationBundle,
            (col(ActivationBundle.name) == Bundle.name) & (col(ActivationBundle.revision) == Bundle.revision),
        )
        .where(ActivationBundle.activation_id == row.id)
        .order_by(Bundle.name)
    )
    bundles = {each.name: bundle_record(each) for each in members}
    return ActivationRecord(id=row.id, commit=row.revision, actor=row.actor, created_ns=row.created_ns, bundles=bundles)


def bundle_record(row: Bundle) -> BundleRecord:
    return BundleRecord(
        name=row.name,
        commit=row.revision,
        digest=row.digest,
        author=row.author,
        entrypoint=row.entrypoint,
    )
