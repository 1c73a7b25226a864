"""Requests that nobody decides in time go to others as well: from then on these may review them, too.

A policy says after how long and to whom. The control process writes it down with an entry in the log, and only what is
written down counts: when a review is made, when the quorum is counted, and in `gateway audit verify`.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlmodel import Session, col, select

from gateway.audit import grants
from gateway.audit.intents import Fields
from gateway.policy.approvals import escalation_times
from gateway.registry import outbox
from gateway.registry.database import Registry
from gateway.registry.models import ApprovalRequest, Organization

_ACTOR: Final = "gateway"
_BATCH: Final = 50  # their calls are read with them
_SHOWN: Final = ("action", "upstream", "provider", "model", "method", "path")
"""The facts of a call that those who are asked now are told."""


def widened(row: ApprovalRequest, number: int) -> dict[str, Any]:
    """A requirement with those who may review it by now."""
    found = row.requirements[number]
    if number not in row.escalated or not (found["teams"] or found["operators"]):
        return found
    more = found["escalate"]
    return found | {name: [*found[name], *more[name]] for name in ("teams", "operators")}


def escalate(registry: Registry, now_ns: int, fields: Callable[[Session, ApprovalRequest], Fields]) -> int:
    """Have requests that have waited too long go to others; returns how many. `fields` are those of every entry."""
    row = ApprovalRequest
    due = row.state == "waiting", col(row.escalates_ns) <= now_ns, row.expires_ns > now_ns
    with registry.read() as session:
        ids = session.exec(select(row.id).where(*due).limit(_BATCH)).all()
    if not ids:
        return 0
    with registry.write() as session:
        found = session.exec(select(row).where(*due, col(row.id).in_(ids))).all()
        for each in found:
            _escalate(session, each, now_ns, fields(session, each))
        return len(found)


def _escalate(session: Session, row: ApprovalRequest, now_ns: int, fields: Fields) -> None:
    left = {
        number: at
        for number, at in escalation_times(row.requirements, row.created_ns).items()
        if number not in row.escalated
    }
    new = [number for number, at in left.items() if at <= now_ns]
    row.escalated = [*row.escalated, *new]
    row.escalates_ns = min((at for at in left.values() if at > now_ns), default=None)
    session.add(row)
    session.flush()
    shown = {name: row.call[name] for name in _SHOWN if row.call.get(name) not in (None, "")}
    for number in new:
        demanded = outbox.document([row.requirements[number]])
        about: Fields = {"requirement": number, "approvals_json": demanded, "expires_ns": str(row.expires_ns)}
        tenant = session.get(Organization, row.organization_id)
        outbox.add_change(
            session,
            tenant,
            _ACTOR,
            grants.ESCALATED,
            {**shown, **fields, **about},
            event_id=grants.escalation_id(row.id, number),
        )
