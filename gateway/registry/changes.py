"""Every change of organizations, agents, keys, bindings and upstreams (architecture.md, sections 9 and 10).

Each function is one transaction: the change, its history and its audit entry in the outbox are committed together or
not at all, and the triggers bump the epoch with them. When a function returns, the change is in force for the next
request in every worker. Its entry reaches the audit log by `outbox.drain`, which callers run afterwards.

`actor` says who does it: `local:<uid>` for the command line. `reason` says why, if somebody said. Changes of agents
that exist are in `agent_updates.py`, those of teams in `teams.py`, those of policies in `activations.py`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, select

from gateway.audit.intents import Fields
from gateway.errors import ConflictError, GatewayError, Hint, UnknownError, did_you_mean
from gateway.identifiers import new_id
from gateway.identity import credentials
from gateway.identity.key_scope import KeyScope
from gateway.registry import adoptions, agent_states, names, operators, outbox, teams
from gateway.registry import change_entries as entries
from gateway.registry.agent_versions import add_version
from gateway.registry.database import Registry
from gateway.registry.models import EFFECTS, Agent, ApiKey, Binding, Organization, OrganizationVersion, Upstream
from gateway.registry.queries import (
    bindings_of,
    find_agent,
    find_binding,
    find_bundle,
    find_key,
    find_organization,
    find_route,
    find_upstream,
    live_keys,
    live_members,
    team_names,
    upstream_names,
)
from gateway.registry.records import (
    AgentRecord,
    BindingRecord,
    Effect,
    KeyRecord,
    NewKey,
    SubjectKind,
    UpstreamRecord,
)
from gateway.registry.registration import register_agent as register_agent
from gateway.registry.row_records import agent_record, binding_record, key_record, upstream_record
from gateway.registry.upstream_routes import leave_routes
from gateway.secrets.vault import Place, Vault

MAX_LIVE_KEYS = 2
"""One in use and one that replaces it."""

_MEANING = {
    "guard": "it can only deny and limit, and what it allows does not count any more",
    "grant": "it may allow, and without it and other grants nothing is allowed",
}


def create_organization(registry: Registry, *, actor: str, name: str, reason: str = "") -> str:
    """A new tenant; returns its id."""
    names.check_organization(name)
    with registry.write() as session:
        if session.exec(select(Organization).where(Organization.name == name)).first() is not None:
            raise _taken("organization", name)
        row = Organization(id=new_id("org"), name=name, created_ns=time.time_ns())
        session.add(row)
        remember_organization(session, row, actor, "organization.created", reason, row.created_ns)
        return row.id


def remember_organization(
    session: Session, row: Organization, actor: str, what: str, reason: str, since_ns: int
) -> None:
    """Add the version that `row` now is to the history, with its entry."""
    session.flush()  # the organization's row first: the history refers to it
    session.add(
        OrganizationVersion(
            organization_id=row.id,
            version=row.version,
            status=row.status,
            review_days=row.review_days,
            suspend_after_days=row.suspend_after_days,
            zone=row.zone,
            actor=actor,
            reason=reason,
            since_ns=since_ns,
        )
    )
    _record(session, row, actor, what, entries.organization(row), reason)


def revoke_agent(
    registry: Registry, *, actor: str, organization: str, agent: str, reason: str = ""
) -> AgentRecord | None:
    """End an agent and all its keys, for good. None if it was revoked already; then nothing changes."""
    return _end(registry, actor, organization, agent, "revoked", reason)


def retire_agent(
    registry: Registry, *, actor: str, organization: str, agent: str, reason: str = ""
) -> AgentRecord | None:
    """End an agent whose work is done, and all its keys, for good. None if it was retired already."""
    return _end(registry, actor, organization, agent, "retired", reason)


def _end(registry: Registry, actor: str, organization: str, agent: str, status: str, reason: str) -> AgentRecord | None:
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = find_agent(session, tenant, agent)
        if row.status == status:
            return None
        agent_states.check_transition(row.name, row.id, row.status, status)
        now = time.time_ns()
        for key in live_keys(session, row, now):
            key.revoked_ns = now
        adoptions.end_with(session, row, now)
        row.status = status
        add_version(session, tenant, row, actor, f"agent.{status}", reason)
        return agent_record(tenant, row)


def create_key(
    registry: Registry,
    peppers: credentials.Peppers,
    *,
    actor: str,
    organization: str,
    agent: str,
    lifetime_ns: int | None = None,
    reason: str = "",
    scope: KeyScope | None = None,
) -> NewKey:
    """A key for an agent, or for a part of what it may do. The returned text is its only copy."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        holder = find_agent(session, tenant, agent)
        if holder.status in agent_states.ENDED:
            raise agent_states.ended(holder.name, holder.id, holder.status)
        teams.check_alive(session, tenant, holder.team)
        now = time.time_ns()
        live = live_keys(session, holder, now, "api_key")
        if len(live) >= MAX_LIVE_KEYS:
            raise ConflictError(
                "too_many_keys",
                f"agent `{holder.name}` has {MAX_LIVE_KEYS} live keys already",
                subject=holder.id,
                hint=Hint(
                    f"revoke one first: `gateway keys revoke {live[0].id}`", api="revoke a key of this agent first"
                ),
            )
        made = credentials.generate("agent")
        row = new_key(
            made.credential, peppers, holder, now, lifetime_ns, None if scope is None else scope.document(), actor
        )
        session.add(row)
        _record(session, tenant, actor, "key.created", entries.key(holder, row), reason)
        return NewKey(record=key_record(tenant, holder, row), text=made.text)


def revoke_key(registry: Registry, *, actor: str, organization: str, key: str, reason: str = "") -> KeyRecord | None:
    """End one key, named by id or by the beginning of its text. None if it was revoked already."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = find_key(session, tenant, key)
        if row.revoked_ns is not None:
            return None
        row.revoked_ns = time.time_ns()
        holder = find_agent(session, tenant, row.agent_id)
        _record(session, tenant, actor, "key.revoked", entries.key(holder, row), reason)
        return key_record(tenant, holder, row)


def bind(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    kind: SubjectKind,
    subject: str,
    bundle: str,
    effect: Effect = "grant",
    pinned: str | None = None,
    without_members: bool = False,
    other_effect: bool = False,
    shadow: bool = False,
    reason: str = "",
) -> BindingRecord:
    """Let a bundle judge a subject, from the next request on. `subject` is an agent, a team, or the organization.

    A binding of the same two with another effect or commit is replaced in the same transaction: there is no moment
    without one. Two things happen only if the caller says that they are meant: a binding that applies to nobody yet
    (`without_members`), which may be a mistyped name, and a grant that becomes a guard or the other way round
    (`other_effect`). A `shadow` is asked and recorded and does not count; it stands beside a binding that does.
    """
    if effect not in EFFECTS:
        raise GatewayError("invalid_effect", f"effect `{effect}` is neither grant nor guard", subject=effect)
    with registry.write() as session:
        tenant = find_organization(session, organization)
        try:
            stored, agent = subject_of(session, tenant, kind, subject)
        except GatewayError as error:
            raise _other_way_round(session, tenant, error, subject, bundle) from error
        revision = find_bundle(session, bundle, pinned)
        members = members_of(session, tenant, kind, subject, agent, actor, without_members=without_members)
        commit = revision.revision if pinned is not None else None
        now = time.time_ns()
        before = find_binding(session, tenant, kind, stored, bundle, shadow=shadow)
        if before is not None:
            if (before.effect, before.pinned) == (effect, commit):
                raise ConflictError(
                    "binding_exists",
                    f"bundle `{bundle}` is bound to {kind} `{subject}` already, with this effect",
                    subject=before.id,
                )
            if before.effect != effect and not shadow and not other_effect:
                raise ConflictError(
                    "other_effect",
                    f"bundle `{bundle}` is bound to {kind} `{subject}` as a {before.effect}; as a {effect} "
                    + _MEANING[effect],
                    subject=before.id,
                    hint=Hint("add --yes if that is meant", api='send "other_effect": true if that is meant'),
                )
            before.removed_ns = now
            session.flush()  # the old row must be out of the unique index before the new one enters
        row = Binding(
            id=new_id("bnd"),
            organization_id=tenant.id,
            subject_kind=kind,
            subject=stored,
            bundle=bundle,
            effect=effect,
            shadow=shadow,
            pinned=commit,
            created_ns=now,
            actor=actor,
            reason=reason or None,
        )
        session.add(row)
        _record(session, tenant, actor, "binding.created", entries.binding(row, replaced=before), reason)
        return dataclasses.replace(
            binding_record(tenant, row, agent.name if agent else None), agents=[each.name for each in members]
        )


def unbind(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    kind: SubjectKind,
    subject: str,
    bundle: str,
    shadow: bool = False,
    reason: str = "",
) -> BindingRecord:
    """End a binding. For a guard this takes a protection away, for a grant a permission, for a shadow nothing."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        stored, agent = subject_of(session, tenant, kind, subject)
        row = find_binding(session, tenant, kind, stored, bundle, shadow=shadow)
        if row is None:
            bound = [each.bundle for each in bindings_of(session, tenant, kind, stored) if each.shadow == shadow]
            raise UnknownError(
                "binding",
                f"bundle `{bundle}` is not bound to {kind} `{subject}`" + (" as a shadow" if shadow else ""),
                subject=subject,
                hint=did_you_mean(bundle, bound, Hint("type `gateway bindings list` to see the bindings")),
            )
        row.removed_ns = time.time_ns()
        _record(session, tenant, actor, "binding.removed", entries.binding(row), reason)
        return binding_record(tenant, row, agent.name if agent else None)


def add_upstream(
    registry: Registry,
    vault: Vault,
    *,
    actor: str,
    organization: str,
    name: str,
    provider: str,
    base_url: str,
    secret: str | None,
    default: bool = False,
    insecure: bool = False,
    replace: bool = False,
    specification: str | None = None,
    headers: Mapping[str, str] | None = None,
    reason: str = "",
) -> UpstreamRecord:
    """A destination with its secret, sealed; `replace` gives an existing one another secret, URL and all the rest.

    `specification` has the operations of a JSON API (provider `http`). `headers` go with every call and are no secrets.

    The first upstream of an organization is its default, whatever `default` says: `/v1/…` should lead somewhere.
    """
    names.check_served("upstream", name)
    names.check_provider(provider)
    base_url = names.check_base_of(provider, names.check_base_url(base_url, insecure=insecure))
    headers = names.check_headers(provider, headers or {})
    if secret is not None:
        names.check_secret(secret)
    with registry.write() as session:
        tenant = find_organization(session, organization)
        if find_route(session, tenant, name) is not None:
            raise _taken("route", name, "give the upstream another name: a base URL can mean only one of them")
        row = find_upstream(session, tenant, name)
        if row is not None and not replace:
            raise _taken("upstream", name, "say --replace to give it another secret or URL")
        others = session.exec(
            select(Upstream).where(Upstream.organization_id == tenant.id, Upstream.name != name)
        ).all()
        if default:
            for other in others:
                other.is_default = False
            session.flush()  # out of the unique index before the new default enters
        now = time.time_ns()
        what = "upstream.added" if row is None else "upstream.replaced"
        if row is None:
            row = Upstream(
                id=new_id("ups"),
                organization_id=tenant.id,
                name=name,
                provider=provider,
                base_url=base_url,
                is_default=False,
                version=0,
                created_ns=now,
                updated_ns=now,
            )
        row.provider, row.base_url, row.updated_ns = provider, base_url, now
        row.specification = specification
        row.headers = headers
        row.reach = operators.reach_of(session, tenant.name, actor)
        row.is_default = default or row.is_default or not others
        # The version is part of what the secret is bound to: an older ciphertext of this row is of no use.
        row.version += 1
        place = Place(tenant.name, provider, row.id, row.version)
        row.secret = None if secret is None else vault.seal(secret, place)
        session.add(row)
        _record(session, tenant, actor, what, entries.upstream(row), reason)
        return upstream_record(tenant, row)


def remove_upstream(
    registry: Registry, *, actor: str, organization: str, name: str, reason: str = ""
) -> UpstreamRecord:
    """Delete a destination and its sealed secret. It leaves its routes; no other becomes the default by itself."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        row = find_upstream(session, tenant, name)
        if row is None:
            raise names.unknown_upstream(name, upstream_names(session, tenant))
        removed = upstream_record(tenant, row)
        leave_routes(session, tenant, row, actor)
        session.delete(row)
        _record(session, tenant, actor, "upstream.removed", entries.upstream(row), reason)
        return removed


# --- within one transaction -------------------------------------------------------------------------------------------


def subject_of(session: Session, tenant: Organization, kind: SubjectKind, subject: str) -> tuple[str, Agent | None]:
    """The value that a binding stores for its subject, and the row if that is an agent."""
    if kind == "agent":
        agent = find_agent(session, tenant, subject)
        return agent.id, agent
    return (tenant.id if kind == "organization" else names.check_name("team", subject)), None


def _other_way_round(
    session: Session, tenant: Organization, error: GatewayError, subject: str, bundle: str
) -> GatewayError:
    """The error, or another one if the bundle was named first."""
    try:
        find_bundle(session, subject, None)
        find_agent(session, tenant, bundle)
    except GatewayError:
        return error
    hint = Hint(f"the agent comes first: `gateway bind {bundle} {subject}`")
    return GatewayError(
        error.code, f"`{subject}` is a bundle, and `{bundle}` an agent", subject=subject, hint=hint, kind=error.kind
    )


def members_of(
    session: Session,
    tenant: Organization,
    kind: SubjectKind,
    subject: str,
    agent: Agent | None,
    actor: str,
    *,
    without_members: bool,
) -> list[Agent]:
    """The agents that something bound to a subject applies to.

    If there are none, the subject may be a mistyped name. It is accepted if the caller says so, or if it is a team
    that has a row; a team that has none yet gets one. An agent that has ended is never accepted.
    """
    if agent is not None:
        members = [] if agent.status in agent_states.ENDED else [agent]
    else:
        members = live_members(session, tenant, kind, subject if kind == "team" else tenant.id)
    known = kind == "team" and subject in team_names(session, tenant)
    if not members and not known and (kind == "agent" or not without_members):
        raise nobody(session, tenant, kind, subject)
    if kind == "team":
        teams.ensure(session, tenant, subject, actor)
    return members


def nobody(session: Session, tenant: Organization, kind: SubjectKind, subject: str) -> GatewayError:
    """The error for a subject that no agent belongs to."""
    create = Hint(
        "add --create if its agents will come later", api='send "without_members": true if its agents will come later'
    )
    if kind == "team":
        message = f"no agent of organization `{tenant.name}` is in team `{subject}`"
        return ConflictError(
            "nobody_in_team", message, subject=subject, hint=did_you_mean(subject, team_names(session, tenant), create)
        )
    if kind == "organization":
        message = f"organization `{tenant.name}` has no agent"
        return ConflictError("nobody_in_organization", message, subject=subject, hint=create)
    row = find_agent(session, tenant, subject)
    return agent_states.ended(row.name, row.id, row.status)


def _taken(what: str, name: str, hint: str = "choose another name") -> GatewayError:
    return ConflictError(f"{what}_exists", f"{what} `{name}` exists already", subject=name, hint=hint)


def new_key(
    credential: credentials.Credential,
    peppers: credentials.Peppers,
    holder: Agent,
    now_ns: int,
    lifetime_ns: int | None,
    scope: dict[str, Any] | None,
    actor: str | None = None,
) -> ApiKey:
    """The row of a key that was just made."""
    return ApiKey(
        id=new_id("key"),
        organization_id=holder.organization_id,
        agent_id=holder.id,
        credential_id=credential.id,
        digest=credentials.digest(credential, peppers.current),
        pepper=peppers.newest,
        created_ns=now_ns,
        expires_ns=None if lifetime_ns is None else now_ns + lifetime_ns,
        scope=scope,
        actor=actor,
    )


def _record(session: Session, tenant: Organization, actor: str, what: str, fields: Fields, reason: str = "") -> None:
    outbox.add_change(session, organization=tenant.name, actor=actor, what=what, fields=fields, reason=reason)
