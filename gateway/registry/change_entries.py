"""The members of an audit entry that describe a changed thing (architecture.md, section 10).

People and programs read these members long after the rows are gone. So members are added, but never renamed. None of
them is a secret or derived from one.
"""

from __future__ import annotations

from gateway.a2a import cards
from gateway.audit.intents import Fields
from gateway.identity.credentials import label
from gateway.registry.agents.fields import texts
from gateway.registry.models import (
    Agent,
    ApiKey,
    Binding,
    EmergencyStop,
    GivenName,
    Issuer,
    IssuerRule,
    LegacyKey,
    LoginProvider,
    LoginRule,
    NewAgent,
    Operator,
    OperatorToken,
    Organization,
    Peer,
    Team,
    Upstream,
    UpstreamRoute,
    UpstreamTool,
    UsageLimit,
    Webhook,
)
from gateway.registry.outbox import document
from gateway.registry.records import MandateRecord


def _of(row: object, *columns: str, **named: str) -> Fields:
    """The columns of a row, those of `named` under another name; times and what is no single value as texts."""
    found: dict[str, str | int | bool | None] = {}
    for name, column in {**named, **dict(zip(columns, columns, strict=True))}.items():
        value = getattr(row, column)
        if name.endswith("_ns") and value is not None:
            value = str(value)
        found[name] = document(value) if name.endswith("_json") else value
    return found


def agent(row: NewAgent) -> Fields:
    return {
        **_of(row, "owner", "team", "environment", agent="id", agent_name="name", agent_version="version"),
        **_of(row, capabilities_json="capabilities", labels_json="labels"),
        **(_of(row, content_json="content") if row.content else {}),
        **_if_any(
            **texts(row),
            parent=row.parent,
            expires_ns=None if row.expires_ns is None else str(row.expires_ns),
            review_days=row.review_days,
        ),
    }


def team(row: Team) -> Fields:
    described = _if_any(description=row.description)
    return {**_of(row, "owner", "status", team_id="id", team="name", team_version="version"), **described}


def organization(row: Organization) -> Fields:
    rules = _if_any(review_days=row.review_days, suspend_after_days=row.suspend_after_days)
    return {**_of(row, "status", "zone", organization_id="id"), **rules}


def _if_any(**members: str | int | None) -> Fields:
    """The members that are not empty: many rows have none of them."""
    return {name: value for name, value in members.items() if value}


def key(holder: Agent, row: ApiKey) -> Fields:
    scope = _of(row, scope_json="scope") if row.scope else {}
    shown = _of(row, "expires_ns", key="id", credential="shown_id", credential_method="method")
    return {**_of(holder, agent="id", agent_name="name"), **shown, **scope}


def operator(row: Operator) -> Fields:
    return _of(row, "role", "status", operator="id", operator_name="name", operator_version="version")


def operator_token(holder: Operator, row: OperatorToken) -> Fields:
    scopes = _of(row, scopes_json="scopes") if row.scopes else {}
    identified = _of(row, "expires_ns", token="id")  # noqa: S106
    shown = {**identified, "credential": label("operator", row.credential_id)}
    return {**_of(holder, operator="id", operator_name="name"), **shown, **scopes}


def login_provider(row: LoginProvider) -> Fields:
    named = _of(row, login_provider="id", login_provider_name="name", issuer_url="issuer", scopes_json="scopes")
    return {**named, **_of(row, "client_id", "session_seconds"), "has_secret": row.secret is not None}


def login_rule(provider: LoginProvider, row: LoginRule, tenant: Organization | None) -> Fields:
    scope = "all" if tenant is None else "organization"
    named = _of(provider, login_provider="id", login_provider_name="name")
    return {**named, **_of(row, "role", login_rule="id", claims_json="claims"), "scope": scope}


def peer(row: Peer) -> Fields:
    return _of(row, "status", "jwks", peer="id", peer_name="name", speaks_for_json="speaks_for", peer_version="version")


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
        **_of(row, "subject_kind", "subject", "bundle", "effect", "pinned", binding="id"),
        "about": about(row),
        **({"shadow": True} if row.shadow else {}),
        "replaced": None if replaced is None else replaced.id,
    }


def limit(row: UsageLimit, replaced: UsageLimit | None = None) -> Fields:
    """`replaced` is the limit that this one took the place of, in the same transaction."""
    raised = ("raised", "raised_until_ns", "reason")
    return {
        **_of(row, "value", "subject_kind", "subject", "model", "by_gateway", "mode", *raised, limit="id"),
        **_of(row, limit_name="name", upstream_name="upstream"),
        **(_of(row, "counterparty") if row.counterparty else {}),
        **(_of(row, "tool") if row.tool else {}),
        "about": about(row),
        "replaced": None if replaced is None else replaced.id,
        "value_before": None if replaced is None else replaced.value,
        **({} if replaced is None or replaced.mode == row.mode else {"mode_before": replaced.mode}),
    }


def emergency_stop(row: EmergencyStop) -> Fields:
    """The reason is beside these members: that of the stop, or of its end."""
    return {
        **_of(row, stop="id", stopped_ns="created_ns"),
        "scope": "all" if row.organization_id is None else "organization",
    }


def upstream(row: Upstream) -> Fields:
    named = _of(row, upstream="id", upstream_name="name", secret_version="version")  # noqa: S106
    headers = _of(row, headers_json="headers") if row.headers else {}
    same = _of(row, "provider", "base_url", "is_default", "reach", "auth")
    tools = _of(row, "trust") if row.trust else {}
    if row.provider == cards.PROVIDER and row.specification:
        tools = {"published": cards.load(row.specification).agent, "card_json": row.specification}
    return {**named, **same, "has_secret": row.secret is not None, **headers, **tools}


def tool(row: UpstreamTool, upstream: Upstream) -> Fields:
    """`seen_digest` is what the server says now, if that is not what was approved."""
    return {
        **_of(row, "state", "digest", "seen_digest", "approved_by", "gone_ns", tool="id", tool_name="name"),
        **_of(upstream, "trust", upstream="id", upstream_name="name"),
    }


def route(row: UpstreamRoute) -> Fields:
    named = _of(row, route="id", route_name="name", route_version="version", members_json="members")
    return {**named, **_of(row, "is_default")}


def mandate(record: MandateRecord) -> Fields:
    """The same for the logs of both sides; the document's digest says the rest."""
    return {
        "mandate": record.id,
        "mandate_digest": record.digest,
        "grantor_organization": record.organization,
        "grantor": record.agent_id,
        "grantee_organization": record.to_organization,
        "grantee": record.to_agent_id,
        "amount_microusd": record.amount_microusd,
        "expires_ns": str(record.expires_ns),
    }


def webhook(row: Webhook) -> Fields:
    return _of(row, "url", "reach", "shape", "team", "owner", webhook="id", events_json="events")


def issuer(row: Issuer) -> Fields:
    named = _of(row, issuer="id", issuer_name="name", issuer_url="issuer")
    persons = _of(row, "accepts", "max_age", kept_claims_json="claims", algorithms_json="algorithms")
    found = {**named, **_of(row, "audience", "jwks_url", "purpose", "reach")}
    return {**found, **persons} if row.purpose == "persons" else found


def issuer_rule(row: IssuerRule, holder: Agent) -> Fields:
    return {**_of(row, rule="id", claims_json="claims"), **_of(holder, agent="id", agent_name="name")}


def given_name(row: GivenName) -> Fields:
    return _of(row, "audience", given="id", given_kind="kind", given_name="name")


def adoption(row: LegacyKey, holder: Agent) -> Fields:
    named = {**_of(holder, agent="id", agent_name="name"), "credential_method": "legacy"}
    return {**named, **_of(row, "expires_ns", key="id", upstream_name="upstream")}
