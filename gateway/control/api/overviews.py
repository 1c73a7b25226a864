"""An agent with all that belongs to it, now or at a time: its keys, bindings and limits, and what stands above it."""

from __future__ import annotations

import dataclasses
from typing import Final

from gateway.control import shapes
from gateway.control.api.agents import STANDING, AtQuery
from gateway.control.api.bindings import shown as shown_binding
from gateway.control.api.keys import KEY, uses_of
from gateway.control.api.keys import shown as shown_key
from gateway.control.api.limits import LIMIT
from gateway.control.api.times import nanoseconds
from gateway.control.operation import Answer, Ask, Operation
from gateway.registry import queries
from gateway.registry.documents import plain
from gateway.registry.history import as_of
from gateway.registry.records import AgentVersionRecord, BindingRecord, BundleRecord

_TEXT: Final = {"type": "string"}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_OTHER_NOUNS: Final = ("keys", "bindings", "limits")


_BOUND = shapes.closed(
    {"binding": shapes.record(BindingRecord, "agents"), "revision": shapes.or_null(shapes.record(BundleRecord))}
)
_OVERVIEW = shapes.closed(
    {
        "agent": shapes.record(AgentVersionRecord),
        "parent_name": {"type": "string", "description": "Of the agent that it works for; empty if there is none."},
        "team_owner": _TEXT,
        "standing": STANDING,
        "keys": {"type": "array", "items": KEY},
        "bindings": {"type": "array", "items": _BOUND, "description": "With the revisions that judge."},
        "limits": {"type": "array", "items": LIMIT},
        "activation": shapes.or_null(shapes.closed({"id": _TEXT, "commit": _TEXT})),
    }
)


@Operation(
    "GET /agents/{agent}/overview",
    answer=_OVERVIEW,
    question="What may this agent do, with which keys, policies and limits?",
)
def overview(ask: Ask[None, AtQuery]) -> Answer:
    """An agent with its keys, bindings and limits, now or as it was at a time."""
    ask.check_also_reads(*_OTHER_NOUNS)
    at_ns = nanoseconds(ask.query.at)
    then = as_of.agent_at(ask.registry, ask.tenant, ask.path["agent"], as_of.NOW if at_ns is None else at_ns)
    found, activation = then.agents[0], then.activation
    parent = found.agent.parent
    # When a key was used last is known of now only.
    uses = uses_of(ask, found.keys) if at_ns is None else {}
    body = {
        "agent": found.agent,
        "parent_name": "" if parent is None else queries.agent(ask.registry, ask.tenant, parent).name,
        "team_owner": found.team_owner,
        "standing": found.standing._asdict(),
        "keys": [shown_key(each, uses) for each in found.keys],
        "bindings": [
            {
                "binding": shown_binding(each.binding),
                "revision": None if each.revision is None else dataclasses.asdict(each.revision),
            }
            for each in found.bindings
        ],
        "limits": found.limits,
        "activation": None if activation is None else {"id": activation.id, "commit": activation.commit},
    }
    return Answer(body=plain(body))
