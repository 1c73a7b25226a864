"""Dry runs: a decision on a call without a request and without an upstream (audit-log.md)."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import orjson
from pydantic import Field

from gateway.control import dry_runs, shapes
from gateway.control.callers import check_access
from gateway.control.dry_runs import Question, Record
from gateway.control.operation import Answer, Ask, Body, Operation
from gateway.dataplane.forecast import Forecast
from gateway.errors import GatewayError

_MOST_BYTES: Final = 8 * 1024 * 1024
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_ANSWER = {
    "type": "object",
    "properties": {
        "allow": {"type": "boolean"},
        "reason": {"type": "string", "description": "`allowed` or the reason code of the refusal."},
        "reasons": _TEXTS,
        "detail": {"type": ["string", "null"], "description": "As the log has it."},
        "model": {"type": ["string", "null"], "description": "As the client named it."},
        "obligations": {"type": "object"},
        "edits": _TEXTS | {"description": "What the gateway would change."},
        "limits": {"anyOf": [shapes.record(Forecast), {"type": "null"}]},
        "content": _TEXTS | {"description": "The paths of content that policies read."},
        "bundles": {"type": "array", "items": {"type": "object"}, "description": "The verdict of each bundle."},
        "input": {"type": "object", "description": "What the policies judged, at the end."},
        "recorded": {"type": ["string", "null"], "description": "The id of the decision in the log."},
        "notes": _TEXTS | {"description": "What was assumed, for people."},
    },
    "required": ["allow", "reason", "reasons", "detail", "notes"],
    "additionalProperties": False,
}


class DryRunBody(Body):
    """A call: an input document or parts of one or, with a `route`, what a client would send there."""

    agent: str = Field(description="Its name or id.")
    call: dict[str, Any] | None = Field(None, description="An input document (schemas/input.schema.json), or parts.")
    route: str | None = Field(None, description="Such as `/v1/chat/completions`, or `GET /v1/models`.")
    body: str = Field("", description="With a route: the bytes that a client would send, in base64.")
    key: str | None = Field(None, description="One of its keys; by default the newest one that works.")
    sender: str | None = Field(None, description="The address that the call would come from.")
    explain: bool = Field(False, description="Also which rules held, and where others failed.")
    record: bool = Field(False, description="Record the decision in the log, marked as a dry run.")


@Operation(
    "POST /decide",
    noun="agents",
    heavy=True,
    changes_nothing=True,
    most_bytes=_MOST_BYTES,
    answer=_ANSWER,
    tool="try_call",
    question="What would happen if this agent made this call now?",
)
def decide(ask: Ask[DryRunBody]) -> Answer:
    """Decide on a call of an agent as it would be decided now, without a request and without an upstream."""
    given = ask.body
    ask.check_also_reads("policies", "limits", "usage")
    if given.record:
        check_access(ask.caller, "agents", write=True)
    try:
        body = base64.b64decode(given.body, validate=True)
    except ValueError as error:
        raise GatewayError("bad_input", "`body` is not base64") from error
    question = Question(
        agent=given.agent, call=given.call, route=given.route, body=body, key=given.key, sender=given.sender
    )
    context = ask.context
    found = dry_runs.answer(
        context.settings,
        context.registry,
        context.vault,
        context.bundles,
        ask.tenant,
        question,
        explain=given.explain,
        record=Record(ask.actor, context.writer) if given.record else None,
    )
    # The input is a document of its own: no member of it is renamed.
    return Answer(body=orjson.Fragment(json.dumps(found).encode()))
