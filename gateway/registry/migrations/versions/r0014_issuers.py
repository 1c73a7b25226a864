"""Outside issuers of tokens, and the rules by which their tokens are agents.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

CHANGES = {"issuer": ("authority",), "issuer_rule": ("authority",)}
EVENTS = ("insert", "update", "delete")
TRIGGER = """
CREATE TRIGGER epoch_<table>_<event> AFTER <event> ON <table>
BEGIN UPDATE epoch SET value = value + 1, authority = value + 1; END
"""

LIVE = sa.text("removed_ns IS NULL")


def upgrade() -> None:
    op.create_table(
        "issuer",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("audience", sa.String, nullable=False),
        sa.Column("jwks_url", sa.String, nullable=False),
        sa.Column("jwks", sa.String, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("removed_ns", sa.BigInteger),
    )
    for name, columns in (
        ("issuer_live_name", ["organization_id", "name"]),
        ("issuer_live_audience", ["issuer", "audience"]),
    ):
        op.create_index(name, "issuer", columns, unique=True, sqlite_where=LIVE, postgresql_where=LIVE)
    op.create_table(
        "issuer_rule",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("issuer_id", sa.String, sa.ForeignKey("issuer.id"), nullable=False),
        sa.Column("agent_id", sa.String, sa.ForeignKey("agent.id"), nullable=False),
        sa.Column("claims", sa.JSON, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("removed_ns", sa.BigInteger),
    )
    op.create_index("issuer_rule_issuer", "issuer_rule", ["issuer_id"])
    for table in CHANGES:
        for event in EVENTS:
            op.execute(TRIGGER.replace("<event>", event).replace("<table>", table))
