"""The calls that have ended, in the order in which the log has them: each `completed` entry with its `decided`; and
those that were refused. The halves of grantors of mandates are neither.

Reports of usage read them. Entries are decoded, but not verified (`verify.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from gateway.audit import entry as entries
from gateway.audit import search
from gateway.audit.halves_check import OF_MANDATE
from gateway.audit.log_reader import LogIndex

_SLACK_NS = 60 * 10**9  # between logs a clock that was set back may have put times out of order

_SELECT = """
    SELECT entry.id, log.organization, entry.time_ns, entry.leaf, decided.leaf
      FROM entry JOIN log ON log.id = entry.log_id
      LEFT JOIN entry AS decided ON decided.event_id = 'dec_' || substr(entry.event_id, 5)
     WHERE entry.kind = 'completed' AND entry.id > :position AND entry.id < :end
       AND (decided.leaf IS NULL OR instr(decided.leaf, :of_mandate) = 0)
"""


_REFUSED = """
    SELECT log.organization, entry.time_ns, entry.kind, entry.leaf FROM entry JOIN log ON log.id = entry.log_id
     WHERE entry.id > ? AND entry.id <= ?
       AND (entry.kind = 'refused'
            OR entry.kind = 'decided' AND instr(entry.leaf, ?) AND instr(entry.leaf, ?) = 0)
     ORDER BY entry.id
"""
_DENIED = entries.canonical({"allow": False})[1:-1]


class Completion(NamedTuple):
    """One call that has ended. An entry is empty if its leaf is none, which only happens in a log that was changed."""

    position: int
    organization: str
    time_ns: int
    completed: entries.Entry
    decided: entries.Entry


def after(db: LogIndex, position: int, end: int, limit: int) -> list[Completion]:
    """The next calls that ended after a position in the order of all logs, and before another one."""
    bounds = {"position": position, "end": end, "limit": limit, "of_mandate": OF_MANDATE}
    rows = db.execute(f"{_SELECT} ORDER BY entry.id LIMIT :limit", bounds).fetchall()
    return [_completion(row) for row in rows]


def between(db: LogIndex, since_ns: int, until_ns: int) -> Iterator[Completion]:
    """The calls that ended from a time on and before another one."""
    size = search.last_position(db) + 1
    near = max(0, since_ns - _SLACK_NS), until_ns + _SLACK_NS
    first, end = search.between(db, "id >= ? ORDER BY id", size, *near)
    position = first - 1
    while found := after(db, position, end, 1000):
        position = found[-1].position
        yield from (each for each in found if since_ns <= each.time_ns < until_ns)


class RefusedRequests(NamedTuple):
    """Requests that were refused for one reason: one denial, or a count of those that were refused `undecided`."""

    organization: str
    time_ns: int
    undecided: bool
    reason: str
    agent: str
    model: str
    requests: int


def refusals(db: LogIndex, position: int, end: int) -> Iterator[RefusedRequests]:
    """The refusals after a position, and up to another one. Dry runs are none."""
    for organization, time_ns, kind, leaf in db.execute(_REFUSED, (position, end, _DENIED, OF_MANDATE)):
        entry = _decoded(leaf)
        if entry.get("dry_run"):
            continue
        reason, agent, model = (str(entry.get(name) or "") for name in ("reason", "agent", "model"))
        count = entry.get("count", 1)
        yield RefusedRequests(
            organization, time_ns, kind == "refused", reason, agent, model, count if isinstance(count, int) else 1
        )


def event_at(db: LogIndex, position: int) -> str | None:
    """The event id of the entry at a position: by it a log is known again that was read before."""
    row = db.execute("SELECT event_id FROM entry WHERE id = ?", (position,)).fetchone()
    return None if row is None else str(row[0])


def _completion(row: tuple[int, str, int, bytes, bytes | None]) -> Completion:
    position, organization, time_ns, completed, decided = row
    return Completion(position, organization, time_ns, _decoded(completed), _decoded(decided))


def _decoded(leaf: Any) -> entries.Entry:
    try:
        entry = orjson.loads(leaf) if isinstance(leaf, bytes) else {}
    except orjson.JSONDecodeError:
        return {}
    return entry if isinstance(entry, dict) else {}
