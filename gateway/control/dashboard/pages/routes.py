"""Routes: several upstreams under one name, as a list of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.control.dashboard.changes import Form, Input, Known, pages_of

_LINES: Final = "One upstream a line: its name, tier and weight, then MODEL=NAME for what it calls otherwise."


def _members(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        name, *rest = line.split() or [""]
        if not name:
            continue
        member: dict[str, Any] = {"upstream": name}
        numbers = [each for each in rest if "=" not in each]
        for key, each in zip(("tier", "weight"), numbers, strict=False):
            member[key] = int(each) if each.isdecimal() and len(each) < 10 else each
        member["models"] = dict(each.split("=", 1) for each in rest if "=" in each)
        found.append(member)
    return found


def _lines(members: Any) -> str:
    return "\n".join(
        " ".join(
            [each["upstream"], str(each["tier"]), str(each["weight"]), *(f"{a}={b}" for a, b in each["models"].items())]
        )
        for each in members
    )


def _set(known: Known) -> list[str]:
    """The tiers as the command takes them; a route whose upstreams were all removed has none."""
    tiers: dict[int, list[str]] = {}
    members = known["members"] if known["members"] != "none" else []
    for each in members:
        tiers.setdefault(each["tier"], []).append(f"{each['upstream']}:{each['weight']}")
    models = [f"--model={each['upstream']}:{a}={b}" for each in members for a, b in each["models"].items()]
    upstreams = [",".join(tiers[each]) for each in sorted(tiers)] or ["UPSTREAM:3"]
    return ["routes", "set", known["name"], *upstreams, *models]


_ASKS: Final[Sequence[str | Input]] = [
    Input(name="members", title="Upstreams", hint=_LINES, type="lines", read=_members, show=_lines),
    "default",
    "reason",
]
_ONE: Final[dict[str, Any]] = {"section": "upstreams", "back": "upstreams", "reads": "routes/{route}"}

_FORMS: Final = [
    Form(
        "routes/new",
        "POST /routes",
        title="Make a route",
        verb="Make",
        section="upstreams",
        back="upstreams",
        says=["Calls to it go to its upstreams by weight. A later tier is tried when all before it failed."],
        asks=[Input(name="name", hint="It stands in the base URL as an upstream's does."), *_ASKS],
        command=["routes", "set", "NAME", "UPSTREAM:3"],
    ),
    Form(
        "routes/{route}/change",
        "PUT /routes/{route}",
        title="Change route {name}",
        verb="Change",
        says=["Calls go to these upstreams from the next one on."],
        asks=_ASKS,
        command=_set,
        **_ONE,
    ),
    Form(
        "routes/{route}/remove",
        "DELETE /routes/{route}",
        title="Remove route {name}",
        verb="Remove",
        says=["Calls to it are refused from the next one on. Its upstreams stay."],
        asks=["reason"],
        command=["routes", "remove", "{name}"],
        danger=True,
        **_ONE,
    ),
]

PAGES = pages_of(_FORMS)
