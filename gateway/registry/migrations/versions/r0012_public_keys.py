"""Public keys of agents that sign their requests, beside API keys.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("api_key", sa.Column("public_key", sa.LargeBinary, nullable=True))
