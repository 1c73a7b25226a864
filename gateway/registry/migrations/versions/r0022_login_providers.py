"""OpenID Connect providers where operators log in, the rules that let people in, and operators and tokens of logins.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

ROLES = "role IN ('owner', 'admin', 'auditor', 'viewer')"
OF_A_LOGIN = "status = 'active' AND issuer IS NOT NULL"


def upgrade() -> None:
    op.create_table(
        "login_provider",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("client_id", sa.String, nullable=False),
        sa.Column("secret", sa.LargeBinary),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("session_seconds", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("removed_ns", sa.BigInteger),
    )
    op.create_table(
        "login_rule",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("provider_id", sa.String, sa.ForeignKey("login_provider.id"), nullable=False),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id")),
        sa.Column("claims", sa.JSON, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("removed_ns", sa.BigInteger),
        sa.CheckConstraint(ROLES, name="role_known"),
    )
    op.create_index("login_rule_provider", "login_rule", ["provider_id"])
    for name in ("issuer", "subject"):
        op.add_column("operator", sa.Column(name, sa.String, nullable=True))
    for name in ("login", "login_rule"):
        op.add_column("operator_token", sa.Column(name, sa.String, nullable=True))
    op.create_index("operator_token_rule", "operator_token", ["login_rule"])
    _live("login_provider_name", "login_provider", ["name"], "removed_ns IS NULL")
    _live("login_provider_issuer", "login_provider", ["issuer"], "removed_ns IS NULL")
    everywhere = f"{OF_A_LOGIN} AND organization_id IS NULL"
    _live("operator_person_everywhere", "operator", ["issuer", "subject"], everywhere)
    _live("operator_person", "operator", ["organization_id", "issuer", "subject"], OF_A_LOGIN)
    _live("operator_token_login", "operator_token", ["login"], "login IS NOT NULL")


def _live(name: str, table: str, columns: list[str], where: str) -> None:
    """A unique index over some of the rows."""
    some = sa.text(where)
    op.create_index(name, table, columns, unique=True, sqlite_where=some, postgresql_where=some)
