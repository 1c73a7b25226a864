"""Limits say who set them: the gateway's operators, or those of the organization, who cannot loosen the former.

Both may have set the same limit, and each of the two holds. A limit that an operator of its organization changed last
is the organization's, and any other the gateway's.

Revision ID: 0025
Revises: 0024
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

LIMIT = sa.table("usage_limit", *map(sa.column, ("organization_id", "actor", "by_gateway")))
OPERATOR = sa.table("operator", *map(sa.column, ("id", "organization_id")))


def upgrade() -> None:
    op.add_column("usage_limit", sa.Column("by_gateway", sa.Boolean, nullable=False, server_default=sa.true()))
    its_own = sa.exists().where(
        sa.literal("operator:") + OPERATOR.c.id == LIMIT.c.actor,
        OPERATOR.c.organization_id == LIMIT.c.organization_id,
    )
    op.execute(sa.update(LIMIT).where(its_own).values(by_gateway=sa.false()))
    op.drop_index("usage_limit_live", "usage_limit")
    op.create_index(
        "usage_limit_live",
        "usage_limit",
        ["organization_id", "subject_kind", "subject", "name", "upstream", "model", "by_gateway"],
        unique=True,
        sqlite_where=sa.text("removed_ns IS NULL"),
        postgresql_where=sa.text("removed_ns IS NULL"),
    )
