"""Teams: one with its members and bundles, making one, changing it, and ending what its agents may do."""

from __future__ import annotations

from typing import Any, Final

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.changes import Form, Input, pages_of, verbs
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table

_OFFERED: Final = {"active": ("suspend", "revoke"), "suspended": ("resume", "revoke")}
_ACTS: Final = {
    "suspend": ("Suspend", "Every request of its agents is refused from the next one on, until it is resumed."),
    "resume": ("Resume", "Its agents' requests are judged again from the next one on."),
    "revoke": ("Revoke", "The team and all that its agents may do end, for good. This cannot be undone."),
}
"""The acts on a team: the verb for people, and the consequence."""


async def table(view: View) -> Table:
    """The page has other tables, so this one has a place of its own in the address."""
    teams = await view.get("teams", cursor=view.query.get("teams"), limit=tables.size(view))
    return Table.of(
        view,
        teams,
        [
            Column("Name", "name", href=lambda each: view.link("teams", each["name"])),
            Column("State", "status", "badge"),
            Column("Owner", "owner"),
            Column("Description", "description", narrow=False),
            Column("", lambda _each: "Agents", "act", lambda each: view.link("agents", team=each["name"])),
        ],
        name="teams",
        command=["teams", "list"],
        alone=False,
        parameter="teams",
        empty="There are no teams. An agent that is registered with one makes it.",
    )


async def one(view: View) -> Found:
    found = await view.get("teams", view.path["team"])
    states = await view.get("limits", "states", subject_kind="team", subject=found["name"], limit=100)
    limits = Table.of(
        view,
        states["items"],
        [
            Column("Limit", "limit"),
            Column("Value", "value", "number"),
            Column("Spent", "spent", "number"),
            Column("Left", "left", "number"),
            Column("Starts anew", "resets_at", "time", narrow=False),
        ],
        name="limits",
        command=["limits", "show", f"team:{found['name']}"],
        empty="No limit holds the team back.",
    )
    actions = [(view.link("agents", team=found["name"]), "Its agents")]
    if view.may("teams", write=True):
        actions.append((view.link("teams", found["name"], "change"), "Change"))
        offered = _OFFERED.get(found["status"], ())
        actions += [(view.link("teams", found["name"], "do", verb), _ACTS[verb][0]) for verb in offered]
    said = f"{found['status']}; owner: {found['owner'] or 'nobody'}. {found['description']}"
    crumb = (view.link("organization"), "Organization")
    return listing.page(
        view, f"Team {found['name']}", "organization", [("Limits", limits)], crumb=crumb, notes=[("", said)],
        actions=actions,
    )  # fmt: skip


_TEAM: Final[dict[str, Any]] = {"section": "organization", "reads": "teams/{team}", "back": "teams/{team}"}


def _act(verb: str) -> Form:
    word, consequence = _ACTS[verb]
    return Form(
        "teams/{team}/do/{verb}",
        f"POST /teams/{{team}}/{verb}",
        title=f"{word} team {{name}}",
        verb=word,
        says=[consequence],
        asks=["reason"],
        command=["teams", verb, "{name}"],
        danger=verb != "resume",
        **_TEAM,
    )


_FORMS: Final = [
    Form(
        "teams/new",
        "POST /teams",
        title="Create a team",
        verb="Create",
        section="organization",
        back="organization",
        says=["Bundles and limits can be bound to it before any agent is in it. Its name cannot be changed later."],
        asks=["name", "owner", Input(name="description", hint="What it does, in one line."), "reason"],
        command=["teams", "create", "NAME"],
    ),
    Form(
        "teams/{team}/change",
        "PATCH /teams/{team}",
        title="Change team {name}",
        verb="Change",
        asks=[
            Input(name="owner", hint="Who is responsible for it now."),
            Input(name="description", hint="What it does, in one line."),
            "reason",
        ],
        command=["teams", "update", "{name}", "--owner", "{owner}"],
        **_TEAM,
    ),
]

PAGES = [
    ShownPage("teams/{team}", one),
    *verbs("teams/{team}/do/{verb}", {verb: _act(verb) for verb in _ACTS}),
    *pages_of(_FORMS),
]
