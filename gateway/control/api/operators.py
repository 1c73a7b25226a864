"""Operators and their tokens. Without the parameter `organization` those of the whole gateway are meant.

Nobody can give away more than it has: a token that is for certain things makes only tokens for some of these, one that
expires only tokens that expire no later, and an operator of one organization only operators of that one.
"""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field

from gateway.control import shapes
from gateway.control.api.times import Seconds, lifetime
from gateway.control.operation import Answer, Ask, Body, Operation, Page, PageQuery, Reasoned, cut, tag
from gateway.control.problems import Problem
from gateway.identity.operator_roles import Role, narrower
from gateway.registry import queries
from gateway.registry.documents import plain
from gateway.registry.operators import logins as operator_logins
from gateway.registry.operators import operators
from gateway.registry.records import OperatorRecord, OperatorTokenRecord, OperatorVersionRecord

_STATUS = {"type": "string", "enum": ["active", "expired", "revoked"]}
TOKEN = shapes.record(OperatorTokenRecord, status=_STATUS)
_TEXT = {"type": ["string", "null"], "description": "The token, once; null in a repeated answer."}
NEW_TOKEN = shapes.record(OperatorTokenRecord, status=_STATUS, token=_TEXT)
_DEPLOYMENT = {"type": "string", "description": "The name of the gateway's deployment."}
_BASE_URL = {"type": "string", "description": "Where agents send their requests, without the path of an API."}
_ME = shapes.record(OperatorRecord, token=TOKEN, deployment=_DEPLOYMENT, base_url=_BASE_URL)


class OperatorQuery(PageQuery):
    """Which operators are wanted."""

    everywhere: bool = Field(
        False, description="Without `organization`: also those of every organization, if you are of the whole gateway."
    )


class NewOperator(Reasoned):
    """An operator to add."""

    name: str
    role: Role


class OperatorPatch(Body):
    """What to change of an operator."""

    role: Role
    reason: str = Field("", description="Why; it stays in the audit log.")


class NewOperatorToken(Reasoned):
    """A token to create."""

    expires_in: Seconds | None = Field(
        None, description="In seconds; null: never. A token that expires makes only tokens that expire no later."
    )
    scopes: list[str] | None = Field(
        None, description="What it is for, such as read or agents:write; null: everything."
    )


def _shown(record: OperatorRecord) -> Answer[OperatorRecord]:
    return Answer(body=record, tag=tag(record.version), location=f"/operators/{record.id}")


def _token(record: OperatorTokenRecord) -> dict[str, Any]:
    return {**plain(record), "status": record.status(time.time_ns())}


@Operation("GET /me", about="nothing", answer=_ME)
def me(ask: Ask) -> Answer:
    """Show who you are, and what your token is for."""
    deployment = queries.deployment(ask.registry)
    beside = {"deployment": deployment, "base_url": ask.context.settings.data_plane}
    return Answer(body={**plain(ask.caller.operator), "token": _token(ask.caller.token), **beside})


@Operation("GET /me/sessions", about="nothing", answer=shapes.page(TOKEN))
def sessions(ask: Ask[None, PageQuery]) -> Answer:
    """List your own tokens and sessions, without their secrets."""
    mine = operators.tokens(ask.registry, ask.caller.organization, ask.caller.operator.id)
    return cut(ask, [_token(each) for each in mine], lambda each: each["id"], "sessions", ask.caller.operator.id)


@Operation("POST /me/sessions/{token}/revoke", about="nothing", answer=TOKEN, restricts=True)
def end_session(ask: Ask[Reasoned]) -> Answer:
    """End one of your own tokens or sessions, for good."""
    before = operators.token(ask.registry, ask.caller.organization, ask.caller.operator.id, ask.path["token"])
    if ask.caller.token.scopes is not None and before.id != ask.caller.token.id:
        detail = "a token for certain things ends no other token"
        raise Problem(403, "token_scope", detail, hint="log in, or use a token for everything")
    revoked = operators.revoke_token(
        ask.change(),
        actor=ask.actor,
        organization=ask.caller.organization,
        operator=ask.caller.operator.id,
        token=before.id,
        reason=ask.body.reason,
    )
    return Answer(body=_token(revoked or before))


@Operation("GET /operators", about="home")
def listed(ask: Ask[None, OperatorQuery]) -> Answer[Page[OperatorRecord]]:
    """List operators, also revoked ones."""
    if ask.query.everywhere and ask.organization is None:
        every = operators.all_operators(ask.registry)
    else:
        every = operators.operators(ask.registry, ask.organization)
    place = ("operators", "everywhere" if ask.query.everywhere else "")
    return cut(ask, sorted(every, key=lambda each: each.id), lambda each: each.id, *place)


@Operation("POST /operators", about="home", status=201, tagged=True)
def add(ask: Ask[NewOperator]) -> Answer[OperatorRecord]:
    """Add an operator, who can do nothing without a token."""
    given = ask.body
    made = operators.add_operator(ask.change(), **ask.by_home, **given.model_dump())
    return _shown(made)


@Operation("GET /operators/{operator}", about="home", tagged=True)
def show(ask: Ask) -> Answer[OperatorRecord]:
    """An operator."""
    return _shown(operators.operator(ask.registry, ask.organization, ask.path["operator"]))


@Operation("GET /operators/{operator}/versions", about="home")
def versions(ask: Ask[None, PageQuery]) -> Answer[Page[OperatorVersionRecord]]:
    """All versions of an operator, with who made them and why."""
    operator = ask.path["operator"]
    found = operators.operator_versions(ask.registry, ask.organization, operator)
    return cut(ask, found, lambda each: each.version, "operator versions", operator)


@Operation("PATCH /operators/{operator}", about="home", if_match="required", tagged=True)
def update(ask: Ask[OperatorPatch]) -> Answer[OperatorRecord]:
    """Give an operator another role."""
    operator = ask.path["operator"]
    changed = operators.update_operator(
        ask.change(ask.as_seen(operators.find_operator, operator)),
        **ask.by_home,
        operator=operator,
        **ask.body.model_dump(),
    )
    return _shown(changed) if changed else show(ask)


@Operation("POST /operators/{operator}/revoke", about="home", restricts=True, tagged=True)
def revoke(ask: Ask[Reasoned]) -> Answer[OperatorRecord]:
    """End an operator and all its tokens, for good."""
    revoked = operators.revoke_operator(
        ask.change(), **ask.by_home, operator=ask.path["operator"], reason=ask.body.reason
    )
    return _shown(revoked) if revoked else show(ask)


@Operation("POST /operators/{operator}/readmit", about="home", tagged=True)
def readmit(ask: Ask[Reasoned]) -> Answer[OperatorRecord]:
    """Let the person of a revoked operator log in again, as a new operator."""
    operator_logins.readmit(ask.change(), **ask.by_home, operator=ask.path["operator"], reason=ask.body.reason)
    return show(ask)


@Operation("GET /operators/{operator}/tokens", about="home", answer=shapes.page(TOKEN))
def tokens(ask: Ask[None, PageQuery]) -> Answer:
    """List an operator's tokens without their secrets."""
    found = operators.tokens(ask.registry, ask.organization, ask.path["operator"])
    return cut(ask, [_token(each) for each in found], lambda each: each["id"], "tokens", ask.path["operator"])


@Operation("POST /operators/{operator}/tokens", about="home", status=201, answer=NEW_TOKEN, once="token")
def create_token(ask: Ask[NewOperatorToken]) -> Answer:
    """Create a token, which is shown once."""
    given = ask.body
    if not narrower(given.scopes, ask.caller.token.scopes):
        detail = "a token for certain things makes only tokens for some of these"
        raise Problem(403, "token_scope", detail, hint=f"yours is for {', '.join(ask.caller.token.scopes or ())}")
    made = operators.create_token(
        ask.change(),
        ask.context.peppers,
        **ask.by_home,
        operator=ask.path["operator"],
        lifetime_ns=lifetime(given.expires_in),
        scopes=given.scopes,
        reason=given.reason,
        until_ns=ask.caller.token.expires_ns,
    )
    body = {**_token(made.record), "token": made.text}
    return Answer(body=body)


@Operation(
    "POST /operators/{operator}/tokens/{token}/revoke",
    about="home",
    answer=TOKEN,
    restricts=True,
    tool="revoke_token_of_operator",
)
def revoke_token_of(ask: Ask[Reasoned]) -> Answer:
    """End a token, for good."""
    return _revoked(ask, ask.path["operator"])


@Operation("GET /operator-tokens/{token}", noun="operators", about="home", answer=TOKEN)
def show_token(ask: Ask) -> Answer:
    """A token without its secret, by its id or the beginning of its text."""
    return Answer(body=_token(operators.token(ask.registry, ask.organization, None, ask.path["token"])))


@Operation("POST /operator-tokens/{token}/revoke", noun="operators", about="home", answer=TOKEN, restricts=True)
def revoke_token(ask: Ask[Reasoned]) -> Answer:
    """End a token that is named without its operator, for good."""
    return _revoked(ask, None)


def _revoked(ask: Ask[Reasoned], operator: str | None) -> Answer:
    """The token in the path: of this operator, or of any that the request is about."""
    reference = ask.path["token"]
    operators.revoke_token(ask.change(), **ask.by_home, operator=operator, token=reference, reason=ask.body.reason)
    return Answer(body=_token(operators.token(ask.registry, ask.organization, operator, reference)))
