"""The team or the owner whose agents a webhook is told of.

Revision ID: 0031
Revises: 0030
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision: str | None = "0030"


def upgrade() -> None:
    for name in ("team", "owner"):
        op.add_column("webhook", sa.Column(name, sa.String, nullable=True))
