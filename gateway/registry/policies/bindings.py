"""Bindings: which bundle judges which agent, team or organization (policies.md)."""

from __future__ import annotations

import dataclasses
import time

from sqlmodel import Session

from gateway.errors import ConflictError, GatewayError, Hint, UnknownError, did_you_mean
from gateway.identifiers import new_id
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox
from gateway.registry.agents import states as agent_states
from gateway.registry.database import Registry
from gateway.registry.models import EFFECTS, Agent, Binding, Organization
from gateway.registry.organizations import teams
from gateway.registry.queries import (
    bindings_of,
    find_agent,
    find_binding,
    find_bundle,
    live_members,
    team_names,
    writing,
)
from gateway.registry.records import BindingRecord, Effect, SubjectKind
from gateway.registry.row_records import binding_record

_MEANING = {
    "guard": "it can only deny and limit, and what it allows does not count any more",
    "grant": "it may allow, and without it and other grants nothing is allowed",
    "receive": "it says who may call its subject, and no longer judges what its subject calls",
}


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
        raise GatewayError("invalid_effect", f"effect `{effect}` is not one of {', '.join(EFFECTS)}", subject=effect)
    with writing(registry, organization) as (session, tenant):
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
        outbox.add_change(session, tenant, actor, "binding.created", entries.binding(row, replaced=before), reason)
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
    with writing(registry, organization) as (session, tenant):
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
        outbox.add_change(session, tenant, actor, "binding.removed", entries.binding(row), reason)
        return binding_record(tenant, row, agent.name if agent else None)


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
