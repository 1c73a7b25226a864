"""Changes and queries of the limits that operators set (docs/limits.md).

As in `changes.py` each change is one transaction with its entry in the outbox, and is in force for the next request in
every worker when the function returns. What limits mean is in `gateway/usage/limits.py`.
"""

from __future__ import annotations

import re
import time
from typing import cast

from sqlalchemy import or_
from sqlmodel import Session, col, select

from gateway.errors import GatewayError, did_you_mean
from gateway.identifiers import new_id
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox
from gateway.registry.agent_states import ENDED
from gateway.registry.changes import members_of, subject_of
from gateway.registry.database import Registry
from gateway.registry.models import Agent, Organization, UsageLimit
from gateway.registry.queries import find_organization, find_upstream, upstream_names
from gateway.registry.records import LimitRecord, SubjectKind
from gateway.usage.limits import LIMITS, MAX_LIMIT

MAX_LIMITS = 32
"""How many one subject may have: each is compared with every call."""

MAX_RAISE_NS = 31 * 86400 * 10**9
_MODEL = re.compile(r"[!-)+-~]{1,255}\*?|\*")


class Part:
    """What of a subject's calls a limit counts: those to one upstream, or of one model, or all."""

    def __init__(self, upstream: str = "", model: str = "") -> None:
        self.upstream, self.model = upstream, model
        if model and not _MODEL.fullmatch(model):
            raise GatewayError(
                "invalid_model",
                f"`{model[:64]}` is not the name of a model",
                subject=model,
                hint="write it as clients do; a star at its end stands for any rest, as in `gpt-4o*`",
            )


ALL = Part()


def set_limit(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    kind: SubjectKind,
    subject: str,
    name: str,
    value: int,
    part: Part = ALL,
    without_members: bool = False,
    reason: str = "",
) -> LimitRecord:
    """Set a limit, or give it another value; a raise stays until its time has come.

    A subject that no agent belongs to may be a mistyped name, so it is accepted only `without_members`.
    """
    check_name(name)
    _check_value(value)
    with registry.write() as session:
        tenant = find_organization(session, organization)
        stored, agent_name = subject_of(session, tenant, kind, subject)
        members_of(session, tenant, kind, subject, stored, actor, without_members=without_members)
        if part.upstream and find_upstream(session, tenant, part.upstream) is None:
            hint = did_you_mean(
                part.upstream, upstream_names(session, tenant), "type `gateway upstreams list` to see the upstreams"
            )
            raise GatewayError("unknown_upstream", f"unknown upstream `{part.upstream}`", hint=hint)
        mine = _live(session, tenant, kind, stored)
        before = _same(mine, name, part)
        if before is None and len(mine) >= MAX_LIMITS:
            raise GatewayError("too_many_limits", f"{kind} `{subject}` has {MAX_LIMITS} limits already")
        if before is not None and before.value == value:
            raise GatewayError("limit_exists", f"`{name}` of {kind} `{subject}` is {value} already", subject=before.id)
        row = _row(tenant, kind, stored, name, part, value, actor)
        if before is not None:
            row.raised, row.raised_until_ns, row.reason = before.raised, before.raised_until_ns, before.reason
        return _replace(session, tenant, actor, "limit.set", row, before, agent_name, reason)


def raise_limit(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    kind: SubjectKind,
    subject: str,
    name: str,
    value: int,
    for_ns: int,
    reason: str,
    part: Part = ALL,
) -> LimitRecord:
    """Raise a limit for a while; it falls back by itself. A raise in force is replaced."""
    check_name(name)
    _check_value(value)
    reason = names.check_text("reason", reason)
    if not reason:
        raise GatewayError("reason_missing", "a raise needs a reason", hint="say why: --reason TEXT")
    if not 0 < for_ns <= MAX_RAISE_NS:
        raise GatewayError("invalid_duration", "a limit is raised for at most 31d", hint="to change it for good: `set`")
    with registry.write() as session:
        tenant = find_organization(session, organization)
        stored, agent_name = subject_of(session, tenant, kind, subject)
        before = _found(session, tenant, kind, stored, subject, name, part)
        if value <= before.value:
            raise GatewayError(
                "not_a_raise",
                f"`{name}` of {kind} `{subject}` is {before.value}, and {value} is not more",
                subject=before.id,
                hint="to lower it, `gateway limits set`",
            )
        row = _row(tenant, kind, stored, name, part, before.value, actor)
        row.raised, row.raised_until_ns, row.reason = value, row.created_ns + for_ns, reason
        return _replace(session, tenant, actor, "limit.raised", row, before, agent_name)


def remove_limit(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    kind: SubjectKind,
    subject: str,
    name: str,
    part: Part = ALL,
    reason: str = "",
) -> LimitRecord:
    """End a limit: nothing but other limits holds its subject back any more."""
    check_name(name)
    with registry.write() as session:
        tenant = find_organization(session, organization)
        stored, agent_name = subject_of(session, tenant, kind, subject)
        row = _found(session, tenant, kind, stored, subject, name, part)
        row.removed_ns = time.time_ns()
        _record(session, tenant, actor, "limit.removed", row, None, reason)
        return limit_record(tenant, row, agent_name)


def limits(registry: Registry, organization: str) -> list[LimitRecord]:
    """The limits in force, oldest first."""
    with registry.read() as session:
        tenant = find_organization(session, organization)
        rows = session.exec(
            select(UsageLimit, Agent.name)
            .outerjoin(Agent, col(Agent.id) == UsageLimit.subject)
            .where(
                UsageLimit.organization_id == tenant.id,
                col(UsageLimit.removed_ns).is_(None),
                or_(col(UsageLimit.subject_kind) != "agent", col(Agent.status).not_in(ENDED)),
            )
            .order_by(col(UsageLimit.id))
        ).all()
        return [limit_record(tenant, row, agent_name) for row, agent_name in rows]


def check_name(name: str) -> None:
    """Raise unless this is the name of a limit: a mistyped one must not count as none."""
    if name not in LIMITS:
        rule = "a limit is (requests|tokens|spend_microusd)_per_(minute|hour|day|month) or concurrent_requests"
        raise GatewayError(
            "unknown_limit", f"`{name}` is not a limit", subject=name, hint=did_you_mean(name, LIMITS, rule)
        )


def _check_value(value: int) -> None:
    if not 0 <= value <= MAX_LIMIT:
        raise GatewayError("invalid_limit", f"{value} is not a limit", hint="it must be from 0 to 2**53 - 1")


def _live(session: Session, tenant: Organization, kind: SubjectKind, stored: str) -> list[UsageLimit]:
    return list(
        session.exec(
            select(UsageLimit).where(
                UsageLimit.organization_id == tenant.id,
                UsageLimit.subject_kind == kind,
                UsageLimit.subject == stored,
                col(UsageLimit.removed_ns).is_(None),
            )
        )
    )


def _same(rows: list[UsageLimit], name: str, part: Part) -> UsageLimit | None:
    wanted = name, part.upstream, part.model
    return next((row for row in rows if (row.name, row.upstream, row.model) == wanted), None)


def _found(
    session: Session, tenant: Organization, kind: SubjectKind, stored: str, subject: str, name: str, part: Part
) -> UsageLimit:
    mine = _live(session, tenant, kind, stored)
    row = _same(mine, name, part)
    if row is None:
        others = sorted({each.name for each in mine})
        hint = f"its limits are {', '.join(others)}: `gateway limits list` shows them whole" if others else ""
        where = "".join(f" for {what} `{text}`" for what, text in vars(part).items() if text)
        raise GatewayError(
            "no_such_limit",
            f"{kind} `{subject}` has no limit `{name}`{where}",
            subject=subject,
            hint=hint or f"set it first: `gateway limits set … {name} VALUE`",
        )
    return row


def _row(
    tenant: Organization, kind: SubjectKind, stored: str, name: str, part: Part, value: int, actor: str
) -> UsageLimit:
    return UsageLimit(
        id=new_id("lim"),
        organization_id=tenant.id,
        subject_kind=kind,
        subject=stored,
        name=name,
        upstream=part.upstream,
        model=part.model,
        value=value,
        created_ns=time.time_ns(),
        actor=actor,
    )


def _replace(
    session: Session,
    tenant: Organization,
    actor: str,
    what: str,
    row: UsageLimit,
    before: UsageLimit | None,
    agent_name: str | None,
    reason: str = "",
) -> LimitRecord:
    if before is not None:
        before.removed_ns = row.created_ns
        session.flush()  # the old row must be out of the unique index before the new one enters
    session.add(row)
    _record(session, tenant, actor, what, row, before, reason)
    return limit_record(tenant, row, agent_name)


def _record(
    session: Session,
    tenant: Organization,
    actor: str,
    what: str,
    row: UsageLimit,
    before: UsageLimit | None,
    reason: str = "",
) -> None:
    # Without a reason of its own, the entry has that of a raise which is still in force.
    fields = entries.limit(row, replaced=before)
    outbox.add_change(session, organization=tenant.name, actor=actor, what=what, fields=fields, reason=reason)


def limit_record(tenant: Organization, row: UsageLimit, agent_name: str | None) -> LimitRecord:
    kind = cast(SubjectKind, row.subject_kind)
    named = {"agent": agent_name or row.subject, "organization": tenant.name}.get(kind, row.subject)
    return LimitRecord(
        id=row.id,
        organization=tenant.name,
        subject_kind=kind,
        subject=named,
        subject_id=tenant.name if kind == "organization" else row.subject,
        limit=row.name,
        value=row.value,
        upstream=row.upstream,
        model=row.model,
        raised=row.raised,
        raised_until_ns=row.raised_until_ns,
        reason=row.reason,
        created_ns=row.created_ns,
        actor=row.actor,
    )
