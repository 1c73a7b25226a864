"""The requirements of a request for approval that others may review after a time, too.

Revision ID: 0033
Revises: 0032
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision: str | None = "0032"


def upgrade() -> None:
    op.add_column("approval_request", sa.Column("escalated", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("approval_request", sa.Column("escalates_ns", sa.BigInteger, nullable=True))
