"""Operators and their tokens. Without the parameter `organization` those of the whole gateway are meant.

Nobody can give away more than it has: a token that is for certain things makes only tokens for some of these, one that
expires only tokens that expire no later, and an operator of one organization only operators of that one.
"""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field
from sqlmodel import Session

from gateway.control import shapes
from gateway.control.api.agents import tag
from gateway.control.api.times import Seconds, lifetime
from gateway.control.operation import Answer, Ask, Body, Operation, PageQuery, Reasoned, cut
from gateway.control.problems import Problem
from gateway.identity.operator_roles import Role, narrower
from gateway.registry import operator_logins, operators, queries
from gateway.registry.documents import plain
from gateway.registry.records import OperatorRecord, OperatorTokenRecord, OperatorVersionRecord

_STATUS = {"type": "string", "enum": ["active", "expired", "revoked"]}
_OPERATOR = shapes.record(OperatorRecord)
TOKEN = shapes.record(OperatorTokenRecord, status=_STATUS)
_TEXT = {"type": ["string", "null"], "description": "The token, once; null in a repeated answer."}
NEW_TOKEN = shapes.record(OperatorTokenRecord, status=_STATUS, token=_TEXT)
_DEPLOYMENT = {"type": "string", "description": "The name of the gateway's deployment."}
_ME = shapes.record(OperatorRecord, token=TOKEN, deployment=_DEPLOYMENT)
_VERSION = shapes.record(OperatorVersionRecord)


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


def _shown(record: OperatorRecord, status: int = 200) -> Answer:
    location = f"/operators/{record.id}" if status == 201 else None
    return Answer(body=record, status=status, tag=tag(record.version), location=location)


def _token(record: OperatorTokenRecord) -> dict[str, Any]:
    return {**plain(record), "status": record.status(time.time_ns())}


def me(ask: Ask) -> Answer:
    deployment = queries.deployment(ask.registry)
    return Answer(body={**plain(ask.caller.operator), "token": _token(ask.caller.token), "deployment": deployment})


def listed(ask: Ask) -> Answer:
    if ask.query.everywhere and ask.organization is None:
        every = operators.all_operators(ask.registry)
    else:
        every = operators.operators(ask.registry, ask.organization)
    place = ("operators", "everywhere" if ask.query.everywhere else "")
    return cut(ask, sorted(every, key=lambda each: each.id), lambda each: each.id, *place)


def add(ask: Ask) -> Answer:
    given: NewOperator = ask.body
    made = operators.add_operator(ask.change(), actor=ask.actor, organization=ask.organization, **given.model_dump())
    return _shown(made, 201)


def show(ask: Ask) -> Answer:
    return _shown(operators.operator(ask.registry, ask.organization, ask.path["operator"]))


def versions(ask: Ask) -> Answer:
    operator = ask.path["operator"]
    found = operators.operator_versions(ask.registry, ask.organization, operator)
    return cut(ask, found, lambda each: each.version, "operator versions", operator)


def update(ask: Ask) -> Answer:
    def current(session: Session) -> str:
        tenant = None if ask.organization is None else queries.find_organization(session, ask.organization)
        return tag(operators.find_operator(session, tenant, ask.path["operator"]).version)

    changed = operators.update_operator(
        ask.change(ask.if_match(current)),
        actor=ask.actor,
        organization=ask.organization,
        operator=ask.path["operator"],
        **ask.body.model_dump(),
    )
    return _shown(changed) if changed else show(ask)


def revoke(ask: Ask) -> Answer:
    revoked = operators.revoke_operator(
        ask.change(),
        actor=ask.actor,
        organization=ask.organization,
        operator=ask.path["operator"],
        reason=ask.body.reason,
    )
    return _shown(revoked) if revoked else show(ask)


def readmit(ask: Ask) -> Answer:
    operator_logins.readmit(
        ask.change(),
        actor=ask.actor,
        organization=ask.organization,
        operator=ask.path["operator"],
        reason=ask.body.reason,
    )
    return show(ask)


def tokens(ask: Ask) -> Answer:
    found = operators.tokens(ask.registry, ask.organization, ask.path["operator"])
    return cut(ask, [_token(each) for each in found], lambda each: each["id"], "tokens", ask.path["operator"])


def create_token(ask: Ask) -> Answer:
    given: NewOperatorToken = ask.body
    if not narrower(given.scopes, ask.caller.token.scopes):
        detail = "a token for certain things makes only tokens for some of these"
        raise Problem(403, "token_scope", detail, hint=f"yours is for {', '.join(ask.caller.token.scopes or ())}")
    made = operators.create_token(
        ask.change(),
        ask.context.peppers,
        actor=ask.actor,
        organization=ask.organization,
        operator=ask.path["operator"],
        lifetime_ns=lifetime(given.expires_in),
        scopes=given.scopes,
        reason=given.reason,
        until_ns=ask.caller.token.expires_ns,
    )
    body = {**_token(made.record), "token": made.text}
    return Answer(body=body, status=201, once="token")


def show_token(ask: Ask) -> Answer:
    return Answer(body=_token(operators.token(ask.registry, ask.organization, None, ask.path["token"])))


def revoke_token(ask: Ask) -> Answer:
    """Of an operator, if the path names one, or of any that the request is about."""
    holder, reference = ask.path.get("operator"), ask.path["token"]
    operators.revoke_token(
        ask.change(),
        actor=ask.actor,
        organization=ask.organization,
        operator=holder,
        token=reference,
        reason=ask.body.reason,
    )
    return Answer(body=_token(operators.token(ask.registry, ask.organization, holder, reference)))


OPERATIONS = [
    Operation(
        method="GET",
        path="/me",
        noun="me",
        summary="Who you are, and what your token is for",
        function=me,
        about="nothing",
        answer=_ME,
    ),
    Operation(
        method="GET",
        path="/operators",
        noun="operators",
        summary="List operators, also revoked ones",
        function=listed,
        query=OperatorQuery,
        about="home",
        answer=shapes.page(_OPERATOR),
    ),
    Operation(
        method="POST",
        path="/operators",
        noun="operators",
        summary="Add an operator, who can do nothing without a token",
        function=add,
        body=NewOperator,
        about="home",
        status=201,
        answer=_OPERATOR,
        tagged=True,
    ),
    Operation(
        method="GET",
        path="/operators/{operator}",
        noun="operators",
        summary="An operator",
        function=show,
        about="home",
        answer=_OPERATOR,
        tagged=True,
    ),
    Operation(
        method="GET",
        path="/operators/{operator}/versions",
        noun="operators",
        summary="All versions of an operator, with who made them and why",
        function=versions,
        query=PageQuery,
        about="home",
        answer=shapes.page(_VERSION),
    ),
    Operation(
        method="PATCH",
        path="/operators/{operator}",
        noun="operators",
        summary="Give an operator another role",
        function=update,
        body=OperatorPatch,
        about="home",
        answer=_OPERATOR,
        if_match="required",
        tagged=True,
    ),
    Operation(
        method="POST",
        path="/operators/{operator}/revoke",
        noun="operators",
        summary="End an operator and all its tokens, for good",
        function=revoke,
        body=Reasoned,
        about="home",
        answer=_OPERATOR,
        restricts=True,
        tagged=True,
    ),
    Operation(
        method="POST",
        path="/operators/{operator}/readmit",
        noun="operators",
        summary="Let the person of a revoked operator log in again, as a new operator",
        function=readmit,
        body=Reasoned,
        about="home",
        answer=_OPERATOR,
        tagged=True,
    ),
    Operation(
        method="GET",
        path="/operators/{operator}/tokens",
        noun="operators",
        summary="List an operator's tokens without their secrets",
        function=tokens,
        query=PageQuery,
        about="home",
        answer=shapes.page(TOKEN),
    ),
    Operation(
        method="POST",
        path="/operators/{operator}/tokens",
        noun="operators",
        summary="Create a token, which is shown once",
        function=create_token,
        body=NewOperatorToken,
        about="home",
        status=201,
        answer=NEW_TOKEN,
    ),
    Operation(
        method="POST",
        path="/operators/{operator}/tokens/{token}/revoke",
        noun="operators",
        summary="End a token, for good",
        function=revoke_token,
        body=Reasoned,
        about="home",
        answer=TOKEN,
        restricts=True,
    ),
    Operation(
        method="GET",
        path="/operator-tokens/{token}",
        noun="operators",
        summary="A token without its secret, by its id or the beginning of its text",
        function=show_token,
        about="home",
        answer=TOKEN,
    ),
    Operation(
        method="POST",
        path="/operator-tokens/{token}/revoke",
        noun="operators",
        summary="End a token that is named without its operator, for good",
        function=revoke_token,
        body=Reasoned,
        about="home",
        answer=TOKEN,
        restricts=True,
    ),
]
