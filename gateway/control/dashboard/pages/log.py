"""The log: its entries of all kinds with their proofs, the newest signed checkpoint, and verifying the whole of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.changes import Form
from gateway.control.dashboard.door import View
from gateway.control.dashboard.forms import Field
from gateway.control.dashboard.shown import Download, Found, ShownPage
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
        Column("", lambda each: "Proof" if each["id"] else None, "act", lambda each: _proof_of(view, each["id"])),
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
    actions = [(view.link("log", "verification"), "Verification")] if view.caller.organization is None else []
    return listing.page(view, "Log", "log", [("", table)], filters=filters, texts=texts, actions=actions)


def _proof_of(view: View, entry: str) -> str | None:
    return view.link("log", entry, "proof") if entry else None


async def proof(view: View) -> Found:
    """The proof that the signed log has an entry, as a file: all that is needed but the gateway's public key."""
    entry = view.path["entry"]
    try:
        found = await view.get("audit", "proof", entry=entry)
    except Problem as problem:
        if problem.code not in ("no_checkpoint", "not_signed"):
            raise
        crumb, notes = (view.link("log"), "Log"), [("warn", f"{problem.detail}: {problem.hint}")]
        return listing.page(view, "Proof", "log", [], crumb=crumb, notes=notes)
    return Download(f"proof-{view.path['entry'][:60]}.json", orjson.dumps(found, option=orjson.OPT_INDENT_2), _JSON)


_JSON: Final = "application/json"
_RESULTS: Final = {
    "never": (
        "",
        "No verification was asked for here yet: it reads every entry of every log.",
    ),
    "running": ("warn", "It is under way. Look again to see how far it has come."),
    "stopped": ("warn", "The last one was stopped before its end, such as by a restart."),
    "failed": ("bad", "It could not be checked."),
    "valid": ("good", "The log is valid: every entry, tree, signature and balance."),
    "incomplete": (
        "warn",
        "The log is valid as far as it is signed; the newest entries are not, or calls are open.",
    ),
    "tampered": ("bad", "The log was tampered with, or the registry was edited by hand."),
}


async def verification(view: View) -> Found:
    """How far the newest verification has come, and what it has found."""
    run = await view.get_all("audit", "verification")
    facts = [
        {"name": "Begun", "value": run["begun"]},
        {"name": "Ended", "value": run["ended"]},
    ]
    times = Table.of(
        view,
        facts if run["begun"] else [],
        [Column("", "name"), Column("Time", "value", "time")],
        name="times",
        command=["audit", "verify"],
        of_organization=False,
        alone=False,
        empty="Verify now: it changes nothing.",
    )
    findings = Table.of(
        view,
        [{"found": each} for each in run["findings"]],
        [Column("Found", "found")],
        name="findings",
        command=["audit", "verify"],
        of_organization=False,
        alone=False,
        empty="Nothing was found that is wrong.",
    )
    heads = Table.of(
        view,
        run["logs"],
        [Column("Log", "origin", "code"), Column("Entries", "size", "number"), Column("Signed to", "signed", "number")],
        name="heads",
        command=["audit", "verify"],
        of_organization=False,
        alone=False,
        empty="There are none yet.",
    )
    notes = [_RESULTS[run["status"]]]
    if run["status"] == "running":
        notes.append(("", f"{run['done']:,} of {run['total']:,} entries" if run["total"] else "It has just begun."))
    if run["problem"]:
        notes.append(("bad", run["problem"]))
    running = run["status"] == "running"
    action = (view.link("log", "verification"), "Look again") if running else (_begin(view), "Verify now")
    shown = [("", times)]
    if run["ended"]:
        shown += [("Findings", findings), ("Heads", heads)]
    crumb = (view.link("log"), "Log")
    texts = [("Checked with the key", run["public_key"])] if run["public_key"] else []
    return listing.page(view, "Verification", "log", shown, notes=notes, actions=[action], crumb=crumb, texts=texts)


def _begin(view: View) -> str:
    return view.link("log", "verification", "begin")


_FORM: Final = Form(
    "log/verification/begin",
    "POST /audit/verification",
    title="Verify the whole log",
    verb="Verify now",
    section="log",
    back="log/verification",
    reads="audit/verification",
    says=[
        "All entries of all logs are read and checked, in a process of its own with low priority. Nothing is changed.",
        "One runs at a time, beside everything else.",
    ],
    command=["audit", "verify"],
)

PAGES = [
    ShownPage("log", listed),
    ShownPage("log/{entry}/proof", proof),
    ShownPage("log/verification", verification),
    *_FORM.pages,
]
