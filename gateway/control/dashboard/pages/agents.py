"""Agents: the list, those of the person who looks, and registering one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.control.dashboard import forms, listing, tables
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Field
from gateway.control.dashboard.pages import approvals
from gateway.control.dashboard.shown import Found, Shown, ShownPage
from gateway.control.dashboard.tables import Column, Table, options
from gateway.control.problems import Problem

STATES = ("", "active", "suspended", "expired", "revoked", "retired")


async def listed(view: View) -> Found:
    wanted = {name: view.query.get(name) for name in ("search", "status", "team")}
    empty = "No agent is like this. Register one: it gets a name, an owner, a policy and a key."
    table = await _table(view, wanted, "agents", empty)
    if view.query.get("format") == "csv":
        return table.download()
    return Shown("agents.html", "Agents", {"table": table, "states": STATES})


async def mine(view: View) -> Found:
    """The page of agents whose owner has the name of the person's operator, or the name that the person gives."""
    operator = view.caller.operator.name
    owner = view.query.get("owner") or operator
    table = await _table(view, {"owner": owner}, "my-agents", f"No agent has the owner {owner}.")
    said = f"An operator has no address, so your operator's name, {operator}, is compared, or the owner that you name."
    filters = [Field(name="owner", title="Owner", value=owner)]
    shown = [("", table)]
    if view.may("approvals"):
        shown.append(("Their calls that people decide about", await approvals.of_owner(view, owner)))
    return listing.page(view, "My agents", "agents", shown, filters=filters, notes=[("", said)])


async def _table(view: View, wanted: Mapping[str, str | None], name: str, empty: str) -> Table:
    reply = await view.get("agents", **wanted, cursor=view.query.get("cursor"), limit=tables.size(view))
    if reply["next"] and not reply["items"]:
        empty = "Of very many agents none of these is like this: go on with the next ones."
    known: dict[str, Any] = {}
    if reply["items"] and view.may("usage") and view.may("keys"):
        found = await view.get("usage", "activity", agents=",".join(each["id"] for each in reply["items"]))
        known = {each["agent"]: each for each in found["items"]}

    def of(name: str) -> Callable[[Mapping[str, Any]], Any]:
        return lambda each: known.get(each["id"], {}).get(name)

    columns = [
        Column("Name", "name", href=lambda each: view.link("agents", each["name"])),
        Column("State", "status", "badge"),
        Column("Owner", "owner"),
        Column("Team", "team", href=lambda each: view.link("agents", team=each["team"]) if each["team"] else None),
        Column("Environment", "environment", narrow=False),
        Column("Last seen", of("last_used"), "time"),
        Column("Requests, 30 days", of("requests"), "number", narrow=False),
        Column("Spend, 30 days", lambda each: (of("cost_nanousd")(each) or 0) // 1000, "money", narrow=False),
        Column("Since", "since", "time", narrow=False),
        Column("Id", "id", "id", narrow=False),
    ]
    command = ["agents", "list", *options(**wanted)]
    return Table.of(view, reply, columns, name=name, command=command, empty=empty)


async def form(view: View) -> Found:
    return Shown("agent_new.html", "Register an agent", {"bundles": await _bundles(view), "problem": None})


async def _bundles(view: View) -> list[str]:
    """The bundles that judge somebody here already: names to choose from."""
    found = await view.get("bindings", limit=500)
    return sorted({each["bundle"] for each in found["items"]})


async def register(view: View) -> Found:
    """Three changes, each of which stands by itself: the agent, its binding, its key."""
    given = view.form
    body = {
        "name": given.get("name", "").strip(),
        "owner": given.get("owner", "").strip(),
        "team": given.get("team", "").strip(),
        "environment": given.get("environment", "").strip() or "dev",
        "capabilities": forms.words(given.get("capabilities", "")),
        "reason": given.get("reason", ""),
    }
    try:
        agent = await view.send("POST", "agents", body=body)
    except Problem as problem:
        values = {"bundles": await _bundles(view), "problem": problem.document()}
        return Shown("agent_new.html", "Register an agent", values, problem.status)
    missing: list[dict[str, Any]] = []
    if bundle := given.get("bundle", "").strip():
        bound = {"subject_kind": "agent", "subject": agent["name"], "bundle": bundle, "effect": "grant"}
        await _beside(view, missing, "bindings", bound)
    key = await _beside(view, missing, "keys", {"agent": agent["name"]})
    base_url = (await view.get_all("me"))["base_url"]
    text = None if key is None else key.get("key")
    made = {"agent": agent, "key": text, "base_url": base_url, "missing": missing, "bundle": bundle}
    return Shown("agent_made.html", agent["name"], made, 201)


async def _beside(view: View, missing: list[dict[str, Any]], noun: str, body: dict[str, Any]) -> Any:
    """A thing that belongs to the agent; if it cannot be made, the page says so, since the agent is there."""
    try:
        return await view.send("POST", noun, body=body)
    except Problem as problem:
        missing.append(problem.document())
        return None


PAGES = [
    ShownPage("agents", listed),
    ShownPage("mine", mine),
    ShownPage("agents/new", form),
    ShownPage("agents/new", register, changes=True),
]
