"""Changes and queries of the limits that operators set (limits.md).

Each change is one transaction with its entry in the outbox, and is in force for the next request in every worker when
the function returns. The meaning of limits is in `gateway/usage/limits.py`.

The same limit may be set twice: by the gateway's operators, which includes whoever works at its machine, and by those
of the organization. Both hold, so the lower one decides. An operator of the organization changes only the latter.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import or_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select as SelectOfTuple

from gateway.errors import ConflictError, ForbiddenError, GatewayError, Hint, NotFoundError, UnknownError, did_you_mean
from gateway.identifiers import new_id
from gateway.mcp.pins import MAX_NAME
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox
from gateway.registry.agents.states import ENDED
from gateway.registry.database import Registry
from gateway.registry.models import Agent, Organization, UsageLimit
from gateway.registry.operators import operators
from gateway.registry.policies.bindings import members_of, subject_of
from gateway.registry.queries import find_upstream, reading, writing
from gateway.registry.records import LimitRecord, SubjectKind, copied
from gateway.usage.limits import (
    ALL,
    BOUNDED,
    ESTIMATE,
    FROM,
    HARD,
    LIMITS,
    MAX_LIMIT,
    TO,
    Part,
    default_mode,
    is_tokens,
)

MAX_LIMITS = 32
"""The most of one subject, of the gateway and of its organization each: they are compared with every call."""

MAX_RAISE_NS = 31 * 86400 * 10**9
_SAME_EVERYWHERE = ("concurrent_requests", "_per_minute")
_MODEL = re.compile(r"[!-)+-~]{1,255}\*?|\*")
_TOOL = re.compile(rf"[A-Za-z0-9_./-]{{1,{MAX_NAME}}}\*?|\*", re.ASCII)
_COUNTERPARTY = re.compile(rf"(?:{TO}|{FROM})(?:\*|([^/]+)(?:/([^/]+))?)")


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
    mode: str | None = None,
    by_gateway: bool | None = None,
    without_members: bool = False,
    reason: str = "",
) -> LimitRecord:
    """Set a limit, or give it another value or mode; a raise stays until its time has come.

    Without a `mode` a limit that is there keeps its own, and a new one has the usual one (`default_mode`).
    It is the gateway's or the organization's, as the actor is, unless `by_gateway` says which. A subject that no agent
    belongs to may be a mistyped name, so it is accepted only `without_members`.
    """
    check_name(name)
    _check_value(value)
    _check_mode(name, mode)
    _check_part(name, part)
    with writing(registry, organization) as (session, tenant):
        stored, agent = subject_of(session, tenant, kind, subject)
        members_of(session, tenant, kind, subject, agent, actor, without_members=without_members)
        if part.upstream:
            find_upstream(session, tenant, part.upstream)
        of_gateway = _of_gateway(session, tenant, actor)
        by_gateway = of_gateway if by_gateway is None else by_gateway
        if by_gateway and not of_gateway:
            raise _forbidden(f"limits of {kind} `{subject}` that are the gateway's are set by its operators")
        mine = [each for each in _live(session, tenant, kind, stored) if each.by_gateway == by_gateway]
        before = _same(mine, name, part)
        if before is None and len(mine) >= MAX_LIMITS:
            raise ConflictError("too_many_limits", f"{kind} `{subject}` has {MAX_LIMITS} limits already")
        mode = mode or (default_mode(name) if before is None else before.mode)
        if before is not None and (before.value, before.mode) == (value, mode):
            raise ConflictError("limit_exists", f"`{name}` of {kind} `{subject}` is {value} already", subject=before.id)
        of: dict[str, Any] = {
            "organization_id": tenant.id,
            "subject_kind": kind,
            "subject": stored,
            "by_gateway": by_gateway,
        }
        same = before or UsageLimit(id="", created_ns=0, name=name, value=value, **part._asdict(), **of)
        row = _next(same, actor, value=value, mode=mode)
        return _replace(session, tenant, "limit.set", row, before, agent, reason)


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
    by_gateway: bool | None = None,
) -> LimitRecord:
    """Raise a limit for a while; it falls back by itself. A raise in force is replaced.

    If it is there twice and `by_gateway` does not say which is meant, it is the one that is like the actor.
    """
    check_name(name)
    _check_value(value)
    reason = names.check_text("reason", reason)
    if not reason:
        raise GatewayError("reason_missing", "a raise needs a reason", hint=Hint("say why: --reason TEXT"))
    if not 0 < for_ns <= MAX_RAISE_NS:
        raise GatewayError("invalid_duration", "a limit is raised for at most 31d", hint="to change it for good: `set`")
    with writing(registry, organization) as (session, tenant):
        stored, agent = subject_of(session, tenant, kind, subject)
        before = _found(session, tenant, actor, kind, stored, subject, name, part, by_gateway)
        if value <= before.value:
            raise ConflictError(
                "not_a_raise",
                f"`{name}` of {kind} `{subject}` is {before.value}, and {value} is not more",
                subject=before.id,
                hint=Hint("to lower it, `gateway limits set`", api="to lower it, set the limit"),
            )
        until_ns = time.time_ns() + for_ns
        row = _next(before, actor, raised=value, raised_until_ns=until_ns, reason=reason)
        return _replace(session, tenant, "limit.raised", row, before, agent)


def remove_limit(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    kind: SubjectKind,
    subject: str,
    name: str,
    part: Part = ALL,
    by_gateway: bool | None = None,
    reason: str = "",
) -> LimitRecord:
    """End a limit, found as in `raise_limit`: nothing but other limits holds its subject back any more."""
    check_name(name)
    with writing(registry, organization) as (session, tenant):
        stored, agent = subject_of(session, tenant, kind, subject)
        row = _found(session, tenant, actor, kind, stored, subject, name, part, by_gateway)
        row.removed_ns = time.time_ns()
        outbox.add_change(session, tenant, actor, "limit.removed", entries.limit(row), reason)
        return limit_record(tenant, row, agent.name if agent else None)


def limits(registry: Registry, organization: str) -> list[LimitRecord]:
    """The limits in force, oldest first."""
    with reading(registry, organization) as (session, tenant):
        return [limit_record(tenant, row, name) for row, name in _in_force(session, tenant)]


def page(registry: Registry, organization: str, *, after: str | None, limit: int) -> tuple[list[LimitRecord], bool]:
    """The next limits in force, oldest first; and whether there are more."""
    with reading(registry, organization) as (session, tenant):
        wanted = _select_in_force(tenant)
        if after is not None:
            wanted = wanted.where(col(UsageLimit.id) > after)
        rows = session.exec(wanted.limit(limit + 1)).all()
        return [limit_record(tenant, row, name) for row, name in rows[:limit]], len(rows) > limit


def of_subjects(
    registry: Registry, organization: str, subjects: Sequence[tuple[SubjectKind, str]]
) -> list[LimitRecord]:
    """The limits in force of these subjects, as stored, oldest first."""
    with reading(registry, organization) as (session, tenant):
        names = [subject for _, subject in subjects]
        rows = session.exec(_select_in_force(tenant).where(col(UsageLimit.subject).in_(names))).all()
        return [limit_record(tenant, row, name) for row, name in rows if (row.subject_kind, row.subject) in subjects]


def in_force(registry: Registry, organization: str, identifier: str) -> LimitRecord | None:
    """The limit in force with this id."""
    with reading(registry, organization) as (session, tenant):
        found = session.exec(_select_in_force(tenant).where(UsageLimit.id == identifier)).one_or_none()
        return None if found is None else limit_record(tenant, *found)


def check_zone_change(session: Session, tenant: Organization, actor: str) -> None:
    """Raise `forbidden` if the actor would change where the windows of limits begin that it cannot change.

    If a window ends because the zone is another one, the next begins, with all of the limit: with one change after
    the other there would be many days in one.
    """
    if _of_gateway(session, tenant, actor):
        return
    held = [row for row, _ in _in_force(session, tenant) if row.by_gateway and not row.name.endswith(_SAME_EVERYWHERE)]
    if held:
        raise _forbidden(
            f"its time zone decides when {held[0].name} starts anew, which an operator of the whole gateway set"
        )


def check_name(name: str) -> None:
    """Raise unless this is the name of a limit: a mistyped one must not count as none."""
    if name not in LIMITS:
        rule = "a limit is (requests|tokens|spend_microusd)_per_(minute|hour|day|month) or concurrent_requests"
        raise UnknownError("limit", f"`{name}` is not a limit", subject=name, hint=did_you_mean(name, LIMITS, rule))


def _check_value(value: int) -> None:
    if not 0 <= value <= MAX_LIMIT:
        raise GatewayError("invalid_limit", f"{value} is not a limit", hint="it must be from 0 to 2**53 - 1")


def _check_mode(name: str, mode: str | None) -> None:
    if mode is None or mode == HARD or (mode == ESTIMATE and name in BOUNDED):
        return
    if mode == ESTIMATE:
        raise GatewayError("invalid_limit", f"`{name}` is always exact", hint="only tokens and money have estimates")
    raise GatewayError("invalid_limit", f"`{mode[:64]}` is not a mode of a limit", hint="it is `hard` or `estimate`")


def _check_part(name: str, part: Part) -> None:
    if part.model and not _MODEL.fullmatch(part.model):
        raise GatewayError(
            "invalid_model",
            f"`{part.model[:64]}` is not the name of a model",
            subject=part.model,
            hint="write it as clients do; a star at its end stands for any rest, as in `gpt-4o*`",
        )
    if part.tool and not _TOOL.fullmatch(part.tool):
        raise GatewayError(
            "invalid_tool",
            f"`{part.tool[:64]}` is not the name of a tool",
            subject=part.tool,
            hint=Hint(
                "write it as `gateway tools list` does; a star at its end stands for any rest, as in `create_*`",
                api="write it as the list of tools does; a star at its end stands for any rest, as in `create_*`",
            ),
        )
    if part.tool and is_tokens(name):
        raise GatewayError("invalid_limit", "calls of tools have no tokens", hint="limit their requests, or their cost")
    if part.tool and part.model:
        raise GatewayError("invalid_limit", "a call of a tool names no model", hint="leave one of them out")
    if not part.counterparty:
        return
    found = _COUNTERPARTY.fullmatch(part.counterparty)
    if found is None:
        raise GatewayError(
            "invalid_counterparty",
            f"`{part.counterparty[:64]}` is not a counterparty",
            subject=part.counterparty,
            hint="write `to:ORGANIZATION` for calls to its agents, `from:ORGANIZATION` for calls that they make",
        )
    for each in filter(None, found.groups()):
        names.check_name("counterparty", each)
    if any(part._replace(counterparty="")):
        raise GatewayError("invalid_limit", "a limit on a counterparty is for all calls between the two agents")
    if is_tokens(name):
        raise GatewayError(
            "invalid_limit", "calls between agents have no tokens", hint="limit their requests, or what they cost"
        )


def _of_gateway(session: Session, tenant: Organization, actor: str) -> bool:
    """True if this is somebody at the gateway's machine or an operator of the whole gateway."""
    return not operators.is_of(session, tenant.name, actor)


def _forbidden(message: str) -> GatewayError:
    return ForbiddenError("forbidden", message, hint="an operator of the whole gateway can change that")


def _in_force(session: Session, tenant: Organization) -> Sequence[tuple[UsageLimit, str | None]]:
    """The limits of an organization, oldest first, with the names of agents."""
    return session.exec(_select_in_force(tenant)).all()


def _select_in_force(tenant: Organization) -> SelectOfTuple[UsageLimit, str | None]:
    return (
        select(UsageLimit, Agent.name)
        .outerjoin(Agent, col(Agent.id) == UsageLimit.subject)
        .where(
            UsageLimit.organization_id == tenant.id,
            col(UsageLimit.removed_ns).is_(None),
            or_(col(UsageLimit.subject_kind) != "agent", col(Agent.status).not_in(ENDED)),
        )
        .order_by(col(UsageLimit.id))
    )


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
    return next((row for row in rows if (row.name, Part.of(row)) == (name, part)), None)


def _found(
    session: Session,
    tenant: Organization,
    actor: str,
    kind: SubjectKind,
    stored: str,
    subject: str,
    name: str,
    part: Part,
    by_gateway: bool | None,
) -> UsageLimit:
    """The limit that the actor means and may change."""
    _check_part(name, part)
    mine = _live(session, tenant, kind, stored)
    of_gateway = _of_gateway(session, tenant, actor)
    wanted = (of_gateway, not of_gateway) if by_gateway is None else (by_gateway,)
    by_whom = [_same([each for each in mine if each.by_gateway == one], name, part) for one in wanted]
    row = next((each for each in by_whom if each is not None), None)
    if row is not None and row.by_gateway and not of_gateway:
        raise _forbidden(f"`{name}` of {kind} `{subject}` was set by an operator of the whole gateway")
    if row is None:
        others = sorted({each.name for each in mine})
        hint = Hint(f"its limits are {', '.join(others)}: `gateway limits list` shows them whole") if others else ""
        where = "".join(f" for {what} `{text}`" for what, text in part._asdict().items() if text)
        raise NotFoundError(
            "no_such_limit",
            f"{kind} `{subject}` has no limit `{name}`{where}",
            subject=subject,
            hint=hint or Hint(f"set it first: `gateway limits set … {name} VALUE`"),
        )
    return row


def _next(row: UsageLimit, actor: str, **changed: Any) -> UsageLimit:
    """The row that takes the place of one."""
    new = {"id": new_id("lim"), "created_ns": time.time_ns(), "removed_ns": None, "actor": actor}
    return copied(UsageLimit, row, **new, **changed)


def _replace(
    session: Session,
    tenant: Organization,
    what: str,
    row: UsageLimit,
    before: UsageLimit | None,
    agent: Agent | None,
    reason: str = "",
) -> LimitRecord:
    if before is not None:
        before.removed_ns = row.created_ns
        session.flush()  # the old row must be out of the unique index before the new one enters
    session.add(row)
    # Without a reason of its own, the entry has that of a raise which is still in force.
    outbox.add_change(session, tenant, str(row.actor), what, entries.limit(row, replaced=before), reason)
    return limit_record(tenant, row, agent.name if agent else None)


def limit_record(tenant: Organization, row: UsageLimit, agent: str | None) -> LimitRecord:
    kind = row.subject_kind
    named = {"agent": agent or row.subject, "organization": tenant.name}.get(kind, row.subject)
    kept_under = tenant.name if kind == "organization" else row.subject
    named_so = {"organization": tenant.name, "subject": named, "subject_id": kept_under}
    return copied(LimitRecord, row, limit=row.name, **named_so)
