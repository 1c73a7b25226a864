"""Notices: the deliveries that tell people of calls which wait for an approval, each with its state for each webhook.

A notice that was accepted is an entry of the log, so it stays known when the webhook or `runtime.db` is gone. All
others follow from the place of the webhook in the log, which is its queue. Specification: approvals.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from sqlmodel import Session, col, select

from gateway.audit import grants
from gateway.audit.log_files import opened_log
from gateway.audit.log_reader import LogIndex
from gateway.data_directory import DataDirectory
from gateway.registry import outbox
from gateway.registry.database import Registry
from gateway.registry.models import ApprovalRequest, Organization, Outbox, Webhook, table
from gateway.registry.webhooks import is_for
from gateway.webhooks.deliveries import Outcome, Queues, queues

STATES: Final = ("queued", "sent", "accepted", "failed")
"""`queued`: it was not tried yet. `sent`: the answer is not known yet. `failed`: the last attempt was not accepted."""

_ACTOR: Final = "gateway"
_AT_ONCE: Final = 400  # requests that are looked for by one statement
_OUTBOX: Final = table(Outbox)
_NOTICED: Final = """
SELECT json_extract(asked.value, '$[0]'), entry.event_id FROM json_each(?) AS asked CROSS JOIN entry
 WHERE entry.event_id > json_extract(asked.value, '$[0]') AND entry.event_id < json_extract(asked.value, '$[1]')
"""
"""The entries of notices, by the bounds of the ids of each request's: one statement, since thousands may wait."""
_REQUEST: Final = table(ApprovalRequest)
# Without the call itself, which is large.
_ABOUT: Final = select(_REQUEST.c.id, _REQUEST.c.call, _REQUEST.c.escalated)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRecord:
    """One way on which people are told of a request, or that others may review it, too.

    `to` is the host of the webhook; a URL may be a secret.
    """

    event: str
    webhook: str
    to: str
    state: str
    # How often it failed, and why it did the last time.
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class Told:
    """The notices of one request. `accepted` also counts webhooks that were removed since."""

    notices: Sequence[NoticeRecord] = ()
    accepted: int = 0


def record(registry: Registry, data: DataDirectory, outcomes: Sequence[Outcome]) -> None:
    """Have the log say which notices were accepted, each once."""
    done = [each for each in outcomes if not each.error and grants.request_of(each.event_id)]
    if not done:
        return
    with registry.write() as session, opened_log(data) as log:
        ids = {grants.notice_id(each.event_id, each.webhook): each for each in done}
        # The outbox first: an entry that leaves it is in the log by then.
        known = {*_in_outbox(session, list(ids)), *_positions(log, list(ids))}
        for identifier, each in ids.items():
            row = session.get(ApprovalRequest, grants.request_of(each.event_id))
            if row is None or identifier in known:
                continue
            fields = {"agent": row.agent_id, "approval": row.id, "webhook": each.webhook}
            tenant = session.get(Organization, row.organization_id)
            outbox.add_change(session, tenant, _ACTOR, grants.NOTICED, fields, event_id=identifier)


def of_requests(registry: Registry, data: DataDirectory, organization: str, requests: Sequence[str]) -> dict[str, Told]:
    """The notices of these requests of an organization; of one whose entry is not kept any more there are none."""
    found: dict[str, Told] = {}
    if not requests:
        return found
    # In this order: what leaves one of them is in the next one by then.
    held = queues(data.runtime_db)
    with registry.read() as session, opened_log(data) as log:
        all_ = select(Webhook).join(Organization, col(Organization.id) == Webhook.organization_id)
        hooks = session.exec(all_.where(Organization.name == organization).order_by(col(Webhook.id))).all()
        for start in range(0, len(requests), _AT_ONCE):
            part = requests[start : start + _AT_ONCE]
            rows = session.execute(_ABOUT.where(_REQUEST.c.id.in_(part))).all()
            told = {row.id: _entries(row.id, row.escalated) for row in rows}
            ids = [each for entries in told.values() for each in entries]
            accepted = _accepted(session, log, part)
            waiting = set(_in_outbox(session, ids))
            positions = _positions(log, ids)
            for row in rows:
                if row.id not in positions and row.id not in waiting:
                    continue
                named, mine = accepted.get(row.id, set()), [each for each in hooks if is_for(each, row.call)]
                notices = [
                    notice
                    for entry, event in told[row.id].items()
                    for notice in _of_one(mine, held, entry, event, positions.get(entry), named)
                ]
                found[row.id] = Told(notices, len(named))
    return found


def _entries(request: str, escalated: Sequence[int]) -> dict[str, str]:
    """The entries that tell people of a request, and the event of each."""
    later = {grants.escalation_id(request, number): grants.ESCALATED for number in escalated}
    return {request: grants.REQUESTED, **later}


def _of_one(
    hooks: Sequence[Webhook], held: Queues, entry: str, event: str, position: int | None, accepted: set[str]
) -> Iterator[NoticeRecord]:
    for each in hooks:
        if event not in each.events or (position is not None and position <= each.since):
            continue  # it is not told of this, or was added later
        place, error = held.receivers.get(each.id, (each.since, ""))
        attempts = 0 if position is None else held.attempts.get((each.id, position), 0)
        if grants.notice_id(entry, each.id) in accepted:
            state, error = "accepted", ""
        elif position is None or place < position:
            state, error = "queued", ""
        elif held.sent.get(each.id) == position:
            state = "sent"
        elif attempts or (each.id, position) not in held.attempts:  # else it was given up
            state = "failed"
        else:
            state, error = "queued", ""
        yield NoticeRecord(
            event=event,
            webhook=each.id,
            to=urlsplit(each.url).hostname or "",
            state=state,
            attempts=attempts,
            error=error,
        )


def _accepted(session: Session, log: LogIndex, requests: Sequence[str]) -> dict[str, set[str]]:
    """The ids of the entries that say so, by request."""
    found: dict[str, set[str]] = {}
    prefixes = {grants.notices_of(each): each for each in requests}
    noticed = select(Outbox.event_id).where(col(Outbox.event_id).startswith("ntc_", autoescape=True))
    for identifier in session.exec(noticed):
        if (request := prefixes.get(grants.notices_of(identifier[4:40]))) is not None:
            found.setdefault(request, set()).add(identifier)
    bounds = [[prefix, prefix[:-1] + "."] for prefix in prefixes]
    rows = log.execute(_NOTICED, (orjson.dumps(bounds).decode(),))
    for prefix, identifier in rows.fetchall():
        found.setdefault(prefixes[prefix], set()).add(identifier)
    return found


def _in_outbox(session: Session, ids: Sequence[str]) -> Sequence[str]:
    return list(session.execute(select(_OUTBOX.c.event_id).where(_OUTBOX.c.event_id.in_(ids))).scalars())


def _positions(log: LogIndex, ids: Sequence[str]) -> Mapping[str, int]:
    marks = ", ".join("?" * len(ids))
    rows: list[Any] = log.execute(f"SELECT event_id, id FROM entry WHERE event_id IN ({marks})", ids).fetchall()  # noqa: S608
    return dict(rows)
