"""The gateway's health, for operators who are not at its machine: what `gateway status` says (remote.md)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gateway.control import shapes
from gateway.control.operation import Answer, Ask, Operation, Query, kept
from gateway.control.problems import Problem
from gateway.registry.documents import timestamp


def _text(description: str = "") -> dict[str, Any]:
    return {"type": "string", **({"description": description} if description else {})}


def _list(description: str, **members: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "object"}
    if members:
        item = shapes.closed(members)
    return {"type": "array", "items": item, "description": description}


_MEMBERS: dict[str, dict[str, Any]] = {
    "findings": _list(
        "What needs a person, and what may be as somebody wants it.",
        level={"type": "string", "enum": ["problem", "remark"]},
        message=_text("What was found."),
        todo=_text("What to do about it, on the gateway's machine."),
    ),
    "needs_a_person": {"type": "boolean", "description": "Whether there is a problem among the findings."},
    "lines": _list("All of it for people, line by line.", name=_text(), text=_text()),
    "gateway": {
        "type": "object",
        "description": "The processes and their addresses; for operators of one organization only that it runs.",
    },
    "workers": {"type": "object", "description": "Those that should run, and those that do."},
    "activation": {"type": ["object", "null"], "description": "What is in force."},
    "policies": {"type": "object", "description": "Where policies come from."},
    "refused": {"type": ["object", "null"], "description": "The last commit that was refused."},
    "agents": {"type": "object", "description": "How many there are, by state."},
    "stops": _list("Emergency stops in force."),
    "outages": _list("Those of whom every request is refused."),
    "suspended": {"type": "object", "description": "Organizations and teams that are suspended."},
    "log": {"type": "object", "description": "The audit log: its size, and how much of it is signed."},
    "upstreams": _list("How each answered last."),
    "adoptions": _list("Old keys of providers that still pass."),
    "webhooks": _list("How deliveries go."),
    "tools": _list("How many tools of each MCP server are approved, and how many wait for that."),
    "made": shapes.TIME | {"description": "When a kept answer was made."},
}


class StatusQuery(Query):
    """How new the answer must be."""

    kept: bool = Field(
        False, description="Where it takes long to tell, the last answer will do while a newer one is made."
    )


@Operation(
    "GET /status",
    about="nothing",
    heavy=True,
    answer={
        "type": "object",
        "properties": _MEMBERS,
        "required": ["findings", "needs_a_person", "lines", "gateway"],
    },
)
def show(ask: Ask[None, StatusQuery]) -> Answer:
    """Say whether the gateway works, and what needs a person, as `gateway status` does.

    All of it for operators of the whole gateway; for those of one organization the part that is theirs.
    """
    health, organization, registry = ask.context.health, ask.caller.organization, ask.context.registry
    if health is None:
        raise Problem(503, "overloaded", "this process does not know the gateway's state", hint="try again")
    if not ask.query.kept:
        return Answer(body=health(organization, ask.registry))
    found = kept(ask, lambda: health(organization, registry), "status", organization)
    return Answer(body={**found.answer, "made": timestamp(found.made_ns)})
