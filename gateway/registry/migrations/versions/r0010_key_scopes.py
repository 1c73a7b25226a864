"""What a key is for, where that is less than its agent may do; and the key that a rotation made in its place.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("api_key", sa.Column("scope", sa.JSON, nullable=True))
    op.add_column("api_key", sa.Column("replaced_by", sa.String, nullable=True))
