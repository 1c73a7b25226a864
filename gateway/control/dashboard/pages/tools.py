"""Tools of MCP servers: which are as they were approved, what has changed, and the approval of exactly that."""

from __future__ import annotations

import difflib
import json
from typing import Any

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.changes import Form, Input, pages_of
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Field
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table

_SHOWN = 12  # characters of a digest


def _state(tool: Any) -> str:
    return "gone" if tool["gone"] else str(tool["state"])


async def listed(view: View) -> Found:
    upstream, waiting = view.query.get("upstream") or None, view.query.get("waiting") == "true"
    found = await view.get(
        "tools", upstream=upstream, waiting=waiting, cursor=view.query.get("cursor"), limit=tables.size(view)
    )
    columns = [
        Column("Server", "upstream"),
        Column("Tool", "name", "text", lambda each: view.link("tools", each["id"])),
        Column("State", _state, "badge"),
        Column("Digest", lambda each: each["digest"][:_SHOWN], "code", narrow=False),
        Column("Approved by", "approved_by", narrow=False),
        Column("Also at", "also_at", "list", narrow=False),
        Column("Changed", "updated", "time", narrow=False),
    ]
    table = Table.of(
        view,
        found,
        columns,
        name="tools",
        command=["tools", "list", *([upstream] if upstream else []), *(["--waiting"] if waiting else [])],
        empty="No tool waits." if waiting else "There is no MCP server, or none has said its tools yet.",
    )
    filters = [
        Field(name="upstream", title="Server", value=upstream or ""),
        Field(name="waiting", title="Which", value="true" if waiting else "", choices=("", "true")),
    ]
    crumb = (view.link("upstreams"), "Upstreams and routes")
    return listing.page(view, "Tools", "upstreams", [("", table)], filters=filters, crumb=crumb)


async def one(view: View) -> Found:
    tool = await view.get("tools", view.path["tool"])
    notes = []
    actions = []
    if tool["state"] != "pinned":
        said = "nobody has approved it" if tool["approved"] is None else "it is not as it was approved"
        notes.append(("bad", f"Agents cannot call it: {said}."))
        if view.may("upstreams", write=True):
            actions.append((view.link("tools", tool["id"], "approve"), "Approve it as it is now"))
    if tool["also_at"]:
        notes.append(("warn", f"Other servers have a tool of this name, too: {', '.join(tool['also_at'])}."))
    texts = [("The server says", "\n".join(_lines(tool["definition"])))]
    if tool["approved"] not in (None, tool["definition"]):
        before, now = _lines(tool["approved"]), _lines(tool["definition"])
        changed = difflib.unified_diff(before, now, "approved", "now", lineterm="")
        texts.insert(0, ("What has changed since it was approved", "\n".join(changed)))
    crumb = (view.link("tools"), "Tools")
    title = f"{tool['name']} of {tool['upstream']}"
    return listing.page(view, title, "upstreams", [], notes=notes, texts=texts, actions=actions, crumb=crumb)


def _lines(document: Any) -> list[str]:
    return json.dumps(document, indent=2, sort_keys=True).splitlines()


_FORMS = [
    Form(
        "tools/{tool}/approve",
        "POST /tools/{tool}/approve",
        title="Approve {name} of {upstream}",
        verb="Approve it",
        section="upstreams",
        back="tools/{tool}",
        reads="tools/{tool}",
        says=["Agents whose policies allow it can call the tool as its server describes it now, and no other."],
        asks=[
            Input(
                name="digest", hint="Of what you have looked at: if the server says something else by now, it waits."
            ),
            "reason",
        ],
        command=["tools", "approve", "{upstream}", "{name}", "--expect", "{digest}"],
    )
]

PAGES = [ShownPage("tools", listed), ShownPage("tools/{tool}", one), *pages_of(_FORMS)]
