"""Providers where operators log in, and the rules that let people in: changes and queries (login.md).

A provider is one of the whole gateway; a rule makes operators of one organization, or of the whole gateway. Each change
is one transaction with its audit entry. A change that takes a right away ends, in the same transaction, the tokens that
came from it. Logins themselves are in `logins.py`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlmodel import Session, col, select

from gateway.audit.intents import SYSTEM
from gateway.errors import ConflictError, GatewayError, Hint
from gateway.identifiers import new_id
from gateway.identity import operator_roles
from gateway.identity.operator_roles import Role
from gateway.registry import change_entries as entries
from gateway.registry import claim_rules, names, outbox
from gateway.registry.database import Registry
from gateway.registry.models import LoginProvider, LoginRule, OperatorToken, Organization
from gateway.registry.queries import find_organization
from gateway.registry.records import copied
from gateway.secrets.vault import SealedPlace, Vault

SESSION_SECONDS: Final = 8 * 3600
SESSIONS: Final = range(300, 24 * 3600 + 1)
"""The bounds of a login's life."""
SCOPES: Final = ("openid", "email")
"""The scopes that the provider is asked for: the person, and the address."""
MAX_PROVIDERS: Final = 16
MAX_RULES: Final = 200

_MAX_SCOPES = 16
_MAX_SECRET = 1024
_TEXT = re.compile(r"[!-~]{1,255}")
_SCOPE = re.compile(r"[!#-\[\]-~]{1,128}")
# These are checked for every token, or differ with each: they tell nobody from another.
_CHECKED = claim_rules.CHECKED | {"azp", "nonce", "at_hash", "c_hash"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRuleRecord:
    """`organization` is None for a rule that makes operators of the whole gateway."""

    id: str
    provider: str
    organization: str | None
    role: Role
    claims: dict[str, str]
    created_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginProviderRecord:
    """`has_secret`: the gateway is a confidential client there. A login is good for `session_seconds`."""

    id: str
    name: str
    issuer: str
    client_id: str
    has_secret: bool
    scopes: list[str]
    session_seconds: int
    version: int
    created_ns: int
    rules: int


def place(row: str) -> SealedPlace:
    """The place that the client secret of a provider is sealed for."""
    return SealedPlace(SYSTEM, "login", row, 1)


def add_provider(
    registry: Registry,
    vault: Vault,
    *,
    actor: str,
    name: str,
    issuer: str,
    client_id: str,
    secret: str | None = None,
    scopes: Collection[str] = (),
    session_seconds: int = SESSION_SECONDS,
    insecure: bool = False,
    reason: str = "",
) -> LoginProviderRecord:
    """A provider where operators log in. Nobody is let in before there is a rule."""
    names.check_name("provider", name)
    hint = "write it as the provider does: https://login.acme.example"
    claim_rules.check_url(issuer, "the issuer", hint, insecure=insecure)
    if not _TEXT.fullmatch(client_id):
        raise GatewayError("invalid_client", "the client id must be 1 to 255 plain characters", subject="client_id")
    wanted, session_seconds = _checked_scopes(scopes), _checked_session(session_seconds)
    _check_secret(secret)
    with registry.write() as session:
        live = _live(session)
        if any(each.name == name for each in live):
            hint = "choose another name, or remove that provider first"
            raise ConflictError("provider_exists", f"login provider `{name}` exists already", subject=name, hint=hint)
        if (same := next((each for each in live if each.issuer == issuer), None)) is not None:
            hint = "a person would be two operators; change or remove that one"
            message = f"`{issuer}` is login provider `{same.name}` already"
            raise ConflictError("provider_exists", message, subject=same.name, hint=hint)
        if len(live) >= MAX_PROVIDERS:
            raise ConflictError("too_many_providers", f"there are {MAX_PROVIDERS} login providers already")
        identifier = new_id("idp")
        row = LoginProvider(
            id=identifier,
            name=name,
            issuer=issuer,
            client_id=client_id,
            secret=None if secret is None else vault.seal(secret, place(identifier)),
            scopes=wanted,
            session_seconds=session_seconds,
            version=1,
            created_ns=time.time_ns(),
        )
        session.add(row)
        _record(session, actor, "login_provider.added", row, reason)
        return _provider_record(session, row)


def update_provider(
    registry: Registry,
    vault: Vault,
    *,
    actor: str,
    name: str,
    client_id: str | None = None,
    secret: str | None = None,
    public: bool = False,
    scopes: Collection[str] | None = None,
    session_seconds: int | None = None,
    reason: str = "",
) -> LoginProviderRecord:
    """Change what is given, for logins from now on; `public` forgets the client secret."""
    if client_id is not None and not _TEXT.fullmatch(client_id):
        raise GatewayError("invalid_client", "the client id must be 1 to 255 plain characters", subject="client_id")
    _check_secret(secret)
    with registry.write() as session:
        row = find_provider(session, name)
        row.client_id = row.client_id if client_id is None else client_id
        if secret is not None or public:
            row.secret = None if secret is None else vault.seal(secret, place(row.id))
        if scopes is not None:
            row.scopes = _checked_scopes(scopes)
        if session_seconds is not None:
            row.session_seconds = _checked_session(session_seconds)
        row.version += 1
        _record(session, actor, "login_provider.updated", row, reason)
        return _provider_record(session, row)


def remove_provider(registry: Registry, *, actor: str, name: str, reason: str = "") -> tuple[LoginProviderRecord, int]:
    """Nobody logs in there any more; its rules go, and the tokens of its logins end. Returns their number, too."""
    with registry.write() as session:
        row = find_provider(session, name)
        found = _provider_record(session, row)
        now = time.time_ns()
        rules = live_rules(session, row)
        ended = sum(_end_tokens(session, rule, now) for rule in rules)
        for rule in rules:
            rule.removed_ns = now
        row.removed_ns, row.secret = now, None
        _record(session, actor, "login_provider.removed", row, reason, tokens_ended=ended)
        return found, ended


def add_rule(
    registry: Registry,
    *,
    actor: str,
    provider: str,
    claims: Mapping[str, str],
    role: str,
    organization: str | None = None,
    reason: str = "",
) -> LoginRuleRecord:
    """Let people with these claims in, from their next login on."""
    role = operator_roles.check_role(role)
    _check_claims(claims)
    with registry.write() as session:
        tenant = None if organization is None else find_organization(session, organization)
        row = find_provider(session, provider)
        rules = live_rules(session, row)
        if len(rules) >= MAX_RULES:
            message = f"login provider `{row.name}` has {MAX_RULES} rules already"
            raise ConflictError("too_many_rules", message, subject=row.name)
        owner = None if tenant is None else tenant.id
        for other in rules:
            if other.claims == dict(claims) and other.organization_id == owner:
                message = f"rule `{other.id}` of login provider `{row.name}` has the same claims"
                raise ConflictError("rule_exists", message, subject=other.id, hint="remove that one first")
        rule = LoginRule(
            id=new_id("lgr"),
            provider_id=row.id,
            organization_id=owner,
            claims=dict(sorted(claims.items())),
            role=role,
            created_ns=time.time_ns(),
        )
        session.add(rule)
        fields = entries.login_rule(row, rule, tenant)
        outbox.add_change(session, tenant, actor, "login_rule.added", fields, reason)
        return _rule_record(row, rule, tenant)


def remove_rule(registry: Registry, *, actor: str, rule: str, reason: str = "") -> tuple[LoginRuleRecord, int]:
    """End a rule, and the tokens of the logins that it has let in. Returns their number, too."""
    with registry.write() as session:
        found = session.exec(select(LoginRule).where(LoginRule.id == rule, col(LoginRule.removed_ns).is_(None))).first()
        if found is None:
            raise unknown_rule(rule)
        row = session.get_one(LoginProvider, found.provider_id)
        tenant = None if found.organization_id is None else session.get_one(Organization, found.organization_id)
        found.removed_ns = time.time_ns()
        ended = _end_tokens(session, found, found.removed_ns)
        fields = {**entries.login_rule(row, found, tenant), "tokens_ended": ended}
        outbox.add_change(session, tenant, actor, "login_rule.removed", fields, reason)
        return _rule_record(row, found, tenant), ended


def providers(registry: Registry) -> list[LoginProviderRecord]:
    """All providers by name."""
    with registry.read() as session:
        return [_provider_record(session, each) for each in _live(session)]


def provider(registry: Registry, name: str) -> LoginProviderRecord:
    """The one of this name or id."""
    with registry.read() as session:
        return _provider_record(session, find_provider(session, name))


def rules(registry: Registry, provider: str | None = None) -> list[LoginRuleRecord]:
    """The rules of a provider, or of all, oldest first."""
    with registry.read() as session:
        wanted = _live(session) if provider is None else [find_provider(session, provider)]
        tenants = {each.id: each for each in session.exec(select(Organization))}
        return [
            _rule_record(row, rule, tenants.get(rule.organization_id or ""))
            for row in wanted
            for rule in live_rules(session, row)
        ]


def unknown_rule(rule: str) -> GatewayError:
    return names.unknown("login rule", rule, (), Hint("type `gateway operators login-rule list` to see the rules"))


def client_secret(registry: Registry, vault: Vault, provider: str) -> str | None:
    """The secret with which the gateway asks a provider, by name or id; None for a public client."""
    with registry.read() as session:
        row = find_provider(session, provider)
        identifier, sealed = row.id, row.secret
    return None if sealed is None else vault.open(sealed, place(identifier))


# --- within one transaction -------------------------------------------------------------------------------------------


def find_provider(session: Session, reference: str) -> LoginProvider:
    live = _live(session)
    for each in live:
        if reference in (each.name, each.id):
            return each
    known = [each.name for each in live]
    raise names.unknown("login provider", reference, known, Hint("type `gateway operators login-provider list`"))


def live_rules(session: Session, row: LoginProvider) -> Sequence[LoginRule]:
    mine = select(LoginRule).where(LoginRule.provider_id == row.id, col(LoginRule.removed_ns).is_(None))
    return session.exec(mine.order_by(LoginRule.id)).all()


def _live(session: Session) -> Sequence[LoginProvider]:
    rows = select(LoginProvider).where(col(LoginProvider.removed_ns).is_(None))
    return session.exec(rows.order_by(LoginProvider.name)).all()


def _end_tokens(session: Session, rule: LoginRule, now_ns: int) -> int:
    """End the tokens that came from a rule and still work; how many."""
    from_it = select(OperatorToken).where(OperatorToken.login_rule == rule.id, col(OperatorToken.revoked_ns).is_(None))
    found = [each for each in session.exec(from_it) if each.expires_ns is None or each.expires_ns > now_ns]
    for token in found:
        token.revoked_ns = now_ns
    return len(found)


def _record(session: Session, actor: str, what: str, row: LoginProvider, reason: str, **more: int) -> None:
    outbox.add_change(session, None, actor, what, {**entries.login_provider(row), **more}, reason)


def _provider_record(session: Session, row: LoginProvider) -> LoginProviderRecord:
    rules = len(live_rules(session, row))
    return copied(LoginProviderRecord, row, has_secret=row.secret is not None, rules=rules)


def _rule_record(row: LoginProvider, rule: LoginRule, tenant: Organization | None) -> LoginRuleRecord:
    return copied(LoginRuleRecord, rule, provider=row.name, organization=None if tenant is None else tenant.name)


# --- what is accepted -------------------------------------------------------------------------------------------------


def _checked_scopes(given: Collection[str]) -> list[str]:
    """The scopes that the provider is asked for, `openid` among them."""
    found = list(dict.fromkeys((*SCOPES, *given)))
    for each in found:
        if not _SCOPE.fullmatch(each):
            raise GatewayError("invalid_scope", f"`{each[:80]}` is not a scope", hint="such as groups or profile")
    if len(found) > _MAX_SCOPES:
        raise GatewayError("invalid_scope", f"a provider is asked for at most {_MAX_SCOPES} scopes")
    return found


def _checked_session(seconds: int) -> int:
    if seconds not in SESSIONS:
        raise GatewayError("invalid_session", "a login is good for 5 minutes to 24 hours", subject="session")
    return seconds


def _check_secret(secret: str | None) -> None:
    if secret is not None and not (0 < len(secret) <= _MAX_SECRET and secret.isprintable() and secret.isascii()):
        raise GatewayError("invalid_secret", "the client secret must be one line of plain characters", subject="secret")


def _check_claims(claims: Mapping[str, str]) -> None:
    if not claims:
        hint = Hint("such as --claim groups=platform, or --claim email=olga@acme.example")
        raise GatewayError("invalid_claim", "a rule without a claim would let everybody in", hint=hint)
    claim_rules.check(claims, of="person", better="groups or email", checked=_CHECKED)
