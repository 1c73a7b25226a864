"""Limits have a mode: they hold exactly, or they work by estimates where a call has no bound.

What was set before holds exactly, as until now, so that an upgrade loosens nothing.

Revision ID: 0028
Revises: 0027
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.add_column("usage_limit", sa.Column("mode", sa.String, nullable=False, server_default="hard"))
