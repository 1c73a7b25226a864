"""An index over the bindings that pin a revision: data workers ask for these several times a second.

Revision ID: 0023
Revises: 0022
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

PINNED = "removed_ns IS NULL AND pinned IS NOT NULL"


def upgrade() -> None:
    some = sa.text(PINNED)
    op.create_index("binding_pinned", "binding", ["bundle", "pinned"], sqlite_where=some, postgresql_where=some)
