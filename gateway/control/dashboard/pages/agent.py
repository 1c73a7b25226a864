"""One agent, now or as it was: its identity, versions, calls and permissions, and what can be done with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.control.dashboard import forms, tables, traffic
from gateway.control.dashboard.changes import Form, Input, Known, pages_of, verbs
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Field
from gateway.control.dashboard.pages import decisions, limits
from gateway.control.dashboard.plots import Plot
from gateway.control.dashboard.shown import Found, Shown, ShownPage
from gateway.control.dashboard.tables import Column, Table, command_line

_TABS: Final = (("", "Overview"), ("calls", "Calls"), ("versions", "Versions"), ("permissions", "Permissions"))
_UNLIMITED: Final = "No limit holds the agent back, beside those of its policies."
_UNCOMPARED: Final = ("version", "actor", "reason", "since")

_ACTS: Final[dict[str, tuple[str, tuple[str, ...], bool]]] = {
    "suspend": (
        "Suspend",
        (
            "Every request of the agent is refused from the next one on, until it is resumed.",
            "Its keys, bindings and limits stay as they are. Calls under way end by themselves.",
        ),
        True,
    ),
    "resume": (
        "Resume",
        ("The agent's requests are judged again from the next one on, with the keys that it has.",),
        False,
    ),
    "review": (
        "Confirm",
        ("You confirm that the agent is still wanted as it is. The time until the next review starts anew.",),
        False,
    ),
    "retire": (
        "Retire",
        ("The agent's work is done: it and its keys end, for good. Its history and its log entries stay.",),
        True,
    ),
    "revoke": (
        "Revoke",
        (
            "The agent and all its keys end, for good, from the next request on. This cannot be undone.",
            "Its history and its log entries stay. Its name can be used again for another agent.",
        ),
        True,
    ),
}
"""The acts on an agent: the verb for people, the consequence, and whether it takes something away."""


async def overview(view: View) -> Found:
    name, at = view.path["agent"], forms.at(view)
    found = await view.get("agents", name, "overview", at=at)
    states: dict[str, Any] = {"items": []}
    plots: list[Plot] = []
    if at is None:
        states, plots = await asyncio.gather(
            view.get("limits", "states", subject_kind="agent", subject=name, limit=100),
            traffic.plots_of(view, "day", 30, name),
        )
    values = {
        "found": found,
        "agent": found["agent"],
        "at": at,
        "keys": _keys(view, name, found["keys"], at),
        "bindings": _bindings(view, name, found["bindings"], at),
        "limits": limits.left(view, states, "agent", name, _UNLIMITED),
        "plots": plots,
        "acts": [] if at else _offered(view, found["agent"]["status"]),
        **_tabs(view, name, ""),
    }
    return Shown("agent.html", found["agent"]["name"], values)


def _offered(view: View, status: str) -> list[tuple[str, str, bool]]:
    if not view.may("agents", write=True):
        return []
    verbs = {"active": ("review", "suspend", "retire", "revoke"), "suspended": ("resume", "retire", "revoke")}
    verbs["expired"] = ("retire", "revoke")
    return [(verb, _ACTS[verb][0], _ACTS[verb][2]) for verb in verbs.get(status, ())]


def _tabs(view: View, name: str, current: str) -> dict[str, Any]:
    tabs = [
        (view.link("agents", name, *([path] if path else [])), title, path == current)
        for path, title in _TABS
        if path != "calls" or view.may("audit")
    ]
    return {"tabs": tabs, "name": name}


def _keys(view: View, name: str, keys: Any, at: str | None) -> Table:
    acts = view.may("keys", write=True) and at is None

    def rotated(each: Mapping[str, Any]) -> str | None:
        can = acts and each["method"] == "api_key" and each["status"] in ("active", "retiring")
        return view.link("keys", each["id"], "rotate", agent=name) if can else None

    def revoked(each: Mapping[str, Any]) -> str | None:
        can = acts and each["status"] in ("active", "retiring")
        return view.link("keys", each["id"], "revoke", agent=name) if can else None

    columns = [
        Column("Key", "key_id", "id"),
        Column("State", "status", "badge"),
        Column("Kind", "method"),
        Column("Last used", "last_used", "time"),
        Column("Ends", "expires", "time", narrow=False),
        Column("", lambda each: "Replace" if rotated(each) else None, "act", rotated),
        Column("", lambda each: "Revoke" if revoked(each) else None, "act", revoked),
    ]
    return Table.of(
        view,
        keys,
        columns if acts else columns[:-2],
        name="keys",
        command=["keys", "list", name],
        alone=False,
        empty="The agent has no key, so it cannot make a request. Create one.",
    )


def _bindings(view: View, name: str, bindings: Any, at: str | None) -> Table:
    rows = [{**each["binding"], "revision": each["revision"]} for each in bindings]
    columns = [
        Column("Bundle", "bundle"),
        Column("Effect", lambda each: "shadow" if each["shadow"] else each["effect"], "badge"),
        Column("By", lambda each: f"{each['subject_kind']} {each['subject']}"),
        Column(
            "Revision", lambda each: each["revision"]["commit"][:12] if each["revision"] else "not in force", "code"
        ),
        Column("Since", "created", "time", narrow=False),
        Column("Reason", "reason", narrow=False),
    ]
    if at is None and view.may("bindings", write=True):
        columns.append(Column("", lambda _each: "End", "act", lambda each: view.link("bindings", each["id"], "end")))
    when = [] if at is None else ["--at", at]
    return Table.of(
        view,
        rows,
        columns,
        name="bindings",
        command=["agents", "show", name, *when],
        alone=False,
        empty="No policy judges the agent, so all its requests are denied. Bind a bundle.",
    )


async def calls(view: View) -> Found:
    name = (await view.get("agents", view.path["agent"]))["name"]
    table = await decisions.entries(view, agent=name, kind="decided")
    if view.query.get("format") == "csv":
        return table.download()
    return Shown("agent_calls.html", f"{name}: calls", {"table": table, "filters": [], **_tabs(view, name, "calls")})


async def versions(view: View) -> Found:
    """All versions with what each has changed, and the differences between any two that are asked for."""
    name = view.path["agent"]
    found = (await view.get("agents", name, "versions", limit=500))["items"]
    numbered = {str(each["version"]): each for each in found}
    before, after = (numbered.get(view.query.get(which, "")) for which in ("from", "to"))
    shown = [*zip([None, *found[:-1]], found, strict=True)]
    if before and after:
        shown = [(before, after)]
    rows = [{**each, "changes": list(_changes(earlier, each)) or ["nothing"]} for earlier, each in shown]
    columns = [
        Column("Version", "version", "number"),
        Column("Since", "since", "time"),
        Column("By", "actor", narrow=False),
        Column("Changes", "changes", "lines"),
        Column("Reason", "reason", narrow=False),
        Column("", lambda each: "As of then", "act", lambda each: view.link("agents", name, at=each["since"])),
    ]
    table = Table.of(
        view, rows[::-1], columns, name="versions", command=["agents", "history", name], empty="There are no versions."
    )
    if view.query.get("format") == "csv":
        return table.download()
    newest_first = [*numbered][::-1]
    filters = [
        Field(name="from", title="Changes from version", value=view.query.get("from", ""), choices=("", *newest_first)),
        Field(name="to", title="to version", value=view.query.get("to", ""), choices=("", *newest_first)),
    ]
    values = {"table": table, "filters": filters, **_tabs(view, name, "versions")}
    return Shown("agent_calls.html", f"{name}: versions", values)


def _changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Iterator[str]:
    """The differences of a version, in words."""
    if before is None:
        yield "registered"
        return
    for name, value in after.items():
        if name not in _UNCOMPARED and value != before.get(name):
            yield f"{name.replace('_', ' ')}: {_said(before.get(name))} → {_said(value)}"


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items()) or "none"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value or "none")


async def permissions(view: View) -> Found:
    name, given = (await view.get("agents", view.path["agent"]))["name"], view.query
    found = None
    words = ["agents", "permissions", name, *tables.options(model=given.get("model"))]
    if given.get("model"):
        asked = {each: given.get(each) for each in ("model", "action", "tool", "upstream")}
        found = await view.get("agents", name, "permissions", **asked, at=forms.at(view))
        words += tables.options(
            action=asked["action"], tool=asked["tool"], upstream=asked["upstream"], at=forms.at(view)
        )
    values = {"found": found, "command": command_line(view, *words), "at": forms.at(view)}
    return Shown("agent_permissions.html", f"{name}: permissions", {**values, **_tabs(view, name, "permissions")})


# --- acts -----------------------------------------------------------------------------------------------------------

_STATE: Final = "It is {status} now, at version {version}, with the owner “{owner}”."


def _form(verb: str, word: str, consequence: Sequence[str], danger: bool) -> Form:
    return Form(
        "agents/{agent}/do/{verb}",
        f"POST /agents/{{agent}}/{verb}",
        title=f"{word} {{name}}",
        verb=word,
        section="agents",
        back="agents/{agent}",
        says=[*consequence, _STATE],
        reads="agents/{agent}",
        asks=["reason"],
        command=["agents", verb, "{name}"],
        danger=danger,
    )


async def new_key(view: View) -> Found:
    name = view.path["agent"]
    key = await view.send("POST", "keys", body={"agent": name, "reason": view.form.get("reason", "")})
    return await _shown_once(view, name, key)


async def _shown_once(view: View, name: str, key: Mapping[str, Any]) -> Found:
    me = await view.get_all("me")
    values = {"key": key.get("key"), "base_url": me["base_url"], "name": name, "replaces": key.get("replaces")}
    return Shown("key_made.html", f"A key of {name}", values, 201)


async def _replaced(view: View, _known: Known, made: Any) -> Found:
    return await _shown_once(view, made["agent"], made)


_FORMS: Final = [
    Form(
        "agents/{agent}/change",
        "PATCH /agents/{agent}",
        title="Change {name}",
        verb="Change",
        section="agents",
        back="agents/{agent}",
        says=["It holds from the agent's next request on. The version before stays in its history."],
        reads="agents/{agent}",
        asks=[
            Input(name="owner", hint="Who is responsible for it. Another owner takes it over, with its reviews."),
            Input(name="team", hint="Bundles and limits of the team hold for the agent; empty for none."),
            Input(name="environment", required=True),
            Input(name="capabilities", hint="All of them, with commas."),
            Input(name="review_days", title="Confirm every (days)", hint="Empty: as the organization says."),
            "reason",
        ],
        command=["agents", "update", "{name}", "--owner", "{owner}"],
    ),
    Form(
        "keys/{key}/rotate",
        "POST /keys/{key}/rotate",
        title="Replace {key_id}",
        verb="Replace",
        section="agents",
        back="agents/{agent}",
        says=[
            "A new key is made and shown once. The old one works on until the overlap is over.",
            "Its last use: {last_used}.",
        ],
        reads="keys/{key}",
        asks=[
            Input(name="overlap", hint="In hours; meanwhile both keys work.", times=3600, value="24", required=True),
            "reason",
        ],
        command=["keys", "rotate", "{key_id}"],
        after=_replaced,
    ),
    Form(
        "keys/{key}/revoke",
        "POST /keys/{key}/revoke",
        title="Revoke {key_id}",
        verb="Revoke",
        section="agents",
        back="agents/{agent}",
        says=[
            "The key ends, for good, from the next request on: whoever uses it is refused.",
            "Its last use: {last_used}.",
        ],
        reads="keys/{key}",
        asks=["reason"],
        command=["keys", "revoke", "{key_id}"],
        danger=True,
    ),
]

PAGES = [
    ShownPage("agents/{agent}", overview),
    ShownPage("agents/{agent}/calls", calls),
    ShownPage("agents/{agent}/versions", versions),
    ShownPage("agents/{agent}/permissions", permissions),
    ShownPage("agents/{agent}/keys", new_key, changes=True),
    *verbs("agents/{agent}/do/{verb}", {verb: _form(verb, *each) for verb, each in _ACTS.items()}),
    *pages_of(_FORMS),
]
