"""Shared parts of the tests in `tests/gateway/control/test_nouns.py`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import orjson

from tests.gateway.conftest import ORG, Home


def recorded(home: Home, organization: str = ORG) -> list[dict[str, Any]]:
    """The entries in the log of an organization."""
    with closing(sqlite3.connect(home.data.audit_db)) as db, db:
        rows = db.execute(
            "SELECT leaf FROM entry JOIN log ON log.id = log_id WHERE organization = ? ORDER BY entry.id",
            (organization,),
        ).fetchall()
    return [orjson.loads(leaf) for (leaf,) in rows]
