"""Tools of MCP servers: which of them have changed, and the approval of exactly what a server says (tools.md)."""

from __future__ import annotations

from typing import Any, Final

import orjson
from pydantic import Field

from gateway.control import shapes
from gateway.control.api import upstreams
from gateway.control.operation import Answer, Ask, Operation, Page, PageQuery, Reasoned, cut
from gateway.mcp import pins
from gateway.registry.documents import plain
from gateway.registry.records import ToolRecord
from gateway.registry.upstreams import tools
from gateway.upstream import mcp_look

_OBJECT: Final = {"type": "object"}
_TOOL: Final = shapes.record(
    ToolRecord,
    definition=_OBJECT | {"description": "What the server says now."},
    approved=shapes.or_null(_OBJECT | {"description": "What was approved; null if nothing was."}),
)
_LOOK: Final = shapes.closed(
    {
        "protocol": {
            "type": "string",
            "description": "The revisions that the server speaks, the newest of each era, with commas.",
        },
        "offered": {"type": "integer"},
        "left_out": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Tools that no agent can call: their names are not plain, or they are too large.",
        },
        "changes": {
            "type": "array",
            "items": shapes.closed({"what": {"type": "string"}, "tool": shapes.record(ToolRecord)}),
        },
    }
)


class ToolQuery(PageQuery):
    """A choice of tools."""

    upstream: str | None = Field(None, description="Only those of this server.")
    waiting: bool = Field(False, description="Only those that nobody has approved as they are.")


class ToolApproval(Reasoned):
    """What was looked at."""

    digest: str = Field(description="The `digest` of the tool as it was looked at.")


@Operation("GET /tools", noun="upstreams")
def listed(ask: Ask[None, ToolQuery]) -> Answer[Page[ToolRecord]]:
    """List the tools of MCP servers, and whether each is as it was approved."""
    given = ask.query
    found = tools.tools(ask.registry, ask.tenant, upstream=given.upstream, waiting=given.waiting)
    place = "tools", given.upstream or "", str(given.waiting)
    return cut(ask, found, lambda each: f"{each.upstream}\0{each.name}", *place)


@Operation("GET /tools/{tool}", noun="upstreams", answer=_TOOL)
def show(ask: Ask) -> Answer:
    """A tool by its id, with what was approved and what its server says now."""
    found = tools.definition(ask.registry, ask.tenant, ask.path["tool"])
    approved = None if found.approved is None else orjson.loads(found.approved)
    return Answer(body={**plain(found.tool), "definition": orjson.loads(found.now), "approved": approved})


@Operation("POST /tools/{tool}/approve", noun="upstreams")
def approve(ask: Ask[ToolApproval]) -> Answer[ToolRecord]:
    """Approve a tool as its server describes it now, if that is still what was looked at."""
    given = ask.body
    approved = tools.approve(ask.change(), **ask.by, tool=ask.path["tool"], digest=given.digest, reason=given.reason)
    return Answer(body=approved)


class Look(Reasoned):
    """Which server is asked."""

    upstream: str


@Operation("POST /tools/look", noun="upstreams", waits_for_others=True, answer=_LOOK)
def look(ask: Ask[Look]) -> Answer:
    """Ask an MCP server for its tools now, and take in what has changed."""
    found = mcp_look.look(*upstreams.mcp_server(ask, ask.body.upstream))
    named: dict[str, Any] = {str(each.get("name")): tools.usable(each) for each in found.tools}
    changes = tools.observe(
        ask.change(), **ask.by, upstream=ask.body.upstream, documents=found.tools, protocol=found.protocol
    )
    left_out = [name[: pins.MAX_NAME] for name, use in named.items() if use is None]
    told = {"protocol": found.protocol, "offered": len(found.tools), "left_out": left_out, "changes": plain(changes)}
    return Answer(body=told)
