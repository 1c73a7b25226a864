"""The MCP servers of one organization as one, at `/mcp`: reads what clients send to all of them.

It only finds out what is asked for. The gateway makes a request to each server of it that concerns that, which is read
by the server's own provider and judged like any other (`gateway/dataplane/joining.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.body import Body
from gateway.call import Call
from gateway.errors import Denied
from gateway.mcp import joined
from gateway.upstream.providers.base import Endpoint, RequestHead
from gateway.upstream.providers.mcp.provider import Mcp


class Joined(Mcp):
    """The provider of all servers of one organization. `servers` has theirs by their names."""

    joins = True
    routes = Mcp.routes[:1]  # there are no sessions here, and no streams besides answers

    def __init__(self, servers: Mapping[str, Mcp]) -> None:
        approved = {
            joined.exposed(server, name): pin
            for server, each in servers.items()
            for name, pin in each.pins.items()
            if joined.has_name(server, name, servers)
        }
        super().__init__(pins=approved)
        self.servers = servers

    def read(self, endpoint: Endpoint, head: RequestHead, raw: Body) -> Call:
        if not isinstance(raw, bytes):
            why = f"so large a call is taken only at the path of its server, /SERVER{joined.PATH}"
            raise Denied("too_large", reasons=[why])
        return super().read(endpoint, head, raw)
