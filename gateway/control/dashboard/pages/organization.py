"""An organization: its operators, settings and teams; the list of organizations; and the person's own sessions."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import quote

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.changes import Form, Input, pages_of, verbs
from gateway.control.dashboard.door import ROOT, View
from gateway.control.dashboard.forms import Act, Field
from gateway.control.dashboard.pages import operators, teams
from gateway.control.dashboard.shown import Found, Redirect, ShownPage
from gateway.control.dashboard.tables import Column, Table, command_line
from gateway.control.problems import Problem

_STATES: Final = {"active": ("suspend", "Suspend"), "suspended": ("resume", "Resume")}


async def show(view: View) -> Found:
    found, staff, groups = await asyncio.gather(
        view.get_all("organizations", view.organization), operators.table(view), teams.table(view)
    )
    settings = Table.of(
        view,
        [
            {
                "name": "State",
                "value": found["status"],
                "means": "Suspended or revoked, every request of its agents is refused.",
            },
            {"name": "Time zone", "value": found["zone"], "means": "Of the days and months of limits and usage."},
            {
                "name": "Review",
                "value": _days(found["review_days"]),
                "means": "How often each agent must be confirmed.",
            },
            {
                "name": "Suspend",
                "value": _days(found["suspend_after_days"]),
                "means": "How long after a review that was missed.",
            },
            {"name": "Agents", "value": found["agents"], "means": "Those that have not ended."},
        ],
        [Column("Setting", "name"), Column("Value", "value"), Column("Means", "means")],
        name="settings",
        command=["orgs", "show", view.organization],
        of_organization=False,
        alone=False,
        empty="",
    )
    shown = [("Operators", staff), ("Settings", settings), ("Teams", groups)]
    changes = view.may("organizations", write=True)
    actions = [
        *([(view.link("operators", "new"), "Add an operator")] if view.may("operators", write=True) else []),
        *([(view.link("teams", "new"), "Create a team")] if view.may("teams", write=True) else []),
        *([(view.link("settings"), "Settings")] if changes else []),
        *([(view.link("do", _STATES[found["status"]][0]), _STATES[found["status"]][1])]
          if changes and found["status"] in _STATES else []),
        (view.link("webhooks"), "Webhooks"),
        (view.link("stops"), "Emergency stops"),
        (view.link("sessions"), "Your sessions"),
    ]  # fmt: skip
    return listing.page(view, f"Organization {view.organization}", "organization", shown, actions=actions)


async def choose(view: View) -> Found:
    """The organizations that the person may see, each with pages of its own."""
    found = await view.get_all("organizations", cursor=view.query.get("cursor"), limit=tables.size(view))
    columns = [
        Column("Name", "name", href=lambda each: f"{ROOT}/o/{quote(each['name'], safe='')}"),
        Column("State", "status", "badge"),
        Column("Agents", "agents", "number"),
        Column("Since", "created", "time", narrow=False),
    ]
    table = Table.of(
        view,
        found,
        columns,
        name="organizations",
        command=["orgs", "list"],
        of_organization=False,
        empty="There is no organization.",
    )
    return listing.page(view, "Organizations", "", [("", table)])


def _days(value: int | None) -> str:
    return "never" if value is None else f"{value} days"


async def sessions(view: View) -> Found:
    """The page of the sessions of the person who looks, whatever their role."""
    found = await view.get_all("me", "sessions", cursor=view.query.get("cursor"), limit=tables.size(view))
    me = view.caller.operator
    words = ["operators", "token", "list", me.name, *(["--org", me.organization] if me.organization else [])]
    table = operators.tokens(view, found, "sessions", words)
    return listing.page(view, "Your sessions", "", [("", table)])


def _act(view: View, back: str, command: str) -> Found:
    return Act(
        title="End a token",
        verb="End it",
        consequence=["The token or session ends, for good, from the next request on. Yours may be among them."],
        command=command,
        back=back,
        section="organization",
        danger=True,
        fields=[Field(name="reason", title="Reason", hint="It stays in the audit log.")],
    ).page()


async def ask_session(view: View) -> Found:
    mine = await view.get_all("me", "sessions", limit=500)
    if all(each["id"] != view.path["token"] for each in mine["items"]):
        raise Problem(404, "unknown_token", "this is none of your sessions", hint="go on from the list of them")
    words = ["operators", "token", "revoke", view.path["token"]]
    return _act(view, view.link("sessions"), command_line(view, *words, of_organization=False))


async def revoke_session(view: View) -> Found:
    body = {"reason": view.form.get("reason", "")}
    await view.send("POST", "me", "sessions", view.path["token"], "revoke", body=body, organization=None)
    return Redirect(view.link("sessions"))


_ONE: Final[dict[str, Any]] = {
    "section": "organization",
    "reads": "organizations/{organization}",
    "back": "organization",
}
_FORMS: Final = [
    Form(
        "settings",
        "PATCH /organizations/{organization}",
        title="Settings of {name}",
        verb="Change",
        says=["They hold for all agents of the organization, from now on."],
        asks=[
            Input(name="zone", title="Time zone", hint="Days and months of limits begin there, such as Europe/Zurich."),
            Input(name="review_days", title="Review (days)", hint="Owners confirm agents so often; empty: never."),
            Input(
                name="suspend_after_days",
                title="Suspend (days)",
                hint="An agent is suspended so long after a review that was missed; empty: never.",
            ),
            "suspend_now",
            "reason",
        ],
        command=["orgs", "update", "{name}", "--zone", "{zone}"],
        **_ONE,
    ),
]
_ACTS: Final = {
    "suspend": Form(
        "do/{verb}",
        "POST /organizations/{organization}/suspend",
        title="Suspend {name}",
        verb="Suspend",
        says=["Every request of its {agents} agents is refused from the next one on, until it is resumed."],
        asks=["reason"],
        command=["orgs", "suspend", "{name}"],
        danger=True,
        **_ONE,
    ),
    "resume": Form(
        "do/{verb}",
        "POST /organizations/{organization}/resume",
        title="Resume {name}",
        verb="Resume",
        says=["Its agents' requests are judged again from the next one on. Those that were suspended stay so."],
        asks=["reason"],
        command=["orgs", "resume", "{name}"],
        **_ONE,
    ),
}

PAGES = [
    ShownPage("organizations", choose, everywhere=True),
    ShownPage("organization", show),
    ShownPage("sessions", sessions),
    ShownPage("sessions/{token}/revoke", ask_session),
    ShownPage("sessions/{token}/revoke", revoke_session, changes=True),
    *verbs("do/{verb}", _ACTS),
    *pages_of(_FORMS),
]
