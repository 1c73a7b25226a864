"""Adoptions: an organization moves its programs from a provider's key to keys of their own (moving.md).

Until an end date, calls that present such a key pass as those of the organization's agent `legacy`, to one upstream.
Each change is one transaction with its entry, and in force for the next request when it returns.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlmodel import Session, col, select

from gateway.errors import ConflictError, GatewayError, Hint, did_you_mean
from gateway.identifiers import new_id
from gateway.identity import legacy_keys
from gateway.identity.credentials import Peppers
from gateway.identity.legacy_keys import AGENT
from gateway.registry import change_entries as entries
from gateway.registry import contests, outbox
from gateway.registry.agents import registration
from gateway.registry.agents.states import ENDED
from gateway.registry.database import Registry
from gateway.registry.models import Agent, LegacyKey, Organization
from gateway.registry.queries import bindings_in_force, find_organization, find_upstream, writing
from gateway.registry.records import KeyRecord, copied

MAX_DAYS: Final = 366
"""An adoption is for a while, not for good."""
MAX_KEYS: Final = 16
"""The most that an organization may have at a time."""

REMIND_DAYS: Final = 14
"""From so many days before its end on, an adoption is reminded of."""

_DAY_NS: Final = 86_400_000_000_000
_PURPOSE: Final = "calls with a provider's key that programs share, until they have keys of their own"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionRecord:
    """A provider's key that is, or was, adopted. Nothing is known of the key itself."""

    id: str
    organization: str
    agent: str
    agent_id: str
    agent_status: str
    upstream: str
    created_ns: int
    expires_ns: int
    revoked_ns: int | None
    actor: str

    def state(self, now_ns: int) -> str:
        """`running`, or why its key opens nothing."""
        if self.revoked_ns is not None:
            return "stopped"
        if self.expires_ns <= now_ns:
            return "over"
        return "running" if self.agent_status == "active" else f"agent {self.agent_status}"

    def as_key(self) -> KeyRecord:
        """It as one of its agent's keys."""
        return copied(KeyRecord, self, key_id=f"old key of {self.upstream}", method="legacy")


@dataclass(frozen=True, slots=True)
class Started:
    """The result of a start: whether it registered the agent, and whether anything grants it anything."""

    adoptions: list[AdoptionRecord]
    registered: bool
    granted: bool


def start(
    registry: Registry,
    peppers: Peppers,
    *,
    actor: str,
    organization: str,
    upstream: str,
    keys: Sequence[str],
    expires_ns: int,
    owner: str = "",
    replace_revoked: bool = False,
    reason: str = "",
) -> Started:
    """Let these keys pass until a time. A key that is adopted already gets this end instead of the one it has.

    If the agent for them was revoked, there is another one only with `replace_revoked`.
    """
    given = list(dict.fromkeys(legacy_keys.check(each) for each in keys))
    now_ns = time.time_ns()
    _check_end(expires_ns, now_ns)
    with registry.together() as session:
        tenant = find_organization(session, organization)
        find_upstream(session, tenant, upstream)
        agent = _agent(session, tenant)
        if registered := agent is None:
            _register(registry, actor, organization, owner, replace_revoked, reason)
            agent = _agent(session, tenant)
        assert agent is not None
        live = _live(session, tenant)
        rows = []
        for key in given:
            before = _end_before(session, tenant, key, upstream, peppers, now_ns, actor)
            row = LegacyKey(
                id=new_id("lgk"),
                organization_id=tenant.id,
                agent_id=agent.id,
                upstream=upstream,
                digest=legacy_keys.digest(key, peppers.current),
                pepper=peppers.newest,
                created_ns=now_ns,
                expires_ns=expires_ns,
                actor=actor,
            )
            session.add(row)
            fields = {**entries.adoption(row, agent), **({"replaced": before.id} if before is not None else {})}
            outbox.add_change(session, tenant, actor, "adoption.started", fields, reason)
            live = [each for each in live if each is not before] + [row]
            rows.append(row)
        if len(live) > MAX_KEYS:
            hint = Hint(
                "type `gateway adopt list` to see them, and stop those that are not needed",
                api="stop an adoption that is not needed first",
            )
            raise ConflictError("too_many_keys", f"an organization adopts at most {MAX_KEYS} keys", hint=hint)
        grants = [each for each in bindings_in_force(session, tenant) if each.effect == "grant" and not each.shadow]
        granted = any(AGENT in each.agents for each in grants)
        return Started([record_of(tenant, row, agent) for row in rows], registered, granted)


def stop(
    registry: Registry, *, actor: str, organization: str, upstream: str | None = None, reason: str = ""
) -> list[AdoptionRecord]:
    """Let the keys pass no longer, those of one upstream or all; returns them."""
    with writing(registry, organization) as (session, tenant):
        live = _live(session, tenant)
        rows = [each for each in live if upstream in (None, each.upstream)]
        if not rows:
            what = f"organization `{tenant.name}` adopts no key" + (f" of `{upstream}`" if upstream else "")
            hint = did_you_mean(
                upstream or "",
                [each.upstream for each in live],
                Hint("type `gateway adopt list`", api="GET /api/v1/adoptions lists them"),
            )
            raise ConflictError("no_adoption", what, subject=upstream or tenant.name, hint=hint)
        stopped = []
        for row in rows:
            row.revoked_ns = time.time_ns()
            agent = session.get_one(Agent, row.agent_id)
            outbox.add_change(session, tenant, actor, "adoption.stopped", entries.adoption(row, agent), reason)
            stopped.append(record_of(tenant, row, agent))
        return stopped


def adoptions(registry: Registry, organization: str) -> list[AdoptionRecord]:
    """All of an organization, also those that have ended, oldest first."""
    with registry.read() as session:
        return of(session, find_organization(session, organization))


def of(session: Session, tenant: Organization) -> list[AdoptionRecord]:
    rows = session.exec(
        select(LegacyKey, Agent).join(Agent).where(LegacyKey.organization_id == tenant.id).order_by(col(LegacyKey.id))
    )
    return [record_of(tenant, row, agent) for row, agent in rows]


def reminders(running: Sequence[AdoptionRecord], now_ns: int) -> list[tuple[str, bool]]:
    """A sentence for each that ends soon or has ended, and whether it has; those that were stopped are left out."""
    found = {}
    for each in running:
        left = each.expires_ns - now_ns
        days = left // _DAY_NS
        when = "in less than a day" if not days else "in 1 day" if days == 1 else f"in {days} days"
        if each.revoked_ns is None and days < REMIND_DAYS:
            what = f"the old key of upstream `{each.upstream}` of `{each.organization}`"
            found[f"{what} ends {when}" if left > 0 else f"{what} has ended"] = left <= 0
    return list(found.items())


def end_with(session: Session, agent: Agent, now_ns: int) -> None:
    """End the adoptions of an agent that ends."""
    mine = select(LegacyKey).where(LegacyKey.agent_id == agent.id, col(LegacyKey.revoked_ns).is_(None))
    for row in session.exec(mine):
        row.revoked_ns = now_ns


def record_of(tenant: Organization, row: LegacyKey, agent: Agent) -> AdoptionRecord:
    named = {"organization": tenant.name, "agent": agent.name, "agent_status": agent.status}
    return copied(AdoptionRecord, row, **named)


def _check_end(expires_ns: int, now_ns: int) -> None:
    if not expires_ns:
        raise GatewayError(
            "invalid_expiry", "an old key must have an end", hint=Hint("write --until 60d or 2027-01-31")
        )
    if expires_ns <= now_ns:
        raise GatewayError("invalid_expiry", "the end is in the past", hint=Hint("choose a later --until"))
    if expires_ns > now_ns + MAX_DAYS * _DAY_NS:
        message = f"the end is more than {MAX_DAYS} days away, and a key that programs share should not stay so long"
        raise GatewayError("invalid_expiry", message, hint=Hint("choose an earlier --until; it can be moved later"))


def _agent(session: Session, tenant: Organization) -> Agent | None:
    mine = select(Agent).where(Agent.organization_id == tenant.id, Agent.name == AGENT)
    return session.exec(mine.where(col(Agent.status).not_in(ENDED))).first()


def _register(
    registry: Registry, actor: str, organization: str, owner: str, replace_revoked: bool, reason: str
) -> None:
    if not owner:
        message = f"there is no agent `{AGENT}` yet, and nobody to ask about its calls"
        raise GatewayError(
            "owner_needed",
            message,
            hint=Hint(
                "say who moves the programs: --owner dana@example.com", api='say who moves the programs: send "owner"'
            ),
        )
    registration.register_agent(
        registry,
        actor=actor,
        organization=organization,
        name=AGENT,
        owner=owner,
        purpose=_PURPOSE,
        replace_revoked=replace_revoked,
        reason=reason,
    )


def _live(session: Session, tenant: Organization) -> list[LegacyKey]:
    mine = select(LegacyKey).where(LegacyKey.organization_id == tenant.id, col(LegacyKey.revoked_ns).is_(None))
    return list(session.exec(mine.order_by(col(LegacyKey.id))))


def _end_before(
    session: Session,
    tenant: Organization,
    key: legacy_keys.PresentedLegacyKey,
    upstream: str,
    peppers: Peppers,
    now_ns: int,
    actor: str,
) -> LegacyKey | None:
    """End the row of a key that is adopted already; None if there is none. Raises if it is adopted otherwise."""
    digests = [legacy_keys.digest(key, pepper) for pepper in peppers.all]
    same = select(LegacyKey).where(col(LegacyKey.digest).in_(digests), col(LegacyKey.revoked_ns).is_(None))
    row = session.exec(same).first()
    if row is None:
        return None
    if row.organization_id != tenant.id:
        message = "another organization adopts this key, and a call with it can mean only one"
        error = ConflictError("key_adopted", message, hint="let each organization have a key of its own")
        whose = {"credential": row.id, "holder": row.organization_id}
        contests.refuse(error, tenant, actor=actor, what="old key of a provider", **whose)
    if row.upstream != upstream:
        message = f"this key is adopted for the upstream `{row.upstream}` already"
        hint = Hint(
            f"type `gateway adopt stop --upstream {row.upstream}` first",
            api="stop that adoption first, or give each organization a key of its own",
        )
        raise ConflictError("key_adopted", message, subject=row.upstream, hint=hint)
    row.revoked_ns = now_ns
    session.flush()  # out of the unique index before the new row enters
    return row
