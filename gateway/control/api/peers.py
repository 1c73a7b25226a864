"""Other gateways that are trusted to say who calls (two-gateways.md). Of the whole gateway only."""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import Field

from gateway.control.operation import Answer, Ask, Operation, Page, PageQuery, Reasoned, ReasonQuery, cut, tag
from gateway.identity import organization_keys
from gateway.registry import peers
from gateway.registry.peers import PeerRecord

_KEYS = "Its public keys as a JWK set, as its operator hands them over; they are never fetched."
_SPEAKS_FOR = "The organizations of whose agents it may say that they call."


class NewPeer(Reasoned):
    """A gateway to trust."""

    name: str = Field(description="What it is called here.")
    keys: dict[str, Any] = Field(description=_KEYS)
    speaks_for: list[str] = Field(description=_SPEAKS_FOR)


class PeerPatch(Reasoned):
    """What to change of a peer."""

    keys: dict[str, Any] | None = Field(None, description=f"{_KEYS} They take the place of the old ones.")
    speaks_for: list[str] | None = Field(None, description=f"{_SPEAKS_FOR} They take the place of the old ones.")
    status: Literal["active", "disabled"] | None = Field(None, description="Nothing is taken from a disabled one.")


def _shown(record: PeerRecord) -> Answer[PeerRecord]:
    return Answer(body=record, tag=tag(record.version), location=f"/peers/{record.name}")


@Operation("GET /peers", about="gateway")
def listed(ask: Ask[None, PageQuery]) -> Answer[Page[PeerRecord]]:
    """List the gateways that are trusted to say who calls."""
    return cut(ask, peers.all_peers(ask.registry), lambda each: each.name, "peers")


@Operation("POST /peers", about="gateway", status=201, tagged=True)
def add(ask: Ask[NewPeer]) -> Answer[PeerRecord]:
    """Trust a gateway to say who calls, for agents of these organizations."""
    given = ask.body
    organization_keys.create(ask.context.data.keys)
    made = peers.add_peer(
        ask.change(),
        actor=ask.actor,
        jwks=orjson.dumps(given.keys).decode(),
        **given.model_dump(include={"name", "speaks_for", "reason"}),
    )
    return _shown(made)


@Operation("GET /peers/{peer}", about="gateway", tagged=True)
def show(ask: Ask) -> Answer[PeerRecord]:
    """A peer."""
    return _shown(peers.peer(ask.registry, ask.path["peer"]))


@Operation("PATCH /peers/{peer}", about="gateway", if_match="accepted", tagged=True)
def update(ask: Ask[PeerPatch]) -> Answer[PeerRecord]:
    """Change the keys of a peer, what it may speak for, or whether anything is taken from it."""
    given, name = ask.body, ask.path["peer"]
    changed = peers.update_peer(
        ask.change(ask.if_match(lambda session: tag(peers.find_peer(session, name).version))),
        actor=ask.actor,
        name=name,
        jwks=None if given.keys is None else orjson.dumps(given.keys).decode(),
        **given.model_dump(include={"speaks_for", "status", "reason"}),
    )
    return _shown(changed)


@Operation("DELETE /peers/{peer}", about="gateway", restricts=True)
def remove(ask: Ask[None, ReasonQuery]) -> Answer[PeerRecord]:
    """Trust a gateway no longer; calls of its agents that are under way end."""
    name, reason = ask.path["peer"], ask.query.reason
    return Answer(body=peers.remove_peer(ask.change(), actor=ask.actor, name=name, reason=reason))


@Operation("GET /peer-keys", noun="peers", about="gateway", answer={"type": "object"})
def keys(ask: Ask) -> Answer:
    """Show this gateway's own public keys, to hand over to gateways that are to trust it."""
    organization_keys.create(ask.context.data.keys)
    found = organization_keys.gateway_keys(ask.context.data.keys)
    return Answer(body=orjson.loads(organization_keys.public(found)))
