"""The keys that sign the gateway's own tokens, which are those of the whole gateway (tokens.md)."""

from __future__ import annotations

from pydantic import Field

from gateway.control.operation import Answer, Ask, Operation, Page, PageQuery, Reasoned, cut
from gateway.identity.token_keys import TokenKeyState, states
from gateway.registry.secret_keys import token_keys
from gateway.registry.secret_keys.token_keys import Rotation


class NewTokenKey(Reasoned):
    """How the key that signs is replaced."""

    at_once: bool = Field(False, description="End the tokens of older keys now: somebody may know such a key.")


@Operation("GET /token-keys", about="gateway")
def listed(ask: Ask[None, PageQuery]) -> Answer[Page[TokenKeyState]]:
    """List the keys that sign and verify the gateway's own tokens, newest first.

    Newest first.
    """
    ask.context.data.check()  # nothing else of it is opened
    return cut(ask, states(ask.context.data.keys), lambda each: -each.number, "token-keys")


# Ending tokens must not wait for a log that cannot be written.
@Operation("POST /token-keys/rotate", about="gateway", restricts=lambda body: bool(body.at_once))
def rotate(ask: Ask[NewTokenKey]) -> Answer[Rotation]:
    """Make a new key, which signs tokens from now on."""
    done = token_keys.rotate(
        ask.change(), ask.context.data.keys, actor=ask.actor, at_once=ask.body.at_once, reason=ask.body.reason
    )
    return Answer(body=done)
