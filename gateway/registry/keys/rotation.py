"""Rotation of keys without downtime: a new key begins, and the one it replaces works until its overlap is over.

Each function is one transaction with its audit entries. Nothing has to happen at the end of the overlap: the old key
expires then. A revocation ends it at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlmodel import Session

from gateway.errors import ConflictError, GatewayError, Hint
from gateway.identity import credentials
from gateway.registry import change_entries as entries
from gateway.registry import outbox
from gateway.registry.database import Registry
from gateway.registry.keys.changes import MAX_LIVE_KEYS, holder_of, new_key
from gateway.registry.models import Agent, ApiKey, Organization
from gateway.registry.organizations import teams
from gateway.registry.queries import find_key, live_keys, live_members, writing
from gateway.registry.records import KeyRecord, NewKey
from gateway.registry.row_records import key_record


@dataclass(frozen=True, slots=True)
class Rotated:
    """A new key, and the one that it replaces, which works until its `expires_ns`."""

    new: NewKey
    old: KeyRecord


@dataclass(frozen=True, slots=True)
class Skipped:
    """An agent whose key was not rotated, and why."""

    agent: str
    why: str


@dataclass(frozen=True, slots=True)
class Terms:
    """The time that the old key still works, and that the new one will; None: as long as the old one was made for.

    The `reason` goes into the log.
    """

    overlap_ns: int
    lifetime_ns: int | None = None
    reason: str = ""


def rotate_key(
    registry: Registry,
    peppers: credentials.Peppers,
    *,
    actor: str,
    organization: str,
    terms: Terms,
    deliver: Callable[[Sequence[Rotated]], None],
    key: str | None = None,
    agent: str | None = None,
) -> Rotated:
    """Replace one key: this one, by id or the beginning of its text, or the one that this agent has.

    `deliver` gets the new key before anything is committed: if it raises, nothing has changed.
    """
    with writing(registry, organization) as (session, tenant):
        now = time.time_ns()
        named = None if key is None else find_key(session, tenant, key)
        reference = agent if named is None else named.agent_id
        assert reference is not None
        holder = holder_of(session, tenant, reference)
        row = _the_key(session, holder, now) if named is None else named
        if fault := _fault(session, holder, row, now):
            raise fault
        rotated = _rotate(session, tenant, holder, row, peppers, actor, terms, now)
        deliver([rotated])
        return rotated


def rotate_many(
    registry: Registry,
    peppers: credentials.Peppers,
    *,
    actor: str,
    organization: str,
    terms: Terms,
    team: str | None,
    deliver: Callable[[Sequence[Rotated]], None],
) -> tuple[list[Rotated], list[Skipped]]:
    """Replace the key of every agent of a team, or of all agents, in one transaction.

    As `rotate_key`; agents whose key cannot be replaced are left as they are.
    """
    rotated: list[Rotated] = []
    skipped: list[Skipped] = []
    with writing(registry, organization) as (session, tenant):
        now = time.time_ns()
        members = live_members(session, tenant, "organization" if team is None else "team", team or tenant.id)
        if not members:
            raise nobody(tenant.name, team)
        for holder in members:
            try:
                teams.check_alive(session, tenant, holder.team)
                row = _the_key(session, holder, now)
                if fault := _fault(session, holder, row, now):
                    raise fault
                rotated.append(_rotate(session, tenant, holder, row, peppers, actor, terms, now))
            except GatewayError as error:
                if error.code not in SKIPPED:
                    raise
                skipped.append(Skipped(holder.name, error.message))
        deliver(rotated)
    return rotated, skipped


SKIPPED: Final = frozenset({"no_key", "several_keys", "too_many_keys", "team_revoked"})
"""The reason why the key of one agent among many is left as it is."""


def nobody(organization: str, team: str | None) -> GatewayError:
    """The error for a team, or for an organization (None), without agents."""
    whose = f"team `{team}`" if team is not None else f"organization `{organization}`"
    return GatewayError("nobody_to_rotate", f"{whose} has no agent", hint=Hint("type `gateway agents list`"))


def _the_key(session: Session, holder: Agent, now_ns: int) -> ApiKey:
    """The key of an agent that no other has replaced yet."""
    live = live_keys(session, holder, now_ns, "api_key")
    current = [each for each in live if each.replaced_by is None]
    if len(current) == 1:
        return current[0]
    if current:
        hint = f"name one: {', '.join(each.id for each in current)}"
        raise GatewayError("several_keys", f"agent `{holder.name}` has {len(current)} keys in use", hint=hint)
    hint = Hint(f"type `gateway keys create {holder.name}`")
    raise GatewayError("no_key", f"agent `{holder.name}` has no key that works", subject=holder.id, hint=hint)


def _fault(session: Session, holder: Agent, row: ApiKey, now_ns: int) -> GatewayError | None:
    """The reason why a key cannot be replaced now."""
    name = row.shown_id
    if row.spiffe_id is not None:
        hint = "its certificates are renewed by their authority, and the gateway need not know"
        return GatewayError("workload_name", f"{name} is the name of a workload, which has no key here", hint=hint)
    if row.public_key is not None:
        hint = "add another public key, and revoke this one when nobody uses it any more"
        return GatewayError("public_key", f"{name} is a public key, which the gateway cannot make", hint=hint)
    if row.revoked_ns is not None or (row.expires_ns is not None and row.expires_ns <= now_ns):
        why = "is revoked" if row.revoked_ns is not None else "has expired"
        return ConflictError("dead_key", f"key {name} {why}", hint=Hint(f"type `gateway keys create {holder.name}`"))
    if row.replaced_by is not None:
        message = f"key {name} is replaced already, by {row.replaced_by}"
        return ConflictError("already_rotated", message, subject=row.id, hint=f"rotate that one, or revoke {row.id}")
    live = live_keys(session, holder, now_ns, "api_key")
    if len(live) >= MAX_LIVE_KEYS:
        other = next(each for each in live if each.id != row.id)
        state = "which is retiring" if other.replaced_by is not None else "which is in use"
        return ConflictError(
            "too_many_keys",
            f"agent `{holder.name}` has another key, {credentials.label('agent', other.credential_id)}, {state}",
            subject=holder.id,
            hint=Hint(
                f"if nobody uses it, type `gateway keys revoke {other.id}`", api="revoke a key of this agent first"
            ),
        )
    return None


def _rotate(
    session: Session,
    tenant: Organization,
    holder: Agent,
    old: ApiKey,
    peppers: credentials.Peppers,
    actor: str,
    terms: Terms,
    now_ns: int,
) -> Rotated:
    made = credentials.generate("agent")
    lifetime = terms.lifetime_ns
    if lifetime is None and old.expires_ns is not None:
        lifetime = old.expires_ns - old.created_ns
    row = new_key(made.credential, peppers, holder, now_ns, lifetime, old.scope, actor)
    session.add(row)
    old.replaced_ns, old.first_expires_ns = now_ns, old.expires_ns
    retires = now_ns + terms.overlap_ns
    old.expires_ns = retires if old.expires_ns is None else min(old.expires_ns, retires)
    old.replaced_by = row.id
    fields = {**entries.key(holder, row), "replaces": old.id, "retires_ns": str(old.expires_ns)}
    outbox.add_change(session, tenant, actor, "key.rotated", fields, terms.reason)
    new = NewKey(record=key_record(tenant, holder, row), text=made.text)
    return Rotated(new, key_record(tenant, holder, old))
