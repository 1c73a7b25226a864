"""Other gateways that are trusted to say who calls.

Revision ID: 0042
Revises: 0041
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.registry.migrations.versions.r0028_tables import EPOCH_TRIGGER, EVENTS

revision = "0042"
down_revision: str | None = "0041"

CHANGES = {"peer": ("authority",)}


def upgrade() -> None:
    op.create_table(
        "peer",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("jwks", sa.String, nullable=False),
        sa.Column("speaks_for", sa.JSON, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("removed_ns", sa.BigInteger),
        sa.CheckConstraint("status IN ('active', 'disabled')", name="status_known"),
    )
    live = sa.text("removed_ns IS NULL")
    op.create_index("peer_name", "peer", ["name"], unique=True, sqlite_where=live, postgresql_where=live)
    for table, parts in CHANGES.items():
        changed = ", ".join(f"{part} = value + 1" for part in parts)
        for event in EVENTS:
            op.execute(EPOCH_TRIGGER.replace("<table>", table).replace("<event>", event).replace("<parts>", changed))
