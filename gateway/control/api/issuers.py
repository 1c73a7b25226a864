"""Outside issuers and their rules: whose tokens are which agent or person (tokens.md, persons.md)."""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import Field
from sqlmodel import Session

from gateway.control import shapes
from gateway.control.api.upstreams import check_reach
from gateway.control.operation import Answer, Ask, Body, Operation, Page, PageQuery, Reasoned, cut
from gateway.control.problems import Problem
from gateway.identity.jose import ALGORITHMS, Algorithm
from gateway.registry import issuers, queries
from gateway.registry.documents import plain
from gateway.registry.issuers import IssuerRecord, IssuerUpdate, PersonTokens, RuleRecord

_ISSUER = shapes.record(IssuerRecord, rules={"type": "integer", "description": "How many it has."})


class NewPersonTokens(Body):
    """What the tokens of persons must be, and what is kept of them."""

    kind: Literal["id_token", "access_token", "id_jag"] = Field(
        "id_token", description="Which kind of tokens they are."
    )
    max_age: int = Field(3600, description="How many seconds old one may be: 60 to 86400.")
    claims: list[str] = Field(default_factory=list, description="The claims that policies see, such as `groups`.")
    algorithms: list[Algorithm] = Field(default_factory=lambda: list(ALGORITHMS), description="How one may be signed.")


class NewIssuer(Body):
    """An issuer to trust."""

    name: str = Field(description="What it is called here.")
    issuer: str = Field(description="The `iss` of its tokens, exactly.")
    audience: str = Field(description="The `aud` that its tokens must have: a name for this gateway.")
    jwks_url: str = Field("", description="Where its public keys are; by default it is asked for that.")
    jwks: dict[str, Any] | None = Field(None, description="Its public keys, if it cannot be reached.")
    insecure: bool = Field(False, description="Allow plain HTTP to the gateway's machine.")
    persons: NewPersonTokens | None = Field(
        None, description="If its tokens say who a person is, for whom agents act; otherwise they say who a program is."
    )


class IssuerPatch(Reasoned):
    """What to change of an issuer. What is left out or null stays as it is."""

    jwks_url: str | None = Field(None, description="Where its public keys are; empty: it is asked for that.")
    jwks: dict[str, Any] | None = Field(None, description="Its public keys, if it cannot be reached.")
    insecure: bool = Field(False, description="Allow plain HTTP to the gateway's machine.")
    max_age: int | None = Field(None, description="Of persons: how many seconds old a token may be: 60 to 86400.")
    claims: list[str] | None = Field(None, description="Of persons: the claims that policies see.")
    algorithms: list[Algorithm] | None = Field(None, description="Of persons: how a token may be signed.")


class NewRule(Body):
    """Which tokens are which agent, or for which persons an agent may act."""

    claims: dict[str, str] = Field(description="What a token must have, exactly; of a person's may be nothing.")
    agent: str = Field(description="The name or id of the agent that such a token is, or that acts for the person.")


def _plain(record: IssuerRecord) -> dict[str, Any]:
    return {**plain(record), "rules": len(record.rules)}


@Operation("GET /issuers", answer=shapes.page(_ISSUER))
def listed(ask: Ask[None, PageQuery]) -> Answer:
    """List the issuers whose tokens are trusted."""
    found = issuers.issuers(ask.registry, ask.tenant)
    return cut(ask, [_plain(each) for each in found], lambda each: each["name"], "issuers")


def _one(ask: Ask) -> IssuerRecord:
    return issuers.named(issuers.issuers(ask.registry, ask.tenant), ask.path["issuer"])


@Operation("POST /issuers", most_bytes=2 * issuers.MAX_JWKS, status=201, answer=_ISSUER)
def add(ask: Ask[NewIssuer]) -> Answer:
    """Trust an issuer, whose tokens open nothing before there is a rule."""
    given = ask.body
    _check_one_place(given)
    if given.jwks is None:  # its keys are fetched from there
        url = given.jwks_url or given.issuer
        issuers.check_key_url(url, insecure=given.insecure)
        check_reach(ask.caller, url, insecure=given.insecure)
    made = issuers.add_issuer(
        ask.change(),
        **ask.by,
        jwks=_text(given.jwks),
        persons=None if given.persons is None else PersonTokens(**given.persons.model_dump()),
        **given.model_dump(include={"name", "issuer", "audience", "jwks_url", "insecure"}),
    )
    return Answer(body=_plain(made), location=f"/issuers/{made.name}")


def _check_one_place(given: NewIssuer | IssuerPatch) -> None:
    if given.jwks is not None and given.jwks_url:
        error = {"pointer": "/jwks", "message": "not beside jwks_url"}
        raise Problem(422, "invalid_body", "/jwks: not beside jwks_url", hint="send one of them", errors=[error])


def _text(jwks: dict[str, Any] | None) -> str:
    return "" if jwks is None else orjson.dumps(jwks).decode()


@Operation("GET /issuers/{issuer}", answer=_ISSUER)
def show(ask: Ask) -> Answer:
    """An issuer."""
    return Answer(body=_plain(_one(ask)))


@Operation("PATCH /issuers/{issuer}", most_bytes=2 * issuers.MAX_JWKS, answer=_ISSUER)
def update(ask: Ask[IssuerPatch]) -> Answer:
    """Change where an issuer's keys come from, or what tokens of persons must be; its rules stay."""
    given = ask.body
    _check_one_place(given)
    name = ask.path["issuer"]
    sent = given.model_dump(include={"jwks_url", "insecure", "max_age", "claims", "algorithms"})

    def check(session: Session) -> None:
        row = issuers.find_issuer(session, queries.find_organization(session, ask.tenant), name)
        if given.jwks is None and given.jwks_url is not None:
            url = given.jwks_url or row.issuer
            issuers.check_key_url(url, insecure=given.insecure)
            check_reach(ask.caller, url, insecure=given.insecure)

    changed = issuers.update_issuer(
        ask.change(check), **ask.by, name=name, update=IssuerUpdate(jwks=_text(given.jwks), **sent), reason=given.reason
    )
    return Answer(body=_plain(changed))


@Operation("DELETE /issuers/{issuer}", answer=_ISSUER, restricts=True)
def remove(ask: Ask) -> Answer:
    """Trust an issuer no longer; the tokens that came from its rules end at their next use."""
    name = ask.path["issuer"]
    removed = issuers.remove_issuer(ask.change(), **ask.by, name=name)
    return Answer(body=_plain(removed))


@Operation("GET /issuers/{issuer}/rules")
def rules(ask: Ask[None, PageQuery]) -> Answer[Page[RuleRecord]]:
    """List the rules of an issuer."""
    issuer = _one(ask)
    return cut(ask, issuer.rules, lambda each: each.id, "rules", issuer.id)


@Operation("POST /issuers/{issuer}/rules", status=201)
def add_rule(ask: Ask[NewRule]) -> Answer[RuleRecord]:
    """Let an issuer's tokens with these claims be an agent, or let one act for the persons that they name."""
    given = ask.body
    made = issuers.add_rule(ask.change(), **ask.by, issuer=ask.path["issuer"], claims=given.claims, agent=given.agent)
    return Answer(body=made, location=f"/issuers/{made.issuer}/rules/{made.id}")


@Operation("GET /issuers/{issuer}/rules/{rule}")
def show_rule(ask: Ask) -> Answer[RuleRecord]:
    """A rule."""
    return Answer(body=_rule(ask))


def _rule(ask: Ask) -> RuleRecord:
    issuer, wanted = _one(ask), ask.path["rule"]
    for each in issuer.rules:
        if each.id == wanted:
            return each
    hint = f"GET /api/v1/issuers/{issuer.name}/rules lists them"
    raise Problem(404, "unknown_rule", f"issuer `{issuer.name}` has no such rule", hint=hint)


@Operation("DELETE /issuers/{issuer}/rules/{rule}", restricts=True)
def remove_rule(ask: Ask) -> Answer[RuleRecord]:
    """End a rule; the tokens that came from it end at their next use."""
    rule = _rule(ask).id
    return Answer(body=issuers.remove_rule(ask.change(), **ask.by, rule=rule))
