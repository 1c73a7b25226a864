"""Searching the log: the newest entries, all or those of one organization or agent, and the entries after them.

Entries are found and decoded, but not verified (`verify.py`). `gateway/cli/audit.py` prints them. Each function has
read everything when it returns, so that no read transaction stays open.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from gateway.audit import entry as entries
from gateway.audit.errors import AuditError


@dataclass(frozen=True, slots=True)
class Found:
    """One entry. `position` is its place in the order of all logs together."""

    position: int
    organization: str
    seq: int
    kind: str
    time_ns: int
    entry: entries.Entry
    """Empty if the leaf is not an entry, which only happens in a log that was tampered with."""


# A filter that is NULL lets everything pass. Each query walks one index from its end, so its cost does not grow with
# the log: an agent's entries by `entry_agent`, a log's by its sequence, all of them by the order of insertion.
_SELECT = """
    SELECT entry.id, log.organization, entry.seq, entry.kind, entry.time_ns, entry.leaf
    FROM entry JOIN log ON log.id = entry.log_id
"""
_BY_AGENT = f"{_SELECT} WHERE entry.agent = :agent AND (:organization IS NULL OR log.organization = :organization)"
_BY_LOG = f"{_SELECT} WHERE entry.log_id = :log"
_AFTER = f"""{_SELECT}
    WHERE entry.id > :position AND (:agent IS NULL OR entry.agent = :agent)
      AND (:organization IS NULL OR log.organization = :organization)
    ORDER BY entry.id LIMIT 1000
"""


def newest(
    db: sqlite3.Connection, limit: int, organization: str | None = None, agent: str | None = None
) -> list[Found]:
    """The last entries that match, oldest first."""
    values = {"limit": limit, "organization": organization, "agent": agent}
    if agent is not None:
        rows = db.execute(f"{_BY_AGENT} ORDER BY entry.id DESC LIMIT :limit", values).fetchall()
    elif organization is not None:
        rows = []
        for (log_id,) in db.execute("SELECT id FROM log WHERE organization = ?", (organization,)).fetchall():
            query = f"{_BY_LOG} ORDER BY entry.seq DESC LIMIT :limit"
            rows += db.execute(query, {"log": log_id, "limit": limit}).fetchall()
    else:
        rows = db.execute(f"{_SELECT} ORDER BY entry.id DESC LIMIT :limit", values).fetchall()
    return [_found(row) for row in sorted(rows)[-limit:]]


def after(
    db: sqlite3.Connection, position: int, organization: str | None = None, agent: str | None = None
) -> list[Found]:
    """The next entries that match and were written after this position, oldest first; not always all of them."""
    values = {"position": position, "organization": organization, "agent": agent}
    return [_found(row) for row in db.execute(_AFTER, values).fetchall()]


def activations(db: sqlite3.Connection, limit: int) -> list[Found]:
    """The last entries about commits that were put into force or refused, newest first."""
    rows = db.execute(f"{_SELECT} WHERE entry.kind = 'activation' ORDER BY entry.id DESC LIMIT ?", (limit,))
    return [_found(row) for row in rows.fetchall()]


def last_position(db: sqlite3.Connection) -> int:
    """The position of the newest entry."""
    (position,) = db.execute("SELECT max(id) FROM entry").fetchone()
    return position or 0


def by_event(db: sqlite3.Connection, event_id: str) -> Found | None:
    """The entry with this event id, such as a decision's."""
    row = db.execute(f"{_SELECT} WHERE entry.event_id = ?", (event_id,)).fetchone()
    return None if row is None else _found(row)


def _found(row: tuple[int, str, int, str, int, bytes]) -> Found:
    position, organization, seq, kind, time_ns, leaf = row
    try:
        entry = entries.decode(leaf)
    except AuditError:
        entry = {}
    return Found(position, organization, seq, kind, time_ns, entry)
