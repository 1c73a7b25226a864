"""Indexes for pages of long lists: those of an organization in the order of ids, and agents by owner and team.

Revision ID: 0035
Revises: 0034
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision: str | None = "0034"


def upgrade() -> None:
    op.create_index("agent_organization", "agent", ["organization_id", "id"])
    op.create_index("agent_owner", "agent", ["organization_id", "owner", "id"])
    op.create_index("agent_team", "agent", ["organization_id", "team", "id"])
    in_force = sa.text("removed_ns IS NULL")
    for table in ("binding", "usage_limit"):
        op.create_index(
            f"{table}_in_force",
            table,
            ["organization_id", "id"],
            sqlite_where=in_force,
            postgresql_where=in_force,
        )
