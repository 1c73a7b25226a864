"""The members of an audit entry that describe a changed thing (architecture.md, section 10).

People and programs read these members long after the rows are gone. So members are added, but never renamed. None of
them is a secret or derived from one.
"""

from __future__ import annotations

from gateway.audit.intents import Fields
from gateway.identity.credentials import label
from gateway.registry.agents.fields import texts
from gateway.registry.models import (
    Agent,
    ApiKey,
    Binding,
    EmergencyStop,
    LoginProvider,
    LoginRule,
    NewAgent,
    Operator,
    OperatorToken,
    Organization,
    Team,
    Upstream,
    UpstreamRoute,
    UsageLimit,
    Webhook,
)
from gateway.registry.outbox import document


def agent(row: NewAgent) -> Fields:
    return {
        "agent": row.id,
        "agent_name": row.name,
        "agent_version": row.version,
        "owner": row.owner,
        "team": row.team,
        "environment": row.environment,
        "capabilities_json": document(row.capabilities),
        "labels_json": document(row.labels),
        **({"content_json": document(row.content)} if row.content else {}),
        **_if_any(
            **texts(row),
            parent=row.parent,
            expires_ns=None if row.expires_ns is None else str(row.expires_ns),
            review_days=row.review_days,
        ),
    }


def team(row: Team) -> Fields:
    return {
        "team_id": row.id,
        "team": row.name,
        "team_version": row.version,
        "owner": row.owner,
        **_if_any(description=row.description),
        "status": row.status,
    }


def organization(row: Organization) -> Fields:
    return {
        "organization_id": row.id,
        **_if_any(review_days=row.review_days, suspend_after_days=row.suspend_after_days),
        "status": row.status,
        "zone": row.zone,
    }


def _if_any(**members: str | int | None) -> Fields:
    """The members that are not empty: many rows have none of them."""
    return {name: value for name, value in members.items() if value}


def key(holder: Agent, row: ApiKey) -> Fields:
    return {
        "agent": holder.id,
        "agent_name": holder.name,
        "key": row.id,
        "credential": row.shown_id,
        "credential_method": row.method,
        "expires_ns": None if row.expires_ns is None else str(row.expires_ns),
        **({"scope_json": document(row.scope)} if row.scope else {}),
    }


def operator(row: Operator) -> Fields:
    return {
        "operator": row.id,
        "operator_name": row.name,
        "operator_version": row.version,
        "role": row.role,
        "status": row.status,
    }


def operator_token(holder: Operator, row: OperatorToken) -> Fields:
    return {
        "operator": holder.id,
        "operator_name": holder.name,
        "token": row.id,
        "credential": label("operator", row.credential_id),
        "expires_ns": None if row.expires_ns is None else str(row.expires_ns),
        **({"scopes_json": document(row.scopes)} if row.scopes else {}),
    }


def login_provider(row: LoginProvider) -> Fields:
    return {
        "login_provider": row.id,
        "login_provider_name": row.name,
        "issuer_url": row.issuer,
        "client_id": row.client_id,
        "has_secret": row.secret is not None,
        "scopes_json": document(row.scopes),
        "session_seconds": row.session_seconds,
    }


def login_rule(provider: LoginProvider, row: LoginRule, tenant: Organization | None) -> Fields:
    return {
        "login_provider": provider.id,
        "login_provider_name": provider.name,
        "login_rule": row.id,
        "claims_json": document(row.claims),
        "role": row.role,
        "scope": "all" if tenant is None else "organization",
    }


def about(row: Binding | UsageLimit) -> str:
    """The subject of a binding or limit under a name that is unique in the log, whose index has it (`agent_of`)."""
    return about_team(row.organization_id, row.subject) if row.subject_kind == "team" else row.subject


def about_team(organization_id: str, team: str) -> str:
    return f"{organization_id}/{team}"


def above(holder: Agent) -> tuple[str, str]:
    """The subjects that `about` names of an agent's team and organization: what is bound to them applies to it."""
    return holder.organization_id, about_team(holder.organization_id, holder.team)


def binding(row: Binding, replaced: Binding | None = None) -> Fields:
    """`replaced` is the binding that this one took the place of, in the same transaction."""
    return {
        "binding": row.id,
        "subject_kind": row.subject_kind,
        "subject": row.subject,
        "about": about(row),
        "bundle": row.bundle,
        "effect": row.effect,
        "pinned": row.pinned,
        **({"shadow": True} if row.shadow else {}),
        "replaced": None if replaced is None else replaced.id,
    }


def limit(row: UsageLimit, replaced: UsageLimit | None = None) -> Fields:
    """`replaced` is the limit that this one took the place of, in the same transaction."""
    return {
        "limit": row.id,
        "limit_name": row.name,
        "value": row.value,
        "subject_kind": row.subject_kind,
        "subject": row.subject,
        "about": about(row),
        "upstream_name": row.upstream,
        "model": row.model,
        "by_gateway": row.by_gateway,
        "mode": row.mode,
        "raised": row.raised,
        "raised_until_ns": None if row.raised_until_ns is None else str(row.raised_until_ns),
        "reason": row.reason,
        "replaced": None if replaced is None else replaced.id,
        "value_before": None if replaced is None else replaced.value,
        **({} if replaced is None or replaced.mode == row.mode else {"mode_before": replaced.mode}),
    }


def emergency_stop(row: EmergencyStop) -> Fields:
    """The reason is beside these members: that of the stop, or of its end."""
    return {
        "stop": row.id,
        "scope": "all" if row.organization_id is None else "organization",
        "stopped_ns": str(row.created_ns),
    }


def upstream(row: Upstream) -> Fields:
    headers = {"headers_json": document(row.headers)} if row.headers else {}
    return {
        "upstream": row.id,
        "upstream_name": row.name,
        "provider": row.provider,
        "base_url": row.base_url,
        "is_default": row.is_default,
        "has_secret": row.secret is not None,
        "secret_version": row.version,
        "reach": row.reach,
        **headers,
    }


def route(row: UpstreamRoute) -> Fields:
    return {
        "route": row.id,
        "route_name": row.name,
        "is_default": row.is_default,
        "route_version": row.version,
        "members_json": document(row.members),
    }


def webhook(row: Webhook) -> Fields:
    return {"webhook": row.id, "url": row.url, "reach": row.reach, "events_json": document(row.events)}
