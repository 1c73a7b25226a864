"""Looks at MCP servers again and again, in the control process: a tool that is new, changed or gone is on record soon.

What workers have seen in lists is taken in every few seconds. Servers are asked one at a time, so a slow one delays
the others and nothing else. A server that cannot be asked keeps its tools as they are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import orjson

from gateway.audit.entry import ACTOR_GATEWAY
from gateway.data_directory import DataDirectory
from gateway.dataplane.registry_view import secret_of
from gateway.errors import GatewayError
from gateway.identity.call_tokens import Bearer
from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.port import UpstreamRow
from gateway.registry.upstreams import tools
from gateway.registry.upstreams.changes import mcp_servers
from gateway.registry.upstreams.tools import ToolChange
from gateway.runtime import sightings
from gateway.runtime.store import RuntimeStore
from gateway.secrets.key_source import KeySource
from gateway.secrets.vault import Vault
from gateway.upstream import mcp_look

logger = logging.getLogger("gateway.processes.tool_watch")

LOOK_SECONDS: Final = 300.0
"""The time between two looks at one server."""


class ToolWatch:
    """A duty on the event loop of the control process; its blocking work is done in a thread."""

    NAME = "tools"
    SECONDS = 2.0

    def __init__(
        self, registry: Registry, source: KeySource, data: DataDirectory, store: RuntimeStore, _dashboard: str = ""
    ) -> None:
        self._registry = registry
        self._source = source
        self._data = data
        self._store = store
        # When each server is looked at next, by the monotonic clock; a change of its upstream does not wait for that.
        self._next: dict[tuple[str, int], float] = {}
        self._complaints: dict[str, str] = {}

    async def step(self) -> None:
        """Take in what workers have seen, and look at the servers whose time has come."""
        rows = await asyncio.to_thread(mcp_servers, self._registry)
        await asyncio.to_thread(self._take_in, {each.id: each for each in rows})
        due = {(each.id, each.version): each for each in rows}
        self._next = {key: self._next.get(key, 0.0) for key in due}
        for key, row in due.items():
            if time.monotonic() >= self._next[key]:
                self._next[key] = time.monotonic() + LOOK_SECONDS
                await self._look(row)

    async def close(self) -> None:
        """Nothing is left under way."""

    async def _look(self, row: UpstreamRow) -> None:
        try:
            found = await mcp_look.looked(row, *await asyncio.to_thread(self._credential, row))
            changes = await asyncio.to_thread(self._observe, row, found.tools, found.protocol)
        except GatewayError as error:
            if self._complaints.get(row.id) != error.message:
                logger.warning("%s", error.message)
            self._complaints[row.id] = error.message
            return
        self._complaints.pop(row.id, None)
        _tell(changes)

    def _credential(self, row: UpstreamRow) -> tuple[str | None, Bearer | None]:
        secret = None if row.secret is None else secret_of(row, Vault.load(self._source.keys, self._source))
        return secret, mcp_look.bearer_of(row, self._data.keys, queries.deployment(self._registry))

    def _take_in(self, rows: dict[str, UpstreamRow]) -> None:
        waiting = sightings.waiting(self._data.runtime_db)
        for each in waiting:
            if each.upstream in rows:
                _tell(self._observe(rows[each.upstream], [orjson.loads(each.definition)], None))
        if waiting:
            sightings.forget(self._store, waiting)

    def _observe(self, row: UpstreamRow, documents: list[dict[str, object]], protocol: str | None) -> list[ToolChange]:
        where = {"organization": row.organization, "upstream": row.name}
        return tools.observe(self._registry, actor=ACTOR_GATEWAY, **where, documents=documents, protocol=protocol)


def _tell(changes: list[ToolChange]) -> None:
    for each in changes:
        if each.tool.state != "pinned":
            logger.warning(
                "tool %s of %s is %s: nobody can call it", each.tool.name, each.tool.upstream, each.tool.state
            )
