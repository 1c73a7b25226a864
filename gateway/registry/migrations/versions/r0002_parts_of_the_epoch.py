"""Beside the epoch, when each part of what workers read has changed: authority, upstreams, policy.

A worker keeps principals, upstreams and the activation. With one number a new agent made it read all three again.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

PARTS = ("authority", "upstreams", "policy")

# Which parts a change of a table can change. The names of organizations are in principals and in upstreams; bindings
# pin revisions, which are read with the activation.
CHANGES = {
    "organization": ("authority", "upstreams"),
    "agent": ("authority",),
    "api_key": ("authority",),
    "binding": ("authority",),
    "upstream": ("upstreams",),
    "activation_current": ("policy",),
}
EVENTS = ("insert", "update", "delete")

TRIGGER = """
CREATE TRIGGER epoch_<table>_<event> AFTER <event> ON <table>
BEGIN UPDATE epoch SET value = value + 1, <parts>; END
"""
PINNED_TRIGGER = """
CREATE TRIGGER epoch_pinned_<event> AFTER <event> ON binding WHEN <pinned>
BEGIN UPDATE epoch SET value = value + 1, policy = value + 1; END
"""
PINNED = {
    "insert": "NEW.pinned IS NOT NULL",
    "update": "OLD.pinned IS NOT NULL OR NEW.pinned IS NOT NULL",
    "delete": "OLD.pinned IS NOT NULL",
}


def upgrade() -> None:
    for part in PARTS:
        op.add_column("epoch", sa.Column(part, sa.BigInteger, nullable=False, server_default="0"))
    # Nobody has read anything under the new numbers: each part counts as changed now.
    op.execute("UPDATE epoch SET value = value + 1")
    op.execute("UPDATE epoch SET authority = value, upstreams = value, policy = value")
    for table, parts in CHANGES.items():
        changed = ", ".join(f"{part} = value + 1" for part in parts)
        for event in EVENTS:
            op.execute(f"DROP TRIGGER epoch_{table}_{event}")
            op.execute(TRIGGER.replace("<table>", table).replace("<event>", event).replace("<parts>", changed))
    for event, pinned in PINNED.items():
        op.execute(PINNED_TRIGGER.replace("<event>", event).replace("<pinned>", pinned))
