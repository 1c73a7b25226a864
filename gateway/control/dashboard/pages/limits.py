"""Limits that operators set: the list, a new one, and ending one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.control.dashboard import forms, listing, tables
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Act, Field
from gateway.control.dashboard.listing import Adding
from gateway.control.dashboard.shown import Found, Redirect, ShownPage
from gateway.control.dashboard.tables import Column, Table, command_line

_NAMES = (
    *(
        f"{what}_per_{unit}"
        for what in ("requests", "tokens", "spend_microusd")
        for unit in ("minute", "hour", "day", "month")
    ),
    "concurrent_requests",
)


async def listed(view: View) -> Found:
    reply = await view.get("limits", cursor=view.query.get("cursor"), limit=tables.size(view))
    changes = view.may("limits", write=True)
    columns = [
        Column("Limit", "limit"),
        Column("By", lambda each: f"{each['subject_kind']} {each['subject']}", href=lambda each: _subject(view, each)),
        Column("Value", "value", "number"),
        Column("Raised to", "raised", "number", narrow=False),
        Column("Until", "raised_until", "time", narrow=False),
        Column("Upstream", "upstream", narrow=False),
        Column("Model", "model", narrow=False),
        Column("Mode", "mode", narrow=False),
        *(
            [Column("", lambda _each: "Remove", "act", lambda each: view.link("limits", each["id"], "remove"))]
            if changes
            else []
        ),
    ]
    empty = "No limit is set. Policies may have limits of their own; one that is set here holds beside them."
    table = Table.of(view, reply, columns, name="limits", command=["limits", "list"], empty=empty)
    fields = [
        Field(name="subject_kind", title="For", choices=("agent", "team", "organization"), value="agent"),
        Field(name="subject", title="Name", hint="Of the agent, team or organization.", required=True),
        Field(name="limit", title="Limit", choices=_NAMES, value="requests_per_day"),
        Field(name="value", title="Value", hint="Requests, tokens, or millionths of a dollar.", required=True),
        Field(name="reason", title="Reason", hint="It stays in the audit log."),
    ]
    adding = Adding(title="Set a limit", verb="Set", action=view.link("limits"), fields=fields)
    return listing.page(view, "Limits", "limits", [("", table)], adding=adding if changes else None)


def _subject(view: View, each: Mapping[str, Any]) -> str | None:
    return view.link("agents", each["subject"]) if each["subject_kind"] == "agent" else None


async def set_limit(view: View) -> Found:
    given = view.form
    body = {name: given.get(name, "").strip() for name in ("subject_kind", "subject", "limit", "reason")}
    await view.send("POST", "limits", body={**body, "value": forms.number(given.get("value", ""), "value")})
    return Redirect(view.link("limits"))


async def ask(view: View) -> Found:
    found = await view.get("limits", view.path["limit"])
    subject = (
        found["subject"]
        if found["subject_kind"] == "agent"
        else f"{found['subject_kind'][:4].removesuffix('a')}:{found['subject']}"
    )
    parts = tables.options(upstream=found["upstream"], model=found["model"])
    return Act(
        title=f"Remove {found['limit']} of {found['subject']}",
        verb="Remove",
        consequence=[f"From the next request on, the {found['subject_kind']} is no longer held to {found['value']:,}."],
        command=command_line(view, "limits", "remove", subject, found["limit"], *parts),
        back=view.link("limits"),
        section="limits",
        danger=True,
    ).page()


async def remove(view: View) -> Found:
    await view.send("DELETE", "limits", view.path["limit"])
    return Redirect(view.link("limits"))


PAGES = [
    ShownPage("limits", listed),
    ShownPage("limits", set_limit, changes=True),
    ShownPage("limits/{limit}/remove", ask),
    ShownPage("limits/{limit}/remove", remove, changes=True),
]
