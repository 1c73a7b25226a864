"""The tables of the registry, its indexes and its triggers, as they were when its migrations began to be kept.

Earlier registries were never released, and are refused: this revision has the number of their last one.

Revision ID: 0028
Revises: nothing
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision: str | None = None

TEXT, NUMBER, BIG, FLAG, JSON, BYTES = sa.String, sa.Integer, sa.BigInteger, sa.Boolean, sa.JSON, sa.LargeBinary

PARTS = ("authority", "upstreams", "policy")
"""The parts that workers read; the epoch says when each changed last."""

# A row of these decides what a request may do: a change of one moves the epoch of these parts in the same transaction.
# The names of organizations are in principals and in upstreams.
CHANGES = {
    "organization": ("authority", "upstreams"),
    "team": ("authority",),
    "agent": ("authority",),
    "api_key": ("authority",),
    "legacy_key": ("authority",),
    "issuer": ("authority",),
    "issuer_rule": ("authority",),
    "binding": ("authority",),
    "usage_limit": ("authority",),
    "emergency_stop": ("authority",),
    "upstream": ("upstreams",),
    "upstream_route": ("upstreams",),
    "activation_current": ("policy",),
}
EVENTS = ("insert", "update", "delete")
EPOCH_TRIGGER = """
CREATE TRIGGER epoch_<table>_<event> AFTER <event> ON <table>
BEGIN UPDATE epoch SET value = value + 1, <parts>; END
"""

# Bindings pin revisions, which are read with the activation.
PINNED_TRIGGER = """
CREATE TRIGGER epoch_pinned_<event> AFTER <event> ON binding WHEN <pinned>
BEGIN UPDATE epoch SET value = value + 1, policy = value + 1; END
"""
PINNED = {
    "insert": "NEW.pinned IS NOT NULL",
    "update": "OLD.pinned IS NOT NULL OR NEW.pinned IS NOT NULL",
    "delete": "OLD.pinned IS NOT NULL",
}

# Rows of these are referred to by the audit log: they are written once.
WRITTEN_ONCE = (
    "organization_version",
    "team_version",
    "agent_version",
    "operator_version",
    "bundle",
    "activation",
    "activation_bundle",
)
HISTORY_TRIGGER = """
CREATE TRIGGER history_<table>_<event> BEFORE <event> ON <table>
BEGIN SELECT RAISE(ABORT, 'rows of <table> are never changed'); END
"""


def upgrade() -> None:
    _tenancy()
    _agents()
    _credentials()
    _issuers()
    _bindings_and_limits()
    _upstreams()
    _policies()
    _operators()
    _logins()
    _epoch_and_outbox()
    _triggers()


def _tenancy() -> None:
    _table(
        "deployment",
        _key("id", NUMBER),
        _required(TEXT, "name"),
        _required(BIG, "created_ns"),
        _check("one_row", "id = 1"),
    )
    _table(
        "organization",
        _key("id"),
        _required(TEXT, "name", unique=True),
        _required(BIG, "created_ns"),
        _required(TEXT, "status", server_default="active"),
        _required(NUMBER, "version", server_default="1"),
        _optional(NUMBER, "review_days"),
        _required(TEXT, "zone", server_default="UTC"),
        _optional(NUMBER, "suspend_after_days"),
    )
    _table(
        "organization_version",
        _key("organization_id", TEXT, sa.ForeignKey("organization.id")),
        _key("version", NUMBER),
        _required(TEXT, "status"),
        _optional(NUMBER, "review_days"),
        _required(TEXT, "actor reason"),
        _required(BIG, "since_ns"),
        _required(TEXT, "zone", server_default="UTC"),
        _optional(NUMBER, "suspend_after_days"),
    )
    _table(
        "team",
        _of_organization(),
        _required(TEXT, "name owner description status"),
        _required(NUMBER, "version"),
        _required(BIG, "created_ns updated_ns"),
    )
    _index("team_name", "team", "organization_id name", unique=True)
    _table(
        "team_version",
        _key("team_id", TEXT, sa.ForeignKey("team.id")),
        _key("version", NUMBER),
        _required(TEXT, "organization_id", to="organization.id"),
        _required(TEXT, "name owner description status actor reason"),
        _required(BIG, "since_ns"),
    )


def _agents() -> None:
    _table(
        "agent",
        _of_organization(),
        _required(TEXT, "name owner team environment"),
        _required(JSON, "capabilities labels"),
        _required(TEXT, "status"),
        _required(BIG, "created_ns updated_ns"),
        _required(NUMBER, "version"),
        _optional(JSON, "content"),
        _optional(BYTES, "content_key"),
        _required(TEXT, "description purpose model_family", server_default=""),
        _optional(TEXT, "parent"),
        _optional(BIG, "expires_ns"),
        _optional(NUMBER, "review_days"),
        _optional(BIG, "reviewed_ns"),
        _check("status_known", "status IN ('active', 'suspended', 'revoked', 'retired')"),
    )
    _index(
        "agent_live_name", "agent", "organization_id name", unique=True, where="status NOT IN ('revoked', 'retired')"
    )
    _table(
        "agent_version",
        _key("agent_id", TEXT, sa.ForeignKey("agent.id")),
        _key("version", NUMBER),
        _required(TEXT, "organization_id", to="organization.id"),
        _required(TEXT, "name owner team environment"),
        _required(JSON, "capabilities labels"),
        _required(TEXT, "status actor"),
        _required(BIG, "since_ns"),
        _optional(JSON, "content"),
        _required(TEXT, "description purpose model_family", server_default=""),
        _optional(TEXT, "parent"),
        _optional(BIG, "expires_ns"),
        _optional(NUMBER, "review_days"),
        _optional(BIG, "reviewed_ns"),
        _required(TEXT, "reason", server_default=""),
    )
    _table(
        "emergency_stop",
        _key("id"),
        _optional(TEXT, "organization_id", to="organization.id"),
        _required(TEXT, "actor reason"),
        _required(BIG, "created_ns"),
        _optional(BIG, "ended_ns"),
        _optional(TEXT, "ended_by"),
    )
    _index("emergency_stop_in_force", "emergency_stop", "organization_id", where="ended_ns IS NULL")


def _credentials() -> None:
    _table(
        "api_key",
        _of_organization(),
        _required(TEXT, "agent_id", to="agent.id"),
        _required(TEXT, "credential_id", unique=True),
        _required(BYTES, "digest"),
        _required(NUMBER, "pepper"),
        _required(BIG, "created_ns"),
        _optional(BIG, "expires_ns revoked_ns"),
        _optional(JSON, "scope"),
        _optional(TEXT, "replaced_by actor"),
        _optional(BYTES, "public_key"),
        _optional(TEXT, "spiffe_id"),
        _optional(BIG, "replaced_ns first_expires_ns"),
    )
    _index("api_key_agent", "api_key", "agent_id")
    _index("api_key_spiffe", "api_key", "spiffe_id")
    _index(
        "api_key_live_spiffe", "api_key", "spiffe_id", unique=True, where="revoked_ns IS NULL AND spiffe_id IS NOT NULL"
    )
    _table(
        "legacy_key",
        _of_organization(),
        _required(TEXT, "agent_id", to="agent.id"),
        _required(TEXT, "upstream"),
        _required(BYTES, "digest"),
        _required(NUMBER, "pepper"),
        _required(BIG, "created_ns expires_ns"),
        _optional(BIG, "revoked_ns"),
        _required(TEXT, "actor"),
    )
    _index("legacy_key_live", "legacy_key", "digest", unique=True, where="revoked_ns IS NULL")
    _index("legacy_key_digest", "legacy_key", "digest")
    _index("legacy_key_organization", "legacy_key", "organization_id")
    _table(
        "given_name",
        _of_organization(),
        _required(TEXT, "kind name audience"),
        _required(BIG, "created_ns"),
        _required(TEXT, "actor"),
    )
    _index("given_name_once", "given_name", "kind name audience", unique=True)
    _table(
        "contest",
        _key("credential"),
        _key("organization_id", TEXT, sa.ForeignKey("organization.id")),
        _required(TEXT, "holder_id", to="organization.id"),
        _required(TEXT, "what"),
        _required(BIG, "first_ns last_ns"),
    )


def _issuers() -> None:
    _table(
        "issuer",
        _of_organization(),
        _required(TEXT, "name issuer audience jwks_url jwks"),
        _required(BIG, "created_ns"),
        _optional(BIG, "removed_ns"),
        _required(TEXT, "purpose", server_default="workloads"),
        _required(TEXT, "accepts", server_default="id_token"),
        _required(NUMBER, "max_age", server_default="3600"),
        _required(JSON, "claims algorithms", server_default="[]"),
        _required(TEXT, "reach", server_default="anywhere"),
    )
    _index("issuer_live_name", "issuer", "organization_id name", unique=True, where="removed_ns IS NULL")
    _index("issuer_live_audience", "issuer", "issuer audience", unique=True, where="removed_ns IS NULL")
    _table(
        "issuer_rule",
        _of_organization(),
        _required(TEXT, "issuer_id", to="issuer.id"),
        _required(TEXT, "agent_id", to="agent.id"),
        _required(JSON, "claims"),
        _required(BIG, "created_ns"),
        _optional(BIG, "removed_ns"),
    )
    _index("issuer_rule_issuer", "issuer_rule", "issuer_id")


def _bindings_and_limits() -> None:
    _table(
        "binding",
        _of_organization(),
        _required(TEXT, "subject_kind subject bundle effect"),
        _optional(TEXT, "pinned"),
        _required(BIG, "created_ns"),
        _optional(BIG, "removed_ns"),
        _required(FLAG, "shadow", server_default=sa.false()),
        _optional(TEXT, "actor reason"),
        _check("subject_kind_known", "subject_kind IN ('agent', 'team', 'organization')"),
        _check("effect_known", "effect IN ('grant', 'guard')"),
    )
    _index(
        "binding_live",
        "binding",
        "organization_id subject_kind subject bundle shadow",
        unique=True,
        where="removed_ns IS NULL",
    )
    _index("binding_pinned", "binding", "bundle pinned", where="removed_ns IS NULL AND pinned IS NOT NULL")
    _table(
        "usage_limit",
        _of_organization(),
        _required(TEXT, "subject_kind subject name upstream model"),
        _required(BIG, "value"),
        _optional(BIG, "raised raised_until_ns"),
        _optional(TEXT, "reason"),
        _required(BIG, "created_ns"),
        _optional(BIG, "removed_ns"),
        _optional(TEXT, "actor"),
        _required(FLAG, "by_gateway", server_default=sa.true()),
        _required(TEXT, "mode", server_default="hard"),
        _check("subject_kind_known", "subject_kind IN ('agent', 'team', 'organization')"),
    )
    _index(
        "usage_limit_live",
        "usage_limit",
        "organization_id subject_kind subject name upstream model by_gateway",
        unique=True,
        where="removed_ns IS NULL",
    )


def _upstreams() -> None:
    _table(
        "upstream",
        _of_organization(),
        _required(TEXT, "name provider base_url"),
        _required(FLAG, "is_default"),
        _optional(BYTES, "secret"),
        _required(NUMBER, "version"),
        _required(BIG, "created_ns updated_ns"),
        _optional(TEXT, "specification"),
        _required(JSON, "headers", server_default="{}"),
        _required(TEXT, "reach", server_default="anywhere"),
    )
    _index("upstream_name", "upstream", "organization_id name", unique=True)
    _index("upstream_default", "upstream", "organization_id", unique=True, where="is_default")
    _table(
        "upstream_route",
        _of_organization(),
        _required(TEXT, "name"),
        _required(FLAG, "is_default"),
        _required(JSON, "members"),
        _required(NUMBER, "version"),
        _required(BIG, "created_ns updated_ns"),
    )
    _index("upstream_route_name", "upstream_route", "organization_id name", unique=True)
    _index("upstream_route_default", "upstream_route", "organization_id", unique=True, where="is_default")
    _table(
        "webhook",
        _of_organization(),
        _required(TEXT, "url reach"),
        _required(JSON, "events"),
        _required(BYTES, "secret"),
        _required(BIG, "since created_ns"),
    )
    _index("webhook_url", "webhook", "organization_id url", unique=True)


def _policies() -> None:
    _table(
        "bundle",
        _key("name"),
        _key("revision"),
        _required(TEXT, "digest author entrypoint"),
        _required(BIG, "tested_ns"),
    )
    _table(
        "activation",
        _key("id"),
        _required(TEXT, "revision actor"),
        _required(BIG, "created_ns"),
    )
    _table(
        "activation_bundle",
        _key("activation_id", TEXT, sa.ForeignKey("activation.id")),
        _key("name"),
        _required(TEXT, "revision"),
        [sa.ForeignKeyConstraint(["name", "revision"], ["bundle.name", "bundle.revision"])],
    )
    _table(
        "activation_current",
        _key("id", NUMBER),
        _required(TEXT, "activation_id", to="activation.id"),
        _check("one_row", "id = 1"),
    )


def _operators() -> None:
    _table(
        "operator",
        _key("id"),
        _optional(TEXT, "organization_id", to="organization.id"),
        _required(TEXT, "name role status"),
        _required(NUMBER, "version"),
        _required(BIG, "created_ns updated_ns"),
        _optional(TEXT, "issuer subject"),
        _check("role_known", "role IN ('owner', 'admin', 'auditor', 'viewer')"),
        _check("status_known", "status IN ('active', 'revoked')"),
    )
    _index(
        "operator_live_everywhere",
        "operator",
        "name",
        unique=True,
        where="status = 'active' AND organization_id IS NULL",
    )
    _index("operator_live_name", "operator", "organization_id name", unique=True, where="status = 'active'")
    _index(
        "operator_person_everywhere",
        "operator",
        "issuer subject",
        unique=True,
        where="status = 'active' AND issuer IS NOT NULL AND organization_id IS NULL",
    )
    _index(
        "operator_person",
        "operator",
        "organization_id issuer subject",
        unique=True,
        where="status = 'active' AND issuer IS NOT NULL",
    )
    _table(
        "operator_version",
        _key("operator_id", TEXT, sa.ForeignKey("operator.id")),
        _key("version", NUMBER),
        _optional(TEXT, "organization_id", to="organization.id"),
        _required(TEXT, "name role status actor reason"),
        _required(BIG, "since_ns"),
    )
    _table(
        "operator_token",
        _key("id"),
        _required(TEXT, "operator_id", to="operator.id"),
        _optional(TEXT, "organization_id", to="organization.id"),
        _required(TEXT, "credential_id", unique=True),
        _required(BYTES, "digest"),
        _required(NUMBER, "pepper"),
        _optional(JSON, "scopes"),
        _required(BIG, "created_ns"),
        _optional(BIG, "expires_ns revoked_ns"),
        _required(TEXT, "actor"),
        _optional(TEXT, "login login_rule"),
    )
    _index("operator_token_operator", "operator_token", "operator_id")
    _index("operator_token_rule", "operator_token", "login_rule")
    _index("operator_token_login", "operator_token", "login", unique=True, where="login IS NOT NULL")
    _table(
        "repeatable_request",
        _key("operator_id", TEXT, sa.ForeignKey("operator.id")),
        _key("key"),
        _required(BYTES, "digest"),
        _optional(NUMBER, "status"),
        _optional(BYTES, "answer"),
        _required(BIG, "created_ns"),
    )
    _index("repeatable_request_created", "repeatable_request", "created_ns")


def _logins() -> None:
    _table(
        "login_provider",
        _key("id"),
        _required(TEXT, "name issuer client_id"),
        _optional(BYTES, "secret"),
        _required(JSON, "scopes"),
        _required(NUMBER, "session_seconds version"),
        _required(BIG, "created_ns"),
        _optional(BIG, "removed_ns"),
    )
    _index("login_provider_name", "login_provider", "name", unique=True, where="removed_ns IS NULL")
    _index("login_provider_issuer", "login_provider", "issuer", unique=True, where="removed_ns IS NULL")
    _table(
        "login_rule",
        _key("id"),
        _required(TEXT, "provider_id", to="login_provider.id"),
        _optional(TEXT, "organization_id", to="organization.id"),
        _required(JSON, "claims"),
        _required(TEXT, "role"),
        _required(BIG, "created_ns"),
        _optional(BIG, "removed_ns"),
        _check("role_known", "role IN ('owner', 'admin', 'auditor', 'viewer')"),
    )
    _index("login_rule_provider", "login_rule", "provider_id")


def _epoch_and_outbox() -> None:
    epoch = _table(
        "epoch",
        _key("id", NUMBER),
        _required(BIG, "value"),
        _required(BIG, "authority upstreams policy", server_default="0"),
        _check("one_row", "id = 1"),
    )
    op.bulk_insert(epoch, [{"id": 1, "value": 1} | dict.fromkeys(PARTS, 1)])
    _table(
        "outbox",
        _key("position", NUMBER),
        _required(TEXT, "event_id", unique=True),
        _required(TEXT, "organization kind"),
        _required(JSON, "entry"),
        _required(BIG, "epoch created_ns"),
        sqlite_autoincrement=True,
    )


def _triggers() -> None:
    for table, parts in CHANGES.items():
        changed = ", ".join(f"{part} = value + 1" for part in parts)
        for event in EVENTS:
            op.execute(EPOCH_TRIGGER.replace("<table>", table).replace("<event>", event).replace("<parts>", changed))
    for event, pinned in PINNED.items():
        op.execute(PINNED_TRIGGER.replace("<event>", event).replace("<pinned>", pinned))
    for table in WRITTEN_ONCE:
        for event in ("update", "delete"):
            op.execute(HISTORY_TRIGGER.replace("<table>", table).replace("<event>", event))


Part = sa.schema.SchemaItem


def _table(name: str, *parts: list[Part], **options: Any) -> sa.Table:
    return op.create_table(name, *(each for part in parts for each in part), **options)


def _of_organization() -> list[Part]:
    return _key("id") + _required(TEXT, "organization_id", to="organization.id")


def _key(name: str, kind: Any = TEXT, *parts: Any) -> list[Part]:
    return [sa.Column(name, kind, *parts, primary_key=True)]


def _required(kind: Any, names: str, **options: Any) -> list[Part]:
    """Columns that are never null; `to` is the column of another table that they refer to."""
    return _columns(kind, names, nullable=False, **options)


def _optional(kind: Any, names: str, **options: Any) -> list[Part]:
    return _columns(kind, names, nullable=True, **options)


def _columns(kind: Any, names: str, to: str | None = None, **options: Any) -> list[Part]:
    return [sa.Column(name, kind, *(() if to is None else (sa.ForeignKey(to),)), **options) for name in names.split()]


def _check(name: str, condition: str) -> list[Part]:
    return [sa.CheckConstraint(condition, name=name)]


def _index(name: str, table: str, columns: str, *, unique: bool = False, where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, columns.split(), unique=unique, sqlite_where=condition, postgresql_where=condition)
