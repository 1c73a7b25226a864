"""Where operators log in, and the rules that let people in (login.md). Of the whole gateway only."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gateway.control import shapes
from gateway.control.operation import Answer, Ask, Operation, Page, PageQuery, Reasoned, ReasonQuery, cut, tag
from gateway.control.problems import Problem
from gateway.identity.operator_roles import Role
from gateway.registry.documents import plain
from gateway.registry.operators import login_providers
from gateway.registry.operators.login_providers import LoginProviderRecord, LoginRuleRecord

_ENDED = {"type": "integer", "description": "How many tokens of logins ended with it."}
_REMOVED_PROVIDER = shapes.record(LoginProviderRecord, tokens_ended=_ENDED)
_REMOVED_RULE = shapes.record(LoginRuleRecord, tokens_ended=_ENDED)
_SESSION = "How many seconds a login is good: 300 to 86400."


class NewLoginProvider(Reasoned):
    """A provider to add."""

    name: str = Field(description="What it is called here.")
    issuer: str = Field(description="Its issuer identifier, exactly: https://login.acme.example.")
    client_id: str = Field(description="What it calls the gateway.")
    client_secret: str | None = Field(None, description="Of a confidential client; it is never shown again.")
    scopes: list[str] = Field(default_factory=list, description="What else it is asked for, such as groups.")
    session_seconds: int = Field(login_providers.SESSION_SECONDS, description=_SESSION)
    insecure: bool = Field(False, description="Allow plain HTTP to the gateway's machine.")


class LoginProviderPatch(Reasoned):
    """What to change of a provider."""

    client_id: str | None = None
    client_secret: str | None = Field(None, description="A new secret; null forgets the one that there is.")
    scopes: list[str] | None = Field(None, description="What else it is asked for, as a whole; null: nothing.")
    session_seconds: int | None = Field(None, description=_SESSION)


class NewLoginRule(Reasoned):
    """Whom to let in."""

    claims: dict[str, str] = Field(description="What an id_token must have; a list must hold the value.")
    role: Role
    organization: str | None = Field(None, description="Of which they are operators; null: of the whole gateway.")


@Operation("GET /login-providers", noun="operators", about="gateway")
def listed(ask: Ask[None, PageQuery]) -> Answer[Page[LoginProviderRecord]]:
    """List the providers where operators log in."""
    return cut(ask, login_providers.providers(ask.registry), lambda each: each.name, "login-providers")


def _shown(record: LoginProviderRecord) -> Answer[LoginProviderRecord]:
    return Answer(body=record, tag=tag(record.version), location=f"/login-providers/{record.name}")


@Operation("POST /login-providers", noun="operators", about="gateway", status=201, tagged=True)
def add(ask: Ask[NewLoginProvider]) -> Answer[LoginProviderRecord]:
    """Add a provider where operators log in; it lets nobody in before there is a rule."""
    given = ask.body
    made = login_providers.add_provider(
        ask.change(),
        ask.context.vault,
        actor=ask.actor,
        secret=given.client_secret,
        **given.model_dump(exclude={"client_secret"}),
    )
    return _shown(made)


@Operation("GET /login-providers/{provider}", noun="operators", about="gateway", tagged=True)
def show(ask: Ask) -> Answer[LoginProviderRecord]:
    """A login provider."""
    return _shown(login_providers.provider(ask.registry, ask.path["provider"]))


@Operation("PATCH /login-providers/{provider}", noun="operators", about="gateway", if_match="required", tagged=True)
def update(ask: Ask[LoginProviderPatch]) -> Answer[LoginProviderRecord]:
    """Change a login provider, for logins from now on."""
    given = ask.body
    name = ask.path["provider"]
    named = given.model_fields_set
    changed = login_providers.update_provider(
        ask.change(ask.if_match(lambda session: tag(login_providers.find_provider(session, name).version))),
        ask.context.vault,
        actor=ask.actor,
        name=name,
        client_id=given.client_id,
        secret=given.client_secret,
        public="client_secret" in named and given.client_secret is None,
        scopes=given.scopes or () if "scopes" in named else None,
        session_seconds=given.session_seconds,
        reason=given.reason,
    )
    return _shown(changed)


@Operation(
    "DELETE /login-providers/{provider}", noun="operators", about="gateway", answer=_REMOVED_PROVIDER, restricts=True
)
def remove(ask: Ask[None, ReasonQuery]) -> Answer:
    """Let nobody log in there any more; its rules go, and the tokens of its logins end."""
    name, reason = ask.path["provider"], ask.query.reason
    removed, ended = login_providers.remove_provider(ask.change(), actor=ask.actor, name=name, reason=reason)
    return Answer(body={**plain(removed), "tokens_ended": ended})


@Operation("GET /login-providers/{provider}/rules", noun="operators", about="gateway")
def rules(ask: Ask[None, PageQuery]) -> Answer[Page[LoginRuleRecord]]:
    """List whom a provider lets in."""
    name = ask.path["provider"]
    return cut(ask, login_providers.rules(ask.registry, name), lambda each: each.id, "login-rules", name)


@Operation("POST /login-providers/{provider}/rules", noun="operators", about="gateway", status=201)
def add_rule(ask: Ask[NewLoginRule]) -> Answer[LoginRuleRecord]:
    """Let people with these claims in."""
    given = ask.body
    made = login_providers.add_rule(ask.change(), actor=ask.actor, provider=ask.path["provider"], **given.model_dump())
    return Answer(body=made, location=f"/login-providers/{made.provider}/rules/{made.id}")


def _rule(ask: Ask) -> LoginRuleRecord:
    name, wanted = ask.path["provider"], ask.path["rule"]
    for each in login_providers.rules(ask.registry, name):
        if each.id == wanted:
            return each
    hint = "list the rules of this provider"
    raise Problem(404, "unknown_rule", f"the login provider has no rule `{wanted[:80]}`", hint=hint)


@Operation("GET /login-providers/{provider}/rules/{rule}", noun="operators", about="gateway")
def show_rule(ask: Ask) -> Answer[LoginRuleRecord]:
    """A rule of logins."""
    return Answer(body=_rule(ask))


@Operation(
    "DELETE /login-providers/{provider}/rules/{rule}",
    noun="operators",
    about="gateway",
    answer=_REMOVED_RULE,
    restricts=True,
)
def remove_rule(ask: Ask[None, ReasonQuery]) -> Answer:
    """End a rule, and the tokens of the logins that it has let in."""
    rule, reason = _rule(ask).id, ask.query.reason
    removed, ended = login_providers.remove_rule(ask.change(), actor=ask.actor, rule=rule, reason=reason)
    body: dict[str, Any] = {**plain(removed), "tokens_ended": ended}
    return Answer(body=body)
