"""Deliveries that are due: each webhook's place in the log, and the events that it has not got yet.

The log is the queue: a webhook's place in it moves on only when the events before it are rows here, and no more than
`MOST` of them wait at a time. A row goes when its event was delivered, or was tried for `GIVEN_UP_SECONDS`. If the
file is lost, events are delivered again from the place where the webhook was added: at least once, never not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.registry.documents import age, parse_time
from gateway.runtime.store import RuntimeStore, StoreTransaction, seen

MOST: Final = 200
GIVEN_UP_SECONDS: Final = 3 * 86400
_FIRST_SECONDS: Final = 5
_LAST_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class WebhookState:
    """The state of a webhook. A time of 0 is never; `failures` are those in a row; `waiting` events are undelivered."""

    failures: int = 0
    success_ns: int = 0
    error_ns: int = 0
    error: str = ""
    given_up: int = 0
    waiting: int = 0


def state_document(state: WebhookState) -> dict[str, Any]:
    """A state for programs, with times of None for never (`registry/documents.py` writes them)."""
    return {
        "waiting": state.waiting,
        "failures": state.failures,
        "given_up": state.given_up,
        "success_ns": state.success_ns or None,
        "failure_ns": state.error_ns or None,
        "error": state.error,
    }


def state_of(document: Mapping[str, Any]) -> WebhookState:
    """The way back from `state_document`, as JSON has it."""
    success, failure = (parse_time(document[name]) if document[name] else 0 for name in ("success", "failure"))
    return WebhookState(
        failures=document["failures"],
        success_ns=success,
        error_ns=failure,
        error=document["error"],
        given_up=document["given_up"],
        waiting=document["waiting"],
    )


def fares(state: WebhookState, now_ns: int) -> str:
    """Describe the deliveries to a webhook in a few words."""
    good = f"accepted {age(now_ns - state.success_ns)} ago" if state.success_ns else "none yet"
    if state.failures:
        good += f"; failed {age(now_ns - state.error_ns)} ago: {state.error}"
    return good + (f"; {state.given_up} given up" if state.given_up else "")


def pause(failures: int) -> int:
    """Return the seconds to wait after so many failures in a row."""
    return int(min(_FIRST_SECONDS * 4 ** (failures - 1), _LAST_SECONDS))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of delivering the entry at a position; `error` is empty if it was accepted."""

    webhook: str
    position: int
    event_id: str
    error: str
    time_ns: int


@dataclass(slots=True)
class Round:
    """Everything that is to be written down together."""

    outcomes: Sequence[Outcome] = ()
    found: list[tuple[str, Sequence[int], int]] = field(default_factory=list)
    """For a webhook: the positions of entries that it gets, and how far it has followed the log."""
    known: Sequence[str] | None = None
    """The ids of all receivers, if others are to be forgotten."""
    sent: Mapping[str, int] | None = None
    """The deliveries under way, by receiver, if they are others than were written down."""

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.found) or self.known is not None or self.sent is not None


class Deliveries:
    """Only `write` locks the store, which nonces of requests share. All of it blocks, and raises `GatewayError`."""

    def __init__(self, store: RuntimeStore) -> None:
        self._store = store

    def followed(self) -> dict[str, tuple[int, int]]:
        """The place of each webhook in the log, and the number of entries that wait for it."""
        rows = self._store.rows(
            "SELECT id, position, (SELECT count(*) FROM delivery WHERE receiver = id) FROM receiver"
        )
        return {webhook: (position, waiting) for webhook, position, waiting in rows}

    def due(self, now_ns: int) -> dict[str, list[int]]:
        """The positions of the entries that are to be delivered now, in their order, by webhook."""
        rows = self._store.rows(
            "SELECT d.receiver, d.position FROM delivery d JOIN receiver w ON w.id = d.receiver "
            "WHERE w.next_ns <= ? AND d.next_ns <= ? ORDER BY d.receiver, d.attempts, d.position",
            (now_ns, now_ns),
        )
        found: dict[str, list[int]] = {}
        for webhook, position in rows:
            found.setdefault(webhook, []).append(position)
        return found

    def write(self, done: Round, now_ns: int) -> list[tuple[Outcome, bool]]:
        """All of it in one transaction. Returns the deliveries that failed, and whether the event is given up."""
        if not done:
            return []
        with self._store.transaction(durable=True) as made:
            failed = [(each, _failed(made, each)) for each in done.outcomes if each.error]
            for each in done.outcomes:
                if not each.error:
                    _delivered(made, each)
            for webhook, positions, position in done.found:
                _add(made, webhook, positions, position, now_ns)
            if done.known is not None:
                _keep_only(made, done.known)
            if done.sent is not None:
                made.run("DELETE FROM delivery_sent")
                made.run_for("INSERT INTO delivery_sent (receiver, position) VALUES (?, ?)", [*done.sent.items()])
        return failed


def _add(made: StoreTransaction, webhook: str, positions: Sequence[int], position: int, now_ns: int) -> None:
    made.run_for(
        "INSERT OR IGNORE INTO delivery (receiver, position, first_ns) VALUES (?, ?, ?)",
        [(webhook, each, now_ns) for each in positions],
    )
    made.run(
        "INSERT INTO receiver (id, position) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET position = excluded.position",
        (webhook, position),
    )


def _delivered(made: StoreTransaction, done: Outcome) -> None:
    key = done.webhook, done.position
    made.run("DELETE FROM delivery WHERE receiver = ? AND position = ?", key)
    made.run("UPDATE receiver SET failures = 0, next_ns = 0, success_ns = ? WHERE id = ?", (done.time_ns, done.webhook))


def _failed(made: StoreTransaction, done: Outcome) -> bool:
    """Note that an attempt has failed. True if it was the last one: the event is given up."""
    key = done.webhook, done.position
    where = "WHERE receiver = ? AND position = ?"
    rows = made.rows(f"SELECT attempts, first_ns FROM delivery {where}", key)  # noqa: S608
    if not rows:
        return False  # its webhook was removed
    ((attempts, first_ns),) = rows
    given_up = done.time_ns - first_ns > GIVEN_UP_SECONDS * 10**9
    if given_up:
        made.run(f"DELETE FROM delivery {where}", key)  # noqa: S608
    else:
        later = done.time_ns + pause(attempts + 1) * 10**9
        made.run(
            f"UPDATE delivery SET attempts = attempts + 1, next_ns = ? {where}",  # noqa: S608
            (later, *key),
        )
    ((failures,),) = made.rows("SELECT failures FROM receiver WHERE id = ?", (done.webhook,))
    later = done.time_ns + pause(failures + 1) * 10**9
    made.run(
        "UPDATE receiver SET failures = failures + 1, next_ns = ?, error_ns = ?, error = ?, "
        "given_up = given_up + ? WHERE id = ?",
        (later, done.time_ns, done.error, int(given_up), done.webhook),
    )
    return bool(given_up)


def _keep_only(made: StoreTransaction, receivers: Sequence[str]) -> None:
    """Forget what belongs to receivers that were removed."""
    marks = ", ".join("?" * len(receivers))
    made.run(f"DELETE FROM receiver WHERE id NOT IN ({marks})", receivers)  # noqa: S608
    made.run(f"DELETE FROM delivery WHERE receiver NOT IN ({marks})", receivers)  # noqa: S608


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of all receivers at one moment. `attempts` has only deliveries that wait or are under way."""

    # The place in the log, and why the last attempt failed that did.
    receivers: Mapping[str, tuple[int, str]]
    attempts: Mapping[tuple[str, int], int]
    sent: Mapping[str, int]


def queues(path: Path) -> Queues:
    """Read all of it in one statement, so that no delivery ends in between."""
    rows = seen(
        path,
        "SELECT 0, id, position, 0, error FROM receiver "
        "UNION ALL SELECT 1, receiver, position, attempts, '' FROM delivery "
        "UNION ALL SELECT 2, receiver, position, 0, '' FROM delivery_sent",
    )
    return Queues(
        receivers={each: (position, error) for kind, each, position, _, error in rows if kind == 0},
        attempts={(each, position): attempts for kind, each, position, attempts, _ in rows if kind == 1},
        sent={each: position for kind, each, position, _, _ in rows if kind == 2},
    )


def states(path: Path) -> dict[str, WebhookState]:
    """Return the state of every webhook, by id; empty if none ever followed the log."""
    rows = seen(
        path,
        "SELECT id, failures, success_ns, error_ns, error, given_up, "
        "(SELECT count(*) FROM delivery WHERE receiver = id) FROM receiver",
    )
    return {identifier: WebhookState(*values) for identifier, *values in rows}
