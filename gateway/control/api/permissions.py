"""Which agents could make a call, now or at a time, by asking the policies that were in force (agents.md)."""

from __future__ import annotations

import dataclasses
import time
from typing import Final

from pydantic import AwareDatetime, Field

from gateway.call import Call
from gateway.control import permissions, shapes
from gateway.control.api.times import nanoseconds
from gateway.control.operation import Answer, Ask, Operation, PageQuery, Query, paged, position
from gateway.control.permission_calls import AskedCall, calls_of, told
from gateway.control.permissions import Permission
from gateway.registry.documents import timestamp
from gateway.registry.history import as_of
from gateway.registry.history.as_of import RegistryAt

NOT_CONSIDERED: Final = ("limits", "usage", "networks", "tokens of issuers", "persons")
"""What the answer does not know."""

_MOST: Final = 100
"""Agents whose policies one request asks."""
_SECONDS: Final = 5.0
"""After which a page ends with the agent that it has come to."""

_TEXT = {"type": "string"}
_PERMISSION = shapes.record(Permission, "call")


_ANSWER = shapes.closed(
    shapes.page(_PERMISSION)["properties"]
    | {
        "at": shapes.TIME,
        "activation": {"anyOf": [shapes.closed({"id": _TEXT, "commit": _TEXT}), {"type": "null"}]},
        "call": shapes.record(AskedCall),
        "not_considered": {"type": "array", "items": _TEXT, "description": "What the answer does not know."},
    }
)


class CallQuery(Query):
    """The call that is meant, and when."""

    model: str = Field(description="As clients write it.", min_length=1, max_length=256)
    action: str | None = Field(None, description="Such as embeddings; by default a chat.")
    tool: str | None = Field(None, description="A call with this function, or `TYPE:NAME`.", min_length=1)
    upstream: str | None = Field(None, description="Where it goes; by default the default upstream.")
    at: AwareDatetime | None = Field(None, description="As of this time, such as 2026-11-25T14:00:00Z.")


class CallPageQuery(CallQuery, PageQuery):
    """The same, for many agents."""

    limit: int = Field(_MOST, ge=1, le=_MOST, description="The most agents that are asked about at once.")
    allowed: bool | None = Field(None, description="Only agents that could make it, or could not.")


@Operation(
    "GET /permissions",
    noun="agents",
    heavy=True,
    answer=_ANSWER,
    tool="who_may_call",
    question="Which agents may call gpt-5, which may not, and which policy says so?",
)
def listed(ask: Ask[None, CallPageQuery]) -> Answer:
    """List the agents that could make a call, and what makes it so, by asking the policies.

    A page may be empty and have a `next`: it is one of agents, of which ended and unwanted ones are left out.

    It also ends where its time is over.
    """
    given = ask.query
    call, when, time_ns = _asked(ask)
    place = ("permissions", str(given.at or ""))
    after = position(ask, *place)
    then, last = as_of.page_at(ask.registry, ask.tenant, when, after=after, limit=given.limit)
    found: list[Permission] = []
    ends = time.monotonic() + _SECONDS
    for agent, answers in permissions.by_agent(ask.context.bundles, then, [call], time_ns):
        found += [each for each in answers if given.allowed in (None, each.allowed)]
        if time.monotonic() > ends and agent != then.agents[-1].agent.id:
            last = agent
            break
    return _answer(call, then, time_ns, found, paged(ask, found, last, *place).body["next"])


@Operation(
    "GET /agents/{agent}/permissions",
    heavy=True,
    answer=_ANSWER,
    tool="may_agent_call",
    question="May this agent call gpt-5, and if not, why?",
)
def of_agent(ask: Ask[None, CallQuery]) -> Answer:
    """Say whether an agent could make a call, and what makes it so, by asking the policies."""
    call, when, time_ns = _asked(ask)
    then = as_of.agent_at(ask.registry, ask.tenant, ask.path["agent"], when)
    found = permissions.permissions(ask.context.bundles, then, [call], time_ns)
    return _answer(call, then, time_ns, found, None)


def _asked(ask: Ask[None, CallQuery]) -> tuple[Call, int, int]:
    """The call, the time as the registry takes it, and the time of the policies' clock."""
    given = ask.query
    actions, tools = (None if each is None else [each] for each in (given.action, given.tool))
    (call,) = calls_of(ask.registry, ask.tenant, [given.model], actions, tools, given.upstream)
    at_ns = nanoseconds(given.at)
    return (call, as_of.NOW, time.time_ns()) if at_ns is None else (call, at_ns, at_ns)


def _answer(call: Call, then: RegistryAt, time_ns: int, found: list[Permission], following: str | None) -> Answer:
    items = [dataclasses.asdict(each) for each in found]
    for each in items:
        del each["call"]
    activation = then.activation
    body = {
        "items": items,
        "next": following,
        "at": timestamp(time_ns),
        "activation": None if activation is None else {"id": activation.id, "commit": activation.commit},
        "call": told(call),
        "not_considered": list(NOT_CONSIDERED),
    }
    return Answer(body=body)
