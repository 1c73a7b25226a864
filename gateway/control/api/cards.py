"""Published agents: their cards, and the keys by which organizations sign them (called-agents.md)."""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import BaseModel, Field

from gateway.a2a import cards
from gateway.a2a.cards import Skill
from gateway.control import shapes
from gateway.control.api.upstreams import Secret, check_reach
from gateway.control.operation import Answer, Ask, Operation, Reasoned
from gateway.identity import organization_keys
from gateway.registry import queries
from gateway.registry.upstreams import published

_OBJECT = {"type": "object"}
_PUBLISHED = shapes.closed(
    {
        "agent": {"type": "string", "description": "Its id."},
        "name": {"type": "string"},
        "endpoint": {"type": "string"},
        "url": {"type": "string", "description": "Where others reach it."},
        "card": _OBJECT | {"description": "The card, signed."},
    }
)


class SkillBody(BaseModel):
    """Something that an agent can be asked for."""

    id: str
    name: str
    description: str = ""
    tags: list[str] = []


class Publication(Reasoned):
    """The card of an agent, and the place where the agent answers."""

    endpoint: str = Field(description="The URL at which the agent takes A2A requests from the gateway.")
    secret: Secret | None = Field(None, description="The bearer token that the gateway shows there; null for none.")
    auth: Literal["key", "token", "on_behalf_of"] = Field(
        "key",
        description="What the gateway shows there: the secret, if there is one; or a token of its own for each call, "
        "in the name of the agent that calls, or of the person for whom that acts.",
    )
    description: str = Field("", description="What it does, for those who may call it.")
    skills: list[SkillBody] = Field([], description="What it can be asked for.")
    price_microusd: int = Field(
        0,
        description="What each message to it costs its caller, in millionths of a dollar: limits on money count it.",
        json_schema_extra={"minimum": 0},
    )
    insecure: bool = Field(False, description="Allow plain HTTP to another machine.")


@Operation("POST /agents/{agent}/publish", answer=_PUBLISHED)
def publish(ask: Ask[Publication]) -> Answer:
    """Publish an agent, so that other agents can call it; or change what its card says."""
    given = ask.body
    check_reach(ask.caller, given.endpoint, insecure=given.insecure)
    organization_keys.create(ask.context.data.keys)
    published.publish(
        ask.change(),
        ask.context.vault,
        **ask.by,
        agent=ask.path["agent"],
        skills=[Skill(each.id, each.name, each.description, tuple(each.tags)) for each in given.skills],
        **given.model_dump(
            include={"endpoint", "secret", "auth", "description", "price_microusd", "insecure", "reason"}
        ),
    )
    return Answer(body=_published(ask))


@Operation("POST /agents/{agent}/withdraw", answer=_OBJECT, restricts=True)
def withdraw(ask: Ask[Reasoned]) -> Answer:
    """Withdraw the card of an agent: nobody can call it any more."""
    gone = published.withdraw(ask.change(), **ask.by, agent=ask.path["agent"], reason=ask.body.reason)
    return Answer(body={"name": gone.name})


@Operation("GET /agents/{agent}/card", answer=_PUBLISHED)
def card(ask: Ask) -> Answer:
    """Show the card of a published agent, signed by its organization."""
    return Answer(body=_published(ask))


@Operation("GET /card-keys", noun="agents", answer=_OBJECT)
def keys(ask: Ask) -> Answer:
    """Show the public keys by which the organization signs the cards of its agents, as a JWK set."""
    found = organization_keys.keys_of(ask.context.data.keys, ask.tenant)
    return Answer(body=orjson.loads(organization_keys.public(found)))


def _published(ask: Ask[Any, Any]) -> dict[str, Any]:
    upstream = published.of_agent(ask.registry, ask.tenant, ask.path["agent"])
    assert upstream.specification is not None
    said, base = cards.load(upstream.specification), ask.context.settings.public_data_plane
    version = queries.agent(ask.registry, ask.tenant, said.agent).version
    unsigned = cards.card(said, organization=ask.tenant, name=upstream.name, version=version, base=base)
    [signing, *_] = organization_keys.keys_of(ask.context.data.keys, ask.tenant)
    return {
        "agent": said.agent,
        "name": upstream.name,
        "endpoint": upstream.base_url,
        "url": base + cards.path(ask.tenant, upstream.name),
        "card": cards.sign(unsigned, signing),
    }
