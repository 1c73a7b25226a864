"""The states of limits: the parts spent, reserved by calls under way, and left, and the time when they start anew."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.audit import balances
from gateway.audit.balance import COUNTERS, MINUTE_NS, Balance, unit
from gateway.audit.log_files import opened_log
from gateway.data_directory import DataDirectory
from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.history.zones import zones
from gateway.registry.limits import usage_limits
from gateway.registry.records import LimitRecord, SubjectKind, copied
from gateway.usage import limits
from gateway.usage.limits import Part
from gateway.usage.zones import DEFAULT, ends


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """A limit and where it stands. `value` is what holds now, also while it is raised."""

    id: str
    subject_kind: SubjectKind
    subject: str
    limit: str
    upstream: str
    model: str
    counterparty: str
    tool: str
    value: int
    spent: int
    reserved: int
    left: int
    resets_at_ns: int | None
    raised_until_ns: int | None
    by_gateway: bool
    mode: str


def applying(registry: Registry, organization: str, kind: SubjectKind, subject: str) -> list[LimitRecord]:
    """The limits that hold a subject back: for an agent also those of its team and its organization."""
    with queries.reading(registry, organization) as (session, tenant):
        wanted: list[tuple[SubjectKind, str]] = [("organization", tenant.id)]
        if kind == "agent":
            agent = queries.find_agent(session, tenant, subject)
            wanted += [("agent", agent.id), ("team", agent.team)]
        elif kind == "team":
            wanted.append(("team", subject))
    return usage_limits.of_subjects(registry, organization, wanted)


def states(data: DataDirectory, found: Sequence[LimitRecord]) -> list[LimitState]:
    """The states of these limits, each in the time zone of its organization."""
    if not found:
        return []
    known = zones(data.registry_db)
    with opened_log(data) as db, db.snapshot():
        latest = balances.latest(db)
        scopes = [(each, limits.scope(each.subject_kind, each.subject_id, Part.of(each))) for each in found]
        return [
            _state(each, latest.get(each.organization, scope), known.get(each.organization, DEFAULT))
            for each, scope in scopes
        ]


def _state(limit: LimitRecord, balance: Balance, zone: str) -> LimitState:
    now = time.time_ns()
    minute = max(now // MINUTE_NS, balance.minute)
    used, reserved = balance.at(COUNTERS[limit.limit], minute)
    units = unit(limit.limit)
    raised = limit.raised_until_ns is not None and now < limit.raised_until_ns
    value = max(limit.value, limit.raised or 0) if raised else limit.value
    end = balance.ends(COUNTERS[limit.limit], minute, ends(zone, minute))
    return copied(
        LimitState,
        limit,
        value=value,
        spent=-(-(used - reserved) // units),
        reserved=-(-reserved // units),
        left=max(0, (value * units - used) // units),
        resets_at_ns=None if end is None else end * 10**9,
        raised_until_ns=limit.raised_until_ns if raised else None,
    )
