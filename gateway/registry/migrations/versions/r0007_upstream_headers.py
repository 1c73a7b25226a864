"""An upstream has headers of its own, such as the organization at the provider that pays for its calls.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("upstream", sa.Column("headers", sa.JSON, nullable=False, server_default="{}"))
