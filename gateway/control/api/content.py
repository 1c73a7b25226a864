"""Kept content, read by an owner (content.md): each reading is in the log before anything of it is answered."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import orjson
from pydantic import Field

from gateway.audit import content, lookup
from gateway.audit.log_reader import LogIndex
from gateway.audit.lookup import Decision
from gateway.control import kept_requests
from gateway.control.operation import Answer, Ask, Body, Operation
from gateway.errors import GatewayError, Hint
from gateway.registry import publication
from gateway.registry.agents.changes import read_content

_READ = {
    "type": ["object", "null"],
    "description": "Once; null in a repeated answer.",
    "properties": {
        "content": {"type": ["object", "null"], "description": "What was said, part by part; null with `explain`."},
        "again": {
            "type": ["object", "null"],
            "description": "With `explain` the verdicts of bundles; null if what they read is not kept.",
        },
    },
    "required": ["content", "again"],
    "additionalProperties": False,
}


class ContentReading(Body):
    """The purpose of the reading."""

    explain: bool = Field(False, description="To judge the decision again, and to show values of it.")


_ANSWER = {
    "type": "object",
    "properties": {"id": {"type": "string", "description": "Of the decision."}, "read": _READ},
    "required": ["id", "read"],
    "additionalProperties": False,
}


@Operation("POST /content/{event}/read", answer=_ANSWER, about="home", heavy=True, once="read")
def read(ask: Ask[ContentReading]) -> Answer:
    """Read what was said in a call, if it is kept; that it is read is recorded."""
    with ask.context.log() as db:
        decision = lookup.decision(db, lookup.event(db, ask.path["event"], ask.organization))
        found = _explained(ask, db, decision) if ask.body.explain else _parts(ask, db, decision)
    return Answer(body={"id": decision.id, "read": found})


def _parts(ask: Ask, db: LogIndex, decision: Decision) -> dict[str, Any]:
    if not content.rows(db, decision.id):
        raise _nothing(decision)
    key = kept_requests.key(lambda: ask.context.vault, _record(ask, decision), decision.decided)
    parts = kept_requests.parts(db, decision.decided, key)
    return {"content": _as_it_is({part: _value(text) for part, text in parts.items()}), "again": None}


def _explained(ask: Ask, db: LogIndex, decision: Decision) -> dict[str, Any]:
    from gateway.policy import reexecution
    from gateway.policy.judged_again import judged_again

    complete = kept_requests.completing(lambda: nullcontext(ask.registry), lambda: ask.context.vault)
    filled = complete(db, decision.decided, decision.input)
    if filled is decision.input:
        return {"content": None, "again": None}
    _record(ask, decision)
    again = judged_again(
        reexecution.judge_again(ask.context.data.bundles, decision.decided.entry, filled), explained=True
    )
    shown = {"bundles": again.bundles, "judged_again": again.verdict, "agrees": again.agrees, "problem": again.problem}
    return {"content": None, "again": _as_it_is(shown)}


def _record(ask: Ask, decision: Decision) -> bytes | None:
    """Put on record that the content of a decision is read; returns the sealed key of its agent.

    Raises `GatewayError` unless that is in the log.
    """
    registry = ask.change()
    with publication.changing(ask.registry, ask.context.data, writer=ask.context.writer):
        return read_content(
            registry,
            actor=ask.actor,
            organization=decision.decided.organization,
            agent=str(decision.decided.entry["agent"]),
            decision=decision.id,
        )


def _nothing(decision: Decision) -> GatewayError:
    entry = decision.decided.entry
    why = ""
    if "content_commitment" in entry:
        why = " any more: it has expired, or was erased"
    elif omitted := entry.get("content_omitted"):
        why = f": {omitted}"
    hint = Hint("`gateway agents update AGENT --keep-content --retention-days N` keeps that of later calls")
    return GatewayError("no_content", f"no content of `{decision.id}` is kept{why}", subject=decision.id, hint=hint)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _as_it_is(document: dict[str, Any]) -> orjson.Fragment:
    """A document of its own: no member of it is renamed, and numbers may have any size."""
    return orjson.Fragment(json.dumps(document).encode())
