"""One transaction of the log: it turns drafts into entries and appends them to their trees.

This is the only code that appends entries. The caller holds `audit.lock` and has begun the transaction. Everything
that belongs to an entry (tiles, the log's head, the private row, the open decision, the balances) is written in the
same transaction, so that after a crash all of it is there or nothing.
Heads, tiles and balances may be kept from one transaction to the
next (`Kept`), but only if no other connection has written meanwhile, and never past a transaction that has failed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.audit import (
    balances,
    checkpoint,
    clock,
    content,
    decision,
    grants,
    halves_check,
    merkle,
    over_limits,
    storage,
    thresholds,
    tiles,
)
from gateway.audit import entry as entries
from gateway.audit.balances import Balances
from gateway.audit.decision import State
from gateway.audit.draft import Draft, draft, reserved
from gateway.audit.errors import AuditError, unavailable
from gateway.audit.halves_check import OTHER_LEAF, SIDES, Side
from gateway.audit.intents import Changed, Completed, Decided, Denial, Erased, Recovered, Reservation
from gateway.audit.log import Committed
from gateway.audit.log_reader import Head
from gateway.audit.over_limits import RaisedLimit
from gateway.audit.thresholds import LimitWindow, Reached

_RESERVATION = "SELECT reservation FROM open_decision WHERE event_id = ? AND log_id = ?"
_DELETE = "DELETE FROM open_decision WHERE event_id = ? AND log_id = ?"
_DELETE_CONTENT = """
DELETE FROM content WHERE decision = ? AND log_id IN (SELECT id FROM log WHERE organization = ?)
"""
# As tuples: a union is made anew each time it is asked for.
_USUAL = (Decided, Completed, Changed)
_COUNTING = (Decided, Completed, Recovered)


@dataclass(slots=True)
class _Log:
    """One tree inside this transaction: its head, and the leaves appended so far."""

    id: int
    organization: str
    size: int  # grows with every entry
    frontier: list[bytes]
    time_ns: int
    begin: int  # the size at the start of the transaction
    hashes: list[bytes] = field(default_factory=list)  # the leaf hashes from `begin` on
    edge: dict[int, bytes] | None = None  # the partial tiles at `begin`, by level; None if they have not been read


class _Other:
    """The draft of another side's decision, and what its reservation adds to it."""

    __slots__ = ("draft", "more", "side", "used_up")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.side: Side = SIDES[str(draft.entry[halves_check.DIRECTION])]
        self.more: entries.Entry = {}
        self.used_up: Sequence[LimitWindow] = ()


class Kept:
    """The state of the database, as it was read and written by the transactions of one connection.

    After another connection has written, `read_again` must be called before the next transaction.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self.balances = Balances(db)
        self.logs: dict[str, _Log] = {}

    def read_again(self) -> None:
        """Believe nothing that was read until now."""
        self.balances.look_again()
        self.logs.clear()

    def __len__(self) -> int:
        return len(self.balances) + len(self.logs)


class Transaction:
    """Lives inside one `BEGIN IMMEDIATE`; after `finish` the caller commits.

    INVARIANT: `record` raises `AuditError` before it has written anything that belongs to the draft, so that one
    refused draft does not affect the rest of the batch.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        deployment: str,
        clock: Callable[[], int],
        kept: Kept | None = None,
    ) -> None:
        """`kept` is what earlier transactions left, if it still is what the database has. It is brought up to date."""
        self._db = db
        self._deployment = deployment
        self._clock = clock
        self.kept = Kept(db) if kept is None else kept
        self.balances = self.kept.balances
        self._logs = self.kept.logs
        self._now = 0  # the last time of the clock
        self._last: int | None = None  # the last entry that was appended
        self._changes = db.total_changes  # the expected value: it grows by one for each row that is written here

    def record(self, item: Draft) -> Committed:
        """Append one entry. If the event is in the log already, return the entry that is there."""
        # Nearly all entries are of these kinds and hardly ever submitted twice: inserting them finds that out.
        usual = isinstance(item.intent, _USUAL) and self._find_log(item.organization) is not None
        if not usual and (known := self._find(item)) is not None:
            return known
        try:
            committed = self._record(item)
        except AuditError:
            # Everything that stands in the way of recording it: if it is recorded, nothing does.
            if (known := self._find(item)) is None:
                raise
            return known
        if committed is None and (committed := self._find(item)) is None:
            raise _without_effect()
        return committed

    def _record(self, item: Draft) -> Committed | None:
        """Append one entry; None if the event is in the log already."""
        intent = item.intent
        if isinstance(intent, _COUNTING):
            self.balances.current()
        log = self._log(item.organization)
        if isinstance(intent, Recovered):
            return self._recover(log, item, intent)
        time_ns = self._time(log, item.entry["id"])
        if isinstance(intent, Erased):
            return self._erase(log, item, intent, time_ns)
        if isinstance(intent, Completed):
            return self._complete_all(log, item, intent, time_ns)
        more: entries.Entry = {}
        used_up: Sequence[LimitWindow] = ()
        uses = isinstance(intent, Decided) and grants.needs_one(item.entry)
        if uses and (fault := grants.fault(self._event, item.entry, time_ns)):
            more, uses = reserved(item.entry, Denial(reason=grants.REASON, reasons=[fault])), False
        elif isinstance(intent, Decided) and intent.reservation is not None:
            raised = over_limits.of_decision(self._event, item.entry) if uses else ()
            more, used_up = self._reserve(intent.reservation, item.entry, time_ns, raised)
            if intent.counted and more.get("allow") is False and self._is_told(item.organization, used_up):
                return Committed(-1, time_ns, intent.event_id, {**item.entry, **more}, recorded=False)
        entry, others = item.entry, [_Other(each) for each in item.others] if item.others else []
        if others and isinstance(intent, Decided) and intent.allow:
            if more.get("allow") is False:
                entry, others = _alone(entry, others), []  # they were not asked
            elif (refusing := self._reserve_others(others)) is not None:
                entry, others = _alone(entry, [each for each in others if each is not refusing]), [refusing]
                more, used_up = reserved(entry, _refusal(entry, refusing)), ()
                if intent.counted and self._is_told(refusing.draft.organization, refusing.used_up):
                    return Committed(-1, time_ns, str(intent.event_id), {**entry, **more}, recorded=False)
        uses = uses and more.get("allow") is not False
        if uses:
            more = {**more, "approval_use": grants.next_number(self._event, item.entry)}
        kept = intent.content if isinstance(intent, Decided) else None
        if others:
            appended = self._append_all(log, item, entry, others, more, time_ns)
        else:
            appended = self._append(log, entry, more, time_ns, kept)
        if appended is None:
            return None
        committed, entry_id = appended
        if isinstance(intent, Decided):
            self._keep_open(log, committed.entry)
        self._keep_private(item, entry_id)
        self._keep_content(log, kept, committed.entry, entry_id)
        if uses:
            # In this very transaction: the id of this entry follows from the approval's and the number.
            self._append_new(log, grants.use(self._event, committed.entry), {}, committed.time_ns)
        if used_up:
            self._tell(log, committed, thresholds.refused(item.organization, used_up))
        return committed

    def _reserve_others(self, others: Sequence[_Other]) -> _Other | None:
        """Let the other sides reserve what they have to; the first that has no room, if there is one."""
        for each in others:
            intent = each.draft.intent
            if isinstance(intent, Decided) and intent.reservation is not None:
                now = self._time(self._log(each.draft.organization))
                each.more, each.used_up = self._reserve(intent.reservation, each.draft.entry, now, ())
                if each.more.get("allow") is False:
                    return each
        return None

    def _append_all(
        self,
        log: _Log,
        item: Draft,
        entry: entries.Entry,
        others: Sequence[_Other],
        more: entries.Entry,
        time_ns: int,
    ) -> tuple[Committed, int] | None:
        """Append the decisions of all sides; None if they are in their logs already."""
        made: list[tuple[_Other, _Log, entries.Entry, bytes, int]] = []
        for each in others:
            other = self._log(each.draft.organization)
            their_time = time_ns if other is log else self._time(other)
            their_entry, their_leaf = self._leaf(each.draft.entry, each.more, their_time, None)
            made.append((each, other, their_entry, their_leaf, their_time))
            more = {**more, each.side.leaf: merkle.leaf_hash(their_leaf).hex()}
        kept = item.intent.content if isinstance(item.intent, Decided) else None
        leaf = self._leaf(entry, more, time_ns, kept)
        for each, other, their_entry, their_leaf, their_time in made:
            theirs = self._insert(other, their_entry, their_leaf, their_time)
            if theirs is None:
                if each is not others[0]:
                    raise _without_effect()
                return None
            committed, their_id = theirs
            self._keep_open(other, committed.entry)
            self._keep_private(each.draft, their_id)
            if each.used_up:
                self._tell(other, committed, thresholds.refused(each.draft.organization, each.used_up))
        mine = self._insert(log, *leaf, time_ns)
        if mine is None:
            raise _without_effect()
        return mine

    def _complete_all(self, log: _Log, item: Draft, closing: Completed, time_ns: int) -> Committed | None:
        """Close a decision and those of the other sides, unless recovery has closed them."""
        if not item.others:
            return self._complete(log, closing, item.entry, time_ns)
        others = [
            each for each in item.others
            if isinstance(each.intent, Completed) and self._is_open(each.intent.decision_id)
        ]  # fmt: skip
        if not others:
            return self._complete(log, closing, item.entry, time_ns)
        found = self._db.execute("SELECT leaf FROM entry WHERE event_id = ?", (closing.decision_id,)).fetchone()
        named = {halves_check.OTHER_LEAF: merkle.leaf_hash(found[0]).hex()} if found else {}
        committed = self._complete(log, closing, item.entry, time_ns)
        if committed is None:
            return None
        for each in others:
            assert isinstance(each.intent, Completed)
            other = self._log(each.organization)
            their_time = time_ns if other is log else self._time(other)
            self._complete(other, each.intent, {**each.entry, **named}, their_time)
        return committed

    def write_balances(self) -> None:
        """Write the balances, because there is nothing else to do."""
        self.balances.write(self._write_all)

    def finish(self) -> None:
        """Write the tiles and heads of every tree that grew, and balances now and then."""
        if self._last is not None:
            self.balances.finish(self._last, self._write_all)
        for log in self._logs.values():
            if not log.hashes:
                continue
            if log.edge is None:
                read = storage.tile_reader(self._db, log.id)
                log.edge = {tile.level: read(tile) for tile in tiles.edge(log.begin)}
            for tile, data in tiles.grow(log.edge, log.begin, log.hashes).items():
                self._write(
                    "INSERT INTO tile (log_id, level, number, hashes) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET hashes = excluded.hashes",
                    (log.id, tile.level, tile.number, data),
                )
            self._write(
                "UPDATE log SET size = ?, frontier = ?, time_ns = ? WHERE id = ?",
                (log.size, b"".join(log.frontier), log.time_ns, log.id),
            )
            log.begin, log.hashes = log.size, []
        if self._db.total_changes != self._changes:
            raise sqlite3.IntegrityError("other rows were changed than the statements say: look for a trigger")

    def _write(self, statement: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        """Write one row. Raises `sqlite3.IntegrityError` if that has no effect; the whole batch fails then."""
        cursor = self._db.execute(statement, values)
        if cursor.rowcount != 1:
            raise _without_effect()
        self._changes += 1
        return cursor

    def _write_all(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        """The same for many rows of one statement."""
        if self._db.executemany(statement, rows).rowcount != len(rows):
            raise _without_effect()
        self._changes += len(rows)

    def _find(self, item: Draft) -> Committed | None:
        row = self._db.execute(
            "SELECT seq, time_ns, leaf FROM entry WHERE event_id = ?", (item.entry["id"],)
        ).fetchone()
        if row is None:
            return None
        seq, time_ns, leaf = row
        entry = entries.decode(leaf)
        # The first closing of a decision stands, whatever later ones say. Otherwise the same id must mean the same
        # fact: it is a second attempt, perhaps by another process and with another salt.
        if not isinstance(item.intent, Completed) and not _is_same_fact(entry, item):
            raise AuditError(
                "event_conflict",
                f"`{item.entry['id']}` is in the log already and says something else",
                subject=str(item.entry["id"]),
            )
        was_open = isinstance(item.intent, Decided) and decision.recorded(entry) is State.OPEN
        if was_open and not self._is_open(str(entry["id"])):
            # The first attempt was reported as failed and the decision closed since. To continue would be to forward a
            # request that was not forwarded according to the log.
            raise AuditError("event_conflict", f"`{entry['id']}` has been closed already", subject=str(entry["id"]))
        return Committed(seq, time_ns, str(item.entry["id"]), entry)

    def _event(self, event_id: str) -> entries.Entry | None:
        """The entry with this id, in whichever log."""
        row = self._db.execute("SELECT leaf FROM entry WHERE event_id = ?", (event_id,)).fetchone()
        return None if row is None else entries.decode(row[0])

    def _find_log(self, organization: str) -> _Log | None:
        """The log of an organization, if it has been begun."""
        log = self._logs.get(organization)
        if log is None and (head := storage.head(self._db, organization)) is not None:
            log = self._logs[organization] = _opened(head)
        return log

    def _log(self, organization: str) -> _Log:
        log = self._find_log(organization)
        if log is None:
            log = self._logs[organization] = _opened(self._begin_log(organization))
        return log

    def _begin_log(self, organization: str) -> Head:
        """Begin the log of an organization, with its first entry."""
        origin = checkpoint.origin(self._deployment, organization, 1)
        cursor = self._write(
            "INSERT INTO log (organization, epoch, origin, size, frontier, time_ns) VALUES (?, 1, ?, 0, x'', 0)",
            (organization, origin),
        )
        assert cursor.lastrowid is not None
        return Head(cursor.lastrowid, organization, 1, origin, 0, (), 0)

    def _time(self, log: _Log, event_id: entries.Scalar = None) -> int:
        """The time of the next entry: that of the clock, but never before the last one."""
        now = self._now = self._clock()
        if now >= log.time_ns:
            return now
        accepted = event_id == clock.acceptance_id(log.id, log.time_ns)
        if log.time_ns - now > clock.BACKWARD_NS and not (accepted or clock.is_accepted(self._db, log.id, log.time_ns)):
            raise behind_clock(clock.Ahead(log.id, log.organization, log.time_ns, log.time_ns - now))
        return log.time_ns

    def check_clock(self) -> None:
        """Raise if the clock is so far behind all logs that no request can be recorded."""
        found = clock.ahead(self._db, self._clock())
        if clock.are_all(found, self._db):
            raise behind_clock(found[0])

    def _reserve(
        self, reservation: Reservation, entry: entries.Entry, time_ns: int, raised: Sequence[RaisedLimit]
    ) -> tuple[entries.Entry, Sequence[LimitWindow]]:
        """The members that a decision's reservation adds to its entry, which may make it a denial; and the reason."""
        try:
            answer = reservation.take(self.balances, time_ns, raised)
            return reserved(entry, answer), answer.used_up if isinstance(answer, Denial) else ()
        except (AuditError, sqlite3.Error):
            raise
        except Exception as error:  # a defect in one reservation must not affect the rest of the batch
            raise unavailable(f"a reservation failed: {error!r}") from error

    def _append(
        self,
        log: _Log,
        entry: entries.Entry,
        more: Mapping[str, entries.Scalar],
        time_ns: int,
        kept: content.Sealed | None = None,
    ) -> tuple[Committed, int] | None:
        """Append an entry with these further members; None, and nothing changes, if its event is in a log already."""
        return self._insert(log, *self._leaf(entry, more, time_ns, kept), time_ns)

    def _leaf(
        self,
        entry: entries.Entry,
        more: Mapping[str, entries.Scalar],
        time_ns: int,
        kept: content.Sealed | None,
    ) -> tuple[entries.Entry, bytes]:
        """The whole entry and its leaf. Raises `bad_entry` if that is too long."""
        entry = {**entry, **more, "time": str(time_ns)}
        if time_ns - self._now > clock.BACKWARD_NS:
            entry["clock_ns"] = str(self._now)
        if kept is not None:
            entry["content_expires_ns"] = str(time_ns + kept.days * content.DAY_NS)
        return entry, entries.encode(entry)

    def _insert(self, log: _Log, entry: entries.Entry, leaf: bytes, time_ns: int) -> tuple[Committed, int] | None:
        """Append a leaf; None, and nothing changes, if its event is in a log already."""
        event_id = str(entry["id"])
        cursor = self._db.execute(
            "INSERT INTO entry (log_id, seq, event_id, kind, time_ns, agent, leaf) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (event_id) DO NOTHING",
            (log.id, log.size, event_id, entry["kind"], time_ns, entries.agent_of(entry), leaf),
        )
        if cursor.rowcount != 1:
            return None
        self._changes += 1
        hashed = merkle.leaf_hash(leaf)
        merkle.extend(log.frontier, log.size, hashed)
        log.hashes.append(hashed)
        committed = Committed(log.size, time_ns, event_id, entry)
        log.size += 1
        log.time_ns = time_ns
        assert cursor.lastrowid is not None
        self._last = cursor.lastrowid
        return committed, cursor.lastrowid

    def _append_new(
        self, log: _Log, entry: entries.Entry, more: Mapping[str, entries.Scalar], time_ns: int
    ) -> Committed:
        """Append an entry whose event is known not to be in the log."""
        appended = self._append(log, entry, more, time_ns)
        if appended is None:
            raise _without_effect()
        return appended[0]

    def _keep_open(self, log: _Log, entry: entries.Entry) -> None:
        """Store a decision that is open, and what it reserves."""
        if decision.recorded(entry) is State.OPEN:
            self.balances.reserve(entry)
            self._write(
                "INSERT INTO open_decision (event_id, log_id, boot, agent, reservation) VALUES (?, ?, ?, ?, ?)",
                (entry["id"], log.id, entry["boot"], entry["agent"], entry.get("reservation_json")),
            )

    def _keep_private(self, item: Draft, entry_id: int) -> None:
        """Store beside an entry what it only commits to."""
        if item.salt is not None:
            self._write(
                "INSERT INTO private (entry_id, salt, input) VALUES (?, ?, ?)", (entry_id, item.salt, item.private)
            )

    def _keep_content(self, log: _Log, kept: content.Sealed | None, entry: entries.Entry, entry_id: int) -> None:
        """Store the sealed content of a call beside its entry."""
        if kept is None:
            return
        decided = entry["id"] if entry["kind"] == "decided" else entry["decision"]
        self._write(
            "INSERT INTO content (entry_id, log_id, decision, agent, expires_ns, salt, sealed) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (entry_id, log.id, decided, kept.agent, int(str(entry["content_expires_ns"])), kept.salt, kept.data),
        )

    def _erase(self, log: _Log, item: Draft, intent: Erased, time_ns: int) -> Committed:
        """Delete content of an organization, in whichever of its logs. The entry names those of which there was any."""
        found: list[str] = []
        for each in intent.decisions:
            cursor = self._db.execute(_DELETE_CONTENT, (each, item.organization))
            self._changes += cursor.rowcount
            if cursor.rowcount:
                found.append(each)
        named: entries.Entry = {"decisions_json": entries.document(sorted(found)), "count": len(found)}
        return self._append_new(log, item.entry, named, time_ns)

    def _is_open(self, decision_id: str) -> bool:
        found = self._db.execute("SELECT 1 FROM open_decision WHERE event_id = ?", (decision_id,)).fetchone()
        return found is not None

    def _complete(self, log: _Log, closing: Completed, entry: entries.Entry, time_ns: int) -> Committed | None:
        """Close an open decision and settle what it had reserved; None if its closing is in the log already."""
        row, text = (closing.decision_id, log.id), None
        if not self.balances.knows(closing.decision_id):
            found = self._db.execute(_RESERVATION, row).fetchone()
            if found is None:
                raise _not_open(closing)
            (text,) = found
        members: entries.Entry = {}
        held = self.balances.closing(closing.organization, closing.decision_id, text)
        if held is not None:
            settled, members = balances.settlement(held, closing.settled)
        # Every obstacle is found before anything is written: the decision stays open then.
        leaf = self._leaf(entry, members, time_ns, closing.content)
        if self._db.execute(_DELETE, row).rowcount != 1:
            raise _not_open(closing)
        self._changes += 1
        appended = self._insert(log, *leaf, time_ns)
        if appended is None:
            return None
        committed, entry_id = appended
        self._keep_content(log, closing.content, committed.entry, entry_id)
        if held is not None:
            self.balances.settle(held, settled)
            if held.read:
                self._tell(log, committed, thresholds.reached(closing.organization, held, self.balances))
        return committed

    def _tell(self, log: _Log, cause: Committed, found: Iterable[Reached]) -> None:
        """Append the entries of these thresholds, unless they are in the log."""
        for event_id, fields in found:
            common = {name: cause.entry[name] for name in ("v", "org", "boot", "epoch")}
            members = {"id": event_id, "kind": "change", "actor": entries.ACTOR_GATEWAY, "reached_by": _decision(cause)}
            self._append(log, {**common, **members}, fields, cause.time_ns)

    def _is_told(self, organization: str, used_up: Sequence[LimitWindow]) -> bool:
        """True if the log tells already that these limits are used up."""
        return all(
            self._db.execute("SELECT 1 FROM entry WHERE event_id = ?", (event_id,)).fetchone()
            for event_id, _ in thresholds.refused(organization, used_up)
        )

    def _recover(self, log: _Log, item: Draft, intent: Recovered) -> Committed:
        """Close the open decisions of dead processes. The clock is read once, before anything is written."""
        rows = [
            (event_id, agent)
            for event_id, boot, agent in self._db.execute(
                "SELECT event_id, boot, agent FROM open_decision WHERE log_id = ? ORDER BY event_id", (log.id,)
            ).fetchall()
            if boot in intent.boots
        ]
        time_ns = self._time(log, item.entry["id"])
        for event_id, agent in rows:
            closing = decision.unknown(intent.organization, event_id, agent, intent.epoch)
            if self._complete(log, closing, draft(closing, str(item.entry["boot"])).entry, time_ns) is None:
                raise _without_effect()
        return self._append_new(log, item.entry, {"count": len(rows)}, time_ns)


def _alone(entry: entries.Entry, others: Iterable[_Other]) -> entries.Entry:
    """A caller's decision about which these sides were not asked: it names no decision of theirs."""
    left_out = {each.side.decision for each in others}
    return {name: value for name, value in entry.items() if name not in left_out}


def _refusal(entry: entries.Entry, refusing: _Other) -> Denial:
    """The denial of a caller's decision because another side has no room for the call."""
    return Denial(reason=refusing.side.refusal, reasons=[refusing.side.refused(entry)])


def _opened(head: Head) -> _Log:
    return _Log(head.id, head.organization, head.size, list(head.frontier), head.time_ns, head.size)


def behind_clock(found: clock.Ahead) -> AuditError:
    """The error for a log that stands still because the clock is behind it. Its text does not change meanwhile."""
    why = f"the clock is behind the log `{found.organization}`, and {found.until}"
    return AuditError(
        "audit_unavailable", f"the audit log cannot be written: {why}", hint=clock.HINT, kind="unavailable"
    )


def _not_open(closing: Completed) -> AuditError:
    text = f"`{closing.decision_id}` is not an open decision of this log"
    return AuditError("decision_not_open", text, subject=closing.decision_id)


def _without_effect() -> sqlite3.IntegrityError:
    return sqlite3.IntegrityError("a statement did not write its rows: look for a trigger")


def _decision(committed: Committed) -> entries.Scalar:
    """The decision that an entry is of."""
    return committed.entry.get("decision", committed.event_id)


# Members in which two attempts to record the same event may differ, and those that a reservation may change.
_OF_THE_ATTEMPT = frozenset(
    {"time", "clock_ns", "boot", "input_commitment", "content_commitment", "content_expires_ns"}
    | {OTHER_LEAF, *(each.leaf for each in SIDES.values())}
)
_OF_THE_RESERVATION = (
    _OF_THE_ATTEMPT | {"allow", "open", "reason", "reasons_json"} | {each.decision for each in SIDES.values()}
)


def _is_same_fact(entry: entries.Entry, item: Draft) -> bool:
    """True if an entry of the log is the one that this draft would have become."""
    if isinstance(item.intent, Decided) and (item.intent.reservation is not None or grants.needs_one(item.entry)):
        # The entry may have further members: those that the first attempt's reservation answered. It may be a denial.
        return all(entry.get(name) == value for name, value in item.entry.items() if name not in _OF_THE_RESERVATION)
    names = (entry.keys() | item.entry.keys()) - _OF_THE_ATTEMPT
    return all(entry.get(name, ...) == item.entry.get(name, ...) for name in names)
