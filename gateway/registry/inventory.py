"""The registry at a glance, read in one transaction: what `gateway status` judges (architecture.md, section 9)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import func
from sqlmodel import Session, col, select

from gateway.errors import GatewayError
from gateway.registry import adoptions, contests, emergency_stops, queries, row_records
from gateway.registry.adoptions import AdoptionRecord
from gateway.registry.agents import needs
from gateway.registry.agents.needs import Agents
from gateway.registry.agents.states import ENDED
from gateway.registry.contests import ContestRecord
from gateway.registry.database import Registry
from gateway.registry.keys import retiring
from gateway.registry.keys.retiring import Old, Retiring
from gateway.registry.models import Agent, Organization, Outbox, Team, Upstream
from gateway.registry.policies import bound as bindings
from gateway.registry.policies.bound import Bound
from gateway.registry.records import (
    ActivationRecord,
    RouteRecord,
    StopRecord,
    UpstreamRecord,
)
from gateway.secrets.vault import SealedPlace, Vault

MOST_KEYS: Final = 5000
"""So many keys of each sort are looked at, those that end first and the oldest ones."""


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """An upstream, when it was last changed, and its sealed secret with the place that the secret is bound to."""

    record: UpstreamRecord
    updated_ns: int
    secret: bytes | None
    place: SealedPlace


@dataclass(frozen=True, slots=True)
class Tenant:
    """Everything of one organization."""

    name: str
    status: str
    # The names of the teams that are not active, with their states.
    inactive_teams: dict[str, str]
    agents: Agents
    bound: Bound
    upstreams: list[UpstreamState]
    routes: list[RouteRecord]
    # Those that were not stopped.
    adoptions: list[AdoptionRecord]


@dataclass(frozen=True, slots=True)
class Inventory:
    """All organizations, the activation in force, and the entries that wait for the audit log (`owed`).

    `retiring` are keys in their last hours, `old_keys` those that somebody may have forgotten.
    """

    tenants: list[Tenant]
    activation: ActivationRecord | None
    owed: int
    owed_since_ns: int | None
    retiring: list[Retiring] = field(default_factory=list)
    old_keys: list[Old] = field(default_factory=list)
    stops: list[StopRecord] = field(default_factory=list)
    # The credentials that two organizations claim.
    contests: list[ContestRecord] = field(default_factory=list)


def take(registry: Registry, now_ns: int) -> Inventory:
    with registry.read() as session:
        owed, since = session.exec(select(func.count(), func.min(Outbox.created_ns)).select_from(Outbox)).one()
        organizations = session.exec(select(Organization).order_by(Organization.name)).all()
        activation = queries.current_activation(session)
        in_force = frozenset(activation.bundles if activation else ())
        return Inventory(
            [_tenant(session, each, in_force, now_ns) for each in organizations],
            activation,
            owed,
            since,
            retiring=retiring.in_last_hours(session, now_ns, MOST_KEYS),
            old_keys=retiring.old(session, now_ns, MOST_KEYS),
            stops=emergency_stops.in_force(session),
            contests=contests.contests(session),
        )


@dataclass(frozen=True, slots=True)
class Beginning:
    """The facts for an operator at a start: of agents only their number."""

    agents: int
    upstreams: list[UpstreamState]
    adoptions: list[AdoptionRecord]
    activation: ActivationRecord | None


def beginning(registry: Registry) -> Beginning:
    with registry.read() as session:
        organizations = session.exec(select(Organization).order_by(Organization.name)).all()
        living = select(func.count()).select_from(Agent).where(col(Agent.status).not_in(ENDED))
        return Beginning(
            session.exec(living).one(),
            [state for each in organizations for state in _upstreams(session, each)],
            [record for each in organizations for record in _adoptions(session, each)],
            queries.current_activation(session),
        )


def sealed_faults(upstreams: Iterable[UpstreamState], vault: Vault | GatewayError) -> dict[str, str]:
    """By their ids the upstreams whose secret cannot be opened, and why; `vault` may be why none is."""
    faults: dict[str, str] = {}
    for each in upstreams:
        if each.secret is None:
            continue
        try:
            if isinstance(vault, GatewayError):
                raise vault
            vault.open(each.secret, each.place)
        except GatewayError as error:
            faults[each.record.id] = _fault(error)
    return faults


def _fault(error: GatewayError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _tenant(session: Session, owner: Organization, in_force: frozenset[str], now_ns: int) -> Tenant:
    teams = select(Team.name, Team.status).where(Team.organization_id == owner.id, Team.status != "active")
    inactive = dict(session.exec(teams.order_by(Team.name)).all())
    agents, bound = needs.look(session, owner, now_ns), bindings.look(session, owner, in_force)
    routes = queries.routes_of(session, owner)
    upstreams, adopted = _upstreams(session, owner), _adoptions(session, owner)
    return Tenant(owner.name, owner.status, inactive, agents, bound, upstreams, routes, adopted)


def _upstreams(session: Session, owner: Organization) -> list[UpstreamState]:
    rows = session.exec(select(Upstream).where(Upstream.organization_id == owner.id).order_by(Upstream.name))
    return [
        UpstreamState(
            row_records.upstream_record(owner, row),
            row.updated_ns,
            row.secret,
            row.place(owner.name),
        )
        for row in rows
    ]


def _adoptions(session: Session, owner: Organization) -> list[AdoptionRecord]:
    return [each for each in adoptions.of(session, owner) if each.revoked_ns is None]
