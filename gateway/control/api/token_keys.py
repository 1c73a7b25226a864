"""The keys that sign the gateway's own tokens, which are those of the whole gateway (tokens.md)."""

from __future__ import annotations

from pydantic import Field

from gateway.control import shapes
from gateway.control.operation import Answer, Ask, Operation, PageQuery, Reasoned, cut
from gateway.control.problems import Problem
from gateway.identity.token_keys import TokenKeyState, states
from gateway.registry.secret_keys import token_keys
from gateway.registry.secret_keys.token_keys import Rotation


class NewTokenKey(Reasoned):
    """How the key that signs is replaced."""

    at_once: bool = Field(False, description="End the tokens of older keys now: somebody may know such a key.")


def check_whole(ask: Ask) -> None:
    if ask.caller.organization is not None:
        detail = "an operator of one organization has nothing to do with the keys that sign tokens"
        raise Problem(403, "forbidden", detail, hint="an operator of the whole gateway can")


@Operation("GET /token-keys", about="nothing", answer=shapes.page(shapes.record(TokenKeyState)))
def listed(ask: Ask[None, PageQuery]) -> Answer:
    """List the keys that sign and verify the gateway's own tokens, newest first.

    Newest first.
    """
    check_whole(ask)
    ask.context.data.check()  # nothing else of it is opened
    return cut(ask, states(ask.context.data.keys), lambda each: -each.number, "token-keys")


@Operation(
    "POST /token-keys/rotate",
    about="nothing",
    answer=shapes.record(Rotation),
    restricts=lambda body: bool(body.at_once),
)
def rotate(ask: Ask[NewTokenKey]) -> Answer:
    """Make a new key, which signs tokens from now on."""
    check_whole(ask)
    done = token_keys.rotate(
        ask.change(), ask.context.data.keys, actor=ask.actor, at_once=ask.body.at_once, reason=ask.body.reason
    )
    return Answer(body=done)
