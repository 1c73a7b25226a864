"""An upstream of any JSON API has a specification: its operations, read from an OpenAPI document.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("upstream", sa.Column("specification", sa.String))
