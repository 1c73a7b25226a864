"""All queries of the command line and the control process (architecture.md, section 9).

The `find_*` functions work inside a caller's session and return rows; they are what changes build on. The others open a
session themselves and return records. Each names the organization: there is no query across tenants but for those of
the deployment as a whole (bundles, activations).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

from sqlalchemy import ColumnElement, and_, func, or_, text, true
from sqlalchemy import select as select_rows
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from gateway.a2a import cards
from gateway.errors import ConflictError, Hint, UnknownError
from gateway.identity.credentials import Method, label, public_part
from gateway.identity.peers import PEER
from gateway.registry import change_entries, names, row_records
from gateway.registry.agents.states import ENDED, ended
from gateway.registry.database import Registry
from gateway.registry.models import (
    NOT_ENDED,
    Activation,
    ActivationCurrent,
    Agent,
    AgentVersion,
    ApiKey,
    Binding,
    Bundle,
    Deployment,
    Epoch,
    Organization,
    Team,
    Upstream,
    UpstreamRoute,
    table,
)
from gateway.registry.records import (
    ActivationRecord,
    AgentRecord,
    AgentVersionRecord,
    BindingRecord,
    KeyRecord,
    RouteRecord,
    SubjectKind,
    UpstreamRecord,
)

_LISTED = 5000
"""Names that a mistyped one is compared with: enough for a suggestion, and quick in a large registry."""

# --- rows, for changes ------------------------------------------------------------------------------------------------


@contextmanager
def writing(registry: Registry, organization: str) -> Iterator[tuple[Session, Organization]]:
    """A transaction that changes something of an organization."""
    with registry.write() as session:
        yield session, find_organization(session, organization)


@contextmanager
def reading(registry: Registry, organization: str) -> Iterator[tuple[Session, Organization]]:
    """A transaction that reads something of an organization."""
    with registry.read() as session:
        yield session, find_organization(session, organization)


def find_organization(session: Session, name: str) -> Organization:
    kept: dict[str, Organization] = session.info.setdefault("organizations", {})  # thousands of changes ask for one
    if name in kept:
        return kept[name]
    found = session.exec(select(Organization).where(Organization.name == name)).one_or_none()
    if found is None:
        known = session.exec(select(Organization.name).limit(_LISTED)).all()
        create = Hint(f"type `gateway orgs list` to see the organizations, or `gateway orgs create {name}`")
        raise names.unknown("organization", name, known, create)
    kept[name] = found
    return found


def find_agent(session: Session, organization: Organization, reference: str) -> Agent:
    """The agent of this name or id. A name means the live agent that has it, or else the one that had it last."""
    found = indexed_agent(session, organization, reference)
    if found is None:
        mine = select(Agent).where(Agent.organization_id == organization.id, Agent.name == reference)
        found = session.exec(mine.order_by(col(Agent.id).desc())).first()
    if found is None:
        living = select(Agent.name).where(Agent.organization_id == organization.id, col(Agent.status).not_in(ENDED))
        known = session.exec(living.order_by(col(Agent.id).desc()).limit(_LISTED)).all()
        raise names.unknown("agent", reference, known, Hint("type `gateway agents list` to see the agents"))
    return found


def find_living(session: Session, organization: Organization, reference: str) -> Agent:
    """The same, if it has not ended: only such an agent can be given or changed anything."""
    found = find_agent(session, organization, reference)
    if found.status in ENDED:
        raise ended(found.name, found.id, found.status)
    return found


def indexed_agent(session: Session, organization: Organization, reference: str) -> Agent | None:
    """The agent of this id, or the live one of this name.

    They are asked for one by one, because each has an index, and the two in one condition have none.
    """
    found = list(session.exec(live_agent(organization, reference)))
    if reference.startswith("agt_"):
        found += session.exec(select(Agent).where(Agent.organization_id == organization.id, Agent.id == reference))
    return max(found, key=lambda each: (each.status not in ENDED, each.id), default=None)


def live_agent(organization: Organization, name: str) -> SelectOfScalar[Agent]:
    """The agent that has a name and has not ended, found by `agent_live_name`."""
    return select(Agent).where(Agent.organization_id == organization.id, Agent.name == name, text(NOT_ENDED))


def find_key(session: Session, organization: Organization, reference: str) -> ApiKey:
    """The key with this id, or whose text begins like this (`aig_sk_…`), or the public key with this thumbprint.

    A SPIFFE ID names the row that is in force, or else the newest one. A secret is not looked at.
    """
    prefix = label("agent", "")
    credential_id = reference.removeprefix(prefix)[:12] if reference.startswith(prefix) else reference
    mine = select(ApiKey).where(ApiKey.organization_id == organization.id)
    # One by one, because each has an index, and the three in one condition have none.
    rows = [
        row
        for condition in (
            col(ApiKey.id) == reference,
            col(ApiKey.credential_id) == credential_id,
            col(ApiKey.spiffe_id) == reference,
        )
        for row in session.exec(mine.where(condition))
    ]
    found = max(rows, key=lambda row: (row.revoked_ns is None, row.id), default=None)
    if found is None:
        raise names.unknown("key", public_part(reference), (), Hint("type `gateway keys list` to see the keys"))
    return found


def find_bundle(session: Session, name: str, pinned: str | None) -> Bundle:
    """The revision that a binding means: the one in force, or a tested one at the commit that begins with `pinned`."""
    kept: dict[tuple[str, str | None], Bundle] = session.info.setdefault("bundles", {})
    if (name, pinned) not in kept:  # no change of a binding changes what is in force
        kept[name, pinned] = _find_bundle(session, name, pinned)
    return kept[name, pinned]


def _find_bundle(session: Session, name: str, pinned: str | None) -> Bundle:
    revisions = session.exec(select(Bundle).where(Bundle.name == name).order_by(col(Bundle.tested_ns).desc())).all()
    active = current_activation(session)
    in_force = active.bundles if active else {}
    if not revisions:
        known = f"bundles in force: {', '.join(sorted(in_force))}" if in_force else "no bundle is in force yet"
        raise names.unknown("bundle", name, in_force, known)
    if pinned is None:
        found = session.get(Bundle, (name, in_force[name].commit)) if name in in_force else None
        if found is None:
            raise ConflictError(
                "bundle_not_in_force",
                f"bundle `{name}` was in force, but is not any more",
                subject=name,
                hint=Hint(f"commit it again, or bind a revision that was tested: `--pin {revisions[0].revision[:12]}`"),
            )
        return found
    matching = [each for each in revisions if len(pinned) >= 7 and each.revision.startswith(pinned)]
    if len(matching) != 1:
        why = "no tested revision" if not matching else "more than one revision"
        raise UnknownError(
            "revision",
            f"bundle `{name}` has {why} at commit `{pinned}`",
            subject=name,
            hint="name a commit that was activated here, with at least 7 digits",
        )
    return matching[0]


def needed_bundles(session: Session) -> dict[str, str]:
    """Every bundle that must be in force, with a subject that is bound to it, as commands name it.

    A pinned binding brings its own revision, and an agent that has ended needs nothing.
    """
    needing = (
        select(func.min(Binding.id))
        .outerjoin(Agent, col(Agent.id) == Binding.subject)
        .where(
            col(Binding.removed_ns).is_(None),
            col(Binding.pinned).is_(None),
            or_(col(Binding.subject_kind) != "agent", col(Agent.status).not_in(ENDED)),
        )
        .group_by(Binding.bundle)
    )
    owned = select(Binding, Organization.name, Agent.name).select_from(Binding)
    joined = owned.join(Organization, col(Organization.id) == Binding.organization_id)
    rows = joined.outerjoin(Agent, col(Agent.id) == Binding.subject).where(col(Binding.id).in_(needing))
    found = {}
    for binding, organization, agent in session.exec(rows):
        subjects = {"agent": agent, "team": f"team:{binding.subject}", "organization": f"org:{organization}"}
        found[binding.bundle] = str(subjects[binding.subject_kind])
    return found


def find_upstream(session: Session, organization: Organization, name: str) -> Upstream:
    if (found := upstream_or_none(session, organization, name)) is None:
        raise names.unknown_upstream(name, upstream_names(session, organization))
    return found


def upstream_or_none(session: Session, organization: Organization, name: str) -> Upstream | None:
    mine = select(Upstream).where(Upstream.organization_id == organization.id)
    return session.exec(mine.where(Upstream.name == name)).one_or_none()


def find_route(session: Session, organization: Organization, name: str) -> UpstreamRoute:
    if (found := route_or_none(session, organization, name)) is None:
        mine = select(UpstreamRoute.name).where(UpstreamRoute.organization_id == organization.id)
        raise names.unknown_route(name, session.exec(mine).all())
    return found


def route_or_none(session: Session, organization: Organization, name: str) -> UpstreamRoute | None:
    mine = select(UpstreamRoute).where(UpstreamRoute.organization_id == organization.id)
    return session.exec(mine.where(UpstreamRoute.name == name)).one_or_none()


def routes_of(session: Session, organization: Organization) -> list[RouteRecord]:
    mine = select(UpstreamRoute).where(UpstreamRoute.organization_id == organization.id).order_by(UpstreamRoute.name)
    return [row_records.route_record(session, organization, each) for each in session.exec(mine).all()]


def upstream_names(session: Session, organization: Organization) -> list[str]:
    return list(session.exec(select(Upstream.name).where(Upstream.organization_id == organization.id)))


def live_members(session: Session, organization: Organization, kind: SubjectKind, subject: str) -> list[Agent]:
    """The agents that have not ended and that a binding of this subject, as stored, applies to; by name."""
    mine = select(Agent).where(Agent.organization_id == organization.id, col(Agent.status).not_in(ENDED))
    if kind != "organization":
        mine = mine.where((Agent.id if kind == "agent" else Agent.team) == subject)
    return list(session.exec(mine.order_by(Agent.name)))


def living_names(session: Session, organization: Organization, team: str | None = None) -> list[tuple[str, str]]:
    """The agents that have not ended, of an organization or of one team: their names, in order, with their teams."""
    mine = select(Agent.name, Agent.team).where(
        Agent.organization_id == organization.id, col(Agent.status).not_in(ENDED)
    )
    if team is not None:
        mine = mine.where(Agent.team == team)
    return list(session.exec(mine.order_by(Agent.name)))


def team_names(session: Session, organization: Organization) -> list[str]:
    return list(session.exec(select(Team.name).where(Team.organization_id == organization.id).order_by(Team.name)))


def live_keys(session: Session, agent: Agent, now_ns: int, method: Method | None = None) -> list[ApiKey]:
    """The keys of an agent that work now: all, or those for one kind of credentials."""
    mine = select(ApiKey).where(ApiKey.agent_id == agent.id, col(ApiKey.revoked_ns).is_(None))
    if method is not None:
        mine = mine.where(of_method(method))
    return [key for key in session.exec(mine.order_by(ApiKey.id)) if key.expires_ns is None or key.expires_ns > now_ns]


def of_method(method: Method) -> ColumnElement[bool]:
    """The condition that a key is for one kind of credentials."""
    public, name = col(ApiKey.public_key), col(ApiKey.spiffe_id)
    if method == "mtls":
        return name.is_not(None)
    return and_(name.is_(None), public.is_(None) if method == "api_key" else public.is_not(None))


def find_binding(
    session: Session,
    organization: Organization,
    kind: SubjectKind,
    subject: str,
    bundle: str,
    *,
    shadow: bool = False,
) -> Binding | None:
    """The binding in force; `subject` as stored: an id, or a team's name."""
    return session.exec(
        select(Binding).where(
            Binding.organization_id == organization.id,
            Binding.subject_kind == kind,
            Binding.subject == subject,
            Binding.bundle == bundle,
            Binding.shadow == shadow,
            col(Binding.removed_ns).is_(None),
        )
    ).one_or_none()


def bindings_of(session: Session, organization: Organization, kind: SubjectKind, subject: str) -> list[Binding]:
    """All bindings in force of one subject, as stored."""
    mine = select(Binding).where(Binding.organization_id == organization.id, Binding.subject_kind == kind)
    return list(session.exec(mine.where(Binding.subject == subject, col(Binding.removed_ns).is_(None))))


def current_activation(session: Session) -> ActivationRecord | None:
    found = session.exec(
        select(Activation).join(ActivationCurrent, col(ActivationCurrent.activation_id) == Activation.id)
    ).one_or_none()
    return None if found is None else row_records.activation_record(session, found)


def current_epoch(session: Session) -> int:
    return session.exec(select(Epoch.value)).one()


# --- records, for people ----------------------------------------------------------------------------------------------


def deployment(registry: Registry) -> str:
    """The name that `gateway init` gave."""
    with registry.read() as session:
        return deployment_of(session)


def deployment_of(session: Session) -> str:
    return session.exec(select(Deployment.name)).one()


def organizations(registry: Registry) -> list[str]:
    with registry.read() as session:
        return list(session.exec(select(Organization.name).order_by(Organization.name)))


def agents(registry: Registry, organization: str) -> list[AgentRecord]:
    """Every agent, also those that have ended, by name."""
    with reading(registry, organization) as (session, owner):
        return _agents_where(session, owner, true())


def living_agents(registry: Registry, organization: str) -> list[AgentRecord]:
    """The agents that have not ended, by name."""
    with reading(registry, organization) as (session, owner):
        return _agents_where(session, owner, col(Agent.status).not_in(ENDED))


def _agents_where(session: Session, owner: Organization, condition: ColumnElement[bool]) -> list[AgentRecord]:
    session.flush()  # a statement about plain rows does not do that by itself
    # Plain rows, which have the same attributes: an object for each would take most of the time.
    mine = select_rows(table(Agent)).where(col(Agent.organization_id) == owner.id, condition)
    rows = session.execute(mine.order_by(col(Agent.name), col(Agent.id)))
    return [row_records.agent_record(owner, cast(Agent, row)) for row in rows]


def agent(registry: Registry, organization: str, reference: str) -> AgentRecord:
    """An agent as it is now. As it was at a time: `as_of.py`."""
    with reading(registry, organization) as (session, owner):
        return row_records.agent_record(owner, find_agent(session, owner, reference))


def above(registry: Registry, agent_id: str) -> tuple[str, ...]:
    """The team and the organization of an agent, as changes of their bindings and limits name them (`about`)."""
    with registry.read() as session:
        found = session.get(Agent, agent_id)
        return () if found is None else change_entries.above(found)


def agent_versions(registry: Registry, organization: str, reference: str) -> list[AgentVersionRecord]:
    """All versions of an agent, oldest first."""
    with reading(registry, organization) as (session, owner):
        found = find_agent(session, owner, reference)
        versions = select(AgentVersion).where(AgentVersion.agent_id == found.id).order_by(col(AgentVersion.version))
        return [row_records.version_record(owner, each) for each in session.exec(versions)]


def keys(registry: Registry, organization: str, agent_reference: str | None = None) -> list[KeyRecord]:
    """The keys of an organization or of one agent, oldest first."""
    with reading(registry, organization) as (session, owner):
        mine = select(ApiKey, Agent).join(Agent).where(ApiKey.organization_id == owner.id)
        if agent_reference is not None:
            mine = mine.where(ApiKey.agent_id == find_agent(session, owner, agent_reference).id)
        return [row_records.key_record(owner, holder, key) for key, holder in session.exec(mine.order_by(ApiKey.id))]


def bindings(registry: Registry, organization: str, agent_reference: str | None = None) -> list[BindingRecord]:
    """The bindings in force, oldest first: all of an organization, or those that apply to one agent.

    Those of agents that have ended are left out, and each names the agents that it applies to.
    """
    with reading(registry, organization) as (session, owner):
        records = bindings_in_force(session, owner)
        if agent_reference is None:
            return records
        found = find_agent(session, owner, agent_reference)
        return [] if found.status in ENDED else [each for each in records if found.name in each.agents]


def bindings_in_force(session: Session, owner: Organization) -> list[BindingRecord]:
    """All bindings of an organization as `bindings` lists them, inside a caller's session."""
    named = select(Binding, Agent.name).outerjoin(Agent, col(Agent.id) == Binding.subject)
    mine = named.where(Binding.organization_id == owner.id, col(Binding.removed_ns).is_(None))
    living = mine.where(or_(col(Binding.subject_kind) != "agent", col(Agent.status).not_in(ENDED)))
    rows = session.exec(living.order_by(Binding.id)).all()
    return _with_members(session, owner, [row_records.binding_record(owner, row, name) for row, name in rows])


def upstreams(registry: Registry, organization: str, *, published: bool = True) -> list[UpstreamRecord]:
    """Its upstreams by name, with or without the agents that it has published."""
    with reading(registry, organization) as (session, owner):
        mine = select(Upstream).where(Upstream.organization_id == owner.id).order_by(Upstream.name)
        if not published:
            mine = mine.where(or_(col(Upstream.provider) != cards.PROVIDER, col(Upstream.auth) == PEER))
        return [row_records.upstream_record(owner, each) for each in session.exec(mine)]


def routes(registry: Registry, organization: str) -> list[RouteRecord]:
    with registry.read() as session:
        return routes_of(session, find_organization(session, organization))


def activation(registry: Registry) -> ActivationRecord | None:
    """The activation in force, if there was any yet."""
    with registry.read() as session:
        return current_activation(session)


def _with_members(session: Session, owner: Organization, records: list[BindingRecord]) -> list[BindingRecord]:
    """The records with the agents that they apply to, read once for all."""
    if not records:
        return []
    found = living_names(session, owner)
    everyone = [name for name, _ in found]
    living = set(everyone)
    teams: dict[str, list[str]] = {}
    for name, team in found:
        teams.setdefault(team, []).append(name)

    def members(record: BindingRecord) -> list[str]:
        if record.subject_kind == "agent":
            return [record.subject] if record.subject in living else []
        return everyone if record.subject_kind == "organization" else teams.get(record.subject, [])

    return [replace(record, agents=members(record)) for record in records]


def content_key(registry: Registry, organization: str, reference: str) -> bytes | None:
    """The sealed key of an agent whose content is kept; None if there is none, or not any more."""
    with registry.read() as session:
        return find_agent(session, find_organization(session, organization), reference).content_key
