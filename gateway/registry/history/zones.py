"""The time zones of organizations now or at an earlier time, for commands that ask the log and not the registry.

They read the file itself: the ORM takes longer to load than such a command takes in all.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

_NOW = "SELECT name, zone FROM organization"
_THEN = """
SELECT o.name, v.zone FROM organization_version v JOIN organization o ON o.id = v.organization_id
 WHERE v.since_ns <= ? ORDER BY v.version
"""


def zones(path: Path, at_ns: int | None = None) -> dict[str, str]:
    """The zone of each organization in a registry, as it is or was at a time.

    Empty if there is no registry beside the log, or one of a time before zones: then all of them are UTC.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return dict(db.execute(_NOW) if at_ns is None else db.execute(_THEN, (at_ns,)))
    except sqlite3.OperationalError:
        return {}
