"""How long after its review was due an agent is suspended that nobody has confirmed, if its organization wants that.

Revision ID: 0021
Revises: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    for table in ("organization", "organization_version"):
        op.add_column(table, sa.Column("suspend_after_days", sa.Integer, nullable=True))
