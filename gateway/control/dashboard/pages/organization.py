"""An organization: its settings, teams and operators with their roles, tokens and sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.door import ROOT, View
from gateway.control.dashboard.forms import Act, Field
from gateway.control.dashboard.shown import Found, Redirect, ShownPage
from gateway.control.dashboard.tables import Column, Table, command_line
from gateway.control.problems import Problem


async def show(view: View) -> Found:
    cursor = view.query.get("cursor")
    found, teams, operators = await asyncio.gather(
        view.get_all("organizations", view.organization),
        view.get("teams", limit=100),
        view.get("operators", cursor=cursor, limit=tables.size(view)),
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
    staff = Table.of(
        view,
        operators,
        [
            Column("Name", "name", href=lambda each: view.link("operators", each["id"])),
            Column("Role", "role"),
            Column("State", "status", "badge"),
            Column("Logs in at", "issuer", narrow=False),
            Column("Since", "since", "time", narrow=False),
        ],
        name="operators",
        command=["operators", "list", "--org", view.organization],
        of_organization=False,
        empty="It has no operators of its own: gateway operators add NAME --role admin --org ORGANIZATION.",
    )
    groups = Table.of(
        view,
        teams,
        [
            Column("Name", "name", href=lambda each: view.link("agents", team=each["name"])),
            Column("State", "status", "badge"),
            Column("Owner", "owner"),
            Column("Description", "description", narrow=False),
        ],
        name="teams",
        command=["teams", "list"],
        alone=False,
        empty="There are no teams. An agent that is registered with one makes it.",
    )
    shown = [("Operators", staff), ("Settings", settings), ("Teams", groups)]
    actions = [(view.link("sessions"), "Your sessions")]
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


def _tokens(view: View, tokens: Any, where: str, words: list[str]) -> Table:
    def revoke(each: Mapping[str, Any]) -> str | None:
        return view.link(where, each["id"], "revoke") if each["status"] == "active" else None

    columns = [
        Column("Token", "token_id", "id"),
        Column("Kind", "kind"),
        Column("State", "status", "badge"),
        Column("Made", "created", "time"),
        Column("Ends", "expires", "time", narrow=False),
        Column("For", lambda each: each["scopes"] or ["everything"], "list", narrow=False),
        Column("", lambda each: "End" if revoke(each) else None, "act", revoke),
    ]
    return Table.of(
        view, tokens, columns, name="tokens", command=words, of_organization=False, empty="There are no tokens."
    )


async def operator(view: View) -> Found:
    name = view.path["operator"]
    found = await view.get("operators", name)
    tokens = await view.get("operators", name, "tokens", cursor=view.query.get("cursor"), limit=tables.size(view))
    words = ["operators", "token", "list", found["name"], "--org", view.organization]
    table = _tokens(view, tokens, "tokens", words)
    crumb = (view.link("organization"), "Organization")
    notes = [("plain", f"{found['role']}, {found['status']}")]
    return listing.page(view, found["name"], "organization", [("Tokens and sessions", table)], crumb=crumb, notes=notes)


async def sessions(view: View) -> Found:
    """The page of the sessions of the person who looks, whatever their role."""
    found = await view.get_all("me", "sessions", cursor=view.query.get("cursor"), limit=tables.size(view))
    me = view.caller.operator
    words = ["operators", "token", "list", me.name, *(["--org", me.organization] if me.organization else [])]
    table = _tokens(view, found, "sessions", words)
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


async def ask_token(view: View) -> Found:
    found = await view.get("operator-tokens", view.path["token"])
    words = ["operators", "token", "revoke", found["token_id"], "--org", view.organization]
    return _act(view, view.link("organization"), command_line(view, *words, of_organization=False))


async def revoke_token(view: View) -> Found:
    body = {"reason": view.form.get("reason", "")}
    await view.send("POST", "operator-tokens", view.path["token"], "revoke", body=body)
    return Redirect(view.link("organization"))


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


PAGES = [
    ShownPage("organizations", choose, everywhere=True),
    ShownPage("organization", show),
    ShownPage("operators/{operator}", operator),
    ShownPage("sessions", sessions),
    ShownPage("sessions/{token}/revoke", ask_session),
    ShownPage("sessions/{token}/revoke", revoke_session, changes=True),
    ShownPage("tokens/{token}/revoke", ask_token),
    ShownPage("tokens/{token}/revoke", revoke_token, changes=True),
]
