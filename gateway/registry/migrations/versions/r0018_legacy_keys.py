"""Provider keys that programs may still present while their organization moves to keys of its own.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

CHANGES = {"legacy_key": ("authority",)}
EVENTS = ("insert", "update", "delete")
TRIGGER = """
CREATE TRIGGER epoch_<table>_<event> AFTER <event> ON <table>
BEGIN UPDATE epoch SET value = value + 1, authority = value + 1; END
"""

LIVE = sa.text("revoked_ns IS NULL")


def upgrade() -> None:
    op.create_table(
        "legacy_key",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("agent_id", sa.String, sa.ForeignKey("agent.id"), nullable=False),
        sa.Column("upstream", sa.String, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("pepper", sa.Integer, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger, nullable=False),
        sa.Column("revoked_ns", sa.BigInteger),
        sa.Column("actor", sa.String, nullable=False),
    )
    op.create_index("legacy_key_live", "legacy_key", ["digest"], unique=True, sqlite_where=LIVE, postgresql_where=LIVE)
    op.create_index("legacy_key_digest", "legacy_key", ["digest"])
    op.create_index("legacy_key_organization", "legacy_key", ["organization_id"])
    for table in CHANGES:
        for event in EVENTS:
            op.execute(TRIGGER.replace("<event>", event).replace("<table>", table))
