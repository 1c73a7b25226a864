"""Usage: how much was used and what it cost, by whom, of what and when (usage.md)."""

from __future__ import annotations

import heapq
import time
from typing import Any, Final, Literal

from pydantic import Field

from gateway.audit import search
from gateway.control import shapes, usage_reports
from gateway.control.operation import Answer, Ask, Operation, Query, kept
from gateway.control.usage_reports import UsageAsked, UsageLine
from gateway.errors import ConflictError
from gateway.registry import pages, queries
from gateway.registry.documents import timestamp
from gateway.runtime import key_uses
from gateway.usage import rollup
from gateway.usage.totals import UsageCounts
from gateway.usage.traffic import DAY, HOUR, NOTHING, Traffic

MOST_ROWS: Final = 10_000
"""Of one answer."""

_TEXT: Final = {"type": "string"}
_FILTERS: Final = ("agent", "team", "upstream", "provider", "model", "response_model")


_ROW = shapes.closed(
    {
        "key": {"type": "array", "items": _TEXT, "description": "A value for each member of `by`; agents by name."},
        "agent_id": {"type": ["string", "null"]},
        "window": {"type": "string", "description": "Of `at`: minute, hour, day or month; otherwise empty."},
        "from": shapes.TIME,
        "counts": shapes.closed({name: {"type": "integer"} for name in UsageCounts._fields}),
    }
)
_USAGE = shapes.closed(
    {
        "by": {"type": "array", "items": _TEXT},
        "items": {"type": "array", "items": _ROW},
        "from": shapes.TIME,
        "to": shapes.TIME,
        "zones": {
            "type": "integer",
            "description": "How many time zones the organizations have; if not 1, days and months are those of UTC.",
        },
    }
)


_USAGE["properties"] |= {
    "rows": {"type": "integer", "description": "With `top`: how many there are in all."},
    "made": shapes.TIME | {"description": "When kept sums were made."},
}


class UsageQuery(Query):
    """What to add up."""

    by: str = Field(
        "agent,model",
        description="What to add up by, with commas: agent, team, organization, model, response_model, upstream, "
        "provider, and minute, hour, day, month; empty for one sum.",
    )
    since: str | None = Field(None, description="From this time on; by default from this month on.")
    until: str | None = Field(None, description="Before this time.")
    at: str | None = Field(None, description="The minute, hour, day and month of this time, up to it.")
    zone: str | None = Field(None, description="Of days and months; by default that of the organization.")
    agent: str | None = Field(None, description="Only of this agent: its name or id.")
    team: str | None = Field(None, description="Only of this team.")
    upstream: str | None = Field(None, description="Only of calls to this upstream.")
    provider: str | None = Field(None, description="Only of calls to upstreams of this provider.")
    model: str | None = Field(None, description="Only of calls of this model.")
    response_model: str | None = Field(None, description="Only of answers of this model.")
    top: int | None = Field(None, ge=1, le=MOST_ROWS, description="Only so many rows, those that cost most first.")
    kept: bool = Field(False, description="Where it takes long, the last sums will do while newer ones are made.")


_TRAFFIC = shapes.closed(
    {
        "items": {
            "type": "array",
            "items": shapes.closed(
                {
                    "from": shapes.TIME,
                    "fate": {"type": "string", "enum": ["ended", "denied", "refused"]},
                    "code": {"type": "string", "description": "The outcome of a call, or the reason of a refusal."},
                    **{name: {"type": "integer"} for name in ("requests", "input", "output", "cost_nanousd")},
                }
            ),
        },
        "behind": {"type": "integer", "description": "Entries of the log that are not in the sums yet."},
    }
)


class TrafficQuery(Query):
    """The time that is meant, and its steps."""

    span: Literal["hour", "day"] = "hour"
    count: int = Field(24, ge=1, le=400, description="How many hours or days, up to the one under way.")
    agent: str | None = Field(None, description="Only of this agent: its name or id.")


@Operation("GET /usage/traffic", answer=_TRAFFIC)
def traffic(ask: Ask[None, TrafficQuery]) -> Answer:
    """Show how requests ended, by hour or day of UTC, from sums that are kept."""
    given = ask.query
    span = HOUR if given.span == "hour" else DAY
    until = (int(time.time()) // span + 1) * span
    agent = "" if given.agent is None else queries.agent(ask.registry, ask.tenant, given.agent).id
    found: list[Traffic] = []
    with ask.context.log() as log, rollup.as_kept(ask.context.data.cache) as sums:
        reached, newest = (0, search.last_position(log)) if sums is None else sums.reached(log)
        if sums is not None:
            found = sums.traffic(span, until - given.count * span, until, organization=ask.tenant, agent=agent)
    items = [{"from": timestamp(start * 10**9), **rest} for start, rest in ((e.start, e._asdict()) for e in found)]
    for each in items:
        del each["start"]
    return Answer(body={"items": items, "behind": max(0, newest - reached)})


_ACTIVITY = shapes.closed(
    {
        "items": {
            "type": "array",
            "items": shapes.closed(
                {
                    "agent": {"type": "string", "description": "Its id."},
                    "last_used": {"anyOf": [shapes.TIME, {"type": "null"}], "description": "Of its keys, to the hour."},
                    **{name: {"type": "integer"} for name in ("requests", "refused", "cost_nanousd")},
                }
            ),
        },
    }
)


class ActivityQuery(Query):
    """The agents that are meant, and how far back."""

    agents: str = Field(description="Ids of agents, with commas; at most 500.", min_length=1, max_length=500 * 41)
    days: int = Field(30, ge=1, le=400, description="Days of UTC, up to today.")


@Operation("GET /usage/activity", answer=_ACTIVITY)
def activity(ask: Ask[None, ActivityQuery]) -> Answer:
    """Show when agents were seen last, and what they have done lately; ids of no agent here are left out."""
    ask.check_also_reads("keys")
    wanted = sorted(set(ask.query.agents.split(",")))[:500]
    keys = pages.keys_of(ask.registry, ask.tenant, wanted)
    uses = key_uses.of(ask.context.data.runtime_db, [key for each in keys.values() for key in each])
    until = (int(time.time()) // DAY + 1) * DAY
    with rollup.as_kept(ask.context.data.cache) as sums:
        since = until - ask.query.days * DAY
        done = {} if sums is None else sums.of_agents(ask.tenant, list(keys), since, until)
    items = []
    for agent, held in keys.items():
        last = max((uses[key] for key in held if key in uses), default=None)
        last_used = None if last is None else timestamp(last)
        items.append({"agent": agent, "last_used": last_used, **done.get(agent, NOTHING)._asdict()})
    return Answer(body={"items": items})


@Operation("GET /usage", answer=_USAGE, about="home", question="Which agents, teams or models cost most?")
def usage(ask: Ask[None, UsageQuery]) -> Answer:
    """Add up the calls that have ended: requests, tokens, sound, images and cost.

    Of one organization; for an operator of the whole gateway of all, unless one is named.
    """
    given = ask.query
    by = [each.strip() for each in given.by.split(",") if each.strip()]
    usage_reports.check_by(by, "by")
    only = {name: value for name in _FILTERS if (value := getattr(given, name)) is not None}
    if ask.organization is not None:
        only["organization"] = ask.organization
    asked = UsageAsked(by=by, only=only, since=given.since, until=given.until, at=given.at, zone=given.zone)
    context, top = ask.context, given.top

    def make() -> dict[str, Any]:
        with context.log() as log:
            found = usage_reports.report(log, context.data, asked, time.time_ns(), context.progress)
        lines = found.lines
        if top is not None:
            lines = heapq.nlargest(top, lines, key=lambda each: (each.counts.cost_nanousd, each.counts.requests))
        elif len(lines) > MOST_ROWS and not ask.caller.is_here:
            hint = "ask for a shorter time, for larger units, or of one agent or team; or for the `top` rows"
            raise ConflictError("too_many_rows", f"the answer has more than {MOST_ROWS} rows", hint=hint)
        return {
            "by": by,
            "items": [_shown(each) for each in lines],
            "from": timestamp(found.since_ns),
            "to": timestamp(found.until_ns),
            "zones": found.zones,
            **({} if top is None else {"rows": len(found.lines)}),
        }

    if not given.kept:
        return Answer(body=make())
    told = kept(ask, make, "usage", repr(asked), top)
    return Answer(body={**told.answer, "made": timestamp(told.made_ns)})


def _shown(line: UsageLine) -> dict[str, Any]:
    return {
        "key": list(line.key),
        "agent_id": line.agent_id,
        "window": line.window,
        "from": timestamp(line.since_ns),
        "counts": line.counts._asdict(),
    }
