"""Rows of the registry as the records (`records.py`) that commands, the API and changes answer with."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Final

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
    KeyRecord,
    RouteMember,
    RouteRecord,
    UpstreamRecord,
    copied,
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
    named = {"key_id": row.shown_id, "organization": organization.name, "agent": holder.name}
    return copied(KeyRecord, row, **named)


def binding_record(organization: Organization, row: Binding, agent_name: str | None) -> BindingRecord:
    """`agent_name` is that of an agent which is the subject, and None for other subjects."""
    subject = organization.name if row.subject_kind == "organization" else agent_name or row.subject
    return copied(BindingRecord, row, organization=organization.name, subject=subject)


def upstream_record(organization: Organization, row: Upstream) -> UpstreamRecord:
    has_secret = row.secret is not None
    return copied(UpstreamRecord, row, organization=organization.name, default=row.is_default, has_secret=has_secret)


def route_record(session: Session, organization: Organization, row: UpstreamRoute) -> RouteRecord:
    mine = select(Upstream.id, Upstream.name).where(Upstream.organization_id == organization.id)
    known = dict(session.exec(mine).all())
    members = [
        RouteMember(**{**each, "upstream": known[each["upstream"]]})
        for each in row.members
        if each["upstream"] in known
    ]
    return copied(RouteRecord, row, organization=organization.name, default=row.is_default, members=members)


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
    return copied(ActivationRecord, row, commit=row.revision, bundles=bundles)


def bundle_record(row: Bundle) -> BundleRecord:
    return copied(BundleRecord, row, commit=row.revision)
