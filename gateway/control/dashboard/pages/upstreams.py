"""Upstreams and the routes over them; an upstream can be tried with its stored key."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any, Final

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.changes import Form, Input, Known, pages_of
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table
from gateway.identity.call_tokens import KEY, KINDS, ON_BEHALF_OF
from gateway.registry.names import PROVIDERS
from gateway.registry.upstreams.tools import MODES


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
        Column("Key", _credential, "badge"),
        Column("Default", lambda each: "default" if each["default"] else None, "badge"),
        Column("Version", "version", "number", narrow=False),
        Column("Added", "created", "time", narrow=False),
    ]
    if changes:
        columns += [_act(view, *each) for each in (("check", "Try"), ("key", "Another key"), ("remove", "Remove"))]
    upstreams = Table.of(
        view,
        found,
        columns,
        name="upstreams",
        command=["upstreams", "list"],
        empty="There is no upstream, so no request goes anywhere. Add one with the provider's key.",
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
    if view.may("routes", write=True):
        over += [
            Column("", lambda _each: "Change", "act", lambda each: view.link("routes", each["name"], "change")),
            Column("", lambda _each: "Remove", "act", lambda each: view.link("routes", each["name"], "remove")),
        ]
    table = Table.of(
        view,
        routes["items"],
        over,
        name="routes",
        command=["routes", "list"],
        alone=False,
        empty="There is no route. One spreads calls over several upstreams.",
    )
    actions = [
        (view.link("tools"), "Tools of MCP servers"),
        *([(view.link("upstreams", "new"), "Add an upstream")] if changes else []),
        *([(view.link("routes", "new"), "Make a route")] if view.may("routes", write=True) else []),
    ]
    shown = [("Upstreams", upstreams), ("Routes", table)]
    return listing.page(view, "Upstreams and routes", "upstreams", shown, actions=actions)


def _credential(upstream: Known) -> str:
    if upstream["auth"] != KEY:
        return "token of the person" if upstream["auth"] == ON_BEHALF_OF else "token of the agent"
    return "stored" if upstream["has_secret"] else "none"


def _act(view: View, path: str, title: str) -> Column:
    return Column("", lambda _each: title, "act", lambda each: view.link("upstreams", each["name"], path))


async def _checked(view: View, known: Known, found: Any) -> Found:
    said = f"{known['base_url']} answers as it should." if found["ok"] else f"{found['problem']}. {found['hint']}"
    notes = [("good" if found["ok"] else "bad", said)]
    crumb = (view.link("upstreams"), "Upstreams and routes")
    text = json.dumps(found, indent=2, ensure_ascii=False)
    title = f"Try {known['name']}"
    return listing.page(view, title, "upstreams", [], notes=notes, texts=[("Answer", text)], crumb=crumb)


_PROVIDERS: Final = tuple(each for each in PROVIDERS if each != "http")
_SECRET: Final = Input(
    name="secret",
    title="Key of the provider",
    hint="It is sealed and never shown. Empty: the upstream needs none.",
    type="password",
    required=False,
)
_HTTP: Final = Input(name="insecure", hint="Say so again if its address is plain HTTP to another machine.")
_ONE: Final[dict[str, Any]] = {"section": "upstreams", "back": "upstreams", "reads": "upstreams/{upstream}"}

_FORMS: Final = [
    Form(
        "upstreams/new",
        "POST /upstreams",
        title="Add an upstream",
        verb="Add",
        section="upstreams",
        back="upstreams",
        says=["Agents reach it under /NAME/v1/…. A JSON API with an OpenAPI document is added by the command."],
        asks=[
            "name",
            Input(
                name="provider", choices=tuple(each for each in PROVIDERS if each != "http"), value="openai", hint=""
            ),
            Input(name="base_url", title="Address", hint="Where its API begins; empty: the provider's own."),
            _SECRET,
            Input(name="headers", hint="One a line, NAME=VALUE, sent with every call; no secrets."),
            Input(
                name="auth",
                title="Credential of its calls",
                hint="Its key, or a token of the gateway for each call: of the agent, or of the person it acts for.",
                choices=KINDS,
            ),
            Input(name="trust", title="Tools that may be called", hint="Of an MCP server alone.", choices=("", *MODES)),
            "default",
            "insecure",
            "reason",
        ],
        command=["upstreams", "add", "NAME", "--key-file", "FILE"],
    ),
    Form(
        "upstreams/{upstream}/key",
        "PUT /upstreams/{upstream}",
        title="Another key for {name}",
        verb="Replace the key",
        says=["Calls use the new key from the next one on. The old one is deleted here: end it at the provider, too."],
        asks=[replace(_SECRET, hint="It is sealed and never shown.", required=True), _HTTP, "reason"],
        kept=("provider", "base_url", "headers", "default"),
        command=["upstreams", "add", "{name}", "--replace", "--key-file", "FILE"],
        **_ONE,
    ),
    Form(
        "upstreams/{upstream}/check",
        "POST /upstreams/{upstream}/check",
        title="Try {name}",
        verb="Try it now",
        says=["The gateway asks {base_url} for its models with the stored key. Nothing is changed."],
        command=["upstreams", "check", "{name}"],
        after=_checked,
        **_ONE,
    ),
    Form(
        "upstreams/{upstream}/remove",
        "DELETE /upstreams/{upstream}",
        title="Remove {name}",
        verb="Remove",
        says=["Calls to it are refused from the next one on, and its sealed key is deleted."],
        asks=["reason"],
        command=["upstreams", "remove", "{name}"],
        danger=True,
        **_ONE,
    ),
]

PAGES = [ShownPage("upstreams", listed), *pages_of(_FORMS)]
