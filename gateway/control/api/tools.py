"""Tools of MCP servers: which of them have changed, and the approval of exactly what a server says (tools.md)."""

from __future__ import annotations

from typing import Any, Final

import orjson
from pydantic import Field

from gateway.control import shapes
from gateway.control.api import upstreams
from gateway.control.operation import Answer, Ask, Body, Operation, Page, PageQuery, Reasoned, cut
from gateway.mcp import pins
from gateway.registry.documents import plain
from gateway.registry.records import ToolRecord
from gateway.registry.upstreams import tools
from gateway.upstream import mcp_look

_OBJECT: Final = {"type": "object"}
_TOOL: Final = shapes.record(
    ToolRecord,
    definition=_OBJECT | {"description": "What was approved, or waits for it."},
    seen=shapes.or_null(_OBJECT | {"description": "What the server says now, if that differs."}),
)
_LOOK: Final = shapes.closed(
    {
        "protocol": {"type": "string", "description": "The revision that the server speaks."},
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


class ApprovedTool(Body):
    """A tool, and the digest of what was looked at."""

    id: str
    digest: str = Field(description="Of what the server says now: `seen_digest`, or `digest` of a new tool.")


class ToolApproval(Reasoned):
    """Which tools are approved: all of them, or none."""

    tools: list[ApprovedTool] = Field(min_length=1, max_length=tools.MAX_TOOLS)


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
    seen = None if found.seen is None else orjson.loads(found.seen)
    return Answer(body={**plain(found.tool), "definition": orjson.loads(found.approved), "seen": seen})


@Operation("POST /tools/approve", noun="upstreams")
def approve(ask: Ask[ToolApproval]) -> Answer[Page[ToolRecord]]:
    """Approve tools as they are now, all or none: one that says something else by now is refused."""
    wanted = [tools.Approved(each.id, each.digest) for each in ask.body.tools]
    found = tools.approve(ask.change(), **ask.by, tools=wanted, reason=ask.body.reason)
    return Answer(body={"items": found, "next": None})


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
