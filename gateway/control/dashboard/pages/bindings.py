"""Bindings: letting a bundle judge an agent, a team or the organization, and ending that."""

from __future__ import annotations

from typing import Any, Final

from gateway.control.dashboard.changes import Form, Input, Known, pages_of
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, Redirect


async def _back(view: View, _known: Known, made: Any) -> Found:
    agent = made["subject_kind"] == "agent"
    return Redirect(view.link("agents", made["subject"]) if agent else view.link("policies"))


def _unbind(known: Known) -> list[str]:
    kind = {"team": "team:", "organization": "org:"}.get(known["subject_kind"], "")
    return ["unbind", kind + known["subject"], known["bundle"], *(["--shadow"] if known["shadow"] is True else [])]


_FORMS: Final = [
    Form(
        "bindings/new",
        "POST /bindings",
        title="Bind a bundle",
        verb="Bind",
        section="policies",
        back="policies",
        says=["The bundle judges from the next request on. A binding of the same two is replaced."],
        asks=[
            Input(name="subject_kind", title="For"),
            Input(name="subject", title="Name", hint="Of the agent, team or organization."),
            Input(name="bundle", hint="As the policies in force name it."),
            Input(name="effect", hint="grant: may allow, and all grants must; guard: can only deny and limit."),
            Input(name="pinned", title="Stay at the commit", hint="Empty: it follows what is in force."),
            "shadow",
            Input(name="without_members", title="Also if no agent is in it yet", hint=""),
            Input(name="other_effect", title="Also if a grant becomes a guard by it, or a guard a grant", hint=""),
            "reason",
        ],
        command=["bind", "AGENT", "BUNDLE"],
        after=_back,
    ),
    Form(
        "bindings/{binding}/end",
        "DELETE /bindings/{binding}",
        title="End the binding of {bundle}",
        verb="End it",
        section="policies",
        back="policies",
        reads="bindings/{binding}",
        says=[
            "From the next request on, {bundle} no longer judges {subject_kind} {subject}.",
            "Agents without a grant are denied everything; without a guard, what it forbade is no longer forbidden.",
        ],
        command=_unbind,
        after=_back,
        danger=True,
    ),
]

PAGES = pages_of(_FORMS)
