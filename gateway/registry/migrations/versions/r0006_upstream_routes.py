"""Routes: several upstreams of an organization under one name, with what is tried when one of them fails.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

CHANGES = {"upstream_route": ("upstreams",)}

TRIGGER = """
CREATE TRIGGER epoch_upstream_route_<event> AFTER <event> ON upstream_route
BEGIN UPDATE epoch SET value = value + 1, upstreams = value + 1; END
"""


def upgrade() -> None:
    op.create_table(
        "upstream_route",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("members", sa.JSON, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("updated_ns", sa.BigInteger, nullable=False),
    )
    op.create_index("upstream_route_name", "upstream_route", ["organization_id", "name"], unique=True)
    op.create_index(
        "upstream_route_default",
        "upstream_route",
        ["organization_id"],
        unique=True,
        sqlite_where=sa.text("is_default"),
        postgresql_where=sa.text("is_default"),
    )
    for event in ("insert", "update", "delete"):
        op.execute(TRIGGER.replace("<event>", event))
