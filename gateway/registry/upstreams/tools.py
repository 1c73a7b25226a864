"""Tools of MCP servers: what was seen of them, and what an operator has approved (tools.md).

A server that is looked at for the first time is believed if its upstream's rule is `first_use`; from then on a tool
that is new, or says something else than before, waits until an operator approves exactly that. A tool is its name: one
that comes under another name is new. Each change is one transaction with its entries in the outbox, and the data
workers know it with their next request.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy.orm import defer
from sqlmodel import Session, col, select

from gateway.errors import ConflictError, GatewayError, Hint
from gateway.identifiers import new_id
from gateway.mcp import pins
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox
from gateway.registry.database import Registry
from gateway.registry.models import Organization, Upstream, UpstreamTool
from gateway.registry.queries import find_upstream, reading, writing
from gateway.registry.records import ToolRecord, copied

FIRST_USE: Final = "first_use"
TRUST: Final = "trust"
MODES: Final = ("approve", FIRST_USE, TRUST)
MAX_TOOLS: Final = 1000
"""The most that is kept of one server."""

_NAME: Final = re.compile(r"[A-Za-z0-9_./-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ToolChange:
    """What was noticed of a tool, such as `tool.changed`, and how it stands now."""

    what: str
    tool: ToolRecord


@dataclass(frozen=True, slots=True)
class Definition:
    """A tool with the JSON texts of what the server says now and of what was approved, None if nothing was."""

    tool: ToolRecord
    now: str
    approved: str | None


def check_trust(provider: str, trust: str | None) -> str | None:
    """The trust of an upstream: None unless it is an MCP server, whose usual one is `first_use`."""
    if provider != pins.PROVIDER:
        if trust is not None:
            raise GatewayError("invalid_trust", "only an MCP server has tools to trust", hint="leave the trust out")
        return None
    if trust is not None and trust not in MODES:
        raise GatewayError(
            "invalid_trust", f"the trust must be one of {', '.join(MODES)}", hint=f"the usual one is {FIRST_USE}"
        )
    return trust or FIRST_USE


def usable(document: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The name, definition and digest of a tool; None for one that nobody could call, or that is too large to keep."""
    name = document.get("name")
    if not isinstance(name, str) or len(name) > pins.MAX_NAME or not _NAME.fullmatch(name):
        return None
    try:
        text = pins.definition(document)
    except ValueError:
        return None
    return None if len(text) > pins.MAX_BYTES else (name, text.decode(), pins.tool_digest(document))


def observe(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    upstream: str,
    documents: Iterable[Mapping[str, Any]],
    protocol: str | None = None,
) -> list[ToolChange]:
    """Take in what a server says of its tools, and return what has changed.

    With a `protocol`, the revisions that it speaks, these are all tools that it offers; without one, some that an agent
    was told of, which means nothing before the server was looked at.
    """
    seen = {found[0]: found for each in documents if (found := usable(each)) is not None}
    with writing(registry, organization) as (session, tenant):
        row = find_upstream(session, tenant, upstream)
        first = row.protocol is None
        if protocol is None and first:
            return []
        known = _tools(session, row)
        changed = []
        for name, text, digest in sorted(seen.values()):
            tool = known.get(name)
            if tool is None and len(known) < MAX_TOOLS:
                known[name] = tool = _added(tenant, row, name, text, digest, first=first)
                changed.append(("tool.found", tool))
            elif tool is not None and (what := _compared(row, tool, text, digest)):
                changed.append((what, tool))
        if protocol is not None:
            for name in known.keys() - seen.keys():
                if known[name].gone_ns is None:
                    known[name].gone_ns = time.time_ns()
                    changed.append(("tool.gone", known[name]))
            if row.protocol != protocol:
                row.protocol = protocol
                session.add(row)
        for what, tool in changed:
            tool.updated_ns = time.time_ns()
            session.add(tool)
            outbox.add_change(session, tenant, actor, what, entries.tool(tool, row))
        return [ToolChange(what, _record(tenant, row.name, tool)) for what, tool in changed]


def approve(
    registry: Registry, *, actor: str, organization: str, tool: str, digest: str, reason: str = ""
) -> ToolRecord:
    """Approve a tool (its id) as its server describes it now; `tool_differs` if that has not this digest any more."""
    with writing(registry, organization) as (session, tenant):
        row, upstream = _one(session, tenant, tool)
        if digest != (now := row.seen_digest or row.digest):
            raise ConflictError(
                "tool_differs",
                f"tool `{row.name}` of `{upstream.name}` has another digest: {now}",
                subject=row.name,
                hint=Hint(f"look at it with `gateway tools show {upstream.name} {row.name}`, then approve that digest"),
            )
        if row.state != "pinned":
            _pin(row, actor)
            row.updated_ns = time.time_ns()
            session.add(row)
            outbox.add_change(session, tenant, actor, "tool.approved", entries.tool(row, upstream), reason)
        return _record(tenant, upstream.name, row)


def tools(
    registry: Registry, organization: str, *, upstream: str | None = None, waiting: bool = False
) -> list[ToolRecord]:
    """The tools of an organization's servers, or of one, by server and name; `waiting`: those that nobody approved."""
    with reading(registry, organization) as (session, tenant):
        if upstream is not None:
            find_upstream(session, tenant, upstream)
        found = session.exec(
            select(UpstreamTool, Upstream.name)
            .join(Upstream, col(Upstream.id) == UpstreamTool.upstream_id)
            .where(UpstreamTool.organization_id == tenant.id)
            .options(
                *(defer(cast(Any, each)) for each in (UpstreamTool.definition, UpstreamTool.seen))
            )  # they are long
        ).all()
        servers = defaultdict(list)
        for tool, server in found:
            servers[tool.name].append(server)
        return sorted(
            (
                _record(tenant, server, tool, [each for each in servers[tool.name] if each != server])
                for tool, server in found
                if upstream in (None, server) and not (waiting and tool.state == "pinned")
            ),
            key=lambda each: (each.upstream, each.name),
        )


def definition(registry: Registry, organization: str, tool: str) -> Definition:
    """One tool, by its id, with its definitions."""
    with reading(registry, organization) as (session, tenant):
        found, row = _one(session, tenant, tool)
        approved = None if found.approved_by is None else found.definition
        return Definition(_record(tenant, row.name, found), found.seen or found.definition, approved)


def leave_tools(session: Session, upstream: Upstream) -> None:
    """Remove the tools of an upstream that is being removed."""
    for each in _tools(session, upstream).values():
        session.delete(each)
    session.flush()


def _one(session: Session, tenant: Organization, identifier: str) -> tuple[UpstreamTool, Upstream]:
    found = session.exec(
        select(UpstreamTool, Upstream)
        .join(Upstream, col(Upstream.id) == UpstreamTool.upstream_id)
        .where(UpstreamTool.organization_id == tenant.id, UpstreamTool.id == identifier)
    ).one_or_none()
    if found is None:
        raise names.unknown("tool", identifier, (), Hint("type `gateway tools list` to see the tools"))
    return found


def _tools(session: Session, upstream: Upstream) -> dict[str, UpstreamTool]:
    mine = session.exec(select(UpstreamTool).where(UpstreamTool.upstream_id == upstream.id)).all()
    return {each.name: each for each in mine}


def _added(tenant: Organization, row: Upstream, name: str, text: str, digest: str, *, first: bool) -> UpstreamTool:
    now = time.time_ns()
    tool = UpstreamTool(
        id=new_id("tol"),
        organization_id=tenant.id,
        upstream_id=row.id,
        name=name,
        state="new",
        digest=digest,
        definition=text,
        created_ns=now,
        updated_ns=now,
    )
    if row.trust == TRUST or (row.trust == FIRST_USE and first):
        _pin(tool, row.trust)
    return tool


def _compared(row: Upstream, tool: UpstreamTool, text: str, digest: str) -> str:
    """Take in what the server says of a tool that is known; returns the name of the change, empty if there is none."""
    what = ""
    if tool.gone_ns is not None:
        tool.gone_ns, what = None, "tool.returned"
    if digest == (tool.seen_digest or tool.digest):
        return what
    if tool.state == "new":
        tool.digest, tool.definition = digest, text
    elif digest == tool.digest:
        tool.state, tool.seen, tool.seen_digest = "pinned", None, None
        return "tool.restored"
    else:
        tool.state, tool.seen, tool.seen_digest = "changed", text, digest
        if row.trust == TRUST:
            _pin(tool, TRUST)
    return "tool.changed"


def _pin(tool: UpstreamTool, by: str) -> None:
    if tool.seen is not None and tool.seen_digest is not None:
        tool.definition, tool.digest = tool.seen, tool.seen_digest
    tool.state, tool.seen, tool.seen_digest = "pinned", None, None
    tool.approved_by, tool.approved_ns = by, time.time_ns()


def _record(tenant: Organization, upstream: str, row: UpstreamTool, also_at: Sequence[str] = ()) -> ToolRecord:
    return copied(
        ToolRecord,
        row,
        organization=tenant.name,
        upstream=upstream,
        digest=row.seen_digest or row.digest,
        approved_digest=None if row.approved_by is None else row.digest,
        also_at=sorted(also_at),
    )
