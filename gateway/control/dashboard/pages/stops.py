"""Emergency stops: refusing every agent at once, and ending that."""

from __future__ import annotations

from typing import Any, Final

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.changes import Form, Input, Known, pages_of
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table

_REASON: Final = Input(name="reason", hint="For whoever has to end it; the log and `gateway status` show it.")


async def listed(view: View) -> Found:
    found = await view.get_all(
        "stops", organization=view.home, cursor=view.query.get("cursor"), limit=tables.size(view)
    )
    changes = view.may("stops", write=True)
    columns = [
        Column("Since", "created", "time"),
        Column("Whose agents", lambda each: each["organization"] or "all organizations"),
        Column("By", "actor", narrow=False),
        Column("Reason", "reason"),
        Column("Id", "id", "id", narrow=False),
    ]
    if changes:
        columns.append(Column("", lambda _each: "End", "act", lambda each: view.place("stops", each["id"], "end")))
    table = Table.of(
        view,
        found,
        columns,
        name="stops",
        command=["status"],
        of_organization=False,
        empty="Nobody is stopped. A stop refuses every agent at once, and changes nothing else.",
    )
    notes = [("bad", "Agents are stopped: all their requests are refused.")] if found["items"] else []
    actions = [(view.place("stops", "new"), "Stop all agents")] if changes else []
    home = ("organization", "Organization") if view.home is not None else ("gateway", "Gateway")
    crumb = (view.place(home[0]), home[1])
    return listing.page(
        view, "Emergency stops", "organization", [("", table)], notes=notes, actions=actions, crumb=crumb
    )


def _end(known: Known) -> list[str]:
    return ["resume", *(["--all"] if known["organization"] == "none" else [])]


def _forms(everywhere: bool) -> list[Form]:
    whose = "of all organizations" if everywhere else "of {organization}"
    common: dict[str, Any] = {"section": "organization", "back": "stops", "everywhere": everywhere}
    return [
        Form(
            "stops/new",
            "POST /stops",
            title=f"Stop every agent {whose}",
            verb="Stop them",
            says=[
                f"Every request of every agent {whose} is refused from the next one on, and calls under way end.",
                "Nothing else is changed: ending the stop brings back exactly what was before.",
            ],
            asks=[_REASON],
            fixed={"everybody": everywhere},
            command=["stop", "--reason", "REASON", *(["--all"] if everywhere else [])],
            danger=True,
            **common,
        ),
        Form(
            "stops/{stop}/end",
            "POST /stops/{stop}/resume",
            title="End the stop of {created}",
            verb="End it",
            reads="stops/{stop}",
            says=[
                "Requests are judged again from the next one on. Agents that were suspended or revoked stay so.",
                "It was made because: {reason}.",
            ],
            asks=["reason"],
            command=_end,
            **common,
        ),
    ]


PAGES = [
    ShownPage("stops", listed),
    ShownPage("stops", listed, everywhere=True),
    *pages_of(_forms(False)),
    *pages_of(_forms(True)),
]
