"""Tools of MCP servers, with what was approved of each; and of an upstream its trust and the revision that it speaks.

Revision ID: 0037
Revises: 0036
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gateway.registry.migrations.versions.r0028_tables import EPOCH_TRIGGER, EVENTS

revision = "0037"
down_revision: str | None = "0036"

CHANGES = {"upstream_tool": ("upstreams",)}


def upgrade() -> None:
    op.add_column("upstream", sa.Column("trust", sa.String))
    op.add_column("upstream", sa.Column("protocol", sa.String))
    op.create_table(
        "upstream_tool",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("upstream_id", sa.String, sa.ForeignKey("upstream.id"), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("definition", sa.String, nullable=False),
        sa.Column("seen_digest", sa.String),
        sa.Column("seen", sa.String),
        sa.Column("approved_by", sa.String),
        sa.Column("approved_ns", sa.BigInteger),
        sa.Column("gone_ns", sa.BigInteger),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("updated_ns", sa.BigInteger, nullable=False),
    )
    op.create_index("upstream_tool_name", "upstream_tool", ["upstream_id", "name"], unique=True)
    op.create_index("upstream_tool_organization", "upstream_tool", ["organization_id", "id"])
    op.create_index("upstream_tool_waiting", "upstream_tool", ["organization_id", "state"])
    for table, parts in CHANGES.items():
        changed = ", ".join(f"{part} = value + 1" for part in parts)
        for event in EVENTS:
            op.execute(EPOCH_TRIGGER.replace("<table>", table).replace("<event>", event).replace("<parts>", changed))
