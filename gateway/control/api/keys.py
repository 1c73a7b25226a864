"""Keys of agents. A key's text is in the answer that created it and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

from pydantic import Field

from gateway.control import shapes
from gateway.control.api.times import Seconds, lifetime
from gateway.control.operation import Answer, Ask, Body, Operation, PageQuery, Reasoned, paged, position
from gateway.control.problems import Problem
from gateway.errors import Hint, UnknownError, did_you_mean
from gateway.identity import credentials, key_scope, public_keys
from gateway.registry import names, pages, queries
from gateway.registry.database import Registry
from gateway.registry.documents import plain, timestamp
from gateway.registry.keys import leaked as leaked_keys
from gateway.registry.keys import public_keys as registered
from gateway.registry.keys import rotation as key_rotation
from gateway.registry.keys import spiffe_ids
from gateway.registry.keys.changes import create_key, revoke_key
from gateway.registry.keys.leaked import Leaked
from gateway.registry.records import KeyRecord
from gateway.runtime import key_uses

_STATUS = {"type": "string", "enum": ["active", "retiring", "expired", "revoked"]}
_USED = {"anyOf": [shapes.TIME, {"type": "null"}], "description": "When it was used last, to the hour, if known."}
KEY = shapes.record(KeyRecord, status=_STATUS, last_used=_USED)
_TEXT = {"type": ["string", "null"], "description": "The key, once; null in a repeated answer."}
_NEW_KEY = shapes.record(KeyRecord, status=_STATUS, last_used=_USED, key=_TEXT)
_ROTATED = shapes.record(KeyRecord, status=_STATUS, last_used=_USED, key=_TEXT, replaces=KEY)


class KeyScopeBody(Body):
    """What a key is for; a part without anything restricts nothing."""

    actions: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    networks: list[str] = Field(default_factory=list)
    upstreams: list[str] = Field(default_factory=list)


class KeyRequest(Reasoned):
    """A key to create."""

    agent: str = Field(description="The name or id of the agent.")
    expires_in: Seconds | None = Field(None, description="In seconds.")
    scope: KeyScopeBody | None = None


class NewPublicKey(KeyRequest):
    """A public key to add; the private half stays where the agent runs."""

    public_key: str = Field(description="Ed25519 or P-256, as PEM.", max_length=16384)
    proof: str | None = Field(
        None,
        description="That the agent has the private half; an operator of one organization needs it.",
        max_length=86,
    )


class NewSpiffeId(KeyRequest):
    """A name in certificates that is to mean an agent."""

    spiffe_id: str = Field(description="`spiffe://TRUST-DOMAIN/PATH`, as in the certificate.", max_length=2048)


_MOST_OVERLAP = 31 * 86400


class KeyRotation(Reasoned):
    """How a key is replaced."""

    overlap: int = Field(
        86400,
        json_schema_extra={"minimum": 1, "maximum": _MOST_OVERLAP},
        description="How long the old key still works, in seconds.",
    )
    expires_in: Seconds | None = Field(None, description="In seconds; null: as long as the old one was made for.")


class Rotations(KeyRotation):
    """Whose keys are replaced."""

    team: str | None = Field(None, description="Those of this team's agents; null: of all.")


class KeyQuery(PageQuery):
    """Which keys are wanted."""

    agent: str | None = Field(None, description="Only those of this agent.")
    method: Literal["api_key", "signature", "mtls"] | None = Field(
        None, description="Only secrets, only public keys, or only SPIFFE IDs."
    )


def shown(record: KeyRecord, uses: Mapping[str, int]) -> dict[str, Any]:
    used = uses.get(record.id)
    status = record.status(time.time_ns())
    return {**plain(record), "status": status, "last_used": None if used is None else timestamp(used)}


def uses_of(ask: Ask, keys: Sequence[KeyRecord]) -> Mapping[str, int]:
    """When these keys were used last."""
    return key_uses.of(ask.context.data.runtime_db, [each.id for each in keys])


@Operation("GET /keys", answer=shapes.page(KEY))
def listed(ask: Ask[None, KeyQuery]) -> Answer:
    """List keys without their secrets, also dead ones."""
    given = ask.query
    place = ("keys", given.agent or "", given.method or "")
    after = position(ask, *place)
    found, more = pages.keys(
        ask.registry, ask.tenant, after=after, limit=given.limit, agent=given.agent, method=given.method
    )
    uses = uses_of(ask, found)
    return paged(ask, [shown(each, uses) for each in found], found[-1].id if more else None, *place)


class _Given(TypedDict):
    """What all kinds of keys are made with."""

    actor: str
    organization: str
    agent: str
    lifetime_ns: int | None
    scope: key_scope.KeyScope | None
    reason: str


def _given(ask: Ask[KeyRequest]) -> _Given:
    given = ask.body
    scope = None
    if given.scope is not None:
        scope = key_scope.scope(**given.scope.model_dump())
    check_scope(ask.registry, ask.tenant, scope)
    return _Given(**ask.by, agent=given.agent, lifetime_ns=lifetime(given.expires_in), scope=scope, reason=given.reason)


@Operation("POST /keys", status=201, answer=_NEW_KEY, once="key")
def create(ask: Ask[KeyRequest]) -> Answer:
    """Create a key, which is shown once."""
    made = create_key(ask.change(), ask.context.peppers, **_given(ask))
    body = {**shown(made.record, {}), "key": made.text}
    return Answer(body=body, location=f"/keys/{made.record.id}")


@Operation("POST /keys/public", status=201, answer=KEY, tool="add_public_key")
def add_public(ask: Ask[NewPublicKey]) -> Answer:
    """Add the public key of an agent that signs its requests."""
    key = public_keys.parse_public(ask.body.public_key)
    return _added(registered.add_public_key(ask.change(), key, proof=ask.body.proof, **_given(ask)))


@Operation("POST /keys/spiffe", status=201, answer=KEY, tool="add_spiffe_key")
def add_spiffe(ask: Ask[NewSpiffeId]) -> Answer:
    """Let clients with a certificate of this SPIFFE ID be an agent."""
    return _added(spiffe_ids.add_spiffe_id(ask.change(), ask.body.spiffe_id, **_given(ask)))


def _added(made: KeyRecord) -> Answer:
    return Answer(body=shown(made, {}), location=f"/keys/{made.id}")


@Operation("GET /keys/{key}", answer=KEY)
def show(ask: Ask) -> Answer:
    """A key without its secret, by its id or the beginning of its text."""
    found = pages.key(ask.registry, ask.tenant, ask.path["key"])
    return Answer(body=shown(found, uses_of(ask, [found])))


@Operation(
    "POST /agents/{agent}/keys/rotate",
    noun="keys",
    summary="The same for the key that an agent has in use, if it has one",
    status=201,
    answer=_ROTATED,
    once="key",
)
@Operation("POST /keys/{key}/rotate", status=201, answer=_ROTATED, once="key")
def rotate(ask: Ask[KeyRotation]) -> Answer:
    """Create a key that replaces this one, which works until the overlap is over."""
    made = key_rotation.rotate_key(
        ask.change(),
        ask.context.peppers,
        **ask.by,
        terms=_terms(ask),
        deliver=ask.deliver,
        key=ask.path.get("key"),
        agent=ask.path.get("agent"),
    )
    body = _rotated(made, uses_of(ask, [made.new.record, made.old]))
    return Answer(body=body, location=f"/keys/{made.new.record.id}")


@Operation("POST /keys/rotate", status=201, answer={}, here=True, once="key")
def rotate_many(ask: Ask[Rotations]) -> Answer:
    """The same for the keys of a team's agents, or of all.

    All in one transaction, so a lost answer would lose them all: only for whoever has `ask.deliver`.
    """
    made, skipped = key_rotation.rotate_many(
        ask.change(), ask.context.peppers, **ask.by, terms=_terms(ask), team=ask.body.team, deliver=ask.deliver
    )
    return Answer(body={"rotated": [_rotated(each, {}) for each in made], "skipped": skipped})


@Operation(
    "POST /keys/leaked",
    tool="report_leaked_keys",
    about="gateway",
    answer=shapes.closed({"items": {"type": "array", "items": shapes.record(Leaked)}}),
    restricts=True,
)
def leaked(ask: Ask[Texts]) -> Answer:
    """End those of these keys that are real, whichever organization they belong to.

    Of every organization: whoever has found a key cannot know whose it is.
    """
    found = [each for text in ask.body.keys if (each := credentials.parse(text)) is not None]
    fates = leaked_keys.revoke_found(ask.change(), ask.context.peppers, actor=ask.actor, found=found)
    return Answer(body={"items": fates})


def _terms(ask: Ask[KeyRotation]) -> key_rotation.Terms:
    given = ask.body
    if not (ask.caller.is_here or 1 <= given.overlap <= _MOST_OVERLAP):
        detail = f"/overlap: it must be from 1 to {_MOST_OVERLAP}"
        error = {"pointer": "/overlap", "message": f"it must be from 1 to {_MOST_OVERLAP}"}
        raise Problem(422, "invalid_body", detail, errors=[error])
    return key_rotation.Terms(given.overlap * 10**9, lifetime(given.expires_in), given.reason)


def _rotated(made: key_rotation.Rotated, uses: Mapping[str, int]) -> dict[str, Any]:
    return {**shown(made.new.record, uses), "replaces": shown(made.old, uses), "key": made.new.text}


class Texts(Body):
    """Texts that were found where keys must not be."""

    keys: list[Annotated[str, Field(max_length=256)]] = Field(max_length=1000)


@Operation("POST /keys/{key}/revoke", answer=KEY, restricts=True)
def revoke(ask: Ask[Reasoned]) -> Answer:
    """End a key, for good."""
    reference = ask.path["key"]
    revoke_key(ask.change(), **ask.by, key=reference, reason=ask.body.reason)
    found = pages.key(ask.registry, ask.tenant, reference)
    return Answer(body=shown(found, uses_of(ask, [found])))


def check_scope(registry: Registry, organization: str, scope: key_scope.KeyScope | None) -> None:
    """Raise unless each action of a scope is one of some upstream, and each upstream is one: a mistyped one would let
    nothing through. A published agent of another organization cannot be looked up.
    """
    if scope is None:
        return
    if scope.upstreams:
        there = {each.name for each in queries.upstreams(registry, organization)}
        for pattern in scope.upstreams:
            if "/" not in pattern and not any(_is_meant(pattern, name) for name in there):
                raise names.unknown_upstream(pattern, there)
    if not scope.actions:
        return
    # Imported here because they take as long as the whole check, and most keys have no actions.
    from gateway.upstream.providers.http import provider as http
    from gateway.upstream.providers.presets import PROVIDERS

    known = {each for provider in PROVIDERS.values() for route in provider.routes for each in route.actions}
    for each in queries.upstreams(registry, organization):
        if each.specification is not None and each.provider == http.NAME:
            known |= {name for route in http.provider(each.name, each.specification).routes for name in route.actions}
    for pattern in scope.actions:
        if not any(_is_meant(pattern, name) for name in known):
            hint = did_you_mean(
                pattern, known, Hint("see `gateway upstreams show NAME` for the actions of an upstream")
            )
            raise UnknownError("action", f"no upstream has the action `{pattern}`", subject=pattern, hint=hint)


def _is_meant(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
