"""Webhooks: who is told of what, how deliveries go, adding, trying and removing one."""

from __future__ import annotations

import json
from typing import Any, Final

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.changes import Form, Input, Known, once, pages_of
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table


async def listed(view: View) -> Found:
    found = await view.get("webhooks", cursor=view.query.get("cursor"), limit=tables.size(view))
    changes = view.may("webhooks", write=True)
    columns = [
        Column("Address", "url", "code"),
        Column("Events", "events", "list", narrow=False),
        Column("Waiting", lambda each: each["state"]["waiting"], "number"),
        Column("Given up", lambda each: each["state"]["given_up"], "number"),
        Column("Last accepted", lambda each: each["state"]["success"], "time", narrow=False),
        Column("Last error", lambda each: each["state"]["error"]),
        Column("Id", "id", "id", narrow=False),
    ]
    if changes:
        columns += [
            Column("", lambda _each: "Try", "act", lambda each: view.link("webhooks", each["id"], "test")),
            Column("", lambda _each: "Remove", "act", lambda each: view.link("webhooks", each["id"], "remove")),
        ]
    table = Table.of(
        view,
        found,
        columns,
        name="webhooks",
        command=["webhooks", "list"],
        empty="Nobody is told of anything. Add an address that takes signed events over https.",
    )
    actions = [(view.link("webhooks", "new"), "Add a webhook")] if changes else []
    crumb = (view.link("organization"), "Organization")
    return listing.page(view, "Webhooks", "organization", [("", table)], actions=actions, crumb=crumb)


async def _tried(view: View, known: Known, made: Any) -> Found:
    said = "has accepted" if made["accepted"] else f"has not accepted ({made['error']})"
    notes = [("good" if made["accepted"] else "bad", f"{known['url']} {said} the event webhook.test.")]
    text = json.dumps(made, indent=2, ensure_ascii=False)
    crumb = (view.link("webhooks"), "Webhooks")
    return listing.page(view, "Try a webhook", "organization", [], notes=notes, texts=[("Outcome", text)], crumb=crumb)


_COMMON: Final[dict[str, Any]] = {"section": "organization", "back": "webhooks"}
_ONE: Final[dict[str, Any]] = {**_COMMON, "reads": "webhooks/{webhook}"}

_FORMS: Final = [
    Form(
        "webhooks/new",
        "POST /webhooks",
        title="Add a webhook",
        verb="Add",
        says=["It is told of what happens from now on. The secret that signs deliveries is made and shown once."],
        asks=[
            "url",
            Input(name="events", hint="Only these, with commas; empty for the usual ones."),
            Input(name="insecure"),
            Input(name="allow_private"),
        ],
        command=["webhooks", "add", "URL"],
        after=once("secret", "secret", "webhooks"),
        **_COMMON,
    ),
    Form(
        "webhooks/{webhook}/test",
        "POST /webhooks/{webhook}/test",
        title="Try {url}",
        verb="Send it now",
        says=["The event webhook.test is sent there now, signed as all are. Nothing is changed."],
        command=["webhooks", "test", "{id}"],
        after=_tried,
        **_ONE,
    ),
    Form(
        "webhooks/{webhook}/remove",
        "DELETE /webhooks/{webhook}",
        title="Remove {url}",
        verb="Remove",
        says=["Nothing is delivered there any more, also what waits for it."],
        command=["webhooks", "remove", "{id}"],
        danger=True,
        **_ONE,
    ),
]

PAGES = [ShownPage("webhooks", listed), *pages_of(_FORMS)]
