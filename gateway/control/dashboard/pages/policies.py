"""Policies: what is in force, which commits came or were refused, and whom each bundle judges."""

from __future__ import annotations

from gateway.control.dashboard import listing, tables
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, ShownPage
from gateway.control.dashboard.tables import Column, Table


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
            Column("Commit", lambda each: each["commit"][:12], "code"),
            Column("Author", "author"),
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
            Column("Commit", lambda each: each["commit"][:12], "code"),
            Column("Outcome", "outcome", "badge"),
            Column("Author", "author", narrow=False),
            Column("Found", "detail", "pre"),
        ],
        name="commits",
        command=["policies", "history"],
        of_organization=False,
        alone=False,
        empty="No commit was looked at yet.",
    )
    shown = [("Who is judged by what", bound), ("In force", bundles), ("Commits", attempts)]
    return listing.page(view, "Policies", "policies", shown, notes=notes)


PAGES = [
    ShownPage("policies", show),
]
