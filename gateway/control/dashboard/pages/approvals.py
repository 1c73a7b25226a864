"""Approvals: what waits for a person, what it would run, and saying yes or no, to one call or to many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Field, number, words
from gateway.control.dashboard.shown import Found, Redirect, Shown, ShownPage
from gateway.control.dashboard.tables import Column, Table, command_line, options
from gateway.control.problems import Problem

_STATES: Final = ("", "waiting", "approved", "denied", "expired", "closed", "used", "revoked")
_NEWEST: Final = 20
_VERBS: Final = ("approve", "deny", "revoke")
_CHOICE: Final = {"agent": "Agent", "team": "Team", "matching": "Words in a policy's reason"}
_STEPS: Final = 5
"""A visit denies so many hundreds."""


async def listed(view: View) -> Found:
    wanted = {name: view.query.get(name) for name in ("state", "agent")}
    reply = await view.get("approvals", **wanted, cursor=view.query.get("cursor"), limit=tables.size(view))
    may = view.may("approvals", write=True)
    empty = "Nothing waits for a person here. A policy asks for one with require_approval."
    table = _table(view, reply, wanted, empty, chosen=may)
    if view.query.get("format") == "csv":
        return table.download()
    filters = [
        Field(name="state", title="State", value=wanted["state"] or "", choices=_STATES),
        Field(name="agent", title="Agent", value=wanted["agent"] or ""),
    ]
    waiting = [each for each in reply["items"] if may and each["state"] == "waiting"]
    values = {
        "table": table,
        "filters": filters,
        "may": may,
        "waiting": len(waiting),
        "looked": sum(each["looked"] for each in waiting),
        "deny_all": view.link("approvals", "deny-all", agent=wanted["agent"]),
    }
    return Shown("approvals.html", "Approvals", values)


async def of_owner(view: View, owner: str) -> Table:
    """The newest requests of the agents of one owner, and what became of them."""
    reply = await view.get("approvals", owner=owner, limit=_NEWEST)
    newest = {"items": reply["items"], "next": None}
    return _table(view, newest, {"owner": owner}, "No call of these agents has asked for an approval.", "my-approvals")


def _table(
    view: View,
    reply: Mapping[str, Any],
    wanted: Mapping[str, str | None],
    empty: str,
    name: str = "approvals",
    *,
    chosen: bool = False,
) -> Table:
    """Those that wait can be `chosen` for an answer."""
    choice = [
        Column("Choose", lambda each: each["id"] if each["state"] == "waiting" else None, "choose"),
        Column("Looked", lambda each: "by you" if each["looked"] else None),
    ]
    columns = [
        *(choice if chosen else []),
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
        raise _unknown()
    body: dict[str, Any] = {"reason": view.form.get("reason", "")}
    if verb == "approve":
        body |= {name: found for name in ("uses", "seconds") if (found := number(view.form.get(name, ""), name))}
        body["for_pattern"] = view.form.get("for_pattern") == "yes"
    await view.send("POST", "approvals", view.path["approval"], verb, body=body)
    return Redirect(view.link("approvals", view.path["approval"]))


async def several(view: View) -> Found:
    """What became of each call that was chosen."""
    verb, ids = view.path["verb"], words(view.form.get("chosen", ""))
    if verb not in ("approve", "deny"):
        raise _unknown()
    if not ids:
        raise Problem(422, "nothing_chosen", "no call was chosen", hint="go back, and tick the boxes of some calls")
    reason = view.form.get("reason", "")
    reply = await view.send("POST", "approvals", verb, body={"approvals": ids, "reason": reason})
    made = reply["items"]
    refused = sum(each["refused"] is not None for each in made)
    notes = [("good", f"{_calls(len(made) - refused)} reviewed.")] if refused < len(made) else []
    if refused:
        notes.append(("bad", f"{_calls(refused)} left as before: the table says why."))
    table = _outcomes(view, made, ["approvals", verb, *ids, "--reason", reason or "REASON"])
    crumb = (view.link("approvals", state="waiting"), "Approvals that wait")
    return listing.page(view, "What became of them", "approvals", [("", table)], notes=notes, crumb=crumb)


def _outcomes(view: View, made: Sequence[Mapping[str, Any]], command: Sequence[str]) -> Table:
    columns = [
        Column("Request", "id", "id", lambda each: view.link("approvals", each["id"])),
        Column("State", lambda each: each["state"] or "as before", "badge"),
        Column("Missing", lambda each: sum(each["missing"]) or None, "number"),
        Column("Why not", lambda each: each["refused"] and _why(each["refused"])),
    ]
    return Table.of(view, made, columns, name="reviewed", command=command, empty="No call was reviewed.", alone=False)


def _why(refused: Mapping[str, str]) -> str:
    more = ": open it and look first" if refused["code"] == "not_looked_at" else ""
    return f"{refused['detail']}{more}"


def _calls(many: int) -> str:
    return f"{many:,} {'call was' if many == 1 else 'calls were'}"


async def ask_denial(view: View) -> Found:
    """How many a denial of all would deny, before it is made."""
    return await _denial(view, view.query, [])


async def deny_all(view: View) -> Found:
    """Deny those that were counted, as many as one visit has time for, and go on from there."""
    given = {name: text for name in _CHOICE if (text := view.form.get(name))}
    cursor: str | None = view.form.get("cursor") or None
    if cursor is None:
        return Redirect(view.link("approvals", "deny-all", **given))
    denied, left = number(view.form.get("denied", ""), "denied") or 0, []
    notes: list[tuple[str, str]] = []
    body = {**given, "reason": view.form.get("reason", "")}
    for step in range(_STEPS):
        try:
            reply = await view.send("POST", "approvals", "deny-all", body={**body, "cursor": cursor})
        except Problem as problem:
            if not step:
                raise
            notes.append(("bad", f"Then it failed: {problem.detail}. Go on in a moment."))
            break
        denied += sum(each["state"] == "denied" for each in reply["items"])
        left += [each for each in reply["items"] if each["state"] != "denied"]
        cursor = reply["next"]
        if cursor is None:
            break
    notes.insert(0, ("good", f"{_calls(denied)} denied."))
    return await _denial(view, view.form, notes, cursor=cursor, denied=denied, left=left, over=cursor is None)


async def _denial(
    view: View,
    given: Mapping[str, str],
    notes: Sequence[tuple[str, str]],
    *,
    cursor: str | None = None,
    denied: int = 0,
    left: Sequence[Mapping[str, Any]] = (),
    over: bool = False,
) -> Found:
    choice = {name: given.get(name, "") for name in _CHOICE}
    found = {"count": 0} if over else await view.get("approvals", "waiting", **choice, cursor=cursor)
    command = ["approvals", "deny", "--all", *options(**choice), "--reason", "REASON"]
    values = {
        "notes": notes,
        "filters": [Field(name=name, title=_CHOICE[name], value=text) for name, text in choice.items()],
        "found": found,
        "over": over,
        "may": view.may("approvals", write=True),
        "denied": denied,
        "reason": given.get("reason", ""),
        "left": _outcomes(view, left, ["approvals", "list", "--state", "waiting"]) if left else None,
        "command": command_line(view, *command),
    }
    return Shown("approvals_deny.html", "Deny all that wait", values)


def _unknown() -> Problem:
    return Problem(404, "unknown_page", "there is no such page", hint="go on from the approval's page")


PAGES = [
    ShownPage("approvals", listed),
    ShownPage("approvals/several/{verb}", several, changes=True),
    ShownPage("approvals/deny-all", ask_denial),
    ShownPage("approvals/deny-all", deny_all, changes=True),
    ShownPage("approvals/{approval}", one),
    ShownPage("approvals/{approval}/look", look, changes=True),
    ShownPage("approvals/{approval}/say/{verb}", say, changes=True),
]
