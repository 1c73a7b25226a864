"""Approvals: what waits for a person, what it would run, and saying yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Field, number
from gateway.control.dashboard.shown import Found, Redirect, Shown, ShownPage
from gateway.control.dashboard.tables import Column, Table, command_line, options
from gateway.control.problems import Problem

_STATES: Final = ("", "waiting", "approved", "denied", "expired", "closed", "used", "revoked")
_NEWEST: Final = 20
_VERBS: Final = ("approve", "deny", "revoke")


async def listed(view: View) -> Found:
    wanted = {name: view.query.get(name) for name in ("state", "agent")}
    reply = await view.get("approvals", **wanted, cursor=view.query.get("cursor"), limit=tables.size(view))
    table = _table(view, reply, wanted, "Nothing waits for a person here. A policy asks for one with require_approval.")
    filters = [
        Field(name="state", title="State", value=wanted["state"] or "", choices=_STATES),
        Field(name="agent", title="Agent", value=wanted["agent"] or ""),
    ]
    return listing.page(view, "Approvals", "approvals", [("", table)], filters=filters)


async def of_owner(view: View, owner: str) -> Table:
    """The newest requests of the agents of one owner, and what became of them."""
    reply = await view.get("approvals", owner=owner, limit=_NEWEST)
    newest = {"items": reply["items"], "next": None}
    return _table(view, newest, {"owner": owner}, "No call of these agents has asked for an approval.", "my-approvals")


def _table(
    view: View, reply: Mapping[str, Any], wanted: Mapping[str, str | None], empty: str, name: str = "approvals"
) -> Table:
    columns = [
        Column("Asked", "created", "time", lambda each: view.link("approvals", each["id"])),
        Column("Agent", "agent_name", href=lambda each: view.link("agents", each["agent"])),
        Column("State", "state", "badge"),
        Column("Why", lambda each: [str(need.get("reason", "")) for need in each["requirements"]], "lines"),
        Column("Outcome", "reason", narrow=False),
        Column("Told", lambda each: sum(one["state"] == "accepted" for one in each["notices"]), "number"),
        Column("Missing", lambda each: sum(each["missing"]), "number"),
        Column("Ends", "expires", "time"),
        Column("Id", "id", "id", narrow=False),
    ]
    command = ["approvals", "list", *options(**wanted)]
    return Table.of(view, reply, columns, name=name, command=command, empty=empty)


async def one(view: View) -> Found:
    return await _shown(view, None)


async def look(view: View) -> Found:
    """The whole call, which is sealed until somebody looks; the log has it who did."""
    call = await view.send("POST", "approvals", view.path["approval"], "look")
    return await _shown(view, call)


async def _shown(view: View, call: Any) -> Found:
    found = await view.get("approvals", view.path["approval"])
    values = {
        "found": found,
        "call": call,
        "may": view.may("approvals", write=True),
        "command": command_line(view, "approvals", "show", found["id"]),
    }
    return Shown("approval.html", "Approval", values)


async def say(view: View) -> Found:
    verb = view.path["verb"]
    if verb not in _VERBS:
        raise Problem(404, "unknown_page", "there is no such page", hint="go on from the approval's page")
    body: dict[str, Any] = {"reason": view.form.get("reason", "")}
    if verb == "approve":
        body |= {name: found for name in ("uses", "seconds") if (found := number(view.form.get(name, ""), name))}
        body["for_pattern"] = view.form.get("for_pattern") == "yes"
    await view.send("POST", "approvals", view.path["approval"], verb, body=body)
    return Redirect(view.link("approvals", view.path["approval"]))


PAGES = [
    ShownPage("approvals", listed),
    ShownPage("approvals/{approval}", one),
    ShownPage("approvals/{approval}/look", look, changes=True),
    ShownPage("approvals/{approval}/say/{verb}", say, changes=True),
]
