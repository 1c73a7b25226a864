"""The time zone of an organization, in which its days and months begin.

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    for table in ("organization", "organization_version"):
        op.add_column(table, sa.Column("zone", sa.String, nullable=False, server_default="UTC"))
