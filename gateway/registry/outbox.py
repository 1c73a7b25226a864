"""Audit entries on their way from the registry to the log (architecture.md, section 10).

The two databases cannot share a transaction. So a change writes its entry to the outbox, in its own transaction, and
`drain` moves it into the log: right afterwards, and again whenever a process starts. The event id makes that
idempotent: a crash between the log's commit and the deletion in the outbox, or two processes that drain at the same
time, leave one entry in the log. In one process one thread drains at a time, because all would move the same entries.
A change is in force even while its entry is still in the outbox.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import orjson
from sqlalchemy import Row, delete, func, insert, select
from sqlmodel import Session

from gateway.audit.draft import draft
from gateway.audit.errors import AuditError
from gateway.audit.intents import SYSTEM, Activated, Changed, Fields, Intent
from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.registry import names
from gateway.registry.database import Registry
from gateway.registry.models import Epoch, Organization, Outbox, table

_GROUP: Final = 512
"""The entries that are recorded in one transaction of the log, and removed in one of the registry.

Requests wait for the lock of the one, and changes for that of the other.
"""

_TURN: Final = threading.Lock()
"""Held by the thread of this process that drains."""

# Plain rows: an object for each would take most of the time of a change of many things.
_TABLE: Final = table(Outbox)
_EPOCH: Final = table(Epoch)


class OutboxLog(Protocol):
    """The part of the audit log that draining needs; `gateway.audit.writer.AuditWriter` is one."""

    def write_all_sync(self, intents: Sequence[Intent], seconds: float | None = None) -> Sequence[object]:
        """Record durably in this order; an error in the place of an intent says that it was not recorded.

        It raises `audit_unavailable` if that takes longer than `seconds`; they may be recorded later. An event id that
        is recorded already with the same contents is fine.
        """


def add_change(
    session: Session,
    tenant: Organization | None,
    actor: str,
    what: str,
    fields: Fields,
    reason: str = "",
    *,
    event_id: str | None = None,
) -> None:
    """Put a change's entry beside the change. Call last: it records the epoch that the transaction ends with.

    It is for the log of an organization; None is the log of the deployment. `event_id` is for an entry that others must
    be able to name.
    """
    _add_changes(session, tenant, [_change(event_id or new_id("chg"), actor, what, fields, reason)])


def add_changes(
    session: Session, tenant: Organization | None, actor: str, what: str, fields: Sequence[Fields], reason: str = ""
) -> None:
    """Put the entries of many changes of one kind beside them."""
    _add_changes(session, tenant, [_change(new_id("chg"), actor, what, each, reason) for each in fields])


def _add_changes(session: Session, tenant: Organization | None, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
    _add(session, "change", SYSTEM if tenant is None else tenant.name, entries)


def _change(event_id: str, actor: str, what: str, fields: Fields, reason: str) -> tuple[str, dict[str, Any]]:
    why = {"reason": names.check_text("reason", reason)} if reason else {}
    return event_id, {"actor": actor, "what": what, "fields": {**fields, **why}}


def add_activation(session: Session, *, actor: str, activation: str, outcome: str, fields: Fields) -> None:
    """Put an activation's entry, or that of one which was refused (`activation` is empty then), beside the change."""
    entry = {"actor": actor, "activation": activation, "outcome": outcome, "fields": dict(fields)}
    _add(session, "activation", SYSTEM, [(activation or new_id("act"), entry)])


def document(value: list[Any] | dict[str, Any]) -> str:
    """A whole document as the text of one field: canonical, so that equal documents are equal text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def drain(registry: Registry, log: OutboxLog, seconds: float | None = None) -> int:
    """Move the entries that wait now into the log, oldest first; returns how many. Raises what the log raises.

    Entries that are in the log by then are removed from the outbox; the others wait for the next call. If it takes
    longer than `seconds` because there are so many, that is `audit_unavailable`.
    """
    until = None if seconds is None else time.monotonic() + seconds
    newest = _newest(registry)
    if newest is None:
        return 0
    if not _TURN.acquire(timeout=-1 if seconds is None else seconds):
        raise _many_before()
    moved = 0
    try:
        while rows := _waiting(registry, newest):
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise _many_before()
            outcomes = log.write_all_sync([_waiting_intent(row) for row in rows], left)
            pairs = zip(rows, outcomes, strict=True)
            done = [row.position for row, outcome in pairs if not isinstance(outcome, AuditError)]
            if done:
                with registry.write() as session:
                    session.execute(delete(_TABLE).where(_TABLE.c.position.in_(done)))
            moved += len(done)
            for outcome in outcomes:
                if isinstance(outcome, AuditError):
                    raise outcome
    finally:
        _TURN.release()
    return moved


def _many_before() -> AuditError:
    message = "many other entries are recorded before it"
    return AuditError("audit_unavailable", message, hint="try again later", kind="unavailable")


def _newest(registry: Registry) -> int | None:
    """The position of the newest entry that waits. Those that come later are moved by others."""
    with registry.read() as session:
        found: int | None = session.execute(select(func.max(_TABLE.c.position))).scalar()
        return found


def _waiting(registry: Registry, newest: int) -> Sequence[Row[Any]]:
    """The oldest entries that wait, up to `newest`."""
    older = select(_TABLE).where(_TABLE.c.position <= newest)
    with registry.read() as session:
        return session.execute(older.order_by(_TABLE.c.position).limit(_GROUP)).all()


def _add(session: Session, kind: str, organization: str, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Add entries, each with its event id."""
    session.flush()  # only now have the triggers bumped the epoch
    epoch = session.execute(select(_EPOCH.c.value)).scalar_one()
    boot, now_ns = new_id("boot"), time.time_ns()
    for event_id, entry in entries:
        try:
            # An entry that the log cannot hold would block the outbox for ever. So the whole change is refused.
            draft(_intent(kind, organization, event_id, epoch, entry), boot)
        except AuditError as error:
            message = f"the change cannot be recorded in the audit log: {error.message}"
            raise GatewayError("not_recordable", message, subject=organization) from error
    common = {"organization": organization, "kind": kind, "epoch": epoch, "created_ns": now_ns}
    session.execute(insert(_TABLE), [{"event_id": event_id, "entry": entry, **common} for event_id, entry in entries])


def _waiting_intent(row: Row[Any]) -> Intent:
    return _intent(row.kind, row.organization, row.event_id, row.epoch, row.entry)


def _intent(kind: str, organization: str, event_id: str, epoch: int, entry: dict[str, Any]) -> Intent:
    return _INTENTS[kind](organization=organization, event_id=event_id, epoch=epoch, **entry)


_INTENTS: dict[str, Callable[..., Intent]] = {"change": Changed, "activation": Activated}
