"""The part of MCP servers' tools in `gateway status`: those that wait for an operator, and servers nobody has asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import col, func, select

from gateway.data_directory import DataDirectory
from gateway.mcp.pins import PROVIDER
from gateway.registry.database import Registry
from gateway.registry.inventory import Tenant
from gateway.registry.models import Organization, Upstream, UpstreamTool
from gateway.telemetry.findings import Finding


@dataclass(slots=True)
class Server:
    """The tools of one server, by their states."""

    name: str
    protocol: str | None
    states: dict[str, int] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        return self.states.get("new", 0) + self.states.get("changed", 0)


class ToolsStatus:
    """Implements `StatusPart`."""

    name = "tools"

    def __init__(self, data: DataDirectory, registry: Registry) -> None:
        self._servers: dict[str, list[Server]] = defaultdict(list)
        with registry.read() as session:
            servers = session.exec(
                select(Upstream.id, Organization.name, Upstream.name, Upstream.protocol)
                .join(Organization, col(Organization.id) == Upstream.organization_id)
                .where(Upstream.provider == PROVIDER)
                .order_by(Upstream.name)
            ).all()
            offered = col(UpstreamTool.gone_ns).is_(None)
            counted = (
                select(UpstreamTool.upstream_id, UpstreamTool.state, func.count())
                .where(offered)
                .group_by(col(UpstreamTool.upstream_id), col(UpstreamTool.state))
            )
            states: dict[str, dict[str, int]] = defaultdict(dict)
            for upstream, state, many in session.exec(counted).all() if servers else ():
                states[upstream][state] = many
        for identifier, organization, name, protocol in servers:
            self._servers[organization].append(Server(name, protocol, states[identifier]))

    def rows(self, tenant: Tenant) -> list[Any]:
        return [
            {"organization": tenant.name, "server": each.name, "protocol": each.protocol, **_all(each.states)}
            for each in self._servers.get(tenant.name, ())
        ]

    def lines(self, tenant: Tenant, of: str, now_ns: int) -> Iterator[tuple[str, str]]:
        for each in self._servers.get(tenant.name, ()):
            tools = ", ".join(f"{many} {state}" for state, many in _all(each.states).items() if many)
            yield "tools", f"{each.name}{of}  {tools or 'none'}"

    def findings(self, tenant: Tenant, at: str) -> Iterator[Finding]:
        for each in self._servers.get(tenant.name, ()):
            if each.waiting:
                tools = "1 tool waits" if each.waiting == 1 else f"{each.waiting} tools wait"
                yield Finding(
                    "problem",
                    f"{tools} for an approval: the MCP server `{each.name}` offers or describes something new",
                    f"`gateway tools list {each.name} --waiting{at}`, then show and approve",
                )
            if each.protocol is None:
                yield Finding(
                    "problem",
                    f"the MCP server `{each.name}` has not said its tools yet, so nobody can call one",
                    f"`gateway tools look {each.name}{at}` says why",
                )


def _all(states: dict[str, int]) -> dict[str, int]:
    return {state: states.get(state, 0) for state in ("pinned", "new", "changed")}
