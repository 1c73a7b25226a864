"""Requests for approval, and what people said about them.

Revision ID: 0029
Revises: 0028
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision: str | None = "0028"

STATES = ("waiting", "approved", "denied", "expired", "closed", "used", "revoked")


def upgrade() -> None:
    states = ", ".join(f"'{each}'" for each in STATES)
    op.create_table(
        "approval_request",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("agent_id", sa.String, sa.ForeignKey("agent.id"), nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=True),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("commitment", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("requirements", sa.JSON, nullable=False),
        sa.Column("call", sa.JSON, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=True),
        sa.Column("decision_id", sa.String, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger, nullable=False),
        sa.Column("settled_ns", sa.BigInteger, nullable=True),
        sa.Column("settled_by", sa.String, nullable=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.CheckConstraint(f"state IN ({states})", name="state_known"),
    )
    unsettled = sa.text("state IN ('waiting', 'approved')")
    stands = sa.text("digest IS NOT NULL")
    op.create_index(
        "approval_request_call",
        "approval_request",
        ["agent_id", "digest"],
        unique=True,
        sqlite_where=stands,
        postgresql_where=stands,
    )
    op.create_index(
        "approval_request_unsettled",
        "approval_request",
        ["organization_id", "agent_id", "state"],
        sqlite_where=unsettled,
        postgresql_where=unsettled,
    )
    op.create_index("approval_request_organization", "approval_request", ["organization_id", "id"])
    op.create_table(
        "approval_review",
        sa.Column("request_id", sa.String, sa.ForeignKey("approval_request.id"), primary_key=True),
        sa.Column("actor", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("meets", sa.JSON, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.CheckConstraint("verdict IN ('approved', 'denied')", name="verdict_known"),
    )
