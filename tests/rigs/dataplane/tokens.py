"""Shared parts of the tests in `tests/gateway/dataplane/test_tokens.py`."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from gateway.identity import jose
from gateway.identity.key_scope import scope
from gateway.registry.agents.registration import register_agent
from gateway.registry.keys.changes import create_key
from gateway.registry.policies.bindings import bind
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway, Reply

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPES = "urn:ietf:params:oauth:token-type:"


async def ask(gateway: Gateway, *lines: str, key: str = "", **form: str) -> Reply:
    """Request a token by this form with a key in the header, or with the headers of these lines."""
    body = urlencode(form).encode()
    given = lines or ((f"Authorization: Bearer {key}",) if key else ("Authorization: omit",))
    head = ("Content-Type: application/x-www-form-urlencoded", *given)
    return await gateway.send(gateway.request(body, *head, path="/oauth/token"))


async def own(gateway: Gateway, key: str = "", **form: str) -> str:
    """An agent's own token."""
    reply = await ask(gateway, key=key or gateway.key, grant_type="client_credentials", **form)
    assert reply.status == 200, reply.body
    return str(reply.json["access_token"])


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def another(gateway: Gateway, name: str, **parts: list[str]) -> tuple[str, str]:
    """Another agent with the same bundle: its id and its key."""
    made = register_agent(gateway.registry, actor=ACTOR, organization=ORG, name=name)
    bind(gateway.registry, actor=ACTOR, organization=ORG, kind="agent", subject=made.id, bundle="bot")
    key = create_key(
        gateway.registry, gateway.peppers, actor=ACTOR, organization=ORG, agent=made.id, scope=scope(**parts)
    )
    return made.id, key.text


def claims(token: str) -> dict[str, Any]:
    return dict(jose.parse(token).claims)


async def on_behalf(gateway: Gateway, subject: str, actor: str, actor_key: str, **form: str) -> Reply:
    """A token for `actor` to act for whoever has the key or token `subject`."""
    granted = await own(gateway, subject, requested_actor=actor)
    return await ask(
        gateway,
        key=actor_key,
        grant_type=EXCHANGE,
        subject_token=granted,
        subject_token_type=f"{TYPES}jwt",
        **form,
    )
