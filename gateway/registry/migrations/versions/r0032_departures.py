"""When the client has left that asked for an approval.

Revision ID: 0032
Revises: 0031
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision: str | None = "0031"


def upgrade() -> None:
    op.add_column("approval_request", sa.Column("left_ns", sa.BigInteger, nullable=True))
