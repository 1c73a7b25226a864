"""A login: from the claims of a verified id_token to an operator and its token, in one transaction (login.md).

The person's operators are from now on what the claims give now. A role that they no longer give is taken away,
and where they let nobody in the tokens of earlier logins end, also if this login is refused.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlmodel import Session, select

from gateway.identifiers import new_id
from gateway.identity import logins
from gateway.identity.credentials import Peppers
from gateway.identity.logins import ManyPlacesError, OperatorRule
from gateway.identity.operator_roles import Role
from gateway.registry import change_entries as entries
from gateway.registry import outbox
from gateway.registry.database import Registry
from gateway.registry.models import LoginProvider, Operator, OperatorToken, Organization
from gateway.registry.operators import login_providers, operators
from gateway.registry.records import NewToken, OperatorRecord

_SECOND: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRefusal:
    """The reason why somebody whom the provider knows was not let in: a word for the log, and what the token lacked
    for it.

    `organizations` are those of which the person could be an operator, if it must say which.
    """

    why: str
    operator: str | None = None
    missing: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()


def enter(
    registry: Registry, peppers: Peppers, *, login: str, provider: str, claims: Mapping[str, Any], wanted: str | None
) -> NewToken | LoginRefusal:
    """Let a person in, or not. `login` is the id of the login, which gives one token only; `provider` the id of the
    provider that made the claims; `wanted` the organization that the person wants to work in.
    """
    with registry.write() as session:
        row = session.get(LoginProvider, provider)
        if row is None or row.removed_ns is not None:
            return LoginRefusal(why="provider_removed")
        if session.exec(select(OperatorToken.id).where(OperatorToken.login == login)).first() is not None:
            return LoginRefusal(why="used_before")
        tenants = {each.id: each for each in session.exec(select(Organization))}
        rules = [
            OperatorRule(each.id, _name(tenants, each.organization_id), cast(Role, each.role), each.claims)
            for each in login_providers.live_rules(session, row)
        ]
        admitted = logins.admitted(rules, claims)
        mine = _operators_of(session, row.issuer, claims["sub"])
        _follow(session, row, mine, tenants, admitted)
        try:
            rule = logins.chosen(admitted, wanted)
        except ManyPlacesError as error:
            return LoginRefusal(why="which_organization", organizations=tuple(error.organizations))
        if rule is None:
            known = next((each.id for each in mine if each.status == "active"), None)
            return LoginRefusal(why="no_rule", operator=known, missing=tuple(logins.missing(rules, claims)))
        tenant = next((each for each in tenants.values() if each.name == rule.organization), None)
        here = [each for each in mine if _name(tenants, each.organization_id) == rule.organization]
        holder = next((each for each in here if each.status == "active"), None)
        if holder is None:
            if here:  # somebody has ended the operator of this person
                return LoginRefusal(why="operator_revoked", operator=here[-1].id)
            holder = _added(session, row, tenant, rule, claims)
        return _token(session, peppers, row, tenant, holder, rule, login)


def enter_by_link(
    registry: Registry, peppers: Peppers, *, login: str, operator: str, lifetime_ns: int
) -> NewToken | LoginRefusal:
    """Let in whoever has a link that was made on the gateway's machine. `login` is its id; it gives one token only."""
    with registry.write() as session:
        if session.exec(select(OperatorToken.id).where(OperatorToken.login == login)).first() is not None:
            return LoginRefusal(why="used_before", operator=operator)
        holder = session.get(Operator, operator)
        if holder is None or holder.status != "active" or holder.issuer is not None:
            return LoginRefusal(why="operator_revoked", operator=operator)
        tenant = session.get(Organization, holder.organization_id) if holder.organization_id else None
        # Sessions make room for a new one; what programs use stays.
        working = operators.live_tokens(session, holder, time.time_ns())
        browsers = [each for each in working if (each.login or "").startswith("brw_")]
        if len(working) >= operators.MAX_LIVE_TOKENS and not browsers:
            return LoginRefusal(why="too_many_tokens", operator=operator)
        actor = f"operator:{holder.id}"
        if len(working) >= operators.MAX_LIVE_TOKENS:
            _end(session, tenant, holder, browsers[0], actor)
        row, text = operators.new_token(peppers, holder, actor=actor, lifetime_ns=lifetime_ns, scopes=None)
        row.login = login
        session.add(row)
        session.flush()
        outbox.add_change(session, tenant, actor, "operator.logged_in", entries.operator_token(holder, row), "link")
        return NewToken(record=operators.token_record(tenant, holder, row), text=text)


def readmit(
    registry: Registry, *, actor: str, organization: str | None, operator: str, reason: str = ""
) -> OperatorRecord | None:
    """Let the person of a revoked operator log in again, as a new operator. None if no login is barred by it."""
    with registry.write() as session:
        tenant = operators.tenant_of(session, organization)
        named = operators.find_operator(session, tenant, operator)
        if named.issuer is None or named.subject is None or named.status != "revoked":
            return None
        barred = [
            each
            for each in _operators_of(session, named.issuer, named.subject)
            if each.organization_id == named.organization_id and each.status == "revoked"
        ]
        for row in barred:
            row.issuer = row.subject = None
            session.flush()
            outbox.add_change(session, tenant, actor, "operator.readmitted", entries.operator(row), reason)
        return operators.operator_record(tenant, named)


def record_refusal(registry: Registry, provider: str, name: str, refusal: LoginRefusal, count: int = 1) -> None:
    """The entry of logins that were refused: of one, or of so many for the same reason."""
    fields: dict[str, str | int | bool | None] = {
        "login_provider": provider or None,
        "login_provider_name": name or None,
        "refusal": refusal.why,
        "count": count,
    }
    if refusal.operator is not None:
        fields["operator"] = refusal.operator
    if refusal.missing:
        fields["missing_claims"] = " ".join(refusal.missing)
    with registry.write() as session:
        outbox.add_change(session, None, f"login:{name}" if name else "login", "operator_login.refused", fields)


# --- within one transaction -------------------------------------------------------------------------------------------


def _name(tenants: Mapping[str, Organization], identifier: str | None) -> str | None:
    return None if identifier is None else tenants[identifier].name


def _operators_of(session: Session, issuer: str, subject: str) -> list[Operator]:
    """The operators of a person, also revoked ones, oldest first."""
    mine = select(Operator).where(Operator.issuer == issuer, Operator.subject == subject)
    return list(session.exec(mine.order_by(Operator.id)))


def _follow(
    session: Session,
    provider: LoginProvider,
    mine: list[Operator],
    tenants: Mapping[str, Organization],
    admitted: Mapping[str | None, OperatorRule],
) -> None:
    """Make the person's operators what the claims give now."""
    actor = f"login:{provider.name}"
    now = time.time_ns()
    for row in mine:
        if row.status != "active":
            continue
        tenant = tenants.get(row.organization_id or "")
        rule = admitted.get(_name(tenants, row.organization_id))
        if rule is None:
            for token in operators.live_tokens(session, row, now):
                token.revoked_ns = now
                fields = entries.operator_token(row, token)
                outbox.add_change(session, tenant, actor, "operator_token.revoked", fields, "no login rule any more")
        elif row.role != rule.role:
            row.role = rule.role
            operators.next_version(session, tenant, row, actor, "operator.updated", f"login rule {rule.id}")


def _added(
    session: Session,
    provider: LoginProvider,
    tenant: Organization | None,
    rule: OperatorRule,
    claims: Mapping[str, Any],
) -> Operator:
    """The operator of a person who logs in for the first time."""
    name = base = logins.suggested_name(claims, provider.name)
    number = 1
    while operators.live(session, tenant, name) is not None:
        number += 1
        name = f"{base}-{number}"
    now = time.time_ns()
    row = Operator(
        id=new_id("opr"),
        organization_id=None if tenant is None else tenant.id,
        name=name,
        role=rule.role,
        status="active",
        version=1,
        created_ns=now,
        updated_ns=now,
        issuer=provider.issuer,
        subject=claims["sub"],
    )
    session.add(row)
    reason = f"first login by rule {rule.id}"
    operators.remember(session, tenant, row, f"login:{provider.name}", "operator.added", reason)
    return row


def _end(session: Session, tenant: Organization | None, holder: Operator, token: OperatorToken, actor: str) -> None:
    """End a session to make room for another one."""
    token.revoked_ns = time.time_ns()
    fields = entries.operator_token(holder, token)
    outbox.add_change(session, tenant, actor, "operator_token.revoked", fields, "too many logins")


def _token(
    session: Session,
    peppers: Peppers,
    provider: LoginProvider,
    tenant: Organization | None,
    holder: Operator,
    rule: OperatorRule,
    login: str,
) -> NewToken:
    """The token of this login. If the person has many that work, the oldest one ends."""
    actor = f"operator:{holder.id}"
    working = operators.live_tokens(session, holder, time.time_ns())
    for token in working[: max(0, len(working) - operators.MAX_LIVE_TOKENS + 1)]:
        _end(session, tenant, holder, token, actor)
    lifetime = provider.session_seconds * _SECOND
    row, text = operators.new_token(peppers, holder, actor=actor, lifetime_ns=lifetime, scopes=None)
    row.login, row.login_rule = login, rule.id
    session.add(row)
    session.flush()
    fields = {
        **entries.operator_token(holder, row),
        "login_provider": provider.id,
        "login_provider_name": provider.name,
        "login_rule": rule.id,
    }
    outbox.add_change(session, tenant, actor, "operator.logged_in", fields)
    return NewToken(record=operators.token_record(tenant, holder, row), text=text)
