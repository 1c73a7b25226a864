"""Outside issuers and their rules: changes and queries (tokens.md, persons.md).

Each change is one transaction with its audit entry, and in force for the next request when it returns. Removing an
issuer or a rule also ends the gateway's tokens that came from it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlmodel import Session, col, select

from gateway.errors import ConflictError, GatewayError, Hint
from gateway.identifiers import new_id
from gateway.identity import jose, persons
from gateway.identity.jose import ALGORITHMS
from gateway.identity.workload import Purpose
from gateway.registry import change_entries as entries
from gateway.registry import claim_rules, contests, names, outbox
from gateway.registry.database import Registry
from gateway.registry.models import Agent, Issuer, IssuerRule, Organization
from gateway.registry.operators import operators
from gateway.registry.organizations import given_names
from gateway.registry.queries import find_living, reading, writing
from gateway.registry.records import copied

MAX_JWKS: Final = 256 * 1024
MAX_RULES: Final = 1000
"""The most rules of one issuer: all of them are read for each of its tokens."""
# A rule is told in the log, which is to name no person.
_NAMING = frozenset({"sub", "email"})
_AGES = range(60, 86_401)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonTokens:
    """The required form of tokens of an issuer of persons, and the claims that are kept (`identity/persons.py`)."""

    kind: str = "id_token"
    max_age: int = 3600
    claims: Sequence[str] = ()
    algorithms: Sequence[str] = ALGORITHMS


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerUpdate:
    """The members to change of an issuer; None leaves one as it is.

    Its keys are `jwks`, or else at `jwks_url`, where an empty one means that the issuer is asked where they are. The
    last three are of an issuer of persons.
    """

    jwks_url: str | None = None
    jwks: str = ""
    insecure: bool = False
    max_age: int | None = None
    claims: Sequence[str] | None = None
    algorithms: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRecord:
    id: str
    issuer: str
    agent: str
    agent_id: str
    agent_status: str
    claims: dict[str, str]
    created_ns: int
    purpose: Purpose = "workloads"


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerRecord:
    """`keys` says where its public keys come from: a URL, `discovery` or `file`.

    The last four are of an issuer of persons (`purpose`): the kind of its tokens, how many seconds old they may be,
    which claims are kept and which algorithms are taken.
    """

    id: str
    organization: str
    name: str
    issuer: str
    audience: str
    keys: str
    rules: list[RuleRecord]
    created_ns: int
    purpose: Purpose = "workloads"
    accepts: str | None = None
    max_age: int | None = None
    claims: list[str] = field(default_factory=list)
    algorithms: list[str] = field(default_factory=list)


def add_issuer(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    name: str,
    issuer: str,
    audience: str,
    jwks_url: str = "",
    jwks: str = "",
    insecure: bool = False,
    persons: PersonTokens | None = None,
) -> IssuerRecord:
    """Trust an issuer to say who a program is, or with `persons` who a person is. It can do nothing without a rule."""
    names.check_name("issuer", name)
    _check_text("issuer", issuer)
    _check_text("audience", audience)
    if persons is not None:
        _check_persons(persons)
    if jwks:
        jose.key_set(jwks)
    else:
        check_key_url(jwks_url or issuer, insecure=insecure)
    with writing(registry, organization) as (session, tenant):
        if _find(session, tenant, name) is not None:
            hint = Hint(f"choose another name, or change its keys: `gateway issuers update {name}`")
            raise ConflictError("issuer_exists", f"issuer `{name}` exists already", subject=name, hint=hint)
        same = select(Issuer).where(
            Issuer.issuer == issuer, Issuer.audience == audience, col(Issuer.removed_ns).is_(None)
        )
        given_names.check_issuer(session, tenant, actor, issuer, audience)
        if (before := session.exec(same).first()) is not None:
            error = _taken(before, tenant, issuer, audience)
            what, whose = (
                f"audience {audience} of {issuer}",
                {"credential": before.id, "holder": before.organization_id},
            )
            contests.refuse(error, tenant, actor=actor, what=what, **whose)
        row = Issuer(
            id=new_id("iss"),
            organization_id=tenant.id,
            name=name,
            issuer=issuer,
            audience=audience,
            jwks_url="" if jwks else jwks_url,
            jwks=jwks,
            reach=operators.reach_of(session, tenant.name, actor),
            created_ns=time.time_ns(),
        )
        if persons is not None:
            row.purpose, row.accepts, row.max_age = "persons", persons.kind, persons.max_age
            row.claims, row.algorithms = _distinct(persons.claims), _distinct(persons.algorithms)
        session.add(row)
        _record(session, tenant, actor, "issuer.added", row)
        return _issuer_record(session, tenant, row)


def _taken(before: Issuer, tenant: Organization, issuer: str, audience: str) -> GatewayError:
    """A token must mean one issuer. The text does not say if another organization trusts it."""
    hint = "choose an audience that nothing else uses, such as one with the organization in it"
    if before.organization_id != tenant.id:
        message = f"the audience `{audience}` cannot be used for tokens of `{issuer}`"
        return GatewayError("invalid_audience", message, subject=audience, hint=hint)
    message = f"`{issuer}` with the audience `{audience}` is registered already, as `{before.name}`"
    return ConflictError("issuer_exists", message, subject=before.name, hint=hint)


def update_issuer(
    registry: Registry, *, actor: str, organization: str, name: str, update: IssuerUpdate, reason: str = ""
) -> IssuerRecord:
    """Change what is given, for tokens from now on. Its rules stay, and so do the tokens that came from them."""
    if update.jwks:
        jose.key_set(update.jwks)
    with writing(registry, organization) as (session, tenant):
        row = find_issuer(session, tenant, name)
        if update.jwks:
            row.jwks, row.jwks_url = update.jwks, ""
        elif update.jwks_url is not None:
            check_key_url(update.jwks_url or row.issuer, insecure=update.insecure)
            row.jwks, row.jwks_url = "", update.jwks_url
            row.reach = operators.reach_of(session, tenant.name, actor)
        given = {name: getattr(update, name) for name in ("max_age", "claims", "algorithms")}
        if changed := {name: value for name, value in given.items() if value is not None}:
            if row.purpose != "persons":
                what = f"issuer `{name}` says who a program is: it has no age, claims or algorithms to change"
                raise GatewayError("invalid_issuer", what, subject=name)
            _check_persons(copied(PersonTokens, row, kind=row.accepts, **changed))
            for member, value in changed.items():
                setattr(row, member, value if member == "max_age" else _distinct(value))
        _record(session, tenant, actor, "issuer.updated", row, reason=reason)
        return _issuer_record(session, tenant, row)


def remove_issuer(registry: Registry, *, actor: str, organization: str, name: str) -> IssuerRecord:
    """Trust an issuer no longer. Its rules go with it, and the tokens that came from them end."""
    with writing(registry, organization) as (session, tenant):
        row = find_issuer(session, tenant, name)
        record = _issuer_record(session, tenant, row)
        row.removed_ns = time.time_ns()
        for rule in _rules(session, row):
            rule.removed_ns = row.removed_ns
        _record(session, tenant, actor, "issuer.removed", row)
        return record


def add_rule(
    registry: Registry, *, actor: str, organization: str, issuer: str, claims: Mapping[str, str], agent: str
) -> RuleRecord:
    """Let an issuer's tokens with these claims be an agent, or let the agent act for the persons that they name."""
    with writing(registry, organization) as (session, tenant):
        row = find_issuer(session, tenant, issuer)
        _check_claims(claims, row.purpose)
        holder = find_living(session, tenant, agent)
        rules = _rules(session, row)
        if len(rules) >= MAX_RULES:
            message = f"issuer `{row.name}` has {MAX_RULES} rules already"
            raise ConflictError("too_many_rules", message, subject=row.name)
        for other in rules:
            if other.claims == dict(claims) and (row.purpose == "workloads" or other.agent_id == holder.id):
                what = f"rule `{other.id}` of issuer `{row.name}` has the same claims"
                raise ConflictError("rule_exists", what, subject=other.id, hint="remove that one first")
        rule = IssuerRule(
            id=new_id("rul"),
            organization_id=tenant.id,
            issuer_id=row.id,
            agent_id=holder.id,
            claims=dict(sorted(claims.items())),
            created_ns=time.time_ns(),
        )
        session.add(rule)
        _record(session, tenant, actor, "issuer_rule.added", row, rule, holder)
        return _rule_record(row, rule, holder)


def remove_rule(registry: Registry, *, actor: str, organization: str, rule: str) -> RuleRecord:
    """End a rule, and the tokens that came from it."""
    with writing(registry, organization) as (session, tenant):
        mine = select(IssuerRule).where(IssuerRule.organization_id == tenant.id, col(IssuerRule.removed_ns).is_(None))
        found = session.exec(mine.where(IssuerRule.id == rule)).first()
        if found is None:
            raise unknown_rule(rule)
        row = session.get_one(Issuer, found.issuer_id)
        holder = session.get_one(Agent, found.agent_id)
        found.removed_ns = time.time_ns()
        _record(session, tenant, actor, "issuer_rule.removed", row, found, holder)
        return _rule_record(row, found, holder)


def issuers(registry: Registry, organization: str) -> list[IssuerRecord]:
    """The issuers of an organization with their rules, by name."""
    with reading(registry, organization) as (session, tenant):
        mine = select(Issuer).where(Issuer.organization_id == tenant.id, col(Issuer.removed_ns).is_(None))
        return [_issuer_record(session, tenant, row) for row in session.exec(mine.order_by(Issuer.name)).all()]


def named(found: Sequence[IssuerRecord], name: str) -> IssuerRecord:
    """The one with this name."""
    for each in found:
        if each.name == name:
            return each
    raise _unknown(name, [each.name for each in found])


def unknown_rule(rule: str) -> GatewayError:
    return names.unknown("rule", rule, (), Hint("type `gateway issuers rule list` to see the rules"))


def find_issuer(session: Session, tenant: Organization, name: str) -> Issuer:
    found = _find(session, tenant, name)
    if found is None:
        mine = select(Issuer.name).where(Issuer.organization_id == tenant.id, col(Issuer.removed_ns).is_(None))
        raise _unknown(name, session.exec(mine).all())
    return found


def check_key_url(url: str, *, insecure: bool) -> None:
    """Raise unless keys may be fetched from there: by https, or from this machine if that is said to be meant."""
    hint = "give the https address of its keys with --jwks-url, or the keys with --jwks-file"
    claim_rules.check_url(url, "the URL of its keys", hint, insecure=insecure)


def _unknown(name: str, known: Sequence[str]) -> GatewayError:
    return names.unknown("issuer", name, known, Hint("type `gateway issuers list` to see the issuers"))


def _find(session: Session, tenant: Organization, name: str) -> Issuer | None:
    mine = select(Issuer).where(Issuer.organization_id == tenant.id, col(Issuer.removed_ns).is_(None))
    return session.exec(mine.where(Issuer.name == name)).first()


def _rules(session: Session, row: Issuer) -> list[IssuerRule]:
    mine = select(IssuerRule).where(IssuerRule.issuer_id == row.id, IssuerRule.organization_id == row.organization_id)
    return list(session.exec(mine.where(col(IssuerRule.removed_ns).is_(None)).order_by(IssuerRule.id)).all())


def _distinct(texts: Sequence[str]) -> list[str]:
    return sorted(set(texts))


def _check_text(what: str, text: str) -> None:
    if not claim_rules.is_value(text):
        raise GatewayError(f"invalid_{what}", f"the {what} must be 1 to 512 plain characters", subject=what)


def _check_persons(tokens: PersonTokens) -> None:
    if tokens.kind not in persons.TOKEN_KINDS:
        what = f"tokens of persons are {' or '.join(persons.TOKEN_KINDS)}, not `{tokens.kind[:80]}`"
        raise GatewayError("invalid_issuer", what, subject="accepts")
    if tokens.max_age not in _AGES:
        what = f"the age of a person's token must be {_AGES.start} to {_AGES.stop - 1} seconds"
        raise GatewayError("invalid_issuer", what, subject="max_age")
    if not tokens.algorithms or not set(tokens.algorithms) <= set(ALGORITHMS):
        raise GatewayError("invalid_issuer", f"the algorithms must be of {', '.join(ALGORITHMS)}", subject="algorithms")
    if len(tokens.claims) > claim_rules.MAX_CLAIMS:
        raise GatewayError("invalid_claim", f"at most {claim_rules.MAX_CLAIMS} claims are kept")
    for name in tokens.claims:
        claim_rules.check_name(name)
        if name in claim_rules.CHECKED or name == "sub":
            hint = "name a claim such as groups or email_domain"
            raise GatewayError("invalid_claim", f"`{name}` need not be chosen", subject=name, hint=hint)


def _check_claims(claims: Mapping[str, str], purpose: str) -> None:
    named = sorted(_NAMING & claims.keys())
    if purpose == "persons" and named:
        what = f"a rule with `{named[0]}` would name a person, and the log has the rules"
        hint = "name a claim such as groups or email_domain; a policy can tell single persons apart"
        raise GatewayError("invalid_claim", what, subject=named[0], hint=hint)
    if not claims and purpose == "workloads":
        raise GatewayError(
            "invalid_claim", "a rule needs a claim", hint=Hint("such as --claim sub=system:serviceaccount:prod:bot")
        )
    claim_rules.check(claims, of="program", better="sub or repository")


def _record(
    session: Session,
    tenant: Organization,
    actor: str,
    what: str,
    row: Issuer,
    rule: IssuerRule | None = None,
    holder: Agent | None = None,
    reason: str = "",
) -> None:
    fields = dict(entries.issuer(row))
    if what == "issuer.updated":
        fields["keys"] = _keys(row)
    if rule is not None and holder is not None:
        fields |= entries.issuer_rule(rule, holder)
    outbox.add_change(session, tenant, actor, what, fields, reason)


def _issuer_record(session: Session, tenant: Organization, row: Issuer) -> IssuerRecord:
    rules = _rules(session, row)
    wanted = {each.agent_id for each in rules}
    holders = {each.id: each for each in session.exec(select(Agent).where(col(Agent.id).in_(wanted))).all()}
    found = [_rule_record(row, each, holders[each.agent_id]) for each in rules]
    unlike = {} if row.purpose == "persons" else {"accepts": None, "max_age": None}
    return copied(IssuerRecord, row, organization=tenant.name, keys=_keys(row), rules=found, **unlike)


def _keys(row: Issuer) -> str:
    return "file" if row.jwks else row.jwks_url or "discovery"


def _rule_record(issuer: Issuer, rule: IssuerRule, holder: Agent) -> RuleRecord:
    of_agent = {"agent": holder.name, "agent_status": holder.status}
    return copied(RuleRecord, rule, issuer=issuer.name, purpose=issuer.purpose, **of_agent)
