"""Agents: the list, one agent now or as it was, and what can be done with it."""

from __future__ import annotations

from gateway.control.dashboard import tables
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, Page, Shown
from gateway.control.dashboard.tables import Column, Table, options

STATES = ("", "active", "suspended", "expired", "revoked", "retired")


async def listed(view: View) -> Found:
    wanted = {name: view.query.get(name) for name in ("status", "team")}
    reply = await view.get("agents", **wanted, cursor=view.query.get("cursor"), limit=tables.size(view))
    columns = [
        Column("Name", "name", href=lambda each: view.link("agents", each["name"])),
        Column("State", "status", "badge"),
        Column("Owner", "owner"),
        Column("Team", "team", href=lambda each: view.link("agents", team=each["team"]) if each["team"] else None),
        Column("Environment", "environment", narrow=False),
        Column("Since", "since", "time", narrow=False),
        Column("Id", "id", "id", narrow=False),
    ]
    table = Table.of(
        view,
        reply,
        columns,
        name="agents",
        command=["agents", "list", *options(**wanted)],
        empty="No agent is like this. An agent is registered with a name, an owner and a policy.",
    )
    if view.query.get("format") == "csv":
        return table.download()
    return Shown("agents.html", "Agents", {"table": table, "states": STATES})


PAGES = [
    Page("agents", listed),
]
