"""Upstreams and issuers say which addresses their hosts may have. Those that exist reach what they reach today.

Revision ID: 0026
Revises: 0025
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    for table in ("upstream", "issuer"):
        op.add_column(table, sa.Column("reach", sa.String, nullable=False, server_default="anywhere"))
