"""The shape that a webhook's receiver takes.

Revision ID: 0030
Revises: 0029
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision: str | None = "0029"


def upgrade() -> None:
    op.add_column("webhook", sa.Column("shape", sa.String, nullable=False, server_default="generic"))
