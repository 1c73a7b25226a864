"""Limits on what an agent, a team or an organization may use.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

EVENTS = ("insert", "update", "delete")
TRIGGER = """
CREATE TRIGGER epoch_usage_limit_<event> AFTER <event> ON usage_limit
BEGIN UPDATE epoch SET value = value + 1, authority = value + 1; END
"""


def upgrade() -> None:
    op.create_table(
        "usage_limit",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("subject_kind", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("upstream", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.Column("raised", sa.BigInteger),
        sa.Column("raised_until_ns", sa.BigInteger),
        sa.Column("reason", sa.String),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("removed_ns", sa.BigInteger),
        sa.CheckConstraint("subject_kind IN ('agent', 'team', 'organization')", name="subject_kind_known"),
    )
    op.create_index(
        "usage_limit_live",
        "usage_limit",
        ["organization_id", "subject_kind", "subject", "name", "upstream", "model"],
        unique=True,
        sqlite_where=sa.text("removed_ns IS NULL"),
        postgresql_where=sa.text("removed_ns IS NULL"),
    )
    for event in EVENTS:
        op.execute(TRIGGER.replace("<event>", event))
