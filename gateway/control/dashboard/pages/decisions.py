"""Decisions: past ones by filters, new ones as they come, and one with all that is known of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.control.api.retrials import IN_FORCE
from gateway.control.dashboard import tables
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, Redirect, Shown, ShownPage
from gateway.control.dashboard.sources import explained
from gateway.control.dashboard.tables import Column, Table, command_line, options
from gateway.control.problems import Problem

_FILTERS: Final = ("agent", "allow", "reason", "model", "since", "until")
VERDICTS: Final = ("", "true", "false")

_ID: Final = re.compile(r"\b([a-z]{2,8})_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_SECTIONS: Final = {"agt": "agents", "apr": "approvals"}
"""Prefix of ids → the section that has a page for each such thing. All other ids are looked up in the log."""


def verdict(each: Mapping[str, Any]) -> str:
    entry = each["entry"]
    word = "allowed" if entry.get("allow") else "denied"
    return f"dry run: {word}" if entry.get("dry_run") else word


def reasons(entry: Mapping[str, Any]) -> list[str]:
    """The reasons of policies; those of a leaf that was changed as they are."""
    text = entry.get("reasons_json") or "[]"
    try:
        found = json.loads(str(text))
    except ValueError:
        return [str(text)]
    return [str(each) for each in found] if isinstance(found, list) else [str(text)]


def _reason(each: Mapping[str, Any]) -> Any:
    reason = each["entry"].get("reason")
    return None if reason == "allowed" else reason


async def entries(view: View, **fixed: str) -> Table:
    """A page of the log's decisions, newest first."""
    wanted = {**{name: view.query.get(name) for name in _FILTERS}, "kind": "decided", **fixed}
    reply = await view.get("audit", "entries", **wanted, before=view.query.get("before"), limit=tables.size(view))
    columns = [
        Column("Time", "time", "time", lambda each: view.link("decisions", each["id"])),
        Column("Agent", lambda each: each["agent_name"] or each["entry"].get("agent"), "text", _agent(view)),
        Column("Verdict", verdict, "badge"),
        Column("Reason", _reason, "code"),
        Column("Model", lambda each: each["entry"].get("model"), "code"),
        Column("Said", lambda each: "; ".join(reasons(each["entry"])), narrow=False),
        Column("Decision", "id", "id", narrow=False),
    ]
    said = {"true": "allow", "false": "deny"}.get(wanted["allow"] or "")
    words = options(
        agent=wanted["agent"],
        kind="decided",
        decision=said,
        reason=wanted["reason"],
        model=wanted["model"],
        since=wanted["since"],
        until=wanted["until"],
    )
    return Table.of(
        view,
        {**reply, "items": reply["items"][::-1]},
        columns,
        name="decisions",
        command=["audit", "list", *words],
        empty="No decision is like this. Each request of an agent makes one: send one, or ask for more.",
        onward="older",
        parameter="before",
    )


def _agent(view: View) -> Any:
    def link(each: Mapping[str, Any]) -> str | None:
        agent = each["entry"].get("agent")
        return view.link("agents", str(agent)) if agent else None

    return link


def _in_hand(view: View, text: str) -> Redirect:
    """The page of what a person has in hand: an id, an agent's name, or the whole message of a refused call."""
    ids = {found[0]: found[1] for found in _ID.finditer(text)}
    if not ids:
        return Redirect(view.link("agents", search=text))
    # A message about a call that waits for a person names its decision, too.
    chosen = next((each for each in ids if ids[each] in _SECTIONS), next(iter(ids)))
    return Redirect(view.link(_SECTIONS.get(ids[chosen], "decisions"), chosen))


async def listed(view: View) -> Found:
    if text := view.query.get("find", "").strip():
        return _in_hand(view, text)
    table = await entries(view)
    if view.query.get("format") == "csv":
        return table.download()
    return Shown("decisions.html", "Decisions", {"table": table, "verdicts": VERDICTS})


async def live(view: View) -> Found:
    """The newest decisions, and those that come while the page is open."""
    table = await entries(view)
    followed = {name: view.query.get(name) for name in ("allow", "reason", "model")}
    stream = view.link("events", kind="decided", **followed)
    return Shown("live.html", "Live decisions", {"table": table, "stream": stream})


async def one(view: View) -> Found:
    identifier = view.path["decision"]
    found = await view.get("audit", "entries", identifier, explain=True, sources=True)
    decision = found["decision"]
    entry = (found["entry"] if decision is None else decision["decided"])["entry"]
    values = {
        "bundles": [] if decision is None else explained(decision["bundles"]),
        "commits": await _commits(view) if decision and decision["bundles"] else [],
        "found": found,
        "decision": decision,
        "entry": entry,
        "completed": decision and decision["completed"],
        "reasons": reasons(entry),
        "proof": await _proof(view, identifier),
        "explain": command_line(view, "explain", identifier, of_organization=False),
        "prove": command_line(view, "audit", "prove", identifier, of_organization=False),
        "raw": entry,
        "tool": _tool(decision),
    }
    return Shown("decision.html", "Decision", values)


def _tool(decision: dict[str, Any] | None) -> str:
    """The tool of an MCP server that the call names, as its input has it; empty if it names none."""
    kept = (decision and decision["input"]) or {}
    return str(kept.get("resource", {}).get("tool", {}).get("name", ""))


async def _commits(view: View) -> list[tuple[str, str]]:
    """The revisions that a person can choose, with a word on each; all but the first are the whole gateway's."""
    found = [(IN_FORCE, "what is in force now")]
    if view.caller.organization is not None or not view.may("policies"):
        return found
    state = await view.get_all("policies", limit=20)
    known = {each["commit"]: f"{each['outcome']}, {each['author']}" for each in reversed(state["attempts"])}
    return found + [(commit, word) for commit, word in reversed(known.items())]


async def again(view: View) -> Found:
    """The decision as another revision of its bundles would have made it."""
    identifier, commit = view.path["decision"], view.query.get("commit", IN_FORCE).strip() or IN_FORCE
    bundle = view.query.get("bundle", "").strip() or None
    found = await view.get("audit", "entries", identifier, "verdict", commit=commit, bundle=bundle, explain=True)
    words = ["explain", found["id"], *options(commit=commit, bundle=bundle)]
    values = {
        "found": found,
        "bundles": explained(found["bundles"]),
        "commits": await _commits(view),
        "bundle": bundle or "",
        "command": command_line(view, *words, of_organization=False),
    }
    return Shown("decision_again.html", "Another revision", values)


async def _proof(view: View, identifier: str) -> Any:
    """The proof of inclusion; why there is none, if the log is not signed so far yet."""
    try:
        return await view.get("audit", "proof", entry=identifier)
    except Problem as problem:
        return {"problem": problem.detail}


PAGES = [
    ShownPage("decisions", listed),
    ShownPage("decisions/live", live),
    ShownPage("decisions/{decision}", one),
    ShownPage("decisions/{decision}/again", again),
]
