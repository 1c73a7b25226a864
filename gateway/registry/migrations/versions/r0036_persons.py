"""The person for whom an agent asks for an approval, who does not count with `four_eyes`.

Revision ID: 0036
Revises: 0035
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision: str | None = "0035"


def upgrade() -> None:
    op.add_column("approval_request", sa.Column("person_commitment", sa.String, nullable=False, server_default=""))
