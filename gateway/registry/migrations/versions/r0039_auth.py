"""The kind of an upstream's credentials: its own key or none, or a token of the gateway for each call.

Revision ID: 0039
Revises: 0038
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision: str | None = "0038"


def upgrade() -> None:
    op.add_column("upstream", sa.Column("auth", sa.String(), nullable=False, server_default="key"))
