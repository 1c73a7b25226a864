"""Notices: the deliveries that tell people of calls which wait for an approval, each with its state for each webhook.

A notice that was accepted is an entry of the log, so it stays known when the webhook or `runtime.db` is gone. All
others follow from the place of the webhook in the log, which is its queue. Specification: approvals.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

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


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRecord:
    """One way on which people are told of a request. `to` is the host of the webhook; a URL may be a secret."""

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
    done = [each for each in outcomes if not each.error and each.event_id.startswith(grants.PREFIX)]
    if not done:
        return
    with registry.write() as session, opened_log(data) as log:
        ids = {grants.notice_id(each.event_id, each.webhook): each for each in done}
        # The outbox first: an entry that leaves it is in the log by then.
        known = {*_in_outbox(session, list(ids)), *_positions(log, list(ids))}
        for identifier, each in ids.items():
            row = session.get(ApprovalRequest, each.event_id)
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
        hooks = [each for each in hooks if grants.REQUESTED in each.events]
        for start in range(0, len(requests), _AT_ONCE):
            part = requests[start : start + _AT_ONCE]
            accepted = _accepted(session, log, part)
            waiting = set(_in_outbox(session, part))
            positions = _positions(log, part)
            about = select(ApprovalRequest.id, ApprovalRequest.call).where(col(ApprovalRequest.id).in_(part))
            for each, call in session.exec(about):
                if each in positions or each in waiting:
                    named = accepted.get(each, set())
                    mine = [hook for hook in hooks if is_for(hook, call)]
                    told = _of_one(mine, held, each, positions.get(each), named)
                    found[each] = Told(list(told), len(named))
    return found


def _of_one(
    hooks: Sequence[Webhook], held: Queues, request: str, position: int | None, accepted: set[str]
) -> Iterator[NoticeRecord]:
    for each in hooks:
        if position is not None and position <= each.since:
            continue  # it was added later
        place, error = held.receivers.get(each.id, (each.since, ""))
        attempts = 0 if position is None else held.attempts.get((each.id, position), 0)
        if grants.notice_id(request, each.id) in accepted:
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
            webhook=each.id, to=urlsplit(each.url).hostname or "", state=state, attempts=attempts, error=error
        )


def _accepted(session: Session, log: LogIndex, requests: Sequence[str]) -> dict[str, set[str]]:
    """The ids of the entries that say so, by request."""
    found: dict[str, set[str]] = {}
    prefixes = {grants.notices_of(each): each for each in requests}
    noticed = select(Outbox.event_id).where(col(Outbox.event_id).startswith("ntc_", autoescape=True))
    for identifier in session.exec(noticed):
        if (request := prefixes.get(identifier[: identifier.rindex("-") + 1])) is not None:
            found.setdefault(request, set()).add(identifier)
    for prefix, request in prefixes.items():
        rows = log.execute(
            "SELECT event_id FROM entry WHERE event_id > ? AND event_id < ?", (prefix, prefix[:-1] + ".")
        )
        if ids := {identifier for (identifier,) in rows.fetchall()}:
            found.setdefault(request, set()).update(ids)
    return found


def _in_outbox(session: Session, ids: Sequence[str]) -> Sequence[str]:
    return list(session.execute(select(_OUTBOX.c.event_id).where(_OUTBOX.c.event_id.in_(ids))).scalars())


def _positions(log: LogIndex, ids: Sequence[str]) -> Mapping[str, int]:
    marks = ", ".join("?" * len(ids))
    rows: list[Any] = log.execute(f"SELECT event_id, id FROM entry WHERE event_id IN ({marks})", ids).fetchall()  # noqa: S608
    return dict(rows)
