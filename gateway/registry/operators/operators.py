"""Operators, who use the control API, and their tokens (control-api.md).

An operator belongs to one organization, or to the whole gateway: then `organization` is None, and the changes are in
the log of the deployment. Each function is one transaction with its history and its audit entry. The rights of a role
are in `gateway/identity/operator_roles.py`.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

from sqlmodel import Session, col, select

from gateway.errors import ConflictError, ForbiddenError, Hint, UnknownError, did_you_mean
from gateway.identifiers import new_id
from gateway.identity import credentials, operator_roles
from gateway.outbound.addresses import ANYWHERE, PUBLIC
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox
from gateway.registry.database import Registry
from gateway.registry.models import Operator, OperatorToken, OperatorVersion, Organization
from gateway.registry.queries import find_organization
from gateway.registry.records import NewToken, OperatorRecord, OperatorTokenRecord, OperatorVersionRecord, copied

MAX_LIVE_TOKENS: Final = 16
"""The most tokens of one operator that may work at a time."""
_SECOND: Final = 10**9
_KINDS: Final = {"lgn": "login", "brw": "browser"}
"""The kind of a token, by the prefix of the login that gave it."""


def add_operator(
    registry: Registry, *, actor: str, organization: str | None, name: str, role: str, reason: str = ""
) -> OperatorRecord:
    """A new operator at version 1, without a token."""
    names.check_name("operator", name)
    role = operator_roles.check_role(role)
    with registry.write() as session:
        tenant = tenant_of(session, organization)
        if live(session, tenant, name) is not None:
            hint = "choose another name, or revoke that operator first"
            raise ConflictError("operator_exists", f"operator `{name}` exists already", subject=name, hint=hint)
        now = time.time_ns()
        row = Operator(
            id=new_id("opr"),
            organization_id=None if tenant is None else tenant.id,
            name=name,
            role=role,
            status="active",
            version=1,
            created_ns=now,
            updated_ns=now,
        )
        session.add(row)
        remember(session, tenant, row, actor, "operator.added", reason)
        return operator_record(tenant, row)


def update_operator(
    registry: Registry, *, actor: str, organization: str | None, operator: str, role: str, reason: str = ""
) -> OperatorRecord | None:
    """Give an operator another role, from the next request on. None if it has that role already."""
    role = operator_roles.check_role(role)
    with registry.write() as session:
        tenant = tenant_of(session, organization)
        row = find_operator(session, tenant, operator)
        _check_live(row)
        if row.issuer is not None:
            hint = Hint(
                "change the rules: `gateway operators login-rule list`; or revoke the operator",
                api="change the login rules, or revoke the operator",
            )
            message = f"the role of `{row.name}` is that of login rules"
            raise ConflictError("role_of_rules", message, subject=row.id, hint=hint)
        if row.role == role:
            return None
        row.role = role
        next_version(session, tenant, row, actor, "operator.updated", reason)
        return operator_record(tenant, row)


def revoke_operator(
    registry: Registry, *, actor: str, organization: str | None, operator: str, reason: str = ""
) -> OperatorRecord | None:
    """End an operator and all its tokens, for good. None if that was done already. The name becomes free."""
    with registry.write() as session:
        tenant = tenant_of(session, organization)
        row = find_operator(session, tenant, operator)
        if row.status == "revoked":
            return None
        now = time.time_ns()
        for token in live_tokens(session, row, now):
            token.revoked_ns = now
        row.status = "revoked"
        next_version(session, tenant, row, actor, "operator.revoked", reason)
        return operator_record(tenant, row)


def create_token(
    registry: Registry,
    peppers: credentials.Peppers,
    *,
    actor: str,
    organization: str | None,
    operator: str,
    lifetime_ns: int | None = None,
    scopes: Collection[str] | None = None,
    reason: str = "",
    until_ns: int | None = None,
) -> NewToken:
    """A token for an operator, or for a part of what its role may do. The returned text is its only copy.

    `until_ns` is when the token ends with which this is asked: the new one must not outlive it.
    """
    checked = operator_roles.check_scopes(scopes)
    with registry.write() as session:
        tenant = tenant_of(session, organization)
        holder = find_operator(session, tenant, operator)
        _check_live(holder)
        if holder.issuer is not None:
            # Such a token would outlive the right to log in.
            hint = "log in, or add another operator for a program"
            message = f"tokens of `{holder.name}` come from logins"
            raise ConflictError("tokens_of_logins", message, subject=holder.id, hint=hint)
        working = live_tokens(session, holder, time.time_ns())
        if len(working) >= MAX_LIVE_TOKENS:
            raise ConflictError(
                "too_many_tokens",
                f"operator `{holder.name}` has {MAX_LIVE_TOKENS} live tokens already",
                subject=holder.id,
                hint=f"revoke one first, such as {working[0].id}",
            )
        row, text = new_token(peppers, holder, actor=actor, lifetime_ns=lifetime_ns, scopes=checked)
        _check_end(row, until_ns)
        session.add(row)
        outbox.add_change(session, tenant, actor, "operator_token.created", entries.operator_token(holder, row), reason)
        return NewToken(record=token_record(tenant, holder, row), text=text)


def revoke_token(
    registry: Registry, *, actor: str, organization: str | None, operator: str | None, token: str, reason: str = ""
) -> OperatorTokenRecord | None:
    """End one token, named by its id or by the beginning of its text. None if it was revoked already.

    `operator` is the name or id of its holder, or None for any of the organization.
    """
    with registry.write() as session:
        tenant = tenant_of(session, organization)
        row, holder = _find_token(session, tenant, operator, token)
        if row.revoked_ns is not None:
            return None
        row.revoked_ns = time.time_ns()
        outbox.add_change(session, tenant, actor, "operator_token.revoked", entries.operator_token(holder, row), reason)
        return token_record(tenant, holder, row)


def operators(registry: Registry, organization: str | None) -> list[OperatorRecord]:
    """The operators of an organization, or those of the whole gateway; also those that have ended; by name."""
    with registry.read() as session:
        tenant = tenant_of(session, organization)
        rows = session.exec(select(Operator).where(_mine(tenant)).order_by(Operator.name, Operator.id))
        return [operator_record(tenant, each) for each in rows]


def all_operators(registry: Registry) -> list[OperatorRecord]:
    """Those of the whole gateway and of every organization."""
    with registry.read() as session:
        tenants = {each.id: each for each in session.exec(select(Organization))}
        rows = session.exec(select(Operator).order_by(Operator.name, Operator.id))
        return [operator_record(tenants.get(each.organization_id or ""), each) for each in rows]


def operator(registry: Registry, organization: str | None, reference: str) -> OperatorRecord:
    with registry.read() as session:
        tenant = tenant_of(session, organization)
        return operator_record(tenant, find_operator(session, tenant, reference))


def operator_versions(registry: Registry, organization: str | None, reference: str) -> list[OperatorVersionRecord]:
    """All versions of an operator, oldest first."""
    with registry.read() as session:
        tenant = tenant_of(session, organization)
        found = find_operator(session, tenant, reference)
        versions = select(OperatorVersion).where(OperatorVersion.operator_id == found.id)
        rows = session.exec(versions.order_by(col(OperatorVersion.version)))
        return [copied(OperatorVersionRecord, each) for each in rows]


def tokens(registry: Registry, organization: str | None, reference: str) -> list[OperatorTokenRecord]:
    """The tokens of an operator, oldest first, also dead ones."""
    with registry.read() as session:
        tenant = tenant_of(session, organization)
        holder = find_operator(session, tenant, reference)
        mine = select(OperatorToken).where(OperatorToken.operator_id == holder.id).order_by(col(OperatorToken.id))
        return [token_record(tenant, holder, each) for each in session.exec(mine)]


def token(registry: Registry, organization: str | None, operator: str | None, reference: str) -> OperatorTokenRecord:
    """One token, also a dead one, named as for `revoke_token`."""
    with registry.read() as session:
        tenant = tenant_of(session, organization)
        row, holder = _find_token(session, tenant, operator, reference)
        return token_record(tenant, holder, row)


def by_credential(
    session: Session, credential_id: str
) -> tuple[OperatorToken, OperatorRecord, OperatorTokenRecord] | None:
    """The token with this public id, dead or alive, and whose it is."""
    found = session.exec(
        select(OperatorToken, Operator, Organization)
        .join(Operator, col(Operator.id) == OperatorToken.operator_id)
        .outerjoin(Organization, col(Organization.id) == Operator.organization_id)
        .where(OperatorToken.credential_id == credential_id)
    ).one_or_none()
    if found is None:
        return None
    token, holder, tenant = found
    return token, operator_record(tenant, holder), token_record(tenant, holder, token)


# --- within one transaction -------------------------------------------------------------------------------------------


def new_token(
    peppers: credentials.Peppers, holder: Operator, *, actor: str, lifetime_ns: int | None, scopes: list[str] | None
) -> tuple[OperatorToken, str]:
    """The row of a new token, and its text."""
    made = credentials.generate("operator")
    now = time.time_ns()
    row = OperatorToken(
        id=new_id("otk"),
        operator_id=holder.id,
        organization_id=holder.organization_id,
        credential_id=made.credential.id,
        digest=credentials.digest(made.credential, peppers.current),
        pepper=peppers.newest,
        scopes=scopes,
        created_ns=now,
        expires_ns=None if lifetime_ns is None else now + lifetime_ns,
        actor=actor,
    )
    return row, made.text


def find_operator(session: Session, tenant: Organization | None, reference: str) -> Operator:
    """The operator of this name or id. A name means the live one that has it, or else the one that had it last."""
    named = select(Operator).where(_mine(tenant), (col(Operator.name) == reference) | (col(Operator.id) == reference))
    found = session.exec(named.order_by(col(Operator.status) == "revoked", col(Operator.id).desc())).first()
    if found is None:
        known = session.exec(select(Operator.name).where(_mine(tenant), Operator.status == "active")).all()
        where = "of the whole gateway" if tenant is None else f"of organization `{tenant.name}`"
        raise UnknownError(
            "operator",
            f"unknown operator `{reference}` {where}",
            subject=reference,
            hint=did_you_mean(reference, known, Hint("type `gateway operators list` to see them")),
        )
    return found


def is_of(session: Session, organization: str, actor: str) -> bool:
    """True if the actor of a change is an operator of this organization, and not one of the whole gateway."""
    kind, _, identifier = actor.partition(":")
    if kind != "operator":
        return False
    row = session.get(Operator, identifier)
    return row is not None and row.organization_id == find_organization(session, organization).id


def reach_of(session: Session, organization: str, actor: str) -> str:
    """The addresses to which an actor may have the gateway connect (`outbound/addresses.py`)."""
    return PUBLIC if is_of(session, organization, actor) else ANYWHERE


def tenant_of(session: Session, organization: str | None) -> Organization | None:
    return None if organization is None else find_organization(session, organization)


def _mine(tenant: Organization | None):  # type: ignore[no-untyped-def]  # an SQL condition
    return col(Operator.organization_id).is_(None) if tenant is None else Operator.organization_id == tenant.id


def live(session: Session, tenant: Organization | None, name: str) -> Operator | None:
    named = select(Operator).where(_mine(tenant), Operator.name == name, Operator.status == "active")
    return session.exec(named).first()


def _check_live(row: Operator) -> None:
    if row.status == "revoked":
        hint = Hint(f"add it anew: `gateway operators add {row.name}`", api="add the operator anew")
        raise ConflictError("operator_revoked", f"operator `{row.name}` is revoked", subject=row.id, hint=hint)


def _check_end(row: OperatorToken, until_ns: int | None) -> None:
    """Raise unless a token ends by then: one that was stolen must not make itself a longer life."""
    if until_ns is not None and (row.expires_ns is None or row.expires_ns > until_ns):
        left = max(0, until_ns - row.created_ns) // _SECOND
        message = f"a token must not outlive the one that makes it, which ends in {left} s"
        hint = Hint(
            "give it a shorter life, or make it with `gateway operators token create` on the gateway's own machine",
            api="give it a shorter `expires_in`, or ask with a token that ends later",
        )
        raise ForbiddenError("token_outlives_maker", message, hint=hint)


def live_tokens(session: Session, holder: Operator, now_ns: int) -> list[OperatorToken]:
    mine = select(OperatorToken).where(OperatorToken.operator_id == holder.id, col(OperatorToken.revoked_ns).is_(None))
    rows = session.exec(mine.order_by(col(OperatorToken.id)))
    return [each for each in rows if each.expires_ns is None or each.expires_ns > now_ns]


def _find_token(
    session: Session, tenant: Organization | None, operator: str | None, reference: str
) -> tuple[OperatorToken, Operator]:
    credential_id = reference.removeprefix(credentials.label("operator", ""))[: credentials.ID_LENGTH]
    named = (col(OperatorToken.id) == reference) | (col(OperatorToken.credential_id) == credential_id)
    joined = select(OperatorToken, Operator).join(Operator, col(Operator.id) == OperatorToken.operator_id)
    mine = joined.where(_mine(tenant), named)
    if operator is not None:
        mine = mine.where(Operator.id == find_operator(session, tenant, operator).id)
    found = session.exec(mine).first()
    if found is None:
        shown = credentials.public_part(reference)
        raise names.unknown("token", shown, (), Hint("type `gateway operators token list NAME` to see the tokens"))
    return found


def next_version(
    session: Session, tenant: Organization | None, row: Operator, actor: str, what: str, reason: str
) -> None:
    row.version += 1
    row.updated_ns = time.time_ns()
    remember(session, tenant, row, actor, what, reason)


def remember(session: Session, tenant: Organization | None, row: Operator, actor: str, what: str, reason: str) -> None:
    session.flush()  # the operator's row first: the history refers to it
    since = {"operator_id": row.id, "since_ns": row.updated_ns}
    session.add(copied(OperatorVersion, row, **since, actor=actor, reason=reason))
    outbox.add_change(session, tenant, actor, what, entries.operator(row), reason)


def operator_record(tenant: Organization | None, row: Operator) -> OperatorRecord:
    return copied(OperatorRecord, row, organization=None if tenant is None else tenant.name, since_ns=row.updated_ns)


def token_record(tenant: Organization | None, holder: Operator, row: OperatorToken) -> OperatorTokenRecord:
    named = {"organization": None if tenant is None else tenant.name, "operator": holder.name}
    kind = _KINDS.get((row.login or "").partition("_")[0], "token")
    shown = credentials.label("operator", row.credential_id)
    return copied(OperatorTokenRecord, row, token_id=shown, kind=kind, **named)
