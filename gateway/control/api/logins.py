"""Logging in through a provider, which needs no token, and logging out (login.md)."""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field

from gateway.control import shapes
from gateway.control.api.operators import NEW_TOKEN, TOKEN
from gateway.control.logins import Begun, Visit
from gateway.control.operation import Answer, Ask, Body, Operation
from gateway.identity import logins
from gateway.registry.documents import plain
from gateway.registry.operators import operators
from gateway.registry.records import OperatorTokenRecord

_PLAIN = "^[!-~]+$"


class NewLogin(Body):
    """A login to begin."""

    code_challenge: str = Field(
        pattern=f"^{logins.CHALLENGE.pattern}$", description="Of the client's verifier, by the method S256 (RFC 7636)."
    )
    port: int = Field(ge=1, le=65535, description="Where the client listens on 127.0.0.1 for the browser.")
    provider: str | None = Field(None, max_length=80, description="Which provider, if there are several.")
    organization: str | None = Field(
        None,
        max_length=80,
        description="Where the person wants to work; null: in the whole gateway, or in the only organization.",
    )


class FinishedLogin(Body):
    """What the browser has brought."""

    login: str = Field(max_length=2048, pattern=_PLAIN, description="As it came when the login was begun.")
    code: str = Field(max_length=4096, pattern=_PLAIN, description="The provider's code.")
    code_verifier: str = Field(pattern=f"^{logins.VERIFIER.pattern}$", description="The client's verifier.")
    iss: str | None = Field(None, max_length=1024, description="The provider as its answer names it (RFC 9207).")


def _shown(record: OperatorTokenRecord) -> dict[str, Any]:
    return {**plain(record), "status": record.status(time.time_ns())}


@Operation("POST /login", noun="me", about="nothing", answer=shapes.record(Begun), public=True)
async def begin(visit: Visit[NewLogin]) -> Answer:
    """Begin a login: where the browser must go."""
    given = visit.body
    begun = await visit.logins.begin(
        visit.address,
        challenge=given.code_challenge,
        port=given.port,
        provider=given.provider,
        wanted=given.organization,
    )
    return Answer(body=begun)


@Operation("POST /login/finish", noun="me", about="nothing", status=201, answer=NEW_TOKEN, public=True)
async def finish(visit: Visit[FinishedLogin]) -> Answer:
    """Finish a login: get a token, once, for the code that the browser has brought."""
    given = visit.body
    made = await visit.logins.finish(
        visit.address, login=given.login, code=given.code, verifier=given.code_verifier, issuer=given.iss
    )
    return Answer(body={**_shown(made.record), "token": made.text})


@Operation("POST /logout", noun="me", about="nothing", answer=TOKEN, restricts=True)
def logout(ask: Ask) -> Answer:
    """End the token with which this is asked, for good."""
    mine = ask.caller.token
    revoked = operators.revoke_token(
        ask.change(),
        actor=ask.actor,
        organization=ask.caller.organization,
        operator=ask.caller.operator.id,
        token=mine.id,
        reason="logout",
    )
    return Answer(body=_shown(revoked or mine))
