"""The names of the world that the owners of the gateway have given to organizations (control-api.md).

A trust domain, or a part of one, and the audience of an issuer say whose a certificate or a token is. In one
organization nobody disputes that. If there are several, an operator of one of them could take the names of another
and get its prompts. So such an operator uses those that its organization was given; those of the whole gateway use any.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlmodel import Session, select

from gateway.errors import ConflictError, ForbiddenError, GatewayError, Hint, UnknownError
from gateway.identifiers import new_id
from gateway.identity.certificates import check_spiffe_id
from gateway.registry import change_entries as entries
from gateway.registry import claim_rules, outbox
from gateway.registry.database import Registry
from gateway.registry.models import GivenName, Organization
from gateway.registry.operators import operators
from gateway.registry.queries import reading, writing
from gateway.registry.records import copied

TRUST_DOMAIN: Final = "trust_domain"
ISSUER: Final = "issuer"
MAX_NAMES: Final = 64
"""The most that an organization may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenNameRecord:
    """A name that an organization was given. `audience` is that of an issuer, otherwise empty."""

    id: str
    organization: str
    kind: Literal["trust_domain", "issuer"]
    name: str
    audience: str
    created_ns: int
    actor: str


def give(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    kind: str,
    name: str,
    audience: str = "",
    reason: str = "",
) -> GivenNameRecord:
    """Let the operators of an organization use a name. No two organizations are given the same one."""
    name = _checked(kind, name, audience)
    with writing(registry, organization) as (session, tenant):
        _check_giver(session, tenant, actor)
        same = select(GivenName).where(GivenName.kind == kind, GivenName.name == name, GivenName.audience == audience)
        if (before := session.exec(same).first()) is not None:
            owner = session.get_one(Organization, before.organization_id).name
            message = f"{_shown(kind, name, audience)} is given to organization `{owner}` already"
            hint = (
                Hint(f"take it back first: `gateway orgs take {owner} …`")
                if before.organization_id != tenant.id
                else ""
            )
            raise ConflictError("name_exists", message, subject=before.id, hint=hint)
        if len(_of(session, tenant)) >= MAX_NAMES:
            raise ConflictError("too_many_names", f"an organization is given at most {MAX_NAMES} names")
        row = GivenName(
            id=new_id("giv"),
            organization_id=tenant.id,
            kind=kind,
            name=name,
            audience=audience,
            created_ns=time.time_ns(),
            actor=actor,
        )
        session.add(row)
        outbox.add_change(session, tenant, actor, "name.given", entries.given_name(row), reason)
        return _record_of(tenant, row)


def take(registry: Registry, *, actor: str, organization: str, given: str, reason: str = "") -> GivenNameRecord:
    """Take a name back, by its id. Names that were made with it stay: revoke those, too, if they must end."""
    with writing(registry, organization) as (session, tenant):
        _check_giver(session, tenant, actor)
        row = session.get(GivenName, given)
        if row is None or row.organization_id != tenant.id:
            message = f"organization `{tenant.name}` was not given `{given[:80]}`"
            hint = Hint(f"`gateway orgs show {tenant.name}` lists its names")
            raise UnknownError("name", message, subject=given[:80], hint=hint)
        record = _record_of(tenant, row)
        session.delete(row)
        outbox.add_change(session, tenant, actor, "name.taken", entries.given_name(row), reason)
        return record


def given(registry: Registry, organization: str) -> list[GivenNameRecord]:
    """The names of an organization, in the order in which they were given."""
    with reading(registry, organization) as (session, tenant):
        return [_record_of(tenant, row) for row in _of(session, tenant)]


def check_spiffe(session: Session, tenant: Organization, actor: str, spiffe_id: str) -> None:
    """Raise unless an actor may say whose a SPIFFE ID is."""
    if not operators.is_of(session, tenant.name, actor):
        return
    path = spiffe_id.removeprefix("spiffe://")
    names = [row.name for row in _of(session, tenant) if row.kind == TRUST_DOMAIN]
    if not any(path.startswith(f"{name}/") for name in names):
        domain = path.partition("/")[0]
        option = f"--trust-domain {domain}"
        raise _not_given(tenant, f"the trust domain `{domain}`", spiffe_id, option)


def check_issuer(session: Session, tenant: Organization, actor: str, issuer: str, audience: str) -> None:
    """Raise unless an actor may say whose the tokens of an issuer for an audience are."""
    if not operators.is_of(session, tenant.name, actor):
        return
    if not any((row.kind, row.name, row.audience) == (ISSUER, issuer, audience) for row in _of(session, tenant)):
        option = f"--issuer {issuer} --audience {audience}"
        raise _not_given(tenant, _shown(ISSUER, issuer, audience), issuer, option)


def _check_giver(session: Session, tenant: Organization, actor: str) -> None:
    if operators.is_of(session, tenant.name, actor):
        message = "an operator of one organization may not give it names"
        raise ForbiddenError("forbidden", message, hint="an owner of the whole gateway can")


def _not_given(tenant: Organization, what: str, subject: str, option: str) -> GatewayError:
    message = f"organization `{tenant.name}` was not given {what}, and another one might have it"
    hint = Hint(
        f"an owner of the whole gateway gives it: `gateway orgs give {tenant.name} {option}`",
        api="an owner of the whole gateway gives it: POST /api/v1/organizations/NAME/names",
    )
    return ForbiddenError("name_not_given", message, subject=subject, hint=hint)


def _checked(kind: str, name: str, audience: str) -> str:
    if kind == TRUST_DOMAIN:
        name = name.removeprefix("spiffe://")
        if audience:
            raise GatewayError("invalid_name", "a trust domain has no audience", subject=name[:80])
        check_spiffe_id(f"spiffe://{name}/x")
        return name
    if kind != ISSUER or not claim_rules.is_value(name) or not claim_rules.is_value(audience):
        message = "an issuer and its audience are given together, 1 to 512 plain characters each"
        raise GatewayError("invalid_name", message, subject=name[:80])
    return name


def _shown(kind: str, name: str, audience: str) -> str:
    return f"the trust domain `{name}`" if kind == TRUST_DOMAIN else f"the audience `{audience}` of `{name}`"


def _of(session: Session, tenant: Organization) -> Sequence[GivenName]:
    return session.exec(select(GivenName).where(GivenName.organization_id == tenant.id).order_by(GivenName.id)).all()


def _record_of(tenant: Organization, row: GivenName) -> GivenNameRecord:
    return copied(GivenNameRecord, row, organization=tenant.name)
