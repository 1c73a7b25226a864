"""The audit log as it grows: entries as server-sent events, from a place on (control-api.md)."""

from __future__ import annotations

import orjson
from pydantic import Field

from gateway.audit import search
from gateway.audit.log_files import opened_log
from gateway.audit.search import Filters
from gateway.control.api.audit import ENTRY, item
from gateway.control.event_streams import Batch
from gateway.control.operation import Answer, Ask, Operation, Query

_LOOKED_AT = 200
"""Entries that are read at once."""


class EventQuery(Query):
    """Which entries are wanted, and from where on."""

    after: str | None = Field(
        None, description="The id of an event, or the `next` of /audit/entries; else from now on."
    )
    agent: str | None = Field(None, description="Only those of the agent with this id.")
    kind: str | None = Field(None, description="Such as decided, completed or change.")
    allow: bool | None = Field(None, description="Only decisions that allowed, or denied.")
    reason: str | None = Field(None, description="Only those with this reason code or outcome.")
    model: str | None = Field(None, description="Only decisions about this model.")


class _Entries:
    """The entries of one organization after a position. Threads use it, one at a time."""

    def __init__(self, ask: Ask[None, EventQuery], position: int | None) -> None:
        given = ask.query
        self._data = ask.context.data
        self._cursors = ask.context.cursors
        self._bound = (ask.tenant, "audit")
        self._filters = Filters(
            organization=ask.tenant,
            agent=given.agent,
            kind=given.kind,
            allow=given.allow,
            reason=given.reason,
            model=given.model,
        )
        if position is None:
            with opened_log(self._data) as db:
                position = search.last_position(db)
        self._position = position
        self._names = search.AgentNames()
        self._sealed = self._cursors.seal(position, *self._bound)

    def next(self) -> Batch:
        with opened_log(self._data) as db:
            found, position = search.after(db, self._position, self._filters, _LOOKED_AT)
            named = list(zip(found, self._names.of(db, found), strict=True))
        moved = position != self._position
        if moved:
            self._position, self._sealed = position, self._cursors.seal(position, *self._bound)
        events = [
            (self._cursors.seal(each.position, *self._bound), orjson.dumps(item(each, name))) for each, name in named
        ]
        return Batch(events, self._sealed, more=moved)


@Operation(
    "GET /events",
    noun="audit",
    answer={"type": "string", "description": "Events whose data are entries.", "contentSchema": ENTRY}
    | {"contentMediaType": "application/json"},
    streams=True,
)
def follow(ask: Ask[None, EventQuery]) -> Answer:
    """Audit entries as they are written, as server-sent events; each is like an item of /audit/entries."""
    # A browser that lost the connection asks again with the parameters of the first time, and says where it was.
    after = ask.last_event or ask.query.after
    position = None if after is None else ask.context.cursors.open(after, ask.tenant, "audit")
    return Answer(body=_Entries(ask, position))
