"""Limits on calls of tools of MCP servers.

Revision ID: 0041
Revises: 0040
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision: str | None = "0040"

_PART = ("upstream", "model", "counterparty", "tool")


def upgrade() -> None:
    op.add_column("usage_limit", sa.Column("tool", sa.String, nullable=False, server_default=""))
    op.drop_index("usage_limit_live", "usage_limit")
    op.create_index(
        "usage_limit_live",
        "usage_limit",
        ["organization_id", "subject_kind", "subject", "name", *_PART, "by_gateway"],
        unique=True,
        sqlite_where=sa.text("removed_ns IS NULL"),
        postgresql_where=sa.text("removed_ns IS NULL"),
    )
