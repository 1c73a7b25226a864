"""Reading the audit log: entries that match, older ones and newer ones; one entry with all that was kept; checkpoints.

An operator of one organization reads its log and no other: a log of others is as if it were not there.
"""

from __future__ import annotations

import base64
import json
from contextlib import nullcontext
from typing import Any

import orjson
from pydantic import AwareDatetime, Field

from gateway.audit import lookup, proofs, search, signer
from gateway.audit.search import Filters, FoundEntry
from gateway.control import shapes
from gateway.control.api.times import nanoseconds
from gateway.control.operation import Answer, Ask, Operation, PageQuery, Query
from gateway.control.problems import Problem
from gateway.control.tenants import DEFAULT
from gateway.errors import GatewayError
from gateway.registry.documents import timestamp

_MOST = 30_000
"""Entries that one request looks at."""

_TEXT = {"type": "string"}
_CURSOR = {"type": ["string", "null"]}


ENTRY = shapes.closed(
    {
        "organization": {"type": "string", "description": "Whose log has it; `system` is one, too."},
        "seq": {"type": "integer", "description": "Its place in the log of the organization."},
        "time": shapes.TIME,
        "kind": _TEXT,
        "id": {"type": "string", "description": "By which it is looked up; empty if it has none."},
        "agent_name": {"type": "string", "description": "Of the agent that it is about, as far as the log says it."},
        "entry": {"type": "object", "description": "The entry as the log has it (schemas/audit-entry.schema.json)."},
    }
)
_STOPPED = shapes.or_null(shapes.TIME) | {"description": "Where the search gave up, if it did."}
_BUNDLE = {"type": "object", "description": "A bundle and its verdict; with `explain` also its `rules`."}
_DECISION = shapes.closed(
    {
        "decided": ENTRY,
        "completed": shapes.or_null(ENTRY)
        | {"description": "How the call ended; null for a denial, or if it is under way."},
        "input": shapes.or_null({"type": "object"})
        | {"description": "What was judged, without content, if it is kept."},
        "bundles": {"type": "array", "items": _BUNDLE, "description": "The verdicts, judged again."},
        "judged_again": shapes.or_null(
            shapes.closed({"allow": {"type": "boolean"}, "reason": _TEXT, "reasons": {"type": "array", "items": _TEXT}})
        ),
        "agrees": {"type": ["boolean", "null"], "description": "Whether that is what was recorded."},
        "problem": {"type": "string", "description": "Why it cannot be judged again, or need not agree."},
    }
)
_LOOKED_UP = shapes.closed({"entry": ENTRY, "decision": shapes.or_null(_DECISION)})
_CHECKPOINT = shapes.closed(
    {
        "organization": _TEXT,
        "checkpoint": {"type": "string", "description": "A signed note, for `gateway audit verify`."},
        "public_key": {"type": "string", "description": "Of the gateway that signs."},
    }
)


_BASE64 = {"type": "string", "contentEncoding": "base64"}
_HASHES = {"type": "array", "items": _BASE64}
_PROOF = shapes.closed(
    {
        "organization": {"type": "string", "description": "Whose log it is about."},
        "checkpoint": {"type": "string", "description": "The signed note that the proofs lead to."},
        "index": {"type": ["integer", "null"], "description": "Of the entry."},
        "leaf": shapes.or_null(_BASE64) | {"description": "The entry's bytes."},
        "inclusion": _HASHES | {"description": "Of the entry (RFC 6962, 2.1.1)."},
        "consistency": _HASHES | {"description": "With the tree of `since` (2.1.2); empty if that is larger."},
    }
)


_PAGE = shapes.page(ENTRY)["properties"] | {
    "older": _CURSOR | {"description": "Send it as `before` for older entries; null if there are none."},
    "stopped": _STOPPED,
    "looked_at": {"type": "integer", "description": "Entries that the search looked at."},
}


class EntryQuery(PageQuery):
    """Which entries are wanted."""

    before: str | None = Field(None, description="The `older` of another page: only what was written before.")
    agent: str | None = Field(None, description="Only those of the agent with this name or id.")
    id: str | None = Field(None, description="Only those whose ids begin like this.", min_length=1)
    kind: str | None = Field(None, description="Such as decided, completed or change.")
    allow: bool | None = Field(None, description="Only decisions that allowed, or denied.")
    reason: str | None = Field(None, description="Only those with this reason code or outcome.")
    model: str | None = Field(None, description="Only decisions about this model.")
    person: str | None = Field(None, description="Only what agents did for the person with this `sub`.")
    since: AwareDatetime | None = None
    until: AwareDatetime | None = Field(None, description="Not included.")
    everywhere: bool = Field(False, description="All logs that the operator may read, those of the gateway included.")


class ShownQuery(Query):
    """How much is said of a decision."""

    explain: bool = Field(
        False, description="Also which rules held and where others failed; judged without what was said, if it is kept."
    )
    sources: bool = Field(False, description="With `explain`: also the modules that these rules are in, as `sources`.")


class ProofQuery(Query):
    """What is to be proven."""

    entry: str | None = Field(None, description="An entry, by its id or the beginning of it.")
    since: int | None = Field(None, ge=0, lt=2**63, description="The size of a tree with which the log must begin.")


@Operation(
    "GET /audit/entries",
    answer=shapes.closed(_PAGE),
    tool="search_audit_log",
    question="Which calls were refused lately, and why? Who changed what? Send `allow` false for refusals",
)
def entries(ask: Ask[None, EntryQuery]) -> Answer:
    """The newest audit entries that match, oldest first; with a cursor those written since.

    Oldest first. With a cursor: what was written after the page before; it always has a `next`.
    """
    given = ask.query
    organization = None if given.everywhere and ask.caller.organization is None else ask.tenant
    agent = agent_id(ask, given.agent)
    filters = Filters(
        organization=organization,
        agent=agent,
        above=() if agent is None else above(ask, agent),
        id=given.id,
        kind=given.kind,
        allow=given.allow,
        reason=given.reason,
        model=given.model,
        person=given.person,
        since_ns=nanoseconds(given.since),
        until_ns=nanoseconds(given.until),
    )
    place, cursors = (organization or "", "audit"), ask.context.cursors
    before = None if given.before is None else cursors.open(given.before, *place, "older")
    if given.cursor is not None and before is not None:
        raise Problem(400, "invalid_parameter", "`cursor` and `before` exclude each other", hint="send one of them")
    with ask.context.log() as db, db.snapshot():
        page = search.FoundPage([])
        if given.cursor is None:
            position = search.last_position(db)
            page = search.matching(db, given.limit, filters, _MOST, before)
            found = page.found
        else:
            found, position = search.after(db, cursors.open(given.cursor, *place), filters)
            if len(found) > given.limit:
                found = found[: given.limit]
                position = found[-1].position
        items = [item(each, name) for each, name in zip(found, search.AgentNames().of(db, found), strict=True)]
    return Answer(
        body={
            "items": items,
            "next": cursors.seal(position, *place),
            "older": None if page.older is None else cursors.seal(page.older, *place, "older"),
            "stopped": None if page.stopped_ns is None else timestamp(page.stopped_ns),
            "looked_at": page.looked_at,
        }
    )


def agent_id(ask: Ask, agent: str | None) -> str | None:
    """The id of an agent, which the log may know better than the registry, or of the agent with a name."""
    if agent is None or agent.startswith("agt_"):
        return agent
    from gateway.registry import queries

    return queries.agent(ask.registry, ask.tenant, agent).id


def above(ask: Ask, agent: str) -> tuple[str, ...]:
    """The subjects whose bindings and limits apply to an agent; none in a copy without a registry."""
    from gateway.registry import queries

    try:
        return queries.above(ask.registry, agent)
    except GatewayError:
        if ask.caller.is_here:
            return ()
        raise


def item(found: FoundEntry, agent_name: str) -> dict[str, Any]:
    # The entry stays as the log has it: no member of it is renamed.
    entry = _as_it_is(found.entry)
    return {
        "organization": found.organization,
        "seq": found.seq,
        "time": timestamp(found.time_ns),
        "kind": found.kind,
        "id": found.event_id,
        "agent_name": agent_name,
        "entry": entry,
    }


def _as_it_is(document: Any) -> orjson.Fragment:
    """A document of its own, in which no member is renamed. A damaged leaf may hold what `orjson` does not write."""
    try:
        return orjson.Fragment(orjson.dumps(document))
    except TypeError:
        return orjson.Fragment(json.dumps(document).encode())


@Operation(
    "GET /audit/entries/{event}",
    answer=_LOOKED_UP,
    about="home",
    tool="explain_decision",
    question="Why was this call refused or allowed? Send `explain` true for the rules; `event` is the decision's id",
)
def entry(ask: Ask[None, ShownQuery]) -> Answer:
    """One entry by its id or the beginning of it; of a decision all that is kept, judged again.

    One entry; of a decision all that is kept, and what the bundles that judged it say when they are asked again.
    """
    # A list of entries needs neither the engine nor the registry.
    from gateway.control.kept_requests import completing
    from gateway.policy import reexecution
    from gateway.policy.judged_again import judged_again

    data = ask.context.data
    with ask.context.log() as db, db.snapshot():
        found = lookup.event(db, ask.path["event"], ask.organization)
        [name] = search.AgentNames().of(db, [found])
        if found.kind not in ("decided", "completed"):
            return Answer(body={"entry": item(found, name), "decision": None})
        decision = lookup.decision(db, found)
        explained, judged = ask.query.explain, decision.input
        if not explained:  # an explanation shows values, and what was said is not for showing
            complete = completing(lambda: nullcontext(ask.registry), lambda: ask.context.vault)
            judged = complete(db, decision.decided, judged)
    again = judged_again(
        reexecution.judge_again(data.bundles, decision.decided.entry, judged),
        explained=explained,
        sources=ask.query.sources,
    )
    shown = {
        "decided": item(decision.decided, name),
        "completed": None if decision.completed is None else item(decision.completed, name),
        # Like entries, what was judged is a document of its own: no member of it is renamed.
        "input": _as_it_is(decision.input),
        # Policies may have numbers of any size.
        "bundles": orjson.Fragment(json.dumps(again.bundles).encode()),
        "judged_again": again.verdict,
        "agrees": again.agrees,
        "problem": again.problem,
    }
    return Answer(body={"entry": item(found, name), "decision": shown})


@Operation("GET /audit/checkpoint", answer=_CHECKPOINT)
def checkpoint(ask: Ask) -> Answer:
    """The newest signed checkpoint of a log, to be kept elsewhere.

    The newest signed checkpoint of a log, for an auditor who keeps it elsewhere.
    """
    data, tenant = ask.context.data, ask.tenant
    with ask.context.log() as db:
        note = lookup.checkpoint(db, tenant)
    public_key = signer.load_verifier(signer.public_key_path(data))
    return Answer(body={"organization": tenant, "checkpoint": note, "public_key": str(public_key)})


@Operation("GET /audit/proof", answer=_PROOF, about="home")
def proof(ask: Ask[None, ProofQuery]) -> Answer:
    """Proofs for the newest checkpoint of a log: that it has an entry, and that it begins as a smaller tree.

    For the newest checkpoint, and checked by whoever asks.
    """
    given = ask.query
    if given.entry is None and given.since is None:
        hint = "send `entry`, or the size of an older tree in `since`"
        raise Problem(400, "invalid_parameter", "there is nothing to prove", hint=hint)
    organization = ask.organization or (DEFAULT if given.entry is None else None)
    with ask.context.log() as db, db.snapshot():
        made = proofs.make(db, organization, given.entry, given.since)
    return Answer(
        body={
            "organization": made.organization,
            "checkpoint": made.checkpoint,
            "index": made.index,
            "leaf": None if made.leaf is None else _base64(made.leaf),
            "inclusion": [_base64(each) for each in made.inclusion],
            "consistency": [_base64(each) for each in made.consistency],
        }
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
