"""Calls that wait for people, and whether anybody was told: a part of `gateway status`, and the numbers of metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlmodel import col, select

from gateway.audit import grants
from gateway.data_directory import DataDirectory
from gateway.registry.database import Registry
from gateway.registry.inventory import Tenant
from gateway.registry.models import ApprovalRequest, Organization
from gateway.registry.webhooks import by_organization, is_for
from gateway.telemetry.findings import Finding
from gateway.webhooks import notices

UNDECIDED: Final = "nobody decided in time"
"""The reason in a request that has expired while it waited."""
_LOOKED_AT_NS: Final = 7 * 86_400 * 10**9
_SOON_NS: Final = 30 * 10**9
"""A notice takes a few seconds; one that takes longer needs a person."""
_MOST: Final = 10_000
"""Requests of an organization that are looked at, the newest first."""


@dataclass(slots=True)
class Waiting:
    """The calls of an organization that wait now. `notices` counts those about them, by state."""

    many: int = 0
    since_ns: int = 0
    # Nobody was told of them, as yet or for longer than that should take.
    untold: int = 0
    overdue: int = 0
    notices: Counter[str] = field(default_factory=Counter)


def waiting(registry: Registry, data: DataDirectory, now_ns: int) -> dict[str, Waiting]:
    """By organization; only those where calls wait."""
    found: dict[str, Waiting] = {}
    for name, rows in _requests(registry, ApprovalRequest.state == "waiting", ApprovalRequest.expires_ns > now_ns):
        told = notices.of_requests(registry, data, name, [request for request, _ in rows])
        mine = found[name] = Waiting(len(rows), min(created for _, created in rows))
        for request, created in rows:
            each = told.get(request, notices.Told())
            mine.notices.update(one.state for one in each.notices)
            if not each.accepted:
                mine.untold += 1
                mine.overdue += now_ns - created > _SOON_NS
    return found


def _requests(registry: Registry, *conditions: Any) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Requests and when they were made, by organization."""
    with registry.read() as session:
        tenants = session.exec(select(Organization.id, Organization.name)).all()
        for identifier, name in tenants:
            mine = select(ApprovalRequest.id, ApprovalRequest.created_ns).where(
                ApprovalRequest.organization_id == identifier, *conditions
            )
            rows = session.exec(mine.order_by(col(ApprovalRequest.id).desc()).limit(_MOST)).all()
            if rows:
                yield name, [(request, created) for request, created in rows]


class ApprovalsStatus:
    """Implements `StatusPart`."""

    name = "approvals"

    def __init__(self, data: DataDirectory, registry: Registry) -> None:
        now = time.time_ns()
        self._waiting = waiting(registry, data, now)
        self._webhooks = by_organization(registry) if self._waiting else {}
        # Those that have expired undecided, and those among them of which nobody was told.
        self._undecided: dict[str, tuple[int, int]] = {}
        row = ApprovalRequest
        over = row.state == "expired", row.reason == UNDECIDED, col(row.settled_ns) > now - _LOOKED_AT_NS
        for name, rows in _requests(registry, *over):
            told = notices.of_requests(registry, data, name, [request for request, _ in rows])
            untold = sum(not told.get(request, notices.Told()).accepted for request, _ in rows)
            self._undecided[name] = len(rows), untold

    def rows(self, tenant: Tenant) -> list[Any]:
        mine = self._waiting.get(tenant.name, Waiting())
        undecided, untold = self._undecided.get(tenant.name, (0, 0))
        if not mine.many and not undecided:
            return []
        return [
            {
                "organization": tenant.name,
                "waiting": mine.many,
                "waiting_since_ns": mine.since_ns or None,
                "waiting_untold": mine.untold,
                "notices": dict(mine.notices),
                "expired_undecided": undecided,
                "expired_untold": untold,
            }
        ]

    def lines(self, tenant: Tenant, of: str, now_ns: int) -> Iterator[tuple[str, str]]:
        if mine := self._waiting.get(tenant.name):
            text = f"{mine.many}{of} waiting, the oldest for {max(0, now_ns - mine.since_ns) // 10**9} s"
            if mine.notices:
                text += f"; notices: {', '.join(f'{mine.notices[each]} {each}' for each in notices.STATES)}"
            yield "approvals", text

    def findings(self, tenant: Tenant, at: str) -> Iterator[Finding]:
        if mine := self._waiting.get(tenant.name):
            calls = "1 call waits" if mine.many == 1 else f"{mine.many} calls wait"
            todo = f"`gateway approvals list --state waiting{at}`, then show, approve or deny"
            yield Finding("problem", f"{calls} for an approval in organization `{tenant.name}`", todo)
            if not any(
                grants.REQUESTED in each.events and is_for(each, {}) for each in self._webhooks.get(tenant.name, ())
            ):
                yield Finding(
                    "remark",
                    f"nobody is told when a call of organization `{tenant.name}` begins to wait",
                    f"`gateway webhooks add URL --event {grants.REQUESTED} --event {grants.DECIDED}{at}`",
                )
            elif mine.overdue:
                calls = "1 call that waits" if mine.overdue == 1 else f"{mine.overdue} calls that wait"
                yield Finding(
                    "problem",
                    f"no notice of {calls} for an approval in organization `{tenant.name}` was accepted",
                    f"`gateway approvals show APPROVAL{at}` says why; decide, and see to the receiver",
                )
        undecided, untold = self._undecided.get(tenant.name, (0, 0))
        if undecided:
            calls = "1 call was" if undecided == 1 else f"{undecided} calls were"
            nobody = f"; nobody was told of {untold} of them" if untold else ""
            yield Finding(
                "remark",
                f"{calls} denied in the last week because nobody decided in time, "
                f"in organization `{tenant.name}`{nobody}",
                f"`gateway approvals list --state expired{at}` shows them; see that reviewers are told in time",
            )
