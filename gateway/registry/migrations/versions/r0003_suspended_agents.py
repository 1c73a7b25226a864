"""Agents can be suspended: the check of `agent.status` gets a third value.

SQLite cannot alter a check, and a new table would lose the triggers and the references of the old one. So its text in
the schema is replaced, which https://www.sqlite.org/lang_altertable.html allows for changes that leave the stored rows
as they are. A new number of the schema makes other connections read it again.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BEFORE = "status IN ('active', 'revoked')"
AFTER = "status IN ('active', 'suspended', 'revoked')"


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        op.drop_constraint("status_known", "agent", type_="check")
        op.create_check_constraint("status_known", "agent", AFTER)
        return
    number = connection.execute(sa.text("PRAGMA schema_version")).scalar_one()
    connection.execute(sa.text("PRAGMA writable_schema = ON"))
    connection.execute(
        sa.text("UPDATE sqlite_schema SET sql = replace(sql, :before, :after) WHERE type = 'table' AND name = 'agent'"),
        {"before": BEFORE, "after": AFTER},
    )
    connection.execute(sa.text(f"PRAGMA schema_version = {number + 1}"))
    connection.execute(sa.text("PRAGMA writable_schema = OFF"))
