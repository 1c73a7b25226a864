"""Suspending agents that nobody confirms: after how many days, and which agents were warned.

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    for table in ("organization", "organization_version"):
        op.add_column(table, sa.Column("suspend_after_days", sa.Integer, nullable=True))
    op.create_table(
        "review_warning",
        sa.Column("agent_id", sa.String, sa.ForeignKey("agent.id"), primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("suspend_ns", sa.BigInteger, nullable=False),
    )
    op.create_index("review_warning_organization", "review_warning", ["organization_id"])
