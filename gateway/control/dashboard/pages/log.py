"""The log: its entries of all kinds, and the newest signed checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Field
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table, options
from gateway.control.problems import Problem

_KINDS: Final = (
    "",
    "decided",
    "completed",
    "change",
    "activation",
    "refused",
    "recovered",
    "checkpoint",
    "erasure",
    "epoch",
)
_SHOWN: Final = (
    "what",
    "reason",
    "outcome",
    "action",
    "model",
    "commit",
    "count",
    "size",
    "name",
    "agent_name",
    "status",
)


def _said(each: Mapping[str, Any]) -> str:
    """The members of an entry that say most, in one line."""
    entry = each["entry"]
    return " ".join(str(entry[name]) for name in _SHOWN if entry.get(name) not in (None, ""))


async def listed(view: View) -> Found:
    wanted = {name: view.query.get(name) for name in ("kind", "id", "since", "until")}
    reply = await view.get("audit", "entries", **wanted, before=view.query.get("before"), limit=tables.size(view))
    columns = [
        Column("Number", "seq", "number"),
        Column("Time", "time", "time"),
        Column("Kind", "kind", "badge"),
        Column("By", lambda each: each["entry"].get("actor"), narrow=False),
        Column("Says", _said),
        Column("Id", "id", "id", lambda each: view.link("decisions", each["id"]) if each["id"] else None),
    ]
    table = Table.of(
        view,
        {**reply, "items": reply["items"][::-1]},
        columns,
        name="log",
        command=[
            "audit",
            "list",
            *([] if view.organization != "default" else ["--org", "default"]),
            *options(**wanted),
        ],
        empty="The log has no such entry.",
        onward="older",
        parameter="before",
    )
    filters = [
        Field(name="kind", title="Kind", value=wanted["kind"] or "", choices=_KINDS),
        Field(name="id", title="Id begins with", value=wanted["id"] or ""),
        Field(name="since", title="Since (UTC)", value=wanted["since"] or "", hint="2026-11-25T14:00:00Z"),
    ]
    try:
        found = await view.get("audit", "checkpoint")
        texts = [
            ("Newest signed checkpoint", found["checkpoint"]),
            ("Public key of the gateway", found["public_key"]),
            ("To verify elsewhere, without the gateway", "gateway audit verify --database audit.db --public-key KEY"),
        ]
    except Problem as problem:
        texts = [("Checkpoint", problem.detail)]
    return listing.page(view, "Log", "log", [("", table)], filters=filters, texts=texts)


PAGES = [
    ShownPage("log", listed),
]
