"""Names of workloads (SPIFFE IDs) as credentials of agents, beside keys.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

LIVE = "revoked_ns IS NULL AND spiffe_id IS NOT NULL"


def upgrade() -> None:
    op.add_column("api_key", sa.Column("spiffe_id", sa.String, nullable=True))
    op.create_index("api_key_spiffe", "api_key", ["spiffe_id"])
    live = sa.text(LIVE)
    op.create_index(
        "api_key_live_spiffe", "api_key", ["spiffe_id"], unique=True, sqlite_where=live, postgresql_where=live
    )
