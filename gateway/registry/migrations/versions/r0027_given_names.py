"""Names that organizations were given, and credentials that two of them claim.

Revision ID: 0027
Revises: 0026
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.create_table(
        "given_name",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("audience", sa.String, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
    )
    op.create_index("given_name_once", "given_name", ["kind", "name", "audience"], unique=True)
    op.create_table(
        "contest",
        sa.Column("credential", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), primary_key=True),
        sa.Column("holder_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("first_ns", sa.BigInteger, nullable=False),
        sa.Column("last_ns", sa.BigInteger, nullable=False),
    )
