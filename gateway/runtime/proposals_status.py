"""The part of proposed calls in `gateway status`: agents that call tools which no model has asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlmodel import col, select

from gateway.data_directory import DataDirectory
from gateway.registry.database import Registry
from gateway.registry.documents import timestamp
from gateway.registry.inventory import Tenant
from gateway.registry.models import Agent
from gateway.runtime import proposals
from gateway.runtime.proposals import Unproposed
from gateway.telemetry.findings import Finding


class ProposalsStatus:
    """Implements `StatusPart`."""

    name = "unproposed_calls"

    def __init__(self, data: DataDirectory, registry: Registry) -> None:
        self._counted: dict[str, list[tuple[str, Unproposed]]] = defaultdict(list)
        if not (counted := proposals.counted(data.runtime_db)):
            return
        with registry.read() as session:
            wanted = select(Agent.id, Agent.name).where(col(Agent.id).in_([each.agent for each in counted]))
            names = dict(session.exec(wanted).all())
        for each in counted:
            if each.agent in names:
                self._counted[each.organization].append((names[each.agent], each))

    def rows(self, tenant: Tenant) -> list[Any]:
        return [
            {"agent": name, "calls": each.calls, "since": timestamp(each.first_ns), "decision": each.decision}
            for name, each in self._counted.get(tenant.name, ())
        ]

    def lines(self, tenant: Tenant, of: str, now_ns: int) -> Iterator[tuple[str, str]]:
        yield from ()

    def findings(self, tenant: Tenant, at: str) -> Iterator[Finding]:
        for name, each in self._counted.get(tenant.name, ()):
            calls = "a tool once" if each.calls == 1 else f"tools {each.calls} times"
            yield Finding(
                "remark",
                f"agent `{name}` has called {calls} since {timestamp(each.first_ns)}, and no model had proposed that",
                f"look at the last one: `gateway audit show {each.decision}`; a policy can deny such calls",
            )
