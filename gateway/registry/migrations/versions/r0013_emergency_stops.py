"""Emergency stops: a row refuses every agent of an organization, or of all.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

EVENTS = ("insert", "update", "delete")
TRIGGER = """
CREATE TRIGGER epoch_emergency_stop_<event> AFTER <event> ON emergency_stop
BEGIN UPDATE epoch SET value = value + 1, authority = value + 1; END
"""


def upgrade() -> None:
    op.create_table(
        "emergency_stop",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id")),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("ended_ns", sa.BigInteger),
        sa.Column("ended_by", sa.String),
    )
    op.create_index(
        "emergency_stop_in_force",
        "emergency_stop",
        ["organization_id"],
        sqlite_where=sa.text("ended_ns IS NULL"),
        postgresql_where=sa.text("ended_ns IS NULL"),
    )
    for event in EVENTS:
        op.execute(TRIGGER.replace("<event>", event))
