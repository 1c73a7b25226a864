"""Searching the log: the newest entries that match some filters, the entries after them, and those with an id.

Entries are found and decoded, but not verified (`verify.py`). `gateway/cli/audit_list.py` prints them. Each function
has read everything when it returns, so that no read transaction stays open.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.audit import entry as entries
from gateway.audit.errors import AuditError
from gateway.audit.halves_check import OF_MANDATE
from gateway.audit.intents import SYSTEM
from gateway.audit.log_reader import LogIndex

MOST_LOOKED_AT: Final = 250_000
"""Entries that one search looks at. A filter that no index serves may match nothing in a log of any length."""

# Times are in order within each log. Between logs a clock that was set back may have put them out of order a little.
_OUT_OF_ORDER_NS: Final = 60 * 10**9
_MOST_NAMES: Final = 4096


@dataclass(frozen=True, slots=True)
class FoundEntry:
    """One entry. `position` is its place in the order of all logs together."""

    position: int
    organization: str
    seq: int
    kind: str
    time_ns: int
    entry: entries.Entry
    """Empty if the leaf is not an entry, which only happens in a log that was tampered with."""
    event_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The entries that are looked for. A filter that is None lets everything pass.

    `id` is the beginning of an event id; that of a decision also means the entry that closes it. `reason` is a reason
    code, or how a call ended. `above` are the team and the organization of the agent, as changes of bindings and limits
    name them: what applies to them applies to it. `allow` and `model` are only known of decisions. `until_ns` is not
    included. `approval` is the id of a request for approval: what was recorded of it, and the decisions that used it;
    so is `mandate` of a mandate.
    `person` is the subject of a person for whom an agent acted or got a token; it is known as long as the
    private row is kept.
    """

    organization: str | None = None
    agent: str | None = None
    above: tuple[str, ...] = ()
    id: str | None = None
    kind: str | None = None
    allow: bool | None = None
    reason: str | None = None
    model: str | None = None
    person: str | None = None
    approval: str | None = None
    mandate: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True)
class FoundPage:
    """The entries that a search has found, oldest first.

    `stopped_ns` is the time of the entry at which it gave up, if it did. `older` is the position before which a search
    goes on; None if it has seen everything.
    """

    found: list[FoundEntry]
    stopped_ns: int | None = None
    looked_at: int = 0
    older: int | None = None


_SELECT = """
    SELECT entry.id, log.organization, entry.seq, entry.kind, entry.time_ns, {leaf}, entry.event_id
    FROM entry JOIN log ON log.id = entry.log_id
"""
_ALL = _SELECT.format(leaf="entry.leaf")
_OF = " AND (? IS NULL OR log.organization = ?)"


def newest(db: LogIndex, limit: int, organization: str | None = None) -> list[FoundEntry]:
    """The last entries, all or those of one organization, oldest first."""
    return matching(db, limit, Filters(organization=organization)).found


def matching(
    db: LogIndex, limit: int, filters: Filters, most: int = MOST_LOOKED_AT, before: int | None = None
) -> FoundPage:
    """The last entries that match, oldest first; only those before a position, if one is given.

    The entries are walked from the newest one: an agent's by `entry_agent`, part by part, a log's by its sequence, all
    of them by the order of insertion. If a time was given, the walk begins and ends there. The rest is looked at one
    by one.
    """
    if filters.id is not None:
        found = [each for each in _with_id(db, filters.id, filters) if before is None or each.position < before]
        return FoundPage(found[-limit:], older=found[-limit].position if len(found) > limit else None)
    condition, values = _condition(db, filters)
    statement = _SELECT.format(leaf=f"CASE WHEN {condition} THEN entry.leaf END")
    found = []
    looked_at, stopped, older = 0, None, None
    for where, bounds in _walks(db, filters, before):
        rows = db.execute(f"{statement} WHERE {where} DESC", values | bounds)
        for row in rows:
            looked_at += filters.until_ns is None or row[4] < filters.until_ns
            if row[5] is not None:
                found.append(_found(row))
            if len(found) == limit:
                older = row[0]
                break
            if looked_at == most:
                stopped, older = row[4], row[0]
                break
        rows.close()
        if older is not None:
            break
    return FoundPage(found[::-1], stopped, looked_at, older)


def after(db: LogIndex, position: int, filters: Filters, most: int = 1000) -> tuple[list[FoundEntry], int]:
    """The next entries that match and were written after this position, oldest first, and the position to go on from.

    Not always all of them: `most` entries are looked at.
    """
    condition, values = _condition(db, filters)
    statement = _SELECT.format(leaf=f"CASE WHEN {condition} THEN entry.leaf END")
    query = f"{statement} WHERE entry.id > :position ORDER BY entry.id LIMIT :most"
    rows = db.execute(query, values | {"position": position, "most": most}).fetchall()
    found = [_found(row) for row in rows if row[5] is not None]
    return [each for each in found if _is_of(each, filters)], rows[-1][0] if rows else position


def activations(db: LogIndex, limit: int) -> list[FoundEntry]:
    """The last entries about commits that were put into force or refused, newest first, if they are recent."""
    found: list[FoundEntry] = []
    logs = db.execute("SELECT id, size FROM log WHERE organization = ? ORDER BY epoch DESC", (SYSTEM,)).fetchall()
    for log_id, size in logs:
        statement = f"{_ALL} WHERE entry.log_id = ? AND entry.seq >= ? AND entry.kind = 'activation'"
        rows = db.execute(f"{statement} ORDER BY entry.seq DESC LIMIT ?", (log_id, size - MOST_LOOKED_AT, limit))
        found += [_found(row) for row in rows.fetchall()]
    return found[:limit]


def of_kinds(db: LogIndex, kinds: Sequence[str], position: int, end: int) -> list[tuple[int, entries.Entry]]:
    """The entries of some kinds after a position in the order of all logs, and up to another one."""
    marks = ", ".join("?" * len(kinds))
    query = f"SELECT id, leaf FROM entry WHERE id > ? AND id <= ? AND kind IN ({marks}) ORDER BY id"  # noqa: S608
    found = []
    for at, leaf in db.execute(query, (position, end, *kinds)).fetchall():
        try:
            found.append((at, entries.decode(leaf)))
        except AuditError:  # the log was tampered with
            continue
    return found


def last_position(db: LogIndex) -> int:
    """The position of the newest entry."""
    (position,) = db.execute("SELECT max(id) FROM entry").fetchone()
    return position or 0


def by_event(db: LogIndex, event_id: str, organization: str | None = None) -> FoundEntry | None:
    """The entry with this event id, such as a decision's; with an organization, only if it is in its log."""
    row = db.execute(f"{_ALL} WHERE entry.event_id = ?", (event_id,)).fetchone()
    return None if row is None or organization not in (None, row[1]) else _found(row)


class AgentNames:
    """The names that agents had when entries about them were written; for one listing, page after page.

    If an entry does not say it itself, its decision does, or an entry before it that names this agent: a refusal is
    recorded by the agent's id, which nobody knows by heart. If there are months of refusals since then, all of them
    are passed over, and for the next page only those that came since.
    """

    def __init__(self) -> None:
        # By organization and agent: the position up to which entries have been read, and what it was called then.
        self._known: dict[tuple[str, str], tuple[int, str]] = {}

    def of(self, db: LogIndex, page: Iterable[FoundEntry]) -> list[str]:
        """A name for each entry of a page, oldest first; empty where the log does not say it."""
        return [self._name(db, found) for found in page]

    def _name(self, db: LogIndex, found: FoundEntry) -> str:
        decision = found.entry.get("decision")
        if isinstance(decision, str):
            opened = by_event(db, decision, found.organization)
            if opened is None:
                return ""
            found = opened
        agent = str(found.entry.get("agent") or "")
        if "agent_name" in found.entry:
            name = str(found.entry["agent_name"] or "")
        elif agent:
            name = self._called(db, agent, found)
        else:
            return ""
        if len(self._known) >= _MOST_NAMES:
            self._known.clear()
        self._known[found.organization, agent] = found.position, name
        return name

    def _called(self, db: LogIndex, agent: str, before: FoundEntry) -> str:
        """The last name of an agent in the entries of the same organization before this one; empty if not found."""
        first, name = self._known.get((before.organization, agent), (0, ""))
        if first > before.position:
            first, name = 0, ""
        bounds = {"first": first, "end": before.position, "organization": before.organization} | _subjects([agent])
        for part in _parts_with(db, [agent], first, before.position):
            named = f"{_ALL} WHERE entry.kind IN ('decided', 'change') AND {_of_agents(1)} DESC"
            for row in db.execute(named, bounds | {"part": part}):
                if called := _found(row).entry.get("agent_name"):
                    return str(called)
        return name


def private_input(db: LogIndex, position: int) -> bytes | None:
    """The input document that the log keeps beside the entry at a position; None if there is none, or not any more."""
    row = db.execute("SELECT input FROM private WHERE entry_id = ?", (position,)).fetchone()
    return row[0] if row and isinstance(row[0], bytes) else None


def decided_after(db: LogIndex, position: int, limit: int) -> list[tuple[FoundEntry, bytes | None]]:
    """The next decisions after a position, in order, with the input documents that are kept beside them."""
    columns = _SELECT.format(leaf="entry.leaf, private.input")
    query = f"{columns} LEFT JOIN private ON private.entry_id = entry.id"
    query += " WHERE entry.id > ? AND entry.kind = 'decided' ORDER BY entry.id LIMIT ?"
    rows = db.execute(query, (position, limit)).fetchall()
    return [(_found((*row[:6], row[7])), row[6] if isinstance(row[6], bytes) else None) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedRow:
    """A decision as it is stored: its leaf is not looked into, and `input` is None if it is not kept."""

    position: int
    organization: str
    seq: int
    time_ns: int
    event_id: str
    leaf: bytes
    input: bytes | None


def decided_rows(
    db: LogIndex,
    position: int,
    end: int,
    limit: int,
    *,
    organization: str | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
) -> list[DecidedRow]:
    """The next decisions after a position and up to another one, of an organization or of all, in order.

    The halves of grantors of mandates are none: no policy was asked.
    """
    query = f"""{_SELECT.format(leaf="entry.leaf, private.input")}
        LEFT JOIN private ON private.entry_id = entry.id
        WHERE entry.id > :position AND entry.id <= :end AND entry.kind = 'decided'
        AND instr(entry.leaf, :of_mandate) = 0 AND (:organization IS NULL OR log.organization = :organization)
        AND (:since IS NULL OR entry.time_ns >= :since) AND (:until IS NULL OR entry.time_ns < :until)
        ORDER BY entry.id LIMIT :limit"""
    bounds = {"position": position, "end": end, "limit": limit, "organization": organization, "of_mandate": OF_MANDATE}
    rows = db.execute(query, bounds | {"since": since_ns, "until": until_ns}).fetchall()
    return [
        DecidedRow(
            position=row[0],
            organization=row[1],
            seq=row[2],
            time_ns=row[4],
            leaf=row[5],
            input=row[6] if isinstance(row[6], bytes) else None,
            event_id=row[7],
        )
        for row in rows
    ]


def costs(db: LogIndex, closings: Sequence[str]) -> dict[str, int]:
    """The recorded costs of calls in nano-dollars, by the event ids of the entries that close them."""
    found: dict[str, int] = {}
    for start in range(0, len(closings), 500):
        part = closings[start : start + 500]
        marks = ", ".join("?" * len(part))
        rows = db.execute(f"SELECT event_id, leaf FROM entry WHERE event_id IN ({marks})", tuple(part))  # noqa: S608
        for event_id, leaf in rows.fetchall():
            try:
                cost = entries.decode(leaf).get("cost_nanousd")
            except AuditError:
                continue
            if type(cost) is int:
                found[event_id] = cost
    return found


# ---- by id


def beginning(db: LogIndex, text: str, limit: int, organization: str | None = None) -> list[FoundEntry]:
    """The entries whose event ids begin with a text, in the order of their ids; all or those of one organization."""
    query = f"{_ALL} WHERE entry.event_id >= ? AND entry.event_id < ?{_OF} ORDER BY entry.event_id LIMIT ?"
    return [
        _found(row) for row in db.execute(query, (text, _behind(text), organization, organization, limit)).fetchall()
    ]


def beside(db: LogIndex, text: str, organization: str | None = None) -> list[str]:
    """The event ids before and after the place where an id would be; all or those of one organization."""
    ids = "SELECT entry.event_id FROM entry JOIN log ON log.id = entry.log_id WHERE entry.event_id"
    given = (text, organization, organization)
    before = db.execute(f"{ids} < ?{_OF} ORDER BY entry.event_id DESC LIMIT 20", given)
    behind = db.execute(f"{ids} > ?{_OF} ORDER BY entry.event_id LIMIT 20", given)
    return [name for (name,) in [*before.fetchall(), *behind.fetchall()]]


def _with_id(db: LogIndex, text: str, filters: Filters) -> list[FoundEntry]:
    """The entries with an id that begins with `text` which pass the other filters, oldest first."""
    condition, values = _condition(db, filters)
    found: list[FoundEntry] = []
    for id_ in _ids(text):
        bounds = {"begin": id_, "end": _behind(id_)}
        query = f"{_ALL} WHERE entry.event_id >= :begin AND entry.event_id < :end AND {condition}"
        found += map(_found, db.execute(query, values | bounds).fetchall())
    return sorted((each for each in found if _is_of(each, filters)), key=lambda each: each.position)


def _behind(text: str) -> str:
    """The first text behind all that begin with another one."""
    return text[:-1] + chr(ord(text[-1]) + 1)


def _ids(text: str) -> tuple[str, ...]:
    """A decision and its closing have the same id but for the prefix."""
    prefix, mark, rest = text.partition("_")
    return (f"dec_{rest}", f"end_{rest}") if mark and prefix in ("dec", "end") else (text,)


# ---- filters


def _is_of(found: FoundEntry, filters: Filters) -> bool:
    """The filters that an index serves, for an entry that was read already."""
    return (
        (filters.organization in (None, found.organization))
        and (filters.agent is None or entries.agent_of(found.entry) in (filters.agent, *filters.above))
        and (filters.id is None or found.event_id.startswith(_ids(filters.id)))
    )


def _commitment(person: str, salt: object) -> str | None:
    return entries.commitment(salt, "person", person.encode()) if isinstance(salt, bytes) else None


def _condition(db: LogIndex, filters: Filters) -> tuple[str, dict[str, Any]]:
    """The filters that no index serves, in SQL. Members are found as bytes: a leaf has one form only.

    Quotes inside a string are escaped, so what looks like a member is one.
    """
    conditions, values = ["1"], dict[str, Any]()
    if filters.kind is not None or filters.allow is not None:
        conditions.append("entry.kind = :kind")
        values["kind"] = filters.kind if filters.allow is None else "decided"
        if filters.allow is not None and filters.kind not in (None, "decided"):
            conditions.append("0")
    if filters.since_ns is not None:
        conditions.append("entry.time_ns >= :since")
        values["since"] = filters.since_ns
    if filters.until_ns is not None:
        conditions.append("entry.time_ns < :until")
        values["until"] = filters.until_ns
    if filters.allow is not None:
        conditions.append("instr(entry.leaf, :allow) > 0")
        values["allow"] = _member("allow", filters.allow)
    if filters.reason is not None:
        conditions.append("(instr(entry.leaf, :reason) > 0 OR instr(entry.leaf, :outcome) > 0)")
        values |= {name: _member(name, filters.reason) for name in ("reason", "outcome")}
    if filters.model is not None:
        conditions.append("instr(entry.leaf, :model) > 0")
        values["model"] = _member("model", filters.model)
    if filters.approval is not None:
        conditions.append("instr(entry.leaf, :approval) > 0")
        values["approval"] = _member("approval", filters.approval)
    if filters.mandate is not None:
        conditions.append("instr(entry.leaf, :mandate) > 0")
        values["mandate"] = _member("mandate", filters.mandate)
    if filters.person is not None:
        db.create_function("commitment", 1, functools.partial(_commitment, filters.person), deterministic=True)
        salt = "(SELECT salt FROM private WHERE entry_id = entry.id)"
        conditions.append(f"instr(entry.leaf, :person) > 0 AND instr(entry.leaf, CAST(commitment({salt}) AS BLOB)) > 0")
        values["person"] = b'"person_commitment":"'
    return " AND ".join(conditions), values


def _member(name: str, value: str | bool | None) -> bytes:
    return entries.canonical({name: value})[1:-1]


# ---- walks


def _walks(db: LogIndex, filters: Filters, before: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows to look at, the newest ones first: conditions with an order that one index serves, and their values."""
    since, until = filters.since_ns, filters.until_ns
    if filters.organization is not None and filters.agent is None:
        logs = "SELECT id, size FROM log WHERE organization = ? ORDER BY epoch DESC"
        for log_id, size in db.execute(logs, (filters.organization,)).fetchall():
            rows = f"log_id = {int(log_id)} AND seq >= ? ORDER BY seq"
            first, end = between(db, rows, size, since, until)
            if before is not None:  # positions are in order within a log
                end = min(end, _first_at(db, "id", rows, size, before))
            bounds = {"log": log_id, "first": first, "end": end}
            yield "entry.log_id = :log AND entry.seq >= :first AND entry.seq < :end ORDER BY entry.seq", bounds
        return
    since = None if since is None else since - _OUT_OF_ORDER_NS
    until = None if until is None else until + _OUT_OF_ORDER_NS
    first, end = between(db, "id >= ? ORDER BY id", last_position(db) + 1, since, until)
    end = end if before is None else min(end, before)
    bounds = dict[str, Any](first=first, end=end)
    if filters.agent is None:
        yield "entry.id >= :first AND entry.id < :end ORDER BY entry.id", bounds
        return
    bounds["organization"] = filters.organization
    subjects = (filters.agent, *filters.above)
    for part in _parts_with(db, subjects, first, end):
        yield _of_agents(len(subjects)), bounds | {"part": part} | _subjects(subjects)


def _of_agents(many: int) -> str:
    """The condition for entries of so many subjects in one part of the log."""
    return f"""
        entry.id >> 8 = :part AND entry.agent IN ({_marks(many)}) AND entry.id >= :first AND entry.id < :end
    AND (:organization IS NULL OR log.organization = :organization)
    ORDER BY entry.id"""


def _marks(many: int) -> str:
    return ", ".join(f":subject{number}" for number in range(many))


def _subjects(subjects: Sequence[str]) -> dict[str, Any]:
    return {f"subject{number}": each for number, each in enumerate(subjects)}


_PARTS: Final = """
WITH RECURSIVE part (number) AS (SELECT :last UNION ALL SELECT number - 1 FROM part WHERE number > :begin)
SELECT number FROM part
 WHERE EXISTS (SELECT 1 FROM entry WHERE entry.id >> 8 = number AND entry.agent IN ({marks}))"""


def _parts_with(db: LogIndex, subjects: Sequence[str], first: int, end: int) -> Iterator[int]:
    """The numbers of the parts of the log, 256 entries each, that have entries of these subjects, the last first."""
    query = _PARTS.format(marks=_marks(len(subjects)))
    last, step = (end - 1) >> 8, 16
    while last >= first >> 8:
        # The wanted entries are mostly at the end of the log; all of a long one takes milliseconds for a million
        # entries.
        begin = max(first >> 8, last - step + 1)
        rows = db.execute(query, _subjects(subjects) | {"last": last, "begin": begin})
        yield from sorted((number for (number,) in rows), reverse=True)
        last, step = begin - 1, 4096


def between(db: LogIndex, at_or_after: str, size: int, since_ns: int | None, until_ns: int | None) -> tuple[int, int]:
    """The first place at or after a time, and the first at or after another one, by halving.

    `at_or_after` selects the rows from a place on.
    """
    first = 0 if since_ns is None else _first_at(db, "time_ns", at_or_after, size, since_ns)
    return first, size if until_ns is None else _first_at(db, "time_ns", at_or_after, size, until_ns)


def _first_at(db: LogIndex, column: str, at_or_after: str, size: int, value: int) -> int:
    """The first place whose row has at least this value in a column that is in the order of places."""
    query = f"SELECT {column} FROM entry WHERE {at_or_after} LIMIT 1"  # noqa: S608  # our own text and integers
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        row = db.execute(query, (middle,)).fetchone()
        if row is not None and row[0] < value:
            low = middle + 1
        else:
            high = middle
    return low


def _found(row: tuple[int, str, int, str, int, bytes, str]) -> FoundEntry:
    position, organization, seq, kind, time_ns, leaf, event_id = row
    try:
        entry = entries.decode(leaf)
    except AuditError:
        entry = {}
    return FoundEntry(position, organization, seq, kind, time_ns, entry, event_id)
