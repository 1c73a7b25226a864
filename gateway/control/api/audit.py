"""Reading audit entries: the newest that match some filters, and what was written after them."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import orjson
from pydantic import AwareDatetime, Field

from gateway.audit import search, storage
from gateway.audit.search import Filters, Found
from gateway.control import shapes
from gateway.control.api.times import nanoseconds
from gateway.control.operation import Answer, Ask, Operation, PageQuery
from gateway.registry.documents import timestamp

_MOST = 50_000
"""Entries that one request looks at."""

ENTRY = {
    "type": "object",
    "properties": {
        "seq": {"type": "integer", "description": "Its place in the log of the organization."},
        "time": shapes.TIME,
        "kind": {"type": "string"},
        "entry": {"type": "object", "description": "The entry as the log has it (schemas/audit-entry.schema.json)."},
    },
    "required": ["seq", "time", "kind", "entry"],
    "additionalProperties": False,
}
_STOPPED = {"anyOf": [shapes.TIME, {"type": "null"}], "description": "Where the search gave up, if it did."}


class EntryQuery(PageQuery):
    """Which entries are wanted."""

    agent: str | None = Field(None, description="Only those of the agent with this id.")
    id: str | None = Field(None, description="Only those whose ids begin like this.", min_length=4)
    kind: str | None = Field(None, description="Such as decided, completed or change.")
    allow: bool | None = Field(None, description="Only decisions that allowed, or denied.")
    reason: str | None = Field(None, description="Only those with this reason code or outcome.")
    model: str | None = Field(None, description="Only decisions about this model.")
    since: AwareDatetime | None = None
    until: AwareDatetime | None = Field(None, description="Not included.")


def entries(ask: Ask) -> Answer:
    """Oldest first. With a cursor: what was written after the page before; it always has a `next`."""
    given: EntryQuery = ask.query
    filters = Filters(
        organization=ask.tenant,
        agent=given.agent,
        id=given.id,
        kind=given.kind,
        allow=given.allow,
        reason=given.reason,
        model=given.model,
        since_ns=nanoseconds(given.since),
        until_ns=nanoseconds(given.until),
    )
    place = (ask.tenant, "audit")
    with closing(storage.connect_read_only(ask.context.data.audit_db)) as db, storage.snapshot(db):
        stopped = None
        if given.cursor is None:
            position = search.last_position(db)
            page = search.matching(db, given.limit, filters, _MOST)
            found, stopped = page.found, page.stopped_ns
        else:
            found, position = search.after(db, ask.context.cursors.open(given.cursor, *place), filters)
            if len(found) > given.limit:
                found = found[: given.limit]
                position = found[-1].position
    cursor = ask.context.cursors.seal(position, *place)
    shown = None if stopped is None else timestamp(stopped)
    return Answer(body={"items": [item(each) for each in found], "next": cursor, "stopped": shown})


def item(found: Found) -> dict[str, Any]:
    # The entry stays as the log has it: no member of it is renamed.
    entry = orjson.Fragment(orjson.dumps(found.entry))
    return {"seq": found.seq, "time": timestamp(found.time_ns), "kind": found.kind, "entry": entry}


_PAGE = shapes.page(ENTRY)

OPERATIONS = [
    Operation(
        method="GET",
        path="/audit/entries",
        noun="audit",
        summary="The newest audit entries that match, oldest first; with a cursor those written since",
        function=entries,
        query=EntryQuery,
        answer={
            **_PAGE,
            "properties": _PAGE["properties"] | {"stopped": _STOPPED},
            "required": [*_PAGE["required"], "stopped"],
        },
    ),
]
