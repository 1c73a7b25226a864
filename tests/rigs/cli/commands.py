"""Shared parts of the tests in `tests/gateway/cli/test_commands.py`."""

from __future__ import annotations

import orjson

from gateway.audit import storage
from tests.gateway.conftest import Home


def logged(home: Home) -> list[tuple[str, str]]:
    """Organization and content of every change in the audit log, in order."""
    connection = storage.connect(home.data.audit_db)
    leaves = [orjson.loads(row[0]) for row in connection.execute("SELECT leaf FROM entry ORDER BY id")]
    connection.close()
    return [(leaf["org"], leaf.get("what", leaf["kind"])) for leaf in leaves]
