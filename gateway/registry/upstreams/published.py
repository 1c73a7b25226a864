"""Published agents: an upstream of the provider `a2a` behind which an agent of the organization is (called-agents.md).

The upstream has the name that the agent had when it was published, so that its path does not change. It stays until it
is withdrawn; whether the agent may be called is looked at with every call.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.a2a import cards
from gateway.a2a.cards import MAX_SKILLS, Published, Skill
from gateway.call import MOST_AMOUNT
from gateway.errors import ConflictError, GatewayError, Hint, UnknownError
from gateway.identity.call_tokens import KEY
from gateway.registry import names, queries
from gateway.registry.database import Registry
from gateway.registry.queries import find_living, reading, upstream_or_none
from gateway.registry.records import UpstreamRecord
from gateway.registry.upstreams.changes import add_upstream, remove_upstream
from gateway.secrets.vault import Vault


def publish(
    registry: Registry,
    vault: Vault,
    *,
    actor: str,
    organization: str,
    agent: str,
    endpoint: str,
    secret: str | None,
    description: str = "",
    skills: Sequence[Skill] = (),
    auth: str = KEY,
    price_microusd: int = 0,
    insecure: bool = False,
    reason: str = "",
) -> UpstreamRecord:
    """Let others call an agent at its endpoint, if its side and theirs allow it; again with what has changed.

    `secret` is what the gateway shows there, None for nothing, or for tokens of calls (`auth`).
    """
    if len(skills) > MAX_SKILLS:
        raise GatewayError("invalid_skill", f"a card has at most {MAX_SKILLS} skills", hint="leave some out")
    for each in skills:
        names.check_name("skill", each.id)
        names.check_text("skill", each.name)
        names.check_text("skill", each.description, names.MAX_DESCRIPTION)
        for tag in each.tags:
            names.check_name("tag", tag)
    if not 0 <= price_microusd <= MOST_AMOUNT // 1000:
        raise GatewayError("invalid_price", f"{price_microusd} is not a price", hint="write millionths of a dollar")
    description = names.check_text("description", description, names.MAX_DESCRIPTION)
    with reading(registry, organization) as (session, tenant):
        row = find_living(session, tenant, agent)
        found = upstream_or_none(session, tenant, row.name)
        if found is not None and found.provider != cards.PROVIDER:
            raise ConflictError(
                "name_taken",
                f"an upstream is called `{row.name}`, and a published agent needs that name",
                subject=row.name,
                hint=Hint("remove the upstream, or rename the agent"),
            )
        description = description or f"Agent {row.name} of {organization}."
        published = Published(row.id, description, tuple(skills), price_microusd)
        name = row.name
    return add_upstream(
        registry,
        vault,
        actor=actor,
        organization=organization,
        name=name,
        provider=cards.PROVIDER,
        base_url=endpoint,
        secret=secret,
        auth=auth,
        insecure=insecure,
        replace=True,
        specification=cards.dump(published),
        reason=reason,
    )


def withdraw(registry: Registry, *, actor: str, organization: str, agent: str, reason: str = "") -> UpstreamRecord:
    """Take an agent's card back: nobody can call it any more."""
    found = of_agent(registry, organization, agent)
    return remove_upstream(registry, actor=actor, organization=organization, name=found.name, reason=reason)


def of_agent(registry: Registry, organization: str, agent: str) -> UpstreamRecord:
    """The upstream of a published agent, by the agent's name or id. Raises `UnknownError` if it is not published."""
    found = queries.agent(registry, organization, agent)
    for each in queries.upstreams(registry, organization):
        if each.provider == cards.PROVIDER and each.specification and cards.load(each.specification).agent == found.id:
            return each
    raise UnknownError(
        "card",
        f"agent `{found.name}` is not published",
        subject=found.name,
        hint=Hint(f"type `gateway agents publish {found.name} --endpoint URL`"),
    )
