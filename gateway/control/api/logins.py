"""Logging in through a provider, which needs no token, and logging out (login.md)."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from pydantic import Field

from gateway.control.api.operators import NEW_TOKEN, TOKEN
from gateway.control.dashboard.door import ROOT
from gateway.control.dashboard.sessions import LINK_SECONDS, Links
from gateway.control.logins import Begun, Visit, redirect_uri
from gateway.control.operation import Answer, Ask, Body, Operation, Reasoned
from gateway.errors import ConflictError
from gateway.identifiers import new_id
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


@Operation("POST /login", noun="me", about="nothing", public=True)
async def begin(visit: Visit[NewLogin]) -> Answer[Begun]:
    """Begin a login: where the browser must go."""
    given = visit.body
    begun = await visit.logins.begin(
        visit.address,
        challenge=given.code_challenge,
        redirect_uri=redirect_uri(given.port),
        provider=given.provider,
        wanted=given.organization,
    )
    return Answer(body=begun)


@Operation("POST /login/finish", noun="me", about="nothing", status=201, answer=NEW_TOKEN, public=True, once="token")
async def finish(visit: Visit[FinishedLogin]) -> Answer:
    """Finish a login: get a token, once, for the code that the browser has brought."""
    given = visit.body
    made = await visit.logins.finish(
        visit.address, login=given.login, code=given.code, verifier=given.code_verifier, issuer=given.iss
    )
    return Answer(body={**_shown(made.record), "token": made.text})


class NewLink(Reasoned):
    """A link to the dashboard to make."""

    operator: str | None = Field(
        None, description="Whose session it begins; null: the owner who is called after this machine's user."
    )
    page: str = Field("", max_length=1000, description="The path of the page where it leads; empty: the first one.")


@Operation(
    "POST /login/link", noun="operators", about="home", status=201, answer={"type": "object"}, here=True, once="path"
)
def link(ask: Ask[NewLink]) -> Answer:
    """Make a link that begins a session in a browser, once.

    Whoever may read the data directory may do everything, so nothing is given away that was not there.
    """
    organization, name = ask.organization, ask.body.operator
    if name is None:
        organization, name = None, ask.actor.replace(":", "-")
        mine = (each for each in operators.operators(ask.registry, None) if each.name == name)
        if all(each.status != "active" for each in mine):
            operators.add_operator(
                ask.change(), actor=ask.actor, organization=None, name=name, role="owner", reason="gateway dashboard"
            )
    holder = operators.operator(ask.registry, organization, name)
    if holder.status != "active":
        raise ConflictError("operator_revoked", f"operator `{holder.name}` is revoked", subject=holder.id)
    if holder.issuer is not None:
        hint = "open the dashboard and log in at the provider"
        raise ConflictError("tokens_of_logins", f"sessions of `{holder.name}` come from logins", hint=hint)
    text, page = Links(ask.context.peppers.current).make(new_id("brw"), holder.id), ask.body.page
    return Answer(
        body={
            "operator": holder.name,
            "role": holder.role,
            "organization": holder.organization,
            "path": f"{ROOT}/enter?{urlencode({'link': text} | ({'next': page} if page else {}))}",
            "origin": ask.context.settings.control_url,
            "expires_in": LINK_SECONDS,
        }
    )


@Operation("POST /logout", noun="me", about="nothing", answer=TOKEN, restricts=True, by_people=True)
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
