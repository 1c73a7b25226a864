"""Adoptions: old keys of providers that pass for a while, and which programs still use them (moving.md)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pydantic import AwareDatetime, Field

from gateway.control import shapes
from gateway.control.api.times import Seconds, nanoseconds
from gateway.control.operation import Answer, Ask, Operation, PageQuery, Reasoned, cut
from gateway.control.problems import Problem
from gateway.identity import key_scope
from gateway.registry import adoptions
from gateway.registry.adoptions import AdoptionRecord, Started
from gateway.registry.documents import plain
from gateway.runtime import legacy_clients

_STATE = {"type": "string", "description": "`running`, or why its key opens nothing: `over`, `stopped`, `agent …`."}
_ADOPTION = shapes.record(AdoptionRecord, state=_STATE)
_STARTED = shapes.record(
    AdoptionRecord,
    state=_STATE,
    registered={"type": "boolean", "description": "Whether the agent `legacy` was registered for it."},
    granted={"type": "boolean", "description": "Whether any policy allows that agent anything."},
)
_STOPPED = shapes.closed({"stopped": {"type": "array", "items": _ADOPTION}})
_NULLABLE = {"type": ["string", "null"]}
_CLIENT = shapes.closed(
    {
        "client": {**_NULLABLE, "description": "The product of its User-Agent; null for all others together."},
        "from": {**_NULLABLE, "description": "A hash of its address."},
        "calls": {"type": "integer"},
        "first_seen": shapes.TIME,
        "last_seen": shapes.TIME,
        "models": {"type": "array", "items": {"type": "string"}},
        "moved": {"anyOf": [shapes.TIME, {"type": "null"}], "description": "When it was seen with a key of its own."},
        "agent": {**_NULLABLE, "description": "The agent whose key that was."},
        "several_programs": {"type": "boolean", "description": "Calls with the old key came again after that."},
    }
)


class NewAdoption(Reasoned):
    """An old key that is to pass until a time. A key that passes already gets another end."""

    upstream: str = Field(description="The upstream that the key is for.")
    key: str = Field(description="The key; only a hash of it is stored.", max_length=4096)
    expires_in: Seconds | None = Field(None, description="In seconds; the key opens nothing from then on.")
    expires: AwareDatetime | None = Field(None, description="The same as a time; one of the two is needed.")
    owner: str = Field("", description="Who moves the programs; needed for the first one, which registers an agent.")
    replace_revoked: bool = Field(False, description="Also if that agent was revoked and is registered anew.")


class NewAdoptions(NewAdoption):
    """Several of them, all or none."""

    key: str = ""
    keys: list[str]


class Stop(Reasoned):
    """Which old keys are to pass no longer."""

    upstream: str | None = Field(None, description="Only those of this upstream; null for all.")


class ClientQuery(PageQuery):
    """Which clients are wanted."""

    moved: bool = Field(False, description="Also those that have moved to a key of their own.")
    address: str | None = Field(None, description="Only those at this IP address, of which only a hash is kept.")


def _shown(record: AdoptionRecord) -> dict[str, Any]:
    return {**plain(record), "state": record.state(time.time_ns())}


@Operation("GET /adoptions", answer=shapes.page(_ADOPTION))
def listed(ask: Ask[None, PageQuery]) -> Answer:
    """List the old keys of providers that pass, or did; of the keys themselves nothing is known."""
    found = adoptions.adoptions(ask.registry, ask.tenant)
    return cut(ask, [_shown(each) for each in found], lambda each: each["id"], "adoptions")


@Operation("POST /adoptions", status=201, answer=_STARTED)
def start(ask: Ask[NewAdoption]) -> Answer:
    """Let calls with an old key pass until an end date, as those of the agent `legacy`."""
    started = _start(ask, [ask.body.key])
    (made,) = started.adoptions
    return Answer(body={**_shown(made), "registered": started.registered, "granted": started.granted})


@Operation("POST /adoptions/several", status=201, answer={}, here=True)
def start_several(ask: Ask[NewAdoptions]) -> Answer:
    """The same for several keys, all or none."""
    started = _start(ask, ask.body.keys)
    listed = [_shown(each) for each in started.adoptions]
    body = {"adoptions": listed, "registered": started.registered, "granted": started.granted}
    return Answer(body=body)


def _start(ask: Ask[NewAdoption], keys: Sequence[str]) -> Started:
    given = ask.body
    if (given.expires_in is None) == (given.expires is None):
        detail = "the end of an old key is needed, and it has one: `expires` or `expires_in`"
        raise Problem(422, "invalid_expiry", detail, hint="send one of them")
    ends_ns = nanoseconds(given.expires)
    return adoptions.start(
        ask.change(),
        ask.context.peppers,
        **ask.by,
        upstream=given.upstream,
        keys=keys,
        expires_ns=time.time_ns() + (given.expires_in or 0) * 10**9 if ends_ns is None else ends_ns,
        owner=given.owner,
        replace_revoked=given.replace_revoked,
        reason=given.reason,
    )


@Operation("POST /adoptions/stop", answer=_STOPPED, restricts=True)
def stop(ask: Ask[Stop]) -> Answer:
    """Let old keys pass no longer; the next call with one of them is refused."""
    given = ask.body
    stopped = adoptions.stop(ask.change(), **ask.by, upstream=given.upstream, reason=given.reason)
    return Answer(body={"stopped": [_shown(each) for each in stopped]})


@Operation("GET /adoptions/clients", answer=shapes.page(_CLIENT))
def clients(ask: Ask[None, ClientQuery]) -> Answer:
    """List the clients that are still to move: seen with an old key, and not with one of their own since."""
    given = ask.query
    found = legacy_clients.read(ask.context.data.runtime_db, ask.tenant)
    if given.address is not None:
        wanted = legacy_clients.hashed(key_scope.address(given.address), ask.context.peppers)
        found = [each for each in found if each.peer == wanted]
    now_ns = time.time_ns()
    some = sorted((each for each in found if given.moved or not each.moved(now_ns)), key=legacy_clients.place_text)
    page = cut(ask, some, legacy_clients.place_text, "clients", str(given.moved), given.address or "")
    items = [plain(legacy_clients.document(each)) for each in page.body["items"]]
    return Answer(body={**page.body, "items": items})
