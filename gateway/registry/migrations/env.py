"""Alembic's entry: runs the revisions on the connection that `gateway.registry.database` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection


def run(connection: Connection) -> None:
    """All of an upgrade in the caller's transaction: a migration that fails half-way leaves the registry as it was."""
    context.configure(connection=connection, transaction_per_migration=False)
    context.run_migrations()


run(context.config.attributes["connection"])
