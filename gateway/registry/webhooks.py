"""Changes and queries of webhooks: who is told of what happens (webhooks.md).

Each change is one transaction with its entry in the outbox. A webhook's secret is sealed in the vault. Webhooks have no
authority: nothing that an agent may do depends on them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

from sqlmodel import col, select

from gateway.audit import grants
from gateway.audit.thresholds import WHAT as THRESHOLD
from gateway.errors import ConflictError, Hint, UnknownError, did_you_mean
from gateway.identifiers import new_id
from gateway.outbound import addresses
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox
from gateway.registry.database import Registry
from gateway.registry.models import Agent, Organization, Webhook
from gateway.registry.queries import find_organization, writing
from gateway.registry.records import WebhookRecord, copied
from gateway.secrets.vault import SealedPlace, Vault

MAX_WEBHOOKS = 16
"""The most that an organization may have."""

POLICY_REFUSED: Final = "policy.refused"
USUAL: Final = (
    *(THRESHOLD, POLICY_REFUSED, "agent.suspended", "agent.revoked", "team.suspended", "team.revoked"),
    *("organization.suspended", "organization.revoked", "agents.stopped", grants.REQUESTED, grants.DECIDED),
    grants.ESCALATED,
)
"""The events that a webhook is told of if nobody says which."""

EVENTS: Final = frozenset(
    {
        *USUAL,
        *(
            "agent.registered",
            "agent.updated",
            "agent.resumed",
            "agent.retired",
            "key.created",
            "key.rotated",
            "key.revoked",
        ),
        *("team.resumed", "organization.resumed", "agents.resumed", "key.added"),
        *("binding.created", "binding.removed", "limit.set", "limit.raised", "limit.removed"),
        *("policy.activated", "webhook.added", "webhook.removed"),
        grants.REVOKED,
    }
)

Shape = Literal["generic", "slack", "teams"]
GENERIC: Final = "generic"
"""What a receiver takes. All but the first check no signature: whoever knows their URL may post to it."""

_VERSION = 1  # of the secret, which never changes


@dataclass(frozen=True, slots=True)
class Followed:
    """A webhook as the courier needs it; `since` is its place in the log when it was added."""

    id: str
    organization: str
    organization_id: str
    url: str
    reach: str
    shape: str
    team: str | None
    owner: str | None
    events: tuple[str, ...]
    since: int
    sealed: bytes = field(repr=False)

    @property
    def place(self) -> SealedPlace:
        return place(self.organization, self.id)

    def target(self, opened: str) -> tuple[str, str]:
        """Where to deliver, and what signs it, if anything does; `opened` is what was sealed."""
        return (self.url, opened) if self.shape == GENERIC else (opened, "")


def add_webhook(
    registry: Registry,
    vault: Vault,
    *,
    actor: str,
    organization: str,
    url: str,
    insecure: bool = False,
    allow_private: bool = False,
    events: Sequence[str] | None = None,
    secret: str,
    since: int,
    shape: Shape = GENERIC,
    team: str | None = None,
    owner: str | None = None,
) -> WebhookRecord:
    """Add a webhook, for the usual events if none are given. `since` is the last position of the log.

    If its shape has no signature, the URL is what is sealed, and no secret is kept.
    """
    reach = addresses.reach_of(insecure=insecure, allow_private=allow_private)
    addresses.check_literal(addresses.check_url(url, insecure=insecure), reach)
    _check_events(events or ())
    sealed, shown = (secret, url) if shape == GENERIC else (url, _hidden(url))
    with writing(registry, organization) as (session, tenant):
        mine = list(session.exec(select(Webhook).where(Webhook.organization_id == tenant.id)))
        if any(each.url == shown for each in mine):
            hint = "to replace its secret, add the URL with a query such as ?2, then remove this one"
            raise ConflictError("webhook_exists", "there is a webhook with this URL already", subject=shown, hint=hint)
        if len(mine) >= MAX_WEBHOOKS:
            raise ConflictError(
                "too_many_webhooks", f"organization `{organization}` has {MAX_WEBHOOKS} webhooks already"
            )
        identifier = new_id("whk")
        row = Webhook(
            id=identifier,
            organization_id=tenant.id,
            url=shown,
            reach=reach,
            shape=shape,
            team=None if team is None else names.check_name("team", team),
            owner=None if owner is None else names.check_text("owner", owner),
            events=sorted(set(events or USUAL)),
            secret=vault.seal(sealed, place(tenant.name, identifier)),
            since=since,
            created_ns=time.time_ns(),
        )
        session.add(row)
        fields = entries.webhook(row)
        outbox.add_change(session, tenant, actor, "webhook.added", fields)
        return _record(tenant, row)


def remove_webhook(registry: Registry, *, actor: str, organization: str, webhook: str) -> WebhookRecord:
    """Remove a webhook by its id, the beginning of it, or its URL. Waiting deliveries are dropped."""
    with writing(registry, organization) as (session, tenant):
        mine = session.exec(select(Webhook).where(Webhook.organization_id == tenant.id)).all()
        row = chosen(mine, webhook)
        session.delete(row)
        fields = entries.webhook(row)
        outbox.add_change(session, tenant, actor, "webhook.removed", fields)
        return _record(tenant, row)


def webhooks(registry: Registry, organization: str) -> list[WebhookRecord]:
    """The webhooks of an organization, oldest first."""
    with registry.read() as session:
        tenant = find_organization(session, organization)
        rows = session.exec(select(Webhook).where(Webhook.organization_id == tenant.id).order_by(col(Webhook.id)))
        return [_record(tenant, row) for row in rows]


def by_organization(registry: Registry) -> dict[str, list[WebhookRecord]]:
    """All webhooks by the name of their organization; those without any are left out."""
    found: dict[str, list[WebhookRecord]] = {}
    with registry.read() as session:
        owned = select(Webhook, Organization).join(Organization, col(Organization.id) == Webhook.organization_id)
        for row, tenant in session.exec(owned.order_by(col(Webhook.id))):
            found.setdefault(tenant.name, []).append(_record(tenant, row))
    return found


def followed(registry: Registry, organization: str = "", webhook: str = "") -> list[Followed]:
    """All webhooks of all organizations, or one of an organization."""
    statement = select(Webhook, Organization).join(Organization, col(Organization.id) == Webhook.organization_id)
    with registry.read() as session:
        if webhook:
            tenant = find_organization(session, organization)
            statement = statement.where(Webhook.organization_id == tenant.id)
        rows = session.exec(statement.order_by(col(Webhook.id))).all()
        if webhook:
            one = chosen([row for row, _ in rows], webhook)
            rows = [each for each in rows if each[0].id == one.id]
        return [
            copied(Followed, row, organization=tenant.name, events=tuple(row.events), sealed=row.secret)
            for row, tenant in rows
        ]


def agent_name(registry: Registry, organization_id: str, agent: str) -> str:
    """The name of an agent by its id, also of a revoked one; the id if there is no such agent."""
    with registry.read() as session:
        row = session.get(Agent, agent)
        return row.name if row is not None and row.organization_id == organization_id else agent


class _Choosing(Protocol):
    @property
    def team(self) -> str | None: ...

    @property
    def owner(self) -> str | None: ...


def is_for(webhook: _Choosing, named: Mapping[str, Any]) -> bool:
    """True unless the webhook is for the agents of a team or of an owner, and this names others, or none."""
    return all(wanted in (None, named.get(name)) for name, wanted in (("team", webhook.team), ("owner", webhook.owner)))


def _hidden(url: str) -> str:
    """A URL that is a secret, so that people can tell it from others and nobody can use it."""
    try:
        found = urlsplit(url)
    except ValueError:
        return ""
    return f"{found.scheme}://{found.netloc}/...{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def _check_events(given: Collection[str]) -> None:
    """Raise unless these are events: a mistyped one would never be told."""
    for each in given:
        if each not in EVENTS:
            hint = did_you_mean(each, EVENTS, f"events are {', '.join(sorted(EVENTS))}")
            raise UnknownError("event", f"`{each}` is not an event", subject=each, hint=hint)


class _Named(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def url(self) -> str: ...


_W = TypeVar("_W", bound=_Named)


def chosen(rows: Sequence[_W], wanted: str) -> _W:
    """The one with this id, the beginning of it, or this URL."""
    found = [row for row in rows if wanted in (row.id, row.url) or row.url == _hidden(wanted)]
    found = found or [row for row in rows if len(wanted) > len("whk_") and row.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    what = "no webhook" if not found else "more than one webhook"
    hint = Hint("type `gateway webhooks list` to see their ids")
    raise UnknownError("webhook", f"{what} has the id or URL `{wanted}`", subject=wanted, hint=hint)


def place(organization: str, identifier: str) -> SealedPlace:
    return SealedPlace(organization, "webhook", identifier, _VERSION)


def _record(tenant: Organization, row: Webhook) -> WebhookRecord:
    return copied(WebhookRecord, row, organization=tenant.name)
