"""How often and for which calls an approval may be used, and who has looked at the call of a request.

Revision ID: 0034
Revises: 0033
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision: str | None = "0033"


def upgrade() -> None:
    for column in (
        sa.Column("pattern", sa.LargeBinary, nullable=True),
        sa.Column("pattern_commitment", sa.String, nullable=False, server_default=""),
        sa.Column("uses", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column("used", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("for_pattern", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("approval_request", column)
    for column in (
        sa.Column("uses", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column("seconds", sa.BigInteger, nullable=False, server_default="3600"),
        sa.Column("for_pattern", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("approval_review", column)
    alike = sa.text("pattern IS NOT NULL")
    op.create_index(
        "approval_request_pattern",
        "approval_request",
        ["agent_id", "pattern"],
        sqlite_where=alike,
        postgresql_where=alike,
    )
    op.create_table(
        "approval_look",
        sa.Column("request_id", sa.String, sa.ForeignKey("approval_request.id"), primary_key=True),
        sa.Column("actor", sa.String, primary_key=True),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
    )
