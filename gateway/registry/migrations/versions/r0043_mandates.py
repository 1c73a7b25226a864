"""Mandates: an agent lets another one act for it, to an amount and until a time.

Revision ID: 0043
Revises: 0042
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.registry.migrations.versions.r0028_tables import EPOCH_TRIGGER, EVENTS

revision = "0043"
down_revision: str | None = "0042"

CHANGES = {"mandate": ("authority",)}


def upgrade() -> None:
    op.create_table(
        "mandate",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("agent_id", sa.String, sa.ForeignKey("agent.id"), nullable=False),
        sa.Column("to_organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("to_agent_id", sa.String, sa.ForeignKey("agent.id"), nullable=False),
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("amount_microusd", sa.BigInteger, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=True),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger, nullable=False),
        sa.Column("revoked_ns", sa.BigInteger, nullable=True),
        sa.Column("actor", sa.String, nullable=False),
    )
    op.create_index("mandate_organization", "mandate", ["organization_id", "id"])
    op.create_index("mandate_to_organization", "mandate", ["to_organization_id", "id"])
    for table, parts in CHANGES.items():
        changed = ", ".join(f"{part} = value + 1" for part in parts)
        for event in EVENTS:
            op.execute(EPOCH_TRIGGER.replace("<table>", table).replace("<event>", event).replace("<parts>", changed))
