"""The key that secrets are sealed under, and the peppers that keys are hashed with: those of the whole gateway."""

from __future__ import annotations

import re

from gateway.control import shapes
from gateway.control.api.token_keys import check_whole
from gateway.control.operation import Answer, Ask, Operation, Reasoned
from gateway.control.problems import Problem
from gateway.registry import peppers, vault_rotation
from gateway.registry.peppers import PepperUse
from gateway.registry.vault_rotation import Rewrapped, VaultState

_LEFT = {"type": "integer", "description": "How many are not sealed under the key in force."}


def vault(ask: Ask) -> Answer:
    check_whole(ask)
    found = vault_rotation.state(ask.registry, ask.context.data.keys)
    members = {name: getattr(found, name) for name in ("key", "older", "sealed", "where")}
    return Answer(body={**members, "left": found.left})


def rotate(ask: Ask) -> Answer:
    check_whole(ask)
    return Answer(body=vault_rotation.rotate(ask.change(), ask.context.data.keys, ask.actor, reason=ask.body.reason))


def listed(ask: Ask) -> Answer:
    check_whole(ask)
    return Answer(body={"items": peppers.uses(ask.registry, ask.context.data.keys), "next": None})


def add(ask: Ask) -> Answer:
    check_whole(ask)
    made = peppers.add(ask.change(), ask.context.data.keys, ask.actor)
    ask.context.peppers.look()  # what this process hashes from now on is under it
    return Answer(body={"pepper": made}, status=201)


def remove(ask: Ask) -> Answer:
    check_whole(ask)
    if not re.fullmatch(r"[0-9]{1,9}", ask.path["pepper"]):
        raise Problem(404, "unknown_pepper", "a pepper is named by its number", hint="GET /api/v1/peppers lists them")
    version = int(ask.path["pepper"])
    peppers.remove(ask.change(), ask.context.data.keys, ask.actor, version)
    return Answer(body={"pepper": version, "removed": True})


def _closed(**properties: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_NUMBER: dict[str, object] = {"type": "integer"}

OPERATIONS = [
    Operation(
        method="GET",
        path="/vault",
        noun="secret-keys",
        summary="Which key secrets are sealed under, and what is sealed under which",
        function=vault,
        about="nothing",
        answer=shapes.record(VaultState, left=_LEFT),
    ),
    Operation(
        method="PUT",  # many transactions, which an Idempotency-Key does not hold together; it goes on where it was
        path="/vault",
        noun="secret-keys",
        summary="Make a new key and put everything sealed under it, or go on with that",
        function=rotate,
        body=Reasoned,
        about="nothing",
        heavy=True,
        answer=shapes.record(Rewrapped),
    ),
    Operation(
        method="GET",
        path="/peppers",
        noun="secret-keys",
        summary="List the peppers, and how many keys that work are hashed under each",
        function=listed,
        about="nothing",
        answer=shapes.page(shapes.record(PepperUse)),
    ),
    Operation(
        method="POST",
        path="/peppers",
        noun="secret-keys",
        summary="Make a new pepper, under which keys are hashed from now on",
        function=add,
        about="nothing",
        status=201,
        answer=_closed(pepper=_NUMBER),
    ),
    Operation(
        method="DELETE",
        path="/peppers/{pepper}",
        noun="secret-keys",
        summary="Delete a pepper that no key which works is hashed under",
        function=remove,
        about="nothing",
        answer=_closed(pepper=_NUMBER, removed={"type": "boolean"}),
    ),
]
