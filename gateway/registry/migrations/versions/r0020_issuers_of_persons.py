"""Issuers whose tokens are persons', for whom agents act. Those that exist are for programs.

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column("issuer", sa.Column("purpose", sa.String, nullable=False, server_default="workloads"))
    op.add_column("issuer", sa.Column("accepts", sa.String, nullable=False, server_default="id_token"))
    op.add_column("issuer", sa.Column("max_age", sa.Integer, nullable=False, server_default="3600"))
    op.add_column("issuer", sa.Column("claims", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("issuer", sa.Column("algorithms", sa.JSON, nullable=False, server_default="[]"))
