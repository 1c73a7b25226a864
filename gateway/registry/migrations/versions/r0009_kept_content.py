"""Agents whose content is kept: for how long, what is redacted, and under which key, which is sealed.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("agent", sa.Column("content", sa.JSON, nullable=True))
    op.add_column("agent", sa.Column("content_key", sa.LargeBinary, nullable=True))
    op.add_column("agent_version", sa.Column("content", sa.JSON, nullable=True))
