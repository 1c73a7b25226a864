"""Bindings with the effect `receive`: a bundle that says who may call an agent.

Revision ID: 0038
Revises: 0037
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision: str | None = "0037"

_BEFORE = "effect IN ('grant', 'guard')"
_AFTER = "effect IN ('grant', 'guard', 'receive')"
_PARTS = "SELECT sql FROM sqlite_master WHERE tbl_name = 'binding' AND type IN ('index', 'trigger') AND sql IS NOT NULL"


def upgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name != "sqlite":
        op.drop_constraint("effect_known", "binding", type_="check")
        op.create_check_constraint("effect_known", "binding", sa.text(_AFTER))
        return
    # SQLite cannot change a constraint: the table is made anew, with its indexes and triggers as they are.
    [table] = bind.exec_driver_sql("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'binding'").one()
    parts = [row[0] for row in bind.exec_driver_sql(_PARTS)]
    _, columns = table.split("(", 1)
    if _BEFORE not in columns and _AFTER not in columns:
        raise RuntimeError("the table `binding` has not the constraint that it was made with")
    columns = columns.replace(_BEFORE, _AFTER)
    bind.exec_driver_sql(f"CREATE TABLE binding_anew ({columns}")
    bind.exec_driver_sql("INSERT INTO binding_anew SELECT * FROM binding")  # in the order of the same columns
    bind.exec_driver_sql("DROP TABLE binding")
    bind.exec_driver_sql("ALTER TABLE binding_anew RENAME TO binding")
    for each in parts:
        bind.exec_driver_sql(each)
