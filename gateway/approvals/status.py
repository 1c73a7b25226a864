"""The part of approvals in `gateway status`: calls that wait for people, and calls of which nobody was told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import func
from sqlmodel import col, select

from gateway.audit import grants
from gateway.data_directory import DataDirectory
from gateway.registry.database import Registry
from gateway.registry.inventory import Tenant
from gateway.registry.models import ApprovalRequest, Organization
from gateway.telemetry.findings import Finding

UNDECIDED: Final = "nobody decided in time"
"""The reason in a request that has expired while it waited."""
_LOOKED_AT_NS: Final = 7 * 86_400 * 10**9


class ApprovalsStatus:
    """Implements `StatusPart`."""

    name = "approvals"

    def __init__(self, data: DataDirectory, registry: Registry) -> None:
        self._waiting: dict[str, tuple[int, int]] = {}
        self._undecided: dict[str, int] = {}
        now = time.time_ns()
        row = ApprovalRequest
        counted = select(Organization.name, func.count(), func.min(row.created_ns)).join(
            row, col(row.organization_id) == Organization.id
        )
        with registry.read() as session:
            waiting = counted.where(row.state == "waiting", row.expires_ns > now)
            for name, many, since in session.exec(waiting.group_by(Organization.name)):
                self._waiting[name] = many, since
            lost = counted.where(
                row.state == "expired", row.reason == UNDECIDED, col(row.settled_ns) > now - _LOOKED_AT_NS
            )
            for name, many, _ in session.exec(lost.group_by(Organization.name)):
                self._undecided[name] = many

    def rows(self, tenant: Tenant) -> list[Any]:
        many, since = self._waiting.get(tenant.name, (0, None))
        undecided = self._undecided.get(tenant.name, 0)
        if not many and not undecided:
            return []
        return [
            {"organization": tenant.name, "waiting": many, "waiting_since_ns": since, "expired_undecided": undecided}
        ]

    def lines(self, tenant: Tenant, of: str, now_ns: int) -> Iterator[tuple[str, str]]:
        if tenant.name in self._waiting:
            many, since = self._waiting[tenant.name]
            yield "approvals", f"{many}{of} waiting, the oldest for {max(0, now_ns - since) // 10**9} s"

    def findings(self, tenant: Tenant, at: str) -> Iterator[Finding]:
        if tenant.name in self._waiting:
            many, _ = self._waiting[tenant.name]
            calls = "1 call waits" if many == 1 else f"{many} calls wait"
            todo = f"`gateway approvals list --state waiting{at}`, then show, approve or deny"
            yield Finding("problem", f"{calls} for an approval in organization `{tenant.name}`", todo)
            if not any(grants.REQUESTED in each.events for each in tenant.webhooks):
                yield Finding(
                    "remark",
                    f"nobody is told when a call of organization `{tenant.name}` begins to wait",
                    f"`gateway webhooks add URL --event {grants.REQUESTED} --event {grants.DECIDED}{at}`",
                )
        if undecided := self._undecided.get(tenant.name):
            calls = "1 call was" if undecided == 1 else f"{undecided} calls were"
            yield Finding(
                "remark",
                f"{calls} denied in the last week because nobody decided in time, in organization `{tenant.name}`",
                f"`gateway approvals list --state expired{at}` shows them; see that reviewers are told in time",
            )
