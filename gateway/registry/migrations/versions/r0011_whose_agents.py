"""What agents are for, whose they are and until when; teams as rows; who made each change, and why.

Agents get a description, a purpose, a model family, a parent, an expiry and dates of review, and the state `retired`.
Teams become rows: one for each name that a living agent, a binding or a limit in force has. Organizations and teams get
a state and a history. Bindings, limits and keys say who made them.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

from gateway.identifiers import new_id

revision = "0011"
down_revision = "0010"

# SQLite cannot alter a check: see r0003, which does the same.
BEFORE = "status IN ('active', 'suspended', 'revoked')"
AFTER = "status IN ('active', 'suspended', 'revoked', 'retired')"
NOT_ENDED = "status NOT IN ('revoked', 'retired')"

ACTOR = "migration"

IN_USE = """
SELECT organization_id, team FROM agent WHERE team <> '' AND status <> 'revoked'
UNION SELECT organization_id, subject FROM binding WHERE subject_kind = 'team' AND removed_ns IS NULL
UNION SELECT organization_id, subject FROM usage_limit WHERE subject_kind = 'team' AND removed_ns IS NULL
"""

EVENTS = ("insert", "update", "delete")
EPOCH_TRIGGER = """
CREATE TRIGGER epoch_team_<event> AFTER <event> ON team
BEGIN UPDATE epoch SET value = value + 1, authority = value + 1; END
"""
WRITTEN_ONCE = ("organization_version", "team_version")
HISTORY_TRIGGER = """
CREATE TRIGGER history_<table>_<event> BEFORE <event> ON <table>
BEGIN SELECT RAISE(ABORT, 'rows of <table> are never changed'); END
"""


def upgrade() -> None:
    for table in ("agent", "agent_version"):
        for name in ("description", "purpose", "model_family"):
            op.add_column(table, sa.Column(name, sa.String, nullable=False, server_default=""))
        for name, kind in (
            ("parent", sa.String),
            ("expires_ns", sa.BigInteger),
            ("review_days", sa.Integer),
            ("reviewed_ns", sa.BigInteger),
        ):
            op.add_column(table, sa.Column(name, kind, nullable=True))
    op.add_column("agent_version", sa.Column("reason", sa.String, nullable=False, server_default=""))
    op.add_column("binding", sa.Column("actor", sa.String, nullable=True))
    op.add_column("binding", sa.Column("reason", sa.String, nullable=True))
    op.add_column("usage_limit", sa.Column("actor", sa.String, nullable=True))
    op.add_column("api_key", sa.Column("actor", sa.String, nullable=True))
    _retired()
    _organizations()
    _teams()
    _fill()
    for event in EVENTS:
        op.execute(EPOCH_TRIGGER.replace("<event>", event))
    for table in WRITTEN_ONCE:
        for event in ("update", "delete"):
            op.execute(HISTORY_TRIGGER.replace("<table>", table).replace("<event>", event))


def _retired() -> None:
    op.drop_index("agent_live_name", "agent")
    op.create_index(
        "agent_live_name",
        "agent",
        ["organization_id", "name"],
        unique=True,
        sqlite_where=sa.text(NOT_ENDED),
        postgresql_where=sa.text(NOT_ENDED),
    )
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


def _organizations() -> None:
    op.add_column("organization", sa.Column("status", sa.String, nullable=False, server_default="active"))
    op.add_column("organization", sa.Column("version", sa.Integer, nullable=False, server_default="1"))
    op.add_column("organization", sa.Column("review_days", sa.Integer, nullable=True))
    op.create_table(
        "organization_version",
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("review_days", sa.Integer),
        *_who_and_when(),
    )


def _teams() -> None:
    op.create_table(
        "team",
        sa.Column("id", sa.String, primary_key=True),
        *_team_columns(),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("updated_ns", sa.BigInteger, nullable=False),
    )
    op.create_index("team_name", "team", ["organization_id", "name"], unique=True)
    op.create_table(
        "team_version",
        sa.Column("team_id", sa.String, sa.ForeignKey("team.id"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        *_team_columns(),
        *_who_and_when(),
    )


def _team_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("organization_id", sa.String, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("description", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
    )


def _who_and_when() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("since_ns", sa.BigInteger, nullable=False),
    )


def _fill() -> None:
    """The first version of every organization, and a row for each team that is in use."""
    connection = op.get_bind()
    connection.execute(
        sa.text(
            "INSERT INTO organization_version (organization_id, version, status, actor, reason, since_ns) "
            "SELECT id, version, status, :actor, '', created_ns FROM organization"
        ),
        {"actor": ACTOR},
    )
    in_use = connection.execute(sa.text(IN_USE)).all()
    first = "SELECT min(since_ns) FROM agent_version WHERE organization_id = :organization_id AND team = :name"
    for organization_id, name in in_use:
        named = {"organization_id": organization_id, "name": name}
        since_ns = connection.execute(sa.text(first), named).scalar() or time.time_ns()
        row = named | {"id": new_id("tem"), "since_ns": since_ns, "actor": ACTOR}
        connection.execute(
            sa.text(
                "INSERT INTO team (id, organization_id, name, owner, description, status, version, created_ns, "
                "updated_ns) VALUES (:id, :organization_id, :name, '', '', 'active', 1, :since_ns, :since_ns)"
            ),
            row,
        )
        connection.execute(
            sa.text(
                "INSERT INTO team_version (team_id, version, organization_id, name, owner, description, status, "
                "actor, reason, since_ns) VALUES (:id, 1, :organization_id, :name, '', '', 'active', :actor, '', "
                ":since_ns)"
            ),
            row,
        )
