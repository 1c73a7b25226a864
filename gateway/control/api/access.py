"""The access of an agent: what it may do beside what it has done, and the narrower policy (access.md)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import AwareDatetime, Field

from gateway.audit import search
from gateway.audit.search import DecidedRow
from gateway.call import Call
from gateway.control import permissions, shapes
from gateway.control.api.times import nanoseconds
from gateway.control.operation import Answer, Ask, Operation, Query
from gateway.control.permission_calls import calls_of
from gateway.errors import GatewayError
from gateway.policy.access import CallKind, Observed, Trial, guard
from gateway.registry.documents import timestamp
from gateway.registry.history import as_of

_PAGE: Final = 500
_MOST_ASKED: Final = 300
_TEXT = {"type": "string"}
_COUNT = {"type": "integer"}
_KIND = dict.fromkeys(("action", "upstream", "model", "tool"), _TEXT)
_GRANTED = {
    "type": ["boolean", "null"],
    "description": "Whether the policies of now would allow it; null if that was not asked.",
}
_ANSWER = shapes.closed(
    {
        "agent": _TEXT,
        "name": _TEXT,
        "organization": _TEXT,
        "since": shapes.or_null(shapes.TIME),
        "used": {
            "type": "array",
            "items": shapes.closed(
                {
                    **_KIND,
                    "allowed": _COUNT,
                    "refused": _COUNT,
                    "granted": _GRANTED,
                    "last": shapes.or_null(shapes.closed({"id": _TEXT, "index": _COUNT, "time": shapes.TIME})),
                }
            ),
        },
        "unused": {
            "type": "array",
            "items": shapes.closed(_KIND),
            "description": "Kinds of calls that others made and this agent did not, though policies would allow it.",
        },
        "unkept": _COUNT | {"description": "Its calls whose input is not kept, so that they are not looked at."},
        "not_asked": _COUNT | {"description": "Kinds of calls of others about which no policy was asked."},
        "suggestion": shapes.or_null(
            shapes.closed(
                {
                    "bundle": _TEXT,
                    "files": {"type": "object", "additionalProperties": _TEXT},
                    "tried": _COUNT | {"description": "Its allowed calls, all of which were judged by it."},
                    "denied": _COUNT | {"description": "Those among them that it would deny."},
                    "others": _COUNT | {"description": "Kinds of calls that only others made."},
                    "others_allowed": _COUNT | {"description": "Those among them that it would let pass."},
                }
            )
        )
        | {"description": "A guard that denies all that was not used; null if nothing was."},
    }
)


class AccessQuery(Query):
    """Which time."""

    since: AwareDatetime | None = Field(None, description="Only calls from this time on.")


@Operation(
    "GET /agents/{agent}/access",
    answer=_ANSWER,
    heavy=True,
    tool="review_access",
    question="What may this agent do that it never does, and which narrower policy would be enough?",
)
def access(ask: Ask[None, AccessQuery]) -> Answer:
    """Compare what an agent may do with what it has done, and suggest a guard that allows just that.

    The guard is tried on the recorded calls: those that were allowed, and each kind of call that only others made.
    """
    ask.check_also_reads("audit", "policies")
    then = as_of.agent_at(ask.registry, ask.tenant, ask.path["agent"], as_of.NOW)
    agent = then.agents[0].agent
    since_ns = nanoseconds(ask.query.since)
    seen = Observed(agent.id)
    for rows in _pages(ask, since_ns):
        seen.add(rows)
    used = seen.used
    granted, not_asked = _granted(ask, then, sorted({*seen.kinds, *seen.others}))
    suggestion = None
    if used:
        name, files = guard(agent.id, agent.name, used)
        trial = Trial(name, files)
        for rows in _pages(ask, since_ns):
            trial.add(agent.id, rows)
        others = [document for kind, document in seen.others.items() if kind not in set(used)]
        suggestion = {
            "bundle": name,
            "files": {path: content.decode() for path, content in files.items()},
            "tried": trial.kept,
            "denied": trial.wrong,
            "others": len(others),
            "others_allowed": sum(not trial.denies(each) for each in others),
        }
    body = {
        "agent": agent.id,
        "name": agent.name,
        "organization": ask.tenant,
        "since": None if since_ns is None else timestamp(since_ns),
        "used": [
            {
                **kind._asdict(),
                "allowed": each.allowed,
                "refused": each.refused,
                "granted": granted.get(kind),
                "last": {"id": each.last_id, "index": each.last_index, "time": timestamp(each.last_ns)}
                if each.allowed
                else None,
            }
            for kind, each in sorted(seen.kinds.items())
        ],
        "unused": [kind._asdict() for kind in sorted(seen.others) if granted.get(kind) and kind not in seen.kinds],
        "unkept": seen.unkept,
        "not_asked": not_asked,
        "suggestion": suggestion,
    }
    return Answer(body=body)


def _pages(ask: Ask, since_ns: int | None) -> Iterator[list[DecidedRow]]:
    with ask.context.log() as log:
        position, end = 0, search.last_position(log)
        while rows := search.decided_rows(log, position, end, _PAGE, organization=ask.tenant, since_ns=since_ns):
            yield rows
            position = rows[-1].position


def _granted(ask: Ask, then: as_of.RegistryAt, kinds: Sequence[CallKind]) -> tuple[dict[CallKind, bool], int]:
    """Whether the policies of now would allow a call of each kind, and how many kinds were not asked about."""
    calls: dict[CallKind, Call] = {}
    for kind in kinds:
        if kind.model and not kind.tool and len(calls) < _MOST_ASKED:
            try:
                (calls[kind],) = calls_of(ask.registry, ask.tenant, [kind.model], [kind.action], None, kind.upstream)
            except GatewayError:  # the upstream is gone, or has another provider now
                continue
    found = permissions.permissions(ask.context.bundles, then, list(calls.values()), time.time_ns())
    names = list(calls)
    return {names[each.call]: each.allowed for each in found}, len(kinds) - len(calls)
