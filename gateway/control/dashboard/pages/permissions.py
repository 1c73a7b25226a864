"""Who could do what: the agents that could make a call, now or at a time, by asking the policies."""

from __future__ import annotations

from typing import Final

from gateway.control.dashboard import forms, listing
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Field
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table, options

_VERDICTS: Final = ("", "true", "false")
_AGENTS: Final = 50
"""So many are asked about at once: each answer is a judgement of its policies."""


async def who(view: View) -> Found:
    given, at = view.query, forms.at(view)
    asked = {each: given.get(each) for each in ("model", "action", "tool", "upstream")}
    filters = [
        Field(name="model", title="Model", value=asked["model"] or "", required=True, hint="gpt-4o"),
        Field(name="action", title="Action", value=asked["action"] or "", hint="chat.completions"),
        Field(name="tool", title="Tool", value=asked["tool"] or ""),
        Field(name="upstream", title="Upstream", value=asked["upstream"] or ""),
        Field(name="allowed", title="Allowed", value=given.get("allowed", ""), choices=_VERDICTS),
        Field(name="at", title="As of (UTC)", value=(at or "")[:16], type="datetime-local"),
    ]
    crumb = (view.link("agents"), "Agents")
    if not asked["model"]:
        await view.get("agents", limit=1)
        said = "Name a model to see which agents could call it, and what makes it so."
        return listing.page(view, "Who could do what", "agents", [], filters=filters, crumb=crumb, notes=[("", said)])
    allowed = given.get("allowed") or None
    found = await view.get("permissions", **asked, allowed=allowed, at=at, cursor=given.get("cursor"), limit=_AGENTS)
    others = [] if allowed == "true" else ["--all"]
    table = Table.of(
        view,
        found,
        [
            Column("Agent", "agent", href=lambda each: view.link("agents", each["agent"])),
            Column("Verdict", lambda each: "allowed" if each["allowed"] else "denied", "badge"),
            Column("Code", "code", "code"),
            Column("Says", "reasons", "lines"),
            Column(
                "",
                lambda _each: "Why",
                "act",
                lambda each: view.link("agents", each["agent"], "permissions", **asked, at=at),
            ),
        ],
        name="permissions",
        command=["permissions", *options(**asked, at=at), *others],
        empty="No agent on this page could; there may be more on the next one.",
    )
    said = f"As of {found['at']}. Not considered: {', '.join(found['not_considered'])}."
    return listing.page(
        view, "Who could do what", "agents", [("", table)], filters=filters, crumb=crumb, notes=[("", said)]
    )


PAGES = [ShownPage("permissions", who)]
