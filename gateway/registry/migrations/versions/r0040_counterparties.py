"""Limits on calls to the agents of an organization, and on those that they make.

Revision ID: 0040
Revises: 0039
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision: str | None = "0039"

_PART = ("upstream", "model", "counterparty")


def upgrade() -> None:
    op.add_column("usage_limit", sa.Column("counterparty", sa.String, nullable=False, server_default=""))
    op.drop_index("usage_limit_live", "usage_limit")
    op.create_index(
        "usage_limit_live",
        "usage_limit",
        ["organization_id", "subject_kind", "subject", "name", *_PART, "by_gateway"],
        unique=True,
        sqlite_where=sa.text("removed_ns IS NULL"),
        postgresql_where=sa.text("removed_ns IS NULL"),
    )
