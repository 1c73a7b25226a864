"""Operators of the control API with their history and tokens, and the requests that it must not carry out twice.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

ROLES = "role IN ('owner', 'admin', 'auditor', 'viewer')"
STATES = "status IN ('active', 'revoked')"
LIVE_EVERYWHERE = "status = 'active' AND organization_id IS NULL"
LIVE = "status = 'active'"

WRITTEN_ONCE = ("operator_version",)
HISTORY_TRIGGER = """
CREATE TRIGGER history_<table>_<event> BEFORE <event> ON <table>
BEGIN SELECT RAISE(ABORT, 'rows of <table> are never changed'); END
"""


def upgrade() -> None:
    op.create_table(
        "operator",
        sa.Column("id", sa.String, primary_key=True),
        *_members(),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("updated_ns", sa.BigInteger, nullable=False),
        sa.CheckConstraint(ROLES, name="role_known"),
        sa.CheckConstraint(STATES, name="status_known"),
    )
    for name, columns, where in (
        ("operator_live_everywhere", ["name"], LIVE_EVERYWHERE),
        ("operator_live_name", ["organization_id", "name"], LIVE),
    ):
        live = sa.text(where)
        op.create_index(name, "operator", columns, unique=True, sqlite_where=live, postgresql_where=live)
    op.create_table(
        "operator_version",
        sa.Column("operator_id", sa.String, sa.ForeignKey("operator.id"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        *_members(),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("since_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "operator_token",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("operator_id", sa.String, sa.ForeignKey("operator.id"), nullable=False),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id")),
        sa.Column("credential_id", sa.String, nullable=False, unique=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("pepper", sa.Integer, nullable=False),
        sa.Column("scopes", sa.JSON),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger),
        sa.Column("revoked_ns", sa.BigInteger),
        sa.Column("actor", sa.String, nullable=False),
    )
    op.create_index("operator_token_operator", "operator_token", ["operator_id"])
    op.create_table(
        "repeatable_request",
        sa.Column("operator_id", sa.String, sa.ForeignKey("operator.id"), primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
    )
    op.create_index("repeatable_request_created", "repeatable_request", ["created_ns"])
    for table in WRITTEN_ONCE:
        for event in ("update", "delete"):
            op.execute(HISTORY_TRIGGER.replace("<table>", table).replace("<event>", event))


def _members() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id")),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
    )
