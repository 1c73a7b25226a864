"""A binding can be a shadow: its bundle is asked and recorded, and its answer does not count.

One bundle may be bound to a subject twice, once so and once to count, so that another commit of it can be tried.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("binding", sa.Column("shadow", sa.Boolean, nullable=False, server_default=sa.false()))
    op.drop_index("binding_live", "binding")
    op.create_index(
        "binding_live",
        "binding",
        ["organization_id", "subject_kind", "subject", "bundle", "shadow"],
        unique=True,
        sqlite_where=sa.text("removed_ns IS NULL"),
        postgresql_where=sa.text("removed_ns IS NULL"),
    )
