"""When a key was replaced, and until when it would have worked otherwise: what held at an earlier time is told by it.

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    for name in ("replaced_ns", "first_expires_ns"):
        op.add_column("api_key", sa.Column(name, sa.BigInteger, nullable=True))
