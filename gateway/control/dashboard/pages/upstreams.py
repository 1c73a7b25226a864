"""Upstreams and the routes over them; an upstream can be tried with its stored key."""

from __future__ import annotations

import asyncio
import json

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Act
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table, command_line


async def listed(view: View) -> Found:
    cursor = view.query.get("cursor")
    found, routes = await asyncio.gather(
        view.get("upstreams", cursor=cursor, limit=tables.size(view)), view.get("routes", limit=100)
    )
    changes = view.may("upstreams", write=True)
    columns = [
        Column("Name", "name"),
        Column("Provider", "provider"),
        Column("Address", "base_url", "code"),
        Column("Key", lambda each: "stored" if each["has_secret"] else "none", "badge"),
        Column("Default", lambda each: "default" if each["default"] else None, "badge"),
        Column("Version", "version", "number", narrow=False),
        Column("Added", "created", "time", narrow=False),
    ]
    if changes:
        columns.append(
            Column("", lambda _each: "Try", "act", lambda each: view.link("upstreams", each["name"], "check"))
        )
    upstreams = Table.of(
        view,
        found,
        columns,
        name="upstreams",
        command=["upstreams", "list"],
        empty="There is no upstream, so no request goes anywhere: gateway upstreams add openai --key-env VARIABLE.",
    )
    over = [
        Column("Name", "name"),
        Column("Default", lambda each: "default" if each["default"] else None, "badge"),
        Column(
            "Upstreams",
            lambda each: [f"{m['upstream']} (tier {m['tier']}, weight {m['weight']})" for m in each["members"]],
            "lines",
        ),
        Column("Since", "updated", "time", narrow=False),
    ]
    table = Table.of(
        view,
        routes["items"],
        over,
        name="routes",
        command=["routes", "list"],
        alone=False,
        empty="There is no route. One spreads calls over several upstreams: gateway routes set NAME UPSTREAM …",
    )
    return listing.page(view, "Upstreams and routes", "upstreams", [("Upstreams", upstreams), ("Routes", table)])


async def ask(view: View) -> Found:
    found = await view.get("upstreams", view.path["upstream"])
    return Act(
        title=f"Try {found['name']}",
        verb="Try it now",
        consequence=[f"The gateway asks {found['base_url']} for its models with the stored key. Nothing is changed."],
        command=command_line(view, "upstreams", "check", found["name"]),
        back=view.link("upstreams"),
        section="upstreams",
    ).page()


async def check(view: View) -> Found:
    found = await view.send("POST", "upstreams", view.path["upstream"], "check", body={})
    good = found.get("outcome") == "ok" or found.get("ok") is True
    notes = [("good" if good else "bad", f"{view.path['upstream']} was tried.")]
    crumb = (view.link("upstreams"), "Upstreams and routes")
    text = json.dumps(found, indent=2, ensure_ascii=False)
    return listing.page(
        view, f"Try {view.path['upstream']}", "upstreams", [], notes=notes, texts=[("Answer", text)], crumb=crumb
    )


PAGES = [
    ShownPage("upstreams", listed),
    ShownPage("upstreams/{upstream}/check", ask),
    ShownPage("upstreams/{upstream}/check", check, changes=True),
]
