"""Limits that operators set: the list with what is left, a new one, raising one for a while, and ending one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.changes import Form, Input, Known, pages_of
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Field
from gateway.control.dashboard.shown import Found, Redirect, ShownPage
from gateway.control.dashboard.tables import Column, Table
from gateway.usage.limits import Part

_KINDS: Final = ("agent", "team", "organization")
_NAMES = (
    *(
        f"{what}_per_{unit}"
        for what in ("requests", "tokens", "spend_microusd")
        for unit in ("minute", "hour", "day", "month")
    ),
    "concurrent_requests",
)


async def listed(view: View) -> Found:
    reply = await view.get("limits", cursor=view.query.get("cursor"), limit=tables.size(view))
    changes = view.may("limits", write=True)
    columns = [
        Column("Limit", "limit"),
        Column("By", lambda each: f"{each['subject_kind']} {each['subject']}", href=lambda each: _subject(view, each)),
        Column("Value", "value", "number"),
        Column("Raised to", "raised", "number", narrow=False),
        Column("Until", "raised_until", "time", narrow=False),
        Column("Upstream", "upstream", narrow=False),
        Column("Model", "model", narrow=False),
        Column("Counterparty", "counterparty", narrow=False),
        Column("Tool", "tool", narrow=False),
        Column("Mode", "mode", narrow=False),
        Column("", lambda _each: "Left", "act", lambda each: _left(view, each)),
    ]
    if changes:
        columns += [
            Column("", lambda _each: "Raise", "act", lambda each: view.link("limits", each["id"], "raise")),
            Column("", lambda _each: "Remove", "act", lambda each: view.link("limits", each["id"], "remove")),
        ]
    empty = "No limit is set. Policies may have limits of their own; one that is set here holds beside them."
    table = Table.of(view, reply, columns, name="limits", command=["limits", "list"], empty=empty)
    kind, subject = view.query.get("subject_kind") or "agent", view.query.get("subject", "").strip()
    filters = [
        Field(name="subject_kind", title="What is left for", choices=_KINDS, value=kind),
        Field(name="subject", title="Name", value=subject),
    ]
    shown = [("", table)]
    if subject:
        states = await view.get("limits", "states", subject_kind=kind, subject=subject, limit=tables.size(view))
        shown = [(f"What holds {kind} {subject}", left(view, states, kind, subject)), ("All limits", table)]
    new = view.link("limits", "new", **({"subject_kind": kind, "subject": subject} if subject else {}))
    actions = [(new, "Set a limit")] if changes else []
    return listing.page(view, "Limits", "limits", shown, filters=filters, actions=actions)


def left(view: View, states: Any, kind: str, subject: str, empty: str = "No limit holds it back.") -> Table:
    """What is spent, reserved and left of the limits that hold an agent, a team or the organization."""
    columns = [
        Column("Limit", "limit"),
        Column("By", lambda each: f"{each['subject_kind']} {each['subject']}"),
        Column("Value", "value", "number"),
        Column("Spent", "spent", "number"),
        Column("Reserved", "reserved", "number", narrow=False),
        Column("Left", "left", "number"),
        Column("Starts anew", "resets_at", "time", narrow=False),
    ]
    command = ["limits", "show", _named(kind, subject)]
    return Table.of(
        view, states["items"], columns, name="limits", command=command, alone=view.path.get("agent") is None,
        empty=empty,
    )  # fmt: skip


def _left(view: View, each: Mapping[str, Any]) -> str:
    return view.link("limits", subject_kind=each["subject_kind"], subject=each["subject"])


def _subject(view: View, each: Mapping[str, Any]) -> str | None:
    found = {"agent": "agents", "team": "teams"}.get(each["subject_kind"])
    return view.link(found, each["subject"]) if found else None


def _named(kind: str, subject: str) -> str:
    """An agent, a team or an organization, as commands name it."""
    return {"team": "team:", "organization": "org:"}.get(kind, "") + subject


async def _back(view: View, _known: Known, made: Any) -> Found:
    return Redirect(_left(view, made))


def _command(verb: str, *more: str) -> Callable[[Known], list[str]]:
    def said(known: Known) -> list[str]:
        parts = [f"--{name}={known[name]}" for name in Part._fields if known[name] != "none"]
        return ["limits", verb, _named(known["subject_kind"], known["subject"]), known["limit"], *more, *parts]

    return said


_ONE: Final[dict[str, Any]] = {"section": "limits", "back": "limits", "reads": "limits/{limit}"}
_UNITS: Final = "Requests, tokens, or money in millionths of a dollar."
_FORMS: Final = [
    Form(
        "limits/new",
        "POST /limits",
        title="Set a limit",
        verb="Set",
        section="limits",
        back="limits",
        says=["It holds from the next request on. All limits that apply to a call must have room for it."],
        asks=[
            Input(name="subject_kind", title="For"),
            Input(name="subject", title="Name", hint="Of the agent, team or organization."),
            Input(name="limit", choices=_NAMES, value="requests_per_day", hint=""),
            Input(name="value", hint=_UNITS),
            *Part._fields,
            Input(
                name="mode",
                choices=("", "estimate", "hard"),
                hint="Of tokens and money: hard refuses a call without a bound, estimate reserves for it.",
            ),
            Input(name="without_members", title="Also if no agent is in it yet", hint=""),
            "reason",
        ],
        command=["limits", "set", "AGENT", "requests_per_day", "1000"],
        after=_back,
    ),
    Form(
        "limits/{limit}/raise",
        "POST /limits/{limit}/raise",
        title="Raise {limit} of {subject}",
        verb="Raise",
        says=["It is {value} now. It falls back by itself when the time is over."],
        asks=[
            Input(name="value", hint=_UNITS),
            Input(name="for_seconds", title="For how many hours", hint="At most 744.", times=3600, value="2"),
            Input(name="reason", required=True),
        ],
        command=_command("raise", "1000", "--for=2h", "--reason=REASON"),
        after=_back,
        **_ONE,
    ),
    Form(
        "limits/{limit}/remove",
        "DELETE /limits/{limit}",
        title="Remove {limit} of {subject}",
        verb="Remove",
        says=["From the next request on, the {subject_kind} is no longer held to {value}."],
        command=_command("remove"),
        danger=True,
        after=_back,
        **_ONE,
    ),
]

PAGES = [ShownPage("limits", listed), *pages_of(_FORMS)]
