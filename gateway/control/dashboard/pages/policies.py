"""Policies: what is in force, which commits came or were refused, and whom each bundle judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table
from gateway.control.problems import Problem


async def show(view: View) -> Found:
    bindings = await view.get("bindings", cursor=view.query.get("cursor"), limit=tables.size(view))
    bound = Table.of(
        view,
        bindings,
        [
            Column("Bundle", "bundle"),
            Column("Effect", lambda each: "shadow" if each["shadow"] else each["effect"], "badge"),
            Column(
                "Judges",
                lambda each: f"{each['subject_kind']} {each['subject']}",
                href=lambda each: view.link("agents", each["subject"]) if each["subject_kind"] == "agent" else None,
            ),
            Column("Pinned to", "pinned", "code", narrow=False),
            Column("Since", "created", "time", narrow=False),
            Column("Reason", "reason", narrow=False),
        ],
        name="bindings",
        command=["bindings", "list"],
        empty="No bundle judges anybody here, so every request is denied: gateway bind AGENT BUNDLE.",
    )
    if view.caller.organization is not None:
        note = ("plain", "One commit is in force for all organizations; operators of the whole gateway see it.")
        return listing.page(view, "Policies", "policies", [("Who is judged by what", bound)], notes=[note])
    state = await view.get_all("policies", limit=20)
    repository, known = await _repository(view)
    active, refused = state["in_force"], state["refused"]
    notes = [] if active else [("bad", "No policies are in force, so everything is denied.")]
    if refused:
        notes.append(
            ("bad", f"Commit {refused['commit'][:12]} was refused: {refused['outcome']}. What was in force stays.")
        )
    bundles = Table.of(
        view,
        active["bundles"] if active else [],
        [
            Column("Bundle", "name"),
            Column("Commit", lambda each: each["commit"][:12], "code", _commit(view)),
            Column("Bound", lambda each: _bound(bindings, each["name"])),
            Column("Author", "author", narrow=False),
            Column("Entrypoint", "entrypoint", "code", narrow=False),
            Column("Digest", "digest", "id", narrow=False),
        ],
        name="bundles",
        command=["policies", "status"],
        of_organization=False,
        alone=False,
        empty="Nothing is in force. Commit a bundle to the repository that the gateway follows.",
    )
    attempts = Table.of(
        view,
        state["attempts"],
        [
            Column("Time", "time", "time"),
            Column("Commit", lambda each: each["commit"][:12], "code", _commit(view)),
            Column("Outcome", "outcome", "badge"),
            Column("Author", "author", narrow=False),
            Column("Found", lambda each: each["detail"] or None, "pre"),
        ],
        name="attempts",
        command=["policies", "history"],
        of_organization=False,
        alone=False,
        empty="No commit was looked at yet.",
    )
    shown = [
        ("Who is judged by what", bound),
        ("In force", bundles),
        ("What came into force and what was refused", attempts),
        *repository,
    ]
    if refused and refused["commit"] in known:
        actions = [(view.link("policies", "commits", refused["commit"], "check"), "Why was the commit refused?")]
    else:
        actions = []
    if known:
        actions.append((view.link("policies", "commits", known[0]), "Look at the files"))
    return listing.page(view, "Policies", "policies", shown, notes=notes, actions=actions)


async def _repository(view: View) -> tuple[list[tuple[str, Table]], list[str]]:
    """The newest commits and the proposals, and the ids of these commits; nothing if there is no repository yet."""
    try:
        found = await view.get_all("policies", "commits", limit=20)
    except Problem as problem:
        if problem.status == 403:
            raise
        view.warnings.append(f"the policies repository cannot be read: {problem.detail}")
        return [], []
    newest = Table.of(
        view,
        found["items"],
        [
            Column("Written", "time", "time", narrow=False),
            Column("Commit", lambda each: each["commit"][:12], "code", _commit(view)),
            Column(
                "Fate", lambda each: "in force" if each["in_force"] else each["outcome"] or "not looked at", "badge"
            ),
            Column("Subject", "subject"),
            Column("Author", "author", narrow=False),
        ],
        name="commits",
        command=["policies", "commits"],
        of_organization=False,
        alone=False,
        empty="The branch has no commit.",
    )
    proposals = Table.of(
        view,
        [{**each["newest"], "branch": each["branch"]} for each in found["proposals"]],
        [
            Column("Branch", "branch", "code", lambda each: view.link("policies", "commits", each["branch"])),
            Column("Written", "time", "time", narrow=False),
            Column("Subject", "subject"),
            Column("Author", "author", narrow=False),
        ],
        name="proposals",
        command=["policies", "commits"],
        of_organization=False,
        alone=False,
        empty="Nobody proposes a change. Open a file of a commit to propose one, or type gateway policies propose.",
    )
    return [("Newest commits", newest), ("Proposals", proposals)], [each["commit"] for each in found["items"]]


def _commit(view: View) -> Callable[[Mapping[str, Any]], str]:
    return lambda each: view.link("policies", "commits", each["commit"])


def _bound(bindings: Mapping[str, Any], bundle: str) -> str:
    """How many of this organization's bindings name a bundle, as far as this page lists them."""
    count = sum(1 for each in bindings["items"] if each["bundle"] == bundle)
    return f"{count}{'+' if bindings['next'] else ''}"


PAGES = [
    ShownPage("policies", show),
]
