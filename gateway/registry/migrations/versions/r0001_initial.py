"""The first tables, the epoch and its triggers.

Revision ID: 0001
Revises: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None

# A row of these decides what a request may do: whoever changes one changes the epoch in the same transaction.
AUTHORITY = ("organization", "agent", "api_key", "binding", "upstream", "activation_current")
EPOCH_TRIGGER = """
CREATE TRIGGER epoch_<table>_<event> AFTER <event> ON <table>
BEGIN UPDATE epoch SET value = value + 1; END
"""

# Rows of these are referred to by the audit log: they are written once.
WRITTEN_ONCE = ("agent_version", "bundle", "activation", "activation_bundle")
HISTORY_TRIGGER = """
CREATE TRIGGER history_<table>_<event> BEFORE <event> ON <table>
BEGIN SELECT RAISE(ABORT, 'rows of <table> are never changed'); END
"""


def upgrade() -> None:
    _tenancy()
    _keys_and_bindings()
    _upstreams()
    _policies()
    _epoch_and_outbox()
    for table in AUTHORITY:
        for event in ("insert", "update", "delete"):
            op.execute(EPOCH_TRIGGER.replace("<table>", table).replace("<event>", event))
    for table in WRITTEN_ONCE:
        for event in ("update", "delete"):
            op.execute(HISTORY_TRIGGER.replace("<table>", table).replace("<event>", event))


def _tenancy() -> None:
    op.create_table(
        "deployment",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.create_table(
        "organization",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "agent",
        sa.Column("id", sa.String, primary_key=True),
        *_agent_columns(),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("updated_ns", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.CheckConstraint("status IN ('active', 'revoked')", name="status_known"),
    )
    op.create_index(
        "agent_live_name",
        "agent",
        ["organization_id", "name"],
        unique=True,
        sqlite_where=sa.text("status <> 'revoked'"),
        postgresql_where=sa.text("status <> 'revoked'"),
    )
    op.create_table(
        "agent_version",
        sa.Column("agent_id", sa.String, sa.ForeignKey("agent.id"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        *_agent_columns(),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("since_ns", sa.BigInteger, nullable=False),
    )


def _agent_columns() -> tuple[sa.Column[object], ...]:
    """What an agent and each of its versions have in common."""
    return (
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("team", sa.String, nullable=False),
        sa.Column("environment", sa.String, nullable=False),
        sa.Column("capabilities", sa.JSON, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("status", sa.String, nullable=False),
    )


def _keys_and_bindings() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("agent_id", sa.String, sa.ForeignKey("agent.id"), nullable=False),
        sa.Column("credential_id", sa.String, nullable=False, unique=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("pepper", sa.Integer, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger),
        sa.Column("revoked_ns", sa.BigInteger),
    )
    op.create_index("api_key_agent", "api_key", ["agent_id"])
    op.create_table(
        "binding",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("subject_kind", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("bundle", sa.String, nullable=False),
        sa.Column("effect", sa.String, nullable=False),
        sa.Column("pinned", sa.String),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("removed_ns", sa.BigInteger),
        sa.CheckConstraint("subject_kind IN ('agent', 'team', 'organization')", name="subject_kind_known"),
        sa.CheckConstraint("effect IN ('grant', 'guard')", name="effect_known"),
    )
    op.create_index(
        "binding_live",
        "binding",
        ["organization_id", "subject_kind", "subject", "bundle"],
        unique=True,
        sqlite_where=sa.text("removed_ns IS NULL"),
        postgresql_where=sa.text("removed_ns IS NULL"),
    )


def _upstreams() -> None:
    op.create_table(
        "upstream",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("base_url", sa.String, nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("secret", sa.LargeBinary),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("updated_ns", sa.BigInteger, nullable=False),
    )
    op.create_index("upstream_name", "upstream", ["organization_id", "name"], unique=True)
    op.create_index(
        "upstream_default",
        "upstream",
        ["organization_id"],
        unique=True,
        sqlite_where=sa.text("is_default"),
        postgresql_where=sa.text("is_default"),
    )


def _policies() -> None:
    op.create_table(
        "bundle",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("revision", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("entrypoint", sa.String, nullable=False),
        sa.Column("tested_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "activation",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("revision", sa.String, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "activation_bundle",
        sa.Column("activation_id", sa.String, sa.ForeignKey("activation.id"), primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("revision", sa.String, nullable=False),
        sa.ForeignKeyConstraint(["name", "revision"], ["bundle.name", "bundle.revision"]),
    )
    op.create_table(
        "activation_current",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("activation_id", sa.String, sa.ForeignKey("activation.id"), nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )


def _epoch_and_outbox() -> None:
    epoch = op.create_table(
        "epoch",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.bulk_insert(epoch, [{"id": 1, "value": 1}])
    op.create_table(
        "outbox",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("event_id", sa.String, nullable=False, unique=True),
        sa.Column("organization", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("entry", sa.JSON, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
